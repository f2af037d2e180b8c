"""Weights of tickers that look like numbers or truth values are followed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from tests.cases.conftest import FREE, Desk


def as_text(case: Desk, name: str) -> str:
    """Prices of a CSV as Parquet, in which a symbol is text whatever reads it."""
    path = (case.path / name).with_suffix(".parquet")
    pd.read_csv(
        case.path / name, dtype={"ticker": str, "symbol": str}, keep_default_na=False
    ).to_parquet(path)
    return path.name


def test_weights_in_the_spelling_of_the_prices_are_followed(desk: Callable[[str], Desk]) -> None:
    case = desk("24-tickers-of-digits")
    answer = case.ask(
        "backtest",
        "--data",
        as_text(case, "hongkong.csv"),
        "--weights",
        "weights.csv",
        "--no-risk",
        *FREE,
    )
    bought = {fill["symbol"] for step in case.steps(answer) for fill in step["fills"]}
    assert bought == {"0388", "0027"}


@pytest.mark.parametrize("name", ["0050", "TRUE", "1E5", "NAN", "NULL"])
def test_other_such_names_are_followed_too(desk: Callable[[str], Desk], name: str) -> None:
    case = desk("")
    rows = "".join(f"2024-02-{day:02},{name},10,10,10,10,1000\n" for day in range(5, 10))
    (case.path / "p.csv").write_text(f"date,symbol,open,high,low,close,volume\n{rows}")
    (case.path / "w.csv").write_text(f"time,symbol,weight\n2024-02-06,{name},0.5\n")
    answer = case.ask(
        "backtest",
        "--data",
        as_text(case, "p.csv"),
        "--symbols",
        name,
        "--weights",
        "w.csv",
        "--no-risk",
        *FREE,
    )
    steps = case.steps(answer)
    # Half of 100,000 at 10.00, bought at the open after the decision of 6 February.
    assert steps[-1]["positions"] == {name: 5_000.0}


def test_a_name_without_its_zeros_is_another(desk: Callable[[str], Desk]) -> None:
    case = desk("24-tickers-of-digits")
    (case.path / "w.csv").write_text("time,symbol,weight\n2024-02-12,388,0.4\n")
    told = case.run(
        "backtest", "--data", as_text(case, "hongkong.csv"), "--weights", "w.csv", "--json"
    )
    assert told.code == 2
    assert "388" in told.answer["error"]["message"]
