"""31: nothing is sold in a halt; what stays away is closed at -30 %, a member that left at its last close."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import FREE, Desk

CASE = "31-trading-halt-while-held"
RUN = ("backtest", "--strategy", "buy.py:Buy", "--no-risk", *FREE)


@pytest.mark.parametrize(
    ("file", "equity_usd", "price"),
    # 1,000 x 50 + 1,250 x 16, or x 60.
    [("back-lower.csv", 70_000.00, 16.0), ("back-higher.csv", 125_000.00, 60.0)],
)
def test_the_holding_is_kept_and_goes_on_at_the_new_price(
    desk: Callable[[str], Desk], file: str, equity_usd: float, price: float
) -> None:
    answer = desk(CASE).ask(*RUN, "--data", file)
    assert round(answer["final_equity_usd"], 2) == equity_usd
    assert answer["delistings"]["count"] == answer["trades"] == 0
    [back] = answer["delistings"]["returned"]
    assert (back["symbol"], back["missed_bars"], back["price_usd"]) == ("HALT", 15, price)
    assert any("HALT traded again" in note for note in answer["notes"])


def stay_and_gone(
    folder: Path, gone_after: int, sessions: int = 80, back: float | None = None
) -> None:
    """STAY has a bar at 50 in every session of 2024 from June 3 on, GONE at 40 until it stops; with `back` it
    has the last bar again."""
    from trading.calendar import sessions_between

    first, last = (int(day) for day in (19_877, 19_877 + 200))  # 2024-06-03
    days = sessions_between("XNYS", first, last).days[:sessions]
    import numpy as np

    names = [str(np.datetime64(int(day), "D")) for day in days]
    rows = [f"STAY,{day},50,50,50,50,5000000" for day in names]
    rows += [f"GONE,{day},40,40,40,40,5000000" for day in names[:gone_after]]
    if back is not None:
        rows.append(f"GONE,{names[-1]},{back},{back},{back},{back},5000000")
    text = "\n".join(["symbol,date,open,high,low,close,volume", *rows, ""])
    (folder / "gone.csv").write_text(text)


def test_after_sixty_sessions_a_long_is_closed_with_the_delisting_return(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    stay_and_gone(here.path, gone_after=5)
    answer = here.ask(*RUN, "--data", "gone.csv")
    # 1,000 x 50 + 1,250 x 40 x 0.7 = 85,000; the benchmark holds the same and obeys the same rule.
    assert round(answer["final_equity_usd"], 2) == 85_000.00
    assert round(answer["benchmark"]["final_equity_usd"], 2) == 85_000.00
    assert answer["delistings"]["count"] == 1
    assert round(answer["delistings"]["cost_usd"], 2) == 15_000.00
    assert answer["benchmark"]["delistings"]["count"] == 1
    assert round(answer["benchmark"]["delistings"]["cost_usd"], 2) == 15_000.00
    assert any("The benchmark had 1 holding closed" in note for note in answer["notes"])
    [closed] = answer["delistings"]["closed"]
    assert (closed["price_usd"], closed["last_close_usd"]) == (28.0, 40.0)
    # Bars 0 to 4 are GONE's; 60 sessions later is record 64.
    assert [step["step"] for step in here.steps(answer) if "GONE" not in step["positions"]][
        -1
    ] == 79
    assert "GONE" in here.steps(answer)[63]["positions"]
    assert "GONE" not in here.steps(answer)[64]["positions"]
    kept = here.ask(*RUN, "--data", "gone.csv", "--set", "trading.delisting_return_frac=0")
    assert round(kept["final_equity_usd"], 2) == 100_000.00
    none = here.ask(*RUN, "--data", "gone.csv", "--set", "trading.delisting_sessions=76")
    [stale] = [each for each in none["open_positions"] if each["symbol"] == "GONE"]
    assert stale["missed_bars"] == 75
    assert any("GONE is held at its close of" in note for note in none["notes"])


def test_a_short_is_closed_at_the_last_close(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    stay_and_gone(here.path, gone_after=5)
    words = ("--set", "trading.allow_short=true", "--set", "trading.borrow_bps_per_year=0")
    answer = here.ask(*RUN, "--data", "gone.csv", "--param", "weight=-1.0", *words)
    assert round(answer["final_equity_usd"], 2) == 100_000.00
    assert (answer["delistings"]["count"], answer["delistings"]["cost_usd"]) == (1, 0.0)
    assert any("a short of 1,250 was closed at 40" in note for note in answer["notes"])


def test_a_member_without_a_bar_after_its_end_is_closed_at_its_last_close(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    stay_and_gone(here.path, gone_after=5)
    (here.path / "members.csv").write_text("symbol,from,to\nSTAY,,\nGONE,,2024-06-07\n")
    answer = here.ask(*RUN, "--data", "gone.csv", "--universe", "members.csv")
    assert round(answer["final_equity_usd"], 2) == 100_000.00
    [closed] = answer["delistings"]["closed"]
    assert (closed["time"][:10], closed["price_usd"], closed["left_universe"]) == (
        "2024-06-10",
        40.0,
        True,
    )


def test_a_member_that_trades_on_after_its_end_is_sold_at_its_own_price(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    stay_and_gone(here.path, gone_after=80)
    lines = (here.path / "gone.csv").read_text().splitlines()
    later = [line.startswith("GONE") and line[5:15] > "2024-06-07" for line in lines]
    moved = [
        line.replace("40", "44") if after else line
        for line, after in zip(lines, later, strict=True)
    ]
    (here.path / "gone.csv").write_text("\n".join(moved))
    (here.path / "members.csv").write_text("symbol,from,to\nSTAY,,\nGONE,,2024-06-07\n")
    answer = here.ask(*RUN, "--data", "gone.csv", "--universe", "members.csv")
    # It is no member from June 10 on, and so sold by an order at the open of the 11th: 1,250 x 44.
    assert round(answer["final_equity_usd"], 2) == 105_000.00
    assert answer["delistings"]["count"] == 0


def test_the_old_setting_is_refused_with_the_new_one(desk: Callable[[str], Desk]) -> None:
    told = desk(CASE).run(*RUN, "--data", "back-lower.csv", "--set", "trading.delisting_bars=10")
    assert told.code == 2
    assert "trading.delisting_sessions" in told.err
