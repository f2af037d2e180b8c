"""The sessions of exchanges: when they close, which are missing, and how many bars a year has.

Owns the rule of knowing for daily bars: a bar is known at the close of the session of its date (half days
included); a date that is no session, such as a Saturday of a coin under XNYS, is known when that UTC day
ends. `trading/periods.py` has the rule for longer bars; an intraday bar is known at its open + interval.
exchange_calendars owns the sessions, pandas_market_calendars New York's before 1970. The moment a row
became known depends on that row, on the calendar and on the first bars of the file (the interval, what its
stamps label), never on a later row.

Known weakness: closes before 1974 are 16:00, as exchange_calendars has them; New York closed at 15:30 or
15:00.
"""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DataError
from trading.intervals import DAY, HOUR, Interval, month_of, parse_interval, weekday_of

INT = npt.NDArray[np.int64]

EXCHANGE_CALENDARS_HOLIDAYS_FROM = int(np.datetime64("1970-01-01", "D").astype(np.int64))
"""From here on exchange_calendars has every holiday of New York; pandas_market_calendars has them since
1885."""
NEW_YORK_HISTORY_FROM = int(np.datetime64("1885-01-01", "D").astype(np.int64))
SATURDAY = 5
SATURDAY_HOURS = (10, 12)
"""New York's Saturday sessions, which ended with 1952-09-27, by its own clock."""


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


def sessions_between(
    calendar: str, first_day: int, last_day: int, *, saturdays: bool = False
) -> Sessions:
    """The sessions from one day to another (days since 1970, inclusive); none is a value.

    `saturdays`: with New York's short Saturday sessions before 1952-09-29, which few files have.
    Raises: DataError for a calendar that does not exist.
    """
    first_day, last_day = int(first_day), int(last_day)
    sessions = _sessions(calendar, first_day, last_day)
    if first_day >= EXCHANGE_CALENDARS_HOLIDAYS_FROM or not _is_new_york(calendar):
        return sessions
    return _with_history(sessions, first_day, last_day, saturdays)


def _is_new_york(calendar: str) -> bool:
    import exchange_calendars as exchanges

    return bool(exchanges.resolve_alias(calendar) == "XNYS")


def _with_history(sessions: Sessions, first_day: int, last_day: int, saturdays: bool) -> Sessions:
    """Without the holidays before 1970 that exchange_calendars does not know, and with Saturdays if asked."""
    opened = _new_york_history(
        max(first_day, NEW_YORK_HISTORY_FROM),
        min(last_day, EXCHANGE_CALENDARS_HOLIDAYS_FROM - 1),
    )
    days = sessions.days
    kept = (days < NEW_YORK_HISTORY_FROM) | (days >= EXCHANGE_CALENDARS_HOLIDAYS_FROM)
    kept |= np.isin(days, opened)
    days, opens, closes = days[kept], sessions.opens[kept], sessions.closes[kept]
    extra = opened[weekday_of(opened) == SATURDAY]
    if saturdays and len(extra):
        hours = (clock_to_utc(extra * DAY + hour * HOUR, sessions.zone) for hour in SATURDAY_HOURS)
        more = np.stack([extra, *hours])
        days, opens, closes = np.concatenate([np.stack([days, opens, closes]), more], axis=1)
        order = np.argsort(days)
        days, opens, closes = days[order], opens[order], closes[order]
    return Sessions(sessions.name, sessions.zone, days, opens, closes)


@lru_cache(maxsize=16)
def _new_york_history(first_day: int, last_day: int) -> INT:
    """The days on which New York traded, Saturdays too, [D]."""
    import pandas as pd
    import pandas_market_calendars as markets

    if first_day > last_day:
        return np.zeros(0, dtype=np.int64)
    start, end = pd.Timestamp(first_day * DAY), pd.Timestamp(last_day * DAY)
    found = markets.get_calendar("NYSE").valid_days(start, end, tz=None)
    return np.asarray(found.to_numpy().astype("datetime64[D]").astype(np.int64))


@lru_cache(maxsize=64)
def _sessions(calendar: str, first_day: int, last_day: int) -> Sessions:
    import exchange_calendars as exchanges
    import pandas as pd

    # A week more on both sides: a range of one day, or without a session, cannot be built.
    start, end = pd.Timestamp((first_day - 7) * DAY), pd.Timestamp((last_day + 7) * DAY)
    try:
        built = _built(calendar, start=start, end=end)
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


def _built(calendar: str, **span: Any) -> Any:
    """A calendar of exchange_calendars, which uses what pandas 3.1 deprecates: none of a user's business."""
    import exchange_calendars as exchanges

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return exchanges.get_calendar(calendar, **span)


