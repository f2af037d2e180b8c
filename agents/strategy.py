"""The strategy agent: four classical signals and the analyst's view become target weights.

Owns the signals, their mix, the sizing to a volatility target and the no-trade band. Refuses to know
limits (`agents/risk_manager.py` cuts what is too much) and orders.

1. Signals, each in [-1, 1], NaN where it has nothing to go by:
   * time series momentum: the sign of the return over `time_series_bars`, Moskowitz, Ooi and Pedersen (2012);
   * cross-sectional momentum: 2 x rank - 1 of the 12-1 return among the visible symbols, Jegadeesh and
     Titman (1993), over all ranks instead of the extreme deciles; one symbol alone has no rank;
   * mean reversion: - Bollinger z / `reversion_full_deviations`, the short-term reversal of Jegadeesh
     (1990) and Lehmann (1990);
   * breakout: the direction of the last Donchian breakout, Donchian (1960).
2. The mix is the mean of the signals present, by their weights. The analyst's view joins it as one more
   signal, its expected return / (`view_full_ratio` x volatility over its horizon), cut to [-1, 1], with the
   weight `views_weight` x confidence. A view that abstains joins with no weight, which is not a 0.
   So does what all sources of forecasts come to (`agents/mind.py`), if there are any: its expected return /
   (`learned_full_deviations` x volatility over its horizon), with the weight `learned_weight` x its proven
   confidence; its dispersion ratio scales the volatility below.
3. Sizing: raw weight = mix / volatility (floored), long-only unless shorting is allowed. All are scaled so
   that the portfolio's volatility over the last `portfolio_volatility_bars` would have been the target times
   the conviction, min(1, mean |mix| / `full_signal_frac`); then each weight is cut to `max_weight_frac` and
   all are scaled to `max_gross_frac`. Source of volatility targeting: Moskowitz, Ooi and Pedersen (2012),
   eq. 5, here for the portfolio as Harvey et al. (2018) do it.
4. No-trade band: a symbol keeps what it has (NaN) while |wanted - held| is at most `no_trade_band_frac` of
   the largest of |wanted|, |held| and an equal share of `max_gross_frac`; a wanted 0 always trades.
   Source: proportional costs make a region of no trade, Davis and Norman (1990); its width is a convention.

A symbol is held (NaN) while its signals present make up less than `min_signal_frac` of all weights, while its
volatility is unknown, while it has missed more than `stale_bars` sessions, and while it may not be traded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agents.base import AgentContext, BaseAgent, Observation, TargetsAction, Thought
from agents.messages import ForecastTold
from agents.returns import ReturnsWindow

if TYPE_CHECKING:
    from agents.indicators import IndicatorRow
    from core.config import StrategyConfig

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_GRID = 1e8
"""Wanted weights are rounded to 8 digits, towards 0, so that rounding breaches no cap."""
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class StrategyThought(Thought):
    """The mixed signal in [-1, 1], annual volatility, and who may be sized at all. Shapes: [N]."""

    signal: FloatArray
    volatility_frac: FloatArray
    eligible: BoolArray


class StrategyAgent(BaseAgent[StrategyThought, TargetsAction]):
    """Mixes signals and views, and sizes them."""

    name = "strategy"
    task = "Turn signals and views into target weights."

    def __init__(
        self, config: StrategyConfig, allow_short: bool, bars_per_year: float = 252.0
    ) -> None:
        """`bars_per_year` counts where the settings leave it open (null)."""
        self._config = config
        self._allow_short = allow_short
        self._weights = (
            config.time_series_weight,
            config.cross_section_weight,
            config.reversion_weight,
            config.breakout_weight,
        )
        self._enough = config.min_signal_frac * sum(self._weights) - _SMALLEST
        self._prepared: tuple[FloatArray, FloatArray] | None = None
        self._year_root = math.sqrt(config.bars_per_year or bars_per_year)
        self._returns = ReturnsWindow(config.portfolio_volatility_bars)

    @property
    def conflict_confidence_frac(self) -> float | None:
        """How sure a contrary view must be for the coordinator to stop a purchase."""
        return self._config.conflict_confidence_frac

    def prepare(self, whole: IndicatorRow) -> None:
        """Mix the signals of all rows at once, from fields [T, N]; `think` then reads its row.

        The mix works value by value, so the bits are the same as bar by bar.
        """
        self._prepared = self.mix(whole)

    async def think(self, context: AgentContext) -> StrategyThought:
        observation = context.observation
        history, row = observation.history, observation.indicators
        if self._prepared is None:
            signal, weight = self.mix(row)
        else:
            count = len(row.rsi)
            signal = self._prepared[0][row.row, :count]
            weight = self._prepared[1][row.row, :count]
        views = observation.views
        if views is not None:
            share = views.confidence_frac * self._config.views_weight
            full = np.maximum(
                row.volatility
                * (self._config.view_full_ratio * math.sqrt(observation.horizon_bars)),
                _SMALLEST,
            )
            view = np.minimum(np.maximum(views.expected_return_frac / full, -1.0), 1.0)
            speaks = ~np.isnan(view)
            share = np.where(speaks, share, 0.0)
            total = np.maximum(weight + share, _SMALLEST)
            signal = (signal * weight + share * np.where(speaks, view, 0.0)) / total
        volatility = row.volatility
        told = None if context.bus is None else context.bus.read(self.name, ForecastTold)
        if told:
            signal, volatility = self._heard(told[0].payload, signal, weight, row)
        eligible = (weight >= self._enough) & ~np.isnan(row.volatility)
        stale = history.stale[-1]
        if np.maximum.reduce(stale) > self._config.stale_bars:
            eligible &= stale <= self._config.stale_bars
        barred = history.barred
        if barred is not None:
            eligible &= ~barred
        return StrategyThought(context, signal, volatility * self._year_root, eligible)

    async def act(self, thought: StrategyThought) -> TargetsAction:
        observation = thought.context.observation
        wanted = self.sized(thought, observation)
        return TargetsAction(
            self.name, self.banded(wanted, thought.eligible, observation.held_frac)
        )

    def _heard(
        self, told: ForecastTold, signal: FloatArray, weight: FloatArray, row: IndicatorRow
    ) -> tuple[FloatArray, FloatArray]:
        """(the signal with the learned view joined, the volatility as the forecast has it).

        A view counts in full at `learned_full_deviations` of the symbol's own horizon volatility.
        """
        view = told.view
        share = view.confidence_frac * self._config.learned_weight
        full = row.volatility * (
            self._config.learned_full_deviations * math.sqrt(told.horizon_bars)
        )
        lean = np.minimum(
            np.maximum(view.expected_return_frac / np.maximum(full, _SMALLEST), -1.0), 1.0
        )
        speaks = ~np.isnan(lean)
        share = np.where(speaks, share, 0.0)
        total = np.maximum(weight + share, _SMALLEST)
        joined: FloatArray = (signal * weight + share * np.where(speaks, lean, 0.0)) / total
        heard: FloatArray = row.volatility * told.dispersion_ratio
        return np.where(share > 0.0, joined, signal), heard

    def mix(self, row: IndicatorRow) -> tuple[FloatArray, FloatArray]:
        """(mean of the signals present, the sum of their weights), in the shapes of the indicators."""
        signals = np.empty((4, *row.breakout.shape))
        np.sign(row.trend_return, out=signals[0])
        signals[1] = 2.0 * row.momentum_rank - 1.0
        signals[2] = row.bollinger_z / -self._config.reversion_full_deviations
        signals[3] = row.breakout
        np.maximum(signals, -1.0, out=signals)
        np.minimum(signals, 1.0, out=signals)
        total, weight = np.zeros(row.breakout.shape), np.zeros(row.breakout.shape)
        for signal, share in zip(signals, self._weights, strict=True):
            speaks = ~np.isnan(signal)
            total += np.where(speaks, signal * share, 0.0)
            weight += np.where(speaks, share, 0.0)
        return total / np.maximum(weight, _SMALLEST), weight

    def sized(self, thought: StrategyThought, observation: Observation) -> FloatArray:
        """Wanted weights [N] at the volatility target, 0 where a symbol is not eligible."""
        config = self._config
        signal = np.where(thought.eligible, thought.signal, 0.0)
        if not self._allow_short:
            signal = np.maximum(signal, 0.0)
        strength = float(np.add.reduce(np.abs(signal)))
        if not strength > 0.0:
            return signal
        raw = np.where(
            thought.eligible,
            signal / np.maximum(thought.volatility_frac, config.volatility_floor_frac),
            0.0,
        )
        mean_strength = strength / np.count_nonzero(thought.eligible)
        conviction = min(1.0, mean_strength / config.full_signal_frac)
        size = np.abs(raw)
        returns = self._returns.follow(observation.history)
        portfolio = returns @ raw
        volatility = self._year_root * math.sqrt(
            float(portfolio @ portfolio) / max(len(returns), 1)
        )
        # A hedged book is never taken to be calmer than a cash-like holding of its gross weight.
        volatility = max(volatility, config.volatility_floor_frac * float(np.add.reduce(size)))
        scale = config.volatility_target_frac * conviction / volatility
        weights = raw * scale
        if float(np.maximum.reduce(size)) * scale > config.max_weight_frac:
            weights = np.minimum(
                np.maximum(weights, -config.max_weight_frac), config.max_weight_frac
            )
        gross = float(np.add.reduce(np.abs(weights)))
        if gross > config.max_gross_frac:
            weights = weights * (config.max_gross_frac / gross)
        return np.trunc(weights * _GRID) / _GRID

    def banded(self, wanted: FloatArray, eligible: BoolArray, held: FloatArray) -> FloatArray:
        """Wanted weights with NaN (hold) inside the no-trade band and where nothing can be said.

        What is held inside the band counts against `max_gross_frac`: if all would come to more, what adds to
        positions is scaled down, and held where that leaves it inside the band.
        """
        config = self._config
        band = config.no_trade_band_frac
        share = config.max_gross_frac / max(int(np.count_nonzero(eligible)), 1)
        now, size = np.abs(held), np.abs(wanted)
        trading = np.abs(wanted - held) > band * np.maximum(np.maximum(size, now), share)
        trading |= wanted == 0.0
        trading &= eligible
        excess = float(np.add.reduce(np.where(trading, size, now))) - config.max_gross_frac
        if excess > _SMALLEST:
            base = np.where(wanted * held > 0.0, now, 0.0)
            added = np.where(trading, np.maximum(size - base, 0.0), 0.0)
            total = float(np.add.reduce(added))
            if total > 0.0:
                left = base + added * max(1.0 - excess / total, 0.0)
                left = np.trunc(left * _GRID) / _GRID
                wanted = np.where(added > 0.0, np.copysign(left, wanted), wanted)
                worth = left - base > band * np.maximum(left, share)
                trading &= (added == 0.0) | (base < now) | worth
        result: FloatArray = np.where(trading, wanted, np.nan)
        return result
