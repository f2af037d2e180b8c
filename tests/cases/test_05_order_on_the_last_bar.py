"""05: an order of the last bar is open, not filled, and what is held at the end is shown."""

from __future__ import annotations

from collections.abc import Callable

from tests.cases.conftest import FREE, Desk

CASE = "05-order-on-the-last-bar"
RUN = ("backtest", "--data", "END.csv", "--strategy", "last.py:Last", "--no-risk", *FREE)


def test_the_order_is_open_and_the_position_stands_everywhere(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    answer = here.ask(*RUN)
    # 90,000 / 100 = 900 bought; 10,000 + 900 x 103 = 102,700.
    assert round(answer["final_equity_usd"], 2) == 102_700.00
    assert answer["orders_unfilled"] == {"open": 1}
    [position] = answer["open_positions"]
    told = {key: position[key] for key in ("symbol", "quantity", "entry_price_usd", "mark_usd")}
    assert told == {"symbol": "END", "quantity": 900.0, "entry_price_usd": 100.0, "mark_usd": 103.0}
    assert (position["value_usd"], position["unrealised_usd"]) == (92_700.0, 2_700.0)
    shown = here.run("runs", "show", "last", "--trades").out
    page = (here.run_dir(answer) / "report.html").read_text(encoding="utf-8")
    for text in (shown, page):
        assert "END" in text
        assert "92,700" in text
        assert "1 open" in text
    assert here.ask("runs", "show", "last", "--trades")["open_positions"] == [position]


def test_a_short_position_and_a_limit_order_left_over(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    (here.path / "last.py").write_text(
        "from athena import Target\n"
        "class Last:\n"
        "    def decide(self, history, state):\n"
        "        bar = len(history)\n"
        "        return {'END': -0.5} if bar == 1 else "
        "{'END': Target(0.0, limit_price=90.0, tif='gtc')} if bar == 2 else None\n"
    )
    answer = here.ask(
        *RUN, "--set", "trading.allow_short=true", "--set", "trading.borrow_bps_per_year=0"
    )
    # 500 sold at 100; at 103 they have lost 1,500. The cover at 90 never fills.
    assert round(answer["final_equity_usd"], 2) == 98_500.00
    assert answer["orders_unfilled"] == {"open": 1}
    assert [(each["type"], each["quantity"]) for each in answer["open_orders"]] == [
        ("limit", 500.0)
    ]
    [position] = answer["open_positions"]
    assert (position["quantity"], position["unrealised_usd"]) == (-500.0, -1_500.0)


def test_a_run_that_ends_flat_has_no_open_position(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    text = (here.path / "last.py").read_text().replace("bar == 4", "bar == 3")
    (here.path / "last.py").write_text(text)
    answer = here.ask(*RUN)
    assert answer["open_positions"] == answer["open_orders"] == []
    assert answer["orders_unfilled"] == {}
    assert answer["trades"] == 1
