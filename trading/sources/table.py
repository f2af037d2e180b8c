"""Reads a CSV, Parquet, Feather or .xlsx file, or a DataFrame, into columns of cells by meaning.

Owns the way from bytes or a frame to a `Table`: unwrap (`archives`), split (`csv_text`), understand
(`layout`). Refuses to know whether the cells make sense (`validate`). A file's format is told by its first
bytes, not by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.config import DataConfig
from trading.sources.archives import arrow_frame, unpacked, workbook_sheet
from trading.sources.csv_text import csv_sheet
from trading.sources.headers import TIMES, plain
from trading.sources.layout import arrange
from trading.sources.sheet import COLUMNS_CURE, Sheet, Table, broken

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path, data: bytes, config: DataConfig | None = None) -> Table:
    """The table in a file's bytes, with the settings that its cells are to be read with.

    Raises: DataFaults when it is no table, or has no prices.
    """
    content, file = unpacked(data, path.name)
    frame = arrow_frame(content, file)
    if frame is not None:
        return frame_table(frame, file, config)
    sheet = workbook_sheet(content, file)
    return _arranged(csv_sheet(content, file) if sheet is None else sheet, config)


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
        names = [str(name) for name in frame.columns]
        if not counted:
            names = [str(name) if name is not None else "" for name in frame.index.names] + names
    body = frame.reset_index(drop=True)
    if not counted:
        index = frame.index.to_frame(index=False)
        index.columns = pd.RangeIndex(len(index.columns))
        body = pd.concat([index, body.set_axis(range(body.shape[1]), axis=1)], axis=1)
    return _arranged(Sheet(file, body.set_axis(range(len(names)), axis=1), lines, names), config)


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
    levels = [{plain(column[level]) for column in columns} for level in (0, 1)]
    if {"close", "adjclose"} & levels[0]:
        return [(str(column[0]), str(column[1])) for column in columns]
    if {"close", "adjclose"} & levels[1]:
        return [(str(column[1]), str(column[0])) for column in columns]
    raise broken("no_price_columns", "two-level columns without Close", COLUMNS_CURE, file=file)
