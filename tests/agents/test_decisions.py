"""What a record comes to for a book: each symbol once, in one of three states."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.decisions import OrderRules, Proposal, Quote, propose
from agents.reasons import Decider
from trading.costs import CostModel

FREE = OrderRules(CostModel())
WEIGHTS = st.sampled_from([None, 0.0, 0.05, 0.1, 0.15, 0.2])


def order(symbol: str, side: str, **more: Any) -> dict[str, Any]:
    plain = {"id": "o1", "symbol": symbol, "side": side, "quantity": None, "value_usd": None}
    rest = {"type": "market", "limit_price": None, "stop_price": None, "tif": "day", "tag": None}
    return {**plain, **rest, **more}


def record(**more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "as_of": "2024-01-02T21:00:00Z", "views": {}, "targets": {}, "verdict": [], "orders": [],
        "positions": {}, "cash_usd": 1_000.0, "equity_usd": 1_000.0, "forecasts": {}, "reasons": {},
    }  # fmt: skip
    return {**empty, **more}


def proposed(made: dict[str, Any], rules: OrderRules = FREE, **quotes: Quote) -> Proposal:
    decider = Decider("Own")
    return propose(
        made, symbols=list(quotes), unpriced={}, quotes=quotes, rules=rules, decider=decider
    )


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2]), WEIGHTS), min_size=1, max_size=5))
def test_every_symbol_stands_once_and_the_decisions_lead_to_the_targets(
    book: list[tuple[float, float | None]],
) -> None:
    # Price 4, equity 1000: a weight w is w x 250 shares.
    names = [f"S{place}" for place in range(len(book))]
    held = {name: now * 250.0 for name, (now, _) in zip(names, book, strict=True) if now}
    wanted = {name: want for name, (_, want) in zip(names, book, strict=True) if want is not None}
    orders = [
        order(name, "buy" if want > now else "sell", value_usd=want * 1_000.0)
        for name, (now, want) in zip(names, book, strict=True)
        if want is not None and want != now
    ]
    targets = {name: want for name, want in wanted.items() if want}
    made = record(positions=held, orders=orders, targets=targets)
    decisions = proposed(made, **{name: Quote(4.0) for name in names}).decisions
    assert [each.symbol for each in decisions] == names
    for each, (now, want) in zip(decisions, book, strict=True):
        sign = {"buy": 1.0, "sell": -1.0, "hold": 0.0}[each.action]
        after = held.get(each.symbol, 0.0) + sign * each.quantity
        assert after == each.target_quantity
        assert after * 4.0 / 1_000.0 == pytest.approx(now if want is None else want)
        assert each.target_weight == pytest.approx(now if want is None else want)
        assert each.present_weight == pytest.approx(now)
        assert (each.action == "hold") == (want is None or want == now)


def test_costs_are_those_of_the_cost_model() -> None:
    # 100 shares at 10: 1 bp of 1000 is 0.10, 2 bps are 0.20; impact 1 x 0.02 x sqrt(100 / 10000) = 0.002,
    # of 1000 USD 2.00.
    rules = OrderRules(CostModel(commission_bps=1, half_spread_bps=2, impact_coefficient=1))
    made = record(orders=[order("A", "buy", value_usd=1_000.0)], targets={"A": 1.0})
    (decision,) = proposed(made, rules, A=Quote(10.0, 10_000.0, 0.02)).decisions
    assert decision.estimated_cost_usd == pytest.approx(2.3)


def test_purchases_beyond_the_cash_are_said() -> None:
    made = record(cash_usd=10.0, orders=[order("A", "buy", value_usd=1_000.0)], targets={"A": 1.0})
    (note,) = proposed(made, A=Quote(10.0)).notes
    assert note.startswith("The orders and their costs need 1,000.00 USD in sum")


def test_an_order_larger_than_a_bar_can_fill_says_so() -> None:
    # 100 shares; 2.5 % of a mean volume of 1000 are 25: 4 times as much.
    rules = OrderRules(CostModel(), participation_frac=0.025)
    made = record(orders=[order("A", "buy", value_usd=1_000.0)], targets={"A": 1.0})
    (decision,) = proposed(made, rules, A=Quote(10.0, 1_000.0)).decisions
    assert "It is 4.0 times what trading.participation_frac lets one bar" in decision.reason


def test_a_limit_order_of_whole_shares_is_told_in_whole_shares() -> None:
    whole = OrderRules(CostModel(), allow_fractional=False)
    sent = order("A", "buy", quantity=3.7, type="limit", limit_price=9.0)
    proposal = proposed(record(orders=[sent], targets={"A": 0.037}), whole, A=Quote(10.0))
    assert [(each["quantity"], each["estimated_quantity"]) for each in proposal.orders] == [
        (3.0, 3.0)
    ]
    less = proposed(
        record(orders=[{**sent, "quantity": 0.7}], targets={"A": 0.007}), whole, A=Quote(10.0)
    )
    assert not less.orders
    assert less.decisions[0].action == "hold"
    assert "less than one whole share" in less.notes[0]


def test_the_volume_that_is_not_known_makes_no_impact() -> None:
    rules = OrderRules(CostModel(impact_coefficient=1), participation_frac=0.1)
    made = record(orders=[order("A", "buy", value_usd=1_000.0)], targets={"A": 1.0})
    (decision,) = proposed(made, rules, A=Quote(10.0, math.nan, 0.02)).decisions
    assert decision.estimated_cost_usd == 0.0
