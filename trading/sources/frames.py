"""Tables of data given in Python: a DataFrame, a Series of closes, or frames or Series by symbol.

Owns what each form means. Refuses to know files (`source`) and columns (`table`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from core.config import DataConfig
from core.errors import DataError
from trading.sources.faults import DataFaults, Fault
from trading.sources.headers import plain
from trading.sources.sheet import Table
from trading.sources.table import frame_table

if TYPE_CHECKING:
    import pandas as pd

    Given: TypeAlias = pd.DataFrame | pd.Series | Mapping[str, pd.DataFrame | pd.Series]
else:
    Given: TypeAlias = Any

FRAME = "DataFrame"
SERIES = "Series"
CLOSE_WORDS = ("", "close", "adjclose", "price", "0")
"""What a Series of closes is called when its name is no symbol."""

CURE = (
    "Give a path, a dataset's name, a pandas DataFrame, a Series of closes, or a dictionary of frames or"
    " Series by symbol."
)


def given_name(data: Given) -> str:
    """What the summary calls it."""
    return FRAME if isinstance(data, Mapping) else type(data).__name__


def given_tables(
    data: Given, config: DataConfig | None = None
) -> tuple[tuple[Table, ...], str, tuple[Fault, ...]]:
    """(its tables, the SHA-256 of the values, what is wrong with frames that are no table).

    A Series is one symbol's closes, called by its name; with an index of two levels (time and symbol) those
    of many. A dictionary has one symbol's bars, or closes, under each key.
    Raises: DataFaults when no table is left, DataError for another type.
    """
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return (frame_table(data, FRAME, config),), _digest(data), ()
    if isinstance(data, pd.Series):
        return (_series_table(data, config),), _digest(data.to_frame()), ()
    if isinstance(data, Mapping):
        return _by_symbol(data, config)
    raise DataError(f"data is a {type(data).__name__}.", CURE)


def _digest(frame: pd.DataFrame) -> str:
    import pandas as pd

    digest = hashlib.sha256(repr(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return digest.hexdigest()


def _series_table(closes: pd.Series, config: DataConfig | None, symbol: str | None = None) -> Table:
    """The table of a Series of closes; its index is the times, or times and symbols."""
    import pandas as pd

    if isinstance(closes.index, pd.RangeIndex):
        raise DataError(
            "the Series of closes has no times.",
            "Set the dates as its index: Series(closes, index=dates).",
        )
    frame = closes.to_frame("close")
    if symbol is None:
        name = "" if closes.name is None else str(closes.name)
        if not isinstance(closes.name, str) and plain(name) not in CLOSE_WORDS:
            raise DataError(
                f"the Series of closes is called {name} ({type(closes.name).__name__}), which is no text.",
                'A symbol is text: name it "0050" or "50", so that zeros in front stay.',
            )
        symbol = SERIES if plain(name) in CLOSE_WORDS else name
    if not isinstance(closes.index, pd.MultiIndex) and closes.index.name is None:
        frame.index.name = "date"
    return frame_table(frame, symbol, config)


def _by_symbol(
    data: Mapping[str, pd.DataFrame | pd.Series], config: DataConfig | None
) -> tuple[tuple[Table, ...], str, tuple[Fault, ...]]:
    import pandas as pd

    if not data:
        raise DataError("the dictionary of frames is empty.", CURE)
    digest = hashlib.sha256()
    tables: list[Table] = []
    faults: list[Fault] = []
    for symbol, value in data.items():
        if not isinstance(symbol, str):
            raise DataError(
                f"the key {symbol!r} is no text ({type(symbol).__name__}).",
                'A symbol is text: write "0050" or "50", so that zeros in front stay.',
            )
        if not isinstance(value, pd.DataFrame | pd.Series):
            raise DataError(f"data[{symbol!r}] is a {type(value).__name__}.", CURE)
        values = value.to_frame() if isinstance(value, pd.Series) else value
        digest.update(repr(symbol).encode() + _digest(values).encode())
        try:
            tables.append(_one_symbol(symbol, value, config))
        except DataFaults as error:
            faults.extend(error.faults)
    if not tables:
        raise DataFaults(faults)
    return tuple(tables), digest.hexdigest(), tuple(faults)


def _one_symbol(symbol: str, value: pd.DataFrame | pd.Series, config: DataConfig | None) -> Table:
    """The table under one key. Raises: DataError when it has the bars of other symbols."""
    import pandas as pd

    if isinstance(value, pd.Series):
        return _series_table(value, config, symbol)
    table = frame_table(value, symbol, config)
    if len(table.pieces) > 1:
        names = ", ".join(str(piece.symbol) for piece in table.pieces[:5])
        raise DataError(
            f"data[{symbol!r}] has the bars of several symbols ({names}).",
            "Give the frame itself, or one symbol's bars under each key.",
        )
    piece = table.pieces[0]
    if piece.symbols is not None:
        others = {str(name) for name in piece.symbols.unique()} - {symbol}
        if others:
            raise DataError(
                f"data[{symbol!r}] has rows of {sorted(others)[0]}.",
                "Give the frame itself, or one symbol's bars under each key.",
            )
    return replace(table, pieces=(replace(piece, symbol=symbol, symbols=None),))
