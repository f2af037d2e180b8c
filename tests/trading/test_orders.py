"""When an order fills in a bar, and at what price."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Order, OrderType, Side
from trading.orders import (
    DURING,
    OPENING,
    Bar,
    WorkingOrder,
    limit_fill,
    stop_fill,
    stop_limit_fill,
)

BAR: Bar = (100.0, 110.0, 90.0, 105.0)
"""Opens at 100, between 90 and 110, closes at 105."""


def working(
    side: Side, kind: OrderType, limit: float | None = None, stop: float | None = None
) -> WorkingOrder:
    order = Order("o1", "A", side, 10.0, None, kind, limit, stop, "gtc", None)
    return WorkingOrder(order, 0)


@pytest.mark.parametrize(
    ("buying", "limit", "expected"),
    [
        (True, 101.0, (OPENING, 100.0)),  # the open is better than the limit
        (True, 100.0, (OPENING, 100.0)),
        (True, 95.0, (DURING, 95.0)),  # touched on the way to 90
        (True, 90.0, (DURING, 90.0)),
        (True, 89.99, None),
        (False, 99.0, (OPENING, 100.0)),
        (False, 110.0, (DURING, 110.0)),
        (False, 110.01, None),
    ],
)
def test_a_limit_order_fills_at_the_open_if_better_else_at_its_limit_if_touched(
    buying: bool, limit: float, expected: tuple[int, float] | None
) -> None:
    assert limit_fill(buying, limit, BAR) == expected


@pytest.mark.parametrize(
    ("buying", "stop", "expected"),
    [
        (True, 108.0, (DURING, 108.0)),
        (True, 110.0, (DURING, 110.0)),
        (True, 110.01, None),
        (True, 99.0, (OPENING, 100.0)),  # gapped through: the open, worse than the stop
        (False, 92.0, (DURING, 92.0)),
        (False, 89.0, None),
        (False, 104.0, (OPENING, 100.0)),
    ],
)
def test_a_stop_fills_only_when_triggered_and_at_the_open_when_the_bar_gaps_through_it(
    buying: bool, stop: float, expected: tuple[int, float] | None
) -> None:
    assert stop_fill(buying, stop, BAR) == expected


@pytest.mark.parametrize(
    ("buying", "stop", "limit", "expected"),
    [
        (True, 111.0, 120.0, (False, None)),  # never triggered
        (True, 104.0, 107.0, (True, (DURING, 107.0))),  # both in the bar: the limit is the worse
        (True, 104.0, 115.0, (True, (DURING, 110.0))),  # the bar's high is the worst it paid
        (
            True,
            99.0,
            102.0,
            (True, (OPENING, 100.0)),
        ),  # triggered by the open, which is in the limit
        (True, 99.0, 97.0, (True, (DURING, 97.0))),  # triggered by the open, comes back to 97
        (True, 99.0, 85.0, (True, None)),
        # Limit below the stop: it was at 95 before or after the trigger; the close, 105, proves nothing.
        (True, 108.0, 95.0, (True, None)),
        (True, 108.0, 106.0, (True, (DURING, 106.0))),  # it closed at 105, below 106, after 108
        (False, 96.0, 93.0, (True, (DURING, 93.0))),
        (False, 96.0, 85.0, (True, (DURING, 90.0))),
        (False, 101.0, 98.0, (True, (OPENING, 100.0))),
        (False, 92.0, 104.0, (True, (DURING, 104.0))),  # closed at 105, above 104, after 92
        (False, 92.0, 107.0, (True, None)),
    ],
)
def test_a_stop_limit_takes_the_worse_of_stop_and_limit_that_the_bar_reaches(
    buying: bool, stop: float, limit: float, expected: tuple[bool, tuple[int, float] | None]
) -> None:
    assert stop_limit_fill(buying, stop, limit, BAR) == expected


def test_a_triggered_stop_limit_is_a_limit_order_in_later_bars() -> None:
    order = working("buy", "stop_limit", limit=95.0, stop=108.0)
    assert order.match(BAR) is None
    assert order.triggered
    # The next bar never sees 108; the order rests at 95 all the same.
    assert order.match((100.0, 101.0, 94.0, 96.0)) == (DURING, 95.0)
    assert order.rested


def test_a_triggered_stop_that_was_filled_in_part_goes_on_at_the_next_open() -> None:
    order = working("sell", "stop", stop=95.0)
    assert order.match(BAR) == (DURING, 95.0)
    assert order.match((97.0, 99.0, 96.0, 98.0)) == (OPENING, 97.0)


def test_a_stop_that_was_not_reached_waits() -> None:
    order = working("sell", "stop", stop=89.0)
    assert order.match(BAR) is None
    assert not order.triggered


@pytest.mark.parametrize(
    ("order", "rested"),
    [
        (working("buy", "limit", limit=95.0), True),
        (working("buy", "limit", limit=101.0), False),  # marketable at the open
        (working("buy", "stop_limit", limit=107.0, stop=104.0), False),  # chases the price
        (
            working("buy", "stop_limit", limit=97.0, stop=99.0),
            True,
        ),  # triggered at the open, then waits
        (working("buy", "stop_limit", limit=106.0, stop=108.0), True),  # waits below its stop
        (working("sell", "stop_limit", limit=93.0, stop=96.0), False),
    ],
)
def test_only_an_order_that_waits_for_the_price_rests(order: WorkingOrder, rested: bool) -> None:
    assert order.match(BAR) is not None
    assert order.rested is rested


prices = st.floats(50.0, 150.0).map(lambda price: round(price, 2))


@given(st.lists(prices, min_size=4, max_size=4), prices, prices, st.booleans(), st.booleans())
def test_no_fill_lies_outside_the_bar_or_beyond_the_limit(
    four: list[float], limit: float, stop: float, buying: bool, with_stop: bool
) -> None:
    low, open_, close, high = sorted(four)[0], four[0], four[1], sorted(four)[3]
    bar = (open_, high, low, close)
    order = (
        working("buy" if buying else "sell", "stop_limit", limit, stop)
        if with_stop
        else working("buy" if buying else "sell", "limit", limit)
    )
    match = order.match(bar)
    if match is None:
        return
    assert low <= match[1] <= high
    assert match[1] <= limit if buying else match[1] >= limit
    if with_stop:
        assert high >= stop if buying else low <= stop


@given(st.lists(prices, min_size=4, max_size=4), prices, st.booleans())
def test_a_stop_never_fills_better_than_its_stop(
    four: list[float], stop: float, buying: bool
) -> None:
    low, open_, close, high = sorted(four)[0], four[0], four[1], sorted(four)[3]
    fill = stop_fill(buying, stop, (open_, high, low, close))
    if fill is not None:
        assert fill[1] >= stop if buying else fill[1] <= stop
        assert low <= fill[1] <= high
