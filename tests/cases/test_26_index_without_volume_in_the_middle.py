"""26: volume 0 in a bar that moves is not known; in a flat bar nothing trades, and that is said."""

from __future__ import annotations

from collections.abc import Callable

from tests.cases.conftest import Desk

CASE = "26-index-without-volume-in-the-middle"
NO_COSTS = tuple(
    word
    for setting in ("commission_bps=0", "half_spread_bps=0", "impact_coefficient=0")
    for word in ("--set", f"trading.{setting}")
)
RUN = ("backtest", "--strategy", "buy.py:Buy", "--no-risk", *NO_COSTS)


def test_the_order_fills_whole_where_the_volume_is_not_known(desk: Callable[[str], Desk]) -> None:
    answer = desk(CASE).ask(*RUN, "--data", "NORDX.csv", "--param", "at=25")
    # 100,000 / 4210.85 = 23.748174; x 4456.87 = 105,842.53.
    assert round(answer["final_equity_usd"], 2) == 105_842.53
    assert (answer["fills"], answer["orders_unfilled"]) == (1, {})
    assert any("1 fill was made in bars of volume 0" in note for note in answer["notes"])


def prices(closes: list[float], volumes: list[int]) -> str:
    rows = [
        f"2024-07-{day:02d},{price},{price},{price},{price},{volume}"
        for day, price, volume in zip((1, 2, 3, 5, 8, 9), closes, volumes, strict=True)
    ]
    return "\n".join(["date,open,high,low,close,volume", *rows, ""])


def test_nothing_trades_in_a_flat_bar_and_the_run_says_so(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    text = prices([50, 50, 50, 50, 51, 52], [900, 900, 0, 900, 900, 900])
    (here.path / "FLAT.csv").write_text(text)
    answer = here.ask(*RUN, "--data", "FLAT.csv", "--param", "at=2")
    # The day order of bar 2 meets bar 3 alone: volume 0, all prices 50 as before.
    assert answer["final_equity_usd"] == 100_000.0
    assert (answer["fills"], answer["orders_unfilled"]) == (0, {"no_volume": 1})
    assert here.steps(answer)[2]["unfilled"] == [
        {"order_id": "o1", "quantity": 2_000.0, "reason": "no_volume"}
    ]
    assert "1 no_volume" in here.run("runs", "show", "last").out


def test_a_fund_that_never_has_volume_fills_whole(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    (here.path / "FUND.csv").write_text(prices([50, 50, 50, 50, 50, 55], [0] * 6))
    answer = here.ask(*RUN, "--data", "FUND.csv", "--param", "at=2")
    # 2,000 shares at 50, in a flat bar of a symbol without any volume so far; 2,000 x 55.
    assert round(answer["final_equity_usd"], 2) == 110_000.00


def test_volume_that_begins_later_caps_from_then_on(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    text = prices([50, 50, 50, 50, 55, 55], [0, 0, 0, 800, 800, 800])
    (here.path / "LATE.csv").write_text(text)
    early = here.ask(*RUN, "--data", "LATE.csv", "--param", "at=2")
    assert round(early["final_equity_usd"], 2) == 110_000.00
    late = here.ask(*RUN, "--data", "LATE.csv", "--param", "at=3")
    # 2.5 % of 800 are 20 of the 2,000 ordered: 20 x (55 - 50) = 100.
    assert round(late["final_equity_usd"], 2) == 100_100.00
    assert late["orders_unfilled"] == {"participation": 1}
