"""What is wrong with the times of a file's bars: duplicates, order, mixed intervals, other exchanges' clocks.

Owns those rules, each vectorised over the whole file. Refuses to know prices (`validate`) and what is left
out because it is not finished (`unfinished`).
"""

from __future__ import annotations

import numpy as np

from trading.calendar import sessions_between
from trading.clocks import come_twice, fitting_calendars, misplaced
from trading.intervals import (
    DAILY,
    DAILY_GAP,
    DAY,
    FIRST_STAMPS,
    HOUR,
    Interval,
    interval_of,
    of_nanoseconds,
)
from trading.sources.bars import INT, Bars, BoolArray, report
from trading.sources.faults import Fault

RUN = 5
"""So many equal gaps in a row, longer than the interval, are bars of another interval."""
IRREGULAR_DAYS = 10
"""Dates further apart, by the middle gap, and regular in no unit, are a mixture, not thin trading."""
SYMBOLS_ASKED = 32
CALENDARS_NAMED = 6

LENGTHS: tuple[tuple[str, float, float], ...] = (
    ("1w", 5, 9), ("2w", 12, 16), ("1mo", 26, 35), ("2mo", 56, 65), ("3mo", 86, 96),
    ("6mo", 176, 188), ("1y", 358, 373),
)  # fmt: skip
"""Gaps in days that look like bars of these intervals; a symbol that trades thinly has gaps of all sizes."""


def file_interval(bars: Bars, calendar: str) -> Interval | None:
    """The interval of a file's bars; None when they cannot tell.

    Read from all symbols together; where these seem daily, most symbols for themselves may show a longer
    one (months that end on different days).
    """
    found = interval_of(np.unique(bars.stamps.wall))
    if found != DAILY:
        return found
    own = [_dates(bars, code) for code in range(min(len(bars.symbols), SYMBOLS_ASKED))]
    asked = [days for days in own if len(days) > 3] or [days for days in own if len(days) > 1]
    longer = [days for days in asked if np.diff(days).min() > 1]
    if 2 * len(longer) <= len(asked):
        return found
    first, last = min(int(days[0]) for days in longer), max(int(days[-1]) for days in longer)
    sessions = sessions_between(calendar, first, last).days
    votes = [
        interval_of(days * DAY, sessions) or DAILY for days in longer
    ]  # the file's other symbols are daily
    best = max(dict.fromkeys(votes), key=votes.count)
    return best if 2 * votes.count(best) > len(asked) else found


