"""The strategy agent: its signals, their mix, sizing and the no-trade band, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.base import AgentContext, Observation, TargetsAction
from agents.indicators import OWN, IndicatorRow
from agents.strategy import StrategyAgent
from core.config import StrategyConfig
from core.types import Views
from tests.agents.books import HOLD, FloatArray, array, at, book, closing
from trading.history import History

NAN = math.nan


def rows_of(symbols: int = 1, **values: float | list[float]) -> IndicatorRow:
    """Indicators of some symbols; those not named are NaN, volatility is 1 % a bar."""
    named: dict[str, Any] = {"volatility": 0.01, **values}
    return IndicatorRow(
        0,
        **{
            name: np.broadcast_to(np.array(named.get(name, NAN), dtype=float), symbols).copy()
            for name in (*OWN, "momentum_rank")
        },
    )


def swinging(symbols: int, rows: int = 80, step: float = 0.01) -> History:
    """Symbols whose every return is + or - `step`, each in a rhythm of its own."""
    closes = []
    for number in range(symbols):
        price, path = 100.0, [100.0]
        for row in range(1, rows):
            price *= 1.0 + (step if (row >> number) & 1 else -step)
            path.append(price)
        closes.append(path)
    return at(closing(closes))


async def wanted(
    agent: StrategyAgent,
    history: History,
    row: IndicatorRow,
    held: list[float] | None = None,
    views: Views | None = None,
) -> FloatArray:
    state = book(history, held or [0.0] * len(history.symbols))
    seen = Observation(history, state, state.weight_array, row, views, 1)
    action = await agent.act(await agent.think(AgentContext("", history, (), (), {}, seen)))
    assert isinstance(action, TargetsAction)
    return action.wanted_frac


ALL = {"trend_return": 0.5, "momentum_rank": 1.0, "bollinger_z": 0.0, "breakout": 1.0}


def test_the_mix_is_the_mean_of_the_signals_present() -> None:
    agent = StrategyAgent(
        StrategyConfig(
            time_series_weight=0.4,
            cross_section_weight=0.2,
            reversion_weight=0.1,
            breakout_weight=0.3,
            reversion_full_deviations=2.0,
        ),
        allow_short=False,
    )
    # Sign of a fall -1; rank 0.75 is +0.5; one deviation up is -0.5; breakout up +1.
    signal, weight = agent.mix(
        rows_of(trend_return=-0.2, momentum_rank=0.75, bollinger_z=1.0, breakout=1.0)
    )
    # -0.4 + 0.1 - 0.05 + 0.3 = -0.05 of 1.
    assert signal[0] == pytest.approx(-0.05)
    assert weight[0] == pytest.approx(1.0)
    # Without a rank: -0.15 of 0.8.
    signal, weight = agent.mix(rows_of(trend_return=-0.2, bollinger_z=1.0, breakout=1.0))
    assert signal[0] == pytest.approx(-0.15 / 0.8)
    assert weight[0] == pytest.approx(0.8)


async def test_one_symbol_is_sized_to_the_volatility_target() -> None:
    config = StrategyConfig(
        volatility_target_frac=0.10, bars_per_year=256.0, full_signal_frac=0.5, views_weight=0.0
    )
    agent = StrategyAgent(config, allow_short=False)
    # Mix (0.35 + 0.35 + 0) / 0.8 = 0.875, full conviction. Volatility 1 % a bar is 16 % a year:
    # weight 0.10 / 0.16 = 0.625, cut to max_weight_frac 0.4.
    row = rows_of(trend_return=0.5, bollinger_z=0.0, breakout=1.0)
    assert await wanted(agent, swinging(1), row) == pytest.approx(0.4)
    free = StrategyAgent(config.model_copy(update={"max_weight_frac": 1.0}), allow_short=False)
    assert await wanted(free, swinging(1), row) == pytest.approx(0.625, abs=1e-8)
    # A mix of 0.25 against full_signal_frac 0.5 takes half of the target.
    half = free.mix(rows_of(trend_return=0.5, breakout=-0.2, bollinger_z=0.2))
    assert half[0][0] == pytest.approx((0.35 - 0.07 - 0.01) / 0.8)
    weights = await wanted(
        free, swinging(1), rows_of(trend_return=0.5, breakout=-0.2, bollinger_z=0.2)
    )
    assert weights == pytest.approx(0.625 * (0.27 / 0.8) / 0.5, abs=1e-8)


async def test_the_whole_portfolio_meets_the_volatility_target() -> None:
    config = StrategyConfig(
        volatility_target_frac=0.05,
        bars_per_year=256.0,
        max_weight_frac=1.0,
        no_trade_band_frac=0.0,
    )
    history = swinging(4)
    weights = await wanted(StrategyAgent(config, False), history, rows_of(4, **ALL))
    returns = history.mark[-63:] / history.mark[-64:-1] - 1.0
    realised = 16.0 * math.sqrt(float(np.mean((returns @ weights) ** 2)))
    assert realised == pytest.approx(0.05, rel=1e-6)


async def test_shorts_only_where_they_are_allowed() -> None:
    row = rows_of(2, trend_return=[0.5, -0.5], bollinger_z=0.0, breakout=[1.0, -1.0])
    history = swinging(2)
    long_only = await wanted(StrategyAgent(StrategyConfig(), allow_short=False), history, row)
    both = await wanted(StrategyAgent(StrategyConfig(), allow_short=True), history, row)
    assert long_only[0] > 0.0
    assert long_only[1] == 0.0
    assert both[1] < 0.0 < both[0]


async def test_a_symbol_with_too_little_history_is_held() -> None:
    agent = StrategyAgent(StrategyConfig(), allow_short=False)
    history = swinging(3)
    # B has breakout and reversion only: 0.45 of 1, below min_signal_frac 0.5. C's volatility is unknown.
    row = rows_of(
        3,
        trend_return=[0.5, NAN, 0.5],
        bollinger_z=0.0,
        breakout=1.0,
        volatility=[0.01, 0.01, NAN],
    )
    weights = await wanted(agent, history, row, [0.0, 0.2, 0.0])
    assert weights[0] > 0.0
    assert np.isnan(weights[1:]).all()


async def test_a_change_inside_the_band_is_a_hold_and_zero_always_trades() -> None:
    config = StrategyConfig(no_trade_band_frac=0.2, max_gross_frac=1.0)
    agent = StrategyAgent(config, allow_short=False)
    eligible = np.full(4, True)
    # An equal share is 0.25, so the band is 0.05 for small positions and 20 % of large ones.
    result = agent.banded(array(0.10, 0.11, 0.40, 0.0), eligible, array(0.06, 0.05, 0.33, 0.001))
    np.testing.assert_array_equal(result, [HOLD, 0.11, HOLD, 0.0])


def test_what_is_held_inside_the_band_counts_against_the_gross_cap() -> None:
    agent = StrategyAgent(StrategyConfig(no_trade_band_frac=0.1, max_gross_frac=1.0), False)
    eligible = np.full(2, True)
    # A holds 0.52 (wanted 0.50); B wants 0.50 from 0.2: all would be 1.02, so B gets 0.48.
    result = agent.banded(array(0.5, 0.5), eligible, array(0.52, 0.2))
    np.testing.assert_allclose(result, [HOLD, 0.48], atol=1e-8)


async def test_a_view_tilts_by_its_confidence_and_an_abstention_does_not() -> None:
    config = StrategyConfig(
        views_weight=0.5,
        view_full_ratio=1.0,
        bars_per_year=256.0,
        volatility_target_frac=0.01,
        full_signal_frac=1.0,
        no_trade_band_frac=0.0,
    )
    agent = StrategyAgent(config, allow_short=False)
    history, row = swinging(1), rows_of(trend_return=0.5, bollinger_z=0.0, breakout=1.0)

    async def weight(expected: float, confidence: float) -> float:
        views = Views("pool", array(expected), array(confidence))
        return float((await wanted(agent, history, row, views=views))[0])

    # Mix 0.875 over weights 0.8; target 1 % over 16 % of volatility: 0.0625 x conviction.
    plain = 0.0625 * 0.875
    assert await weight(NAN, 0.0) == pytest.approx(plain, abs=1e-8)
    # A view of half a standard deviation (0.005 of 0.01), fully sure: (0.7 + 0.5 x 0.5) / 1.3.
    assert await weight(0.005, 1.0) == pytest.approx(0.0625 * 0.95 / 1.3, abs=1e-8)
    # A neutral view is an opinion: 0.7 / 1.3. Far below it is cut at -1: (0.7 - 0.5) / 1.3.
    assert await weight(0.0, 1.0) == pytest.approx(0.0625 * 0.7 / 1.3, abs=1e-8)
    assert await weight(-1.0, 1.0) == pytest.approx(0.0625 * 0.2 / 1.3, abs=1e-8)


@pytest.mark.parametrize("symbols", [1, 5, 500])
async def test_it_trades_at_any_size_of_universe(symbols: int) -> None:
    draw = np.random.default_rng(symbols)
    closes = 50.0 * np.exp(np.cumsum(draw.normal(0.0, 0.02, (symbols, 80)), axis=1))
    history = at(closing(closes.tolist()))
    weights = await wanted(
        StrategyAgent(StrategyConfig(), False), history, rows_of(symbols, **ALL, volatility=0.02)
    )
    # All signals are up, so nobody is held back by the band and the book is well invested.
    assert not np.isnan(weights).any()
    assert 0.2 < weights.sum() <= 1.0 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.booleans())
def test_wanted_weights_keep_to_the_caps(seed: int, symbols: int, allow_short: bool) -> None:
    draw = np.random.default_rng(seed)
    config = StrategyConfig(max_gross_frac=0.8, max_weight_frac=0.3)
    agent = StrategyAgent(config, allow_short)
    held = draw.uniform(-0.2 if allow_short else 0.0, 0.3, symbols)
    held *= min(1.0, 0.8 / np.abs(held).sum())
    proposal = np.round(draw.uniform(-0.3, 0.3, symbols), 8)
    proposal *= min(1.0, 0.8 / np.abs(proposal).sum())
    if not allow_short:
        proposal = np.abs(proposal)
    result = agent.banded(proposal, draw.random(symbols) > 0.2, held)
    final = np.where(np.isnan(result), held, result)
    assert np.abs(final).sum() <= 0.8 + 1e-7
    assert (np.abs(final) <= np.maximum(np.abs(proposal), np.abs(held)) + 1e-9).all()
