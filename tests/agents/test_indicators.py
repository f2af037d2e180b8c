"""Indicators: hand-computed values, and the same bits from a prefix, a stream and a restart."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.indicators import (
    OWN,
    IndicatorRow,
    PanelIndicators,
    StreamIndicators,
    Windows,
    cross_section_rank,
    donchian_direction,
    own_indicators,
    realised_volatility,
    skipped_momentum,
)
from core.config import AgentsConfig, AnalystConfig, StrategyConfig
from tests.agents.books import at, closing
from tests.fakes import cut_bars, random_bars
from trading.history import Tape
from trading.market_data import load_panel
from trading.panel import Panel, build_panel

SHORT = AgentsConfig(
    analyst=AnalystConfig(
        ema_bars=3,
        sma_bars=5,
        macd_fast_bars=3,
        macd_slow_bars=6,
        macd_signal_bars=2,
        rsi_bars=3,
        bollinger_bars=4,
        atr_bars=3,
        adx_bars=3,
        volatility_bars=4,
        momentum_bars=8,
        momentum_skip_bars=2,
    ),
    strategy=StrategyConfig(time_series_bars=7, breakout_bars=4),
)


def same_bits(one: IndicatorRow, other: IndicatorRow) -> bool:
    return all(
        np.ascontiguousarray(getattr(one, field.name)).tobytes()
        == np.ascontiguousarray(getattr(other, field.name)).tobytes()
        for field in fields(IndicatorRow)
        if field.name != "row"
    )


def test_momentum_skips_the_last_bars() -> None:
    # Over 3 bars, skipping 1: close[t-1] / close[t-3] - 1 = 12 / 10 - 1, then 9 / 11 - 1.
    momentum = skipped_momentum(np.array([10.0, 11.0, 12.0, 9.0]), 3, 1)
    assert np.isnan(momentum[:3]).all()
    assert momentum[3] == 12.0 / 10.0 - 1.0
    assert skipped_momentum(np.array([10.0, 11.0, 12.0, 9.0, 9.0]), 3, 1)[4] == 9.0 / 11.0 - 1.0


def test_volatility_is_the_root_mean_square_return() -> None:
    # sqrt((0.03^2 + 0.04^2) / 2) = sqrt(0.00125) = 0.0353553...
    volatility = realised_volatility(np.array([0.03, -0.04]), 2)
    assert volatility[1] == pytest.approx(0.00125**0.5, rel=1e-12)


def test_a_breakout_lasts_until_the_opposite_one() -> None:
    close = np.array([10.0, 10.0, 11.0, 10.5, 9.0, 9.5])
    # Channel of the two bars before: rows 2 to 5 see (10, 10), (11, 10), (11, 10), (10.5, 9).
    upper = np.array([np.nan, 10.0, 11.0, 11.0, 10.5, 9.5])
    lower = np.array([np.nan, 10.0, 10.0, 10.5, 9.0, 9.0])
    direction = donchian_direction(close, upper, lower)
    assert np.isnan(direction[:2]).all()
    assert direction[2:].tolist() == [1.0, 1.0, -1.0, -1.0]


def test_ties_share_a_rank_and_one_symbol_has_none() -> None:
    # Ordered 1, 2, 2, 5 stand at 0, 1.5, 1.5, 3 of 3.
    ranks = cross_section_rank(np.array([2.0, np.nan, 5.0, 1.0, 2.0]))
    np.testing.assert_array_equal(ranks, [0.5, np.nan, 1.0, 0.0, 0.5])
    assert np.isnan(cross_section_rank(np.array([np.nan, 3.0]))).all()


def test_a_price_that_never_moves_has_no_band_and_no_range() -> None:
    row = PanelIndicators(closing([[7.0] * 30]), SHORT).at(at(closing([[7.0] * 30])))
    assert (row.bollinger_z[0], row.atr[0], row.volatility[0], row.breakout[0]) == (0, 0, 0, 0)
    assert row.sma[0] == row.ema[0] == 7.0


def test_a_row_without_a_bar_repeats_the_last_values() -> None:
    bars = random_bars(3, 2, 40)
    times, values = bars["Y1"]
    keep = np.arange(len(times)) != len(times) - 3
    panel = build_panel({"Z0": bars["Z0"], "Y1": (times[keep], values[:, keep])}, name="gap")
    column = panel.symbols.index("Y1")
    gap = int(np.searchsorted(panel.times, times[-3]))
    indicators = PanelIndicators(panel, SHORT)
    before, after = indicators.at(at(panel, gap - 1)), indicators.at(at(panel, gap))
    for name in OWN:
        np.testing.assert_array_equal(getattr(after, name)[column], getattr(before, name)[column])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(2, 80), st.integers(1, 79))
def test_every_indicator_of_a_prefix_has_the_bits_of_the_whole(
    seed: int, length: int, cut: int
) -> None:
    draw = np.random.default_rng(seed)
    close = np.exp(np.cumsum(draw.normal(0.0, 0.03, length)))
    high, low = close * (1.0 + draw.random(length) / 50), close * (1.0 - draw.random(length) / 50)
    cut = min(cut, length)
    windows = Windows.of(SHORT)
    whole = own_indicators(high, low, close, windows)
    prefix = own_indicators(high[:cut], low[:cut], close[:cut], windows)
    for name, longer, shorter in zip(OWN, whole, prefix, strict=True):
        assert longer[:cut].tobytes() == shorter.tobytes(), name


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 6), st.integers(0, 59))
def test_rows_do_not_depend_on_later_rows_and_symbols(seed: int, symbols: int, row: int) -> None:
    bars = random_bars(seed, symbols, 60)
    panel = build_panel(bars, name="random")
    row = min(row, panel.rows - 1)
    earlier = build_panel(cut_bars(bars, panel.times[row]), name="random")
    whole, prefix = PanelIndicators(panel, SHORT), PanelIndicators(earlier, SHORT)
    assert same_bits(whole.at(at(panel, row)), prefix.at(at(earlier, row)))


def stream_equals_panel(panel: Panel, config: AgentsConfig, start: int) -> None:
    whole, stream = PanelIndicators(panel, config), StreamIndicators(config)
    tape = Tape(panel, 10)
    for row in range(panel.rows):
        tape.reveal(row)
        if row >= start:
            history = tape.upto(row)
            assert same_bits(stream.at(history), whole.at(history)), row


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 5), st.integers(0, 59))
def test_the_stream_gives_the_bits_of_the_panel_from_any_start(
    seed: int, symbols: int, start: int
) -> None:
    stream_equals_panel(build_panel(random_bars(seed, symbols, 60), name="random"), SHORT, start)


@pytest.mark.parametrize("start", [0, 2_900])
def test_the_stream_gives_the_bits_of_the_panel_on_the_sample(start: int) -> None:
    stream_equals_panel(load_panel(), AgentsConfig(), start)


def test_a_stream_that_missed_rows_reads_them_again() -> None:
    panel = build_panel(random_bars(5, 3, 60), name="random")
    whole, stream = PanelIndicators(panel, SHORT), StreamIndicators(SHORT)
    for row in (10, 11, 40, 41, 59):
        assert same_bits(stream.at(at(panel, row)), whole.at(at(panel, row)))
