"""From a table's cells to numbers: long, one row a symbol and time, oldest first.

Owns what a cell means as a number or a symbol, in the way that the file as a whole settles. Refuses to know
headers (`layout`) and whether the numbers make sense (`validate`).
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading.sources.bars import Bars
from trading.sources.date_text import read_price_stamps
from trading.sources.faults import Fault
from trading.sources.headers import CELLS
from trading.sources.layout import RETURNS_CURE
from trading.sources.number_text import NOT_A_NUMBER, Decided, Hints, decide, hints, values
from trading.sources.sheet import Piece, Table

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
INT = npt.NDArray[np.int64]

RETURNS_FRAC = 0.15
"""Share of negative values from which on a table of closes is one of returns: prices have none."""
RETURNS_CELLS = 10
"""With fewer values nothing is said about returns."""

DECIMAL_CURE = "say which sign is the decimal one: --set data.decimal=. or --set data.decimal=,"
TEXT_CURE = "write a plain number such as 1234.5"
COMMA_CURE = (
    "write numbers in one way, such as 1234.5; a file with decimal commas throughout is read with"
    " data.decimal=,"
)


def table_bars(table: Table, name: str) -> tuple[Bars, list[Fault], list[str]]:
    """(one table's cells as numbers, faults, notes); every cell that is no number is a fault."""
    notes = list(table.notes)
    stamps, faults, told = read_price_stamps(table.stamps, table.lines, name, table.date_order)
    notes += told
    decided = _decimal(table)
    if decided.note:
        notes.append(decided.note)
    if decided.doubt is not None:
        faults.append(_doubt(table, decided.doubt, name))
    rows = len(table.lines)
    symbols: dict[str, int] = {}
    codes: list[INT] = []
    columns: list[FloatArray] = []
    bad_rows: list[BoolArray] = []
    for piece in table.pieces:
        code, more = _piece_codes(piece, symbols, table, name, notes)
        faults += more
        if decided.doubt is None:
            symbol_at = np.array(list(symbols), dtype=object)[code]
            numbers, faulty, more = _piece_values(piece, decided, table.lines, symbol_at, name)
            faults += more
        else:
            numbers, faulty = np.full((6, rows), np.nan), np.ones(rows, dtype=bool)
        codes.append(code)
        columns.append(numbers)
        bad_rows.append(faulty)
    tiled = np.tile(np.arange(rows), len(table.pieces))
    bars = Bars(
        name,
        tuple(symbols),
        np.concatenate(codes),
        stamps.take(tiled),
        np.concatenate(columns, axis=1),
        np.concatenate(bad_rows),
        table.lines[tiled],
    )
    bars, more = _no_returns(table, bars)
    faults += more
    bars, told = _close_alone(bars, table.incomplete_bars == "close")
    notes += told
    bars, told = oldest_first(bars)
    return bars, faults, notes + told


def _decimal(table: Table) -> Decided:
    """The decimal sign of the table's text cells, or the one that the settings name."""
    if table.decimal in (".", ","):
        return Decided("." if table.decimal == "." else ",")
    columns: dict[str, Hints] = {}
    for piece in table.pieces:
        for cell, series in piece.cells.items():
            texts = [text for text in _texts(series) if text not in NOT_A_NUMBER]
            if texts:
                label = cell if piece.symbol is None or len(table.pieces) == 1 else piece.symbol
                columns[f"{label} {len(columns)}"] = hints(texts)
    return decide(columns, table.delimiter or ",")


def _texts(cells: pd.Series) -> list[str]:
    """The distinct texts of a column; none where it holds numbers."""
    from pandas.api import types

    if types.is_numeric_dtype(cells.dtype) or types.is_datetime64_any_dtype(cells.dtype):
        return []
    return [cell.strip() for cell in cells.dropna().unique().tolist() if isinstance(cell, str)]


def _doubt(table: Table, doubt: tuple[str, str, str], name: str) -> Fault:
    """The one fault of a file whose decimal sign nothing settles."""
    label, cell, beside = doubt
    label = _column(label.rsplit(" ", maxsplit=1)[0])
    rows = [
        int(line)
        for piece in table.pieces
        for series in piece.cells.values()
        for line in table.lines[(series.astype(str).str.strip() == cell).to_numpy()][:1]
    ]
    found = f"{cell!r} beside {beside!r} in {label}: thousands, or three decimals?"
    return Fault("decimal", min(rows, default=None), None, found, DECIMAL_CURE, name)


def _piece_codes(
    piece: Piece, symbols: dict[str, int], table: Table, name: str, notes: list[str]
) -> tuple[INT, list[Fault]]:
    """(an index into `symbols`, which grows, for each row; faults of rows without a symbol)."""
    from pandas.api import types

    if piece.symbols is None:
        assert piece.symbol is not None
        code = symbols.setdefault(piece.symbol, len(symbols))
        return np.full(len(table.lines), code, dtype=np.int64), []
    odd = _no_symbols(piece.symbols)
    if odd.any():
        cell = piece.symbols.iloc[int(odd.argmax())]
        what = "truth values" if isinstance(cell, bool | np.bool_) else "dates"
        found = (
            f"{what} where symbols belong ({cell}): whoever read the table took the text for one"
        )
        cure = "give the symbols as text (in pandas dtype=str, keep_default_na=False)"
        code = symbols.setdefault("", len(symbols))
        fault = Fault("symbol", int(table.lines[odd.argmax()]), None, found, cure, name)
        return np.full(len(table.lines), code, dtype=np.int64), [fault]
    if types.is_numeric_dtype(piece.symbols.dtype):
        notes.append(
            "the symbols are numbers in these data: zeros before them, if there were any, are lost already"
            " (read them as text to keep them)"
        )
    codes, unnamed = _codes(piece.symbols, symbols)
    cure = "name the row's symbol (pandas takes NA and NULL for empty unless keep_default_na=False)"
    faults = [
        Fault("symbol", int(table.lines[row]), None, "no symbol", cure, name)
        for row in np.flatnonzero(unnamed)
    ]
    return codes, faults


def _no_symbols(cells: pd.Series) -> BoolArray:
    """The rows with a truth value or a date where a symbol belongs: the tickers TRUE and MAR1 become such."""
    from pandas.api import types

    if types.is_bool_dtype(cells.dtype) or types.is_datetime64_any_dtype(cells.dtype):
        return np.ones(len(cells), dtype=bool)
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=bool)
    kinds = bool | np.bool_ | date
    return np.array([isinstance(cell, kinds) for cell in cells], dtype=bool)


