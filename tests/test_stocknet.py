"""The worked example of `--news`: StockNet's prices and posts, where a copy is at hand.

`ATHENA_SHARED` (default: `shared` beside this checkout) names the folder that holds `data/stocknet/` with
`prices.parquet` and `tweets.parquet` (Xu and Cohen, ACL 2018; MIT licence). They are not part of the project.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.assemble import RunOptions, backtest
from agents.forecast_scores import forecast_report
from tests.fakes import records
from tests.test_full_agents import config_of

ROOT = Path(__file__).resolve().parent.parent


def test_a_run_on_stocknet_hears_its_posts(tmp_path: Path) -> None:
    shared = Path(os.environ.get("ATHENA_SHARED", ROOT.parent / "shared"))
    folder = shared / "data" / "stocknet"
    prices, posts = folder / "prices.parquet", folder / "tweets.parquet"
    if not (prices.is_file() and posts.is_file()):
        pytest.skip(
            f"{shared} has no data/stocknet with prices.parquet and tweets.parquet (ATHENA_SHARED)"
        )
    config = config_of(runs_dir=str(tmp_path / "runs"))
    options = RunOptions(
        data=str(prices), news=posts, symbols=("INTC", "XOM"), start="2014-06-02", end="2014-07-31",
        agents="full",
    )  # fmt: skip
    run = backtest(config, options)
    steps = records((run.path / "steps.jsonl").read_bytes().splitlines())
    told = [row for step in steps for row in step["forecasts"]["chances"]["news"]]
    assert sum(row is not None for row in told) > 40
    report = forecast_report(run.path)
    assert report["sealed"]
    assert {row["agent"] for row in report["rows"]} >= {
        "market_analyst",
        "strategy",
        "risk_manager",
    }
