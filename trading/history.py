"""The visible past: a tape that grows row by row, and the read-only views that strategies are given.

Owns who can see what at which row. Rows are copied from the panel when they become known, so that the
arrays handed out hold nothing later, not even behind `.base`. Refuses to know money and orders.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import LookAhead
from trading.panel import BAR_FIELDS, FIELDS, MARK, NEVER, STALE, Panel

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_BAR_BYTES = 8 * BAR_FIELDS
_INDEX = {name: position for position, name in enumerate(FIELDS)}


class Tape:
    """What has become known so far; the run's own object, never handed to a strategy.

    `reveal(row)` must be called for rows in order. `counts[row]` is the number of visible symbols.
    The run itself reads `stack`, the panel's own array, at rows up to `row`; strategies read `known`, which
    holds nothing later and is filled when they first look (a strategy that looks at nothing costs nothing).
    """

    def __init__(self, panel: Panel, delisting_bars: int) -> None:
        self._delisting_bars = delisting_bars
        self.row = -1
        self.count = 0
        self.symbols: tuple[str, ...] = ()
        self._chain = hashlib.sha256()
        self._symbols_by_count: dict[int, tuple[str, ...]] = {0: ()}
        self._take(panel)

    def _take(self, panel: Panel) -> None:
        self.panel = panel
        self.stack = panel.stack
        rows, columns = panel.rows, len(panel.symbols)
        self._shown_rows = self._shown_count = 0
        self._known: FloatArray | None = None
        self.counts: list[int] = np.searchsorted(
            panel.listed_at, np.arange(rows), side="right"
        ).tolist()
        self._leaving = bool(np.any(panel.leaves_at < NEVER))
        self.may_go_stale = bool(np.any(panel.stack[STALE] >= self._delisting_bars))
        self._bars: memoryview | None = None
        self.only_marks: list[float] | None = None
        if columns == 1:
            bars = np.ascontiguousarray(panel.stack[:BAR_FIELDS, :, 0].T)
            self._bars = bars.data.cast("B")
            self.only_marks = panel.stack[MARK, :, 0].tolist()

    def extend(self, panel: Panel) -> None:
        """Go on with a longer panel whose rows so far are the same (an endless feed)."""
        self._take(panel)

    def reveal(self, row: int) -> None:
        """Make one more row known, and with it the whole past of symbols that appear at it."""
        count = self.counts[row]
        if count != self.count:
            self.count = count
            self.symbols = self._symbols_by_count[count] = self.panel.symbols[:count]
        self.row = row

    def show(self) -> tuple[FloatArray, npt.NDArray[np.datetime64]]:
        """(fields [F, T, N], times [T]) for strategies: all rows up to the present are filled in, what
        lies behind them is 0."""
        if self._known is None:
            shape = self.stack.shape
            self._known = np.zeros(shape)  # pages that are never shown are never touched
            self._times = np.full(shape[1], np.datetime64("NaT"), dtype="datetime64[ns]")
            self._shown = _read_only(self._known), _read_only(self._times)
        first, last, count = self._shown_rows, self.row + 1, self.count
        if first != last:
            if count != self._shown_count:
                old = self._shown_count
                self._known[:, :first, old:count] = self.stack[:, :first, old:count]
                self._shown_count = count
            self._known[:, first:last, :count] = self.stack[:, first:last, :count]
            self._times[first:last] = self.panel.times[first:last]
            self._shown_rows = last
        return self._shown

    def chain(self, names: tuple[str, ...]) -> str:
        """The hash of all inputs up to the present row, as hex; call once per revealed row.

        SHA-256 over each row's bars (ten float64 fields of the visible symbols) and the names of the
        symbols that appear at it, `names`, with the bars that they had before they joined the universe;
        the first 128 bits.
        """
        chain = self._chain
        if names:
            chain.update(" ".join(names).encode())
            self._chain_past(len(names))
        if self._bars is not None:
            chain.update(self._bars[self.row * _BAR_BYTES : (self.row + 1) * _BAR_BYTES])
        else:
            chain.update(self.stack[:BAR_FIELDS, self.row, : self.count].tobytes())
        return chain.hexdigest()[:32]

    def _chain_past(self, fresh: int) -> None:
        for column in range(self.count - fresh, self.count) if self.row else ():
            if not np.isnan(self.stack[MARK, self.row - 1, column]):
                self._chain.update(self.stack[:BAR_FIELDS, : self.row, column].tobytes())

    def upto(self, row: int) -> History:
        if row > self.row:
            raise LookAhead(
                f"Row {row} was asked for, and the present is row {self.row}.",
                "Use rows up to the present only.",
            )
        return History(self, row)

    def symbols_at(self, row: int) -> tuple[str, ...]:
        count = self.counts[row]
        found = self._symbols_by_count.get(count)
        if found is None:
            found = self._symbols_by_count[count] = self.panel.symbols[:count]
        return found

    def barred(self, row: int) -> BoolArray | None:
        """Which visible symbols may not be bought at a row, [n], or None when all may be.

        A symbol is barred once it has left the universe, or after `trading.delisting_bars` rows in a row
        without a bar.
        """
        if not (self._leaving or self.may_go_stale):
            return None
        count = self.counts[row]
        barred: BoolArray = self.stack[STALE, row, :count] >= self._delisting_bars
        if self._leaving:
            barred |= self.panel.leaves_at[:count] <= row
        return barred if barred.any() else None


class History:
    """The past as one row sees it (`core.protocols.History`).

    Shapes: prices [T, N] with T = row + 1 and N the symbols visible at that row; read-only.
    Point in time: a symbol's column is there from its first bar on; NaN marks a missing bar.
    """

    __slots__ = ("_tape", "row")

    def __init__(self, tape: Tape, row: int) -> None:
        self._tape = tape
        self.row = row

    @property
    def _count(self) -> int:
        return self._tape.counts[self.row]

    def __len__(self) -> int:
        return self.row + 1

    def __repr__(self) -> str:
        return f"History(as_of={self._tape.panel.as_of[self.row]}, symbols={self.symbols})"

    def upto(self, row: int) -> History:
        """The history as it stood at an earlier row; negative rows count from the present."""
        row = row + self.row + 1 if row < 0 else row
        if not 0 <= row <= self.row:
            raise LookAhead(
                f"Row {row} was asked for, and the present is row {self.row}.",
                f"Rows 0 to {self.row} are known.",
            )
        return History(self._tape, row)

    @property
    def as_of(self) -> datetime:
        return datetime.fromisoformat(self._tape.panel.as_of[self.row]).astimezone(UTC)

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._tape.symbols_at(self.row)

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        return self._tape.show()[1][: self.row + 1]

    @property
    def barred(self) -> BoolArray | None:
        """Symbols that may only be sold, [N], or None when there are none."""
        return self._tape.barred(self.row)

    @property
    def open(self) -> FloatArray:
        return self._tape.show()[0][0, : self.row + 1, : self._count]

    @property
    def high(self) -> FloatArray:
        return self._tape.show()[0][1, : self.row + 1, : self._count]

    @property
    def low(self) -> FloatArray:
        return self._tape.show()[0][2, : self.row + 1, : self._count]

    @property
    def close(self) -> FloatArray:
        return self._tape.show()[0][3, : self.row + 1, : self._count]

    @property
    def volume(self) -> FloatArray:
        return self._tape.show()[0][4, : self.row + 1, : self._count]

    @property
    def raw_open(self) -> FloatArray:
        return self._tape.show()[0][5, : self.row + 1, : self._count]

    @property
    def raw_high(self) -> FloatArray:
        return self._tape.show()[0][6, : self.row + 1, : self._count]

    @property
    def raw_low(self) -> FloatArray:
        return self._tape.show()[0][7, : self.row + 1, : self._count]

    @property
    def raw_close(self) -> FloatArray:
        return self._tape.show()[0][8, : self.row + 1, : self._count]

    @property
    def raw_volume(self) -> FloatArray:
        return self._tape.show()[0][9, : self.row + 1, : self._count]

    @property
    def mark(self) -> FloatArray:
        return self._tape.show()[0][MARK, : self.row + 1, : self._count]

    @property
    def stale(self) -> FloatArray:
        return self._tape.show()[0][STALE, : self.row + 1, : self._count]

    def field(self, name: str) -> FloatArray:
        """One field of `trading.panel.FIELDS` by name."""
        return self._tape.show()[0][_INDEX[name], : self.row + 1, : self._count]


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be made writeable again, also not through `.base`."""
    if values.size == 0:
        return values
    shared = values.view(np.uint8).reshape(-1).data.toreadonly()
    return np.frombuffer(shared, dtype=values.dtype).reshape(values.shape)
