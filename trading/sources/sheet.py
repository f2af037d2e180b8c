"""A table before and after its columns are understood, as values.

Owns `Sheet` (cells under names) and `Table` (cells by meaning). Refuses to know formats (`csv_text`,
`archives`) and how meaning is found (`layout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from trading.sources.faults import DataFaults, Fault

if TYPE_CHECKING:
    import pandas as pd

Layout = Literal["long", "wide", "two-level"]

COLUMNS_CURE = (
    "give the columns date, open, high, low, close (optional symbol, volume, adj_close), or date and one"
    " column of closes per symbol (if columns with such names are symbols: --set data.layout=wide)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Cells of one symbol (`symbol`), or of many (`symbols`, one a row). Keys of `cells`: `headers.CELLS`."""

    cells: dict[str, pd.Series]
    symbol: str | None = None
    symbols: pd.Series | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One file's cells. `lines` [K] are the rows as a person counts them; `stamps` [K] as written.

    `delimiter` parted the cells; `decimal`, `date_order` and `incomplete_bars` are the settings of `data`
    that they are to be read with.
    """

    file: str
    layout: Layout
    lines: npt.NDArray[np.int64]
    stamps: pd.Series
    pieces: tuple[Piece, ...]
    ignored: tuple[str, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    delimiter: str = ""
    decimal: str = "auto"
    date_order: str = "auto"
    incomplete_bars: str = "refuse"


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A table before its columns are understood: `frame` has the columns 0, 1, ... called `names` (a pair
    (field, ticker) where the header has two levels)."""

    file: str
    frame: pd.DataFrame
    lines: npt.NDArray[np.int64]
    names: Sequence[Any]
    faults: Sequence[Fault] = ()
    notes: Sequence[str] = ()
    delimiter: str = ""

    def written(self) -> str:
        """The names of the columns, for a message."""
        shown = ", ".join(map(str, self.names[:20]))
        return shown + (f" and {len(self.names) - 20} more" if len(self.names) > 20 else "")


def broken(kind: str, found: str, cure: str, row: int | None = None, file: str = "") -> DataFaults:
    """The error for a file that cannot be read on."""
    return DataFaults([Fault(kind, row, None, found, cure, file)])
