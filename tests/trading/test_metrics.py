"""Figures against arithmetic done by hand and against empyrical-reloaded."""

from __future__ import annotations

import csv
import gzip
import math

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading import metrics
from trading.metrics import FloatArray, Metrics, TimeArray
from trading.sample import SAMPLE_FILE

DAILY = 252.0


MONTH = 30
"""Days between records: two of them are enough for annual figures."""


def days(count: int, first: str = "2020-01-01", every: int = 1) -> TimeArray:
    return np.datetime64(first, "ns") + np.arange(count) * np.timedelta64(every, "D")


def figures(equity: FloatArray, trips: tuple[float, ...] = ()) -> Metrics:
    zeros = np.zeros(len(equity))
    return metrics.compute_metrics(
        equity,
        days(len(equity), every=MONTH),
        exposure_frac=zeros,
        traded_usd=zeros,
        round_trip_pnl_usd=np.array(trips, dtype=float),
        bars_per_year=DAILY,
    )


def curve_of(returns: FloatArray) -> FloatArray:
    return 100_000.0 * np.concatenate(([1.0], np.cumprod(1.0 + returns)))


returns_of_a_run = st.lists(
    st.floats(-0.5, 0.5, allow_subnormal=False), min_size=2, max_size=60
).map(np.array)


def test_a_hand_computed_curve_has_these_figures() -> None:
    # Returns of 100, 110, 99, 108.9: +0.1, -0.1, +0.1; mean 1/30;
    # deviations 2/30, -4/30, 2/30: squares sum to 24/900, / 2 = 0.013333, root 0.1154701.
    found = figures(np.array([100.0, 110.0, 99.0, 108.9]), trips=(30.0, -10.0, 0.0, -5.0))
    assert found.total_return_frac == pytest.approx(0.089)
    assert found.annual_return_frac == pytest.approx(1.089 ** (252 / 3) - 1)
    assert found.volatility_frac == pytest.approx(0.11547005 * math.sqrt(252))
    assert found.sharpe == pytest.approx((1 / 30) / 0.11547005 * math.sqrt(252))
    # Downside: sqrt((0 + 0.01 + 0) / 3) = 0.05773503.
    assert found.sortino == pytest.approx((1 / 30) / 0.05773503 * math.sqrt(252))
    # From 110 to 99: a tenth. Never recovered: from the second day to the fourth, two records.
    assert found.max_drawdown_frac == pytest.approx(0.1)
    assert found.max_drawdown_days == 2.0 * MONTH
    assert found.calmar == pytest.approx((1.089**84 - 1) / 0.1)
    # Sorted -0.1, 0.1, 0.1: the 5th percentile lies a tenth of the way from the first to the second.
    assert found.var_95_frac == pytest.approx(0.08)
    assert found.expected_shortfall_95_frac == pytest.approx(0.1)
    # One of four trips won; 30 won against 15 lost.
    assert found.hit_rate_frac == 0.25
    assert found.profit_factor == 2.0


def test_no_annual_figure_comes_from_fewer_than_thirty_days() -> None:
    equity = np.array([100.0, 104.0, 101.0, 105.0])
    zeros = np.zeros(4)

    def over(last_day: str) -> Metrics:
        times = np.array(
            ["2024-01-02", "2024-01-09", "2024-01-16", last_day], dtype="datetime64[ns]"
        )
        return metrics.compute_metrics(
            equity, times, exposure_frac=zeros, traded_usd=zeros, round_trip_pnl_usd=np.empty(0),
            bars_per_year=52.0,
        )  # fmt: skip

    # 29 days to the 31st of January, 30 to the first of February.
    short, enough = over("2024-01-31").to_dict(), over("2024-02-01").to_dict()
    annual = {
        "annual_return_frac", "volatility_frac", "sharpe", "sortino", "calmar", "turnover_frac_per_year",
    }  # fmt: skip
    assert {name for name, value in short.items() if value is None} == annual | {
        "hit_rate_frac",
        "profit_factor",
    }
    assert enough["annual_return_frac"] == pytest.approx(1.05 ** (52 / 3) - 1)
    for name in set(short) - annual - {"max_drawdown_days"}:
        assert short[name] == enough[name], name


