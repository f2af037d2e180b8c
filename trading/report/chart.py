"""A chart of two curves in text: braille dots, or ASCII where the terminal has no Unicode.

Owns the drawing. Refuses to know terminals and colours: it returns cells and what each belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Owner = Literal["run", "benchmark", "none"]
Cell = tuple[str, Owner]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille cell by row and column (Unicode chapter 21.1, U+2800)."""


def text_chart(
    run: Sequence[float],
    benchmark: Sequence[float],
    *,
    columns: int,
    rows: int,
    log: bool,
    unicode: bool = True,
) -> list[list[Cell]]:
    """`rows` lines of `columns` cells, highest first; the run lies over the benchmark.

    Where both would stand in one cell, the run is drawn. The benchmark is drawn with single dots, so
    that the two can be told apart without colour.
    """
    measure = math.log if log else float
    values = [measure(value) for value in (*run, *benchmark)]
    if not values:
        return [[(" ", "none")] * columns for _ in range(rows)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    wide, tall = columns * 2, rows * 4
    bits = [[0] * columns for _ in range(rows)]
    other = [[False] * columns for _ in range(rows)]

    def height(value: float) -> int:
        """Dot row from the top."""
        if high == low:
            return tall // 2
        return tall - 1 - round((measure(value) - low) / span * (tall - 1))

    previous = None
    for x in range(wide):
        y = height(_at(run, x, wide))
        # Steep stretches are joined by a vertical stroke.
        for dot in range(
            min(y, previous if previous is not None else y),
            max(y, previous if previous is not None else y) + 1,
        ):
            bits[dot // 4][x // 2] |= _DOTS[dot % 4][x % 2]
        previous = y
    for column in range(columns):
        other[height(_at(benchmark, column * 2 + 1, wide)) // 4][column] = True

    def cell(row: int, column: int) -> Cell:
        if bits[row][column]:
            return (chr(0x2800 + bits[row][column]) if unicode else "*"), "run"
        if other[row][column]:
            return ("\u00b7" if unicode else "."), "benchmark"
        return " ", "none"

    return [[cell(row, column) for column in range(columns)] for row in range(rows)]


def _at(values: Sequence[float], position: int, positions: int) -> float:
    """The value at a position of an even grid over the whole curve, interpolated."""
    exact = position / max(positions - 1, 1) * (len(values) - 1)
    left = min(int(exact), len(values) - 1)
    right = min(left + 1, len(values) - 1)
    return values[left] + (values[right] - values[left]) * (exact - left)
