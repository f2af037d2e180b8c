"""Reads a CSV, Parquet, Feather or .xlsx file, or a DataFrame, into columns of cells by meaning.

Owns the way from bytes or a frame to a `Table`: unwrap (`archives`), split (`csv_text`), understand
(`layout`). Refuses to know whether the cells make sense (`validate`). A file's format is told by its first
bytes, not by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config import DataConfig
from trading.sources.archives import arrow_frame, unpacked
from trading.sources.csv_text import csv_sheet
from trading.sources.faults import DataFaults
from trading.sources.headers import TIMES, plain
from trading.sources.layout import arrange
from trading.sources.sheet import COLUMNS_CURE, Sheet, Table, broken
from trading.sources.workbook import workbook_sheets

if TYPE_CHECKING:
    import pandas as pd

NO_PRICES = {"no_price_columns", "no_time_column", "empty"}
"""Faults of a workbook's sheet that is no table of prices at all, beside one that is."""


def read_table(path: Path, data: bytes, config: DataConfig | None = None) -> Table:
    """The table in a file's bytes, with the settings that its cells are to be read with.

    Raises: DataFaults when it is no table, or has no prices.
    """
    content, file = unpacked(data, path.name)
    frame = arrow_frame(content, file)
    if frame is not None:
        return frame_table(frame, file, config)
    sheets = workbook_sheets(content, file)
    if sheets is None:
        return _arranged(csv_sheet(content, file), config)
    return _priced(sheets, file, config or DataConfig())


def frame_table(frame: pd.DataFrame, file: str, config: DataConfig | None = None) -> Table:
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
        columns = [tuple(column) for column in frame.columns]
        names = [frame.index.name or "Date", *_multi_names(columns, file)]
    else:
        names = list(frame.columns)
        _check_texts(names, file)
        if not counted:
            names = [str(name) if name is not None else "" for name in frame.index.names] + names
    body = frame.reset_index(drop=True)
    if not counted:
        index = frame.index.to_frame(index=False)
        index.columns = pd.RangeIndex(len(index.columns))
        body = pd.concat([index, body.set_axis(range(body.shape[1]), axis=1)], axis=1)
    return _arranged(Sheet(file, body.set_axis(range(len(names)), axis=1), lines, names), config)


def _priced(sheets: Mapping[str, Sheet], file: str, config: DataConfig) -> Table:
    """The one sheet with prices, or the one that `data.sheet` names. Raises: DataFaults."""
    names = ", ".join(sheets)
    if config.sheet is not None:
        if config.sheet not in sheets:
            found = f"no filled sheet {config.sheet!r} (sheets: {names})"
            raise broken("not_a_table", found, "name one of these: data.sheet", file=file)
        return _arranged(sheets[config.sheet], config)
    tables: dict[str, Table] = {}
    without: dict[str, DataFaults] = {}
    for name, sheet in sheets.items():
        try:
            tables[name] = _arranged(sheet, config)
        except DataFaults as error:
            if len(sheets) == 1 or {fault.kind for fault in error.faults} - NO_PRICES:
                raise
            without[name] = error
    if len(tables) == 1:
        ((name, table),) = tables.items()
        if not without:
            return table
        told = f"the sheet {name!r} is read; without prices: {', '.join(without)}"
        return replace(table, notes=(*table.notes, told))
    found = f"a workbook with prices on {len(tables)} sheets ({', '.join(tables)})"
    cure = "name the one to read: --set data.sheet=NAME, or save each as a file of its own"
    if not tables:
        told = "; ".join(f"{name}: {error.faults[0].found}" for name, error in without.items())
        found, cure = f"a workbook without prices ({told})", COLUMNS_CURE
    raise broken("not_a_table" if tables else "no_price_columns", found, cure, file=file)


def _check_texts(names: Sequence[Any], file: str) -> None:
    """Raises: DataFaults for a column's name that is no text: the number 50 may have been 0050."""
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        found = f"a column called {odd[0]!r} ({type(odd[0]).__name__}), which is no text"
        cure = (
            'name columns by texts, symbols as they are written ("0050"): frame.rename(columns=str)'
        )
        raise broken("columns", found, cure, file=file)


def _arranged(sheet: Sheet, config: DataConfig | None) -> Table:
    config = config or DataConfig()
    return replace(
        arrange(sheet, config.layout),
        decimal=config.decimal,
        date_order=config.date_order,
        incomplete_bars=config.incomplete_bars,
    )


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
    _check_texts([name for column in columns for name in column], file)
    levels = [{plain(column[level]) for column in columns} for level in (0, 1)]
    if {"close", "adjclose"} & levels[0]:
        return [(str(column[0]), str(column[1])) for column in columns]
    if {"close", "adjclose"} & levels[1]:
        return [(str(column[1]), str(column[0])) for column in columns]
    raise broken("no_price_columns", "two-level columns without Close", COLUMNS_CURE, file=file)
