"""One folder a symbol, and a workbook."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence

import numpy as np
import pytest

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


def files(here: Desk, folder: str, bars: dict[str, Sequence[str]]) -> None:
    """Writes a file of closes 1, 2, ... for each name, on these dates."""
    (here.path / folder).mkdir()
    for name, dates in bars.items():
        rows = "".join(f"{date},{at}\n" for at, date in enumerate(dates, start=1))
        (here.path / folder / f"{name}.csv").write_text("date,close\n" + rows)


def days(first: str, count: int) -> list[str]:
    start = np.busday_offset(first, 0, roll="forward")
    return [str(np.busday_offset(start, at)) for at in range(count)]


def test_files_of_months_are_one_symbol(desk: Callable[[str], Desk]) -> None:
    answer = desk(CASE).ask("data", "check", "months")
    assert answer["symbols"] == ["QRS"]
    assert answer["rows"] == 42
    assert "QRS-2024-01 and QRS-2024-02 follow one another and are read as one symbol QRS" in str(
        answer["notes"]
    )
    assert answer["warnings"] == []


@pytest.mark.parametrize(
    ("names", "starts"),
    [
        (("AB2022", "AB2023", "AB2024"), ("2022-03-01", "2023-03-01", "2024-03-01")),
        (("AB_202311", "AB_202312", "AB_202401"), ("2023-11-01", "2023-12-04", "2024-01-02")),
        (("AB-2023Q3", "AB-2023Q4", "AB-2024Q1"), ("2023-07-05", "2023-10-02", "2024-01-02")),
        (("AB-2024-01-31", "AB-2024-02-29", "AB-2024-03-28"),
         ("2024-01-02", "2024-02-05", "2024-03-04")),
    ],
)  # fmt: skip
def test_files_of_other_spans_are_one_symbol(
    desk: Callable[[str], Desk], names: tuple[str, ...], starts: tuple[str, ...]
) -> None:
    """Three files of 10 bars each: 30 bars of AB, in time; no other symbol."""
    here = desk("")
    files(here, "all", {name: days(start, 10) for name, start in zip(names, starts, strict=True)})
    answer = here.ask("data", "check", "all")
    assert answer["symbols"] == ["AB"]
    assert answer["rows"] == 30
    assert answer["start"] == starts[0]
    assert f"{names[0]}, {names[1]} and {names[2]} follow one another" in str(answer["notes"])


@pytest.mark.parametrize(
    ("bars", "why"),
    [
        ({"AB-2024-01": days("2024-01-02", 15), "AB-2024-02": days("2024-01-22", 15)},
         "their dates overlap"),
        # Contracts that expire in these months: their bars are of the months before.
        ({"AB-2024-06": days("2024-01-02", 15), "AB-2024-12": days("2024-06-03", 15)},
         "they hold other dates than their names say"),
        ({"AB-2023": days("2023-01-03", 15), "AB-2024-01": days("2024-01-02", 15)},
         "the dates in their names are of several kinds"),
        ({"AB-2023": days("2023-01-03", 15), "AB-2024": days("2024-01-02", 15),
          "AB": days("2024-01-02", 15)},
         "there is a file AB too"),
    ],
)  # fmt: skip
def test_files_that_may_be_one_symbol_stay_apart(
    desk: Callable[[str], Desk], bars: dict[str, Sequence[str]], why: str
) -> None:
    here = desk("")
    files(here, "all", bars)
    answer = here.ask("data", "check", "all")
    assert sorted(answer["symbols"]) == sorted(bars)
    assert f"may be one symbol AB, and are read as 2: {why}" in str(answer["notes"])


def test_tickers_that_end_in_digits_are_no_dates(desk: Callable[[str], Desk]) -> None:
    """Numbers of Tokyo, a fund named by its year alone, different stems: nothing is joined or said."""
    here = desk("")
    names = ("1925", "1928", "AB2024", "CD2025", "EF2330", "EF2331")
    files(here, "all", {name: days("2024-01-02", 15) for name in names})
    answer = here.ask("data", "check", "all")
    assert sorted(answer["symbols"]) == sorted(names)
    assert "one symbol" not in str(answer["notes"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_with_a_byte_order_mark_is_read(desk: Callable[[str], Desk], encoding: str) -> None:
    here = desk("")
    (here.path / "AB.csv").write_text("date,close\n2024-01-02,1.5\n2024-01-03,1.6\n", encoding)
    answer = here.ask("data", "check", "AB.csv")
    assert (answer["rows"], answer["symbols"]) == (2, ["AB"])


def test_text_of_another_encoding_is_named_by_its_line(desk: Callable[[str], Desk]) -> None:
    """0xe9 is é in Windows-1252, in line 3."""
    here = desk("")
    text = "date,close,remark\n2024-01-02,1.5,\n2024-01-03,1.6,caf\xe9\n"
    (here.path / "AB.csv").write_text(text, "cp1252")
    (fault,) = here.run("data", "check", "AB.csv", "--json").answer["faults"]
    assert (fault["kind"], fault["row"], "0xe9" in fault["found"]) == ("encoding", 3, True)
    assert "UTF-8" in fault["cure"]


def test_cut_utf_16_is_a_fault(desk: Callable[[str], Desk]) -> None:
    here = desk("")
    (here.path / "AB.csv").write_bytes("date,close\n2024-01-02,1.5\n".encode("utf-16")[:-1])
    (fault,) = here.run("data", "check", "AB.csv", "--json").answer["faults"]
    assert "damaged UTF-16" in fault["found"]


def test_a_zip_of_one_file_is_that_file_and_one_of_two_is_refused(
    desk: Callable[[str], Desk],
) -> None:
    here = desk("")
    text = "date,close,volume\n2024-01-02,1.5,10\n2024-01-03,1.6,20\n"
    (here.path / "AB.csv").write_text(text)
    for name, members in (("one.zip", ("AB.csv",)), ("two.zip", ("AB.csv", "CD.csv"))):
        with zipfile.ZipFile(here.path / name, "w") as archive:
            for member in members:
                archive.writestr(member, text)
    plain, packed = (here.ask("data", "check", name) for name in ("AB.csv", "one.zip"))
    for key in ("rows", "start", "end", "interval", "symbols"):
        assert packed[key] == plain[key]
    told = here.run("data", "check", "two.zip", "--json")
    assert told.code == 2
    assert "CD.csv" in str(told.answer)
