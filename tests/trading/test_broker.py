"""The simulated broker: who fills, how much, and what it costs."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import OrderRejected
from core.types import OrderIntent, Unfilled
from tests.fakes import (
    BusyAgents,
    Desk,
    Row,
    fixed,
    flat,
    make_panel,
    market,
    random_bars,
    sessions,
)
from trading.costs import CostModel
from trading.panel import build_panel
from trading.portfolio import BookState

NAN = math.nan
DAY: Row = (100.0, 110.0, 90.0, 105.0, NAN)


def one(*rows: Row | None, **more: Any) -> Desk:
    """A desk with one symbol, A."""
    about = {name: more.pop(name) for name in ("times", "adjusted_per_raw") if name in more}
    return Desk(make_panel({"A": rows}, **about), **more)


# --- market orders


def test_a_market_orders_quantity_is_fixed_at_the_open_it_fills_at() -> None:
    desk = one(flat(100.0), (50.0, 60.0, 40.0, 45.0, NAN))
    desk.send(market(0, "A", 600.0))
    (fill,) = desk.bar()
    # 600 / 50 = 12 shares, not the 6 that the close of 100 promised.
    assert (fill.quantity, fill.price) == (12.0, 50.0)
    assert desk.broker.working == {}


def test_a_buy_never_sells_when_the_open_has_moved_past_the_target() -> None:
    desk = one(flat(100.0), flat(100.0), flat(130.0), flat(100.0))
    desk.send(market(0, "A", 500.0))
    desk.bar()  # holds 5
    desk.send(market(0, "A", 600.0, held_usd=500.0))
    # 5 shares at 130 are 650, over the target of 600.
    assert desk.bar() == []
    assert desk.bar() == []


def test_a_target_of_zero_sells_everything() -> None:
    desk = one(flat(100.0), flat(30.0), flat(77.0))
    desk.send(market(0, "A", 1_000.0))
    desk.bar()  # 1000 / 30 = 33.33333333
    desk.send(market(0, "A", 0.0, held_usd=1.0))
    desk.bar()
    assert desk.book.positions == [0.0]


def test_sells_pay_for_buys_at_the_same_open_whatever_the_order_of_columns() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 3, "B": [flat(20.0)] * 3}))
    desk.send(market(1, "B", 1_000.0))
    desk.bar()
    assert desk.book.cash_usd == pytest.approx(0.0, abs=1e-5)
    desk.send(market(0, "A", 400.0), market(1, "B", 600.0, held_usd=1_000.0))
    sold, bought = desk.bar()
    # 400 of B are sold, 20 shares; they buy 40 shares of A.
    assert (sold.symbol, bought.symbol) == ("B", "A")
    assert (sold.quantity, bought.quantity) == pytest.approx((-20.0, 40.0), abs=1e-5)


def test_buys_are_scaled_by_one_fraction_to_the_cash_after_costs() -> None:
    costs = CostModel(commission_bps=60.0, half_spread_bps=40.0)
    desk = Desk(make_panel({"A": [flat(10.0)] * 2, "B": [flat(20.0)] * 2}), costs=costs)
    desk.send(market(0, "A", 900.0), market(1, "B", 600.0))
    first, second = desk.bar()
    # 1500 wanted; 1000 / 1.01 = 990.0990 can be paid: 0.6600660 of each.
    # A 900 x 0.660066 / 10 = 59.40594; B 600 x 0.660066 / 20 = 19.80198.
    assert first.quantity == pytest.approx(59.40594, abs=1e-5)
    assert second.quantity == pytest.approx(19.80198, abs=1e-5)
    assert 0.0 <= desk.book.cash_usd < 1e-4


def test_one_buy_with_impact_spends_the_cash_to_the_last_cent_and_no_more() -> None:
    costs = CostModel(impact_coefficient=1.0, half_spread_bps=5.0, commission_min_usd=1.0)
    rows = [(100.0, 103.0, 97.0, 100.0, 40.0)] * 2
    desk = one(*rows, costs=costs)
    desk.send(market(0, "A", 5_000.0))
    (fill,) = desk.bar()
    spent = fill.quantity * 100.0 + fill.commission_usd + fill.spread_usd + fill.impact_usd
    # sigma by the bar's own range: ln(103 / 97) / (2 sqrt(ln 2)) = 0.060018 / 1.665109 = 0.036044.
    sigma = math.log(103.0 / 97.0) / (2.0 * math.sqrt(math.log(2.0)))
    expected = fill.quantity * 100.0 * sigma * math.sqrt(fill.quantity / 40.0)
    assert fill.impact_usd == pytest.approx(expected, abs=1e-6)
    assert 999.99 < spent <= 1_000.0
    assert 0.0 <= desk.book.cash_usd < 0.01


def test_with_no_cash_nothing_is_bought() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 3, "B": [flat(20.0)] * 3}))
    desk.send(market(0, "A", 1_000.0))
    desk.bar()
    desk.send(market(1, "B", 500.0))
    assert [fill.quantity for fill in desk.bar() if fill.quantity > 1e-5] == []
    assert desk.book.cash_usd >= 0.0


# --- limits, stops and their costs


def test_a_limit_that_takes_pays_spread_only_as_far_as_its_limit() -> None:
    costs = CostModel(half_spread_bps=100.0)
    desk = one(flat(100.0), DAY, costs=costs)
    desk.send(fixed(0, "A", 2.0, limit=100.4))
    (fill,) = desk.bar()
    # At the open of 100 half the spread would be 1 a share; the limit leaves 0.40: 2 x 0.40.
    assert (fill.price, fill.spread_usd) == (100.0, 0.8)


def test_a_limit_that_rests_pays_neither_spread_nor_impact_but_commission() -> None:
    costs = CostModel(commission_bps=10.0, half_spread_bps=100.0, impact_coefficient=1.0)
    desk = one(flat(100.0), (100.0, 110.0, 90.0, 105.0, 1_000.0), costs=costs)
    desk.send(fixed(0, "A", 2.0, limit=95.0))
    (fill,) = desk.bar()
    # 2 x 95 x 10 bps = 0.19.
    assert (fill.price, fill.commission_usd, fill.spread_usd, fill.impact_usd) == (
        95.0,
        0.19,
        0.0,
        0.0,
    )


def test_a_stop_pays_the_spread_on_top_of_its_stop() -> None:
    desk = one(flat(100.0), DAY, costs=CostModel(half_spread_bps=100.0))
    desk.send(fixed(0, "A", 2.0, stop=106.0))
    (fill,) = desk.bar()
    # 2 x 106 x 1 % = 2.12.
    assert (fill.price, fill.spread_usd) == (106.0, 2.12)


def test_a_stop_limit_that_chases_the_price_takes_liquidity_up_to_its_limit() -> None:
    desk = one(flat(100.0), DAY, costs=CostModel(half_spread_bps=100.0))
    desk.send(fixed(0, "A", 2.0, stop=104.0, limit=110.5))
    (fill,) = desk.bar()
    # The worst price of the bar is 110; 1.10 of half spread, but the limit leaves 0.50 a share.
    assert (fill.price, fill.spread_usd) == (110.0, 1.0)


def test_what_fills_at_the_open_comes_before_what_is_touched_later() -> None:
    # A's limit buy is touched during the bar; B's market buy takes the cash at the open.
    desk = Desk(make_panel({"A": [flat(100.0), DAY], "B": [flat(10.0)] * 2}))
    desk.send(fixed(0, "A", 5.0, limit=95.0), market(1, "B", 1_000.0))
    fills = desk.bar()
    assert fills[0].symbol == "B"
    assert sum(fill.quantity for fill in fills if fill.symbol == "A") < 1e-5


# --- how long orders live


def test_the_remainder_of_a_day_order_expires_and_a_gtc_order_works_on() -> None:
    rows: list[Row] = [
        flat(100.0, 100.0),
        flat(100.0, 100.0),
        flat(100.0, 100.0),
        flat(100.0, 100.0),
    ]
    desk = Desk(make_panel({"A": rows, "B": rows}), cash_usd=10_000.0, participation_frac=0.025)
    desk.send(fixed(0, "A", 6.0, limit=101.0), fixed(1, "B", 6.0, limit=101.0, tif="gtc"))
    # 2.5 % of 100 shares are 2.5 a bar.
    assert [(fill.symbol, fill.quantity) for fill in desk.bar()] == [("A", 2.5), ("B", 2.5)]
    assert [(fill.symbol, fill.quantity) for fill in desk.bar()] == [("B", 2.5)]
    assert [(fill.symbol, fill.quantity) for fill in desk.bar()] == [("B", 1.0)]
    assert desk.broker.working == {}


def test_a_capped_market_order_keeps_its_target_value_for_the_next_bar() -> None:
    desk = one(
        flat(100.0, 100.0), flat(100.0, 100.0), flat(80.0, 100.0), flat(80.0, 100.0),
        cash_usd=10_000.0, participation_frac=0.03,
    )  # fmt: skip
    desk.send(market(0, "A", 400.0, tif="gtc"))
    # 3 shares (the cap) at 100; then 400 / 80 - 3 = 2 at 80.
    assert [fill.quantity for fill in desk.bar()] == [3.0]
    assert [fill.quantity for fill in desk.bar()] == [2.0]
    assert desk.bar() == []


def test_a_day_order_waits_over_missing_bars_for_the_symbols_next_session() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 4, "B": [flat(20.0), None, None, flat(20.0)]}))
    desk.send(market(1, "B", 100.0))
    assert desk.bar() == []
    assert desk.bar() == []
    assert [fill.quantity for fill in desk.bar()] == [5.0]


def test_a_day_order_lasts_over_the_bars_of_its_session_and_no_further() -> None:
    hours = np.array(
        ["2020-01-01T21:00", "2020-01-01T22:00", "2020-01-02T20:00", "2020-01-02T21:00",
         "2020-01-03T20:00"], dtype="datetime64[ns]",
    )  # fmt: skip
    desk = one(*[flat(100.0)] * 4, flat(50.0), times=hours, intraday=True)
    desk.send(fixed(0, "A", 1.0, limit=60.0))
    desk.bar()  # the rest of the first day
    assert 0 in desk.broker.working
    desk.broker.cancel([0])
    desk.bar()
    desk.send(fixed(0, "A", 1.0, limit=60.0))
    desk.bar()  # its session is 2 January
    assert desk.bar() == []  # 50 is below the limit, on 3 January
    assert desk.broker.working == {}


def test_an_intraday_bar_known_at_midnight_belongs_to_the_day_before() -> None:
    times = np.array(
        ["2020-01-01T23:00", "2020-01-02T00:00", "2020-01-02T01:00"], dtype="datetime64[ns]"
    )
    desk = one(flat(100.0), flat(100.0), flat(50.0), times=times, intraday=True)
    desk.send(fixed(0, "A", 1.0, limit=60.0))
    assert desk.bar() == []  # the bar from 23:00 to 24:00 ends its day
    assert desk.bar() == []


def test_a_new_order_replaces_the_working_one_which_never_fills() -> None:
    desk = one(flat(100.0), flat(100.0), flat(80.0))
    (old,) = desk.send(fixed(0, "A", 1.0, limit=90.0, tif="gtc"))
    desk.bar()
    (new,) = desk.send(fixed(0, "A", 2.0, limit=85.0, tif="gtc"))
    assert [(fill.order_id, fill.quantity) for fill in desk.bar()] == [(new.id, 2.0)]
    assert new.id != old.id


def test_a_cancelled_order_never_fills() -> None:
    desk = one(flat(100.0), flat(100.0))
    desk.send(market(0, "A", 500.0))
    desk.broker.cancel([0, 5])
    assert desk.bar() == []
    assert desk.book.cash_usd == 1_000.0


# --- the cap


def test_a_bar_without_volume_fills_nothing_under_a_cap_and_missing_volume_means_no_cap() -> None:
    desk = one(flat(100.0, 900.0), flat(100.0, 0.0), flat(100.0, NAN), participation_frac=0.025)
    desk.send(market(0, "A", 500.0, tif="gtc"))
    assert desk.bar() == []
    assert [fill.quantity for fill in desk.bar()] == [5.0]


# --- whole shares


def test_whole_shares_are_raw_shares() -> None:
    # Adjusted 100 is raw 50 (two raw shares are one adjusted): 7.3 adjusted are 14.6 raw, so 14 raw = 7.
    desk = one(flat(100.0), flat(100.0), adjusted_per_raw=2.0, allow_fractional=False)
    desk.send(market(0, "A", 730.0))
    assert [fill.quantity for fill in desk.bar()] == [7.0]


def test_commission_per_share_counts_raw_shares() -> None:
    costs = CostModel(commission_per_share_usd=0.01)
    desk = one(flat(100.0), flat(100.0), adjusted_per_raw=2.0, costs=costs)
    desk.send(market(0, "A", 500.0))
    # 5 adjusted shares are 10 raw ones.
    assert [fill.commission_usd for fill in desk.bar()] == [0.1]


def test_a_fractional_rest_can_be_sold_when_all_is_sold() -> None:
    desk = one(flat(100.0), flat(100.0), allow_fractional=False, cash_usd=0.0)
    desk.book.seed(0, 2.5, 100.0)
    desk.send(market(0, "A", 0.0, held_usd=250.0))
    assert [fill.quantity for fill in desk.bar()] == [-2.5]


# --- nothing below zero


def test_a_sale_that_costs_more_than_it_brings_waits_when_there_is_no_cash_for_it() -> None:
    desk = one(
        flat(0.1), flat(0.1), flat(2.0), costs=CostModel(commission_min_usd=1.0), cash_usd=0.0
    )
    desk.book.seed(0, 5.0, 0.1)
    desk.send(market(0, "A", 0.0, held_usd=0.5, tif="gtc"))
    assert desk.bar() == []  # 5 x 0.10 = 0.50 against a commission of 1
    assert [fill.commission_usd for fill in desk.bar()] == [1.0]
    assert desk.book.cash_usd == 9.0


def test_a_sell_order_never_sells_more_than_is_held() -> None:
    desk = one(*[flat(100.0)] * 3)
    desk.send(market(0, "A", 300.0))
    desk.bar()
    desk.send(fixed(0, "A", -8.0, limit=90.0))
    assert [fill.quantity for fill in desk.bar()] == [-3.0]


def test_a_sell_order_never_buys_back_a_short_that_came_with_the_book() -> None:
    desk = one(flat(100.0), flat(100.0))
    desk.book.seed(0, -2.0, 100.0)
    desk.send(fixed(0, "A", -1.0, limit=90.0))
    assert desk.bar() == []


# --- shorts


def test_short_sales_of_one_bar_share_one_margin() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 2, "B": [flat(10.0)] * 2}), allow_short=True)
    desk.send(market(0, "A", -800.0), market(1, "B", -800.0))
    # Equity is 1000: 800 of A, then only 200 of B.
    assert [fill.quantity for fill in desk.bar()] == [-80.0, -20.0]


def test_margin_is_measured_at_the_open_and_not_at_the_close_before() -> None:
    # Long 10 A, worth 1000 at the close and 500 at the open; the short in B may be 500.
    desk = Desk(
        make_panel({"A": [flat(100.0), flat(50.0)], "B": [flat(10.0)] * 2}),
        allow_short=True,
        cash_usd=0.0,
    )
    desk.book.seed(0, 10.0, 100.0)
    desk.send(market(1, "B", -1_000.0))
    assert [fill.quantity for fill in desk.bar()] == [-50.0]


def test_proceeds_of_a_short_are_not_spent_on_longs() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 2, "B": [flat(10.0)] * 2}), allow_short=True)
    desk.send(market(0, "A", -500.0), market(1, "B", 2_000.0))
    short, long = desk.bar()
    # Cash is 1500 after the sale, of which 500 secure the short.
    assert short.quantity == -50.0
    assert long.quantity == pytest.approx(100.0, abs=1e-5)


def test_what_covers_a_short_comes_before_what_opens_a_long() -> None:
    desk = Desk(make_panel({"A": [flat(10.0)] * 3, "B": [flat(10.0)] * 3}), allow_short=True)
    desk.send(market(0, "A", -1_000.0))
    desk.bar()
    desk.send(market(0, "A", 0.0, held_usd=-1_000.0), market(1, "B", 5_000.0))
    covered, opened = desk.bar()
    # 2000 of cash: 1000 covers all of A, the other 1000 buys B; scaled alike, A would stay half open.
    assert covered.quantity == 100.0
    assert opened.quantity == pytest.approx(100.0, abs=1e-5)


def test_a_book_without_equity_is_covered_in_full_into_debt() -> None:
    desk = one(flat(10.0), flat(10.0), flat(25.0), allow_short=True)
    desk.send(market(0, "A", -1_000.0))
    desk.bar()  # 100 short, 2000 of cash
    desk.send(market(0, "A", 0.0, held_usd=-2_500.0))
    assert [fill.quantity for fill in desk.bar()] == [100.0]
    assert desk.book.cash_usd == -500.0  # 2000 - 100 x 25


def test_an_order_may_cross_from_long_to_short() -> None:
    desk = one(*[flat(10.0)] * 3, allow_short=True)
    desk.send(market(0, "A", 500.0))
    desk.bar()
    desk.send(market(0, "A", -300.0, held_usd=500.0))
    assert [fill.quantity for fill in desk.bar()] == [-80.0]
    assert [trip.quantity for trip in desk.book.trips] == [50.0]


def test_borrowing_is_charged_for_the_days_a_short_was_held_from_close_to_close() -> None:
    times = np.array(["2020-01-02T21:00", "2020-01-03T21:00", "2020-01-06T21:00"], "datetime64[ns]")
    desk = one(
        flat(10.0), flat(10.0), flat(12.0),
        times=times, allow_short=True, costs=CostModel(borrow_bps_per_year=360.0),
    )  # fmt: skip
    desk.send(market(0, "A", -1_000.0))
    desk.bar()
    # Friday to Monday, 3 days, at Friday's mark: 1000 x 3.6 % x 3 / 360 = 0.30.
    desk.tape.reveal(2)
    assert desk.broker.charge_borrow() == 0.3
    assert desk.book.borrow_usd == 0.3


# --- delisting


def test_a_held_symbol_without_bars_is_closed_with_the_delisting_return_and_costs() -> None:
    panel = make_panel(
        {"A": [flat(10.0), flat(20.0), None, None], "B": [flat(1.0)] * 4}, times=sessions(4)
    )
    desk = Desk(
        panel, delisting_bars=2, costs=CostModel(commission_bps=100.0, half_spread_bps=50.0)
    )
    desk.send(market(0, "A", 200.0))
    desk.bar()  # 10 shares at 20
    desk.send(fixed(0, "A", -5.0, limit=30.0, tif="gtc"))
    desk.bar()
    assert desk.broker.close_delisted() == ([], [])
    desk.bar()
    (order,), (fill,) = desk.broker.close_delisted()
    # 10 x 20 x (1 - 0.30) = 140: commission 1.40, spread 0.70.
    assert (fill.quantity, fill.price, fill.commission_usd, fill.spread_usd) == (
        -10.0,
        14.0,
        1.4,
        0.7,
    )
    assert (order.tag, order.side, order.id) == ("delisted", "sell", fill.order_id)
    assert desk.broker.working == {}
    assert desk.book.trips[0].tag == "delisted"


def test_an_order_for_a_delisted_symbol_ends_and_does_not_wait_for_another_of_its_name() -> None:
    panel = make_panel(
        {"A": [flat(10.0), None, None, flat(10.0)], "B": [flat(1.0)] * 4}, times=sessions(4)
    )
    desk = Desk(panel, delisting_bars=2)
    desk.send(fixed(0, "A", 5.0, limit=11.0, tif="gtc"))
    assert [desk.bar(), desk.bar(), desk.bar()] == [[], [], []]


def test_a_worthless_delisting_never_takes_cash_that_is_not_there() -> None:
    panel = make_panel({"A": [flat(0.1), None], "B": [flat(1.0)] * 2}, times=sessions(2))
    desk = Desk(panel, delisting_bars=1, costs=CostModel(commission_min_usd=1.0), cash_usd=0.0)
    desk.book.seed(0, 5.0, 0.1)
    desk.bar()
    _, (fill,) = desk.broker.close_delisted()
    assert fill.commission_usd == 0.35  # all that 5 x 0.10 x 0.7 brought
    assert desk.book.cash_usd == 0.0


# --- orders that are refused


@pytest.mark.parametrize(
    "intent",
    [
        OrderIntent(0, "A", "buy", "market", value_usd=NAN),
        OrderIntent(0, "A", "buy", "market"),
        OrderIntent(0, "A", "buy", "limit", value_usd=100.0, limit_price=10.0),
        OrderIntent(0, "A", "buy", "limit", quantity=-1.0, limit_price=10.0),
        OrderIntent(0, "A", "buy", "limit", quantity=1.0),
        OrderIntent(0, "A", "buy", "market", quantity=1.0, limit_price=10.0),
        OrderIntent(0, "A", "buy", "stop_limit", quantity=1.0, stop_price=10.0),
        OrderIntent(0, "A", "buy", "limit", quantity=1.0, limit_price=0.0),
        OrderIntent(0, "A", "sell", "stop", quantity=-1.0, stop_price=math.inf),
    ],
)
def test_an_order_that_contradicts_itself_is_refused(intent: OrderIntent) -> None:
    with pytest.raises(OrderRejected):
        one(flat(10.0)).send(intent)


# --- properties

COSTLY = CostModel(
    commission_bps=3.0,
    commission_per_share_usd=0.004,
    commission_min_usd=0.5,
    half_spread_bps=4.0,
    impact_coefficient=1.0,
    borrow_bps_per_year=80.0,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.booleans())
async def test_random_orders_keep_every_promise_of_the_broker(
    seed: int, allow_short: bool, allow_fractional: bool, costly: bool
) -> None:
    cap = 0.025
    panel = build_panel(random_bars(seed, 5, 40), name="random")
    desk = Desk(
        panel,
        cash_usd=20_000.0,
        costs=COSTLY if costly else CostModel(),
        participation_frac=cap,
        allow_short=allow_short,
        allow_fractional=allow_fractional,
        delisting_bars=3,
    )
    agents = BusyAgents(seed, allow_short=allow_short)
    book, broker, tape = desk.book, desk.broker, desk.tape
    orders: dict[str, Any] = {}
    working: dict[str, str] = {}  # symbol -> the one order that may still fill
    bars_of_day: dict[str, int] = {}
    total: dict[str, float] = defaultdict(float)
    filled: dict[str, float] = defaultdict(float)
    ended: dict[str, Unfilled] = {}
    spent = 0.0
    for row in range(panel.rows):
        if row:
            tape.reveal(row)
            broker.charge_borrow()
        fills = broker.fill_bar()
        for fill in fills:
            order = orders[fill.order_id]
            assert working[fill.symbol] == fill.order_id
            assert (fill.quantity > 0.0) is (order.side == "buy")
            column = panel.symbols.index(fill.symbol)
            volume = panel.field("volume")[row, column]
            if volume == 0.0:
                before = panel.field("mark")[row - 1, column]
                had = (panel.field("volume")[:row, column] > 0.0).any()
                bar = [panel.field(name)[row, column] for name in ("open", "high", "low", "close")]
                assert not had or any(price != before for price in bar)
            else:
                assert abs(fill.quantity) <= cap * volume + 1e-8
            low, high = panel.field("low")[row, column], panel.field("high")[row, column]
            assert low <= fill.price <= high
            if order.limit_price is not None:
                taken = (fill.spread_usd + fill.impact_usd) / fill.quantity
                if fill.quantity > 0.0:
                    assert fill.price + taken <= order.limit_price + 2e-6 / fill.quantity
                else:
                    assert fill.price + taken >= order.limit_price + 2e-6 / fill.quantity
            if order.tif == "day":
                assert bars_of_day.setdefault(order.id, row) == row
        assert len({fill.symbol for fill in fills}) == len(fills)
        _, closed = broker.close_delisted()
        for fill in fills:
            filled[fill.order_id] += abs(fill.quantity)
        for fill in (*fills, *closed):
            total[fill.symbol] += fill.quantity
            spent += fill.quantity * fill.price
            spent += fill.commission_usd + fill.spread_usd + fill.impact_usd
        for column, symbol in enumerate(panel.symbols):
            assert book.positions[column] == pytest.approx(total[symbol], abs=1e-7)
            assert allow_short or book.positions[column] >= 0.0
        assert book.cash_usd == pytest.approx(20_000.0 - spent - book.borrow_usd, abs=0.005)
        assert allow_short or book.cash_usd >= 0.0
        marks = tape.stack[-2, row, : tape.count]
        equity = book.cash_usd + float(np.dot(book.array[: tape.count], marks))
        if equity <= 0.0:
            break
        state = BookState(equity, book.cash_usd, tape.symbols, book.positions[: tape.count], marks)
        decision = await agents.decide(tape.upto(row), state)
        broker.cancel(decision.cancel_columns)
        for column in decision.cancel_columns:
            working[panel.symbols[column]] = "none"
        for intent in decision.intents:
            order = broker.submit(intent)
            orders[order.id] = order
            working[order.symbol] = order.id
        for each in broker.take_ended():
            assert each.order_id not in ended  # told once
            ended[each.order_id] = each
    open_ids = {each.order.id for each in broker.working.values()}
    assert open_ids.isdisjoint(ended)
    for name, order in orders.items():
        # Filled whole, or ended with what was left, or still working: nothing is lost between them.
        left = ended[name].quantity if name in ended else None
        if name in open_ids:
            continue
        if order.quantity is not None:
            assert filled[name] + (left or 0.0) == pytest.approx(order.quantity, abs=1e-7)
        else:
            assert name in ended or filled[name] > 0.0
    assert sum(broker.unfilled.values()) == len(ended)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(10.0, 5_000.0), st.floats(0.5, 900.0)), min_size=1, max_size=6),
    st.floats(1.0, 5_000.0),
    st.booleans(),
)
def test_scaled_buys_never_overdraw_and_leave_nearly_nothing(
    wanted: list[tuple[float, float]], cash: float, costly: bool
) -> None:
    costs = CostModel(commission_bps=3.0, half_spread_bps=4.0, impact_coefficient=float(costly))
    rows = {
        f"S{place}": [(price, price * 1.02, price, price, 500.0)] * 2
        for place, (_, price) in enumerate(wanted)
    }
    desk = Desk(make_panel(rows), cash_usd=cash, costs=costs)
    desk.send(*(market(place, f"S{place}", value) for place, (value, _) in enumerate(wanted)))
    desk.bar()
    assert desk.book.cash_usd >= 0.0
    if math.fsum(value for value, _ in wanted) > cash:
        # The search stops within 1e-10 of the cash; quantities are cut to 1e-8 shares.
        assert desk.book.cash_usd <= 1e-4 + 1e-9 * cash
