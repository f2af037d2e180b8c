"""From the text of a CSV file to a sheet: lines before the header, separators, one header line, two or none.

Owns delimiters, quotes and which lines have the wrong number of cells. Cells stay text where their spelling
matters (symbols, times, numbers whose decimal sign is not settled). Refuses to know what columns mean.
Known weakness: line numbers are off after a line break inside quotes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.csvtext import UTF8_CURE, line_at, odd_byte
from trading.sources.faults import Fault
from trading.sources.headers import CELLS, SYMBOL_WORDS, SYMBOLS, TIME_WORDS, TIMES, plain
from trading.sources.layout import is_number_column
from trading.sources.number_text import NOT_A_NUMBER, decide, hints
from trading.sources.sheet import COLUMNS_CURE, Sheet, broken

if TYPE_CHECKING:
    import pandas as pd

INT = npt.NDArray[np.int64]

MAX_LINE_BYTES = 8 * 1024 * 1024
"""A longer line is no row of prices."""
SAMPLE_ROWS = 5_000
"""Rows whose cells are looked at one by one; in a longer file they settle how the rest is read."""

BRACKETED = re.compile(r"<\w+>[,;\t]")
"""A header such as `<TICKER>,<DATE>,...`, which is no HTML."""
_DIRECTIVE = re.compile(r"sep=(.)\s*")
"""A spreadsheet's first line that names the separator."""
_PREAMBLE = re.compile(r"#.*|https?://\S+")

_KLINE = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
]
_OHLCV = ("open", "high", "low", "close", "volume")
_HEADERLESS: Sequence[tuple[tuple[str, ...], tuple[str, ...]]] = (
    (tuple(_KLINE), (r"1\d{12}(?:\d{3})?", *[""] * 5, r"1\d{12}(?:\d{3})?")),
    (("datetime", *_OHLCV), (r"\d{8} \d{4}(?:\d\d)?",)),
    (("date", "time", *_OHLCV), (r"\d{4}\.\d\d\.\d\d|\d{8}", r"\d\d:\d\d(?::\d\d)?|\d{4,6}")),
    (("timestamp", *_OHLCV, "trades"), (r"1\d{9}", *[""] * 5, r"\d+")),
)
"""(columns, patterns of the first cells) of files without header: Binance, HistData, MetaTrader, Kraken."""


def csv_sheet(data: bytes, file: str) -> Sheet:
    """The sheet in a CSV file's bytes. Raises: DataFaults when it is none."""
    _check_lines(data, file)
    try:
        return _sheet(_decoded(data, file), file)
    except csv.Error as error:
        raise broken(
            "not_a_table", f"no CSV ({error})", "save it as CSV again", file=file
        ) from error


def _check_lines(data: bytes, file: str) -> None:
    """Raises: DataFaults for a line too long to be a row."""
    if len(data) <= MAX_LINE_BYTES:
        return
    end = b"\n" if b"\n" in data else b"\r"
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord(end))
    lengths = np.diff(ends, prepend=-1, append=len(data))
    if (longest := int(lengths.max())) > MAX_LINE_BYTES:
        found, row = f"a line of {longest:,} bytes", int(lengths.argmax()) + 1
        raise broken("not_a_table", found, "give one row a line", row, file)


