"""The one split of the shipped sample, for the small model and for every later stage of training.

    train       AAPL and IBM to the end of 2007
    validation  MSFT, 2008 and 2009
    test        GOOG and FB, from 2010

Symbols and years are both apart, so that neither a company nor a year of the test was ever trained on.
Bars before a part's first day are history: indicators may read them, no answer lies in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from models.state import HORIZON_BARS, FloatArray, IntArray, StateNumbers, buckets
from trading.panel import CLOSE, VOLUME, Panel

TRAINING_CUTOFF = date(2007, 12, 31)
"""The last market date that training saw."""


@dataclass(frozen=True, slots=True)
class Part:
    """Symbols, and the first and last day (both inclusive) of the states taken from them."""

    symbols: tuple[str, ...]
    start: date
    end: date


TRAIN = Part(("AAPL", "IBM"), date(2000, 1, 1), TRAINING_CUTOFF)
VALIDATION = Part(("MSFT",), date(2008, 1, 1), date(2009, 12, 31))
TEST = Part(("GOOG", "FB"), date(2010, 1, 1), date(2100, 1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One symbol's own bars and what follows from them.

    Shapes: `times`, `close`, `volume`, `answers` [L]; `answers` is the bucket of the next 5-bar return, -1
    where it is unknown; `first` and `last` bound the bars (inclusive) whose states and whose whole answer
    lie inside the part.
    """

    symbol: str
    times: np.ndarray[tuple[int], np.dtype[np.datetime64]]
    close: FloatArray
    numbers: StateNumbers
    answers: IntArray
    first: int
    last: int


def part_series(panel: Panel, part: Part) -> list[Series]:
    """The symbols of a part, in its order.

    Point in time: the answer of a state reaches five bars ahead; a state whose answer would leave the part
    is left out, so training never sees a price after its end.
    """
    found = []
    for symbol in part.symbols:
        series = symbol_series(panel, symbol)
        days = series.times.astype("datetime64[D]")
        first = int(np.searchsorted(days, np.datetime64(part.start)))
        end = int(np.searchsorted(days, np.datetime64(part.end), side="right"))
        found.append(
            Series(
                symbol,
                series.times,
                series.close,
                series.numbers,
                series.answers,
                first,
                end - 1 - HORIZON_BARS,
            )
        )
    return found


def symbol_series(panel: Panel, symbol: str) -> Series:
    """All bars of one symbol of a panel."""
    column = panel.symbols.index(symbol)
    close = panel.stack[CLOSE, :, column]
    here = np.flatnonzero(~np.isnan(close))
    close = close[here]
    volume = panel.stack[VOLUME, here, column] if panel.has_volume else None
    return Series(
        symbol,
        panel.times[here],
        close,
        StateNumbers.of(close, volume),
        buckets(close),
        0,
        len(here) - 1 - HORIZON_BARS,
    )
