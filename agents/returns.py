"""The last returns of all visible symbols, kept up to date row by row.

Owns a ring of one-bar returns on marked closes. Refuses to know weights: what a portfolio of these symbols
would have done is `portfolio(weights)`, one matrix-vector product. Known weakness: a missing bar is a
return of 0, which understates the risk of symbols that trade seldom.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from core.protocols import History

FloatArray = npt.NDArray[np.float64]


class ReturnsWindow:
    """The last `bars` rows of returns, [W, N], in a ring.

    Shapes: row r of the history (r >= 1) stands in ring row (r - 1) % bars, so that the same history gives
    the same array whether it was followed bar by bar or read at once.
    Units: simple returns of `history.mark`. A symbol's rows before its first bar hold the mean return of
    the symbols that had one (a young symbol is taken to move with the market), 0 if none had.
    Point in time: rows up to the history's present one.
    """

    def __init__(self, bars: int) -> None:
        self.bars = bars
        self._row = -1
        self._symbols = 0
        self._ring: FloatArray = np.zeros((bars, 0))

    def follow(self, history: History) -> FloatArray:
        """The window as it stands at the history's present row, [min(bars, row), N]; read only."""
        row, mark = history.row, history.mark
        symbols = mark.shape[1]
        if row != self._row or symbols != self._symbols:
            if row == self._row + 1 and row > 0 and symbols == self._symbols:
                self._ring[(row - 1) % self.bars] = filled(
                    mark[row : row + 1] / mark[row - 1] - 1.0
                )
            else:
                self._rebuild(mark, row)
            self._row = row
        return self._ring if row >= self.bars else self._ring[:row]

    def _rebuild(self, mark: FloatArray, row: int) -> None:
        self._symbols = mark.shape[1]
        self._ring = np.zeros((self.bars, self._symbols))
        first = max(1, row - self.bars + 1)
        if row >= first:
            rows = np.arange(first, row + 1)
            past = np.ascontiguousarray(mark[first - 1 : row + 1])
            self._ring[(rows - 1) % self.bars] = filled(past[1:] / past[:-1] - 1.0)


def filled(returns: FloatArray) -> FloatArray:
    """Returns [K, N] with each NaN replaced by the mean of its row's numbers, or 0 if it has none."""
    if not math.isnan(np.add.reduce(returns, None)):
        return returns
    missing = np.isnan(returns)
    returns = np.where(missing, 0.0, returns)
    known = (~missing).sum(axis=1)
    mean = returns.sum(axis=1) / np.maximum(known, 1)
    result: FloatArray = np.where(missing, mean[:, None], returns)
    return result


class SortedReturns:
    """The same window for one symbol, as a sorted list beside the ring: each bar costs one insertion.

    `follow` gives the returns in ascending order; they are exactly the numbers of `ReturnsWindow`.
    """

    def __init__(self, bars: int) -> None:
        self.bars = bars
        self._row = -1
        self._last = float("nan")
        self._ring: list[float] = []
        self._sorted: list[float] = []

    def follow(self, history: History) -> list[float]:
        row = history.row
        if row == self._row:
            return self._sorted
        mark = history.mark
        last = float(mark[row, 0])
        if row == self._row + 1 and row > 0:
            fresh = last / self._last - 1.0
            if math.isnan(fresh):
                fresh = 0.0
            if len(self._ring) < self.bars:
                self._ring.append(fresh)
            else:
                place = (row - 1) % self.bars
                del self._sorted[bisect_left(self._sorted, self._ring[place])]
                self._ring[place] = fresh
            insort(self._sorted, fresh)
        else:
            window = ReturnsWindow(self.bars)
            self._ring = window.follow(history)[:, 0].tolist()
            self._sorted = sorted(self._ring)
        self._row, self._last = row, last
        return self._sorted
