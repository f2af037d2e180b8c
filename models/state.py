"""The numbers of a market state, computed for all bars of one symbol at once.

Owns the windows behind `core.types.MarketState` and the five buckets of the next 5-day return. Refuses to
know text and models. Every value at bar t reads bars up to t only, except `bucket`, which is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import talib

from core.types import MarketState, NewsLine

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

HORIZON_BARS = 5
VOLATILITY_BARS = 20
SHORT_BARS = 5
LONG_BARS = 60
YEAR_BARS = 252
RETURNS_TOLD = 5

EDGES = (-0.84, -0.25, 0.25, 0.84)
"""Bucket edges in units of 20-day volatility x sqrt 5: near the quintiles of a normal variable."""

WARM_UP_BARS = LONG_BARS + 1
"""Bars before every number of a state is known."""


@dataclass(frozen=True, slots=True, eq=False)
class StateNumbers:
    """The numbers of one symbol's states, each [L] over its own bars; NaN where not known yet."""

    returns: FloatArray
    volatility: FloatArray
    short_ratio: FloatArray
    long_ratio: FloatArray
    trend_ratio: FloatArray
    drawdown: FloatArray
    rsi: FloatArray
    band_z: FloatArray
    volume_ratio: FloatArray

    @classmethod
    def of(cls, close: FloatArray, volume: FloatArray | None = None) -> StateNumbers:
        """From adjusted closes [L] (all present) and, where there are any, volumes [L]."""
        returns = np.full(len(close), np.nan)
        returns[1:] = close[1:] / close[:-1] - 1.0
        volatility = root_mean_square(returns, VOLATILITY_BARS)
        scale = np.where(volatility > 0.0, volatility, np.nan)
        trend = np.full(len(close), np.nan)
        trend[VOLATILITY_BARS:] = close[VOLATILITY_BARS:] / close[:-VOLATILITY_BARS] - 1.0
        mean = rolling_mean(close, VOLATILITY_BARS)
        square = rolling_mean((close / close[0]) ** 2, VOLATILITY_BARS) * close[0] ** 2
        deviation = np.sqrt(np.maximum(square - mean * mean, 0.0))
        ratio = np.full(len(close), np.nan)
        if volume is not None:
            average = rolling_mean(volume, VOLATILITY_BARS)
            ratio = np.divide(volume, average, out=ratio, where=average > 0.0)
        return cls(
            returns=returns,
            volatility=volatility,
            short_ratio=root_mean_square(returns, SHORT_BARS) / scale,
            long_ratio=root_mean_square(returns, LONG_BARS) / scale,
            trend_ratio=trend / (scale * np.sqrt(VOLATILITY_BARS)),
            drawdown=1.0 - close / rolling_max(close, YEAR_BARS),
            rsi=talib.RSI(close, 14) if len(close) > 15 else np.full(len(close), np.nan),
            band_z=(close - mean) / np.where(deviation > 1e-8 * mean, deviation, np.nan),
            volume_ratio=ratio,
        )

    def at(
        self, bar: int, *, symbol: str, as_of: datetime, news: Sequence[NewsLine] = ()
    ) -> MarketState:
        """The state at one bar."""
        told = self.returns[max(bar + 1 - RETURNS_TOLD, 1) : bar + 1]
        return MarketState(
            symbol=symbol,
            as_of=as_of,
            returns_frac=tuple(told.tolist()),
            volatility_frac=_known(self.volatility[bar]),
            short_ratio=_known(self.short_ratio[bar]),
            long_ratio=_known(self.long_ratio[bar]),
            trend_ratio=_known(self.trend_ratio[bar]),
            drawdown_frac=_known(self.drawdown[bar]),
            rsi=_known(self.rsi[bar]),
            band_z=_known(self.band_z[bar]),
            volume_ratio=_known(self.volume_ratio[bar]),
            news=tuple(news),
        )


def buckets(close: FloatArray) -> IntArray:
    """The answer at every bar, [L]: which of the five buckets the next 5-bar return falls into, -1 where
    it is not known (the last five bars, the first twenty, a price that stood still for twenty bars).

    Point in time: reads five bars ahead; only training and evaluation may look at it.
    """
    returns = np.full(len(close), np.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    scale = root_mean_square(returns, VOLATILITY_BARS) * np.sqrt(HORIZON_BARS)
    ahead = np.full(len(close), np.nan)
    ahead[:-HORIZON_BARS] = close[HORIZON_BARS:] / close[:-HORIZON_BARS] - 1.0
    known = np.isfinite(ahead) & (scale > 0.0)
    result = np.full(len(close), -1, dtype=np.int64)
    result[known] = np.searchsorted(EDGES, ahead[known] / scale[known], side="right")
    return result


def utc(moment: np.datetime64) -> datetime:
    """A numpy time as an aware datetime."""
    seconds = int(moment.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC)


def rolling_mean(values: FloatArray, bars: int) -> FloatArray:
    """Mean of the last `bars` values, [L]; NaN until there are that many."""
    result = np.full(len(values), np.nan)
    if len(values) >= bars:
        windows = np.lib.stride_tricks.sliding_window_view(values, bars)
        result[bars - 1 :] = windows.mean(axis=1)
    return result


def rolling_max(values: FloatArray, bars: int) -> FloatArray:
    """Highest of the last `bars` values, or of those there are, [L]."""
    padded = np.concatenate([np.full(bars - 1, -np.inf), values])
    result: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, bars).max(axis=1)
    return result


def root_mean_square(returns: FloatArray, bars: int) -> FloatArray:
    """Root mean square of the last `bars` one-bar returns, [L]; NaN until there are that many."""
    result: FloatArray = np.sqrt(rolling_mean(returns * returns, bars))
    return result


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
