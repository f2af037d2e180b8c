"""Daily stamps that are another exchange's midnights, written in UTC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import Desk

CASE = "28-sydney-midnights-in-utc"


def write_midnights(folder: Path, zone: str, first: str, last: str, name: str = "X.csv") -> int:
    """Weekdays stamped at a zone's midnight, in UTC; a price of 100 throughout. Returns the rows."""
    dates = pd.bdate_range(first, last).tz_localize(zone).tz_convert("UTC")
    lines = [f"{date:%Y-%m-%dT%H:%M:%SZ},100,100,100,100,1000" for date in dates]
    (folder / name).write_text("time,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    return len(lines)


def test_with_the_exchanges_calendar_the_dates_are_sydneys(desk: Callable[[str], Desk]) -> None:
    found = desk(CASE).ask("data", "check", "WOLF.csv", "--set", "data.calendar=XASX")
    # 2024-03-18 to 04-23 less Good Friday (03-29) and Easter Monday (04-01): 27 weekdays - 2 = 25.
    assert (found["ok"], found["rows"]) == (True, 25)
    assert (found["start"], found["end"]) == ("2024-03-18", "2024-04-23")
    assert found["gaps"] == []


def test_without_a_calendar_it_is_refused_and_sydneys_is_named(desk: Callable[[str], Desk]) -> None:
    told = desk(CASE).run("data", "check", "WOLF.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert (fault["kind"], fault["row"]) == ("calendar", 2)
    assert "25 of 25 stamps, 2024-03-17T13:00:00Z" in fault["found"]
    assert "data.calendar" in fault["cure"]
    assert "XASX" in fault["cure"]
    # No backtest runs on it either.
    assert desk("").run("backtest", "--data", "WOLF.csv").code == 2


@pytest.mark.parametrize(
    ("zone", "calendar", "others"),
    [
        # Berlin's midnight is 23:00Z the day before, from the last Sunday of March on 22:00Z.
        ("Europe/Berlin", "XETR", ("XLON", "XTKS")),
        # London's is 00:00Z until the clock change and 23:00Z of the day before after it.
        ("Europe/London", "XLON", ("XETR", "XTKS")),
        ("Asia/Tokyo", "XTKS", ("XETR", "XBOM")),
        ("Asia/Kolkata", "XBOM", ("XTKS", "XHKG")),
    ],
)
def test_midnights_of_other_exchanges(
    desk: Callable[[str], Desk], zone: str, calendar: str, others: tuple[str, ...]
) -> None:
    at = desk("")
    rows = write_midnights(at.path, zone, "2024-03-04", "2024-04-26")
    told = at.run("data", "check", "X.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert calendar in fault["cure"]
    assert not any(other in fault["cure"] for other in others)
    found = at.ask("data", "check", "X.csv", "--set", f"data.calendar={calendar}")
    # 8 weeks of 5 days, each on its own date.
    assert (found["rows"], rows) == (40, 40)
    assert (found["start"], found["end"]) == ("2024-03-04", "2024-04-26")


def test_london_in_summer_time_alone(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    # The file's first stamp is Sunday 2024-03-31T23:00Z, the midnight of Monday the 1st of April.
    write_midnights(at.path, "Europe/London", "2024-04-01", "2024-05-24")
    told = at.run("data", "check", "X.csv", "--json")
    assert told.code == 2
    assert "XLON" in told.answer["faults"][0]["cure"]
    found = at.ask("data", "check", "X.csv", "--set", "data.calendar=XLON")
    assert (found["start"], found["end"]) == ("2024-04-01", "2024-05-24")


def test_dates_as_midnights_of_utc_stay_what_they_are(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    write_midnights(at.path, "UTC", "2024-03-04", "2024-04-26")
    found = at.ask("data", "check", "X.csv")
    assert (found["start"], found["end"], found["rows"]) == ("2024-03-04", "2024-04-26", 40)


def test_a_bar_of_tokyo_is_known_at_its_own_close(desk: Callable[[str], Desk]) -> None:
    at = desk("")
    write_midnights(at.path, "Asia/Tokyo", "2024-03-04", "2024-04-26")
    answer = at.ask(
        "backtest", "--data", "X.csv", "--agents", "rules", "--set", "data.calendar=XTKS",
        "--set", "trading.warmup_bars=1",
    )  # fmt: skip
    # Tokyo closed at 15:00, 06:00Z, that year; the first bar is Monday 2024-03-04's.
    assert at.steps(answer)[0]["as_of"] == "2024-03-04T06:00:00Z"


@pytest.mark.parametrize(("calendar", "hour"), [("XNYS", 5), ("XETR", -1), ("XASX", -10)])
def test_midnight_at_a_fixed_offset_stands_on_its_date(
    desk: Callable[[str], Desk], calendar: str, hour: int
) -> None:
    """Standard time's midnight all year: 01:00 in summer, and the same date."""
    here = desk("")
    dates = pd.bdate_range("2024-01-15", "2024-11-29")
    stamps = dates + pd.Timedelta(hours=hour)
    lines = [f"{stamp:%Y-%m-%dT%H:%M:%SZ},100,100,100,100,1000" for stamp in stamps]
    (here.path / "X.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(lines))
    found = here.ask("data", "check", "X.csv", "--set", f"data.calendar={calendar}")
    assert (found["start"], found["end"]) == ("2024-01-15", "2024-11-29")
    assert any("fixed offset" in note for note in found["notes"])


def test_midnight_of_summer_time_all_year_is_refused(desk: Callable[[str], Desk]) -> None:
    """04:00Z is 23:00 of the day before in New York's winter."""
    here = desk("")
    stamps = pd.bdate_range("2024-01-15", "2024-11-29") + pd.Timedelta(hours=4)
    lines = [f"{stamp:%Y-%m-%dT%H:%M:%SZ},100,100,100,100,1000" for stamp in stamps]
    (here.path / "X.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(lines))
    told = here.run("data", "check", "X.csv", "--json")
    assert [fault["kind"] for fault in told.answer["faults"]] == ["calendar"]
