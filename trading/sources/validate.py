"""Finds every fault in the bars of one file.

Owns the rules of what a bar may look like, each vectorised over the whole file. Refuses to know file
formats and to mend anything.

Known weaknesses: prices adjusted twice are seen at split-sized jumps only, not at dividends; a constant
wrong scale is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trading.calendar import DAILY_GAP, DAY, HOUR, interval_name, interval_of
from trading.sources.faults import Fault
from trading.sources.times import Stamps

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
INT = npt.NDArray[np.int64]

OHLC_TOLERANCE = 1e-4
"""How far, relative to the price, high may lie below open or close, and low above: vendors round. One
basis point is half the default half spread; a real mistake is far larger."""

SPLITS = np.log([4 / 3, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 20, 25, 30, 50])
"""Logarithms of the usual split ratios. 5:4 and less look like a large dividend and are not judged."""

STEADY = float(np.log(1.12))
"""A price that moves by less ran on as on any other day."""

RUN = 5
"""So many equal gaps in a row, longer than the interval, are bars of another interval."""

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


def check_bars(bars: Bars) -> tuple[Bars, list[Fault]]:
    """(the rows that hold a bar, every fault). A row without any price is a missing bar and is left out."""
    faults: list[Fault] = []
    present = ~np.isnan(bars.values[:4]).all(axis=0) | bars.faulty
    faults += _cell_faults(bars, present)
    faults += _time_faults(bars)
    kept = bars.take(np.flatnonzero(present & bars.stamps.valid))
    faults += _double_adjusted(kept)
    return kept, sorted(faults, key=lambda fault: fault.row or 0)


def _report(
    bars: Bars, rows: Iterable[int], kind: str, found: Iterable[str], cure: str
) -> list[Fault]:
    return [
        Fault(kind, int(bars.lines[row]), bars.symbols[bars.code[row]], text, cure, bars.file)
        for row, text in zip(rows, found, strict=True)
    ]


def _number(value: float) -> str:
    return f"{value:.10g}"


def _cell_faults(bars: Bars, present: BoolArray) -> list[Fault]:
    """NaN, infinity, price <= 0, negative volume, and a high or low that does not enclose the bar."""
    faults: list[Fault] = []
    values = bars.values
    sound = present & ~bars.faulty
    wanted = np.ones_like(values, dtype=bool)
    for cell in (4, 5):
        filled = ~np.isnan(values[cell]) & present
        has = np.zeros(len(bars.symbols), dtype=bool)
        has[bars.code[filled]] = True
        wanted[cell] = has[bars.code]
    holes = np.isnan(values) & wanted & sound
    rows = np.flatnonzero(holes.any(axis=0))
    names = [
        "no value (NaN) for "
        + ", ".join(CELL_NAMES[cell] for cell in np.flatnonzero(holes[:, row]))
        for row in rows
    ]
    faults += _report(bars, rows.tolist(), "nan", names, "fill the cell in, or empty the whole row")
    flat = (values[:3] == values[3]).all(axis=0)  # one price four times: told of the close alone
    for cell, name in enumerate(CELL_NAMES):
        column = np.where(flat, 1.0, values[cell]) if cell < 3 else values[cell]
        rows = np.flatnonzero(np.isinf(column))
        found = [f"{name} {_number(column[row])}" for row in rows]
        faults += _report(
            bars, rows.tolist(), "infinite", found, "give a finite number, or empty the row"
        )
        bad = (column < 0) if name == "volume" else (column <= 0)
        rows = np.flatnonzero(bad & np.isfinite(column))
        found = [f"{name} {_number(column[row])}" for row in rows]
        if name == "volume":
            faults += _report(bars, rows.tolist(), "volume", found, "a volume is 0 or more")
        else:
            cure = "a price is above 0: correct it, or empty the row if there was no bar"
            faults += _report(bars, rows.tolist(), "price", found, cure)
    usable = sound & ~np.isnan(values[:4]).any(axis=0)
    usable &= (values[:4] > 0).all(axis=0) & np.isfinite(values[:4]).all(axis=0)
    faults += _enclosing(bars, usable)
    return faults


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
    faults += _report(bars, rows.tolist(), "high_low", found, "exchange or correct them")
    cure = "correct the cell that is wrong; the four prices must come from one source"
    for bad, name, column in ((below, "high", high), (above, "low", low)):
        rows = np.flatnonzero(bad)
        word = "below" if name == "high" else "above"
        found = [
            f"{name} {_number(column[row])} {word} open {_number(opened[row])} or close"
            f" {_number(close[row])}"
            for row in rows
        ]
        faults += _report(bars, rows.tolist(), "high_low", found, cure)
    return faults


def _time_faults(bars: Bars) -> list[Fault]:
    """Duplicate, unsorted and mixed times of each symbol, in file order."""
    rows = np.flatnonzero(bars.stamps.valid)
    order = rows[np.argsort(bars.code[rows], kind="stable")]
    code, utc = bars.code[order], bars.stamps.utc[order]
    gaps = np.diff(utc)
    same = np.diff(code) == 0
    duplicate = order[1:][same & (gaps == 0)]
    faults = _report(
        bars, duplicate.tolist(), "duplicate",
        [f"{_moment(bars, row)} for the second time" for row in duplicate], "keep one of the rows",
    )  # fmt: skip
    back = order[1:][same & (gaps < 0)]
    steps = np.bincount(code[1:][same], minlength=len(bars.symbols))
    backwards = np.bincount(bars.code[back], minlength=len(bars.symbols))
    newest_first = (backwards == steps) & (steps > 2)
    for symbol in np.flatnonzero(newest_first):
        row = back[bars.code[back] == symbol][:1]
        found = [f"all {steps[symbol] + 1} times run backwards, newest first"]
        faults += _report(
            bars, row.tolist(), "unsorted", found, "sort the rows by time, oldest first"
        )
    back = back[~newest_first[bars.code[back]]]
    found = [f"{_moment(bars, row)} after a later time" for row in back]
    faults += _report(bars, back.tolist(), "unsorted", found, "sort the rows by time")
    if not faults:
        faults += _mixed(bars, order, code)
    return faults


def _moment(bars: Bars, row: int) -> str:
    text = str(np.datetime64(int(bars.stamps.wall[row]), "ns").astype("datetime64[s]"))
    return text[:10] if text.endswith("T00:00:00") else text


def _mixed(bars: Bars, order: INT, code: INT) -> list[Fault]:
    """Bars of more than one interval in one file, and bars longer than a day."""
    wall, utc = bars.stamps.wall[order], bars.stamps.utc[order]
    interval = interval_of(np.unique(wall))
    if interval is None:
        if len(order) == 0:
            return []
        found = [f"no interval follows from the time {_moment(bars, int(order[0]))} alone"]
        return _report(bars, order[:1].tolist(), "interval", found, "give two bars or more")
    gaps = np.diff(wall if interval == DAY else utc)
    inner = np.diff(code) == 0
    named = interval_name(interval)
    if interval == DAY:
        short = inner & (wall[1:] // DAY == wall[:-1] // DAY)
        longer = inner & (_longer_bars(gaps) > 0)
    else:
        short = inner & (gaps < interval) & (gaps > 0)
        longer = inner & (gaps > interval)
    rows = order[1:][short]
    found = [
        f"{_moment(bars, row)} is {_gap(gap)} after the bar before it, in a file of {named} bars"
        for row, gap in zip(rows, gaps[short], strict=True)
    ]
    cure = "keep bars of one interval in a file; leave out a first bar whose neighbour is missing"
    faults = _report(bars, rows.tolist(), "interval", found, cure)
    size = np.where(gaps >= DAILY_GAP, DAY, gaps) if interval < DAY else _longer_bars(gaps)
    daily = np.zeros(len(order), dtype=bool)
    if interval < DAY:
        daily = _daily_bars(wall, gaps, inner, interval) | bars.stamps.dated[order]
    starts, usual = [], []
    for start, stop in _runs(longer, size):
        # A run of gaps start .. stop - 1 ends in rows start + 1 .. stop; a daily bar before it belongs to it.
        starts.append(start if daily[start] else start + 1)
        usual.append(int(np.median(gaps[start:stop])))
        daily[start : stop + 1] = False
    found = [
        f"from {_moment(bars, row)} on, bars {_gap(gap)} apart in a file of {named} bars"
        for row, gap in zip(order[starts], usual, strict=True)
    ]
    cure = "keep bars of one interval, a day or shorter, in a file"
    faults += _report(bars, order[starts].tolist(), "interval", found, cure)
    rows = order[daily]
    found = [f"{_moment(bars, row)}: a daily bar in a file of {named} bars" for row in rows]
    cure = "keep daily bars in a file of their own; give a bar of this file its time"
    return faults + _report(bars, rows.tolist(), "interval", found, cure)


def _daily_bars(wall: INT, gaps: INT, inner: BoolArray, interval: int) -> BoolArray:
    """Which rows of an intraday file are daily bars, [K]: stamped midnight, and alone there.

    Taken for an intraday bar such a row would be known one interval after midnight, long before its close.
    Alone means that the nearest bar of the symbol is 20 hours or more away (and more than two intervals);
    in a file without other bars near midnight, that it is not one interval away. A symbol's only bar is
    not judged.
    """
    none = np.iinfo(np.int64).max
    before, after = np.full(len(wall), none), np.full(len(wall), none)
    before[1:] = np.where(inner, gaps, none)
    after[:-1] = before[1:]
    nearest = np.minimum(before, after)
    hour = wall % DAY
    near_midnight = (hour != 0) & (np.minimum(hour, DAY - hour) <= max(interval, HOUR))
    alone = (nearest >= DAILY_GAP) & (nearest > 2 * interval)
    if not near_midnight.any():
        alone |= nearest > interval
    alone_at_midnight: BoolArray = (hour == 0) & alone & (nearest < none)
    return alone_at_midnight


def _longer_bars(gaps: INT) -> INT:
    """1 for gaps like a weekly bar's (5 to 9 days), 2 like a monthly one's (26 to 35), else 0: a symbol
    that trades thinly has gaps of all sizes."""
    days = gaps // DAY
    weekly, monthly = (days >= 5) & (days <= 9), (days >= 26) & (days <= 35)
    return np.where(weekly, 1, np.where(monthly, 2, 0))


def _gap(gap: int) -> str:
    return interval_name(int(gap))


def _runs(candidate: BoolArray, size: INT) -> list[tuple[int, int]]:
    """(start, stop) of each run of `RUN` or more equal candidate gaps."""
    if len(candidate) < RUN:
        return []
    changes = np.ones(len(candidate), dtype=bool)
    changes[1:] = (candidate[1:] != candidate[:-1]) | (size[1:] != size[:-1])
    starts = np.flatnonzero(changes)
    stops = np.append(starts[1:], len(candidate))
    here = candidate[starts] & (stops - starts >= RUN)
    return list(zip(starts[here].tolist(), stops[here].tolist(), strict=True))


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
    return _report(bars, rows.tolist(), "double_adjusted", found, cure)
