"""Mock prices: one continuous seeded random walk per symbol.

Owns the walk. Refuses to look like a market: nothing here is evidence of anything, and whatever is
made from it is marked mock. A symbol's walk is the same in every process and has no end: a longer
stretch begins with the same bars.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from core.errors import DataError
from trading.calendar import Sessions, sessions_between
from trading.intervals import DAY
from trading.sources.adjust import adjusted_bars

FloatArray = npt.NDArray[np.float64]

START_DAY = int(np.datetime64("2000-01-03", "D").astype(np.int64))
LAST_DAY = int(np.datetime64("2199-12-31", "D").astype(np.int64))
BARS_PER_YEAR = 252


def mock_names(count: int) -> tuple[str, ...]:
    """MOCK1, MOCK2, ..."""
    return tuple(f"MOCK{number}" for number in range(1, count + 1))


def mock_bars(symbol: str, bars: int, *, seed: int = 0) -> FloatArray:
    """The first `bars` bars of a symbol's walk: [10, bars] in the order of `panel.FIELDS`.

    Volatility (15 to 45 % a year), drift (0 to 10 %) and the first price (20 to 200) are the symbol's own.
    Raw and adjusted prices are equal. Bar k takes the k-th row of one stream of normal numbers and adds to
    the k - 1 before it, so that it does not depend on `bars`.
    """
    digest = hashlib.sha256(f"{seed}:{symbol}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    volatility, drift, first = generator.uniform((0.15, 0.0, 20.0), (0.45, 0.10, 200.0))
    base_volume = np.exp(generator.uniform(np.log(2e5), np.log(2e7)))
    draws = generator.standard_normal((bars, 5))
    daily = volatility / np.sqrt(BARS_PER_YEAR)
    mean = drift / BARS_PER_YEAR - 0.5 * daily**2
    gap = 0.3 * daily * draws[:, 0]
    inside = mean + np.sqrt(1 - 0.3**2) * daily * draws[:, 1]
    log_close = np.log(first) + np.cumsum(gap + inside)
    log_open = log_close - inside
    high = np.maximum(log_open, log_close) + 0.4 * daily * np.abs(draws[:, 2])
    low = np.minimum(log_open, log_close) - 0.4 * daily * np.abs(draws[:, 3])
    volume = np.rint(base_volume * np.exp(0.4 * draws[:, 4]))
    prices = np.round(np.exp(np.stack([log_open, high, low, log_close])), 4)
    raw = np.concatenate([np.maximum(prices, 1e-4), volume[None]])
    return adjusted_bars(raw, np.full(bars, np.nan))


def mock_sessions(bars: int, calendar: str) -> Sessions:
    """The first `bars` sessions from 2000-01-03 on. Raises: DataError when they would pass the year 2199."""
    last = START_DAY + 30 + int(bars * 1.5)
    while True:
        last = min(last, LAST_DAY)
        sessions = sessions_between(calendar, START_DAY, last)
        if len(sessions.days) >= bars:
            return Sessions(
                calendar,
                sessions.zone,
                sessions.days[:bars],
                sessions.opens[:bars],
                sessions.closes[:bars],
            )
        if last == LAST_DAY:
            raise DataError(
                f"{bars} mock bars would pass the year 2199; {len(sessions.days)} fit.",
                "Lower data.mock_bars.",
            )
        last = START_DAY + (last - START_DAY) * 2


def most_mock_bars(calendar: str) -> int:
    """How many bars the walks have in all: the sessions up to the end of the year 2199."""
    return len(sessions_between(calendar, START_DAY, LAST_DAY).days)


def mock_times(bars: int, calendar: str) -> npt.NDArray[np.datetime64]:
    """When each mock bar becomes known: the sessions' closes, datetime64[ns]."""
    return mock_sessions(bars, calendar).closes.view("datetime64[ns]")


def mock_dates(bars: int, calendar: str) -> npt.NDArray[np.datetime64]:
    """The date of each mock bar, datetime64[ns] at midnight."""
    return (mock_sessions(bars, calendar).days * DAY).view("datetime64[ns]")
