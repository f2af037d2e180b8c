"""Reads a CSV, Parquet or Feather file, or a DataFrame, into columns of cells by meaning.

Owns file formats and headers: which column is the time, the symbol, the close; what is wide, what has
two levels. Refuses to know whether the cells make sense (`validate`). A file's format is told by its
first bytes, not by its name. Known weakness: line numbers are off after a line break inside quotes.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from core.unpack import check_arrow, check_parquet, unpacked
from trading.sources.faults import DataFaults, Fault

if TYPE_CHECKING:
    import pandas as pd

Layout = Literal["long", "wide", "two-level"]

PRICES = ("open", "high", "low", "close")
CELLS = (*PRICES, "volume", "adjclose")
TIMES = ("timestamp", "datetime", "date", "time")
SYMBOLS = ("symbol", "ticker")
RESERVED = frozenset((*CELLS, *TIMES, *SYMBOLS))
NOT_A_NUMBER = (
    "",
    "nan",
    "NaN",
    "NAN",
    "null",
    "NULL",
    "None",
    "none",
    "n/a",
    "N/A",
    "NA",
    "#N/A",
    "-",
)
TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.\-_^=/:]*")
"""A wide table's columns are symbols, written in capitals; any other column is not taken for one."""
BRACKETED = re.compile(r"<\w+>[,;\t]")
"""A header such as `<TICKER>,<DATE>,...`, which is no HTML."""

