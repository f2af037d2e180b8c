"""Workbooks (.xlsx): the same bars as from the CSV file, and what a CSV file cannot have."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest

from core.config import DataConfig
from core.errors import DataError
from core.unpack import limited
from trading.datasets import check_data
from trading.sources import DataFaults, load_panel

HEAD = ["Date", "Open", "High", "Low", "Close", "Volume"]
DAYS = [day.to_pydatetime() for day in pd.bdate_range("2024-01-16", periods=12)]
BARS: list[list[Any]] = [
    [day, 10.5 + at, 11.25 + at, 10.25 + at, 11.0 + at, 900 + at] for at, day in enumerate(DAYS)
]


def write(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """A workbook whose sheets have these rows."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def edited(
    path: Path, change: Callable[[str], str], part: str = "xl/worksheets/sheet1.xml"
) -> Path:
    """The workbook with one part's XML changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def csv(path: Path) -> Path:
    lines = [",".join(HEAD), *(",".join([str(row[0])[:10], *map(str, row[1:])]) for row in BARS)]
    path.write_text("\n".join(lines) + "\n")
    return path


def as_text(form: str) -> list[list[Any]]:
    return [[row[0].strftime(form), *row[1:]] for row in BARS]


SAME: dict[str, list[list[Any]]] = {
    "dates": [HEAD, *BARS],
    "texts of ISO 8601": [HEAD, *as_text("%Y-%m-%d")],
    "texts, month first": [HEAD, *as_text("%m/%d/%Y")],
    "numbers of days": [
        HEAD,
        *([45307 + (day - DAYS[0]).days, *row[1:]] for day, row in zip(DAYS, BARS, strict=True)),
    ],
    "numbers as texts": [HEAD, *([row[0], *map(str, row[1:])] for row in BARS)],
    "a title, empty rows and columns": [
        ["Prices of X"],
        [],
        [None, None, *HEAD],
        *([None, None, *row] for row in BARS[:5]),
        [],
        ["   "],
        *([None, None, *row] for row in BARS[5:]),
        [],
    ],
}


@pytest.mark.parametrize("name", SAME)
def test_a_sheet_gives_the_bars_of_its_csv(tmp_path: Path, name: str) -> None:
    (tmp_path / "csv").mkdir()
    expected = load_panel(csv(tmp_path / "csv" / "X.csv"))
    panel = load_panel(write(tmp_path / "X.xlsx", {"Prices": SAME[name]}))
    assert panel.symbols == expected.symbols == ("X",)
    assert panel.as_of == expected.as_of
    assert np.array_equal(panel.stack, expected.stack, equal_nan=True)
    assert panel.stack[5:10, -1, 0].tolist() == [21.5, 22.25, 21.25, 22.0, 911]


def test_a_size_that_the_sheet_claims_wrongly_cuts_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *BARS]})
    edited(path, lambda text: re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1:B3"', text))
    assert load_panel(path).rows == 12


@pytest.mark.parametrize("order", [0, 1])
def test_two_levels_of_names_with_merged_cells(tmp_path: Path, order: int) -> None:
    one = pd.DataFrame(
        [row[1:] for row in BARS], columns=HEAD[1:], index=pd.Index(DAYS, name="Date")
    )
    both = pd.concat({"AAA": one, "BBB": one * 2}, axis=1, names=["Ticker", "Price"])
    if order:
        both = both.swaplevel(axis=1).sort_index(axis=1)
    both.to_excel(tmp_path / "download.xlsx")
    panel = load_panel(tmp_path / "download.xlsx")
    assert panel.symbols == ("AAA", "BBB")
    assert panel.stack[5:10, 0].T.tolist() == [
        [10.5, 11.25, 10.25, 11, 900],
        [21, 22.5, 20.5, 22, 1800],
    ]


def test_the_one_sheet_with_prices_is_read_and_said(tmp_path: Path) -> None:
    sheets = {
        "About": [["Source", "Unit"], ["a vendor", "USD"]],
        "Daily": [HEAD, *BARS],
        "Sheet3": [],
    }
    panel = load_panel(write(tmp_path / "X.xlsx", sheets))
    assert panel.rows == 12
    assert "the sheet 'Daily' is read; without prices: About" in panel.notes


def test_several_sheets_with_prices_want_a_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "X.xlsx", {"One": [HEAD, *BARS], "Two": [HEAD, *BARS[:4]], "N": [["a"]]}
    )
    with pytest.raises(DataFaults, match=r"prices on 2 sheets \(One, Two\).*data\.sheet=NAME"):
        load_panel(path)
    assert load_panel(path, config=DataConfig(sheet="Two")).rows == 4
    with pytest.raises(DataFaults, match=r"no filled sheet 'Three' \(sheets: One, Two, N\)"):
        load_panel(path, config=DataConfig(sheet="Three"))


def test_a_faulty_sheet_of_prices_is_not_passed_over_for_another(tmp_path: Path) -> None:
    sheets = {
        "Daily": [[*HEAD, "close"], *([*row, 1] for row in BARS)],
        "Rates": [["Date", "R"], [DAYS[0], 1]],
    }
    with pytest.raises(DataFaults, match="two columns that mean close"):
        load_panel(write(tmp_path / "X.xlsx", sheets))


def test_formulas_count_by_their_results_and_none_passes_without_one(tmp_path: Path) -> None:
    rows = [[*row[:4], f"=D{at}+0.75", row[5]] for at, row in enumerate(BARS, start=2)]
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *rows]})
    (fault,) = check_data(path).faults
    assert (fault.kind, fault.row, fault.count) == ("text", 2, 12)
    assert fault.found == "the formula '=D2+0.75' without its result"
    assert "save it there" in fault.cure
    closes = iter(BARS)
    edited(path, lambda text: re.sub("<v */>|<v></v>", lambda _: f"<v>{next(closes)[4]}</v>", text))
    assert load_panel(path).field("close")[:, 0].tolist() == [11.0 + at for at in range(12)]


def test_a_formula_whose_result_is_the_empty_text_is_an_empty_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *([*row[:5], '=""'] for row in BARS)]})
    edited(path, lambda text: re.sub(r'(<c r="F\d+")( t="\w+")?', r'\1 t="str"', text))
    panel = load_panel(path)
    assert (panel.rows, panel.has_volume) == (12, False)


REFUSED: dict[str, tuple[list[list[Any]], str, str]] = {
    "dates that another order of day and month has read in part": (
        [HEAD, *BARS[:4], *as_text("%m/%d/%Y")[4:]],
        "date", "in a column of dates",
    ),
    "no header": (BARS, "no_price_columns", "no header: the first row has '2024-01-16"),
    "a name that is a number": (
        [["Date", "AAA", 700], *([row[0], 1.5, 2.5] for row in BARS)],
        "no_price_columns", "the first row has '700'",
    ),
    "a header alone": ([HEAD], "empty", "a header without rows"),
    "nothing": ([[]], "empty", "a workbook without a filled cell"),
    "no prices": ([["Source", "Unit"], ["a", "USD"]], "no_price_columns", "columns: Source, Unit"),
    "a ticker that became a truth value": (
        [["Symbol", *HEAD], ["AAA", *BARS[0]], [True, *BARS[1]]],
        "symbol", "truth values where symbols belong (True)",
    ),
    "a ticker that became a date": (
        [["Symbol", *HEAD], ["AAA", *BARS[0]], [date(2024, 3, 1), *BARS[1]]],
        "symbol", "dates where symbols belong (2024-03-01 00:00:00)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_sheets_that_are_refused(tmp_path: Path, name: str) -> None:
    rows, kind, found = REFUSED[name]
    fault = check_data(write(tmp_path / "X.xlsx", {"Prices": rows})).faults[0]
    assert fault.kind == kind
    assert found in fault.found


def packed(members: Mapping[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04" + b"x" * 50, "a damaged zip archive"),
        (packed({"[Content_Types].xml": "<Types/>"}), "a damaged workbook"),
        (packed({"[Content_Types].xml": "no XML", "xl/workbook.xml": "<"}), "a damaged workbook"),
        (packed({"content.xml": "<a/>", "mimetype": "x"}), "another format (OpenDocument)"),
        (b"\xd0\xcf\x11\xe0" + b"x" * 50, "the old format (.xls), or one with a password"),
    ],
    ids=["no archive", "no workbook in it", "no XML", "OpenDocument", "old format"],
)
def test_files_that_are_no_workbook(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "X.xlsx").write_bytes(content)
    (fault,) = check_data(tmp_path / "X.xlsx").faults
    assert (fault.kind, fault.row) == ("not_a_table", None)
    assert found in fault.found


def test_a_csv_that_is_called_a_workbook_is_read_as_what_it_is(tmp_path: Path) -> None:
    assert load_panel(csv(tmp_path / "X.xlsx")).rows == 12


def test_the_limit_on_what_is_unpacked_holds_for_workbooks(tmp_path: Path) -> None:
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *BARS]})
    edited(path, lambda text: text.replace("</sheetData>", "</sheetData>" + " " * 1_000_000))
    assert path.stat().st_size < 20_000
    with limited(500_000), pytest.raises(DataError, match="at most 500,000 are taken"):
        load_panel(path)
    assert load_panel(path).rows == 12


def test_rows_that_claim_a_cell_in_the_last_column_count_as_wide(tmp_path: Path) -> None:
    # 100 rows x 16,384 columns x 8 bytes are 13 MB, and fit into a few kB of the file.
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *BARS]})
    far = "".join(f'<row r="{at}"><c r="XFD{at}"><v>1</v></c></row>' for at in range(14, 114))
    edited(path, lambda text: text.replace("</sheetData>", far + "</sheetData>"))
    with limited(5_000_000), pytest.raises(DataError, match="at most 5,000,000 are taken"):
        load_panel(path)


def test_a_row_below_the_last_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *BARS]})
    far = '<row r="999999999999"><c><v>1</v></c></row></sheetData>'
    edited(path, lambda text: text.replace("</sheetData>", far))
    with pytest.raises(DataFaults, match="a row below the last, 1,048,576"):
        load_panel(path)


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "X.xlsx", {"Prices": [HEAD, *BARS]})
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (fault,) = check_data(path).faults
    assert "a workbook (.xlsx, a zip archive of tables)" in fault.found
    assert "save the sheet as CSV" in fault.cure
    assert "pip install 'athena-trading-agent[excel]'" in fault.cure


def test_hours_in_a_column_of_their_own(tmp_path: Path) -> None:
    start = datetime(2024, 1, 16, 9, 30)
    rows = []
    for at in range(6):
        moment = start + timedelta(hours=at)
        rows.append([moment.date(), moment.time(), 10.5, 11.25, 10.25, 11, 9])
    panel = load_panel(write(tmp_path / "X.xlsx", {"P": [["Date", "Time", *HEAD[1:]], *rows]}))
    assert (panel.interval, panel.as_of[0]) == ("1h", "2024-01-16T10:30:00Z")
