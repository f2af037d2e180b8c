"""Finds every fault in the bars of one file.

Owns the rules of what a bar may look like, each vectorised over the whole file. Refuses to know file
formats and to mend anything.

Known weaknesses: prices adjusted twice are seen at split-sized jumps only, not at dividends; a constant
wrong scale is not seen.
"""

from __future__ import annotations

import numpy as np

from trading.intervals import DAY
from trading.periods import BarLabel
from trading.sources.bars import CELL_NAMES, INT, Bars, BoolArray, report
from trading.sources.faults import Fault
from trading.sources.spacing import file_interval, time_faults
from trading.sources.unfinished import unfinished_rows

OHLC_TOLERANCE = 1e-4
"""How far, relative to the price, high may lie below open or close, and low above: vendors round. One
basis point is half the default half spread; a real mistake is far larger."""

SPLITS = np.log([4 / 3, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 20, 25, 30, 50])
"""Logarithms of the usual split ratios. 5:4 and less look like a large dividend and are not judged."""

STEADY = float(np.log(1.12))
"""A price that moves by less ran on as on any other day."""


_PRICE_ROWS = np.array([True, True, True, False, False, False])[:, None]

CLOSE_ALONE_CURE = (
    "the close is sound: --set data.incomplete_bars=close reads the bar by it "
    "(open = high = low = close)"
)
PRICE_CURE = (
    "prices of 0 and below are not supported, true ones neither: leave out this symbol, or the time around"
    " the row"
)
ADJUSTED_CURE = (
    "adjusted prices of 0 and below are not supported: leave adj_close out to use prices as traded"
)


def check_bars(
    bars: Bars, calendar: str = "XNYS", bar_label: BarLabel = "auto"
) -> tuple[Bars, list[Fault], tuple[str, ...]]:
    """(the rows that hold a finished bar, every fault, what was left out).

    A row without any price is a missing bar and is left out; so are last rows that are no finished bars.
    """
    interval = file_interval(bars.take(bars.stamps.valid), calendar)
    unfinished = unfinished_rows(bars, interval, calendar, bar_label)
    if unfinished.notes:
        bars = bars.take(~unfinished.rows)
    present = ~np.isnan(bars.values[:4]).all(axis=0) | bars.faulty
    faults = _cell_faults(bars, present) + time_faults(bars, calendar)
    kept = bars.take(np.flatnonzero(present & bars.stamps.valid))
    faults += _double_adjusted(kept)
    return kept, sorted(faults, key=lambda fault: fault.row or 0), unfinished.notes


def _number(value: float) -> str:
    return f"{value:.10g}"


def _cell_faults(bars: Bars, present: BoolArray) -> list[Fault]:
    """NaN, infinity, price <= 0, negative volume, and a high or low that does not enclose the bar.

    A row is told of once for each kind, with all its cells of that kind.
    """
    values = bars.values
    sound = present & ~bars.faulty
    alone = bars.close_alone() & present
    wanted = np.ones_like(values, dtype=bool)
    for cell in (4, 5):
        filled = ~np.isnan(values[cell]) & present
        has = np.zeros(len(bars.symbols), dtype=bool)
        has[bars.code[filled]] = True
        wanted[cell] = has[bars.code]
    holes = np.isnan(values) & wanted & sound
    faults = _report_cells(
        bars, holes & alone & _PRICE_ROWS, "nan", "no value (NaN) for", CLOSE_ALONE_CURE
    )
    holes &= ~(alone & _PRICE_ROWS)
    faults += _report_cells(bars, holes, "nan", "no value (NaN) for", "fill the cell in")
    flat = (values[:3] == values[3]).all(axis=0)  # one price four times: told of the close alone
    judged = np.ones_like(values, dtype=bool)
    judged[:3] = ~flat
    infinite = np.isinf(values) & judged
    faults += _report_cells(bars, infinite, "infinite", "", "give a finite number")
    rows = np.flatnonzero((values[4] < 0) & np.isfinite(values[4]))
    found = [f"volume {_number(values[4][row])}" for row in rows]
    faults += report(bars, rows.tolist(), "volume", found, "a volume is 0 or more")
    zeros = (values == 0) & alone & _PRICE_ROWS
    faults += _report_cells(bars, zeros, "price", "", CLOSE_ALONE_CURE, beside_close=True)
    low = (values <= 0) & np.isfinite(values) & judged & ~zeros
    low[4] = low[5] = False
    faults += _report_cells(bars, low, "price", "", PRICE_CURE)
    low = (values <= 0) & np.isfinite(values)
    low[:5] = False
    faults += _report_cells(bars, low, "price", "", ADJUSTED_CURE)
    usable = sound & ~np.isnan(values[:4]).any(axis=0)
    usable &= (values[:4] > 0).all(axis=0) & np.isfinite(values[:4]).all(axis=0)
    faults += _enclosing(bars, usable)
    return faults


