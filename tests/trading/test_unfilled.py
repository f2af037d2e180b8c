"""Every order has a known end: fills and `unfilled` add up to what was ordered, each with its reason."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from core.config import TradingConfig
from core.types import Decision, OrderIntent, Unfilled
from tests.fakes import (
    FREE,
    BusyAgents,
    Desk,
    ScriptedAgents,
    fixed,
    flat,
    make_panel,
    market,
    random_bars,
    records,
    run_lines,
)
from trading.panel import build_panel

CAPPED = FREE.model_copy(
    update={
        "initial_cash_usd": 1e6, "participation_frac": 0.025, "commission_bps": 3.0,
        "commission_min_usd": 0.5, "impact_coefficient": 1.0, "allow_short": True,
    }
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [False, True], ids=["fractional", "whole"])
def test_fills_and_unfilled_add_up_to_every_order(seed: int, whole: bool) -> None:
    trading = CAPPED.model_copy(
        update={"allow_fractional": not whole, "allow_short": seed % 2 == 0, "min_order_usd": 50.0}
    )
    panel = build_panel(random_bars(seed, 5, 80), name="random")
    agents = BusyAgents(seed, allow_short=trading.allow_short)
    account, lines = run_lines(panel, agents, trading)
    told = records(lines)
    ordered = {order["id"]: order for record in told for order in record["orders"]}
    filled: Counter[str] = Counter()
    for record in told:
        for fill in record["fills"]:
            filled[fill["order_id"]] += abs(fill["quantity"])
    ends = [end for record in told for end in record["unfilled"]]
    ended = {end["order_id"]: end for end in ends}
    working = {each.order.id: each for each in account.broker.working.values()}
    assert len(ended) == len(ends)
    assert len(ends) > 20
    assert not set(ended) & set(working)
    for name, order in ordered.items():
        left = ended[name]["quantity"] if name in ended else 0.0
        if order["quantity"] is None:
            assert filled[name] or name in ended or name in working, order
        elif name in working:
            assert abs(working[name].left or 0.0) > 0.0
        else:
            assert filled[name] + left == pytest.approx(order["quantity"], abs=1e-7), order
    assert Counter(end["reason"] for end in ends) == account.broker.unfilled


def test_every_end_stands_in_the_record_of_the_step_in_which_it_came() -> None:
    # o1 buys 10 of A below the market and expires at row 1; o2 (gtc) is replaced by o3 at row 2.
    panel = make_panel({"A": [flat(100.0)] * 4})
    script = {
        0: Decision(intents=(fixed(0, "A", 10.0, limit=90.0),)),
        1: Decision(intents=(fixed(0, "A", 5.0, limit=90.0, tif="gtc"),)),
        2: Decision(intents=(market(0, "A", 500.0),)),
    }
    _, lines = run_lines(panel, ScriptedAgents(script), FREE)
    assert [record["unfilled"] for record in records(lines)] == [
        [],
        [{"order_id": "o1", "quantity": 10.0, "reason": "limit"}],
        [{"order_id": "o2", "quantity": 5.0, "reason": "replaced"}],
        [],
    ]


def ends(desk: Desk, *orders: OrderIntent) -> list[tuple[float | None, str]]:
    desk.send(*orders)
    desk.bar()
    return [(end.quantity, end.reason) for end in desk.broker.take_ended()]


def test_each_reason_by_hand() -> None:
    def desk(**rules: Any) -> Desk:
        return Desk(make_panel({"A": [flat(100.0, 1_000.0)] * 3}), cash_usd=1_000.0, **rules)

    # 2.5 % of 1,000 shares are 25 of the 40 ordered: 15 are left.
    rich = Desk(
        make_panel({"A": [flat(100.0, 1_000.0)] * 3}), cash_usd=1e4, participation_frac=0.025
    )
    assert ends(rich, fixed(0, "A", 40.0)) == [(15.0, "participation")]
    # 1,000 USD buy 10 (less 2e-8 kept for rounding) of 12.
    [(left, reason)] = ends(desk(), fixed(0, "A", 12.0))
    assert (left, reason) == (pytest.approx(2.0, abs=1e-6), "cash")
    assert ends(desk(), fixed(0, "A", 1.0, stop=120.0)) == [(1.0, "stop")]
    assert ends(desk(), fixed(0, "A", 1.0, limit=99.0)) == [(1.0, "limit")]
    # Triggered, but not at its limit.
    assert ends(desk(), fixed(0, "A", 1.0, stop=100.0, limit=99.0)) == [(1.0, "limit")]
    assert ends(desk(), fixed(0, "A", -3.0)) == [(3.0, "margin")]
    # 250 / 100 are 2.5 shares: 2 and a half.
    assert ends(desk(allow_fractional=False), market(0, "A", 250.0)) == [(0.5, "whole_shares")]
    assert ends(desk(min_order_usd=300.0), market(0, "A", 250.0)) == [(2.5, "min_order")]
    assert ends(desk(min_order_usd=250.0), market(0, "A", 250.0)) == []
    # The price went from 100 to 200: five shares are a holding of 1,000 already, and nobody sells.
    moved = Desk(make_panel({"A": [flat(100.0), flat(100.0), flat(200.0)]}), cash_usd=1_000.0)
    assert ends(moved, fixed(0, "A", 5.0)) == []
    assert ends(moved, market(0, "A", 900.0, held_usd=500.0)) == [(0.0, "expired")]


def test_what_sells_out_is_never_too_small_and_a_capped_order_counts_whole() -> None:
    bars = [flat(100.0, 1_000.0)] * 6
    desk = Desk(
        make_panel({"A": bars}), cash_usd=1e5, min_order_usd=600.0, participation_frac=0.005
    )
    # Five shares a bar are 500 USD, below the least; the order is worth 1,200 and goes on, its rest too.
    desk.send(fixed(0, "A", 12.0, tif="gtc"))
    assert [fill.quantity for _ in range(3) for fill in desk.bar()] == [5.0, 5.0, 2.0]
    desk.send(fixed(0, "A", -8.0, tif="gtc"))
    assert [fill.quantity for _ in range(2) for fill in desk.bar()] == [-5.0, -3.0]
    # 4 shares are left, 400 USD: one cannot sell 1 of them, and may sell all.
    again = Desk(make_panel({"A": bars}), cash_usd=1e5, min_order_usd=600.0)
    again.send(fixed(0, "A", 7.0))
    again.bar()
    assert ends(again, fixed(0, "A", -1.0)) == [(1.0, "min_order")]
    again.send(fixed(0, "A", -4.0))
    assert again.bar() == []
    again.send(market(0, "A", 0.0, held_usd=700.0))
    assert [fill.quantity for fill in again.bar()] == [-7.0]


def test_an_order_replaced_before_any_bar_has_no_quantity_left_to_tell() -> None:
    desk = Desk(make_panel({"A": [flat(100.0)] * 2}))
    desk.send(market(0, "A", 500.0), market(0, "A", 400.0))
    assert desk.broker.take_ended() == [Unfilled("o1", None, "replaced")]


# --- volume 0


def volumes(*bars: tuple[float, float]) -> Desk:
    """Closes and volumes of A, one a bar (open = high = low = close)."""
    panel = make_panel({"A": [flat(price, volume) for price, volume in bars]})
    return Desk(panel, cash_usd=1e4, participation_frac=0.5)


def test_volume_zero_is_not_known_in_a_bar_that_moves_and_nothing_in_one_that_stands() -> None:
    desk = volumes((100.0, 10.0), (100.0, 0.0), (101.0, 0.0), (101.0, 0.0))
    desk.send(fixed(0, "A", 20.0, tif="gtc"))
    assert desk.bar() == []
    assert [fill.quantity for fill in desk.bar()] == [20.0]  # no cap: 20 of nobody knows how many
    assert desk.broker.fills_of_unknown_volume == 1
    assert ends(desk, fixed(0, "A", -5.0)) == [(5.0, "no_volume")]


def test_volume_zero_is_not_known_before_a_symbol_had_any() -> None:
    desk = volumes((100.0, 0.0), (100.0, 0.0), (100.0, 6.0), (100.0, 0.0))
    desk.send(fixed(0, "A", 20.0))
    assert [fill.quantity for fill in desk.bar()] == [20.0]
    desk.send(fixed(0, "A", -20.0, tif="gtc"))
    assert [fill.quantity for fill in desk.bar()] == [-3.0]  # half of 6
    assert desk.bar() == []
    assert desk.broker.fills_of_unknown_volume == 1


def test_a_bar_that_moves_only_within_itself_is_no_flat_bar() -> None:
    bars = [(100.0, 100.0, 100.0, 100.0, 9.0), (100.0, 101.0, 100.0, 100.0, 0.0)]
    desk = Desk(make_panel({"A": bars}), participation_frac=0.5)
    desk.send(fixed(0, "A", 1.0))
    assert [fill.quantity for fill in desk.bar()] == [1.0]


def test_missing_volume_in_a_file_with_volume_is_not_known_and_is_no_zero() -> None:
    desk = volumes((100.0, 10.0), (100.0, math.nan))
    desk.send(fixed(0, "A", 20.0))
    assert [fill.quantity for fill in desk.bar()] == [20.0]
    assert desk.broker.fills_of_unknown_volume == 0


def test_what_a_later_row_holds_never_changes_an_earlier_fill() -> None:
    told = []
    for later in ((100.0, 0.0), (150.0, 7.0)):
        desk = volumes((100.0, 0.0), (100.0, 0.0), later)
        desk.send(fixed(0, "A", 20.0))
        told.append(desk.bar())
    assert told[0] == told[1]


def test_counts_reach_the_trading_config() -> None:
    panel = make_panel({"A": [flat(100.0, 1e9)] * 3})
    trading = TradingConfig.model_validate(FREE.model_dump() | {"min_order_usd": 1e6})
    account, _ = run_lines(
        panel, ScriptedAgents({0: Decision(intents=(market(0, "A", 500.0),))}), trading
    )
    assert account.broker.unfilled == {"min_order": 1}
    assert np.array_equal(account.portfolio.array, [0.0])
