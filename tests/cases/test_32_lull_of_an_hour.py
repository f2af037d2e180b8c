"""32: rows of another symbol never delist one that does not trade for an hour or a night."""

from __future__ import annotations

from collections.abc import Callable

from tests.cases.conftest import FREE, Desk

CASE = "32-lull-of-an-hour"
RUN = ("backtest", "--strategy", "buy.py:Buy", "--no-risk", *FREE)
FEW = ("--set", "trading.delisting_sessions=1")


def test_a_lull_within_a_session_is_no_delisting(desk: Callable[[str], Desk]) -> None:
    for more in ((), FEW):
        answer = desk(CASE if not more else "").ask(*RUN, "--data", "prices.csv", *more)
        # 1,000 x 50 + 1,250 x 38.
        assert round(answer["final_equity_usd"], 2) == 97_500.00
        assert answer["delistings"]["count"] == answer["trades"] == 0


def test_a_night_in_which_a_coin_trades_on_is_no_delisting(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    hours = [f"2024-06-{day:02d}T{hour:02d}:00:00Z" for day in (3, 4) for hour in range(24)]
    rows = [f"COIN,{hour},50,50,50,50,5000000" for hour in hours]
    rows += [
        f"STOCK,{hour},{price},{price},{price},{price},5000000"
        for hour in hours
        if 14 <= int(hour[11:13]) < 20
        for price in (40 if "-03T" in hour else 32,)
    ]
    text = "\n".join(["symbol,time,open,high,low,close,volume", *rows, ""])
    (here.path / "mixed.csv").write_text(text)
    answer = here.ask(*RUN, "--data", "mixed.csv", "--param", "at=16", *FEW)
    # Bought at 40 and 50 (50,000 each: 1,250 and 1,000) after 15:00; the next day STOCK is at 32.
    assert round(answer["final_equity_usd"], 2) == 90_000.00
    assert answer["delistings"]["count"] == 0


def test_a_stock_over_a_long_weekend_of_a_coin_is_no_delisting(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    days = [f"2024-05-{day:02d}" for day in range(20, 32)]
    closed = {"2024-05-25", "2024-05-26", "2024-05-27"}  # Memorial Day is the 27th
    rows = [f"COIN,{day},50,50,50,50,5000000" for day in days]
    rows += [f"STOCK,{day},40,40,40,40,5000000" for day in days if day not in closed]
    text = "\n".join(["symbol,date,open,high,low,close,volume", *rows, ""])
    (here.path / "mixed.csv").write_text(text)
    answer = here.ask(*RUN, "--data", "mixed.csv", *FEW)
    assert answer["delistings"]["count"] == answer["trades"] == 0
    assert {each["symbol"] for each in answer["open_positions"]} == {"COIN", "STOCK"}
