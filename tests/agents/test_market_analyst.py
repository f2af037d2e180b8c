"""The market analyst: its formula by hand, when it abstains, and how voices are pooled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.base import AgentContext, Observation
from agents.indicators import OWN, IndicatorRow, PanelIndicators
from agents.market_analyst import NO_CONFIDENCE_FRAC, MarketAnalyst, pool
from core.config import AgentsConfig, AnalystConfig
from core.protocols import History
from core.types import Views
from tests.agents.books import FloatArray, array, at, book
from tests.agents.test_indicators import SHORT
from tests.fakes import random_bars
from trading.panel import build_panel


def row_of(**values: float) -> IndicatorRow:
    """Indicators of one symbol; those not named are 0."""
    named = {name: array(values.get(name, 0.0)) for name in (*OWN, "momentum_rank")}
    return IndicatorRow(0, **named)


def context(history: History, row: IndicatorRow) -> AgentContext:
    state = book(history, [0.0] * len(history.symbols))
    return AgentContext(
        "", history, (), (), {}, Observation(history, state, state.weight_array, row)
    )


def test_the_expected_return_is_volatility_times_coefficient_times_score() -> None:
    analyst = MarketAnalyst(
        AnalystConfig(
            trend_weight=0.5,
            macd_weight=0.0,
            rsi_weight=0.25,
            reversal_weight=0.25,
            momentum_weight=0.0,
            trend_full_atr=5.0,
            reversal_full_deviations=2.0,
            information_coefficient=0.05,
            horizon_bars=25,
            adx_full=50.0,
        )
    )
    # Trend (105 - 100) / (5 x 2) = 0.5; rsi (60 - 50) / 50 = 0.2; reversal -1 / 2 = -0.5.
    # Score 0.5 x 0.5 + 0.25 x 0.2 - 0.25 x 0.5 = 0.175; the sum of absolute values is 0.425.
    row = row_of(
        ema=105.0, sma=100.0, atr=2.0, rsi=60.0, bollinger_z=1.0, adx=20.0, volatility=0.02
    )
    expected, confidence = analyst.opinion(row)
    # 0.05 x 0.02 x sqrt(25) x 0.175 = 0.000875; agreement 0.175 / 0.425, trending 20 / 50.
    assert expected[0] == 0.000875
    assert confidence[0] == round(0.175 / 0.425 * 0.4, 4)


def test_components_are_cut_at_full() -> None:
    analyst = MarketAnalyst(AnalystConfig(information_coefficient=1.0, horizon_bars=1))
    row = row_of(
        ema=9e9,
        macd_histogram=9e9,
        rsi=100.0,
        bollinger_z=-9.0,
        atr=1.0,
        momentum=9.0,
        volatility=0.01,
        adx=99.0,
    )
    expected, confidence = analyst.opinion(row)
    assert (expected[0], confidence[0]) == (0.01, 1.0)


def test_a_short_history_makes_the_analyst_abstain() -> None:
    analyst = MarketAnalyst(AnalystConfig())
    expected, confidence = analyst.opinion(row_of(atr=1.0, volatility=0.01, momentum=math.nan))
    assert math.isnan(expected[0])
    assert confidence[0] == 0.0


async def test_a_symbol_without_bars_makes_the_analyst_abstain() -> None:
    bars = random_bars(8, 2, 60)
    times, values = bars["Y1"]
    bars["Y1"] = (times[:-5], values[:, :-5])
    panel = build_panel(bars, name="random")
    column = panel.symbols.index("Y1")
    indicators = PanelIndicators(panel, SHORT)
    history = at(panel)
    stale = int(history.stale[-1, column])
    for allowed, speaks in ((stale, True), (stale - 1, False)):
        analyst = MarketAnalyst(SHORT.analyst.model_copy(update={"stale_bars": allowed}))
        action = await analyst.act(await analyst.think(context(history, indicators.at(history))))
        assert (not math.isnan(action.views.expected_return_frac[column])) is speaks


async def test_opinions_formed_at_once_have_the_bits_of_those_formed_bar_by_bar() -> None:
    panel = build_panel(random_bars(2, 5, 60), name="random")
    indicators = PanelIndicators(panel, SHORT)
    at_once, by_bar = MarketAnalyst(SHORT.analyst), MarketAnalyst(SHORT.analyst)
    at_once.prepare(indicators.whole())
    for row in range(panel.rows):
        history = at(panel, row)
        here = context(history, indicators.at(history))
        one = await at_once.act(await at_once.think(here))
        other = await by_bar.act(await by_bar.think(here))
        for name in ("expected_return_frac", "confidence_frac"):
            assert getattr(one.views, name).tobytes() == getattr(other.views, name).tobytes()


def views(agent: str, expected: FloatArray, confidence: FloatArray) -> Views:
    return Views(agent, expected, confidence)


def test_voices_are_pooled_by_confidence_and_abstaining_is_not_zero() -> None:
    nan = math.nan
    own = views("a", array(0.02, 0.02, nan, nan, 0.02), array(0.6, 0.6, 0.0, 0.0, 0.5))
    other = views("b", array(-0.04, nan, 0.03, nan, 0.0), array(0.3, 0.0, 0.8, 0.0, 0.5))
    together = pool((own, other), (1.0, 1.0))
    # A: (0.6 x 0.02 - 0.3 x 0.04) / 0.9 = 0; confidence (0.36 + 0.09) / 0.9 = 0.5. B and C: one voice.
    # D: none. E: a neutral view does pull: (0.5 x 0.02 + 0.5 x 0) / 1.
    np.testing.assert_array_equal(together.expected_return_frac, [0.0, 0.02, 0.03, nan, 0.01])
    np.testing.assert_array_equal(together.confidence_frac, [0.5, 0.6, 0.8, 0.0, 0.5])


def test_an_outside_voice_weighs_what_the_configuration_says() -> None:
    own, other = views("a", array(0.0), array(0.5)), views("b", array(0.03), array(0.5))
    # 2 x 0.5 against 0.5: two thirds of 0.03.
    assert pool((own, other), (1.0, 2.0)).expected_return_frac[0] == pytest.approx(0.02)


class Outside:
    def at(self, history: History) -> Views | None:
        count = len(history.symbols)
        return Views("outside", np.full(count, 0.05), np.full(count, 1.0))


async def test_both_voices_stand_in_the_record_beside_what_they_come_to() -> None:
    panel = build_panel(random_bars(2, 2, 60), name="random")
    history = at(panel)
    analyst = MarketAnalyst(AgentsConfig().analyst, external_views=Outside())
    row = PanelIndicators(panel, AgentsConfig()).at(history)
    action = await analyst.act(await analyst.think(context(history, row)))
    # Sixty bars are too few for the default windows: the analyst abstains, the outside view counts.
    assert [voice.agent for voice in action.voices] == ["market_analyst", "outside"]
    assert np.isnan(action.voices[0].expected_return_frac).all()
    assert action.views.expected_return_frac.tolist() == [0.05, 0.05]


@given(
    st.lists(
        st.tuples(st.floats(-1, 1) | st.just(math.nan), st.floats(0, 1)), min_size=1, max_size=4
    )
)
@example([(0.5, 5e-324)])
def test_a_pool_lies_between_its_voices(said: list[tuple[float, float]]) -> None:
    voices = [views(str(place), array(one[0]), array(one[1])) for place, one in enumerate(said)]
    together = pool(voices, [1.0] * len(voices))
    heard = [one for one in said if not math.isnan(one[0]) and one[1] > NO_CONFIDENCE_FRAC]
    if not heard:
        assert math.isnan(together.expected_return_frac[0])
    else:
        returns = [one[0] for one in heard]
        assert min(returns) - 1e-6 <= together.expected_return_frac[0] <= max(returns) + 1e-6