def _within_bounds(calendar: str, first_day: int, last_day: int) -> Sessions:
    """The part of a range that the calendar has records of."""
    try:
        usual = _built(calendar)
    except ValueError as error:
        raise DataError(
            f"exchange_calendars cannot build {calendar} (data.calendar).",
            "Name another calendar with nearly the same sessions: this one's records are broken.",
        ) from error
    low, high = usual.bound_min(), usual.bound_max()
    first = first_day if low is None else max(first_day, low.value // DAY + 7)
    last = last_day if high is None else min(last_day, high.value // DAY - 7)
    if first <= last and (first, last) != (first_day, last_day):
        return _sessions(calendar, first, last)
    empty = np.zeros(0, dtype=np.int64)
    return Sessions(calendar, str(usual.tz), empty, empty, empty)


def exchange_days(utc: INT, calendar: str) -> INT:
    """The date that the exchange's own clock shows at each instant, in days since 1970 [K]."""
    day = int(utc.min()) // DAY
    return zone_clock(utc, sessions_between(calendar, day, day).zone) // DAY


def zone_clock(utc: INT, zone: str) -> INT:
    """What a zone's clock shows at each instant, as ns since 1970 [K]."""
    import pandas as pd

    local = pd.DatetimeIndex(utc.view("datetime64[ns]"), tz="UTC").tz_convert(zone)
    return np.asarray(local.tz_localize(None).as_unit("ns").asi8)


def clock_to_utc(wall: INT, zone: str) -> INT:
    """The instants at which a zone's clock shows these times; of an hour that comes twice the first."""
    import pandas as pd

    local = pd.DatetimeIndex(wall.view("datetime64[ns]"))
    first = np.ones(len(wall), dtype=bool)
    zoned = local.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return np.asarray(zoned.tz_convert(None).as_unit("ns").asi8)


def known_at_close(days: INT, calendar: str) -> tuple[INT, npt.NDArray[np.bool_]]:
    """(the moment each daily bar became known [K], whether its date is a session [K])."""
    if len(days) == 0:
        return days.copy(), np.zeros(0, dtype=bool)
    sessions = sessions_between(calendar, int(days.min()), int(days.max()), saturdays=True)
    known = (days + 1) * DAY
    if len(sessions.days) == 0:
        return known, np.zeros(len(days), dtype=bool)
    at = np.minimum(np.searchsorted(sessions.days, days), len(sessions.days) - 1)
    is_session = sessions.days[at] == days
    return np.where(is_session, sessions.closes[at], known), is_session


def missing_sessions(symbol: str, days: INT, calendar: str) -> list[Gap]:
    """Runs of sessions without a bar between the first and the last of `days` (ascending dates).

    New York's Saturday sessions count where `days` have a Saturday before 1970.
    """
    if len(days) == 0:
        return []
    early = days[days < EXCHANGE_CALENDARS_HOLIDAYS_FROM]
    saturdays = bool((weekday_of(early) == SATURDAY).any())
    sessions = sessions_between(calendar, int(days[0]), int(days[-1]), saturdays=saturdays).days
    absent = np.flatnonzero(~np.isin(sessions, days))
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > 1) + 1)
    return [
        Gap(symbol, _date(sessions[run[0]]), _date(sessions[run[-1]]), len(run))
        for run in runs
        if len(run)
    ]


def missing_periods(symbol: str, days: INT, interval: Interval, calendar: str) -> list[Gap]:
    """Stretches between the bars longer than a day (dates ascending) in which one or more are missing.

    `sessions` counts the missing bars; a stretch in which the exchange never opened has none.
    """
    if len(days) < 2:
        return []
    if interval.months:
        steps = np.rint(np.diff(month_of(days)) / interval.months).astype(np.int64)
    else:
        steps = np.rint(np.diff(days) / interval.days).astype(np.int64)
    gaps = []
    for at in np.flatnonzero(steps > 1).tolist():
        start, end = int(days[at] + interval.days), int(days[at + 1] - 1)
        if len(sessions_between(calendar, start, end).days):
            gaps.append(
                Gap(symbol, _date(np.int64(start)), _date(np.int64(end)), int(steps[at]) - 1)
            )
    return gaps


def _date(day: np.int64) -> str:
    return str(np.datetime64(int(day), "D"))


@lru_cache(maxsize=64)
def bars_per_year(calendar: str = "XNYS", interval: str = "1d") -> float:
    """How many bars of this interval a year has, for annualising.

    Sessions are counted over 2010 to 2019 and rounded to whole ones a year: 252 daily bars under XNYS, 365
    under 24/7, half as many of two days. An intraday session is as long as the middle one of those, a last
    short bar counting as one (390 minutes are 7 bars of an hour). A year has 52 weeks, as the field counts,
    and 12 months, whatever the calendar: 26 bars of two weeks, 4 of three months, 1 of a year.
    """
    size = parse_interval(interval)
    if size.months:
        return 12.0 / size.months
    if size.unit == "w":
        return 52.0 / size.count
    first, last = (
        int(np.datetime64(day, "D").astype(np.int64)) for day in ("2010-01-01", "2019-12-31")
    )
    sessions = sessions_between(calendar, first, last)
    per_year = float(round(len(sessions.days) / 10))
    if not size.is_intraday:
        return per_year / size.count
    length = float(np.median(sessions.closes - sessions.opens))
    if size.nanoseconds > DAY:
        return per_year * DAY / size.nanoseconds
    return per_year * float(np.ceil(length / size.nanoseconds))