def _dates(bars: Bars, code: int) -> INT:
    return np.unique(bars.stamps.wall[bars.code == code] // DAY)[:FIRST_STAMPS]


def time_faults(bars: Bars, calendar: str) -> list[Fault]:
    """Duplicate, unsorted and mixed times of each symbol, in file order, and clocks that do not fit."""
    rows = np.flatnonzero(bars.stamps.valid)
    order = rows[np.argsort(bars.code[rows], kind="stable")]
    code, utc = bars.code[order], bars.stamps.utc[order]
    gaps = np.diff(utc)
    same = np.diff(code) == 0
    again = _clock_goes_back(bars, order, same, gaps)
    faults = _hour_twice(bars, order[1:][again])
    same &= ~again
    duplicate = order[1:][same & (gaps == 0)]
    faults += report(
        bars, duplicate.tolist(), "duplicate",
        [f"{moment_text(bars, row)} for the second time" for row in duplicate], "keep one of the rows",
    )  # fmt: skip
    back = order[1:][same & (gaps < 0)]
    steps = np.bincount(code[1:][same], minlength=len(bars.symbols))
    backwards = np.bincount(bars.code[back], minlength=len(bars.symbols))
    newest_first = (backwards == steps) & (steps > 2)
    for symbol in np.flatnonzero(newest_first):
        row = back[bars.code[back] == symbol][:1]
        found = [f"all {steps[symbol] + 1} times run backwards, newest first"]
        faults += report(
            bars, row.tolist(), "unsorted", found, "sort the rows by time, oldest first"
        )
    back = back[~newest_first[bars.code[back]]]
    found = [f"{moment_text(bars, row)} after a later time" for row in back]
    faults += report(bars, back.tolist(), "unsorted", found, "sort the rows by time")
    if not faults and len(order):
        interval = file_interval(bars.take(order), calendar)
        faults += _mixed(bars, order, code, interval)
        if not faults and interval is not None and not interval.is_intraday:
            faults += _foreign_clock(bars, order, calendar)
    return faults


def _clock_goes_back(bars: Bars, order: INT, same: BoolArray, gaps: INT) -> BoolArray:
    """Which steps to the next row [K - 1] are no disorder but the hour that a clock shows twice.

    Times without a zone that go back (or stand still) just so far that the next bar follows an hour later, or
    an hour whose every time stands twice.
    """
    back = same & (gaps <= 0) & ~bars.stamps.zoned[order[1:]]
    forward = gaps[same & (gaps > 0)]
    if not back.any() or len(forward) == 0 or np.median(forward) > HOUR:
        return np.zeros(len(gaps), dtype=bool)
    usual = int(np.median(forward))
    wall = bars.stamps.wall[order]
    twice = back.copy()
    twice[back] = come_twice(wall[1:][back])
    for step in np.flatnonzero(twice & (gaps + HOUR != usual)):
        hour = (bars.code[order] == bars.code[order[step]]) & (wall // HOUR == wall[step] // HOUR)
        times, counts = np.unique(wall[hour], return_counts=True)
        twice[step] = gaps[step] == 0 and len(times) == HOUR // usual and bool((counts == 2).all())
    return twice


def _hour_twice(bars: Bars, rows: INT) -> list[Fault]:
    found = [
        f"{moment_text(bars, row)} in the hour that comes twice when clocks go back, in times without a zone"
        for row in rows
    ]
    cure = "write each time with its offset from UTC (2024-10-27T02:00:00+01:00), or in UTC: every bar stays"
    return report(bars, rows.tolist(), "zone", found, cure)


def moment_text(bars: Bars, row: int) -> str:
    """A stamp as its own clock shows it: a date at midnight, else with the time."""
    text = str(np.datetime64(int(bars.stamps.wall[row]), "ns").astype("datetime64[s]"))
    return text[:10] if text.endswith("T00:00:00") else text


def _foreign_clock(bars: Bars, order: INT, calendar: str) -> list[Fault]:
    """One fault where stamps with a zone do not fit the exchange's clock, with the calendars that fit."""
    stamps = bars.stamps.take(order)
    wrong = misplaced(stamps.wall, stamps.utc, stamps.zoned, calendar)
    if not wrong.any():
        return []
    rows = order[wrong]
    first = str(np.datetime64(int(bars.stamps.utc[rows[0]]), "ns").astype("datetime64[s]"))
    found = [
        f"{len(rows)} of {len(order)} stamps, {first}Z the first, show neither midnight, nor the open, nor"
        f" the close on the clock of {calendar}: the bars would stand on a wrong day"
    ]
    fits = fitting_calendars(stamps.wall, stamps.utc, stamps.zoned)[:CALENDARS_NAMED]
    cure = (
        f"set data.calendar to the exchange's; {', '.join(fits)} fit{'s' if len(fits) == 1 else ''}"
        if fits
        else "write the dates alone, as 2012-05-18, or set data.calendar; no well-known calendar fits"
    )
    return report(bars, rows[:1].tolist(), "calendar", found, cure)


def _mixed(bars: Bars, order: INT, code: INT, interval: Interval | None) -> list[Fault]:
    """Bars of more than one interval in one file."""
    if interval is None:
        found = [
            f"no interval follows from the time {moment_text(bars, int(order[0]))} alone"
            if len(order) == 1
            else f"no interval follows from the times from {moment_text(bars, int(order[0]))} on"
        ]
        return report(bars, order[:1].tolist(), "interval", found, "give two bars or more")
    wall, utc = bars.stamps.wall[order], bars.stamps.utc[order]
    gaps = np.diff(utc if interval.is_intraday else wall)
    inner = np.diff(code) == 0
    named = interval.name
    if interval.is_daily:
        short = inner & (wall[1:] // DAY == wall[:-1] // DAY)
        size = _lengths(gaps)
    elif interval.is_long:
        short = inner & (gaps < 0.6 * interval.days * DAY)
        size = np.rint(gaps / (interval.days * DAY)).astype(np.int64)
        size = np.where(size > 1, size, 0)
    else:
        short = inner & (gaps < interval.nanoseconds) & (gaps > 0)
        size = np.where(gaps >= DAILY_GAP, DAY, gaps)
        size = np.where(gaps > interval.nanoseconds, size, 0)
    longer = inner & (size > 0)
    rows = order[1:][short]
    found = [
        f"{moment_text(bars, row)} is {_gap(gap)} after the bar before it, in a file of {named} bars"
        for row, gap in zip(rows, gaps[short], strict=True)
    ]
    cure = "keep bars of one interval in a file; leave out a first bar whose neighbour is missing"
    faults = report(bars, rows.tolist(), "interval", found, cure)
    daily = np.zeros(len(order), dtype=bool)
    if interval.is_intraday and interval.nanoseconds < DAY:
        daily = _daily_bars(wall, gaps, inner, interval.nanoseconds) | bars.stamps.dated[order]
    starts, usual = [], []
    for start, stop in _runs(longer, size):
        # A run of gaps start .. stop - 1 ends in rows start + 1 .. stop; a daily bar before it belongs to it.
        starts.append(start if daily[start] else start + 1)
        usual.append(int(np.median(gaps[start:stop])))
        daily[start : stop + 1] = False
    found = [
        f"from {moment_text(bars, row)} on, bars {_gap(gap)} apart in a file of {named} bars"
        for row, gap in zip(order[starts], usual, strict=True)
    ]
    cure = "keep bars of one interval in a file"
    faults += report(bars, order[starts].tolist(), "interval", found, cure)
    rows = order[daily]
    found = [f"{moment_text(bars, row)}: a daily bar in a file of {named} bars" for row in rows]
    cure = "keep daily bars in a file of their own; give a bar of this file its time"
    faults += report(bars, rows.tolist(), "interval", found, cure)
    return faults or _irregular(bars, order, wall, interval)


def _irregular(bars: Bars, order: INT, wall: INT, interval: Interval) -> list[Fault]:
    """Dates far apart that no unit explains: taken for daily bars they would be known too early."""
    gaps = np.diff(np.unique(wall // DAY))
    if not interval.is_daily or len(gaps) < RUN or np.median(gaps) < IRREGULAR_DAYS:
        return []
    found = [
        f"the times lie {int(gaps.min())} to {int(gaps.max())} days apart: bars of no one interval of days,"
        " weeks, months or years"
    ]
    cure = "keep bars of one interval in a file"
    return report(bars, order[:1].tolist(), "interval", found, cure)


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


def _lengths(gaps: INT) -> INT:
    """Which of `LENGTHS` a gap looks like, counted from 1; 0 for none."""
    days = gaps // DAY
    found = np.zeros(len(gaps), dtype=np.int64)
    for place, (_, low, high) in enumerate(LENGTHS, start=1):
        found[(days >= low) & (days <= high)] = place
    return found


def _gap(gap: int) -> str:
    """The length of a gap, by the name of the interval that it looks like."""
    kind = int(_lengths(np.array([gap]))[0])
    return LENGTHS[kind - 1][0] if kind else of_nanoseconds(int(gap)).name


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
