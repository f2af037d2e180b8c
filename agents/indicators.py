"""Indicators of each symbol on its own bars, as arrays over all symbols.

Owns which indicators there are and their two makers: `PanelIndicators` computes them once for a whole panel
(backtests read row t of them), `StreamIndicators` bar by bar as a history grows (paper trading). Both give
the same bits. Refuses to know views, signals and money.

Every value at row t depends on that symbol's bars up to t alone; `momentum_rank` on those of the symbols
visible at t. A symbol's missing bars are left out (a NaN would poison TA-Lib's running sums), and rows
without a bar repeat its last values. Own arithmetic uses only + - * / and square roots, which IEEE 754
rounds in one way, so that arrays and scalars agree to the bit.

Sources: TA-Lib's reference for SMA, EMA, MACD, RSI, BBANDS, ATR, ADX, ROCP, MAX, MIN; Wilder, "New Concepts
in Technical Trading Systems" (1978) for RSI, ATR and ADX; Appel (1979) for MACD; Bollinger (2001); Donchian
(1960) for the breakout rule; Jegadeesh and Titman (1993) for momentum that skips the last month.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import talib
from talib import stream

from trading.panel import CLOSE, HIGH, LOW

if TYPE_CHECKING:
    from core.config import AgentsConfig
    from core.protocols import History
    from trading.panel import Panel

FloatArray = npt.NDArray[np.float64]

OWN = (
    "ema",
    "sma",
    "macd_histogram",
    "rsi",
    "bollinger_z",
    "atr",
    "adx",
    "volatility",
    "trend_return",
    "momentum",
    "breakout",
)
"""The indicators of a symbol alone, in the order of `IndicatorRow`."""

_TOO_SHORT: type[Exception] = talib.InsufficientHistory  # type: ignore[attr-defined]

_FLAT = 1e-8
"""Bollinger bands narrower than this fraction of the price are rounding, not a spread."""


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorRow:
    """All indicators at one row.

    Shapes: each [N], the visible symbols; NaN while a symbol's history is too short.
    Units: `ema sma macd_histogram atr` are prices; `rsi` and `adx` 0 to 100; `bollinger_z` standard
    deviations from the band's middle; `volatility` the root mean square return of one bar; `trend_return` and
    `momentum` returns over their windows; `breakout` 1 after a close above the last n highs until one below
    the last n lows, then -1, and 0 before either; `momentum_rank` 0 (worst) to 1 (best).
    Point in time: the close of `row`.
    """

    row: int
    ema: FloatArray
    sma: FloatArray
    macd_histogram: FloatArray
    rsi: FloatArray
    bollinger_z: FloatArray
    atr: FloatArray
    adx: FloatArray
    volatility: FloatArray
    trend_return: FloatArray
    momentum: FloatArray
    breakout: FloatArray
    momentum_rank: FloatArray


class Indicators(Protocol):
    """Where the coordinator gets a row of indicators from."""

    def at(self, history: History) -> IndicatorRow:
        """The indicators at the history's present row."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of all indicators, in bars."""

    ema: int
    sma: int
    macd_fast: int
    macd_slow: int
    macd_signal: int
    rsi: int
    bollinger: int
    atr: int
    adx: int
    volatility: int
    trend: int
    momentum: int
    momentum_skip: int
    breakout: int

    @classmethod
    def of(cls, config: AgentsConfig) -> Windows:
        analyst, strategy = config.analyst, config.strategy
        return cls(
            ema=analyst.ema_bars,
            sma=analyst.sma_bars,
            macd_fast=analyst.macd_fast_bars,
            macd_slow=analyst.macd_slow_bars,
            macd_signal=analyst.macd_signal_bars,
            rsi=analyst.rsi_bars,
            bollinger=analyst.bollinger_bars,
            atr=analyst.atr_bars,
            adx=analyst.adx_bars,
            volatility=analyst.volatility_bars,
            trend=strategy.time_series_bars,
            momentum=analyst.momentum_bars,
            momentum_skip=analyst.momentum_skip_bars,
            breakout=strategy.breakout_bars,
        )


# --- one symbol's own bars -----------------------------------------------------------------------------


def own_indicators(
    high: FloatArray, low: FloatArray, close: FloatArray, windows: Windows
) -> FloatArray:
    """All indicators of `OWN` on one symbol's own bars, [K, L] from prices [L] without NaN."""
    values = np.full((len(OWN), len(close)), np.nan)
    if len(close) < 2:
        return values
    w = windows
    upper, middle, _ = talib.BBANDS(close, w.bollinger, 1.0, 1.0)
    values[0] = talib.EMA(close, w.ema)
    values[1] = talib.SMA(close, w.sma)
    values[2] = talib.MACD(close, w.macd_fast, w.macd_slow, w.macd_signal)[2]
    values[3] = talib.RSI(close, w.rsi)
    values[4] = band_position(close, middle, upper - middle)
    values[5] = talib.ATR(high, low, close, w.atr)
    values[6] = talib.ADX(high, low, close, w.adx)
    values[7, 1:] = realised_volatility(close[1:] / close[:-1] - 1.0, w.volatility)
    values[8] = talib.ROCP(close, w.trend)
    values[9] = skipped_momentum(close, w.momentum, w.momentum_skip)
    values[10] = donchian_direction(close, talib.MAX(high, w.breakout), talib.MIN(low, w.breakout))
    return values