def _piece_values(
    piece: Piece, decided: Decided, lines: INT, symbol_at: npt.NDArray[np.object_], name: str
) -> tuple[FloatArray, BoolArray, list[Fault]]:
    """(values [6, K], the rows with a cell that is no number, a fault for each); `symbol_at` [K]."""
    rows = len(lines)
    found = np.full((6, rows), np.nan)
    faulty = np.zeros(rows, dtype=bool)
    faults: list[Fault] = []
    for cell, series in piece.cells.items():
        numbers, bad = to_numbers(series, decided, multiples=cell == "volume")
        found[CELLS.index(cell)] = numbers
        faulty |= bad
        faults += [
            Fault("text", int(lines[row]), symbol_at[row],
                  f"{str(series.iloc[row])[:40]!r} where {_column(cell)} belongs",
                  COMMA_CURE if "," in str(series.iloc[row]) else TEXT_CURE, name)
            for row in np.flatnonzero(bad)
        ]  # fmt: skip
    if "open" not in piece.cells:
        found[0:3] = found[3]
    return found, faulty, faults


def _column(cell: str) -> str:
    return "adj_close" if cell == "adjclose" else cell


def _codes(cells: pd.Series, symbols: dict[str, int]) -> tuple[INT, BoolArray]:
    """(an index into `symbols`, which grows, for each row; the rows without a symbol)."""
    import pandas as pd

    codes, unique = pd.factorize(cells, use_na_sentinel=True)
    names = [_symbol(value) for value in unique.tolist()]
    mapping = np.array([symbols.setdefault(name, len(symbols)) for name in names], dtype=np.int64)
    blank = np.array([name == "" for name in names], dtype=bool)
    missing = codes < 0
    if missing.any():
        symbols.setdefault("", len(symbols))
    if len(names) == 0:
        return np.full(len(codes), symbols.get("", 0), dtype=np.int64), missing
    safe = np.where(missing, 0, codes)
    return np.where(missing, symbols.get("", 0), mapping[safe]), missing | blank[safe]


