"""What a fill costs, in dollars."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.costs import CostModel, range_volatility_frac, volatility_before


def test_commission_in_basis_points_is_of_the_traded_value() -> None:
    # 10,000 USD x 5 bps = 5 USD; shares do not matter.
    assert CostModel(commission_bps=5.0).commission_usd(10_000.0, 77.0) == 5.0


def test_commission_per_share_counts_raw_shares_and_has_a_minimum() -> None:
    model = CostModel(commission_per_share_usd=0.005, commission_min_usd=1.0)
    assert model.commission_usd(50_000.0, 1_000.0) == 5.0  # 1,000 x 0.005
    assert model.commission_usd(50.0, 100.0) == 1.0  # 0.50, lifted to the minimum


def test_half_the_spread_is_paid_on_the_value() -> None:
    # 20,000 x 2 bps = 4.
    assert CostModel(half_spread_bps=2.0).spread_usd(20_000.0) == 4.0


def test_impact_grows_with_the_square_root_of_participation() -> None:
    model = CostModel(impact_coefficient=1.0)
    # 100,000 x 1 x 0.02 x sqrt(0.01) = 100,000 x 0.002 = 200; four times the part costs twice the rate.
    assert model.impact_usd(100_000.0, 0.01, 0.02) == 200.0
    assert model.impact_usd(100_000.0, 0.04, 0.02) == 400.0


def test_impact_never_takes_more_than_the_value() -> None:
    # 1 x 0.5 x sqrt(100) = 5 times the value, were it not for the bound.
    assert CostModel(impact_coefficient=1.0).impact_usd(1_000.0, 100.0, 0.5) == 1_000.0


@pytest.mark.parametrize("participation", [0.0, math.nan])
def test_without_volume_there_is_no_impact(participation: float) -> None:
    assert CostModel(impact_coefficient=1.0).impact_usd(1_000.0, participation, 0.5) == 0.0


def test_borrowing_costs_the_annual_rate_by_actual_days_over_360() -> None:
    # 36,000 x 100 bps x 3 / 360 = 360 x 3 / 360 = 3.
    assert CostModel(borrow_bps_per_year=100.0).borrow_usd(36_000.0, 3.0) == 3.0


def test_volatility_is_the_sample_deviation_of_the_log_returns_known_before_a_row() -> None:
    # Returns +r, -r, +r, -r, +r, -r with r = ln 1.1: mean 0, variance 6 r^2 / 5 over six of them.
    closes = np.array([10.0, 11.0, 10.0, 11.0, 10.0, 11.0, 10.0, 99.0])
    known = volatility_before(closes, bars=20)
    assert known[7] == pytest.approx(math.log(1.1) * math.sqrt(6.0 / 5.0), rel=1e-12)
    # Row 6 knows five returns, three up and two down: mean r / 5, squares 5 r^2.
    assert known[6] == pytest.approx(math.log(1.1) * math.sqrt((5.0 - 1.0 / 5.0) / 4.0), rel=1e-12)
    # Row 5 knows four returns, which are too few.
    assert np.isnan(known[:6]).all()


def test_volatility_takes_the_last_returns_only_and_passes_over_missing_bars() -> None:
    # Five returns count: after 1.5 it is +r, -r, +r, -r, +r again.
    closes = np.array([10.0, 15.0, 10.0, 11.0, 10.0, 11.0, np.nan, 10.0, 11.0, np.nan])
    known = volatility_before(closes, bars=5)
    assert known[9] == pytest.approx(math.log(1.1) * math.sqrt(1.2), rel=1e-12)
    assert volatility_before(closes[:0], bars=5).shape == (0,)


@given(st.integers(0, 60), st.integers(2, 25), st.integers(0, 10_000))
def test_later_closes_never_change_the_volatility_of_a_row(cut: int, bars: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, 60)))
    closes[rng.random(60) < 0.1] = np.nan
    whole, early = volatility_before(closes, bars), volatility_before(closes[:cut], bars)
    assert whole[:cut].tobytes() == early.tobytes()


def test_the_range_of_a_bar_gives_parkinsons_volatility() -> None:
    # ln(e^0.02) / (2 sqrt(ln 2)) = 0.02 / 1.665109 = 0.012011.
    assert range_volatility_frac(math.exp(0.02), 1.0) == pytest.approx(0.0120112, abs=1e-7)
    assert range_volatility_frac(50.0, 50.0) == 0.0


def test_only_rates_on_value_are_linear() -> None:
    assert CostModel(commission_bps=1.0, half_spread_bps=2.0).linear
    assert CostModel(commission_bps=1.0, half_spread_bps=2.0).linear_frac == pytest.approx(3e-4)
    assert not CostModel(commission_min_usd=1.0).linear
    assert not CostModel(commission_per_share_usd=0.01).linear
    assert not CostModel(impact_coefficient=1.0).linear


@given(st.floats(0.0, 1e7), st.floats(1.0, 3.0), st.floats(0.0, 1.0), st.floats(0.0, 0.2))
def test_no_cost_falls_when_the_order_grows(
    value: float, factor: float, participation: float, sigma: float
) -> None:
    model = CostModel(2.0, 0.01, 1.0, 3.0, 1.0, 50.0)
    more = value * factor
    assert (
        model.commission_usd(more, more / 20.0) >= model.commission_usd(value, value / 20.0) >= 1.0
    )
    assert model.spread_usd(more) >= model.spread_usd(value) >= 0.0
    assert (
        model.impact_usd(more, participation * factor, sigma)
        >= model.impact_usd(value, participation, sigma)
        >= 0.0
    )
