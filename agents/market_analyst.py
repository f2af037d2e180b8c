"""The market analyst: an expected return and a confidence for each symbol, or none.

Owns the formula that turns indicators into a view, and the rule that pools it with views from outside.
Refuses to know weights, risk and orders.

The formula. Five components, each cut to [-1, 1] (1 speaks for buying), are mixed by their weights into a
score:

* trend: (EMA - SMA) / (`trend_full_atr` x ATR), the moving-average cross of Brock, Lakonishok and LeBaron
  (1992), in units of the average true range;
* macd: MACD histogram / (`macd_full_atr` x ATR), Appel (1979);
* rsi: (RSI - 50) / 50, Wilder (1978), read as momentum;
* reversal: - Bollinger z / `reversal_full_deviations`, Bollinger (2001), read against the move;
* momentum: 12-1 return / (volatility x sqrt(its bars)), Jegadeesh and Titman (1993).

expected return = information coefficient x volatility over the horizon x score: "alpha is volatility times IC
times score", Grinold (1994). Confidence = agreement of the components (|sum| / sum of absolute values)
x min(ADX / `adx_full`, 1): a trending market is where such rules have something to say (Wilder 1978).
The coefficients are conventions, not estimates; nothing here was fitted to the shipped sample.

The analyst abstains (NaN) on a symbol while one of the indicators is missing, and on one that has missed
more than `stale_bars` sessions (of bars longer than a day: bars).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from agents.base import AgentContext, BaseAgent, Thought, ViewsAction
from core.types import Views

if TYPE_CHECKING:
    from agents.indicators import IndicatorRow
    from core.config import AnalystConfig
    from core.protocols import History

FloatArray = npt.NDArray[np.float64]

EXPECTED_RETURN_DIGITS = 6
CONFIDENCE_DIGITS = 4
_SMALLEST = 1e-12
"""Divisors are at least this, so that a price that never moved gives 0 and not an error."""


class ViewsSource(Protocol):
    """Views from outside: a file of them, a model."""

    def at(self, history: History) -> Views | None:
        """The views as of the present close, [N], or None while there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class AnalystThought(Thought):
    """The analyst's own views, and what was said from outside."""

    own: Views
    external: Views | None


class MarketAnalyst(BaseAgent[AnalystThought, ViewsAction]):
    """Judges each symbol by its indicators; pools that with views from outside, if there are any."""

    name = "market_analyst"
    task = "Say what each symbol is expected to return, and how sure that is."

    def __init__(self, config: AnalystConfig, external_views: ViewsSource | None = None) -> None:
        self._config = config
        self._external = external_views
        self._external_weight = config.external_views_weight
        weights = np.array(
            [
                config.trend_weight,
                config.macd_weight,
                config.rsi_weight,
                config.reversal_weight,
                config.momentum_weight,
            ]
        )
        self._weights: list[float] = (weights / weights.sum()).tolist()
        self._momentum_root = math.sqrt(config.momentum_bars - config.momentum_skip_bars)
        self._prepared: tuple[FloatArray, FloatArray] | None = None
        self._return_scale = config.information_coefficient * math.sqrt(config.horizon_bars)

    def prepare(self, whole: IndicatorRow) -> None:
        """Form the opinions of all rows at once, from fields [T, N]; `think` then reads its row.

        The formula works value by value, so the bits are the same as bar by bar.
        """
        self._prepared = self.opinion(whole)

    async def think(self, context: AgentContext) -> AnalystThought:
        history, indicators = context.observation.history, context.observation.indicators
        if self._prepared is None:
            expected, confidence = self.opinion(indicators)
        else:
            row, count = indicators.row, len(indicators.rsi)
            expected = self._prepared[0][row, :count]
            confidence = self._prepared[1][row, :count]
        stale = history.stale[-1]
        if np.maximum.reduce(stale) > self._config.stale_bars:
            silent = stale > self._config.stale_bars
            expected = np.where(silent, np.nan, expected)
            confidence = np.where(silent, 0.0, confidence)
        external = None if self._external is None else self._external.at(history)
        return AnalystThought(context, Views(self.name, expected, confidence), external)

    async def act(self, thought: AnalystThought) -> ViewsAction:
        own = thought.own
        horizon = self._config.horizon_bars
        if thought.external is None:
            return ViewsAction(self.name, (own,), own, horizon)
        voices = (own, thought.external)
        return ViewsAction(self.name, voices, pool(voices, (1.0, self._external_weight)), horizon)

    def opinion(self, indicators: IndicatorRow) -> tuple[FloatArray, FloatArray]:
        """(expected return over the horizon, confidence) by the module's formula, rounded.

        Shapes: those of the indicators.
        """
        config, row = self._config, indicators
        atr = np.maximum(row.atr, _SMALLEST)
        parts = np.empty((5, *atr.shape))
        parts[0] = (row.ema - row.sma) / (config.trend_full_atr * atr)
        parts[1] = row.macd_histogram / (config.macd_full_atr * atr)
        parts[2] = row.rsi * 0.02 - 1.0
        parts[3] = row.bollinger_z / -config.reversal_full_deviations
        parts[4] = row.momentum / np.maximum(row.volatility * self._momentum_root, _SMALLEST)
        np.maximum(parts, -1.0, out=parts)
        np.minimum(parts, 1.0, out=parts)
        score, said = parts[0] * self._weights[0], np.abs(parts[0]) * self._weights[0]
        for part, weight in zip(parts[1:], self._weights[1:], strict=True):
            score += part * weight
            said += np.abs(part) * weight
        trending = np.minimum(row.adx / config.adx_full, 1.0)
        return rounded(
            self._return_scale * row.volatility * score,
            np.abs(score) / np.maximum(said, _SMALLEST) * trending,
        )


def rounded(
    expected_return_frac: FloatArray, confidence_frac: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Views at the border of a stage: 6 digits of return, 4 of confidence, 0 confidence in abstaining."""
    expected = np.round(expected_return_frac, EXPECTED_RETURN_DIGITS) + 0.0
    silent = np.isnan(expected) | np.isnan(confidence_frac)
    if silent.any():
        expected = np.where(silent, np.nan, expected)
        confidence_frac = np.where(silent, 0.0, confidence_frac)
    return expected, np.round(confidence_frac, CONFIDENCE_DIGITS) + 0.0


NO_CONFIDENCE_FRAC = 1e-9
"""Up to this a confidence is none: products with smaller ones may vanish."""


def pool(voices: Sequence[Views], weights: Sequence[float]) -> Views:
    """What several voices come to, symbol by symbol.

    Each voice weighs its confidence times its weight: the return is the weighted mean of the returns, the
    confidence the weighted mean of the confidences. A voice that abstains or has no confidence does not
    count at all (it does not pull towards 0); where none counts, the pool abstains.

    Source: the linear opinion pool, Stone (1961).
    """
    count = len(voices[0].expected_return_frac)
    total, returns, confidences = np.zeros(count), np.zeros(count), np.zeros(count)
    for voice, weight in zip(voices, weights, strict=True):
        speaks = ~np.isnan(voice.expected_return_frac)
        speaks &= voice.confidence_frac > NO_CONFIDENCE_FRAC
        share = np.where(speaks, voice.confidence_frac * weight, 0.0)
        total += share
        returns += share * np.where(speaks, voice.expected_return_frac, 0.0)
        confidences += share * voice.confidence_frac
    heard = total > 0.0
    divisor = np.where(heard, total, 1.0)
    return Views(
        "pool", *rounded(np.where(heard, returns / divisor, np.nan), confidences / divisor)
    )
