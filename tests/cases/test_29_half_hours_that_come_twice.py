"""Local times without a zone over the night in which the clock goes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import Desk

CASE = "29-half-hours-that-come-twice"


def write_local(path: Path, times: pd.DatetimeIndex) -> None:
    lines = [f"{time:%Y-%m-%dT%H:%M:%S},100,101,99,100,10" for time in times]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(lines) + "\n")


def test_with_offsets_every_half_hour_is_a_bar(desk: Callable[[str], Desk]) -> None:
    found = desk(CASE).ask("data", "check", "ETH-offset.csv")
    # 26 October has 24 hours, 27 October 25: 48 + 50 half hours.
    assert (found["ok"], found["rows"]) == (True, 98)


def test_without_a_zone_the_cure_keeps_every_bar(desk: Callable[[str], Desk]) -> None:
    told = desk(CASE).run("data", "check", "ETH-local.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert (fault["kind"], fault["row"]) == ("zone", 56)
    assert "2024-10-27T02:00:00" in fault["found"]
    assert "offset" in fault["cure"]
    assert "UTC" in fault["cure"]
    assert "sort" not in fault["cure"]
    assert "keep one" not in fault["cure"]


@pytest.mark.parametrize(
    ("zone", "size", "row"),
    [
        ("America/New_York", "1h", 28),  # 3 November: 24 + 01:00 twice: line 1 + 24 + 3
        ("Australia/Sydney", "15min", 110),  # 7 April, 02:00 again: 1 + 96 + 12 + 1
    ],
)
def test_other_zones_and_lengths(
    desk: Callable[[str], Desk], zone: str, size: str, row: int
) -> None:
    here = desk("")
    first = "2024-11-02" if zone.startswith("America") else "2024-04-06"
    times = pd.date_range(first, periods=190 if size == "15min" else 49, freq=size, tz=zone)
    write_local(here.path / "X.csv", times)
    (fault,) = here.run("data", "check", "X.csv", "--json").answer["faults"]
    assert fault["kind"] == "zone"
    assert fault["row"] == row
    assert "offset" in fault["cure"]


def test_a_real_duplicate_on_another_day_keeps_the_usual_cure(desk: Callable[[str], Desk]) -> None:
    here = desk("")
    times = pd.date_range("2024-10-23", periods=48, freq="1h")
    write_local(here.path / "X.csv", times[[*range(6), *range(5, 48)]])
    (fault,) = here.run("data", "check", "X.csv", "--json").answer["faults"]
    assert (fault["kind"], fault["row"]) == ("duplicate", 8)
    assert fault["cure"] == "keep one of the rows"
