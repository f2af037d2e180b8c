"""How long a bar is: the names of intervals, and which one a file's stamps show.

Owns the detection of any whole number of seconds, minutes, hours, days, weeks, months or years. Refuses to
know exchanges, prices and what a stamp labels (`trading/periods.py`).

An interval is a fact of the file's format. It is read from the first `FIRST_STAMPS` stamps, so that from
there on no later row changes an answer; in a shorter file a row can (three stamps a week apart are weekly,
whatever would have come). Rows that disagree with the answer are a mixture, which the check refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.errors import DataError

INT = npt.NDArray[np.int64]
Unit = Literal["s", "m", "h", "d", "w", "mo", "y"]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK_DAYS = 7

FIRST_STAMPS = 64
"""The stamps that tell the interval and what a stamp labels."""
DAILY_GAP = 20 * HOUR
"""Two stamps at least this far apart may be daily ones."""
LONGEST = 12 * HOUR
"""The longest usual intraday interval; what lies further apart has a night between."""
MONTH_DAYS = 30.44
MONTH_SLACK_DAYS = 10
"""How far the first or last session of a month, or a day that fell on a weekend, may lie from its place."""

SIZES: dict[Unit, int] = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK_DAYS * DAY}


@dataclass(frozen=True, slots=True)
class Interval:
    """A whole number of one unit: seconds, minutes, hours, days, weeks, months or years."""

    count: int
    unit: Unit

    @property
    def name(self) -> str:
        """`5m`, `1h`, `1d`, `2w`, `6mo`, `1y`."""
        return f"{self.count}{self.unit}"

    @property
    def is_intraday(self) -> bool:
        """Shorter than a day, or of hours that are no whole days: known one length after its beginning."""
        return self.unit in ("s", "m", "h")

    @property
    def is_daily(self) -> bool:
        return self == DAILY

    @property
    def is_long(self) -> bool:
        """Longer than one day, in days, weeks, months or years."""
        return not self.is_intraday and not self.is_daily

    @property
    def months(self) -> int:
        """0 for what is no number of months."""
        return self.count * {"mo": 1, "y": 12}.get(self.unit, 0)

    @property
    def days(self) -> float:
        """The length in calendar days; a month counts 30.44."""
        return self.months * MONTH_DAYS if self.months else self.nanoseconds / DAY

    @property
    def nanoseconds(self) -> int:
        """The length of an interval that is not of months. Raises: KeyError for months and years."""
        return self.count * SIZES[self.unit]


DAILY = Interval(1, "d")


def parse_interval(name: str) -> Interval:
    """The interval of a name such as `5m`, `1d`, `2w`, `3mo` or `1y`; `1wk` is `1w`. Raises: DataError."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    unit = {"wk": "w"}.get(name[len(digits) :], name[len(digits) :])
    if unit not in (*SIZES, "mo", "y") or not digits or int(digits) == 0:
        raise DataError(
            f"{name!r} is no interval.", "Write it as 5m, 1h, 1d, 1w, 1mo or 1y (mo is a month)."
        )
    found = Interval(int(digits), unit)
    if found.months:
        return _of_months(found.months)
    return of_nanoseconds(found.nanoseconds)


