"""The risk manager: cuts wanted weights down to what the limits allow, and says why.

Owns the limits, their order and the drawdown state. Refuses to know signals, views and orders: it reads
marked prices, the marked book and wanted weights, so that it serves a user's strategy as well.

The order of limits, each of which sees what the one before left:

1. `short_not_allowed`, `not_tradable` (left the universe, or delisted): to 0.
2. `drawdown_halted`: everything to 0; the rest is skipped.
3. `position_limit`: |weight| of one symbol.
4. `turnover_limit`: what *adds* to positions is scaled so that the whole step's one-way turnover fits.
   Reductions are counted first and never held back. It stands before the limits on the portfolio, so
   that what those force to be sold is sold, turnover or not.
5. `correlation_limit`: nothing is added to a larger position whose returns follow the rest of the portfolio
   too closely. What is held already stays: a correlation is a noisy reason to sell.
6. `sector_limit`: gross weight of one sector.
7. `gross_limit`, or `drawdown_reducing` where the drawdown state has lowered it.
8. `net_limit`: the longer side is scaled.
9. `var_limit`, `es_limit`: historical value at risk and expected shortfall of the weighted portfolio.

Every limit only shrinks: no |weight| grows and no sign turns, whatever happens to the others. Its price:
cutting a hedge can leave another figure higher than it would have been; the limits after it see that,
those before it do not. A limit is not breached by less than 1e-6.

So that a full book is not trimmed at every step, `tolerance_frac` is allowed twice. A holding that merely
drifted (wanted: NaN) is left until it is that far past the limit, and is then cut back to it. And where
limits leave of a wanted addition a weight within that fraction of the one held, the symbol is held.

Drawdown states, on marked equity: `active` -> `reducing` at `reduce_drawdown_frac` (gross weight at most
`reducing_gross_frac`) -> `halted` at `halt_drawdown_frac` (flat). The way back: after `halt_bars` steps a
halt ends in `reducing` with the peak set to the equity of that moment; `reducing` ends after at least
`reducing_bars` steps once the drawdown is at most `recover_drawdown_frac`. So no halt is for ever, and
`reducing` goes on trading.

Sources: historical simulation of VaR, Jorion, "Value at Risk" (2007), ch. 10; expected shortfall as the
mean of the tail, Acerbi and Tasche (2002), eq. 4.5; drawdown control, Grossman and Zhou (1993), here in
steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from agents.base import AgentContext, BaseAgent, Thought, VerdictAction
from agents.claims import CHANCE_DIGITS, TailClaim
from agents.returns import ReturnsWindow, SortedReturns
from core.errors import DataError
from core.types import Verdict

if TYPE_CHECKING:
    from core.config import RiskConfig
    from core.protocols import History, State

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ROUNDING = 1e-6
"""Weights that differ by no more than this are the same weight."""
LOSS_DIGITS = 6
_GRID = 1e8
_SUM, _MAX, _MIN, _ANY = np.add.reduce, np.maximum.reduce, np.minimum.reduce, np.logical_or.reduce
# The methods of the same names cost a microsecond more each, which a small universe would notice.
"""Changed weights are rounded to 8 digits."""

DrawdownMode = Literal["active", "reducing", "halted"]


@dataclass(frozen=True, slots=True)
class DrawdownState:
    """Where the book stands below its peak. `bars_in_mode` counts the decisions taken in this mode."""

    mode: DrawdownMode = "active"
    peak_equity_usd: float = 0.0
    bars_in_mode: int = 0


def next_drawdown(state: DrawdownState, equity_usd: float, config: RiskConfig) -> DrawdownState:
    """The drawdown state in which a decision at this equity is taken."""
    mode, peak, bars = state.mode, state.peak_equity_usd, state.bars_in_mode
    if mode == "halted":
        if bars < config.halt_bars:
            return DrawdownState("halted", peak, bars + 1)
        return DrawdownState("reducing", equity_usd, 1)
    peak = max(peak, equity_usd)
    drawdown_frac = (peak - equity_usd) / peak if peak > 0.0 else 0.0
    if config.halt_drawdown_frac is not None and drawdown_frac >= config.halt_drawdown_frac:
        return DrawdownState("halted", peak, 1)
    if mode == "active":
        reduce_at = config.reduce_drawdown_frac
        if reduce_at is not None and drawdown_frac >= reduce_at:
            return DrawdownState("reducing", peak, 1)
    elif bars >= config.reducing_bars and drawdown_frac <= config.recover_drawdown_frac:
        return DrawdownState("active", peak, 1)
    return DrawdownState(mode, peak, bars + 1)


@dataclass(frozen=True, slots=True, eq=False)
class RiskThought(Thought):
    """The drawdown state in which the review will be made."""

    drawdown: DrawdownState


@dataclass(slots=True)
class LimitTally:
    """How many reviews there were, in how many something was cut, and the gross weights asked for, in sum (a
    hold asks for what is held)."""

    reviews: int = 0
    cut: int = 0
    asked_frac: float = 0.0


class RiskManager(BaseAgent[RiskThought, VerdictAction]):
    """Reviews wanted weights once per step (`core.protocols.RiskReview`).

    `review` and `review_one` give the same numbers for one symbol; the second does it in scalars. Each
    call is one step of the drawdown state.
    """

    name = "risk_manager"
    task = "Cut the wanted weights down to what the limits allow."

    def __init__(self, config: RiskConfig, allow_short: bool) -> None:
        self._config = config
        self._allow_short = allow_short
        self._watches_drawdown = not (
            config.reduce_drawdown_frac is None and config.halt_drawdown_frac is None
        )
        self._watches_tail = not (
            config.max_var_frac is None and config.max_expected_shortfall_frac is None
        )
        self._watches_sectors = config.max_sector_frac is not None and bool(config.sectors)
        self._slack = 1.0 + config.tolerance_frac
        self.drawdown = DrawdownState()
        self.tally = LimitTally()
        self._returns = ReturnsWindow(config.lookback_bars)
        self._sorted = SortedReturns(config.lookback_bars)
        self._sector_names = sorted(set(config.sectors.values()))
        self._sector_codes: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)

    # --- the agent ---

    async def think(self, context: AgentContext) -> RiskThought:
        equity_usd = context.observation.state.equity_usd
        return RiskThought(context, next_drawdown(self.drawdown, equity_usd, self._config))

    async def act(self, thought: RiskThought) -> VerdictAction:
        observation = thought.context.observation
        wanted = observation.wanted_frac
        assert wanted is not None, "the strategy speaks before the risk manager"
        accepted, verdict = self.review_weights(
            wanted, observation.history, observation.held_frac, observation.state.equity_usd
        )
        return VerdictAction(self.name, accepted, verdict)

    def claim(
        self, accepted_frac: FloatArray, held_frac: FloatArray, history: History
    ) -> TailClaim | None:
        """What it claims of the next bar: a loss of the accepted weights beyond their value at risk.

        The chance is that of a new return among as many old ones. None where the tail is not watched, nothing
        is held, or too few returns are known.
        """
        config = self._config
        weights: FloatArray = np.where(np.isnan(accepted_frac), held_frac, accepted_frac)
        if not self._watches_tail or not weights.any():
            return None
        returns = self._returns.follow(history)
        rows = len(returns)
        if rows < config.min_lookback_bars:
            return None
        count = max(1, int(config.var_tail_frac * rows))
        loss = -float(np.partition(returns @ weights, count - 1)[count - 1])
        chance = round(count / (rows + 1), CHANCE_DIGITS)
        return TailClaim(self.name, chance, round(loss, LOSS_DIGITS), weights)

    # --- state to keep ---

    def state_dict(self) -> dict[str, Any]:
        """What must be kept with a saved book, as plain values."""
        return asdict(self.drawdown)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Raises: DataError when `saved` is not what `state_dict` gave."""
        mode = next((name for name in get_args(DrawdownMode) if name == saved.get("mode")), None)
        peak, bars = saved.get("peak_equity_usd"), saved.get("bars_in_mode")
        if mode is None or not isinstance(peak, int | float) or not isinstance(bars, int):
            raise DataError(
                f"The saved risk state is {dict(saved)}.",
                "It needs mode (active, reducing or halted), peak_equity_usd and bars_in_mode.",
            )
        self.drawdown = replace(
            self.drawdown, mode=mode, peak_equity_usd=float(peak), bars_in_mode=bars
        )

    # --- the review ---

    def review(
        self, wanted_frac: FloatArray, history: History, state: State
    ) -> tuple[FloatArray, tuple[Verdict, ...]]:
        """Accepted weights and a verdict for every symbol that a limit changed.

        Shapes: `wanted_frac` and the result [N]. NaN wants to hold; a hold stays NaN unless a limit
        forces it down, and then its `wanted_frac` in the verdict is the weight held.
        """
        return self.review_weights(wanted_frac, history, state.weight_array, state.equity_usd)

    def review_weights(
        self, wanted_frac: FloatArray, history: History, held_frac: FloatArray, equity_usd: float
    ) -> tuple[FloatArray, tuple[Verdict, ...]]:
        """`review` for a caller who has the held weights [N] at hand."""
        if len(wanted_frac) == 1:
            accepted, verdict = self._one(
                float(wanted_frac[0]), history, float(held_frac[0]), equity_usd
            )
            return np.array([accepted]), verdict
        return self.review_many(wanted_frac, history, held_frac, equity_usd)

    def review_one(
        self, wanted_frac: float, history: History, state: State
    ) -> tuple[float, tuple[Verdict, ...]]:
        """`review` of a universe of one symbol, in scalars."""
        return self._one(wanted_frac, history, state.weight(0), state.equity_usd)

    def review_many(
        self, wanted_frac: FloatArray, history: History, held_frac: FloatArray, equity_usd: float
    ) -> tuple[FloatArray, tuple[Verdict, ...]]:
        """`review` over arrays, for any number of symbols."""
        config = self._config
        if self._watches_drawdown:
            self.drawdown = next_drawdown(self.drawdown, equity_usd, config)
        mode = self.drawdown.mode
        if len(wanted_frac) == 0:
            return wanted_frac, ()
        hold: BoolArray = np.isnan(wanted_frac)
        target: FloatArray = np.where(hold, held_frac, wanted_frac)
        start = target
        tally = self.tally
        tally.reviews += 1
        tally.asked_frac += float(_SUM(np.abs(start)))
        bound: list[tuple[str, BoolArray]] = []

        def note(code: str, fresh: FloatArray) -> FloatArray:
            if fresh is not target:
                bound.append((code, fresh != target))
            return fresh

        if not self._allow_short and _MIN(target) < 0.0:
            target = note("short_not_allowed", np.maximum(target, 0.0))
        barred: BoolArray | None = history.barred
        if barred is not None:
            target = note("not_tradable", np.where(barred, 0.0, target))
        if mode == "halted":
            target = note("drawdown_halted", np.zeros_like(target))
        else:
            if config.max_position_frac is not None:
                target = note("position_limit", self._position(target, hold))
            if config.max_turnover_frac is not None:
                target = note("turnover_limit", self._turnover(target, held_frac))
            if config.max_correlation is not None and len(target) > 1:
                target = note("correlation_limit", self._correlation(target, held_frac, history))
            if self._watches_sectors:
                target = note("sector_limit", self._sector(target, hold, history))
            code, limit = self._gross_limit(mode)
            if limit is not None:
                target = note(code, self._gross(target, hold, limit))
            if config.max_net_frac is not None:
                target = note("net_limit", self._net(target, hold))
            if self._watches_tail:
                codes, fresh = self._tail(target, hold, history)
                bound.extend((code, fresh != target) for code in codes)
                target = fresh
        if not bound:
            return wanted_frac, ()
        tally.cut += 1
        return self._conclude(
            wanted_frac, held_frac, start, target, bound=bound, symbols=history.symbols
        )

    def _position(self, target: FloatArray, hold: BoolArray) -> FloatArray:
        limit = self._config.max_position_frac
        assert limit is not None
        size = np.abs(target)
        if not _MAX(size) > limit + ROUNDING:
            return target
        over = size > np.where(hold, limit * self._slack, limit) + ROUNDING
        return np.where(over, np.copysign(limit, target), target) if _ANY(over) else target

    def _turnover(self, target: FloatArray, held: FloatArray) -> FloatArray:
        """Scale what adds to positions; a change of sign is a reduction to 0 and an addition."""
        assert self._config.max_turnover_frac is not None
        limit = 2.0 * self._config.max_turnover_frac  # one-way: bought and sold count half each
        traded = float(_SUM(np.abs(target - held)))
        if not traded > limit + ROUNDING:
            return target
        base = np.where(target * held > 0.0, np.abs(held), 0.0)
        added = np.maximum(np.abs(target) - base, 0.0)
        total_added = float(_SUM(added))
        if not total_added > 0.0:
            return target
        scale = max(limit - (traded - total_added), 0.0) / total_added
        return np.where(added > 0.0, np.copysign(base + scale * added, target), target)

    def _correlation(self, target: FloatArray, held: FloatArray, history: History) -> FloatArray:
        """Cut additions above `correlated_position_frac` to symbols whose own returns (with the position's
        sign) correlate with those of the rest of the portfolio by more than `max_correlation`.

        Moments are taken about zero, as usual for daily returns; all symbols are judged at once, each
        against the portfolio as wanted, so the result does not depend on their order.
        """
        config = self._config
        small, limit = config.correlated_position_frac, config.max_correlation
        assert limit is not None
        kept = np.maximum(np.where(target * held > 0.0, np.abs(held), 0.0), small)
        columns = (np.abs(target) > kept + ROUNDING).nonzero()[0]
        if len(columns) == 0:
            return target
        returns = self._returns.follow(history)
        if len(returns) < config.min_lookback_bars:
            return target
        portfolio = returns @ target
        own = returns if len(columns) == len(target) else returns[:, columns]
        weight = target[columns]
        variance = np.einsum("rc,rc->c", own, own)
        covariance = portfolio @ own
        rest_covariance = (covariance - weight * variance) * np.sign(weight)
        rest_variance = (
            float(portfolio @ portfolio) - 2.0 * weight * covariance + weight * weight * variance
        )
        over = (rest_covariance > 0.0) & (
            rest_covariance * rest_covariance
            > limit * limit * variance * np.maximum(rest_variance, 1e-18)
        )
        if not _ANY(over):
            return target
        fresh = target.copy()
        cut = columns[over]
        fresh[cut] = np.copysign(kept[cut], target[cut])
        return fresh

    def _sector(self, target: FloatArray, hold: BoolArray, history: History) -> FloatArray:
        limit = self._config.max_sector_frac
        assert limit is not None
        codes = self._codes(history)
        gross = np.bincount(codes, weights=np.abs(target), minlength=len(self._sector_names) + 1)
        gross[0] = 0.0  # symbols without a sector
        if not _MAX(gross) > limit + ROUNDING:
            return target
        scale = np.where(gross > limit + ROUNDING, limit / np.maximum(gross, limit), 1.0)[codes]
        drifted = hold & (gross <= limit * self._slack + ROUNDING)[codes]
        return target * np.where(drifted, 1.0, scale)

    def _codes(self, history: History) -> npt.NDArray[np.intp]:
        """The sector of each visible symbol as a number, 0 for none, [N]."""
        symbols = history.symbols
        if len(self._sector_codes) != len(symbols):
            number = {name: place for place, name in enumerate(self._sector_names, start=1)}
            sectors = self._config.sectors
            self._sector_codes = np.array(
                [number[sectors[symbol]] if symbol in sectors else 0 for symbol in symbols],
                dtype=np.intp,
            )
        return self._sector_codes

    def _gross_limit(self, mode: DrawdownMode) -> tuple[str, float | None]:
        limit = self._config.max_gross_frac
        lowered = self._config.reducing_gross_frac
        if mode == "reducing" and (limit is None or lowered < limit):
            return "drawdown_reducing", lowered
        return "gross_limit", limit

    def _gross(self, target: FloatArray, hold: BoolArray, limit: float) -> FloatArray:
        gross = float(_SUM(np.abs(target)))
        if not gross > limit + ROUNDING:
            return target
        return self._shrink(target, hold, limit / gross, gross > limit * self._slack + ROUNDING)

    def _net(self, target: FloatArray, hold: BoolArray) -> FloatArray:
        limit = self._config.max_net_frac
        assert limit is not None
        net = float(_SUM(target))
        if not abs(net) > limit + ROUNDING:
            return target
        side = target > 0.0 if net > 0.0 else target < 0.0
        longer = float(_SUM(np.abs(np.where(side, target, 0.0))))
        shorter = float(_SUM(np.abs(np.where(side, 0.0, target))))
        beyond = abs(net) > limit * self._slack + ROUNDING
        shrunk = self._shrink(target, hold, (limit + shorter) / longer, beyond)
        return np.where(side, shrunk, target)

    def _tail(
        self, target: FloatArray, hold: BoolArray, history: History
    ) -> tuple[tuple[str, ...], FloatArray]:
        """Historical VaR and expected shortfall over one bar; the whole portfolio is scaled.

        The tail is the worst floor(tail x rows) rows, at least one: VaR is the mildest of them,
        expected shortfall their mean. The sum is exact, so the order of rows does not matter.
        """
        config = self._config
        returns = self._returns.follow(history)
        rows = len(returns)
        if rows < config.min_lookback_bars:
            return (), target
        count = max(1, int(config.var_tail_frac * rows))
        portfolio = returns @ target
        worst = np.partition(portfolio, count - 1)[:count].tolist()
        codes, scale, beyond = self._tail_scale(worst)
        return codes, self._shrink(target, hold, scale, beyond) if codes else target

    def _tail_scale(self, worst: list[float]) -> tuple[tuple[str, ...], float, bool]:
        """(codes of the limits breached, the binding one last; scale; beyond the tolerance)."""
        config = self._config
        found: list[tuple[float, str]] = []
        beyond = False
        limit = config.max_var_frac
        if limit is not None and (loss := -max(worst)) > limit + ROUNDING:
            found.append((limit / loss, "var_limit"))
            beyond = loss > limit * self._slack + ROUNDING
        limit = config.max_expected_shortfall_frac
        if limit is not None and (loss := -math.fsum(worst) / len(worst)) > limit + ROUNDING:
            found.append((limit / loss, "es_limit"))
            beyond = beyond or loss > limit * self._slack + ROUNDING
        found.sort(reverse=True)
        return tuple(code for _, code in found), found[-1][0] if found else 1.0, beyond

    @staticmethod
    def _shrink(target: FloatArray, hold: BoolArray, scale: float, beyond: bool) -> FloatArray:
        """Scale everything, or, within the tolerance, only what is not merely held."""
        return target * scale if beyond else target * np.where(hold, 1.0, scale)

    def _conclude(
        self,
        wanted: FloatArray,
        held: FloatArray,
        start: FloatArray,
        target: FloatArray,
        *,
        bound: list[tuple[str, BoolArray]],
        symbols: tuple[str, ...],
    ) -> tuple[FloatArray, tuple[Verdict, ...]]:
        """Round what changed to 8 digits, never upwards past what was wanted, and write the verdicts."""
        columns = (target != start).nonzero()[0]
        if len(columns) == 0:
            return wanted, ()
        before, now = start[columns], held[columns]
        after = np.rint(target[columns] * _GRID) / _GRID + 0.0
        after = np.where(np.abs(after) > np.abs(before), before, after)
        size, now_size = np.abs(after), np.abs(now)
        same = ~np.isnan(wanted[columns]) & (before * now > 0.0) & (np.abs(before) > now_size)
        same &= (size <= now_size * self._slack) & (now_size <= size * self._slack)
        accepted = wanted.copy()
        accepted[columns] = np.where(same, np.nan, after)
        allowed = np.where(same, np.rint(now * _GRID) / _GRID + 0.0, after).tolist()
        was = (np.rint(before * _GRID) / _GRID + 0.0).tolist()
        masks = [(code, mask[columns].tolist()) for code, mask in bound]
        return accepted, tuple(
            Verdict(
                symbols[column],
                was[place],
                allowed[place],
                tuple(code for code, mask in masks if mask[place]),
            )
            for place, column in enumerate(columns.tolist())
        )

    # --- one symbol, in scalars: the same limits in the same order, the same arithmetic ---

    def _one(
        self, wanted: float, history: History, held: float, equity_usd: float
    ) -> tuple[float, tuple[Verdict, ...]]:
        config = self._config
        if self._watches_drawdown:
            self.drawdown = next_drawdown(self.drawdown, equity_usd, config)
        mode = self.drawdown.mode
        returns = self._sorted.follow(history) if self._watches_tail else []
        hold = math.isnan(wanted)
        target = start = held if hold else wanted
        tally = self.tally
        tally.reviews += 1
        tally.asked_frac += abs(start)
        slack = self._slack
        reasons: list[str] = []
        if target < 0.0 and not self._allow_short:
            target = 0.0
            reasons.append("short_not_allowed")
        barred: BoolArray | None = history.barred
        if barred is not None and barred[0] and target != 0.0:
            target = 0.0
            reasons.append("not_tradable")
        if mode == "halted":
            if target != 0.0:
                target = 0.0
                reasons.append("drawdown_halted")
        elif target != 0.0:
            limit = config.max_position_frac
            if limit is not None and abs(target) > (limit * slack if hold else limit) + ROUNDING:
                target = math.copysign(limit, target)
                reasons.append("position_limit")
            if config.max_turnover_frac is not None:
                limit = 2.0 * config.max_turnover_frac
                traded = abs(target - held)
                if traded > limit + ROUNDING:
                    base = abs(held) if target * held > 0.0 else 0.0
                    added = max(abs(target) - base, 0.0)
                    if added > 0.0:
                        scale = max(limit - (traded - added), 0.0) / added
                        target = math.copysign(base + scale * added, target)
                        reasons.append("turnover_limit")
            limit = config.max_sector_frac if self._watches_sectors else None
            if limit is not None and history.symbols[0] in config.sectors:
                target = self._cap(target, hold, limit, "sector_limit", reasons)
            code, limit = self._gross_limit(mode)
            if limit is not None:
                target = self._cap(target, hold, limit, code, reasons)
            limit = config.max_net_frac
            if limit is not None:
                target = self._cap(target, hold, limit, "net_limit", reasons)
            rows = len(returns)
            if rows >= config.min_lookback_bars and target != 0.0:
                count = max(1, int(config.var_tail_frac * rows))
                tail = returns[:count] if target > 0.0 else returns[-count:]
                codes, scale, beyond = self._tail_scale([each * target for each in tail])
                if codes and (beyond or not hold):
                    target *= scale
                    reasons += codes
        if target == start:
            return wanted, ()
        tally.cut += 1
        allowed = round(target * _GRID) / _GRID + 0.0
        if abs(allowed) > abs(start):
            allowed = start
        accepted = allowed
        size, now = abs(allowed), abs(held)
        adding = not hold and start * held > 0.0 and abs(start) > now
        if adding and size <= now * slack and now <= size * slack:
            accepted, allowed = math.nan, round(held * _GRID) / _GRID + 0.0
        verdict = Verdict(
            history.symbols[0], round(start * _GRID) / _GRID + 0.0, allowed, tuple(reasons)
        )
        return accepted, (verdict,)

    def _cap(self, target: float, hold: bool, limit: float, code: str, reasons: list[str]) -> float:
        size = abs(target)
        if not size > (limit * self._slack if hold else limit) + ROUNDING:
            return target
        reasons.append(code)
        return target * (limit / size)