def _report_cells(
    bars: Bars, cells: BoolArray, kind: str, word: str, cure: str, *, beside_close: bool = False
) -> list[Fault]:
    """One fault a row for the cells [6, K] of one kind, named after `word`, else with their values."""
    rows = np.flatnonzero(cells.any(axis=0))
    found = []
    for row in rows:
        columns = np.flatnonzero(cells[:, row])
        if word:
            text = f"{word} " + ", ".join(CELL_NAMES[cell] for cell in columns)
        else:
            text = ", ".join(
                f"{CELL_NAMES[cell]} {_number(bars.values[cell][row])}" for cell in columns
            )
        found.append(
            text + (f" beside close {_number(bars.values[3][row])}" if beside_close else "")
        )
    return report(bars, rows.tolist(), kind, found, cure)


def _enclosing(bars: Bars, usable: BoolArray) -> list[Fault]:
    """High below low, below open or close, or low above them."""
    opened, high, low, close = np.where(usable, bars.values[:4], 1.0)
    slack = OHLC_TOLERANCE * np.abs(close)
    crossed = usable & (high < low - slack)
    below = usable & ~crossed & (high < np.fmax(opened, close) - slack)
    above = usable & ~crossed & (low > np.fmin(opened, close) + slack)
    faults: list[Fault] = []
    rows = np.flatnonzero(crossed)
    found = [f"high {_number(high[row])} below low {_number(low[row])}" for row in rows]
    faults += report(bars, rows.tolist(), "high_low", found, "exchange or correct them")
    cure = "correct the cell that is wrong; the four prices must come from one source"
    for bad, name, column in ((below, "high", high), (above, "low", low)):
        rows = np.flatnonzero(bad)
        word = "below" if name == "high" else "above"
        found = [
            f"{name} {_number(column[row])} {word} open {_number(opened[row])} or close"
            f" {_number(close[row])}"
            for row in rows
        ]
        faults += report(bars, rows.tolist(), "high_low", found, cure)
    return faults


def _stands_alone(step: int, calm: BoolArray, code: INT) -> bool:
    """Whether the steps around one are calm, as far as they are of the same symbol."""
    first, last = max(step - 3, 0), step + 4
    around = code[first:last] == code[step]
    around[step - first] = False
    return bool(calm[first:last][around].all())


def _double_adjusted(bars: Bars) -> list[Fault]:
    """Rows where adj_close / close jumps as at a split although the prices do not.

    At a split the raw close falls by the ratio and adj_close / close rises by it, so that adj_close runs
    on. If close is adjusted already, it runs on by itself and the factor makes adj_close jump. With j the
    change of ln(adj_close / close), a row is at fault when j is within 3 % of a usual split ratio (or of
    its inverse), close moves by less than 12 % and half of that, up or down, and the three bars on either
    side are calm: of a series that jumps about nothing can be said.
    A raw series is mistaken for one only if, on the day of a split, the true price makes up for nearly all
    of it. Gaps of more than ten days are not judged; nor is adjusting for dividends alone.
    """
    both = bars.values[[3, 5]]
    order = np.flatnonzero(((both > 0) & np.isfinite(both)).all(axis=0))
    order = order[np.argsort(bars.code[order], kind="stable")]
    if len(order) < 2:
        return []
    close, adj = bars.values[3][order], bars.values[5][order]
    code, wall = bars.code[order], bars.stamps.wall[order]
    move = np.diff(np.log(close))
    jump = np.diff(np.log(adj / close))
    near = (np.diff(code) == 0) & (np.diff(wall) <= 10 * DAY)
    size = np.abs(jump)
    nearest = np.abs(size[:, None] - SPLITS).min(axis=1)
    moved = np.abs(move)
    at = np.flatnonzero(near & (nearest <= np.log(1.03)) & (moved < np.minimum(size / 2, STEADY)))
    calm = (size < np.log(1.05)) & (moved < 2 * STEADY)
    at = at[[_stands_alone(int(step), calm, code[1:]) for step in at]] if len(at) else at
    rows = order[1:][at]
    found = [
        f"adj_close / close changes by {np.exp(jump[step]):.4g} while close changes by"
        f" {np.exp(move[step]):.4g} only: prices that are adjusted already"
        for step in at
    ]
    cure = "give raw prices with adj_close, or adjusted prices without it"
    return report(bars, rows.tolist(), "double_adjusted", found, cure)
