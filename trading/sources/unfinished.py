"""Finds the last rows of a file that are no finished bars: the quote of a running session or period.

Owns the rule. A file that was written while the market traded ends in a row that does not stand where the
others do: at 17:05:31Z among midnights, on the 14th among month ends, between two grid times of five minutes.
That row is left out, and with it an earlier row of the same session or period, which is not over either.
Only the newest rows of a file are looked at. Refuses to know prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading.calendar import clock_to_utc, exchange_days, sessions_between
from trading.clocks import bar_days, not_closed
from trading.intervals import DAY, FIRST_STAMPS, HOUR, Interval, long_interval
from trading.periods import BarLabel, is_last, periods_of
from trading.sources.bars import INT, Bars, BoolArray
from trading.sources.spacing import moment_text

ENOUGH = 3
"""Rows that show where a stamp belongs."""
GRID = 10
"""Rows that show the grid of intraday times."""


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """The rows to leave out [K], and a note for each symbol's."""

    rows: BoolArray
    notes: tuple[str, ...]


def unfinished_rows(
    bars: Bars, interval: Interval | None, calendar: str, bar_label: BarLabel
) -> Unfinished:
    """The newest rows of each symbol that are no finished bars."""
    left = np.zeros(len(bars.code), dtype=bool)
    valid = np.flatnonzero(bars.stamps.valid)
    if interval is None or len(valid) < ENOUGH:
        return Unfinished(left, ())
    newest = _newest(bars, valid)
    others = np.setdiff1d(valid, newest)
    if len(others) < ENOUGH - 1:
        return Unfinished(left, ())
    if interval.is_intraday:
        found = _off_grid(bars, newest, others, interval)
    else:
        found = _running_session(bars, newest, others, calendar)
        if interval.is_long:
            found |= _running_period(bars, newest, others, calendar, (interval, bar_label))
    if not found.any():
        return Unfinished(left, ())
    left[newest[found]] = True
    left |= _begun_before(bars, newest[found], interval, calendar, bar_label)
    return Unfinished(left, tuple(_notes(bars, np.flatnonzero(left), newest[found])))


def _newest(bars: Bars, valid: INT) -> INT:
    """The last row of each symbol, by time, where it lies on the file's last date or the day before."""
    order = valid[np.lexsort((bars.stamps.utc[valid], bars.code[valid]))]
    last = np.append(np.diff(bars.code[order]) != 0, True)
    rows: INT = order[last]
    utc = bars.stamps.utc
    recent: INT = rows[utc[rows] >= utc[valid].max() - DAY]
    return recent


def _running_session(bars: Bars, newest: INT, others: INT, calendar: str) -> BoolArray:
    """At a time of day at which no other row stands, before the close of its session."""
    stamps = bars.stamps
    usual = np.unique(stamps.wall[others] % DAY)
    if len(usual) > max(8, len(others) // 4):
        return np.zeros(len(newest), dtype=bool)  # times of all kinds: none is out of place
    hour = stamps.wall[newest] % DAY
    # The clock change moves a time of day by an hour.
    places = np.concatenate([usual, (usual + HOUR) % DAY, (usual - HOUR) % DAY])
    found = ~np.isin(hour, places)
    for at in np.flatnonzero(found):
        row = newest[at : at + 1]
        readings = [stamps.utc[row]]
        if not stamps.zoned[row[0]]:
            day = int(stamps.wall[row[0]]) // DAY
            zone = sessions_between(calendar, day, day).zone
            readings.append(clock_to_utc(stamps.wall[row], zone))
        found[at] = any(bool(not_closed(instant, calendar)[0]) for instant in readings)
    return found


def _running_period(
    bars: Bars, newest: INT, others: INT, calendar: str, reading: tuple[Interval, BarLabel]
) -> BoolArray:
    """On a date that is no place for a bar of this interval, to judge by the other rows."""
    interval, bar_label = reading
    stamps = bars.stamps
    days = bar_days(stamps.wall, stamps.utc, stamps.zoned, calendar)
    told = np.unique(days[others])
    dates = days[newest]
    if len(told) < ENOUGH - 1:
        return np.zeros(len(newest), dtype=bool)
    if is_last(told[:FIRST_STAMPS], interval, calendar).all():
        return ~is_last(dates, interval, calendar)
    latest = told[-FIRST_STAMPS:]
    found = np.zeros(len(newest), dtype=bool)
    periods = periods_of(latest, interval, calendar, bar_label)
    for at, date in enumerate(dates.tolist()):
        if date in latest:
            continue
        inside = periods.label == "open" and bool(
            ((periods.first < date) & (date <= periods.last)).any()
        )
        found[at] = inside or long_interval(np.union1d(latest, [date])) != interval
    return found


def _off_grid(bars: Bars, newest: INT, others: INT, interval: Interval) -> BoolArray:
    """Between the times at which all other rows of an intraday file stand."""
    size = interval.nanoseconds
    if len(others) < GRID or size > DAY:
        return np.zeros(len(newest), dtype=bool)
    utc = bars.stamps.utc
    usual = np.unique(utc[others] % size)
    if len(usual) > 2:
        return np.zeros(len(newest), dtype=bool)
    last = int(utc[others].max())
    off: BoolArray = ~np.isin(utc[newest] % size, usual) & (utc[newest] > last)
    return off


def _begun_before(
    bars: Bars, rows: INT, interval: Interval, calendar: str, bar_label: BarLabel
) -> BoolArray:
    """Earlier rows of the same symbols whose session or period holds the unfinished row."""
    stamps = bars.stamps
    left = np.zeros(len(bars.code), dtype=bool)
    for row in rows.tolist():
        same = (bars.code == bars.code[row]) & stamps.valid
        same[row] = False
        if not same.any():
            continue
        if interval.is_intraday:
            if bar_label != "close":
                running = stamps.utc > stamps.utc[row] - interval.nanoseconds
                left |= same & running & (stamps.utc <= stamps.utc[row])
            continue
        days = bar_days(stamps.wall, stamps.utc, stamps.zoned, calendar)
        date = int(days[row])
        if stamps.zoned[row]:
            date = int(exchange_days(stamps.utc[row : row + 1], calendar)[0])
        if interval.is_daily:
            left |= same & (days == date)
            continue
        places = np.flatnonzero(same)
        periods = periods_of(days[places], interval, calendar, bar_label)
        if periods.label == "open":
            left[places[(periods.first <= date) & (date <= periods.last)]] = True
    return left


def _notes(bars: Bars, rows: INT, odd: INT) -> list[str]:
    """One sentence for each symbol."""
    notes = []
    for code in dict.fromkeys(bars.code[rows].tolist()):
        own = rows[bars.code[rows] == code]
        lines = ", ".join(str(int(bars.lines[row])) for row in own)
        told = [row for row in own.tolist() if row in odd]
        shown = moment_text(bars, told[0]) + ("Z" if _utc(bars, told[0]) else "")
        where = f"{bars.file}, " if bars.file else ""
        notes.append(
            f"{where}{'row' if len(own) == 1 else 'rows'} {lines} ({bars.symbols[code]}, {shown}) left out: a"
            " bar that is not finished, where no other row of the file stands"
        )
    return notes


def _utc(bars: Bars, row: int) -> bool:
    stamps = bars.stamps
    return bool(stamps.zoned[row] and stamps.utc[row] == stamps.wall[row])


def future_note(count: int, first: str, now: str) -> str:
    """What is said of bars whose session or period ends after the clock's time."""
    bars = "1 bar" if count == 1 else f"{count} bars"
    return f"{bars} left out, from {first} on: known only after {now}, so not finished, or dated wrongly"
