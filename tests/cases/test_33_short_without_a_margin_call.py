"""33: a short is called at the close that breaks the maintenance margin, and covered at the next open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cases.conftest import FREE, Desk

CASE = "33-short-without-a-margin-call"
SHORT = ("--set", "trading.allow_short=true", "--set", "trading.borrow_bps_per_year=0")
RUN = ("backtest", "--no-risk", *FREE, *SHORT)


def test_the_call_comes_at_44_and_the_cover_at_45(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    answer = here.ask(*RUN, "--data", "SQZ.csv", "--strategy", "short.py:Short")
    # 180,000 - 3,200 x 45 = 36,000. At 44 the equity of 39,200 lacks 3,040 of 0.3 x 140,800 = 42,240.
    assert round(answer["final_equity_usd"], 2) == 36_000.00
    assert answer["margin_calls"]["count"] == 1
    assert round(answer["margin_calls"]["shortfall_usd"], 2) == 3_040.00
    [called] = [step for step in here.steps(answer) if step["verdict"]]
    assert (called["as_of"][:10], called["orders"][0]["tag"]) == ("2024-09-17", "margin_call")
    assert any("called for margin once" in note for note in answer["notes"])


def test_a_lower_rate_calls_later_and_leaves_a_debt_that_is_said(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    words = ("--set", "trading.maintenance_short_frac=0")
    answer = here.ask(*RUN, "--data", "SQZ.csv", "--strategy", "short.py:Short", *words)
    # Without a requirement it ends when the equity is gone: at 60 (-12,000), covered at 61.
    assert round(answer["final_equity_usd"], 2) == -15_200.00
    assert any("Equity was negative" in note for note in answer["notes"])
    shown = here.run("runs", "show", "last").out
    assert "negative" in shown


def table(**closes: list[float]) -> str:
    days = ("2024-09-09", "2024-09-10", "2024-09-11", "2024-09-12", "2024-09-13", "2024-09-16")
    rows = [
        f"{symbol},{day},{price},{price},{price},{price},5000000"
        for symbol, prices in closes.items()
        for day, price in zip(days, prices, strict=True)
    ]
    return "\n".join(["symbol,date,open,high,low,close,volume", *rows, ""])


def test_longs_stay_when_the_cover_alone_cures_it(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    (here.path / "pair.csv").write_text(
        table(LONG=[100, 100, 100, 60, 60, 60], SQZ=[100, 100, 100, 150, 150, 150])
    )
    (here.path / "pair.py").write_text(
        "class Pair:\n"
        "    def decide(self, history, state):\n"
        "        return {'LONG': 0.5, 'SQZ': -0.8} if len(history) == 2 else None\n"
    )
    answer = here.ask(*RUN, "--data", "pair.csv", "--strategy", "pair.py:Pair")
    # 500 LONG and -800 SQZ at 100, cash 130,000. At 60 and 150: 130,000 + 30,000 - 120,000 = 40,000, and
    # 0.25 x 30,000 + 0.3 x 120,000 = 43,500 are needed. After the cover at 150: 10,000 + 500 x 60 = 40,000.
    assert round(answer["final_equity_usd"], 2) == 40_000.00
    assert [each["symbol"] for each in answer["open_positions"]] == ["LONG"]
    assert round(answer["margin_calls"]["shortfall_usd"], 2) == 3_500.00


def test_longs_are_sold_when_the_next_close_is_still_short(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    (here.path / "pair.csv").write_text(
        table(LONG=[100, 100, 100, 60, 15, 15], SQZ=[100, 100, 100, 150, 155, 155])
    )
    (here.path / "pair.py").write_text(
        "class Pair:\n"
        "    def decide(self, history, state):\n"
        "        return {'LONG': 0.5, 'SQZ': -0.8} if len(history) == 2 else None\n"
    )
    answer = here.ask(
        *RUN,
        "--data",
        "pair.csv",
        "--strategy",
        "pair.py:Pair",
        "--set",
        "trading.maintenance_long_frac=1",
    )
    # Covered at 155: 130,000 - 124,000 = 6,000; LONG 500 x 15 = 7,500: 13,500 of equity, 7,500 are needed.
    assert round(answer["final_equity_usd"], 2) == 13_500.00
    assert answer["margin_calls"]["count"] == 1
    # A fall to 155 x 800 above the cash leaves a debt: 130,000 - 800 x 168 = -4,400, and 500 x 15 above it.
    (here.path / "pair.csv").write_text(
        table(LONG=[100, 100, 100, 60, 15, 15], SQZ=[100, 100, 100, 150, 168, 168])
    )
    sold = here.ask(*RUN, "--data", "pair.csv", "--strategy", "pair.py:Pair")
    # 3,100 of equity; 25 % of 7,500 are 1,875: enough, kept. With 100 % of it LONG is sold too.
    assert [each["symbol"] for each in sold["open_positions"]] == ["LONG"]
    all_sold = here.ask(
        *RUN,
        "--data",
        "pair.csv",
        "--strategy",
        "pair.py:Pair",
        "--set",
        "trading.maintenance_long_frac=1",
    )
    assert all_sold["open_positions"] == []
    assert round(all_sold["final_equity_usd"], 2) == round(sold["final_equity_usd"], 2) == 3_100.00


def test_working_orders_end_for_margin(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    (here.path / "both.py").write_text(
        "from athena import Target\n"
        "class Both:\n"
        "    def decide(self, history, state):\n"
        "        bar = len(history)\n"
        "        return {'SQZ': -0.8} if bar == 2 else "
        "{'SQZ': Target(0.0, limit_price=20.0, tif='gtc')} if bar == 3 else None\n"
    )
    answer = here.ask(*RUN, "--data", "SQZ.csv", "--strategy", "both.py:Both")
    assert round(answer["final_equity_usd"], 2) == 36_000.00
    assert answer["orders_unfilled"] == {"margin": 1}


TWO = (
    "from athena import Target\n"
    "class Two:\n"
    "    def decide(self, history, state):\n"
    "        if len(history) != 2:\n"
    "            return None\n"
    "        return {'LONG': 0.4, 'HALT': Target(-0.4, tag='mine'), 'SQZ': -0.4}\n"
)


def two_shorts(folder: Path, squeezed: int, halted: tuple[int, ...]) -> None:
    """A long and two shorts of 400 from the third bar on; the shorts stand at `squeezed` from the fourth."""
    rows = table(
        LONG=[100] * 6, HALT=[100] * 3 + [squeezed] * 3, SQZ=[100] * 3 + [squeezed] * 3
    ).splitlines()
    halts = [row for row in rows if row.startswith("HALT")]
    kept = [row for row in rows if row not in [halts[at] for at in halted]]
    (folder / "two.csv").write_text("\n".join([*kept, ""]))
    (folder / "two.py").write_text(TWO)


def test_a_halted_short_waits_and_the_note_says_so(desk: Callable[[str], Desk]) -> None:
    here = desk(CASE)
    two_shorts(here.path, 170, halted=(4, 5))
    answer = here.ask(*RUN, "--data", "two.csv", "--strategy", "two.py:Two")
    # 100,000 + 800 x 100 - 400 x 100 = 140,000 of cash. At 170: 140,000 + 40,000 - 136,000 = 44,000, and
    # 0.25 x 40,000 + 0.3 x 136,000 = 50,800 are needed. SQZ is covered at 170; HALT has no bar any more.
    assert round(answer["final_equity_usd"], 2) == 44_000.00
    assert round(answer["margin_calls"]["shortfall_usd"], 2) == 6_800.00
    [note] = [each for each in answer["notes"] if "called for margin" in each]
    assert note.endswith("covered 1 short. At the end 1 order of the call still waited for a bar.")
    assert answer["orders_unfilled"] == {"open": 1}


def test_the_note_counts_longs_too_and_the_trades_name_the_call(
    desk: Callable[[str], Desk],
) -> None:
    here = desk(CASE)
    two_shorts(here.path, 500, halted=())
    answer = here.ask(*RUN, "--data", "two.csv", "--strategy", "two.py:Two")
    # 140,000 + 40,000 - 400,000 = -220,000: no equity is left, so that the long goes with the shorts.
    assert round(answer["final_equity_usd"], 2) == -220_000.00
    [note] = [each for each in answer["notes"] if "called for margin" in each]
    assert note.endswith("The broker covered 2 shorts and sold 1 long.")
    trades = here.ask("runs", "show", "last", "--trades")["round_trips"]
    assert {each["tag"] for each in trades} == {"margin_call"}
