"""When a bar became known, which sessions are missing, and how many bars a year has.

Owns the rule of knowing; exchange_calendars owns the sessions. The rule is local: the moment a row
became known depends on that row, on the calendar and on the first bars of the file (the interval),
never on a later row.

    daily      the close of the session of its date (half days included); a date that is no session, such as
               a Saturday of a coin under XNYS, is known when that UTC day ends
    intraday   the stamp is the bar's open and the bar is known at open + interval; with
               `data.bar_label: close` the stamp itself is the moment

A daily stamp's date is what its own clock shows at midnight; a stamp with a zone that is not at
midnight there is first moved to the exchange's zone (05:00Z is midnight in New York). An intraday stamp
without a zone is taken for UTC.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from core.errors import DataError

INT = npt.NDArray[np.int64]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
DAILY_GAP = 20 * HOUR
"""Two first stamps at least this far apart may be daily ones."""
LONGEST = 12 * HOUR
"""The longest intraday interval; what lies further apart has a night between."""


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions of one calendar over a range of dates: days since 1970 [S], opens and closes in UTC ns [S]."""

    name: str
    zone: str
    days: INT
    opens: INT
    closes: INT


@dataclass(frozen=True, slots=True)
class Gap:
    """Sessions in a row without a bar, between a symbol's first and last bar; dates are inclusive."""

    symbol: str
    start: str
    end: str
    sessions: int


def sessions_between(calendar: str, first_day: int, last_day: int) -> Sessions:
    """The sessions from one day to another (days since 1970, inclusive); none is a value.

    Raises: DataError for a calendar that does not exist.
    """
    return _sessions(calendar, int(first_day), int(last_day))


@lru_cache(maxsize=64)
def _sessions(calendar: str, first_day: int, last_day: int) -> Sessions:
    import exchange_calendars as exchanges
    import pandas as pd

    # A week more on both sides: a range of one day, or without a session, cannot be built.
    start, end = pd.Timestamp((first_day - 7) * DAY), pd.Timestamp((last_day + 7) * DAY)
    try:
        built = exchanges.get_calendar(calendar, start=start, end=end)
    except exchanges.errors.InvalidCalendarName as error:
        near = difflib.get_close_matches(calendar, exchanges.get_calendar_names(), n=3)
        raise DataError(
            f"there is no calendar {calendar!r} (data.calendar).",
            f"Nearest names: {', '.join(near or ['XNYS', '24/7'])}.",
        ) from error
    except (exchanges.errors.NoSessionsError, ValueError):
        return _within_bounds(calendar, first_day, last_day)
    days = built.sessions.to_numpy().astype("datetime64[D]").astype(np.int64)
    here = (days >= first_day) & (days <= last_day)
    return Sessions(
        calendar,
        str(built.tz),
        days[here],
        built.opens_nanos.astype(np.int64)[here],
        built.closes_nanos.astype(np.int64)[here],
    )


