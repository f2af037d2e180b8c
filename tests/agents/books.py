"""Small builders for the agents' tests: a history at a row, and a book of given weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.fakes import flat, make_panel
from trading.history import History, Tape
from trading.panel import Panel
from trading.portfolio import BookState

FloatArray = npt.NDArray[np.float64]


def at(panel: Panel, row: int = -1, delisting_bars: int = 10) -> History:
    """The history of a panel at a row; the last one by default."""
    tape = Tape(panel, delisting_bars)
    for each in range(row % panel.rows + 1):
        tape.reveal(each)
    return tape.upto(tape.row)


def book(history: History, weights: Sequence[float], equity_usd: float = 1_000.0) -> BookState:
    """A marked book that holds these fractions of its equity."""
    marks = history.mark[-1]
    values = np.array(weights) * equity_usd
    positions = (values / marks).tolist()
    cash = equity_usd - float(values.sum())
    return BookState(equity_usd, cash, history.symbols, positions, marks)


def still(symbols: int, rows: int = 3, price: float = 10.0) -> Panel:
    """Symbols A, B, ... whose price never moves."""
    return make_panel({chr(65 + number): [flat(price)] * rows for number in range(symbols)})


def closing(closes: Sequence[Sequence[float]]) -> Panel:
    """Symbols A, B, ... with these closes, each bar flat at its close."""
    return make_panel(
        {chr(65 + number): [flat(price) for price in each] for number, each in enumerate(closes)}
    )


def array(*values: float) -> FloatArray:
    return np.array(values)


HOLD = float("nan")