COLUMNS_CURE = (
    "give the columns date, open, high, low, close (optional symbol, volume, adj_close), or date and one"
    " column of closes per symbol in capitals"
)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Cells of one symbol (`symbol`), or of many (`symbols`, one a row). Keys of `cells`: `CELLS`."""

    cells: dict[str, pd.Series]
    symbol: str | None = None
    symbols: pd.Series | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One file's cells. `lines` [K] are the rows as a person counts them; `stamps` [K] as written."""

    file: str
    layout: Layout
    lines: npt.NDArray[np.int64]
    stamps: pd.Series
    pieces: tuple[Piece, ...]
    ignored: tuple[str, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A table before its columns are understood: `frame` has the columns 0, 1, ... called `names` (a pair
    (field, ticker) where the header has two levels)."""

    file: str
    frame: pd.DataFrame
    lines: npt.NDArray[np.int64]
    names: Sequence[Any]
    faults: Sequence[Fault] = ()

    def written(self) -> str:
        return ", ".join(map(str, self.names))


def plain(name: object) -> str:
    """A column's name without case, spaces, punctuation and a number before it: `Adj Close`, `adj_close` and
    `5. adjusted close` are one."""
    word = re.sub(r"^\s*\d+\.\s+", "", str(name).lower())
    word = re.sub(r"[^a-z0-9]", "", word)
    return {"vol": "volume", "adjustedclose": "adjclose"}.get(word, word)


def broken(kind: str, found: str, cure: str, row: int | None = None, file: str = "") -> DataFaults:
    """The error for a file that cannot be read on."""
    return DataFaults([Fault(kind, row, None, found, cure, file)])


MAX_LINE_BYTES = 8 * 1024 * 1024
"""A longer line is no row of prices."""


def read_table(path: Path, data: bytes) -> Table:
    """The table in a file's bytes. Raises: DataFaults when it is no table, or has no prices."""
    file = path.name
    if data[:2] == b"\x1f\x8b":
        try:
            data = unpacked(data, ".gz", file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise broken(
                "not_a_table",
                f"a damaged gzip file ({error})",
                "fetch or pack the file again",
                file=file,
            ) from error
    if data[:4] == b"PAR1" or data[:6] == b"ARROW1" or data[:4] == b"FEA1":
        return frame_table(_arrow_frame(data, file), file)
    _check_lines(data, file)
    try:
        return _csv_table(data, file)
    except csv.Error as error:
        raise broken(
            "not_a_table", f"no CSV ({error})", "save it as CSV again", file=file
        ) from error


def _check_lines(data: bytes, file: str) -> None:
    """Raises: DataFaults for a line too long to be a row."""
    if len(data) <= MAX_LINE_BYTES:
        return
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(data))
    if (longest := int(lengths.max())) > MAX_LINE_BYTES:
        found, row = f"a line of {longest:,} bytes", int(lengths.argmax()) + 1
        raise broken("not_a_table", found, "give one row a line", row, file)


def _arrow_frame(data: bytes, file: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        if data[:4] == b"PAR1":
            check_parquet(data, file)
            return pd.read_parquet(io.BytesIO(data))
        if data[:6] == b"ARROW1":
            check_arrow(data, file)
        return pd.read_feather(io.BytesIO(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise broken(
            "not_a_table",
            f"a damaged Parquet or Feather file ({first})",
            "write the file again",
            file=file,
        ) from error


def _csv_table(data: bytes, file: str) -> Table:
    text = _decoded(data, file)
    head = text.lstrip()[:1]
    if not head:
        raise broken("empty", "an empty file", "give a file with a header line and rows", file=file)
    if head in "{[" or (head == "<" and not BRACKETED.match(text.lstrip())):
        what = "HTML or XML" if head == "<" else "JSON"
        raise broken("not_a_table", f"{what}, not a table", "save it as CSV or Parquet", file=file)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    rows, skipped = _head_rows(text)
    delimiter = max(",;\t|", key=rows[0].count)
    heads = [next(csv.reader([row], delimiter=delimiter), []) for row in rows]
    header = [[cell.strip() for cell in heads[0]]]
    header += _more_header_rows(header[0], heads[1:])
    first = header[0]
    if len(first) == 1 and plain(first[0]) not in RESERVED:
        raise broken(
            "not_a_table", f"a single column headed {first[0][:40]!r}", "give a CSV table: " + COLUMNS_CURE,
            file=file,
        )  # fmt: skip
    if _looks_like_data(first):
        raise broken(
            "no_price_columns",
            f"no header line: the first line is {rows[0][:60]!r}",
            COLUMNS_CURE,
            1,
            file,
        )
    start = skipped + len(header)
    names = _header_names(header, file)
    frame, lines, faults = _csv_body(text, delimiter, start, names, file)
    return _arrange(Sheet(file, frame, lines, names, faults))


def _decoded(data: bytes, file: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise broken("encoding", "UTF-16 text", "save the file as UTF-8", file=file)
    if b"\0" in data[:4096]:
        raise broken(
            "not_a_table",
            "binary data, not a table",
            "give a CSV, Parquet or Feather file",
            file=file,
        )
    if data[:4] == b"PK\x03\x04":
        raise broken("not_a_table", "a zip archive or workbook", "save the sheet as CSV", file=file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{data[error.start]:02x}, which is not UTF-8"
        raise broken("encoding", found, "save the file as UTF-8", line, file) from error


def _head_rows(text: str) -> tuple[list[str], int]:
    """(the first lines that are not blank, three at most; how many blank ones stand before them)"""
    rows: list[str] = []
    skipped = 0
    for line in io.StringIO(text):
        if line.strip():
            rows.append(line.rstrip("\n"))
        elif not rows:
            skipped += 1
        if len(rows) == 3:
            break
    return rows, skipped


def _more_header_rows(first: Sequence[str], following: Sequence[Sequence[str]]) -> list[list[str]]:
    """yfinance's second line (tickers or fields) and third (`Date,,,`), where they stand."""
    more: list[list[str]] = []
    kinds = {plain(name) for name in first[1:]}
    if not following:
        return more
    second = [cell.strip() for cell in following[0]]
    fields = {plain(name) for name in second[1:]}
    marked = plain(first[0]) in ("price", "ticker", "attributes", "", "date", "datetime")
    marked &= plain(second[0] if second else "x") in ("ticker", "price", "symbols", "", *TIMES)
    named = bool(second[1:]) and all(second[1:])
    if not (marked and named and ("close" in kinds or "close" in fields)):
        return more
    if any(_is_number(cell) for cell in second[1:]):
        return more
    more.append(second)
    if len(following) > 1:
        third = [cell.strip() for cell in following[1]]
        if plain(third[0] if third else "") in TIMES and not any(third[1:]):
            more.append(third)
    return more


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _looks_like_data(first: Sequence[str]) -> bool:
    """A header has no dates; a data row has one and numbers beside it."""
    dated = any(re.match(r"\d{4}[-/]?\d{2}[-/]?\d{2}", cell) for cell in first)
    return dated and sum(map(_is_number, first)) >= 1


def _header_names(header: Sequence[Sequence[str]], file: str) -> list[Any]:
    """One name a column; (field, ticker) pairs where the header has two levels."""
    first = list(header[0])
    if len(header) == 1:
        return list(first)
    second = list(header[1]) + [""] * (len(first) - len(header[1]))
    time = header[2][0] if len(header) > 2 else "Date"
    if "close" in {plain(name) for name in first[1:]}:
        pairs = list(zip(first[1:], second[1:], strict=False))
    elif "close" in {plain(name) for name in second[1:]}:
        pairs = list(zip(second[1:], first[1:], strict=False))
    else:
        raise broken("no_price_columns", f"the header {first!r}", COLUMNS_CURE, 1, file)
    return [time, *pairs]


def _csv_body(
    text: str, delimiter: str, start: int, names: Sequence[Any], file: str
) -> tuple[pd.DataFrame, npt.NDArray[np.int64], list[Fault]]:
    """(cells by position, line numbers, faults of lines with a wrong number of cells)."""
    import pandas as pd

    width = len(names)
    wrong = _wrong_lines(text, delimiter, start, width)
    faults = [
        Fault("columns", line, None, f"{count} cells where the header has {width}",
              "complete the line, or quote cells that hold the separator", file)
        for line, count in wrong
    ]  # fmt: skip
    if wrong:
        lines = text.split("\n")
        for line, _ in wrong:
            lines[line - 1] = ""
        text = "\n".join(lines)
    blanks: dict[Any, list[str]] = {
        index: list(NOT_A_NUMBER) if plain(_field(name)) not in SYMBOLS else [""]
        for index, name in enumerate(names)
    }
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=delimiter, header=None, names=list(range(width)), index_col=False,
            skiprows=start, skip_blank_lines=False, keep_default_na=False, na_values=blanks,
            low_memory=False, skipinitialspace=True,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=range(width))
    except pd.errors.ParserError as error:
        raise broken(
            "not_a_table", str(error), "repair the quotes in the file", file=file
        ) from error
    lines_at = np.arange(len(frame), dtype=np.int64) + start + 1
    filled = frame.notna().any(axis=1).to_numpy()
    if filled.all():
        return frame, lines_at, faults
    return frame[filled].reset_index(drop=True), lines_at[filled], faults


def _field(name: Any) -> str:
    return str(name[0]) if isinstance(name, tuple) else str(name)


def _wrong_lines(text: str, delimiter: str, start: int, width: int) -> list[tuple[int, int]]:
    """(line, cells) of each line that has not `width` cells; blank lines are no lines."""
    if '"' in text:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter)
        return [
            (rows.line_num, len(row))
            for row in rows
            if rows.line_num > start and row and len(row) != width and any(map(str.strip, row))
        ]
    data = np.frombuffer(text.encode() + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    separators = np.searchsorted(np.flatnonzero(data == ord(delimiter)), ends)
    counts = np.diff(separators, prepend=0) + 1
    lengths = np.diff(ends, prepend=-1) - 1
    wrong = (counts != width) & (lengths > 0)
    wrong[:start] = False
    found = np.flatnonzero(wrong)
    if len(found) == 0:
        return []
    lines = text.split("\n")
    return [(int(at) + 1, int(counts[at])) for at in found if lines[at].strip()]


def frame_table(frame: pd.DataFrame, file: str) -> Table:
    """The table in a DataFrame: rows are counted from 1; an index that is no mere count is a column."""
    import pandas as pd

    if frame.empty:
        raise broken("empty", "a table without cells", "give rows and columns", file=file)
    lines = np.arange(1, len(frame) + 1, dtype=np.int64)
    counted = isinstance(frame.index, pd.RangeIndex)
    names: list[Any]
    if isinstance(frame.columns, pd.MultiIndex):
        if counted:
            frame, counted = _with_time_index(frame, file), False
        names = [frame.index.name or "Date", *_multi_names(frame.columns.tolist(), file)]
    else:
        names = [str(name) for name in frame.columns]
        if not counted:
            names = [str(name) if name is not None else "" for name in frame.index.names] + names
    body = frame.reset_index(drop=True)
    if not counted:
        index = frame.index.to_frame(index=False)
        index.columns = pd.RangeIndex(len(index.columns))
        body = pd.concat([index, body.set_axis(range(body.shape[1]), axis=1)], axis=1)
    return _arrange(Sheet(file, body.set_axis(range(len(names)), axis=1), lines, names))


def _with_time_index(frame: pd.DataFrame, file: str) -> pd.DataFrame:
    """A frame with two column levels whose times are a column, `("Date", "")` after `reset_index()`."""
    for at, column in enumerate(frame.columns):
        words = [plain(word) for word in column if str(word)]
        if len(words) == 1 and words[0] in TIMES:
            times = frame.iloc[:, at]
            rest = frame.iloc[:, [place for place in range(frame.shape[1]) if place != at]]
            return rest.set_axis(times.rename("Date"), axis=0)
    raise broken(
        "no_time_column",
        "two-level columns without an index of dates",
        "set the dates as the DataFrame's index",
        file=file,
    )


def _multi_names(columns: Sequence[tuple[Any, ...]], file: str) -> list[tuple[str, str]]:
    """(field, ticker) of each column of a DataFrame with two column levels, in either order."""
    levels = [{plain(column[level]) for column in columns} for level in (0, 1)]
    if "close" in levels[0]:
        return [(str(column[0]), str(column[1])) for column in columns]
    if "close" in levels[1]:
        return [(str(column[1]), str(column[0])) for column in columns]
    raise broken("no_price_columns", "two-level columns without Close", COLUMNS_CURE, file=file)


def _arrange(sheet: Sheet) -> Table:
    """Sort the columns by what their names say they are."""
    frame, names, file = sheet.frame, sheet.names, sheet.file
    if any(isinstance(name, tuple) for name in names):
        return _two_level(sheet)
    known: dict[str, int] = {}
    for index, name in enumerate(names):
        meaning = plain(name)
        if meaning in known:
            found = f"two columns that mean {meaning}: {names[known[meaning]]!r} and {name!r}"
            raise broken("columns", found, "keep one", file=file)
        if meaning in RESERVED:
            known[meaning] = index
    stamps, used = _time_column(sheet, known)
    missing = [field for field in PRICES if field not in known]
    symbol_at = next((known[name] for name in SYMBOLS if name in known), None)
    if len(missing) == len(PRICES):
        if symbol_at is not None:
            raise broken("no_price_columns", f"columns {sheet.written()}", COLUMNS_CURE, file=file)
        return _wide(sheet, stamps, used)
    if "close" in missing or len(missing) in (1, 2):
        found = f"no column {' or '.join(missing)} (columns: {sheet.written()})"
        raise broken("no_price_columns", found, COLUMNS_CURE, file=file)
    _not_empty(sheet)
    cells = {name: frame[known[name]] for name in CELLS if name in known}
    taken = {known[name] for name in cells} | used
    if symbol_at is None:
        piece = Piece(cells, symbol=_stem(file))
    else:
        taken.add(symbol_at)
        piece = Piece(cells, symbols=frame[symbol_at])
    return Table(
        file, "long", sheet.lines, stamps, (piece,), _ignored(sheet, taken), tuple(sheet.faults)
    )


def _ignored(sheet: Sheet, taken: set[int]) -> tuple[str, ...]:
    return tuple(str(name) or "(unnamed)" for at, name in enumerate(sheet.names) if at not in taken)


def _stem(file: str) -> str:
    """`AAPL.csv.gz` -> `AAPL`: the file's name stands for the symbol."""
    return re.sub(r"\.(csv|txt|tsv|parquet|pq|feather|arrow)$", "", file.removesuffix(".gz"))


def _time_column(sheet: Sheet, known: dict[str, int]) -> tuple[pd.Series, set[int]]:
    """(times as written, the columns they came from). A date beside a time of day is joined with it."""
    frame, names = sheet.frame, sheet.names
    if "date" in known and "time" in known and "timestamp" not in known and "datetime" not in known:
        day, hour = frame[known["date"]], frame[known["time"]]
        text = hour.dropna().astype(str)
        if len(text) and text.str.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?").all():
            joined = day.astype(str) + " " + hour.astype(str).str.zfill(5)
            return joined, {known["date"], known["time"]}
    at = next((known[name] for name in TIMES if name in known), None)
    if at is None and names and plain(names[0]) in ("", "unnamed0", "index"):
        at = 0
    if at is None:
        found = f"no column date, time or timestamp (columns: {sheet.written()})"
        kind = "no_time_column" if any(price in known for price in PRICES) else "no_price_columns"
        raise broken(kind, found, COLUMNS_CURE, file=sheet.file)
    return frame[at], {at}


def _not_empty(sheet: Sheet) -> None:
    if len(sheet.frame) == 0 and not sheet.faults:
        raise broken("empty", "a header without rows", "give a file with rows", file=sheet.file)


def _wide(sheet: Sheet, stamps: pd.Series, used: set[int]) -> Table:
    names = {
        at: str(name).strip()
        for at, name in enumerate(sheet.names)
        if at not in used and plain(name) not in RESERVED and TICKER.fullmatch(str(name).strip())
    }
    if not names:
        raise broken(
            "no_price_columns", f"columns {sheet.written()}", COLUMNS_CURE, file=sheet.file
        )
    _not_empty(sheet)
    pieces = tuple(Piece({"close": sheet.frame[at]}, symbol=name) for at, name in names.items())
    ignored = _ignored(sheet, used | set(names))
    return Table(sheet.file, "wide", sheet.lines, stamps, pieces, ignored, tuple(sheet.faults))


def _two_level(sheet: Sheet) -> Table:
    _not_empty(sheet)
    cells: dict[str, dict[str, pd.Series]] = {}
    ignored: dict[str, None] = {}
    for at, (field, ticker) in enumerate(sheet.names[1:], start=1):
        if plain(field) in CELLS:
            own = cells.setdefault(ticker, {})
            if plain(field) in own:
                raise broken(
                    "columns", f"two columns {field} of {ticker}", "keep one", file=sheet.file
                )
            own[plain(field)] = sheet.frame[at]
        else:
            ignored[field] = None
    for ticker, own in cells.items():
        missing = [field for field in PRICES if field not in own]
        if missing and missing != ["open", "high", "low"]:
            found = f"no column {' or '.join(missing)} of {ticker}"
            raise broken("no_price_columns", found, COLUMNS_CURE, file=sheet.file)
    pieces = tuple(Piece(own, symbol=ticker) for ticker, own in cells.items())
    stamps = sheet.frame[0]
    return Table(
        sheet.file, "two-level", sheet.lines, stamps, pieces, tuple(ignored), tuple(sheet.faults)
    )
