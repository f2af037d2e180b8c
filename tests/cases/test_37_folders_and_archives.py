"""One folder a symbol, and a workbook."""

from __future__ import annotations

from collections.abc import Callable

from tests.cases.conftest import Desk

CASE = "37-folders-and-archives"


def test_the_folders_below_are_named(desk: Callable[[str], Desk]) -> None:
    told = desk(CASE).run("data", "check", "nested")
    assert told.code != 0
    assert "QRS, TUV" in " ".join((told.out + told.err).split())


def test_many_folders_are_named_by_the_first(desk: Callable[[str], Desk]) -> None:
    here = desk("")
    for at in range(10):
        (here.path / "all" / f"S{at}").mkdir(parents=True)
        (here.path / "all" / f"S{at}" / "daily.csv").write_text("date,close\n2024-01-02,1\n")
    told = here.run("data", "check", "all")
    assert "S0, S1, S2, S3, S4, S5, S6, S7, ..." in " ".join((told.out + told.err).split())


def test_folders_without_prices_are_not_named(desk: Callable[[str], Desk]) -> None:
    here = desk("")
    (here.path / "all" / "notes").mkdir(parents=True)
    (here.path / "all" / "notes" / "a.txt").write_text("x")
    told = here.run("data", "check", "all")
    assert "folders below" not in " ".join((told.out + told.err).split())


def test_a_workbook_that_cannot_be_read_is_named(desk: Callable[[str], Desk]) -> None:
    (fault,) = desk(CASE).run("data", "check", "quotes.xlsx", "--json").answer["faults"]
    assert "workbook" in fault["found"]
    assert "zip archive" in fault["found"]
    assert "save the sheet as CSV" in fault["cure"]
