"""What a bar's volume is, where files write 0 for "not known". Reads rows up to the present only."""

from __future__ import annotations

import math

import numpy as np

from trading.history import Tape
from trading.panel import CLOSE, HIGH, LOW, MARK, OPEN, VOLUME


class Volumes:
    """The volumes of a tape's present row."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._first: dict[int, int] = {}

    def at(self, column: int) -> float:
        """This bar's volume: NaN where it is not known, 0 where nothing traded.

        Many files write 0 for "not known" (indices, FX, funds, old rows). So 0 is believed only in a bar
        whose four prices are the close before, of a symbol that has had volume already.
        """
        stack, row = self._tape.stack, self._tape.row
        volume = float(stack[VOLUME, row, column])
        if volume != 0.0 or row == 0:
            return volume
        before = float(stack[MARK, row - 1, column])
        moved = any(
            float(stack[field, row, column]) != before for field in (OPEN, HIGH, LOW, CLOSE)
        )
        return math.nan if moved or row < self._begins(column) else 0.0

    def _begins(self, column: int) -> int:
        """The first row in which a symbol had volume above 0; one after the present where none had."""
        found = self._first.get(column)
        if found is None:
            row = self._tape.row
            above = np.flatnonzero(self._tape.stack[VOLUME, : row + 1, column] > 0.0)
            if len(above) == 0:
                return row + 1
            found = self._first[column] = int(above[0])
        return found
