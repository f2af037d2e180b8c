"""The visible past: a tape that grows row by row, and the read-only views that strategies are given.

Owns who can see what at which row. Rows are copied from the panel when they become known, so that the
arrays handed out hold nothing later, not even behind `.base`, and no attribute of a view leads to the panel.
Known weakness: a strategy runs in this process, and code that sets out to (through frames, closures or the
garbage collector) can reach anything in it. Refuses to know money and orders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import LookAhead
from trading.delisting import RETURN_BARS
from trading.panel import BAR_FIELDS, FIELDS, MARK, NEVER, STALE, Panel

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_BAR_BYTES = 8 * BAR_FIELDS
FIRST_ROWS = 256
_INDEX = {name: position for position, name in enumerate(FIELDS)}


class Shown:
    """What strategies may see: buffers that hold rows up to the present and nothing else.

    It knows neither the tape nor the panel. `catch_up` fills in what became known since somebody last looked
    (a strategy that looks at nothing costs nothing). Buffers grow by doubling and by the symbols listed so
    far, so that not even their size tells how much is still to come.
    """

    __slots__ = ("barred_at", "catch_up", "count", "counts", "fields", "rows", "symbols", "times")

    def __init__(
        self, catch_up: Callable[[], None], barred_at: Callable[[int], BoolArray | None]
    ) -> None:
        self.catch_up = catch_up
        self.barred_at = barred_at
        self.rows = 0
        self.count = 0
        self.counts: list[int] = []
        self.symbols: tuple[str, ...] = ()
        self.fields: FloatArray = np.zeros((len(FIELDS), 0, 0))
        self.times: npt.NDArray[np.datetime64] = np.zeros(0, dtype="datetime64[ns]")


class Tape:
    """What has become known so far; the run's own object, never handed to a strategy.

    `reveal(row)` must be called for rows in order. `counts[row]` is the number of visible symbols.
    The run itself reads `stack`, the panel's own array, at rows up to `row`; strategies read `shown`.
    """

    def __init__(self, panel: Panel, delisting_bars: int) -> None:
        self._delisting_bars = delisting_bars
        self.row = -1
        self.count = 0
        self.symbols: tuple[str, ...] = ()
        self._chain = hashlib.sha256()
        self._fields: FloatArray = np.zeros((len(FIELDS), 0, 0))
        self._times: npt.NDArray[np.datetime64] = np.zeros(0, dtype="datetime64[ns]")
        self._take(panel)

        # Functions, not bound methods: no attribute of what a strategy holds leads back to the tape.
        def catch_up() -> None:
            self._show()

        def barred_at(row: int) -> BoolArray | None:
            return self._barred(row)

        self.shown = Shown(catch_up, barred_at)

    def _take(self, panel: Panel) -> None:
        self.panel = panel
        self.stack = panel.stack
        rows, columns = panel.rows, len(panel.symbols)
        self.counts: list[int] = np.searchsorted(
            panel.listed_at, np.arange(rows), side="right"
        ).tolist()
        self._leaving = bool(np.any(panel.leaves_at < NEVER))
        self.may_go_stale = self._leaving or bool(
            np.any(panel.stack[STALE] >= min(self._delisting_bars, RETURN_BARS))
        )
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
            self.symbols = self.panel.symbols[:count]
        self.row = row

    def _show(self) -> None:
        """Fill in the rows up to the present."""
        shown, rows, count = self.shown, self.row + 1, self.count
        room = self._fields.shape
        if rows > room[1] or count != room[2]:
            size = max(room[1], FIRST_ROWS)
            while size < rows:
                size *= 2
            self._fields = np.zeros((len(FIELDS), size, count))
            self._times = np.full(size, np.datetime64("NaT"), dtype="datetime64[ns]")
            shown.fields, shown.times = _read_only(self._fields), _read_only(self._times)
            first = 0
        else:
            first = shown.rows
        self._fields[:, first:rows] = self.stack[:, first:rows, :count]
        self._times[first:rows] = self.panel.times[first:rows]
        shown.counts += self.counts[shown.rows : rows]
        shown.rows, shown.count, shown.symbols = rows, count, self.symbols

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
        return History(self.shown, row)

    def _barred(self, row: int) -> BoolArray | None:
        """Which visible symbols may not be bought at a row, [n], or None when all may be.

        A symbol is barred once it has left the universe, or after it has missed as many of its own bars as
        make it count as delisted (`trading.delisting_sessions`).
        """
        if not self.may_go_stale or row > self.row:
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

    __slots__ = ("_row", "_shown")

    def __init__(self, shown: Shown, row: int) -> None:
        self._shown = shown
        self._row = row

    @property
    def row(self) -> int:
        """Index of the last visible row."""
        return self._row

    def _seen(self) -> Shown:
        shown = self._shown
        if shown.rows <= self._row:
            shown.catch_up()
        return shown

    def _field(self, number: int) -> FloatArray:
        shown, row = self._seen(), self._row
        return shown.fields[number, : row + 1, : shown.counts[row]]

    def __len__(self) -> int:
        return self._row + 1

    def __repr__(self) -> str:
        return f"History(as_of={self.as_of:%Y-%m-%dT%H:%M:%SZ}, symbols={self.symbols})"

    def upto(self, row: int) -> History:
        """The history as it stood at an earlier row; negative rows count from the present."""
        row = row + self._row + 1 if row < 0 else row
        if not 0 <= row <= self._row:
            raise LookAhead(
                f"Row {row} was asked for, and the present is row {self._row}.",
                f"Rows 0 to {self._row} are known.",
            )
        return History(self._shown, row)

    @property
    def as_of(self) -> datetime:
        moment: datetime = self._seen().times[self._row].astype("datetime64[us]").item()
        return moment.replace(tzinfo=UTC)

    @property
    def symbols(self) -> tuple[str, ...]:
        shown = self._seen()
        count = shown.counts[self._row]
        return shown.symbols if count == shown.count else shown.symbols[:count]

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        return self._seen().times[: self._row + 1]

    @property
    def barred(self) -> BoolArray | None:
        """Symbols that may only be sold, [N], or None when there are none."""
        return self._shown.barred_at(self._row)

    @property
    def open(self) -> FloatArray:
        return self._field(0)

    @property
    def high(self) -> FloatArray:
        return self._field(1)

    @property
    def low(self) -> FloatArray:
        return self._field(2)

    @property
    def close(self) -> FloatArray:
        return self._field(3)

    @property
    def volume(self) -> FloatArray:
        return self._field(4)

    @property
    def raw_open(self) -> FloatArray:
        return self._field(5)

    @property
    def raw_high(self) -> FloatArray:
        return self._field(6)

    @property
    def raw_low(self) -> FloatArray:
        return self._field(7)

    @property
    def raw_close(self) -> FloatArray:
        return self._field(8)

    @property
    def raw_volume(self) -> FloatArray:
        return self._field(9)

    @property
    def mark(self) -> FloatArray:
        return self._field(MARK)

    @property
    def stale(self) -> FloatArray:
        return self._field(STALE)

    def field(self, name: str) -> FloatArray:
        """One field of `trading.panel.FIELDS` by name."""
        return self._field(_INDEX[name])


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be made writeable again, also not through `.base`."""
    if values.size == 0:
        return values
    shared = values.view(np.uint8).reshape(-1).data.toreadonly()
    return np.frombuffer(shared, dtype=values.dtype).reshape(values.shape)
