"""The filled sheets of an .xlsx workbook as tables of cells.

Owns what a workbook has and a CSV file has not: parts in an archive, dates that are dates, formulas without a
result, several sheets. Refuses to know which sheet holds prices (`table`). Known weakness: a program may
write 0 as the result of a formula that it never calculated.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from core import unpack
from trading.sources.archives import OLE, is_workbook
from trading.sources.csv_text import header_names, more_header_rows
from trading.sources.faults import SHOWN, Fault
from trading.sources.sheet import COLUMNS_CURE, Sheet, broken

EXTRA = "pip install 'athena-trading-agent[excel]' (in a checkout: pip install '.[excel]')"
FORMULA_CURE = (
    "open the workbook in a spreadsheet program and save it there, which stores the results, or save the"
    " sheet as CSV"
)
DATES_CURE = (
    "give all of them in one way: a spreadsheet that expects the other order of day and month has read some"
    " of the texts as dates, and wrongly; take the file from its source again, best with dates such as"
    " 2012-05-18"
)
LAST_ROW = 1_048_576
"""The format has no more rows; a row that says it stands further down is none."""

_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_DAY_OR_MONTH_FIRST = re.compile(r"\s*\d{1,2}([/.\-])\d{1,2}\1\d{2,4}(?:\D.*)?")
_DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
"""What openpyxl raises for parts that are missing, cut or no XML, whose parser says SyntaxError."""


def workbook_sheets(data: bytes, file: str) -> dict[str, Sheet] | None:
    """The filled sheets by their names, in the workbook's order; None for other bytes.

    Raises: DataFaults where openpyxl is missing, for an empty or damaged workbook and the old format;
    DataError over the limit on what is unpacked.
    """
    if data[:4] == OLE:
        found = "a workbook of the old format (.xls), or one with a password"
        raise broken("not_a_table", found, "save the sheet as CSV, or as .xlsx without", file=file)
    if not is_workbook(data):
        return None
    try:
        import openpyxl
    except ImportError as error:
        found = "a workbook (.xlsx, a zip archive of tables), which needs openpyxl"
        cure = f"save the sheet as CSV, or run: {EXTRA}"
        raise broken("not_a_table", found, cure, file=file) from error

    def load(*, results: bool) -> Any:
        return openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=results)

    try:
        with warnings.catch_warnings():  # about styles and checks of input, which are not read
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpack.check_zip(archive, file)
                written = load(results=False) if _has_formulas(archive, file) else None
            sheets = {}
            for sheet in load(results=True).worksheets:
                rows, faults = _read(sheet, written and written[sheet.title], file)
                if rows:
                    sheets[sheet.title] = _sheet(rows, faults, file)
    except _DAMAGE as error:
        found = f"a damaged workbook (.xlsx, a zip archive): {error}"
        raise broken("not_a_table", found, "save the sheet as CSV", file=file) from error
    if not sheets:
        raise broken("empty", "a workbook without a filled cell", "give a filled sheet", file=file)
    return sheets


def _has_formulas(archive: zipfile.ZipFile, file: str) -> bool:
    parts = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
    return any(_FORMULA.search(unpack.unzipped(archive, name, file)) for name in parts)


def _read(sheet: Any, written: Any, file: str) -> tuple[dict[int, list[object]], list[Fault]]:
    """(the cells of the filled rows by row number, a fault for each row with a formula that has no result);
    `written` is the sheet with formulas in place of results, where there are any."""
    rows: dict[int, list[object]] = {}
    faults: list[Fault] = []
    formulas = _grid(written, file) if written is not None else iter(())
    cells = 0
    for number, row in _grid(sheet, file):
        values = [cell.value for cell in row]
        _, texts = next(formulas, (number, ()))
        for cell, text in zip(row, texts, strict=False):
            if text.data_type == "f" and cell.value is None and cell.data_type != "str":
                formula = str(getattr(text.value, "text", text.value))  # of an array: its text
                found = f"the formula {formula[:40]!r} without its result"
                faults.append(Fault("text", number, None, found, FORMULA_CURE, file))
                break
        else:
            while values and (values[-1] is None or not str(values[-1]).strip()):
                values.pop()
            cells += len(values)
            unpack.check_cells(cells, 1, file)
            if values:
                rows[number] = values
    return rows, faults


def _grid(sheet: Any, file: str) -> Iterator[tuple[int, Sequence[Any]]]:
    """(row number, cells) of all rows, whatever size the sheet claims to have."""
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(), start=1):
        if number > LAST_ROW:
            found = f"a workbook with a row below the last, {LAST_ROW:,}"
            raise broken("not_a_table", found, "save the sheet as CSV", file=file)
        yield number, row


def _sheet(rows: dict[int, list[object]], faults: Sequence[Fault], file: str) -> Sheet:
    """A sheet whose first row with two filled cells or more is the header; empty columns are left out."""
    import pandas as pd

    width = max(map(len, rows.values()))
    unpack.check_cells(len(rows), width, file)
    numbers = list(rows)
    table = [[*row, *[None] * (width - len(row))] for row in rows.values()]
    kept = [at for at in range(width) if any(row[at] is not None for row in table)]
    table = [[row[at] for at in kept] for row in table]
    start = next((at for at, row in enumerate(table) if len(row) - row.count(None) > 1), 0)
    heads = [[_name(cell) for cell in row] for row in table[start : start + 3]]
    merged = [heads[0][0], *_filled_on(heads[0][1:])]
    more = more_header_rows(merged, heads[1:])
    names: list[Any] = header_names([merged, *more], file) if more else heads[0]
    if not more and (odd := [cell for cell in table[start] if not _is_name(cell)]):
        found = f"no header: the first row has {_name(odd[0])!r} where the name of a column belongs"
        cure = "write a header row above it, all names as text; " + COLUMNS_CURE
        raise broken("no_price_columns", found, cure, numbers[start], file)
    start += 1 + len(more)
    frame = pd.DataFrame(table[start:], columns=range(len(kept)), dtype=object).infer_objects()
    lines = np.array(numbers[start:], dtype=np.int64)
    told = [*faults, *(fault for at in frame for fault in _two_kinds(frame[at], lines, file))]
    return Sheet(file, frame, lines, names, told)


def _name(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _is_name(cell: object) -> bool:
    return cell is None or isinstance(cell, str)


def _filled_on(names: Sequence[str]) -> Iterator[str]:
    """Names of merged cells, of which the first alone has the text."""
    last = ""
    for name in names:
        last = name or last
        yield last


def _two_kinds(cells: Any, lines: Any, file: str) -> list[Fault]:
    """A fault where a column has dates and, beside them, texts such as 01/13/2023."""
    if cells.dtype != object or not any(isinstance(cell, datetime | date) for cell in cells):
        return []
    rows = [
        at
        for at, cell in enumerate(cells)
        if isinstance(cell, str) and _DAY_OR_MONTH_FIRST.fullmatch(cell)
    ]
    if not rows:
        return []
    found = f"the text {cells.iloc[rows[0]].strip()!r} in a column of dates"
    first = tuple(int(lines[at]) for at in rows[:SHOWN])
    return [Fault("date", first[0], None, found, DATES_CURE, file, len(rows), first)]
