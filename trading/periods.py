"""Bars longer than a day: what their stamps label, the last day of each, and when it became known.

Owns the rule: a long bar is known at the last session close of its period, never earlier; a period without a
session is over when its last UTC day ends. Refuses to know files and prices.

What a stamp labels is a fact of the file's format, like the interval: read from the first `FIRST_STAMPS`
stamps unless `data.bar_label` says it. Stamps that are all last days (or last sessions) of their week or
month label its end; all others its beginning, which is the later and so the safe reading. A beginning
that is the first day or session of its week or month stands for whole calendar weeks or months, any other
for so many from that day on.

Known weakness: a Sunday is a week's last day (ISO 8601, as pandas resamples); a vendor that begins its weeks
on Sundays needs `data.bar_label: open`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trading.calendar import Sessions, sessions_between
from trading.intervals import (
    DAY,
    FIRST_STAMPS,
    WEEK_DAYS,
    Interval,
    month_of,
    month_start,
    weekday_of,
)

INT = npt.NDArray[np.int64]
BarLabel = Literal["auto", "open", "close"]


@dataclass(frozen=True, slots=True, eq=False)
class Periods:
    """Long bars' periods. Shapes: `first`, `last` [K] days since 1970, inclusive; `known` [K] UTC ns.

    `label` is what the stamps are taken for: the period's `open` (beginning) or `close` (end).
    """

    first: INT
    last: INT
    known: INT
    label: Literal["open", "close"]


def periods_of(days: INT, interval: Interval, calendar: str, bar_label: BarLabel) -> Periods:
    """The periods of bars with these dates [K] (days since 1970, not necessarily sorted)."""
    spare = int(3 * interval.days) + 40
    sessions = sessions_between(calendar, int(days.min()) - spare, int(days.max()) + spare)
    told = np.unique(days)[:FIRST_STAMPS]
    if bar_label == "auto":
        label: Literal["open", "close"] = (
            "close" if _is_last(told, interval, sessions.days).all() else "open"
        )
        last = (
            _calendar_end(days, interval, 1)
            if label == "close"
            else _end(days, told, interval, sessions.days)
        )
    else:
        label = bar_label
        last = days if label == "close" else _end(days, told, interval, sessions.days)
    first = _beginning(last, interval) if label == "close" else days
    return Periods(first, last, _last_close(first, last, sessions), label)


def is_last(days: INT, interval: Interval, calendar: str) -> npt.NDArray[np.bool_]:
    """Whether no session of its week or month comes after each date, [K]; bars of days have no last day."""
    spare = int(3 * interval.days) + 40
    sessions = sessions_between(calendar, int(days.min()) - spare, int(days.max()) + spare)
    return _is_last(days, interval, sessions.days)


def _is_last(days: INT, interval: Interval, sessions: INT) -> npt.NDArray[np.bool_]:
    if interval.unit == "d":
        return np.zeros(len(days), dtype=bool)
    return ~_open_between(days + 1, _calendar_end(days, interval, 1), sessions)


def _all_first(days: INT, interval: Interval, sessions: INT) -> bool:
    if interval.unit == "d":
        return False
    begins = month_start(month_of(days)) if interval.months else days - weekday_of(days)
    return not _open_between(begins, days - 1, sessions).any()


def _open_between(first: INT, last: INT, sessions: INT) -> npt.NDArray[np.bool_]:
    """Whether a session lies in each stretch; a weekday counts where the calendar has no records at all."""
    if len(sessions) == 0:
        weekdays = np.arange(int(first.min()), int(last.max()) + 1)
        sessions = weekdays[weekday_of(weekdays) < 5]
    return np.searchsorted(sessions, last, side="right") > np.searchsorted(sessions, first)


def _calendar_end(days: INT, interval: Interval, count: int) -> INT:
    """The last day of the week or month of each date, or of the last of `count` of them."""
    if interval.months:
        return month_start(month_of(days) + count) - 1
    return days - weekday_of(days) + WEEK_DAYS * count - 1


def _end(days: INT, told: INT, interval: Interval, sessions: INT) -> INT:
    """The last day of the period that begins on each date."""
    if interval.unit == "d":
        # So many calendar days, or so many sessions where the exchange closes on some: the later of both.
        last = days + interval.count - 1
        if len(sessions) == 0:
            return last
        at = np.searchsorted(sessions, days) + interval.count - 1
        return np.maximum(last, sessions[np.minimum(at, len(sessions) - 1)])
    count = interval.months or interval.count
    if _all_first(told, interval, sessions):
        return _calendar_end(days, interval, count)
    if not interval.months:
        return days + WEEK_DAYS * count - 1
    return _months_later(days, count) - 1


def _beginning(last: INT, interval: Interval) -> INT:
    if not interval.months:
        return last - round(interval.days) + 1
    return _months_later(last + 1, -interval.months)


def _months_later(days: INT, count: int) -> INT:
    """The same day of the month, or its last one where it is shorter."""
    months = month_of(days)
    wanted = month_start(months + count) + days - month_start(months)
    return np.asarray(np.minimum(wanted, month_start(months + count + 1) - 1))


def _last_close(first: INT, last: INT, sessions: Sessions) -> INT:
    ended = (last + 1) * DAY
    if len(sessions.days) == 0:
        return ended
    at = np.searchsorted(sessions.days, last, side="right") - 1
    held = (at >= 0) & (sessions.days[at] >= first)
    return np.where(held, sessions.closes[at], ended)
