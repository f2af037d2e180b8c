"""A last row that is no finished bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import Desk

CASE = "34-bar-of-today-not-closed"


def write_stamps(path: Path, stamps: list[str]) -> None:
    lines = [f"{stamp},100,101,99,100,1000" for stamp in stamps]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(lines) + "\n")


def test_the_live_quote_is_left_out_and_said(desk: Callable[[str], Desk]) -> None:
    found = desk(CASE).ask("data", "check", "LIVE.csv")
    assert (found["ok"], found["rows"]) == (True, 11)
    assert (found["start"], found["end"]) == ("2024-04-29", "2024-05-13")
    said = [note for note in found["notes"] if "not finished" in note]
    assert len(said) == 1
    assert "row 13" in said[0]
    assert "2024-05-14T17:05:31Z" in said[0]


def test_no_decision_sees_it(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    answer = at.ask(
        "backtest", "--data", "LIVE.csv", "--agents", "rules", "--set", "trading.warmup_bars=1"
    )
    assert at.steps(answer)[-1]["as_of"] == "2024-05-13T20:00:00Z"
    assert any("not finished" in note for note in answer["notes"])


def test_the_midnight_row_of_the_same_session_goes_too(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    days = [f"2024-05-{day:02d}T04:00:00Z" for day in (6, 7, 8, 9, 10, 13, 14)]
    write_stamps(at.path / "X.csv", [*days, "2024-05-14T17:05:31Z"])
    found = at.ask("data", "check", "X.csv")
    assert (found["rows"], found["end"]) == (6, "2024-05-13")
    assert any("rows 8, 9" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("last", "rows", "end"),
    [
        # 15:59:59 in New York runs; 16:00 is the close, and the bar is whole.
        ("2024-05-14T19:59:59Z", 6, "2024-05-13"),
        ("2024-05-14T20:00:00Z", 7, "2024-05-14"),
    ],
)
def test_the_close_ends_the_session(
    desk: Callable[[str], Desk], last: str, rows: int, end: str
) -> None:
    at = desk("")
    days = [f"2024-05-{day:02d}T04:00:00Z" for day in (6, 7, 8, 9, 10, 13)]
    write_stamps(at.path / "X.csv", [*days, last])
    found = at.ask("data", "check", "X.csv")
    assert (found["rows"], found["end"]) == (rows, end)


def test_a_local_time_without_a_zone(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    days = [f"2024-05-{day:02d} 00:00:00" for day in (6, 7, 8, 9, 10, 13)]
    write_stamps(at.path / "X.csv", [*days, "2024-05-14 13:05:31"])
    found = at.ask("data", "check", "X.csv")
    assert (found["rows"], found["end"]) == (6, "2024-05-13")


def test_a_coins_day_that_runs(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    days = [f"2024-05-{day:02d}T00:00:00Z" for day in range(6, 14)]
    write_stamps(at.path / "X.csv", [*days, "2024-05-14T17:05:31Z"])
    found = at.ask("data", "check", "X.csv", "--set", "data.calendar=24/7")
    assert (found["rows"], found["end"]) == (8, "2024-05-13")


def test_a_quote_between_bars_of_five_minutes(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    times = pd.date_range("2024-05-14T13:30Z", periods=30, freq="5min")
    stamps = [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in times]
    # The bar of 15:55Z runs until 16:00Z: at 15:57:12Z neither is whole.
    write_stamps(at.path / "X.csv", [*stamps, "2024-05-14T15:57:12Z"])
    found = at.ask("data", "check", "X.csv")
    assert (found["ok"], found["interval"], found["rows"]) == (True, "5m", 29)
    assert found["end"] == "2024-05-14T15:50:00Z"


def test_a_bar_of_the_clocks_own_day_waits_for_its_close(desk: Callable[[str], Desk]) -> None:
    # Dates alone show nothing; the clock does. A date two days ahead has certainly not closed.
    at = desk("")
    ahead = pd.Timestamp.now("UTC").normalize().tz_localize(None) + pd.Timedelta(days=2)
    days = pd.bdate_range(end=ahead - pd.Timedelta(days=3), periods=8)
    write_stamps(
        at.path / "X.csv", [f"{day:%Y-%m-%d}" for day in days.append(pd.DatetimeIndex([ahead]))]
    )
    found = at.ask("data", "check", "X.csv")
    assert found["rows"] == 8
    assert any("1 bar left out" in note and f"{ahead:%Y-%m-%d}" in note for note in found["notes"])