def _within_bounds(calendar: str, first_day: int, last_day: int) -> Sessions:
    """The part of a range that the calendar has records of."""
    import exchange_calendars as exchanges

    usual = exchanges.get_calendar(calendar)
    low, high = usual.bound_min(), usual.bound_max()
    first = first_day if low is None else max(first_day, low.value // DAY + 7)
    last = last_day if high is None else min(last_day, high.value // DAY - 7)
    if first <= last and (first, last) != (first_day, last_day):
        return _sessions(calendar, first, last)
    empty = np.zeros(0, dtype=np.int64)
    return Sessions(calendar, str(usual.tz), empty, empty, empty)


def interval_of(wall: INT) -> int | None:
    """The bars' interval in ns (`DAY` for daily) from the first stamps; None when they cannot tell.

    `wall` are the file's distinct stamps [K], ascending. Two first stamps at the same time of day (an hour
    apart at most, for the clock change) are daily; else their distance is the interval, and a first bar
    that stands alone on its day is passed over. A single stamp at midnight is daily.
    Point in time: more rows never change an answer that the first ones gave.
    """
    if len(wall) == 0:
        return None
    if len(wall) == 1:
        return DAY if wall[0] % DAY == 0 else None
    hours = abs(int(wall[0] % DAY) - int(wall[1] % DAY))
    if wall[1] - wall[0] >= DAILY_GAP and min(hours, DAY - hours) <= HOUR:
        return DAY
    gaps = np.diff(wall)
    near = gaps[gaps <= LONGEST]
    return int(near[0]) if len(near) else None


def interval_name(interval: int) -> str:
    """`1d`, `1h`, `5m`, `30s`."""
    for size, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if interval % size == 0:
            return f"{interval // size}{letter}"
    return f"{interval / SECOND:g}s"


def parse_interval(name: str) -> int:
    """The inverse of `interval_name`, in ns. Raises: DataError."""
    sizes = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}
    number, letter = name[:-1], name[-1:]
    if letter not in sizes or not number.isdigit() or int(number) == 0:
        raise DataError(f"{name!r} is no interval.", "Write it as 1d, 1h, 5m or 30s.")
    return int(number) * sizes[letter]


def bar_days(wall: INT, utc: INT, zoned: npt.NDArray[np.bool_], calendar: str) -> INT:
    """The date of each daily stamp, in days since 1970 [K]; the module's docstring has the rule."""
    days = wall // DAY
    moved = zoned & (wall % DAY != 0)
    if moved.any():
        days = days.copy()
        days[moved] = exchange_days(utc[moved], calendar)
    return days


def exchange_days(utc: INT, calendar: str) -> INT:
    """The date that the exchange's own clock shows at each instant, in days since 1970 [K]."""
    import pandas as pd

    day = int(utc.min()) // DAY
    zone = sessions_between(calendar, day, day).zone
    local = pd.DatetimeIndex(utc.view("datetime64[ns]"), tz="UTC").tz_convert(zone)
    return local.tz_localize(None).as_unit("ns").asi8 // DAY


def known_at_close(days: INT, calendar: str) -> tuple[INT, npt.NDArray[np.bool_]]:
    """(the moment each daily bar became known [K], whether its date is a session [K])."""
    if len(days) == 0:
        return days.copy(), np.zeros(0, dtype=bool)
    sessions = sessions_between(calendar, int(days.min()), int(days.max()))
    known = (days + 1) * DAY
    if len(sessions.days) == 0:
        return known, np.zeros(len(days), dtype=bool)
    at = np.minimum(np.searchsorted(sessions.days, days), len(sessions.days) - 1)
    is_session = sessions.days[at] == days
    return np.where(is_session, sessions.closes[at], known), is_session


def missing_sessions(symbol: str, days: INT, calendar: str) -> list[Gap]:
    """Runs of sessions without a bar between the first and the last of `days` (ascending dates)."""
    if len(days) == 0:
        return []
    sessions = sessions_between(calendar, int(days[0]), int(days[-1])).days
    absent = np.flatnonzero(~np.isin(sessions, days))
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > 1) + 1)
    return [
        Gap(symbol, _date(sessions[run[0]]), _date(sessions[run[-1]]), len(run))
        for run in runs
        if len(run)
    ]


def _date(day: np.int64) -> str:
    return str(np.datetime64(int(day), "D"))


@lru_cache(maxsize=64)
def bars_per_year(calendar: str = "XNYS", interval: str = "1d") -> float:
    """How many bars of this interval a year has, for annualising: 252 daily under XNYS, 365 under 24/7.

    Counted over 2010 to 2019 and rounded to whole sessions a year; an intraday session is as long as the
    middle one of those, a last short bar counting as one (390 minutes are 7 bars of an hour).
    """
    first, last = (
        int(np.datetime64(day, "D").astype(np.int64)) for day in ("2010-01-01", "2019-12-31")
    )
    sessions = sessions_between(calendar, first, last)
    per_year = float(round(len(sessions.days) / 10))
    size = parse_interval(interval)
    if size >= DAY:
        return per_year
    length = float(np.median(sessions.closes - sessions.opens))
    return per_year * float(np.ceil(length / size))
