"""The coordinator: runs the other agents in order and settles what they disagree about.

Owns the order of the stages, the context each agent is given, and the rule for conflicts. Refuses to know
how any stage decides.

The rule for conflicts, in order of precedence:

1. Execution can only do what the risk manager accepted; the risk manager can only shrink.
2. Between analyst and strategy: where the strategy wants to *add* to a position (or to open one) against
   a view of the opposite sign that is at least `conflict_confidence_frac` sure, nothing is added. The symbol
   is held, or sold to 0 where the strategy wanted to change sides. Reductions are never stopped. The verdict
   says `views_conflict`, before whatever the risk manager adds.
3. Views of several voices are pooled by confidence (`agents/market_analyst.py: pool`).

Numbers are rounded where they pass from one stage to the next, so the record holds exactly what was used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agents.base import AgentContext, MarketData, Observation
from agents.execution import ExecutionAgent, decision
from agents.forecasts import stamp
from agents.indicators import PanelIndicators
from agents.market_analyst import MarketAnalyst
from agents.messages import Bus, post_evidence, post_limits
from agents.risk_manager import RiskManager
from agents.strategy import StrategyAgent
from core.types import Decision, Verdict, Views

if TYPE_CHECKING:
    from agents.base import AgentAction, ViewsAction
    from agents.claims import Claim
    from agents.indicators import Indicators
    from agents.mind import Judgement, Mind
    from agents.remembered import Remembered
    from core.protocols import History, State

FloatArray = npt.NDArray[np.float64]

CONFLICT = "views_conflict"


class Coordinator:
    """`core.protocols.Agents`: analyst, strategy, risk manager, execution, one after the other."""

    def __init__(
        self,
        *,
        indicators: Indicators,
        analyst: MarketAnalyst,
        strategy: StrategyAgent,
        risk: RiskManager,
        execution: ExecutionAgent,
        mind: Mind | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """`mind` weighs the sources of forecasts; `count_tokens` opens the bus on which agents talk."""
        self._indicators = indicators
        self.mind = mind
        self._count_tokens = count_tokens
        self._analyst = analyst
        self._strategy = strategy
        self.risk = risk
        self._execution = execution
        if isinstance(indicators, PanelIndicators):
            whole = indicators.whole()
            analyst.prepare(whole)
            strategy.prepare(whole)
        self._sure = strategy.conflict_confidence_frac

    async def decide(self, history: History, state: State) -> Decision:
        """One decision at the history's present close."""
        return await self._decide(history, state, None)

    async def decide_remembering(
        self, history: History, state: State, remembered: Remembered
    ) -> Decision:
        """The same with what the memory stage recalled."""
        return await self._decide(history, state, remembered)

    async def rehearse(self, history: History, state: State, remembered: Remembered) -> None:
        """Learn from a step without deciding anything."""
        row = self._indicators.at(history)
        seen = Observation(history, state, state.weight_array, row)
        context = AgentContext(self._analyst.task, history, (), (), {}, seen)
        views = await self._analyst.act(await self._analyst.think(context))
        self._judge(views, remembered, None)

    async def _decide(
        self, history: History, state: State, remembered: Remembered | None
    ) -> Decision:
        held = state.weight_array
        row = self._indicators.at(history)
        metadata = {"market_data": MarketData(history)}

        def context(
            task: str, observation: Observation, messages: tuple[AgentAction, ...]
        ) -> AgentContext:
            return AgentContext(task, history, lines, messages, metadata, observation, bus)

        bus = None
        lines = () if remembered is None else remembered.lines
        if remembered is not None and self._count_tokens is not None:
            bus = Bus(self._count_tokens)

        seen = Observation(history, state, held, row)
        analyst = self._analyst
        views = await analyst.act(await analyst.think(context(analyst.task, seen, ())))
        judged = None if remembered is None else self._judge(views, remembered, bus)

        seen = Observation(history, state, held, row, views.views, views.horizon_bars)
        strategy = self._strategy
        targets = await strategy.act(await strategy.think(context(strategy.task, seen, (views,))))

        wanted, conflicts = self._settle(targets.wanted_frac, held, views.views)

        seen = Observation(history, state, held, row, views.views, views.horizon_bars, wanted)
        risk = self.risk
        review = await risk.act(await risk.think(context(risk.task, seen, (views, targets))))

        accepted = review.accepted_frac
        if bus is not None and review.verdict:
            post_limits(bus, risk.name, review.verdict)
        seen = Observation(
            history, state, held, row, views.views, views.horizon_bars, wanted, accepted
        )
        execution = self._execution
        orders = await execution.act(
            await execution.think(context(execution.task, seen, (views, targets, review)))
        )

        verdict = review.verdict
        if conflicts is not None:
            kept = np.where(np.isnan(wanted), held, wanted)
            verdict = _merged(conflicts, targets.wanted_frac, kept, verdict, history.symbols)
        voices = views.voices if judged is None else (*views.voices, judged.view)
        decided = decision(
            voices, accepted, verdict, (orders.intents, orders.cancel_columns), history
        )
        mind = self.mind
        if remembered is None or judged is None or mind is None:
            return decided
        claims: list[Claim] = list(execution.claims(orders.intents, history, state))
        tail = risk.claim(accepted, held, history)
        if tail is not None:
            claims.insert(0, tail)
        came = mind.claims.answer(history)
        claimed = mind.claims.add(claims, stamp(history.as_of), history.row)
        return replace(
            decided,
            forecasts={
                **mind.book.sealed(judged.told, claimed),
                "answers": [each.receipt() for each in remembered.answers],
                "came": came,
            },
            memory={"operations": list(remembered.operations), "recalled": judged.recalled},
            messages=[] if bus is None else bus.transcript(),
        )

    def _judge(
        self, views: ViewsAction, remembered: Remembered, bus: Bus | None
    ) -> Judgement | None:
        """Learn from what became known, weigh all sources, and tell the strategy agent."""
        mind = self.mind
        if mind is None:
            return None
        mind.learn(remembered.answers)
        judged = mind.judge(remembered, views.views, views.horizon_bars)
        if bus is not None:
            post_evidence(bus, self._analyst.name, remembered, judged)
        return judged

    def _settle(
        self, wanted: FloatArray, held: FloatArray, views: Views
    ) -> tuple[FloatArray, list[int] | None]:
        """(wanted weights with what is added against a sure view taken out, the columns concerned)."""
        if self._sure is None:
            return wanted, None
        against = wanted * views.expected_return_frac < 0.0
        against &= views.confidence_frac >= self._sure
        if not np.logical_or.reduce(against):
            return wanted, None
        switching = wanted * held < 0.0
        against &= switching | (np.abs(wanted) > np.abs(held))
        if not np.logical_or.reduce(against):
            return wanted, None
        settled = np.where(against, np.where(switching, 0.0, np.nan), wanted)
        return settled, np.flatnonzero(against).tolist()


def _merged(
    columns: list[int],
    wanted: FloatArray,
    kept: FloatArray,
    verdict: tuple[Verdict, ...],
    symbols: tuple[str, ...],
) -> tuple[Verdict, ...]:
    """The verdict with a row for every conflict; what the risk manager says of the same symbol follows."""
    later = {entry.symbol: entry for entry in verdict}
    first: list[Verdict] = []
    for column in columns:
        symbol = symbols[column]
        rest = later.pop(symbol, None)
        first.append(
            Verdict(
                symbol,
                round(float(wanted[column]), 8),
                round(float(kept[column]), 8) if rest is None else rest.allowed_frac,
                (CONFLICT,) if rest is None else (CONFLICT, *rest.reasons),
            )
        )
    return (*first, *(entry for entry in verdict if entry.symbol in later))
