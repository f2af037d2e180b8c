"""Holidays of New York before 1970, and gaps that another calendar explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import Desk

CASE = "36-holidays-of-1961"


def write_days(path: Path, days: Sequence[pd.Timestamp]) -> None:
    lines = [f"{day:%Y-%m-%d},100,101,99,100,1000" for day in days]
    path.write_text("date,open,high,low,close,volume\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(("file", "rows"), [("FEB61.csv", 15), ("AUTUMN61.csv", 68)])
def test_holidays_of_1961_are_no_gaps(desk: Callable[[str], Desk], file: str, rows: int) -> None:
    found = desk(CASE).ask("data", "check", file)
    assert (found["ok"], found["rows"], found["gaps"]) == (True, rows, [])


def test_a_day_that_is_missing_is_a_gap_still(desk: Callable[[str], Desk]) -> None:
    at = desk(CASE)
    text = (at.path / "AUTUMN61.csv").read_text().splitlines()
    (at.path / "LESS.csv").write_text(
        "\n".join(line for line in text if not line.startswith("1961-11-08")) + "\n"
    )
    (gap,) = at.ask("data", "check", "LESS.csv")["gaps"]
    # The day after Election Day, on which the exchange was closed.
    assert (gap["start"], gap["end"], gap["sessions"]) == ("1961-11-08", "1961-11-08", 1)


def test_closures_of_their_own_kinds(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    # 1963: the funeral of President Kennedy (Monday 11-25) and Thanksgiving (11-28). 1968: the Wednesdays of
    # the paper crisis, 06-12 to 12-31. 1956-12-24: a Monday. 1969-07-21: the landing on the Moon.
    closed = {
        "A": (("1963-11-18", "1963-12-06"), ("1963-11-25", "1963-11-28")),
        "B": (("1969-07-14", "1969-07-25"), ("1969-07-21",)),
        "C": (("1956-12-17", "1956-12-31"), ("1956-12-24", "1956-12-25")),
        "D": (("1968-06-10", "1968-06-21"), ("1968-06-12", "1968-06-19")),
    }
    for name, ((first, last), holidays) in closed.items():
        days = pd.bdate_range(first, last).difference(pd.to_datetime(list(holidays)))
        write_days(at.path / f"{name}.csv", list(days))
        assert at.ask("data", "check", f"{name}.csv")["gaps"] == [], name


def test_saturdays_count_only_where_the_file_has_them(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    week = pd.bdate_range("1951-10-15", "1951-11-02")
    write_days(at.path / "WEEKDAYS.csv", list(week))
    assert at.ask("data", "check", "WEEKDAYS.csv")["gaps"] == []
    # With the Saturdays 10-20 and 11-03 the one of 10-27 is missing.
    saturdays = pd.to_datetime(["1951-10-20", "1951-11-03"])
    write_days(at.path / "SATURDAYS.csv", list(week.append(saturdays).sort_values()))
    found = at.ask("data", "check", "SATURDAYS.csv")
    assert [(gap["start"], gap["sessions"]) for gap in found["gaps"]] == [("1951-10-27", 1)]
    assert not any("no session" in note for note in found["notes"])


def test_gaps_are_summed_up_by_year_and_a_better_calendar_is_named(
    desk: Callable[[str], Desk],
) -> None:
    import exchange_calendars as exchanges

    at = desk("")
    # Two years of London's sessions: under New York's calendar its own bank holidays are missing.
    held = exchanges.get_calendar("XLON", start="2022-01-01", end="2023-12-31").sessions
    write_days(at.path / "LON.csv", list(held))
    found = at.ask("data", "check", "LON.csv")
    newyork = exchanges.get_calendar("XNYS", start=held[0], end=held[-1]).sessions
    missing = newyork.difference(held)
    assert sum(gap["sessions"] for gap in found["gaps"]) == len(missing)
    assert any("data.calendar=XLON fits better" in note for note in found["notes"])
    told = at.run("data", "check", "LON.csv").out
    years = {year: int((missing.year == year).sum()) for year in (2022, 2023)}
    text = " ".join(told.split())
    assert f"{len(missing)} sessions of XNYS without a bar" in text
    assert f"2022: {years[2022]}, 2023: {years[2023]}" in text
    assert "gaps" in at.ask("data", "check", "LON.csv", "--set", "data.calendar=XLON")
    assert at.ask("data", "check", "LON.csv", "--set", "data.calendar=XLON")["gaps"] == []
