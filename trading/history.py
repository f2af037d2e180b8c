"""The visible past: a tape that grows row by row, and the read-only views that strategies are given.

Owns who can see what at which row. Rows are copied from the panel when they become known, so that the
arrays handed out hold nothing later, not even behind `.base`. Refuses to know money and orders.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from core.errors import LookAhead
from trading.panel import BAR_FIELDS, FIELDS, MARK, NEVER, STALE, Panel, row_digest

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_INDEX = {name: position for position, name in enumerate(FIELDS)}


class Tape:
    """What has become known so far; the run's own object, never handed to a strategy.

    `reveal(row)` must be called for rows in order. `counts[row]` is the number of visible symbols.
    """

    def __init__(self, panel: Panel, delisting_bars: int) -> None:
        self._delisting_bars = delisting_bars
        self.row = -1
        self.count = 0
        self.symbols: tuple[str, ...] = ()
        self._digest = b""
        self._symbols_by_count: dict[int, tuple[str, ...]] = {0: ()}
        self._take(panel)

    def _take(self, panel: Panel) -> None:
        self.panel = panel
        rows, columns = panel.rows, len(panel.symbols)
        self._known = np.full((len(FIELDS), rows, columns), np.nan)
        self._times = np.full(rows, np.datetime64("NaT"), dtype="datetime64[ns]")
        self.counts: list[int] = np.searchsorted(
            panel.listed_at, np.arange(rows), side="right"
        ).tolist()
        self.known = self._known.view()
        self.known.flags.writeable = False
        self.times = self._times.view()
        self.times.flags.writeable = False
        self._leaving = bool(np.any(panel.leaves_at < NEVER))
        self.may_go_stale = bool(np.any(panel.stack[STALE] >= self._delisting_bars))

    def extend(self, panel: Panel) -> None:
        """Go on with a longer panel whose rows so far are the same (an endless feed)."""
        shown = self.row + 1
        self._take(panel)
        self._known[:, :shown, : self.count] = panel.stack[:, :shown, : self.count]
        self._times[:shown] = panel.times[:shown]

    def reveal(self, row: int) -> None:
        """Make one more row visible, with the whole past of symbols that appear at it."""
        count = self.counts[row]
        stack = self.panel.stack
        if count != self.count:
            old = self.count
            self._known[:, :row, old:count] = stack[:, :row, old:count]
            self.count = count
            self.symbols = self._symbols_by_count[count] = self.panel.symbols[:count]
        self._known[:, row, :count] = stack[:, row, :count]
        self._times[row] = self.panel.times[row]
        self.row = row

    def chain(self, names: tuple[str, ...]) -> str:
        """The hash of all inputs up to the present row, as hex; call once per revealed row."""
        values = self.panel.stack[:BAR_FIELDS, self.row, : self.count].tobytes()
        self._digest = row_digest(self._digest, " ".join(names), values)
        return self._digest.hex()

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
        barred: BoolArray = self._known[STALE, row, :count] >= self._delisting_bars
        if self._leaving:
            barred |= self.panel.leaves_at[:count] <= row
        return barred if barred.any() else None


class History:
    """The past as one row sees it (`core.protocols.History`).

    Shapes: prices [T, N] with T = row + 1 and N the symbols visible at that row; read-only.
    Point in time: a symbol's column is there from its first bar on; NaN marks a missing bar.
    """

    __slots__ = ("_count", "_tape", "row")

    def __init__(self, tape: Tape, row: int) -> None:
        self._tape = tape
        self.row = row
        self._count = tape.counts[row]

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
        return self._tape.times[: self.row + 1]

    @property
    def barred(self) -> BoolArray | None:
        """Symbols that may only be sold, [N], or None when there are none."""
        return self._tape.barred(self.row)

    @property
    def open(self) -> FloatArray:
        return self._tape.known[0, : self.row + 1, : self._count]

    @property
    def high(self) -> FloatArray:
        return self._tape.known[1, : self.row + 1, : self._count]

    @property
    def low(self) -> FloatArray:
        return self._tape.known[2, : self.row + 1, : self._count]

    @property
    def close(self) -> FloatArray:
        return self._tape.known[3, : self.row + 1, : self._count]

    @property
    def volume(self) -> FloatArray:
        return self._tape.known[4, : self.row + 1, : self._count]

    @property
    def raw_open(self) -> FloatArray:
        return self._tape.known[5, : self.row + 1, : self._count]

    @property
    def raw_high(self) -> FloatArray:
        return self._tape.known[6, : self.row + 1, : self._count]

    @property
    def raw_low(self) -> FloatArray:
        return self._tape.known[7, : self.row + 1, : self._count]

    @property
    def raw_close(self) -> FloatArray:
        return self._tape.known[8, : self.row + 1, : self._count]

    @property
    def raw_volume(self) -> FloatArray:
        return self._tape.known[9, : self.row + 1, : self._count]

    @property
    def mark(self) -> FloatArray:
        return self._tape.known[MARK, : self.row + 1, : self._count]

    @property
    def stale(self) -> FloatArray:
        return self._tape.known[STALE, : self.row + 1, : self._count]

    def field(self, name: str) -> FloatArray:
        """One field of `trading.panel.FIELDS` by name."""
        return self._tape.known[_INDEX[name], : self.row + 1, : self._count]
