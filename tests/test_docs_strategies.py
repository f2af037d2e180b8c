"""docs/strategies.md as a reader uses it: its files are saved, its commands are run, its output is compared.

The files come from the page itself: a block whose first line is `# name.py` (or `.csv`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import athena as library
from tests.conftest import ROOT
from trading.result import Run

PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
FILES: dict[str, str] = {
    match[2]: match[4] if match[1] == "csv" else match[3] + match[4]
    for match in re.finditer(
        r"^```(python|csv)\n(?=# (\S+\.\w+)\n)(# \S+\n)(.*?)^```$", PAGE, re.M | re.S
    )
}
SESSIONS = [
    (match[1], match[2].strip("\n").splitlines())
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.M | re.S)
    for match in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
]
PAIR = "athena backtest --strategy pair.py:Pair --symbols MSFT,IBM --set trading.allow_short=true"


@dataclass(frozen=True)
class Reader:
    """Somebody with the page's files in a directory, who runs commands there, each of them once."""

    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        if command not in self.done:
            program, *words = shlex.split(command)
            script = [str(ROOT / "main.py")] if program == "athena" else []
            self.done[command] = subprocess.run(
                [sys.executable, *script, *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        return self.done[command]

    def runs(self, command: str) -> Run:
        """The run that a command made."""
        done = self.types(command)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found = re.search(r"^Run folder: (\S+)", done.stdout, re.M)
        assert found, done.stdout
        return Run(self.folder / found[1])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("strategies")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Reader(folder)


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    """Adjusted closes of the sample, time by symbol."""
    panel = library.load_panel()
    index = pd.DatetimeIndex(panel.times, tz="UTC")
    return pd.DataFrame(panel.field("close"), index=index, columns=list(panel.symbols))


def last_fill(run: Run) -> str:
    """The day of the last fill."""
    days = [record["as_of"][:10] for record in run.steps() if record["fills"]]
    return str(days[-1])


def book_weights(record: Mapping[str, Any], closes: pd.Series) -> dict[str, float]:
    return {
        symbol: quantity * closes[symbol] / record["equity_usd"]
        for symbol, quantity in record["positions"].items()
    }


def test_the_page_holds_three_strategies_and_what_it_needs() -> None:
    assert {"sma_cross.py", "risk_parity.py", "pair.py", "breakout.py", "peek.py"} <= FILES.keys()
    assert {"weights.csv", "views.csv", "from_python.py"} <= FILES.keys()
    assert len(SESSIONS) == PAGE.count("\n$ ")


@pytest.mark.parametrize(("command", "shown"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_a_command_of_the_page_prints_what_the_page_shows(
    command: str, shown: Sequence[str], reader: Reader
) -> None:
    done = reader.types(command)
    printed = [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]
    assert done.returncode == (2 if shown[0].startswith("error:") else 0), done.stderr
    place = 0
    for line in filter(None, shown):
        assert line in printed[place:], "\n".join(printed)
        place = printed.index(line, place) + 1


def test_sma_cross_is_long_exactly_what_trends_until_the_end(
    reader: Reader, prices: pd.DataFrame
) -> None:
    run = reader.runs("athena backtest --strategy sma_cross.py:SmaCross --no-risk")
    rising = prices.rolling(50).mean() > prices.rolling(200).mean()
    held = 0
    for record in run.steps():
        now = rising.loc[record["as_of"]]
        for symbol, weight in record["targets"].items():
            assert now[symbol], (record["as_of"], symbol)
            assert weight == pytest.approx(1 / prices.loc[record["as_of"]].notna().sum())
        # What stopped trending today is sold tomorrow; until then it is still held.
        sold = {order["symbol"] for order in record["orders"] if order["side"] == "sell"}
        for symbol in record["positions"]:
            held += 1
            assert now[symbol] or symbol in sold, (record["as_of"], symbol)
    assert held > 3_000
    assert len(run.trades) > 20
    assert last_fill(run) > "2012-06"
    # The first decision is taken when the 200th bar is known.
    assert run.equity.index[0] == prices.index[199]


def test_param_reaches_the_strategy_and_its_warm_up(reader: Reader) -> None:
    words = "athena backtest --strategy sma_cross.py:SmaCross --no-risk"
    slow = reader.runs(words)
    fast = reader.runs(f"{words} --param fast=20 --param slow=100")
    assert len(fast.equity) == len(slow.equity) + 100
    assert fast.summary["fills"] > slow.summary["fills"]


def test_risk_parity_weighs_by_inverse_volatility_and_sums_to_one(
    reader: Reader, prices: pd.DataFrame
) -> None:
    run = reader.runs("athena backtest --strategy risk_parity.py:RiskParity --no-risk")
    volatility = np.log(prices).diff().rolling(63).std(ddof=0)
    decided = [record for record in run.steps() if record["targets"]]
    assert len(decided) > 50
    for record in decided:
        targets = pd.Series(record["targets"])
        inverse = 1 / volatility.loc[record["as_of"]].dropna()
        expected = inverse / inverse.sum()
        assert targets.sum() == pytest.approx(1.0, abs=1e-7)
        assert targets[expected.index].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-7)
    assert decided[-1]["as_of"] > "2012-06"
    # Fully invested from the first fill on, and never more than that.
    exposure = run.curve["exposure_frac"].iloc[1:]
    assert exposure.min() > 0.9
    assert exposure.max() <= 1.0 + 1e-9


def test_the_risk_manager_halves_the_first_step_and_asking_again_completes_it(
    reader: Reader,
) -> None:
    run = reader.runs(
        "athena backtest --strategy risk_parity.py:RiskParity --risk --end 2000-07-31"
        " --set agents.risk.max_var_frac=null --set agents.risk.max_expected_shortfall_frac=null"
    )
    assert run.summary["limits"]["reasons"]["turnover_limit"] > 0
    first, second, third = run.weights.sum(axis=1).iloc[:3]
    # 25 % of equity one way is 50 % bought; the next bar the other half, but for what it drifted.
    assert first == pytest.approx(0.5, abs=1e-6)
    assert second > 0.95
    assert third > 0.95


def test_the_pair_is_dollar_neutral_and_trades_to_the_end(
    reader: Reader, prices: pd.DataFrame
) -> None:
    run = reader.runs(PAIR)
    nets = []
    for record in run.steps():
        if record["targets"]:
            assert set(record["targets"]) == {"MSFT", "IBM"}
            # The turnover limit leaves a leg that it would barely change.
            assert sum(record["targets"].values()) == pytest.approx(0.0, abs=0.01)
        weights = book_weights(record, prices.loc[record["as_of"]])
        if weights:
            assert set(weights) == {"MSFT", "IBM"}
            assert weights["MSFT"] * weights["IBM"] < 0.0
            nets.append(sum(weights.values()))
    assert len(nets) > 1_000
    # Legs are set anew one bar after either is 2 % off: 2 x 2 % and a day's move are the tolerance.
    assert np.abs(nets).max() < 0.06
    assert np.abs(np.mean(nets)) < 0.005
    assert len(run.trades) > 100
    assert run.summary["costs"]["borrow_usd"] > 0.0
    assert "short_not_allowed" not in run.summary["limits"]["reasons"]
    assert last_fill(run) > "2012-09"


def test_the_pair_enters_far_from_the_mean_and_leaves_near_it(
    reader: Reader, prices: pd.DataFrame
) -> None:
    run = reader.runs(PAIR)
    spread = np.log(prices["MSFT"]) - np.log(prices["IBM"])
    window = spread.rolling(60)
    score = (spread - window.mean()) / window.std(ddof=0)
    entries = exits = 0
    for record in run.steps():
        now = float(score.loc[record["as_of"]])
        held = record["positions"].get("MSFT", 0.0)
        if not held and record["targets"]:
            entries += 1
            assert abs(now) > 2.0
            assert np.sign(record["targets"]["MSFT"]) == -np.sign(now)
            assert abs(record["targets"]["MSFT"]) == pytest.approx(0.2)
        elif held and record["orders"] and not record["targets"]:
            exits += 1
            assert np.sign(held) * now > -0.5
    assert entries > 50
    assert exits > 50


def test_breakout_buys_below_its_limit_and_sells_at_its_stop(reader: Reader) -> None:
    run = reader.runs("athena backtest --strategy breakout.py:Breakout")
    orders: dict[str, dict[str, Any]] = {}
    stopped = bought = 0
    for record in run.steps():
        for fill in record["fills"]:
            order = orders[fill["order_id"]]
            if order["type"] == "limit":
                bought += 1
                assert fill["price"] <= order["limit_price"]
            else:
                stopped += 1
                assert order["type"] == "stop"
                assert fill["price"] <= order["stop_price"]
        orders = {order["id"]: order for order in record["orders"]}
    assert bought > 50
    assert stopped > 50
    assert set(run.trades["tag"]) == {"new high"}


def test_views_change_what_the_agents_do(reader: Reader) -> None:
    plain = reader.runs("athena backtest --agents rules --start 2010-01-04")
    told = reader.runs("athena backtest --agents rules --views views.csv --start 2010-01-04")
    assert plain.equity.iloc[-1] != told.equity.iloc[-1]
    speakers = {name for record in told.steps() for name in record["views"]}
    assert speakers > {name for record in plain.steps() for name in record["views"]}


def test_decide_asks_the_same_strategy_for_ones_own_book(reader: Reader) -> None:
    (reader.folder / "book.csv").write_text("symbol,quantity\nCASH,60000\nMSFT,500\n")
    done = reader.types(
        "athena --json decide --strategy sma_cross.py:SmaCross --no-risk --holdings book.csv"
    )
    assert done.returncode == 0, done.stderr
    run = reader.runs("athena backtest --strategy sma_cross.py:SmaCross --no-risk")
    wanted = {symbol for symbol, weight in run.weights.iloc[-1].items() if weight}
    sides = {order["symbol"]: order["side"] for order in json.loads(done.stdout)["orders"]}
    assert sides == {**dict.fromkeys(wanted, "buy"), "MSFT": "sell"}
