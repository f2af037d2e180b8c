"""The cells of one file as numbers, before anything is known to be right.

Owns the layout that the rules of a check work on. Refuses to know the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trading.sources.faults import Fault
from trading.sources.times import Stamps

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
INT = npt.NDArray[np.int64]

CELL_NAMES = ("open", "high", "low", "close", "volume", "adj_close")


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """The cells of one file as numbers, in file order.

    Shapes: K rows; `code` [K] indexes `symbols`; `values` [6, K] in the order of `CELL_NAMES`, NaN where a
    cell is empty; `faulty` [K] marks rows whose cells were no numbers, reported already; `lines` [K].
    """

    file: str
    symbols: tuple[str, ...]
    code: INT
    stamps: Stamps
    values: FloatArray
    faulty: BoolArray
    lines: INT

    def take(self, rows: INT | BoolArray) -> Bars:
        return Bars(
            self.file,
            self.symbols,
            self.code[rows],
            self.stamps.take(rows),
            self.values[:, rows],
            self.faulty[rows],
            self.lines[rows],
        )

    def with_values(self, values: FloatArray) -> Bars:
        """The same rows with other numbers."""
        return replace(self, values=values)

    def blank(self) -> Bars:
        """The same rows without numbers, at fault already: nothing more is said about their cells."""
        empty = np.full_like(self.values, np.nan)
        return replace(self, values=empty, faulty=np.ones_like(self.faulty))

    def close_alone(self) -> BoolArray:
        """[K]: a sound close above 0 beside an open, high or low that is 0 or empty."""
        prices = self.values[:3]
        hole = (np.isnan(prices) | (prices == 0)).any(axis=0) & ~(prices < 0).any(axis=0)
        close = self.values[3]
        return np.asarray(hole & np.isfinite(close) & (close > 0) & ~self.faulty)


def report(
    bars: Bars, rows: Iterable[int], kind: str, found: Iterable[str], cure: str
) -> list[Fault]:
    """A fault of one kind for each row."""
    return [
        Fault(kind, int(bars.lines[row]), bars.symbols[bars.code[row]], text, cure, bars.file)
        for row, text in zip(rows, found, strict=True)
    ]
