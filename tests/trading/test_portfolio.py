"""The book: average cost, cash, realised P&L and round trips."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LedgerImbalance, PriceMissing
from core.types import Fill
from trading.portfolio import BookState, Portfolio

MONDAY, TUESDAY, FRIDAY = "2020-01-06T21:00:00Z", "2020-01-07T21:00:00Z", "2020-01-10T21:00:00Z"


def fill(quantity: float, price: float, costs_usd: float = 0.0) -> Fill:
    return Fill("o1", "A", quantity, price, costs_usd, 0.0, 0.0)


def book(*fills: Fill, cash_usd: float = 1_000.0) -> Portfolio:
    portfolio = Portfolio(cash_usd, 1)
    for each in fills:
        portfolio.apply(0, each, MONDAY, None)
    return portfolio


def test_buying_more_moves_the_average_cost() -> None:
    portfolio = book(fill(10.0, 20.0, 1.0), fill(30.0, 24.0))
    # (10 x 20 + 30 x 24) / 40 = 920 / 40 = 23; cash 1000 - 200 - 1 - 720 = 79.
    assert portfolio.average_cost[0] == 23.0
    assert portfolio.cash_usd == 79.0
    assert portfolio.positions[0] == 40.0
    assert portfolio.realised_usd == 0.0
    assert portfolio.costs_usd == 1.0


def test_selling_realises_against_the_average_and_keeps_it() -> None:
    portfolio = book(fill(10.0, 20.0), fill(30.0, 24.0), fill(-15.0, 25.0, 2.0))
    # 15 x (25 - 23) = 30, before costs; cash 1000 - 200 - 720 + 375 - 2 = 453.
    assert portfolio.realised_usd == 30.0
    assert portfolio.average_cost[0] == 23.0
    assert portfolio.cash_usd == 453.0
    assert portfolio.turned_over_usd == 200.0 + 720.0 + 375.0


def test_a_short_realises_when_it_is_covered() -> None:
    portfolio = book(fill(-10.0, 50.0), fill(4.0, 45.0))
    # 4 x (50 - 45) = 20; cash 1000 + 500 - 180 = 1320; 6 short are left at 50.
    assert portfolio.realised_usd == 20.0
    assert portfolio.cash_usd == 1_320.0
    assert portfolio.positions[0] == -6.0
    assert portfolio.average_cost[0] == 50.0


def test_crossing_zero_realises_all_and_begins_anew_at_the_fills_price() -> None:
    portfolio = book(fill(10.0, 50.0), fill(-15.0, 60.0))
    # 10 x (60 - 50) = 100 realised; 5 short at 60.
    assert portfolio.realised_usd == 100.0
    assert portfolio.positions[0] == -5.0
    assert portfolio.average_cost[0] == 60.0
    assert portfolio.cash_usd == 1_000.0 - 500.0 + 900.0


def test_a_closed_position_leaves_nothing_behind() -> None:
    portfolio = book(fill(3.3, 7.7), fill(-1.1, 8.0), fill(-2.2, 7.0))
    assert portfolio.positions == [0.0]
    assert portfolio.held == set()
    assert portfolio.held_cost_usd == pytest.approx(0.0, abs=1e-9)
    # -25.41 + 8.8 + 15.4 = -1.21
    assert portfolio.cash_usd == 998.79
    assert portfolio.realised_usd == pytest.approx(-1.21, abs=1e-9)


def test_borrowing_is_a_cost() -> None:
    portfolio = book()
    portfolio.pay(1.25)
    assert (portfolio.cash_usd, portfolio.costs_usd, portfolio.borrow_usd) == (998.75, 1.25, 1.25)


def test_a_round_trip_runs_from_flat_to_flat_with_average_prices() -> None:
    portfolio = Portfolio(10_000.0, 1)
    portfolio.apply(0, fill(10.0, 20.0, 1.0), MONDAY, "entry")
    portfolio.apply(0, fill(30.0, 24.0, 1.0), TUESDAY, None)
    assert portfolio.trips == []
    portfolio.apply(0, fill(-15.0, 25.0, 1.0), TUESDAY, None)
    portfolio.apply(0, fill(-25.0, 21.0, 1.0), FRIDAY, "exit")
    (trip,) = portfolio.trips
    # Out: (15 x 25 + 25 x 21) / 40 = 900 / 40 = 22.5. In: 920 / 40 = 23. 900 - 920 - 4 = -24.
    assert (trip.entry_time, trip.exit_time) == (MONDAY, FRIDAY)
    assert (trip.entry_price, trip.exit_price, trip.quantity) == (23.0, 22.5, 40.0)
    assert (trip.pnl_usd, trip.costs_usd, trip.tag) == (-24.0, 4.0, "entry")


def test_a_short_round_trip_has_a_negative_quantity() -> None:
    portfolio = book(fill(-10.0, 50.0, 1.0), fill(10.0, 45.0, 1.0))
    (trip,) = portfolio.trips
    # 10 x (50 - 45) - 2 = 48.
    assert (trip.quantity, trip.entry_price, trip.exit_price, trip.pnl_usd) == (
        -10.0,
        50.0,
        45.0,
        48.0,
    )


def test_a_change_of_sign_ends_one_round_trip_and_begins_the_next() -> None:
    portfolio = book(fill(10.0, 50.0), fill(-15.0, 60.0, 3.0), fill(5.0, 58.0, 1.0))
    first, second = portfolio.trips
    # The crossing fill's 3 USD go 10 : 5, so 2 and 1. 100 - 2 = 98; 5 x (60 - 58) - 1 - 1 = 8.
    assert (first.quantity, first.pnl_usd, first.costs_usd) == (10.0, 98.0, 2.0)
    assert (second.quantity, second.pnl_usd, second.costs_usd) == (-5.0, 8.0, 2.0)
    assert second.entry_price == 60.0


def test_a_delisting_names_the_round_trip_over_its_own_tag() -> None:
    portfolio = Portfolio(1_000.0, 1)
    portfolio.apply(0, fill(1.0, 10.0), MONDAY, "mine")
    portfolio.apply(0, fill(-1.0, 9.0), FRIDAY, "delisted")
    assert portfolio.trips[0].tag == "delisted"


def test_a_holding_brought_in_is_no_trade_and_its_trip_starts_at_its_price() -> None:
    portfolio = Portfolio(100.0, 1)
    portfolio.seed(0, 10.0, 30.0, MONDAY)
    assert (portfolio.initial_usd, portfolio.cash_usd, portfolio.turned_over_usd) == (
        400.0,
        100.0,
        0.0,
    )
    portfolio.apply(0, fill(-10.0, 33.0, 1.0), FRIDAY, None)
    # 10 x (33 - 30) - 1 = 29, not the whole 330 of proceeds.
    assert portfolio.trips[0].pnl_usd == 29.0
    assert portfolio.trips[0].entry_price == 30.0


def test_a_holding_without_a_price_is_refused() -> None:
    with pytest.raises(PriceMissing):
        Portfolio(100.0, 1).seed(0, 10.0, math.nan)


def test_a_book_that_does_not_balance_raises() -> None:
    portfolio = book(fill(10.0, 20.0))
    portfolio.cash_usd += 0.02
    with pytest.raises(LedgerImbalance):
        portfolio.apply(0, fill(1.0, 20.0), MONDAY, None)


def test_a_fill_of_nan_raises_and_is_never_carried_on() -> None:
    with pytest.raises(LedgerImbalance):
        book(fill(1.0, math.nan))


def test_weights_are_signed_values_over_equity() -> None:
    state = BookState(1_000.0, 900.0, ("A", "B", "C"), [5.0, -2.0, 0.0], [40.0, 50.0, math.nan])
    assert state.weights == {"A": 0.2, "B": -0.1, "C": 0.0}
    assert state.positions == {"A": 5.0, "B": -2.0, "C": 0.0}
    assert [state.weight(column) for column in range(3)] == [0.2, -0.1, 0.0]


quantities = st.floats(-50.0, 50.0).map(lambda number: round(number, 8)).filter(bool)
some_fills = st.lists(
    st.tuples(
        st.integers(0, 2),
        quantities,
        st.floats(0.5, 500.0).map(lambda number: round(number, 6)),
        st.floats(0.0, 5.0).map(lambda number: round(number, 6)),
    ),
    max_size=40,
)


@given(some_fills)
def test_the_book_is_the_sum_of_its_fills(fills: list[tuple[int, float, float, float]]) -> None:
    portfolio = Portfolio(10_000.0, 3)
    for place, (column, quantity, price, cost) in enumerate(fills):
        portfolio.apply(
            column, Fill("o", "ABC"[column], quantity, price, cost, 0.0, 0.0), str(place), None
        )
    paid = math.fsum(quantity * price + cost for _, quantity, price, cost in fills)
    assert portfolio.cash_usd == pytest.approx(10_000.0 - paid, abs=0.005)
    for column in range(3):
        total = math.fsum(quantity for at, quantity, _, _ in fills if at == column)
        assert portfolio.positions[column] == pytest.approx(total, abs=1e-9)
        assert portfolio.positions[column] == portfolio.array[column]
        assert (column in portfolio.held) is (portfolio.positions[column] != 0.0)


@given(some_fills, st.lists(st.floats(1.0, 400.0), min_size=3, max_size=3))
def test_closed_trips_and_realised_and_open_pnl_explain_the_equity(
    fills: list[tuple[int, float, float, float]], marks: list[float]
) -> None:
    portfolio = Portfolio(10_000.0, 3)
    for place, (column, quantity, price, cost) in enumerate(fills):
        portfolio.apply(
            column, Fill("o", "ABC"[column], quantity, price, cost, 0.0, 0.0), str(place), None
        )
    positions, averages = portfolio.positions, portfolio.average_cost
    equity = portfolio.cash_usd + math.fsum(p * m for p, m in zip(positions, marks, strict=True))
    unrealised = math.fsum(p * (m - a) for p, m, a in zip(positions, marks, averages, strict=True))
    explained = portfolio.realised_usd + unrealised - portfolio.costs_usd
    assert equity - 10_000.0 == pytest.approx(explained, abs=0.005)
    # Closing everything at the marks ends every trip, and then trips alone explain the change.
    for column in range(3):
        if positions[column]:
            last = Fill("o", "ABC"[column], -positions[column], marks[column], 0.0, 0.0, 0.0)
            portfolio.apply(column, last, "end", None)
    trips = math.fsum(trip.pnl_usd for trip in portfolio.trips)
    assert trips == pytest.approx(portfolio.cash_usd - 10_000.0, abs=0.005)
