"""When a symbol that has no bars counts as delisted, and what a holding of it then brings. Pure.

A symbol may be halted for weeks and come back, so that silence says little at first. Only what has passed
decides: how many of its own bars a symbol has missed by the calendar (`stale_bars`), never rows that other
symbols made. A holding stays at its last mark until then, and goes on at the new price when it trades again.

Source of the default return: Shumway (1997), "The Delisting Bias in CRSP Data", Journal of Finance 52(1):
where a delisting return for performance reasons is missing, -30 % is closer to what was paid than 0. A short
is closed at the last close: the rule never pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trading.calendar import bars_per_year, sessions_between
from trading.intervals import is_intraday

FloatArray = npt.NDArray[np.float64]

FEWEST_LONG_BARS = 3
"""Of bars longer than a day at least so many must be missed: 60 sessions are fewer than three quarters."""

RETURN_BARS = 5
"""A held symbol that trades again after so many missed bars is listed as returned."""

PRICE_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Delisting:
    """A holding that was closed for want of bars. `quantity` is signed; `cost_usd` is what was lost against
    the last close, without the fees; `left_universe` says that its universe file had ended its membership."""

    symbol: str
    row: int
    quantity: float
    last_close: float
    price: float
    cost_usd: float
    left_universe: bool


@dataclass(frozen=True, slots=True)
class Return:
    """A held symbol that traded again after a halt: how many bars it had missed, and at what price it came
    back. `quantity` is signed."""

    symbol: str
    row: int
    quantity: float
    missed: int
    last_close: float
    price: float


def stale_bars(
    close: FloatArray, times: npt.NDArray[np.datetime64], calendar: str, interval: str
) -> FloatArray:
    """How many of its own bars each symbol has missed at each row, [T, N]; NaN before its first bar.

    Counted in sessions of the calendar that have closed since the session of its last bar; for bars longer
    than a day in such bars. An hour without trades within a session is none, nor is a night in which another
    symbol trades on.
    Point in time: a row's answer depends on rows up to it.
    """
    rows = len(close)
    here = ~np.isnan(close)
    last = np.maximum.accumulate(np.where(here, np.arange(rows)[:, None], -1), axis=0)
    if bool(np.all(here | (last < 0))):
        return np.where(last < 0, np.nan, 0.0)
    closed, own = _sessions(times, calendar)
    missed = np.maximum(closed[:, None] - own[np.maximum(last, 0)], 0)
    each = sessions_per_bar(calendar, interval)
    # A holiday makes a month shorter than the mean one, and no bar is missed before its period is over.
    found = np.floor(missed / each + 0.25) if each > 1.0 else missed.astype(np.float64)
    return np.where(last < 0, np.nan, np.where(here, 0.0, found))


def _sessions(
    times: npt.NDArray[np.datetime64], calendar: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(sessions closed by each moment, the number of the session that each moment lies in or before), [T].

    Days that the calendar has no records of count as sessions from Monday to Friday.
    """
    moments = times.astype("datetime64[ns]").astype(np.int64)
    days = (times - np.timedelta64(1, "ns")).astype("datetime64[D]")
    known = sessions_between(
        calendar, int(days[0].astype(np.int64)), int(days[-1].astype(np.int64))
    )
    if len(known.closes) == 0:
        weekdays = np.busday_count(days[0], days + np.timedelta64(1, "D")).astype(np.int64)
        return weekdays, weekdays
    closed = np.searchsorted(known.closes, moments, side="right").astype(np.int64)
    within = np.searchsorted(known.closes, moments, side="left").astype(np.int64) + 1
    return closed, within


def sessions_per_bar(calendar: str, interval: str) -> float:
    """How many sessions one bar spans; 1 for bars of a day and shorter ones."""
    if interval == "1d" or is_intraday(interval):
        return 1.0
    return max(bars_per_year(calendar, "1d") / bars_per_year(calendar, interval), 1.0)


def delisting_bars(sessions: int, calendar: str, interval: str) -> int:
    """After so many missed bars a holding is closed: `trading.delisting_sessions` in such bars."""
    each = sessions_per_bar(calendar, interval)
    if each <= 1.0:
        return sessions
    return max(math.ceil(sessions / each), FEWEST_LONG_BARS)


def delisting_price(
    last_close: float, quantity: float, return_frac: float, *, left_universe: bool
) -> float:
    """What a delisted holding is closed at: a long at the last close x (1 + return); a short, and what left
    the universe as its file says, at the last close."""
    if quantity < 0.0 or left_universe:
        return last_close
    return round(last_close * (1.0 + return_frac), PRICE_DIGITS)
