"""The risk manager: each limit by hand, and what holds for all of them together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.risk_manager import DrawdownState, RiskManager, next_drawdown
from core.config import RiskConfig
from core.errors import DataError
from core.types import Verdict
from tests.agents.books import HOLD, FloatArray, array, at, book, closing, still
from tests.fakes import random_bars
from trading.history import History
from trading.panel import build_panel

OFF: dict[str, Any] = {
    "max_position_frac": None,
    "max_gross_frac": None,
    "max_net_frac": None,
    "max_turnover_frac": None,
    "max_correlation": None,
    "max_sector_frac": None,
    "max_var_frac": None,
    "max_expected_shortfall_frac": None,
    "reduce_drawdown_frac": None,
    "halt_drawdown_frac": None,
}


def manager(allow_short: bool = True, **limits: Any) -> RiskManager:
    """A manager with only these limits on."""
    return RiskManager(RiskConfig(**{**OFF, **limits}), allow_short)


def review(
    risk: RiskManager, wanted: FloatArray, held: list[float] | None = None, history: Any = None
) -> tuple[list[float], dict[str, tuple[float, float, tuple[str, ...]]]]:
    history = history or at(still(len(wanted)))
    state = book(history, held or [0.0] * len(wanted))
    accepted, verdict = risk.review(wanted, history, state)
    rows = {each.symbol: (each.wanted_frac, each.allowed_frac, each.reasons) for each in verdict}
    return accepted.tolist(), rows


# --- one limit at a time


def test_without_limits_everything_passes_untouched() -> None:
    wanted = array(3.0, -2.0, HOLD)
    accepted, verdict = review(manager(), wanted, [0.0, 0.0, 0.7])
    assert accepted[:2] == [3.0, -2.0]
    assert math.isnan(accepted[2])
    assert verdict == {}


def test_a_short_that_is_not_allowed_becomes_flat() -> None:
    accepted, verdict = review(manager(allow_short=False), array(0.2, -0.3))
    assert accepted == [0.2, 0.0]
    assert verdict == {"B": (-0.3, 0.0, ("short_not_allowed",))}


def test_a_position_is_cut_to_the_limit() -> None:
    accepted, verdict = review(manager(max_position_frac=0.25), array(0.4, -0.3, 0.2))
    assert accepted == [0.25, -0.25, 0.2]
    assert verdict["A"] == (0.4, 0.25, ("position_limit",))


def test_a_holding_may_drift_a_little_past_the_limit() -> None:
    risk = manager(max_position_frac=0.25, tolerance_frac=0.1)
    # Up to 0.275 a holding is left alone; past it, it is cut back to 0.25.
    accepted, verdict = review(risk, array(HOLD, HOLD), [0.27, 0.28])
    assert math.isnan(accepted[0])
    assert accepted[1] == 0.25
    assert verdict == {"B": (0.28, 0.25, ("position_limit",))}


def test_turnover_scales_what_is_added_and_never_what_is_sold() -> None:
    # One-way 0.25 a step is 0.5 bought and sold together. Selling A takes 0.3 of it, which leaves 0.2
    # for the 0.4 that B and C want: half of each.
    accepted, verdict = review(
        manager(max_turnover_frac=0.25), array(0.0, 0.3, 0.3), [0.3, 0.1, 0.1]
    )
    assert accepted == [0.0, 0.2, 0.2]
    assert verdict == {
        "B": (0.3, 0.2, ("turnover_limit",)),
        "C": (0.3, 0.2, ("turnover_limit",)),
    }
    # Reductions alone may exceed it.
    assert review(manager(max_turnover_frac=0.1), array(0.0, 0.0), [0.5, 0.5]) == ([0.0, 0.0], {})


def test_turnover_does_not_hold_back_what_a_later_limit_sells() -> None:
    risk = manager(max_turnover_frac=0.01, max_gross_frac=0.5)
    accepted, verdict = review(risk, array(HOLD, HOLD), [0.5, 0.5])
    assert accepted == [0.25, 0.25]
    assert verdict["A"][2] == ("gross_limit",)


def test_a_change_of_side_is_a_sale_and_an_addition() -> None:
    # From +0.2 to -0.4: 0.2 sold, 0.4 added. Of 0.4 in all, the sale takes 0.2, so half the short.
    accepted, _ = review(manager(max_turnover_frac=0.2), array(-0.4), [0.2])
    assert accepted == [-0.2]


def test_gross_scales_every_weight_alike() -> None:
    accepted, verdict = review(manager(max_gross_frac=1.0), array(0.8, -0.8))
    assert accepted == [0.5, -0.5]
    assert verdict["B"] == (-0.8, -0.5, ("gross_limit",))


def test_net_scales_the_longer_side_only() -> None:
    # Net 0.9 - 0.1 = 0.8, limit 0.5: the longs shrink to 0.6, by 2/3.
    accepted, verdict = review(manager(max_net_frac=0.5), array(0.6, 0.3, -0.1))
    assert accepted == [0.4, 0.2, -0.1]
    assert set(verdict) == {"A", "B"}


def test_a_sector_is_scaled_and_others_are_not() -> None:
    risk = manager(max_sector_frac=0.4, sectors={"A": "tech", "B": "tech", "C": "energy"})
    accepted, verdict = review(risk, array(0.4, 0.4, 0.3, 0.9))
    assert accepted == [0.2, 0.2, 0.3, 0.9]
    assert verdict["A"] == (0.4, 0.2, ("sector_limit",))


def zigzag(steps: list[float]) -> list[float]:
    closes = [100.0]
    for step in steps:
        closes.append(closes[-1] * (1.0 + step))
    return closes


def test_nothing_is_added_to_a_large_position_that_follows_the_portfolio() -> None:
    steps = [0.01, -0.01, 0.02, -0.02] * 5
    other = [0.01, 0.01, -0.01, -0.01] * 5
    history = at(closing([zigzag(steps), zigzag(steps), zigzag(other)]))
    limits = {"max_correlation": 0.9, "correlated_position_frac": 0.1, "min_lookback_bars": 2}
    # A and B move together, C on its own. Alone, A and B have correlation 1 with the rest.
    accepted, verdict = review(manager(**limits), array(0.3, 0.1, 0.0), history=history)
    assert accepted == [0.1, 0.1, 0.0]
    assert verdict == {"A": (0.3, 0.1, ("correlation_limit",))}
    # What is held stays, and is not added to: A stands at 0.2 either way.
    accepted, verdict = review(manager(**limits), array(0.3, HOLD, 0.0), [0.2, 0.2, 0.0], history)
    assert math.isnan(accepted[0])
    assert verdict == {"A": (0.3, 0.2, ("correlation_limit",))}
    # Against a short of the same, A hedges: nothing is cut.
    assert review(manager(**limits), array(0.3, -0.2, 0.0), history=history)[1] == {}
    assert review(manager(**limits), array(0.3, 0.0, 0.3), history=history)[1] == {}


def test_var_and_shortfall_are_those_of_the_weighted_portfolio() -> None:
    # Twenty returns; the worst two of a 10 % tail of A are -6 % and -4 %.
    steps = [-0.06, -0.04, *[0.01] * 18]
    history = at(closing([zigzag(steps), [50.0] * 21]))
    tail: dict[str, Any] = {"var_tail_frac": 0.1, "lookback_bars": 20, "min_lookback_bars": 2}
    # VaR of weight 1 in A is 0.04 (the second worst), expected shortfall 0.05 (the mean).
    accepted, verdict = review(manager(max_var_frac=0.02, **tail), array(1.0, 1.0), history=history)
    assert accepted == pytest.approx([0.5, 0.5])
    assert verdict["A"][2] == ("var_limit",)
    accepted, verdict = review(
        manager(max_expected_shortfall_frac=0.02, **tail), array(1.0, 1.0), history=history
    )
    assert accepted == pytest.approx([0.4, 0.4])
    assert verdict["A"][2] == ("es_limit",)
    # Both breached: the tighter one is named last. 0.02 / 0.04 = 0.5 against 0.01 / 0.05 = 0.2.
    both = manager(max_var_frac=0.02, max_expected_shortfall_frac=0.01, **tail)
    accepted, verdict = review(both, array(1.0, 0.0), history=history)
    assert accepted == pytest.approx([0.2, 0.0])
    assert verdict["A"][2] == ("var_limit", "es_limit")


def test_too_few_returns_say_nothing_about_the_tail() -> None:
    history = at(closing([zigzag([-0.5, 0.1]), [50.0] * 3]))
    risk = manager(max_var_frac=0.01, min_lookback_bars=60)
    assert review(risk, array(1.0, 0.0), history=history)[1] == {}


def test_a_symbol_that_may_not_be_traded_is_sold() -> None:
    bars = random_bars(4, 2, 12)
    member = {"Y1": (None, bars["Z0"][0][9])}
    panel = build_panel(bars, name="random", members=member)
    history = at(panel)
    column = panel.symbols.index("Y1")
    assert history.barred is not None
    assert history.barred[column]
    wanted, held = [0.2, 0.2], [0.2, 0.2]
    wanted[column] = HOLD
    accepted, verdict = review(manager(), np.array(wanted), held, history)
    assert accepted[column] == 0.0
    assert verdict == {"Y1": (0.2, 0.0, ("not_tradable",))}


def test_reasons_stand_in_order_with_the_binding_one_last() -> None:
    risk = manager(max_position_frac=0.6, max_gross_frac=0.8)
    accepted, verdict = review(risk, array(0.9, 0.6))
    # First 0.9 -> 0.6, then both scaled by 0.8 / 1.2.
    assert accepted == pytest.approx([0.4, 0.4])
    assert verdict["A"][2] == ("position_limit", "gross_limit")
    assert verdict["B"][2] == ("gross_limit",)


def test_an_addition_that_limits_leave_almost_nothing_of_is_a_hold() -> None:
    risk = manager(max_gross_frac=1.0, tolerance_frac=0.05)
    # Wanted 0.6 each is scaled to 0.5 each, which is within 5 % of the 0.49 held: no order for it.
    accepted, verdict = review(risk, array(0.6, 0.6), [0.49, 0.4])
    assert math.isnan(accepted[0])
    assert accepted[1] == 0.5
    assert verdict["A"] == (0.6, 0.49, ("gross_limit",))


def test_limits_are_not_breached_by_rounding() -> None:
    risk = manager(max_gross_frac=1.0, max_net_frac=1.0, max_position_frac=1.0 / 3.0)
    wanted = np.full(3, 0.33333334)
    assert review(risk, wanted)[1] == {}


# --- drawdown


DRAWDOWN = RiskConfig(
    **{
        **OFF,
        "reduce_drawdown_frac": 0.1,
        "halt_drawdown_frac": 0.2,
        "recover_drawdown_frac": 0.05,
        "reducing_gross_frac": 0.5,
        "reducing_bars": 2,
        "halt_bars": 3,
    }
)


def test_the_drawdown_states_and_their_way_back() -> None:
    state = DrawdownState()
    seen = []
    for equity in (100, 95, 90, 96, 96, 80, 80, 80, 80, 80, 80):
        state = next_drawdown(state, float(equity), DRAWDOWN)
        seen.append((state.mode, state.peak_equity_usd, state.bars_in_mode))
    assert seen == [
        ("active", 100.0, 1),
        ("active", 100.0, 2),
        ("reducing", 100.0, 1),  # 10 % below the peak
        ("reducing", 100.0, 2),  # recovered, but too early
        ("active", 100.0, 1),  # two bars reducing, 4 % below
        ("halted", 100.0, 1),  # 20 % below
        ("halted", 100.0, 2),
        ("halted", 100.0, 3),
        ("reducing", 80.0, 1),  # back in, the peak is now 80
        ("reducing", 80.0, 2),
        ("active", 80.0, 1),
    ]


def test_reducing_halves_the_book_and_a_halt_empties_it() -> None:
    history = at(still(2))
    risk = RiskManager(DRAWDOWN, allow_short=True)

    def step(equity: float, wanted: FloatArray, held: list[float]) -> tuple[list[float], Any]:
        accepted, verdict = risk.review(wanted, history, book(history, held, equity))
        return accepted.tolist(), [each.reasons for each in verdict]

    assert step(100.0, array(0.5, 0.5), [0.0, 0.0]) == ([0.5, 0.5], [])
    reduced = step(90.0, array(HOLD, HOLD), [0.5, 0.5])
    assert reduced == ([0.25, 0.25], [("drawdown_reducing",)] * 2)
    halted = step(80.0, array(HOLD, 0.5), [0.25, 0.25])
    assert halted == ([0.0, 0.0], [("drawdown_halted",)] * 2)


@given(st.lists(st.floats(1.0, 1_000.0), min_size=1, max_size=200))
def test_no_halt_lasts_longer_than_its_bars(equities: list[float]) -> None:
    state, halted = DrawdownState(), 0
    for equity in equities:
        state = next_drawdown(state, equity, DRAWDOWN)
        halted = halted + 1 if state.mode == "halted" else 0
        assert halted <= DRAWDOWN.halt_bars


def test_the_saved_state_is_read_back() -> None:
    one, other = RiskManager(DRAWDOWN, False), RiskManager(DRAWDOWN, False)
    history = at(still(1))
    for equity in (100.0, 70.0):
        one.review_one(0.5, history, book(history, [0.0], equity))
    other.load_state_dict(one.state_dict())
    assert other.drawdown == one.drawdown == DrawdownState("halted", 100.0, 1)


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(DataError, match="saved risk state"):
        RiskManager(DRAWDOWN, False).load_state_dict({"mode": "sleeping"})


# --- what holds for all limits together


weights = st.floats(-2.0, 2.0).map(lambda weight: round(weight, 8))


@st.composite
def cases(draw: st.DrawFn, symbols: int | None = None) -> tuple[RiskConfig, bool, Any, Any, int]:
    """(limits, allow_short, wanted, held, seed of the prices)."""
    count = symbols or draw(st.integers(2, 6))
    small = st.none() | st.floats(0.01, 1.5)
    tiny = st.none() | st.floats(0.001, 0.1)
    config = RiskConfig(
        **{
            **OFF,
            "max_position_frac": draw(small),
            "max_gross_frac": draw(small),
            "max_net_frac": draw(small),
            "max_turnover_frac": draw(small),
            "max_correlation": draw(st.none() | st.floats(0.01, 1.0)),
            "correlated_position_frac": draw(st.floats(0.0, 0.5)),
            "max_sector_frac": draw(small),
            "sectors": {"Z0": "one", "Y1": "one", "X2": "two"},
            "max_var_frac": draw(tiny),
            "max_expected_shortfall_frac": draw(tiny),
            "lookback_bars": 20,
            "min_lookback_bars": 5,
            "tolerance_frac": draw(st.sampled_from([0.0, 0.05])),
            **draw(st.sampled_from([{}, {"reduce_drawdown_frac": 0.2, "halt_drawdown_frac": 0.6}])),
        }
    )
    allow_short = draw(st.booleans())
    wanted = draw(st.lists(weights | st.just(HOLD), min_size=count, max_size=count))
    held = draw(st.lists(weights, min_size=count, max_size=count))
    return config, allow_short, wanted, held, draw(st.integers(0, 50))


def priced(seed: int, symbols: int) -> History:
    return at(build_panel(random_bars(seed, symbols, 30), name="random"))


def after_loss(config: RiskConfig, allow_short: bool, history: History, loss: float) -> RiskManager:
    """A manager whose book stood higher one step ago."""
    risk = RiskManager(config, allow_short)
    risk.review(
        np.full(len(history.symbols), np.nan),
        history,
        book(history, [0.0] * len(history.symbols), 1_000.0 / (1.0 - loss)),
    )
    return risk


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from([0.0, 0.3]))
def test_no_weight_grows_and_no_sign_turns(case: Any, loss: float) -> None:
    config, allow_short, wanted, held, seed = case
    history = priced(seed, len(wanted))
    count = len(history.symbols)
    wanted, held = np.array(wanted[:count]), held[:count]
    state = book(history, held)
    accepted, verdict = after_loss(config, allow_short, history, loss).review(
        wanted, history, state
    )
    start = np.where(np.isnan(wanted), state.weight_array, wanted)
    final = np.where(np.isnan(accepted), state.weight_array, accepted)
    assert (np.abs(final) <= np.abs(start) + 1e-9).all()
    assert (final * start >= 0.0).all()
    changed = {each.symbol for each in verdict}
    for column, symbol in enumerate(history.symbols):
        same = accepted[column] == wanted[column] or math.isnan(accepted[column] + wanted[column])
        assert (symbol in changed) or same
    assert all(each.reasons for each in verdict)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_targets_that_were_asked_for_end_within_the_limits(case: Any) -> None:
    config, allow_short, wanted, _, seed = case
    history = priced(seed, len(wanted))
    wanted = np.nan_to_num(np.array(wanted[: len(history.symbols)]), nan=0.1)
    flat = book(history, [0.0] * len(wanted))
    accepted, _ = RiskManager(config, allow_short).review(wanted, history, flat)
    rounding = 1e-6 + 1e-7 * len(wanted)
    if config.max_position_frac is not None:
        assert np.abs(accepted).max() <= config.max_position_frac + rounding
    if config.max_gross_frac is not None:
        assert np.abs(accepted).sum() <= config.max_gross_frac + rounding
    if config.max_turnover_frac is not None:
        assert np.abs(accepted).sum() <= 2.0 * config.max_turnover_frac + rounding
    returns = history.mark[1:] / history.mark[:-1] - 1.0
    if config.max_var_frac is not None and not np.isnan(returns).any():
        outcome = np.sort(returns[-20:] @ accepted)
        tail = outcome[: max(1, int(config.var_tail_frac * len(outcome)))]
        assert -tail[-1] <= config.max_var_frac + 1e-5


@settings(max_examples=200, deadline=None)
@given(cases(symbols=1), st.sampled_from([0.0, 0.3, 0.7]))
def test_one_symbol_in_scalars_gets_the_verdict_of_the_arrays(case: Any, loss: float) -> None:
    config, allow_short, wanted, held, seed = case
    history = priced(seed, 1)
    state = book(history, held)
    scalar = after_loss(config, allow_short, history, loss)
    arrays = after_loss(config, allow_short, history, loss)
    one, said = scalar.review_one(wanted[0], history, state)
    many, more = arrays.review_many(np.array(wanted), history, state.weight_array, state.equity_usd)
    assert np.array([one]).tobytes() == many.tobytes()
    assert said == more
    assert scalar.drawdown == arrays.drawdown


def test_the_default_limits_pass_a_spread_book() -> None:
    history = at(still(5, rows=80))
    risk = RiskManager(RiskConfig(), allow_short=False)
    accepted, verdict = risk.review(np.full(5, 0.1), history, book(history, [0.0] * 5))
    assert accepted.tolist() == [0.1] * 5
    assert verdict == ()
    one = at(still(1, rows=80))
    assert risk.review_one(0.9, one, book(one, [0.0])) == (
        0.5,
        (Verdict("A", 0.9, 0.5, ("position_limit",)),),
    )