def test_turnover_counts_one_way_against_the_equity_before() -> None:
    # All cash into one asset and out again within a year of four bars: 100/100 + 110/110 = 2, one way 1.
    equity = np.array([100.0, 100.0, 110.0, 110.0, 110.0])
    traded = np.array([0.0, 100.0, 0.0, 110.0, 0.0])
    assert metrics.turnover(traded, equity, bars_per_year=4.0) == pytest.approx(1.0)
    assert metrics.turnover(traded, equity, bars_per_year=8.0) == pytest.approx(2.0)


def test_exposure_is_the_mean_over_the_records() -> None:
    assert metrics.mean_exposure(np.array([0.0, 0.5, 1.0])) == 0.5


def test_figures_that_do_not_exist_are_none() -> None:
    flat = figures(np.full(5, 100.0), trips=(1.0,))
    assert (flat.volatility_frac, flat.total_return_frac, flat.annual_return_frac) == (
        0.0,
        0.0,
        0.0,
    )
    assert (flat.sharpe, flat.sortino, flat.calmar, flat.profit_factor) == (None,) * 4
    steady = figures(curve_of(np.full(300, 0.001)))
    assert (steady.sharpe, steady.sortino, steady.calmar) == (None,) * 3
    assert (steady.var_95_frac, steady.max_drawdown_days) == (0.0, 0.0)
    one = figures(np.array([100.0]))
    assert (one.total_return_frac, one.max_drawdown_frac, one.exposure_frac) == (0.0, 0.0, 0.0)
    others = one.to_dict().keys() - {
        "total_return_frac", "max_drawdown_frac", "max_drawdown_days", "exposure_frac",
    }  # fmt: skip
    assert {one.to_dict()[name] for name in others} == {None}
    assert set(figures(np.empty(0)).to_dict().values()) == {None}


def test_growth_too_large_for_a_number_is_none() -> None:
    # e ** (252 x 252 x ln 1.5) is beyond 1e308.
    assert metrics.annual_return(np.array([100.0, 150.0]), 252.0 * 252.0) is None


def test_bankruptcy_ends_the_returns_and_keeps_the_loss() -> None:
    # 100 -> 120 -> -30 -> -10: the return into ruin is -30/120 - 1 = -1.25, then returns end.
    equity = np.array([100.0, 120.0, -30.0, -10.0])
    assert metrics.simple_returns(equity).tolist() == pytest.approx([0.2, -1.25])
    found = figures(equity)
    assert found.total_return_frac == pytest.approx(-1.1)
    assert found.annual_return_frac == -1.0
    assert found.max_drawdown_frac == pytest.approx(1.25)
    assert found.calmar == pytest.approx(-0.8)
    assert found.turnover_frac_per_year is None


def test_the_five_worst_drawdowns_are_found_with_their_dates() -> None:
    # Day 1 at 110 falls to 99 on day 2 (10 %), is back on day 4 after a lower high on day 3;
    # day 5 at 120 falls to 60 on day 7 (50 %) and is not back on the last day, 8.
    equity = np.array([100.0, 110.0, 99.0, 105.0, 110.0, 120.0, 90.0, 60.0, 100.0])
    when = days(9)
    deep, shallow = metrics.drawdowns(equity, when)
    assert (deep.peak, deep.trough, deep.recovery) == (when[5], when[7], None)
    assert (deep.depth_frac, deep.days) == (0.5, 3.0)
    assert (shallow.peak, shallow.trough, shallow.recovery) == (when[1], when[2], when[4])
    assert (shallow.depth_frac, shallow.days) == (pytest.approx(0.1), 3.0)
    assert deep.to_dict()["peak"] == "2020-01-06T00:00:00Z"


def test_the_longest_drawdown_need_not_be_the_deepest() -> None:
    # Half lost for two records (0 to 2); then a tenth for four (2 to 6).
    equity = np.array([100.0, 50.0, 100.0, 90.0, 90.0, 90.0, 101.0])
    found = figures(equity)
    assert (found.max_drawdown_frac, found.max_drawdown_days) == (0.5, 4.0 * MONTH)


