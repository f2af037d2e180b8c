"""The market states of all symbols at one row, from each symbol's own last bars.

Owns a window of closes and volumes a symbol, without the rows at which it had no bar. Every number follows
from that window alone, so that it is the same whether a run was followed bar by bar, read at once or begun
later. Refuses to know forecasts. The numbers are those of `models/state.py`, on which the language model
was trained; RSI and EWMA start at the window's beginning (their memory of what lies before is below 1e-6).

Shapes: N symbols, W bars of the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import talib

from core.types import MarketState, NewsLine
from models.state import (
    HORIZON_BARS,
    LONG_BARS,
    RETURNS_TOLD,
    SHORT_BARS,
    VOLATILITY_BARS,
    WARM_UP_BARS,
    YEAR_BARS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from core.protocols import History

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

WINDOW_BARS = YEAR_BARS + VOLATILITY_BARS + 1
RSI_BARS = 14
EWMA_DECAY = 0.94
_EWMA = (1.0 - EWMA_DECAY) * EWMA_DECAY ** np.arange(WINDOW_BARS - 2, -1, -1.0)
_FLAT = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class StateRow:
    """The numbers of every symbol's state at one row; NaN where not known yet.

    Shapes: all [N], `returns` [N, 5], oldest first. `told` says who has a bar at this row and enough of them
    before it: forecasts are made for these. `bars` counts a symbol's own bars so far. `scale` is what the
    five-bar return is measured in, the 20-bar volatility times the root of five; `ewma_ratio` the EWMA
    volatility in units of the 20-bar one.
    Point in time: bars up to `as_of`.
    """

    as_of: datetime
    symbols: tuple[str, ...]
    told: BoolArray
    fresh: BoolArray
    bars: IntArray
    close: FloatArray
    returns: FloatArray
    volatility: FloatArray
    short_ratio: FloatArray
    long_ratio: FloatArray
    trend_ratio: FloatArray
    drawdown: FloatArray
    rsi: FloatArray
    band_z: FloatArray
    volume_ratio: FloatArray
    ewma_ratio: FloatArray

    @property
    def scale(self) -> FloatArray:
        result: FloatArray = self.volatility * math.sqrt(HORIZON_BARS)
        return result

    def state(self, column: int, news: Sequence[NewsLine] = ()) -> MarketState:
        """One symbol's state as the language model is told it."""
        told = self.returns[column]
        return MarketState(
            symbol=self.symbols[column],
            as_of=self.as_of,
            returns_frac=tuple(told[~np.isnan(told)].tolist()),
            volatility_frac=_known(self.volatility[column]),
            short_ratio=_known(self.short_ratio[column]),
            long_ratio=_known(self.long_ratio[column]),
            trend_ratio=_known(self.trend_ratio[column]),
            drawdown_frac=_known(self.drawdown[column]),
            rsi=_known(self.rsi[column]),
            band_z=_known(self.band_z[column]),
            volume_ratio=_known(self.volume_ratio[column]),
            news=tuple(news),
        )


class OwnBars:
    """The window, kept up to date row by row, or made anew from a history."""

    def __init__(self) -> None:
        self._row = -1
        self._close: FloatArray = np.zeros((0, WINDOW_BARS))
        self._volume: FloatArray = np.zeros((0, WINDOW_BARS))
        self._bars: IntArray = np.zeros(0, dtype=np.int64)

    def follow(self, history: History) -> StateRow:
        """The states at the history's present row."""
        row, symbols = history.row, history.symbols
        if row == self._row + 1 and len(symbols) == len(self._bars):
            fresh = self._append(history.close[-1], history.volume[-1])
        elif row != self._row or len(symbols) != len(self._bars):
            fresh = self._rebuild(history)
        else:
            fresh = ~np.isnan(history.close[-1])
        self._row = row
        return self._states(history, fresh)

    def closes(self, column: int) -> FloatArray:
        """One symbol's own last closes, oldest first, the present one included."""
        result: FloatArray = self._close[column, -int(min(self._bars[column], WINDOW_BARS)) :]
        return result

    def _append(self, close: FloatArray, volume: FloatArray) -> BoolArray:
        fresh: BoolArray = ~np.isnan(close)
        for window, value in ((self._close, close), (self._volume, volume)):
            window[fresh, :-1] = window[fresh, 1:]
            window[fresh, -1] = value[fresh]
        self._bars = self._bars + fresh
        return fresh

    def _rebuild(self, history: History) -> BoolArray:
        close, volume = history.close, history.volume
        count = close.shape[1]
        self._close = np.full((count, WINDOW_BARS), np.nan)
        self._volume = np.full((count, WINDOW_BARS), np.nan)
        present = ~np.isnan(close)
        self._bars = present.sum(axis=0).astype(np.int64)
        for column in range(count):
            rows = np.flatnonzero(present[:, column])[-WINDOW_BARS:]
            if len(rows):
                self._close[column, -len(rows) :] = close[rows, column]
                self._volume[column, -len(rows) :] = volume[rows, column]
        fresh: BoolArray = present[-1]
        return fresh

    def _states(self, history: History, fresh: BoolArray) -> StateRow:
        close, volume = self._close, self._volume
        last = close[:, -1]
        returns = close[:, 1:] / close[:, :-1] - 1.0
        squares = returns * returns
        volatility = _root(squares, VOLATILITY_BARS)
        scale = np.where(volatility > 0.0, volatility, np.nan)
        month = np.ascontiguousarray(close[:, -VOLATILITY_BARS:])
        mean = month.mean(axis=1)
        away = month - mean[:, None]
        deviation = np.sqrt((away * away).mean(axis=1))
        average = np.ascontiguousarray(volume[:, -VOLATILITY_BARS:]).mean(axis=1)
        known = np.where(np.isnan(squares), 0.0, squares)
        weight = np.where(np.isnan(squares), 0.0, _EWMA)
        ewma = np.sqrt((known * _EWMA).sum(axis=1) / np.maximum(weight.sum(axis=1), _FLAT))
        year = close[:, -YEAR_BARS:]
        highest = np.where(np.isnan(year), -np.inf, year).max(axis=1, initial=-np.inf)
        rsi = np.array([_rsi(close[column]) for column in range(len(close))])
        enough = self._bars >= WARM_UP_BARS
        return StateRow(
            as_of=history.as_of,
            symbols=history.symbols,
            told=fresh & enough & (volatility > 0.0),
            fresh=fresh,
            bars=self._bars,
            close=last.copy(),
            returns=returns[:, -RETURNS_TOLD:].copy(),
            volatility=volatility,
            short_ratio=_root(squares, SHORT_BARS) / scale,
            long_ratio=_root(squares, LONG_BARS) / scale,
            trend_ratio=(last / close[:, -1 - VOLATILITY_BARS] - 1.0)
            / (scale * math.sqrt(VOLATILITY_BARS)),
            drawdown=1.0 - last / highest,
            rsi=rsi,
            band_z=(last - mean) / np.where(deviation > _FLAT * mean, deviation, np.nan),
            volume_ratio=volume[:, -1] / np.where(average > 0.0, average, np.nan),
            ewma_ratio=ewma / scale,
        )


def _root(squares: FloatArray, bars: int) -> FloatArray:
    """Root of the mean of the last `bars` squares of each row, [N]."""
    result: FloatArray = np.sqrt(np.ascontiguousarray(squares[:, -bars:]).mean(axis=1))
    return result


def _rsi(close: FloatArray) -> float:
    own = close[~np.isnan(close)]
    return float(talib.RSI(own, RSI_BARS)[-1]) if len(own) > RSI_BARS + 1 else math.nan


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
