"""Which date a daily stamp stands for, by its own clock and by the exchange's.

Owns the rule: a stamp that its own clock shows at midnight (or in the day's last minute) stands for that
date. A stamp with a zone at any other time must show midnight, the open or the close on the exchange's
clock, and stands for the date there: 13:00Z is midnight in Sydney, the day after. What shows none of these is
another exchange's, and would put a bar on a wrong day. Refuses to know files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trading.calendar import INT, Sessions, exchange_days, sessions_between, zone_clock
from trading.intervals import DAY, HOUR, MINUTE

BoolArray = npt.NDArray[np.bool_]

CHANGING_ZONES = (
    "America/New_York", "America/Santiago", "Europe/London", "Europe/Berlin", "Europe/Helsinki",
    "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
"""Zones whose clocks go back at different local times or on different dates; others follow one of them."""

WELL_KNOWN = (
    "XNYS", "XTSE", "BVMF", "XMEX", "XLON", "XETR", "XPAR", "XAMS", "XMIL", "XMAD", "XSWX", "XSTO", "XBRU",
    "XOSL", "XHEL", "XWAR", "XLIS", "XDUB", "XIST", "XJSE", "XSAU", "XBOM", "XTKS", "XKRX", "XHKG",
    "XSHG", "XTAI", "XSES", "XKLS", "XBKK", "XIDX", "XASX", "XNZE", "24/7",
)  # fmt: skip
"""The calendars that are tried where the one in force does not fit, by region, large exchanges first."""


def own_midnight(wall: INT) -> BoolArray:
    """Whether a stamp's own clock shows midnight, or the last minute of a day."""
    hour = wall % DAY
    shown: BoolArray = (hour == 0) | (hour >= DAY - MINUTE)
    return shown


def bar_days(wall: INT, utc: INT, zoned: BoolArray, calendar: str) -> INT:
    """The date of each daily stamp, in days since 1970 [K]; the module's docstring has the rule."""
    days = wall // DAY
    moved = zoned & ~own_midnight(wall)
    if moved.any():
        days = days.copy()
        days[moved] = exchange_days(utc[moved], calendar)
    return days


def misplaced(wall: INT, utc: INT, zoned: BoolArray, calendar: str) -> BoolArray:
    """The stamps with a zone that show neither midnight, nor the open, nor the close of the calendar, [K]."""
    asked = zoned & ~own_midnight(wall)
    if asked.any():
        asked = asked.copy()
        asked[asked] = ~_fits(utc[asked], calendar)
    return asked & ~summer_midnights(wall, utc, zoned, calendar)


def summer_midnights(wall: INT, utc: INT, zoned: BoolArray, calendar: str) -> BoolArray:
    """The stamps at 01:00 on the exchange's clock in its summer time, where all are midnight in standard time
    at one and the same UTC time, [K]: a vendor's fixed offset. Their date there is the right one."""
    moved = zoned & ~own_midnight(wall)
    none = np.zeros(len(utc), dtype=bool)
    if not moved.any() or len(np.unique(utc[zoned] % DAY)) > 1:
        return none
    zone = _around(utc[moved], calendar).zone
    standard = _standard_offset(utc[moved], zone)
    if ((utc[moved] + standard) % DAY != 0).any():
        return none
    none[moved] = zone_clock(utc[moved], zone) % DAY == HOUR
    return none


def _standard_offset(utc: INT, zone: str) -> INT:
    """What a zone's clock is ahead of UTC by in the standard time of each instant's year, ns [K]."""
    years = utc.view("datetime64[ns]").astype("datetime64[Y]")
    winter = years.astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64)
    summer = (years.astype("datetime64[M]") + 6).astype("datetime64[ns]").astype(np.int64)
    offsets = [zone_clock(moments, zone) - moments for moments in (winter, summer)]
    standard: INT = np.minimum(*offsets)
    return standard


def come_twice(wall: INT) -> BoolArray:
    """Which local times a clock shows twice somewhere, because it goes back an hour then, [K]."""
    import pandas as pd

    local = pd.DatetimeIndex(wall.view("datetime64[ns]"))
    twice = np.zeros(len(wall), dtype=bool)
    for zone in CHANGING_ZONES:
        placed = local.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward")
        twice |= np.asarray(placed.isna())
    return twice


def _fits(utc: INT, calendar: str) -> BoolArray:
    sessions = _around(utc, calendar)
    local = zone_clock(utc, sessions.zone)
    shown = own_midnight(local)
    if len(sessions.days) == 0:
        return shown
    at = np.minimum(np.searchsorted(sessions.days, local // DAY), len(sessions.days) - 1)
    same = sessions.days[at] == local // DAY
    for moments in (sessions.opens, sessions.closes):
        usual = int(np.median(zone_clock(moments, sessions.zone) % DAY))
        shown |= same & (utc == moments[at])
        shown |= local % DAY == usual  # half days too are stamped with the usual close
    return shown


def _around(utc: INT, calendar: str) -> Sessions:
    return sessions_between(calendar, int(utc.min()) // DAY - 2, int(utc.max()) // DAY + 2)


def fitting_calendars(wall: INT, utc: INT, zoned: BoolArray) -> tuple[str, ...]:
    """The well-known calendars on whose clocks all of these stamps fit, best match of sessions first."""
    found = [
        (_mismatches(bar_days(wall, utc, zoned, name), name), place, name)
        for place, name in enumerate(WELL_KNOWN)
        if not misplaced(wall, utc, zoned, name).any()
    ]
    return tuple(name for _, _, name in sorted(found))


def better_calendar(days: INT, calendar: str) -> tuple[str, int] | None:
    """(a calendar by which most missing sessions are none, how many those are), if there is one.

    `days` [K] are dates with a bar, ascending and distinct. It must miss less than half as many sessions and
    have no more bars outside its sessions.
    """
    ours = sessions_between(calendar, int(days[0]), int(days[-1])).days
    missing = np.setdiff1d(ours, days)
    outside = len(np.setdiff1d(days, ours))
    best: tuple[int, str, int] | None = None
    for name in WELL_KNOWN:
        theirs = sessions_between(name, int(days[0]), int(days[-1])).days
        left = len(np.setdiff1d(theirs, days))
        closed = len(np.setdiff1d(missing, theirs))
        fits = len(np.setdiff1d(days, theirs)) <= outside and 2 * left < len(missing)
        if fits and 2 * closed > len(missing) and (best is None or left < best[0]):
            best = (left, name, closed)
    return None if best is None else (best[1], best[2])


def _mismatches(days: INT, calendar: str) -> int:
    days = np.unique(days)
    sessions = sessions_between(calendar, int(days[0]), int(days[-1])).days
    return len(np.setxor1d(sessions, days))


def not_closed(utc: INT, calendar: str) -> BoolArray:
    """Which instants lie on a session's date, by the exchange's clock, before its close, [K]."""
    sessions = _around(utc, calendar)
    days = zone_clock(utc, sessions.zone) // DAY
    if len(sessions.days) == 0:
        return np.zeros(len(utc), dtype=bool)
    at = np.minimum(np.searchsorted(sessions.days, days), len(sessions.days) - 1)
    running: BoolArray = (sessions.days[at] == days) & (utc < sessions.closes[at])
    return running