def of_nanoseconds(size: int) -> Interval:
    """The interval of a length in ns, in the largest unit that divides it (up to weeks)."""
    for unit in ("w", "d", "h", "m"):
        if size % SIZES[unit] == 0:
            return Interval(size // SIZES[unit], unit)
    return Interval(max(size // SECOND, 1), "s")


def _of_months(months: int) -> Interval:
    return Interval(months // 12, "y") if months % 12 == 0 else Interval(months, "mo")


def is_intraday(name: str) -> bool:
    """Whether bars of this name are shorter than a day (or of hours that are no whole days)."""
    return parse_interval(name).is_intraday


def interval_of(wall: INT, sessions: INT | None = None) -> Interval | None:
    """The interval that a file's distinct stamps [K] show, ascending; None when they cannot tell.

    `sessions`: days (since 1970) on which the exchange was open, for bars of a number of sessions. A single
    stamp at midnight is daily. Stamps at one time of day (an hour apart at most, for the clock change) are
    daily or longer; else the distance between near ones is the interval.
    Point in time: the first `FIRST_STAMPS` stamps alone.
    """
    first = wall[:FIRST_STAMPS]
    if len(first) == 0:
        return None
    if len(first) == 1:
        return DAILY if first[0] % DAY == 0 else None
    gaps = np.diff(first)
    near = gaps[gaps <= LONGEST]
    if 3 * len(near) >= len(gaps):
        return of_nanoseconds(_usual_gap(near))
    hour = first % DAY
    off = np.abs(hour - hour[np.argsort(hour)[len(hour) // 2]])
    if np.mean(np.minimum(off, DAY - off) <= HOUR) < 2 / 3:
        size = int(gaps.min())
        steady = len(gaps) >= 2 and size >= HOUR and bool((gaps % size == 0).all())
        return of_nanoseconds(size) if steady and size % HOUR == 0 else None
    days = np.unique(first // DAY)
    if len(days) < 2:
        return None
    found = long_interval(days, sessions)
    if found is None and len(days) > 3:
        # The last row may be a bar that is not finished, at a time of its own.
        found = long_interval(days[:-1], sessions)
    return found or DAILY


def _usual_gap(near: INT) -> int:
    """The smallest gap where all others are multiples of it, else the most frequent one."""
    smallest = int(near.min())
    if (near % smallest == 0).all():
        return smallest
    sizes, counts = np.unique(near, return_counts=True)
    return int(sizes[np.argmax(counts)])


def long_interval(days: INT, sessions: INT | None = None) -> Interval | None:
    """The interval of bars longer than a day from their dates [K], ascending; None for daily bars.

    Daily bars may have gaps of all sizes (a symbol that trades thinly): what shows no regular longer
    interval is daily.
    """
    gaps = np.diff(days)
    if len(gaps) == 0 or gaps.min() < 2:
        return None
    if len(gaps) == 1:
        return _of_one_gap(days)
    smallest = int(gaps.min())
    if (gaps % WEEK_DAYS == 0).all() and (gaps % smallest == 0).all():
        return Interval(smallest // WEEK_DAYS, "w")
    return _monthly(days, gaps) or _weekly(days, gaps) or _of_days(days, gaps, sessions)


def _of_one_gap(days: INT) -> Interval | None:
    """Two bars: months where they stand at one place of their months, weeks where whole weeks lie between."""
    gap = int(days[1] - days[0])
    found = _monthly(days, np.diff(days), slack=4) if gap >= 26 else None
    if found is None and gap % WEEK_DAYS == 0:
        return Interval(gap // WEEK_DAYS, "w")
    return found


def month_of(days: INT) -> INT:
    """Months since 1970 of dates in days since 1970."""
    return days.view("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def month_start(months: INT) -> INT:
    """The first day, in days since 1970, of months since 1970."""
    return months.view("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _monthly(days: INT, gaps: INT, slack: int = MONTH_SLACK_DAYS - 1) -> Interval | None:
    """One bar in each so-many months, at about the same place of the month."""
    months = month_of(days)
    steps = np.diff(months)
    if steps.min() < 1 or (steps % steps.min() != 0).any():
        return None
    if (np.abs(gaps - MONTH_DAYS * steps) > MONTH_SLACK_DAYS).any():
        return None
    from_start, from_end = days - month_start(months), days - month_start(months + 1)
    if min(np.ptp(from_start), np.ptp(from_end)) > slack:
        return None
    return _of_months(int(steps.min()))


def weekday_of(days: INT) -> INT:
    """0 for Monday; 1970-01-01 was a Thursday."""
    return (days + 3) % WEEK_DAYS


def _weekly(days: INT, gaps: INT) -> Interval | None:
    """One bar in each so-many weeks, mostly on one weekday: first and last sessions move at holidays."""
    weekday = weekday_of(days)
    steps = np.diff((days - weekday) // WEEK_DAYS)
    count = int(steps.min())
    if count < 1 or (steps % count != 0).any() or gaps.min() < WEEK_DAYS * count - 4:
        return None
    return Interval(count, "w") if np.bincount(weekday).max() >= 0.6 * len(days) else None


def _of_days(days: INT, gaps: INT, sessions: INT | None) -> Interval | None:
    """So many calendar days apart, or so many sessions."""
    if _mostly_smallest(gaps):
        return Interval(int(gaps.min()), "d")
    if sessions is None or len(sessions) == 0 or not np.isin(days, sessions).all():
        return None
    steps = np.diff(np.searchsorted(sessions, days))
    return Interval(int(steps.min()), "d") if steps.min() > 1 and _mostly_smallest(steps) else None


def _mostly_smallest(steps: INT) -> bool:
    smallest = steps.min()
    return bool((steps % smallest == 0).all() and np.mean(steps == smallest) >= 0.5)
