"""Old rows of which only the close is known: open, high and low are written as 0."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.sources.load import load_panel

CASE = "35-zeros-beside-a-sound-close"
BY_CLOSE = "data.incomplete_bars=close"


def test_fifteen_rows_are_one_finding_whose_cure_keeps_the_close(
    desk: Callable[[str], Desk],
) -> None:
    told = desk(CASE).run("data", "check", "FUND.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert (fault["row"], fault["count"]) == (2, 15)
    assert BY_CLOSE in fault["cure"]
    assert "empty" not in fault["cure"]


def test_with_the_cure_all_bars_are_read_fifteen_by_their_close(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    assert here.ask("data", "check", "FUND.csv", "--set", BY_CLOSE)["rows"] == 45
    panel = load_panel(here.path / "FUND.csv", config=DataConfig(incomplete_bars="close"))
    prices = panel.stack[5:9, :, 0]
    assert int((prices == prices[3]).all(axis=0).sum()) == 15


@pytest.mark.parametrize("cells", ["0,0,0", "0,,0"])
def test_other_files_of_the_kind(desk: Callable[[str], Desk], cells: str) -> None:
    """Three of eight rows know the close alone: one finding of 3, and 8 bars with the cure."""
    here = desk("")
    rows = [f"2024-01-{day:02},{cells},{day}" for day in (2, 3, 4)]
    rows += [f"2024-01-{day:02},{day},{day + 1},{day - 1},{day}" for day in (5, 8, 9, 10, 11)]
    (here.path / "X.csv").write_text("date,open,high,low,close\n" + "\n".join(rows) + "\n")
    faults = here.run("data", "check", "X.csv", "--json").answer["faults"]
    assert faults
    assert all(BY_CLOSE in fault["cure"] and fault["count"] == 3 for fault in faults)
    assert here.ask("data", "check", "X.csv", "--set", BY_CLOSE)["rows"] == 8
