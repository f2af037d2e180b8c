"""Bars of any number of weeks, months and years."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import FREE, Desk

CASE = "30-half-yearly-bars"


def write_bars(path: Path, stamps: pd.DatetimeIndex, growth: float = 1.01) -> None:
    """Closes that grow by a factor a bar from 100, each bar opening at the close before."""
    close, lines = 100.0, []
    for stamp in stamps:
        opened, close = close, close * growth
        lines.append(f"{stamp:%Y-%m-%d},{opened:.6f},{close:.6f},{opened:.6f},{close:.6f},1000000")
    path.write_text("date,open,high,low,close,volume\n" + "\n".join(lines) + "\n")


def buy(at: Desk, file: str, *words: str) -> dict[str, object]:
    return at.ask(
        "backtest", "--data", file, "--strategy", "buy.py:Buy", "--no-risk", *FREE, *words
    )


def test_half_yearly_bars_have_two_a_year(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    found = at.ask("data", "check", "HALF.csv")
    assert (found["interval"], found["rows"], found["gaps"]) == ("6mo", 40, [])
    answer = buy(at, "HALF.csv")
    # Bought at the open of the second bar: 20 gains of 12 % and 19 losses of 4 %,
    # 1.12^20 x 0.96^19 = 4.4413; over 39 half-years 4.4413^(2/39) - 1 = 7.95 % a year.
    assert answer["bars_per_year"] == 2
    assert answer["final_equity_usd"] == pytest.approx(444_134.2, abs=0.05)
    metrics = answer["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["annual_return_frac"] == pytest.approx(0.0795, abs=5e-5)
    # The returns have mean 0.042051 and deviation 0.081019: x sqrt(2) = 0.734.
    assert metrics["sharpe"] == pytest.approx(0.734, abs=5e-4)
    # Stamps that are last days label the end: 2000-06-30 is known at its own close.
    assert at.steps(answer)[0]["as_of"] == "2000-06-30T20:00:00Z"


def test_two_monthly_bars_have_six_a_year(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    found = at.ask("data", "check", "two-monthly.csv")
    assert (found["interval"], found["rows"], found["gaps"]) == ("2mo", 48, [])
    answer = buy(at, "two-monthly.csv")
    assert answer["bars_per_year"] == 6
    # The 28th is no last day: the bar runs to the 27th of April and is known at that session's close.
    assert at.steps(answer)[0]["as_of"] == "2010-04-27T20:00:00Z"


@pytest.mark.parametrize(
    ("freq", "interval", "bars_per_year", "first_known"),
    [
        # Monday 2010-01-04 begins a week that closes on Friday the 8th; two weeks, on the 15th.
        ("W-MON", "1w", 52, "2010-01-08T21:00:00Z"),
        ("W-FRI", "1w", 52, "2010-01-08T21:00:00Z"),
        ("2W-MON", "2w", 26, "2010-01-15T21:00:00Z"),
        # The 1st of February: the month's last session is the 26th. No look at it before.
        ("MS", "1mo", 12, "2010-02-26T21:00:00Z"),
        ("QS", "3mo", 4, "2010-06-30T20:00:00Z"),
        ("YE", "1y", 1, "2010-12-31T21:00:00Z"),
        ("YS", "1y", 1, "2011-12-30T21:00:00Z"),
    ],
)
def test_other_long_bars(
    desk: Callable[[str], Desk], freq: str, interval: str, bars_per_year: float, first_known: str
) -> None:
    at = desk(CASE)
    count = 12 if freq.startswith("Y") else 40
    write_bars(at.path / "X.csv", pd.date_range("2010-01-04", periods=count, freq=freq))
    assert at.ask("data", "check", "X.csv")["interval"] == interval
    answer = buy(at, "X.csv")
    assert answer["bars_per_year"] == bars_per_year
    assert at.steps(answer)[0]["as_of"] == first_known
    # Bought at the open of the second bar, 1 % a bar from then on: 100,000 x 1.01^(count - 1).
    assert answer["final_equity_usd"] == pytest.approx(100_000 * 1.01 ** (count - 1), abs=0.5)
    metrics = answer["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["annual_return_frac"] == pytest.approx(1.01**bars_per_year - 1, rel=1e-4)


def test_the_label_can_be_set(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    write_bars(at.path / "X.csv", pd.date_range("2010-01-31", periods=30, freq="ME"))
    first = {
        label: at.steps(buy(at, "X.csv", "--set", f"data.bar_label={label}"))[0]["as_of"]
        for label in ("auto", "close", "open")
    }
    # 2010-01-31 is a Sunday. As an end its last session is Friday the 29th; as a beginning the bar
    # runs to the 27th of February, a Saturday.
    assert first == {
        "auto": "2010-01-29T21:00:00Z",
        "close": "2010-01-29T21:00:00Z",
        "open": "2010-02-26T21:00:00Z",
    }


def test_the_bar_of_a_month_that_is_not_over_is_left_out(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    months = pd.date_range("2023-01-01", "2024-05-01", freq="MS")
    # A vendor's file of 2024-05-14: May's own bar, and the quote of the day below it.
    write_bars(at.path / "BEGIN.csv", months.append(pd.DatetimeIndex(["2024-05-14"])))
    found = at.ask("data", "check", "BEGIN.csv")
    assert (found["interval"], found["rows"], found["end"]) == ("1mo", 16, "2024-04-01")
    assert any("rows 18, 19" in note and "not finished" in note for note in found["notes"])
    # Month ends, and the running month stamped with its latest day.
    ends = pd.date_range("2023-01-31", "2024-04-30", freq="ME")
    write_bars(at.path / "END.csv", ends.append(pd.DatetimeIndex(["2024-05-14"])))
    found = at.ask("data", "check", "END.csv")
    assert (found["interval"], found["rows"], found["end"]) == ("1mo", 16, "2024-04-30")


def test_a_mixture_is_refused_by_name(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    months = pd.date_range("2010-01-01", periods=80, freq="MS")
    weeks = pd.date_range(months[-1] + pd.Timedelta(days=3), periods=30, freq="W-MON")
    write_bars(at.path / "MIXED.csv", months.append(weeks))
    told = at.run("data", "check", "MIXED.csv", "--json")
    assert told.code == 2
    assert {fault["kind"] for fault in told.answer["faults"]} == {"interval"}
    assert "1w after the bar before it, in a file of 1mo bars" in told.answer["faults"][0]["found"]
    quarters = pd.date_range("2017-01-01", periods=12, freq="QS")
    write_bars(at.path / "SPARSE.csv", months.append(quarters))
    told = at.run("data", "check", "SPARSE.csv", "--json")
    assert told.code == 2
    assert "bars 3mo apart in a file of 1mo bars" in told.answer["faults"][0]["found"]


def test_no_annual_figure_comes_from_three_weeks(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    write_bars(at.path / "X.csv", pd.bdate_range("2024-01-02", periods=15))
    answer = buy(at, "X.csv")
    for metrics in (answer["metrics"], answer["benchmark"]["metrics"]):  # type: ignore[index]
        for name in ("annual_return_frac", "volatility_frac", "sharpe", "sortino", "calmar"):
            assert metrics[name] is None, name
        assert metrics["turnover_frac_per_year"] is None
        assert metrics["total_return_frac"] == pytest.approx(1.01**14 - 1, rel=1e-5)
    # 2024-01-02 to 2024-01-22: 20 days.
    assert "The records span 20 days: no annual figures from fewer than 30." in answer["notes"]  # type: ignore[operator]