def _decoded(data: bytes, file: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            found = f"damaged UTF-16 text ({error.reason})"
            raise broken("encoding", found, "save the file as UTF-8", file=file) from error
    if (zero := data.find(b"\0")) >= 0:
        found = "binary data (a zero byte), not a table of text"
        cure = "give a CSV (as UTF-8), Parquet or Feather file"
        raise broken("not_a_table", found, cure, line_at(data, zero), file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"text that is not UTF-8 ({odd_byte(data, error.start)})"
        cure = UTF8_CURE[0].lower() + UTF8_CURE[1:-1]
        raise broken("encoding", found, cure, line_at(data, error.start), file) from error


def _sheet(text: str, file: str) -> Sheet:
    head = text.lstrip()[:1]
    if not head:
        raise broken("empty", "an empty file", "give a file with a header line and rows", file=file)
    if head in "{[" or (head == "<" and not BRACKETED.match(text.lstrip())):
        what = "HTML or XML" if head == "<" else "JSON"
        raise broken("not_a_table", f"{what}, not a table", "save it as CSV or Parquet", file=file)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    rows, skipped, told = _head_rows(text)
    delimiter = told or max(",;\t|", key=rows[0].count)
    heads = [
        next(csv.reader([row], delimiter=delimiter, skipinitialspace=True), []) for row in rows
    ]
    header = [[cell.strip() for cell in heads[0]]]
    first = header[0]
    if len(first) == 1 and plain(first[0]) not in {*CELLS, *TIMES, *SYMBOLS}:
        raise broken(
            "not_a_table", f"a single column headed {first[0][:40]!r}", "give a CSV table: " + COLUMNS_CURE,
            file=file,
        )  # fmt: skip
    names: list[Any] | None = _headerless(heads)
    if names is None:
        if _looks_like_data(first):
            raise broken(
                "no_price_columns",
                f"no header line: the first line is {rows[0][:60]!r}",
                "write a header line above it; " + COLUMNS_CURE,
                1 + skipped,
                file,
            )
        header += more_header_rows(first, heads[1:])
        names = header_names(header, file)
        notes: tuple[str, ...] = ()
        start = skipped + len(header)
    else:
        notes = (f"the file has no header line: its columns are taken for {', '.join(names[:7])}",)
        start = skipped
    frame, lines, faults = _body(text, delimiter, start, names, file)
    return Sheet(file, frame, lines, names, faults, notes, delimiter)


def _head_rows(text: str) -> tuple[list[str], int, str]:
    """(the first lines that are not blank, three at most; how many lines stand before them; the separator
    where one of those names it)."""
    rows: list[str] = []
    skipped, told = 0, ""
    for line in io.StringIO(text):
        bare = line.strip()
        directive = _DIRECTIVE.fullmatch(line.rstrip("\n")) if not rows else None
        if directive is not None:
            told = directive[1]
        if not rows and (not bare or directive is not None or _PREAMBLE.fullmatch(bare)):
            skipped += 1
        elif bare:
            rows.append(line.rstrip("\n"))
        if len(rows) == 3:
            break
    if not rows:
        rows, skipped = [text.strip().split("\n", maxsplit=1)[0]], 0
    return rows, skipped, told


def _headerless(heads: Sequence[Sequence[str]]) -> list[Any] | None:
    """The columns of a vendor's file without a header line, told by the shape of its first rows."""
    for names, patterns in _HEADERLESS:
        if all(_shaped(row, names, patterns) for row in heads):
            return list(names)
    return None


def _shaped(row: Sequence[str], names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a row has these columns: as many cells, of these shapes, with a high above the low."""
    cells = [cell.strip() for cell in row]
    if len(cells) != len(names):
        return False
    shaped = zip(patterns, cells, strict=False)
    if not all(re.fullmatch(pattern, cell) for pattern, cell in shaped if pattern):
        return False
    at = names.index("open")
    if not all(map(_is_number, cells[at : at + 5])):
        return False
    opened, high, low, close = map(float, cells[at : at + 4])
    return low <= min(opened, close) <= max(opened, close) <= high


def more_header_rows(first: Sequence[str], following: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of the rows below the first: yfinance's second (tickers or fields) and third (`Date,,,`), where they
    stand."""
    more: list[list[str]] = []
    if not following:
        return more
    kinds = {plain(name) for name in first[1:]}
    second = [cell.strip() for cell in following[0]]
    inner = {plain(name) for name in second[1:]}
    marked = plain(first[0]) in (
        "price",
        "ticker",
        "attributes",
        "symbols",
        "symbol",
        "",
        "date",
        "datetime",
    )
    marked &= plain(second[0] if second else "x") in (
        "ticker",
        "price",
        "symbols",
        "symbol",
        "",
        *TIMES,
    )
    named = bool(second[1:]) and all(second[1:])
    if not (marked and named and {"close", "adjclose"} & (kinds | inner)):
        return more
    told = plain(second[0]) in ("ticker", "symbols", "symbol")
    if not told and any(_is_number(cell) for cell in second[1:]):
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
    if any(plain(cell) in TIME_WORDS for cell in first):
        return False
    date = r"\d{4}[-/.]?\d{2}[-/.]?\d{2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    numbers = sum(map(_is_number, first))
    return numbers == len(first) or (numbers > 0 and any(re.match(date, cell) for cell in first))


def header_names(header: Sequence[Sequence[str]], file: str) -> list[Any]:
    """One name a column; (field, ticker) pairs where the header has two levels. Raises: DataFaults."""
    first = list(header[0])
    if len(header) == 1:
        return list(first)
    second = list(header[1]) + [""] * (len(first) - len(header[1]))
    time = header[2][0] if len(header) > 2 else "Date"
    closes = (
        {"close", "adjclose"} & {plain(name) for name in level[1:]} for level in (first, second)
    )
    by_field, by_symbol = closes
    if by_field:
        pairs = list(zip(first[1:], second[1:], strict=False))
    elif by_symbol:
        pairs = list(zip(second[1:], first[1:], strict=False))
    else:
        raise broken("no_price_columns", f"the header {first!r}", COLUMNS_CURE, 1, file)
    return [time, *pairs]


def _body(
    text: str, delimiter: str, start: int, names: Sequence[Any], file: str
) -> tuple[pd.DataFrame, INT, list[Fault]]:
    """(cells by position, line numbers, faults of lines with a wrong number of cells)."""
    import pandas as pd

    text = _without_last_separator(text, delimiter, start, len(names))
    width = len(names)
    wrong = _wrong_lines(text, delimiter, start, width)
    cure = "complete the line, or quote cells that hold the separator"
    if any(count > width for _, count in wrong):
        cure = (
            f"quote the cells that hold the separator {delimiter!r}: within a number or a text it shifts the"
            " columns"
        )
    faults = [
        Fault("columns", line, None, f"{count} cells where the header has {width}", cure, file)
        for line, count in wrong
    ]
    if wrong:
        lines = text.split("\n")
        for line, _ in wrong:
            lines[line - 1] = ""
        text = "\n".join(lines)
    try:
        frame = _cells(text, delimiter, start, names)
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


def _cells(text: str, delimiter: str, start: int, names: Sequence[Any]) -> pd.DataFrame:
    """The cells as text; in a long file whose first rows settle the decimal point, numbers as numbers."""
    import pandas as pd

    def read(**options: Any) -> pd.DataFrame:
        frame: pd.DataFrame = pd.read_csv(
            io.StringIO(text), sep=delimiter, header=None, names=list(range(len(names))), index_col=False,
            skiprows=start, skip_blank_lines=False, keep_default_na=False, low_memory=False,
            skipinitialspace=True, **options,
        )  # fmt: skip
        return frame

    sample = read(dtype=str, na_values=[""], nrows=SAMPLE_ROWS)
    if len(sample) < SAMPLE_ROWS:
        return sample
    numbers = [
        at
        for at, name in enumerate(names)
        if plain(name[0] if isinstance(name, tuple) else name)
        not in {*SYMBOL_WORDS, *TIME_WORDS, "t"}
        and is_number_column(sample[at])
    ]
    found = {str(at): hints(sample[at].dropna().unique().tolist()) for at in numbers}
    settled = any(one.sure["."] for one in found.values()) and decide(found).sign == "."
    if not settled:
        return read(dtype=str, na_values=[""])
    kinds = {at: str for at in range(len(names)) if at not in numbers}
    blanks = {at: list(NOT_A_NUMBER) if at in numbers else [""] for at in range(len(names))}
    return read(dtype=kinds, na_values=blanks)


def _without_last_separator(text: str, delimiter: str, start: int, width: int) -> str:
    """The text without a separator at the end of every row, which some vendors write and the header lacks."""
    lines = text.split("\n", start + 3)[start : start + 3]
    lines = [line for line in lines if line.strip()]
    if not lines or not all(line.rstrip().endswith(delimiter) for line in lines):
        return text
    if any(
        len(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))) != width + 1
        for line in lines
    ):
        return text
    return re.sub(rf"{re.escape(delimiter)}[ \t]*$", "", text, flags=re.MULTILINE)


def _wrong_lines(text: str, delimiter: str, start: int, width: int) -> list[tuple[int, int]]:
    """(line, cells) of each line that has not `width` cells; blank lines are no lines."""
    if '"' in text:
        rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
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