def _symbol(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def to_numbers(
    cells: pd.Series, decided: Decided, *, multiples: bool = False
) -> tuple[FloatArray, BoolArray]:
    """(float64 with NaN for empty cells, the rows that hold something else than a number).

    `multiples` lets K, M and B follow a number, as in `0.88M`.
    """
    import pandas as pd
    from pandas.api import types

    if types.is_float_dtype(cells.dtype) or types.is_integer_dtype(cells.dtype):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(cells), dtype=bool)
    codes, unique = pd.factorize(cells, use_na_sentinel=True)
    items = unique.tolist()
    texts = [item.strip() if isinstance(item, str) else str(item) for item in items]
    worth = values(texts, decided.sign, multiples=multiples)
    for at, item in enumerate(items):
        if isinstance(item, int | float) and not isinstance(item, bool):
            worth[at] = float(item)
        elif isinstance(item, bool):
            worth[at] = np.nan
    empty = np.array([text in NOT_A_NUMBER for text in texts], dtype=bool)
    if not len(items):
        return np.full(len(cells), np.nan), np.zeros(len(cells), dtype=bool)
    safe = np.where(codes < 0, 0, codes)
    numbers = np.where(codes < 0, np.nan, np.where(empty, np.nan, worth)[safe])
    bad = (codes >= 0) & (np.isnan(worth) & ~empty)[safe]
    return numbers.astype(np.float64), np.asarray(bad, dtype=bool)


def _no_returns(table: Table, bars: Bars) -> tuple[Bars, list[Fault]]:
    """The bars, or one fault where a table of closes holds returns: prices are not negative."""
    if any("open" in piece.cells for piece in table.pieces):
        return bars, []
    close = bars.values[3][np.isfinite(bars.values[3])]
    if len(close) < RETURNS_CELLS or (close < 0).mean() < RETURNS_FRAC:
        return bars, []
    found = (
        f"returns (or differences), not prices: {(close < 0).mean():.0%} of the values are negative"
    )
    cleared = bars.blank()
    return cleared, [Fault("returns", int(table.lines[0]), None, found, RETURNS_CURE, bars.file)]


def _close_alone(bars: Bars, wanted: bool) -> tuple[Bars, list[str]]:
    """With the setting, bars whose open, high or low is 0 or empty are read by their close alone."""
    if not wanted:
        return bars, []
    rows = bars.close_alone()
    if not rows.any():
        return bars, []
    filled = bars.values.copy()
    filled[:3, rows] = filled[3, rows]
    count = int(rows.sum())
    word = "bar has" if count == 1 else "bars have"
    note = f"{count} {word} a close alone: open = high = low = close there (data.incomplete_bars)"
    return bars.with_values(filled), [note]


def oldest_first(bars: Bars) -> tuple[Bars, list[str]]:
    """The bars in order of time where every symbol's run backwards, newest first; else as they are."""
    rows = np.flatnonzero(bars.stamps.valid)
    order = rows[np.argsort(bars.code[rows], kind="stable")]
    same = np.diff(bars.code[order]) == 0
    gaps = np.diff(bars.stamps.utc[order])[same]
    if len(gaps) == 0 or (gaps > 0).any() or not (gaps < 0).any():
        return bars, []
    return bars.take(np.arange(len(bars.code))[::-1].copy()), ["the rows are newest first"]
