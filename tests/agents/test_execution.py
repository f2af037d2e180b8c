"""Execution: targets become orders, from the last close alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.execution import SAME_WEIGHT, ExecutionAgent
from core.config import ExecutionConfig
from core.types import OrderIntent, Target
from tests.agents.books import HOLD, array, at, book, closing, still
from tests.fakes import make_panel

MARKET = ExecutionAgent(ExecutionConfig())


def test_a_market_order_carries_the_target_value_and_no_quantity() -> None:
    history = at(still(3))
    intents, cancelled = MARKET.orders(
        array(0.3, 0.0, 0.1), history, book(history, [0.1, 0.2, 0.1])
    )
    # Equity 1,000: A goes to 300, B to nothing, C stays and its working order ends.
    assert intents == (
        OrderIntent(0, "A", "buy", "market", 300.0),
        OrderIntent(1, "B", "sell", "market", 0.0),
    )
    assert cancelled == (2,)


def test_a_hold_neither_orders_nor_cancels() -> None:
    history = at(still(2))
    assert MARKET.orders(array(HOLD, HOLD), history, book(history, [0.4, 0.0])) == ((), ())
    assert MARKET.orders_one(HOLD, at(still(1)), book(at(still(1)), [0.4])) == ((), ())


def test_covering_a_short_buys() -> None:
    history = at(still(1))
    intents, _ = MARKET.orders_one(0.0, history, book(history, [-0.5]))
    assert intents == (OrderIntent(0, "A", "buy", "market", 0.0),)


def test_a_limit_order_fixes_its_quantity_at_the_close() -> None:
    agent = ExecutionAgent(ExecutionConfig(style="limit", limit_offset_bps=50.0, limit_tif="gtc"))
    history = at(still(2))
    intents, _ = agent.orders(array(0.5, 0.0), history, book(history, [0.2, 0.3]))
    # Price 10, equity 1,000. A: 500 / 10 - 20 = +30 shares, half a percent below. B: all 30 sold above.
    assert intents == (
        OrderIntent(0, "A", "buy", "limit", quantity=30.0, limit_price=9.95, tif="gtc"),
        OrderIntent(1, "B", "sell", "limit", quantity=-30.0, limit_price=10.05, tif="gtc"),
    )


def test_a_users_target_brings_its_own_prices_and_tag() -> None:
    history = at(still(3))
    targets = {
        0: Target(0.5, limit_price=9.0, tag="dip", tif="gtc"),
        1: Target(0.0, limit_price=8.0, stop_price=9.0),
        2: Target(0.1, tag="plain"),
    }
    intents, cancelled = MARKET.orders(
        array(0.5, 0.0, 0.1), history, book(history, [0.2, 0.3, 0.0]), targets
    )
    assert intents == (
        OrderIntent(0, "A", "buy", "limit", quantity=30.0, limit_price=9.0, tif="gtc", tag="dip"),
        OrderIntent(1, "B", "sell", "stop_limit", quantity=-30.0, limit_price=8.0, stop_price=9.0),
        OrderIntent(2, "C", "buy", "market", 100.0, tag="plain"),
    )
    assert cancelled == ()
    one, _ = MARKET.orders_one(
        1.0, at(still(1)), book(at(still(1)), [0.0]), Target(1.0, stop_price=11.0)
    )
    assert one == (OrderIntent(0, "A", "buy", "stop", quantity=100.0, stop_price=11.0),)


def test_a_slice_moves_a_fraction_of_the_average_volume() -> None:
    agent = ExecutionAgent(
        ExecutionConfig(style="sliced", slice_volume_frac=0.1, slice_volume_bars=3)
    )
    volumes = (900.0, 40.0, 20.0, 30.0)
    bars = [(10.0, 10.0, 10.0, 10.0, volume) for volume in volumes]
    history = at(make_panel({"A": bars, "B": bars, "C": bars}))
    # The last three volumes average 30 shares; a tenth is 3 shares, 30 dollars.
    intents, _ = agent.orders(array(0.5, 0.0, 0.02), history, book(history, [0.1, 0.2, 0.0]))
    assert [intent.value_usd for intent in intents] == [
        pytest.approx(130.0),  # from 100 towards 500
        pytest.approx(170.0),  # from 200 towards 0
        pytest.approx(20.0),  # within one slice
    ]
    assert [intent.side for intent in intents] == ["buy", "sell", "buy"]


def test_without_volume_a_slice_is_the_whole() -> None:
    agent = ExecutionAgent(ExecutionConfig(style="sliced"))
    history = at(closing([[10.0, 10.0]]))
    intents, _ = agent.orders_one(0.5, history, book(history, [0.0]))
    assert intents[0].value_usd == 500.0


def test_a_volume_of_zero_that_is_not_known_is_left_out_of_the_average() -> None:
    agent = ExecutionAgent(
        ExecutionConfig(style="sliced", slice_volume_frac=0.1, slice_volume_bars=3)
    )
    never = [(price, price, price, price, 0.0) for price in (9.0, 10.0, 10.0)]
    holes = [
        (price, price, price, price, volume)
        for price, volume in ((10.0, 40.0), (11.0, 0.0), (10.0, 30.0), (10.0, 0.0))
    ]
    history = at(make_panel({"A": never}))
    intents, _ = agent.orders_one(0.5, history, book(history, [0.0]))
    assert intents[0].value_usd == 500.0
    history = at(make_panel({"A": holes}))
    intents, _ = agent.orders_one(0.5, history, book(history, [0.0]))
    # 11 moved: not known. The last 10 stands as before: 0. (30 + 0) / 2 = 15; a tenth at 10 is 15 dollars.
    assert intents[0].value_usd == pytest.approx(15.0)


weights = st.floats(-1.0, 1.0).map(lambda weight: round(weight, 8))


@given(st.sampled_from(["market", "limit", "sliced"]), weights | st.just(HOLD), weights)
def test_one_symbol_in_scalars_gets_the_orders_of_the_arrays(
    style: str, wanted: float, held: float
) -> None:
    agent = ExecutionAgent(ExecutionConfig(style=style))  # type: ignore[arg-type]
    one, two = at(still(1)), at(still(2))
    scalar = agent.orders_one(wanted, one, book(one, [held]))
    arrays = agent.orders(array(wanted, HOLD), two, book(two, [held, 0.0]))
    assert scalar == arrays


@given(st.lists(st.tuples(weights | st.just(HOLD), weights), min_size=2, max_size=5))
def test_every_target_ends_in_an_order_a_cancellation_or_a_hold(
    rows: list[tuple[float, float]],
) -> None:
    history = at(still(len(rows)))
    wanted, held = np.array([row[0] for row in rows]), [row[1] for row in rows]
    state = book(history, held)
    intents, cancelled = MARKET.orders(wanted, history, state)
    ordered = {intent.column: intent for intent in intents}
    for column, (target, now) in enumerate(zip(wanted.tolist(), state.weight_array, strict=True)):
        if math.isnan(target):
            assert column not in ordered
            assert column not in cancelled
        elif abs(target - now) <= SAME_WEIGHT:
            assert column in cancelled
        else:
            assert ordered[column].side == ("buy" if target > now else "sell")
            assert ordered[column].value_usd == pytest.approx(target * 1_000.0, abs=1e-6)
