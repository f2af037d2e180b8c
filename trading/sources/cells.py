"""From a table's cells to numbers: long, one row a symbol and time.

Owns what a cell means as a number or a symbol. Refuses to know headers (`table`) and whether the numbers
make sense (`validate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading.sources.bars import Bars
from trading.sources.faults import Fault
from trading.sources.table import CELLS, NOT_A_NUMBER, Table
from trading.sources.times import read_stamps

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]


def table_bars(table: Table, name: str) -> tuple[Bars, list[Fault]]:
    """One table's cells as numbers, long; every cell that is no number is a fault."""
    faults: list[Fault] = []
    rows = len(table.lines)
    stamps, found = read_stamps(table.stamps, table.lines, name)
    faults += found
    symbols: dict[str, int] = {}
    codes: list[INT] = []
    columns: list[FloatArray] = []
    bad_rows: list[npt.NDArray[np.bool_]] = []
    for piece in table.pieces:
        if piece.symbols is None:
            assert piece.symbol is not None
            code = np.full(rows, symbols.setdefault(piece.symbol, len(symbols)), dtype=np.int64)
        else:
            code, unnamed = _codes(piece.symbols, symbols)
            faults += [
                Fault(
                    "symbol",
                    int(table.lines[row]),
                    None,
                    "no symbol",
                    "name the row's symbol",
                    name,
                )
                for row in np.flatnonzero(unnamed)
            ]
        names = list(symbols)
        values = np.full((6, rows), np.nan)
        faulty = np.zeros(rows, dtype=bool)
        for cell, series in piece.cells.items():
            numbers, bad = to_numbers(series)
            values[CELLS.index(cell)] = numbers
            faulty |= bad
            faults += [
                Fault("text", int(table.lines[row]), names[code[row]],
                      f"{str(series.iloc[row])[:40]!r} where {_column(cell)} belongs",
                      "write a plain number such as 1234.5", name)
                for row in np.flatnonzero(bad)
            ]  # fmt: skip
        if "open" not in piece.cells:
            values[0:3] = values[3]
        codes.append(code)
        columns.append(values)
        bad_rows.append(faulty)
    pieces = len(table.pieces)
    tiled = np.tile(np.arange(rows), pieces)
    bars = Bars(
        name,
        tuple(symbols),
        np.concatenate(codes),
        stamps.take(tiled),
        np.concatenate(columns, axis=1),
        np.concatenate(bad_rows),
        table.lines[tiled],
    )
    return bars, faults


def _column(cell: str) -> str:
    return "adj_close" if cell == "adjclose" else cell


def _codes(cells: pd.Series, symbols: dict[str, int]) -> tuple[INT, npt.NDArray[np.bool_]]:
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


def to_numbers(cells: pd.Series) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(float64 with NaN for empty cells, the rows that hold something else than a number)."""
    import pandas as pd
    from pandas.api import types

    if types.is_float_dtype(cells.dtype) or types.is_integer_dtype(cells.dtype):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(cells), dtype=bool)
    text = cells.astype(str).str.strip()
    empty = cells.isna() | text.isin(NOT_A_NUMBER)
    numbers = pd.to_numeric(text.where(~empty), errors="coerce").astype("float64")
    bad = numbers.isna() & ~empty
    return np.asarray(numbers, dtype=np.float64), np.asarray(bad, dtype=bool)