def test_calendar_returns_chain_from_the_end_of_the_period_before() -> None:
    when = np.array(
        ["2019-12-30", "2019-12-31", "2020-01-02", "2020-02-03"], dtype="datetime64[ns]"
    )
    equity = np.array([100.0, 110.0, 121.0, 60.5])
    assert metrics.yearly_returns(equity, when) == pytest.approx({2019: 0.1, 2020: 60.5 / 110 - 1})
    assert metrics.monthly_returns(equity, when) == pytest.approx(
        {(2019, 12): 0.1, (2020, 1): 0.1, (2020, 2): -0.5}
    )


def agree(ours: float | None, theirs: float, absolute: float = 1e-12) -> None:
    """Equal; where empyrical says NaN or infinite, ours is None."""
    if ours is None:
        assert not math.isfinite(theirs)
    else:
        assert ours == pytest.approx(theirs, rel=1e-8, abs=absolute)


def compare(returns: FloatArray) -> None:
    equity = curve_of(returns)
    found = figures(equity)
    agree(found.total_return_frac, float(empyrical.cum_returns_final(returns)))
    agree(found.annual_return_frac, float(empyrical.annual_return(returns)))
    agree(found.volatility_frac, float(empyrical.annual_volatility(returns)), absolute=1e-10)
    agree(found.max_drawdown_frac, -float(empyrical.max_drawdown(returns)))
    agree(found.var_95_frac, max(0.0, -float(empyrical.value_at_risk(returns))))
    agree(
        found.expected_shortfall_95_frac,
        max(0.0, -float(empyrical.conditional_value_at_risk(returns))),
    )
    # Below this, both divide rounding noise of the equity curve by rounding noise.
    if np.std(returns) > 1e-8:
        agree(found.sharpe, float(empyrical.sharpe_ratio(returns)), absolute=1e-6)
        if np.min(returns) < -1e-8:
            agree(found.sortino, float(empyrical.sortino_ratio(returns)), absolute=1e-6)
    if float(empyrical.max_drawdown(returns)) < -1e-8:
        agree(found.calmar, float(empyrical.calmar_ratio(returns)), absolute=1e-6)


@settings(max_examples=150, deadline=None)
@given(returns_of_a_run)
def test_figures_agree_with_empyrical_on_random_returns(returns: FloatArray) -> None:
    compare(returns)


def test_figures_agree_with_empyrical_on_the_sample() -> None:
    closes: dict[str, list[float]] = {}
    with gzip.open(SAMPLE_FILE, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            closes.setdefault(row["symbol"], []).append(float(row["adj_close"]))
    for values in closes.values():
        close = np.array(values)
        compare(close[1:] / close[:-1] - 1.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40).map(np.array))
def test_no_figure_is_ever_nan_and_losses_are_never_negative(equity: FloatArray) -> None:
    found = figures(equity)
    assert all(value is None or math.isfinite(value) for value in found.to_dict().values())
    for loss in (found.max_drawdown_frac, found.var_95_frac, found.expected_shortfall_95_frac):
        assert loss is None or loss >= 0.0
    worst = metrics.drawdowns(equity, days(len(equity)))
    assert [each.depth_frac for each in worst] == sorted(
        (e.depth_frac for e in worst), reverse=True
    )
    assert (worst[0].depth_frac if worst else 0.0) == found.max_drawdown_frac


@settings(max_examples=50, deadline=None)
@given(returns_of_a_run, st.floats(0.01, 100.0))
def test_ratios_do_not_depend_on_the_size_of_the_account(returns: FloatArray, size: float) -> None:
    ours, scaled = figures(curve_of(returns)), figures(curve_of(returns) * size)
    assert scaled.max_drawdown_frac == pytest.approx(ours.max_drawdown_frac, abs=1e-12)
    assert scaled.volatility_frac == pytest.approx(ours.volatility_frac, abs=1e-9)