def band_position(close: FloatArray, middle: FloatArray, deviation: FloatArray) -> FloatArray:
    """How many standard deviations the close is from the band's middle; 0 where prices do not move."""
    moving = deviation > _FLAT * middle
    position = (close - middle) / np.where(moving, deviation, 1.0)
    result: FloatArray = np.where(moving | np.isnan(deviation), position, 0.0)
    return result


def realised_volatility(returns: FloatArray, bars: int) -> FloatArray:
    """Root mean square of the last `bars` one-bar returns, [L] (moments about zero, as for daily
    returns: RiskMetrics Technical Document, 1996, section 5.2)."""
    result: FloatArray = np.sqrt(np.maximum(talib.SMA(returns * returns, bars), 0.0))
    return result


def skipped_momentum(close: FloatArray, bars: int, skip: int) -> FloatArray:
    """The return from `bars` ago to `skip` ago, [L]: 12-1 momentum with 252 and 21 daily bars."""
    momentum = np.full(len(close), np.nan)
    if len(close) > bars:
        momentum[bars:] = close[bars - skip : len(close) - skip] / close[:-bars] - 1.0
    return momentum


def donchian_direction(close: FloatArray, upper: FloatArray, lower: FloatArray) -> FloatArray:
    """1 since the last close above the channel of the bars before it, -1 since one below, [L].

    NaN while there is no channel; 0 between the first channel and the first breakout.
    """
    direction = np.full(len(close), np.nan)
    event = np.zeros(len(close))
    event[1:][close[1:] > upper[:-1]] = 1.0
    event[1:][close[1:] < lower[:-1]] = -1.0
    last = np.maximum.accumulate(np.where(event != 0.0, np.arange(len(close)), 0))
    direction[1:] = np.where(np.isnan(upper[:-1]), np.nan, event[last][1:])
    return direction


def cross_section_rank(values: FloatArray) -> FloatArray:
    """Ranks from 0 (lowest) to 1 (highest), ties sharing their mean, [N]; NaN for NaN.

    One symbol alone has no rank: NaN.
    """
    ranks = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    present = values[known]
    if len(present) > 1:
        ordered = np.sort(present)
        first = np.searchsorted(ordered, present, side="left")
        last = np.searchsorted(ordered, present, side="right") - 1
        ranks[known] = (first + last) / (2.0 * (len(present) - 1))
    return ranks


# --- a whole panel at once -----------------------------------------------------------------------------


class PanelIndicators:
    """All indicators of a panel, computed once.

    Shapes: [T, K, N] inside; `at` reads row t of the symbols visible at it.
    Point in time: the whole panel is read here, and each value only from bars up to its row, which a
    property test holds; so a row is the same bits whatever follows it.
    """

    def __init__(self, panel: Panel, config: AgentsConfig) -> None:
        windows = Windows.of(config)
        rows, symbols = panel.rows, len(panel.symbols)
        self._values = np.full((rows, len(OWN) + 1, symbols), np.nan)
        self._counts: list[int] = np.searchsorted(
            panel.listed_at, np.arange(rows), side="right"
        ).tolist()
        stack = panel.stack
        for column in range(symbols):
            here = np.flatnonzero(~np.isnan(stack[CLOSE, :, column]))
            if len(here) == 0:
                continue
            first = here[0]
            values = own_indicators(
                stack[HIGH, here, column],
                stack[LOW, here, column],
                stack[CLOSE, here, column],
                windows,
            )
            if len(here) < rows - first:
                bar = np.searchsorted(here, np.arange(first, rows), side="right") - 1
                values = values[:, bar]
            self._values[first:, : len(OWN), column] = values.T
        momentum = OWN.index("momentum")
        for row, count in enumerate(self._counts):
            block = self._values[row]
            block[-1, :count] = cross_section_rank(block[momentum, :count])
        self._values.flags.writeable = False

    def at(self, history: History) -> IndicatorRow:
        row = history.row
        return IndicatorRow(row, *self._values[row, :, : self._counts[row]])

    def whole(self) -> IndicatorRow:
        """All rows at once, each field [T, N], for formulas that work value by value; `row` is -1."""
        return IndicatorRow(-1, *(self._values[:, place] for place in range(len(OWN) + 1)))


# --- bar by bar ----------------------------------------------------------------------------------------


