"""The coordinator: who goes first, how conflicts are settled, and that only the past matters."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.base import AgentContext, TargetsAction, ViewsAction
from agents.coordinator import Coordinator
from agents.execution import ExecutionAgent
from agents.indicators import PanelIndicators, StreamIndicators
from agents.market_analyst import AnalystThought, MarketAnalyst
from agents.risk_manager import RiskManager
from agents.strategy import StrategyAgent, StrategyThought
from core.config import AgentsConfig, RiskConfig, StrategyConfig, TradingConfig
from core.types import Decision, Views
from tests.agents.books import HOLD, FloatArray, array, at, book, still
from tests.agents.test_indicators import SHORT
from tests.fakes import Bars, cut_bars, martingale_bars, random_bars, records, run_lines
from trading.history import Tape
from trading.panel import Panel, build_panel

QUICK = SHORT.model_copy(
    update={"risk": RiskConfig(lookback_bars=20, min_lookback_bars=5, halt_bars=3, reducing_bars=3)}
)


def coordinator(
    panel: Panel,
    config: AgentsConfig = QUICK,
    *,
    allow_short: bool = False,
    streaming: bool = False,
    risk: RiskConfig | None = None,
) -> Coordinator:
    return Coordinator(
        indicators=StreamIndicators(config) if streaming else PanelIndicators(panel, config),
        analyst=MarketAnalyst(config.analyst),
        strategy=StrategyAgent(config.strategy, allow_short),
        risk=RiskManager(risk or config.risk, allow_short),
        execution=ExecutionAgent(config.execution),
    )


# --- conflicts


class FixedAnalyst(MarketAnalyst):
    """Says what it was told."""

    def __init__(self, expected: FloatArray, confidence: FloatArray) -> None:
        super().__init__(QUICK.analyst)
        self.said = Views(self.name, expected, confidence)
        self.seen: list[AgentContext] = []

    def prepare(self, whole: Any) -> None: ...

    async def think(self, context: AgentContext) -> AnalystThought:
        self.seen.append(context)
        return AnalystThought(context, self.said, None)


class FixedStrategy(StrategyAgent):
    """Wants what it was told."""

    def __init__(self, wanted: FloatArray, sure: float | None) -> None:
        super().__init__(StrategyConfig(conflict_confidence_frac=sure), allow_short=True)
        self.wants = wanted
        self.seen: list[AgentContext] = []

    async def think(self, context: AgentContext) -> StrategyThought:
        self.seen.append(context)
        return StrategyThought(context, self.wants, self.wants, self.wants > 0.0)

    async def act(self, thought: StrategyThought) -> TargetsAction:
        return TargetsAction(self.name, self.wants)


async def settle(
    wanted: FloatArray,
    expected: FloatArray,
    confidence: FloatArray,
    held: list[float],
    *,
    sure: float | None = 0.5,
    risk: RiskConfig | None = None,
) -> Decision:
    panel = still(len(wanted))
    history = at(panel)
    agents = Coordinator(
        indicators=PanelIndicators(panel, QUICK),
        analyst=FixedAnalyst(expected, confidence),
        strategy=FixedStrategy(wanted, sure),
        risk=RiskManager(risk or RiskConfig(max_turnover_frac=None), allow_short=True),
        execution=ExecutionAgent(QUICK.execution),
    )
    return await agents.decide(history, book(history, held))


async def test_nothing_is_added_against_a_sure_view() -> None:
    decision = await settle(
        wanted=array(0.3, 0.3, 0.1, 0.3, -0.2),
        expected=array(-0.01, -0.01, -0.01, 0.01, 0.01),
        confidence=array(0.9, 0.4, 0.9, 0.9, 0.9),
        held=[0.1, 0.1, 0.2, 0.1, 0.1],
    )
    # A: held at 0.1. B: the view is not sure enough. C: a reduction is never stopped. D: no conflict.
    # E: changing sides against the view ends at 0.
    assert decision.targets == {"B": 0.3, "C": 0.1, "D": 0.3}
    assert [(each.symbol, each.allowed_frac, each.reasons) for each in decision.verdict] == [
        ("A", 0.1, ("views_conflict",)),
        ("E", 0.0, ("views_conflict",)),
    ]
    assert [(each.symbol, each.value_usd) for each in decision.intents] == [
        ("B", 300.0),
        ("C", 100.0),
        ("D", 300.0),
        ("E", 0.0),
    ]


async def test_the_rule_can_be_switched_off() -> None:
    decision = await settle(array(0.3), array(-0.01), array(1.0), [0.0], sure=None)
    assert decision.targets == {"A": 0.3}
    assert decision.verdict == ()


async def test_a_view_that_abstains_stops_nothing() -> None:
    decision = await settle(array(0.3), array(math.nan), array(0.0), [0.0], sure=0.0)
    assert decision.targets == {"A": 0.3}


async def test_the_risk_manager_has_the_last_word_after_a_conflict() -> None:
    risk = RiskConfig(max_position_frac=0.2, max_gross_frac=None, max_net_frac=None)
    decision = await settle(array(0.9), array(-0.01), array(1.0), [0.5], risk=risk)
    # Nothing is added to the 0.5 held, and the position limit then cuts it to 0.2.
    (verdict,) = decision.verdict
    assert (verdict.wanted_frac, verdict.allowed_frac) == (0.9, 0.2)
    assert verdict.reasons == ("views_conflict", "position_limit")


async def test_each_agent_sees_what_the_ones_before_it_said() -> None:
    panel = still(1)
    history = at(panel)
    analyst, strategy = FixedAnalyst(array(0.01), array(0.5)), FixedStrategy(array(HOLD), 0.5)
    agents = Coordinator(
        indicators=PanelIndicators(panel, QUICK),
        analyst=analyst,
        strategy=strategy,
        risk=RiskManager(RiskConfig(), allow_short=True),
        execution=ExecutionAgent(QUICK.execution),
    )
    decision = await agents.decide(history, book(history, [0.2]))
    assert (decision.targets, decision.intents, decision.cancel_columns) == ({}, (), ())
    first, second = analyst.seen[0], strategy.seen[0]
    assert first.messages == ()
    (views,) = second.messages
    assert isinstance(views, ViewsAction)
    assert second.observation.views is views.views
    assert second.observation.held_frac.tolist() == pytest.approx([0.2])
    assert first.metadata["market_data"]["A"]["close"] == 10.0


# --- only the past


def lines_of(panel: Panel, **options: Any) -> list[bytes]:
    trading = TradingConfig(warmup_bars=15, allow_short=options.get("allow_short", False))
    return run_lines(panel, coordinator(panel, **options), trading)[1]


def poisoned(bars: Bars, after: np.datetime64, seed: int) -> Bars:
    """Other, well-formed bars after a moment."""
    draw = np.random.default_rng(seed)
    changed = {}
    for symbol, (times, values) in bars.items():
        later = times > after
        factor = np.where(later, draw.uniform(0.2, 5.0), 1.0)
        fresh = values * factor
        fresh[[4, 9]] = values[[4, 9]]
        changed[symbol] = (times, fresh)
    return changed


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(16, 69), st.booleans())
def test_records_do_not_depend_on_what_comes_later(
    seed: int, symbols: int, row: int, allow_short: bool
) -> None:
    bars = random_bars(seed, symbols, 70)
    panel = build_panel(bars, name="random")
    row = min(row, panel.rows - 1)
    now = panel.times[row]
    lines = lines_of(panel, allow_short=allow_short)
    kept = len(lines) - (panel.rows - 1 - row)
    for other in (cut_bars(bars, now), poisoned(bars, now, seed)):
        again = lines_of(build_panel(other, name="random"), allow_short=allow_short)
        assert again[:kept] == lines[:kept]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_streamed_indicators_give_the_same_records(seed: int, symbols: int) -> None:
    panel = build_panel(random_bars(seed, symbols, 70), name="random")
    assert lines_of(panel, streaming=True) == lines_of(panel)


def test_what_binds_stands_in_the_record() -> None:
    panel = build_panel(random_bars(1, 4, 70), name="random")
    risk = QUICK.risk.model_copy(update={"max_position_frac": 0.05})
    said = [
        verdict["reasons"]
        for record in records(lines_of(panel, risk=risk))
        for verdict in record["verdict"]
    ]
    assert ["position_limit"] in said


# --- a run


def test_a_planted_trend_is_found_and_no_trend_is_not() -> None:
    config = AgentsConfig()
    trading = TradingConfig(
        commission_bps=0.0,
        half_spread_bps=0.0,
        impact_coefficient=0.0,
        participation_frac=None,
        warmup_bars=252,
    )

    def t_statistic(trend_frac: float) -> float:
        bars = martingale_bars(100, 500, seed=0, trend_frac=trend_frac, regime_rows=120)
        panel = build_panel(bars, name="walks")
        account, _ = run_lines(panel, coordinator(panel, config), trading)
        equity = np.array(account.curve.equity_usd)
        returns = equity[1:] / equity[:-1] - 1.0
        return float(returns.mean() / (returns.std() / math.sqrt(len(returns))))

    assert abs(t_statistic(0.0)) < 2.0
    assert t_statistic(0.003) > 3.0


def test_a_halt_ends_and_trading_goes_on() -> None:
    bars = martingale_bars(3, 260, seed=3, trend_frac=0.004)
    panel = build_panel(bars, name="walks")
    risk = QUICK.risk.model_copy(
        update={
            "reduce_drawdown_frac": 0.01,
            "halt_drawdown_frac": 0.02,
            "recover_drawdown_frac": 0.005,
        }
    )
    account, lines = run_lines(
        panel, coordinator(panel, risk=risk), TradingConfig(warmup_bars=15, participation_frac=None)
    )
    assert account.bound["drawdown_halted"] > 0
    ordered = [record["step"] for record in records(lines) if record["orders"]]
    assert ordered[-1] > len(lines) - 30


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 55))
def test_a_restart_in_the_middle_decides_the_same(seed: int, symbols: int, start: int) -> None:
    panel = build_panel(random_bars(seed, symbols, 60), name="random")
    tape = Tape(panel, 10)
    followed, restarted = coordinator(panel), coordinator(panel, streaming=True)

    async def go() -> None:
        for row in range(panel.rows):
            tape.reveal(row)
            history = tape.upto(row)
            state = book(history, [0.9 / len(history.symbols)] * len(history.symbols))
            if row == start:
                restarted.risk.load_state_dict(followed.risk.state_dict())
            first = await followed.decide(history, state)
            if row >= start:
                assert same(first, await restarted.decide(history, state))

    asyncio.run(go())


def same(one: Decision, other: Decision) -> bool:
    return (
        (one.targets, one.verdict, one.intents, one.cancel_columns)
        == (other.targets, other.verdict, other.intents, other.cancel_columns)
    ) and all(
        first.expected_return_frac.tobytes() == second.expected_return_frac.tobytes()
        and first.confidence_frac.tobytes() == second.confidence_frac.tobytes()
        for first, second in zip(one.views, other.views, strict=True)
    )
