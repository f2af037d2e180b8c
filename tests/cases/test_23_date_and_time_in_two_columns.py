"""A date in one column and a time of day in another, in the spellings of charting terminals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.sources import load_panel

Open = Callable[[str], Desk]


@pytest.mark.parametrize("name", ["semicolons.csv", "four-digits.csv", "points.csv"])
def test_the_same_quarter_hours(desk: Open, name: str) -> None:
    here = desk("23-date-and-time-in-two-columns")
    report = here.ask("data", "check", name)
    assert (report["rows"], report["faults"], report["interval"]) == (52, [], "15m")
    assert (report["start"][:16], report["end"][:16]) == ("2024-08-06T13:30", "2024-08-07T19:45")
    panel = load_panel(here.path / name)
    assert (panel.field("open")[0, 0], panel.field("close")[-1, 0]) == (312.67, 312.03)
    assert panel.field("volume")[0, 0] == 805_800  # four-digits.csv: 402,900 up + 402,900 down


CLOCKS = {
    # hours and minutes without a colon, leading zeros lost, as a spreadsheet writes them
    "minutes of the night": ["0", "15", "30", "45", "100", "115"],
    "six digits, zeros lost": ["0", "1500", "3000", "4500", "10000", "11500"],
    "half days": ["12:00 AM", "12:15 AM", "12:30 am", "12:45 AM", "1:00 AM", "1:15 AM"],
    "one digit of the hour": ["0:00", "0:15", "0:30", "0:45", "1:00", "1:15"],
}


@pytest.mark.parametrize("times", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("day", ["2024-08-06", "20240806", "2024.08.06", "06-Aug-2024"])
def test_times_of_day_as_they_are_written(tmp_path: Path, times: list[str], day: str) -> None:
    rows = "".join(f"{day},{time},10,12,9,11,5\n" for time in times)
    (tmp_path / "X.csv").write_text("<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>\n" + rows)
    panel = load_panel(tmp_path / "X.csv", config=DataConfig(calendar="24/7", bar_label="close"))
    assert panel.as_of == tuple(
        f"2024-08-06T{clock}:00Z" for clock in ("00:00", "00:15", "00:30", "00:45", "01:00", "01:15")
    )  # fmt: skip


def test_a_number_that_is_no_time_of_day_stays_a_column(tmp_path: Path) -> None:
    """`time` 99 is no clock: the column is ignored, not joined."""
    rows = "".join(f"2024-08-0{day},99,10,12,9,11\n" for day in (5, 6, 7))
    (tmp_path / "X.csv").write_text("date,time,open,high,low,close\n" + rows)
    assert load_panel(tmp_path / "X.csv").interval == "1d"