class StreamIndicators:
    """All indicators of a growing history, each new row costing the same whatever came before.

    Follows `history` row by row; at the start, after a gap, and for a symbol that newly appears it reads
    that symbol's bars so far, so a restart needs no saved state.
    """

    def __init__(self, config: AgentsConfig) -> None:
        self._windows = Windows.of(config)
        self._row = -1
        self._symbols: list[_SymbolStream] = []
        self._values: FloatArray = np.empty((len(OWN), 0))

    def at(self, history: History) -> IndicatorRow:
        row = history.row
        high, low, close = history.high, history.low, history.close
        if row == self._row + 1:
            self._update(high[row], low[row], close[row])
        elif row != self._row:
            self._symbols = []
        for column in range(len(self._symbols), close.shape[1]):
            here = ~np.isnan(close[:, column])
            self._symbols.append(
                _SymbolStream(
                    high[here, column], low[here, column], close[here, column], self._windows
                )
            )
        self._row = row
        values = np.array([symbol.values for symbol in self._symbols]).reshape(-1, len(OWN)).T
        rank = cross_section_rank(np.ascontiguousarray(values[OWN.index("momentum")]))
        return IndicatorRow(row, *(*np.ascontiguousarray(values), rank))

    def _update(self, high: FloatArray, low: FloatArray, close: FloatArray) -> None:
        for symbol, bar in zip(
            self._symbols,
            zip(high.tolist(), low.tolist(), close.tolist(), strict=True),
            strict=False,
        ):
            if not math.isnan(bar[2]):
                symbol.update(*bar)


class _SymbolStream:
    """One symbol's indicators, from TA-Lib's streaming handles.

    Until there are bars enough for every handle, the few bars there are get computed as a whole.
    """

    __slots__ = (
        "_adx",
        "_atr",
        "_bands",
        "_closes",
        "_ema",
        "_highest",
        "_lowest",
        "_macd",
        "_mean_square",
        "_open",
        "_rate",
        "_rsi",
        "_short",
        "_sma",
        "_windows",
        "values",
    )

    def __init__(
        self, high: FloatArray, low: FloatArray, close: FloatArray, windows: Windows
    ) -> None:
        self._windows = windows
        self._open = False
        self._short: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._begin(high, low, close)

    def _begin(self, high: FloatArray, low: FloatArray, close: FloatArray) -> None:
        w = self._windows
        self.values: list[float] = (
            own_indicators(high, low, close, w)[:, -1].tolist()
            if len(close)
            else [math.nan] * len(OWN)
        )
        try:
            self._ema: Any = stream.EMA(close, w.ema)
            self._sma: Any = stream.SMA(close, w.sma)
            self._macd: Any = stream.MACD(close, w.macd_fast, w.macd_slow, w.macd_signal)
            self._rsi: Any = stream.RSI(close, w.rsi)
            self._bands: Any = stream.BBANDS(close, w.bollinger, 1.0, 1.0)
            self._atr: Any = stream.ATR(high, low, close, w.atr)
            self._adx: Any = stream.ADX(high, low, close, w.adx)
            returns = close[1:] / close[:-1] - 1.0
            self._mean_square: Any = stream.SMA(returns * returns, w.volatility)
            self._rate: Any = stream.ROCP(close, w.trend)
            self._highest: Any = stream.MAX(high, w.breakout)
            self._lowest: Any = stream.MIN(low, w.breakout)
        except _TOO_SHORT:
            self._short = (high.tolist(), low.tolist(), close.tolist())
            return
        self._open = len(close) > max(w.momentum, w.breakout)
        if self._open:
            self._closes = deque(close[-w.momentum - 1 :].tolist(), maxlen=w.momentum + 1)
        else:
            self._short = (high.tolist(), low.tolist(), close.tolist())

    def update(self, high: float, low: float, close: float) -> None:
        """Take one more bar."""
        if not self._open:
            for prices, price in zip(self._short, (high, low, close), strict=True):
                prices.append(price)
            self._begin(*(np.array(prices) for prices in self._short))
            return
        closes = self._closes
        fresh = close / closes[-1] - 1.0
        closes.append(close)
        upper, middle, _ = self._bands.update(close)
        deviation = upper - middle
        channel = (self._highest.value, self._lowest.value)
        self._highest.update(high)
        self._lowest.update(low)
        direction = self.values[10]
        if close > channel[0]:
            direction = 1.0
        elif close < channel[1]:
            direction = -1.0
        self.values = [
            self._ema.update(close),
            self._sma.update(close),
            self._macd.update(close)[2],
            self._rsi.update(close),
            (close - middle) / deviation if deviation > _FLAT * middle else 0.0,
            self._atr.update(high, low, close),
            self._adx.update(high, low, close),
            math.sqrt(max(self._mean_square.update(fresh * fresh), 0.0)),
            self._rate.update(close),
            closes[-1 - self._windows.momentum_skip] / closes[0] - 1.0,
            direction,
        ]
