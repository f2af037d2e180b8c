"""A step, and a run of steps: the order of events, the record, and nothing of the future in it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import TradingConfig
from core.errors import DataError
from core.protocols import History, State
from core.types import Decision, Verdict, Views
from tests.fakes import (
    FREE,
    Bars,
    BusyAgents,
    ScriptedAgents,
    cut_bars,
    days,
    fixed,
    flat,
    make_panel,
    market,
    martingale_bars,
    random_bars,
    records,
    run_lines,
    sessions,
)
from trading.engine import Account
from trading.panel import build_panel
from trading.run import (
    Span,
    cash_column,
    cost_columns,
    equity_column,
    find_span,
    open_account,
    replay,
    run_benchmark,
)

KEYS = [
    "step", "as_of", "inputs_hash", "views", "targets", "verdict", "reasons", "orders", "fills",
    "unfilled", "positions", "cash_usd", "equity_usd", "borrow_usd", "forecasts", "memory", "messages",
]  # fmt: skip

COSTLY = TradingConfig(
    commission_bps=3.0,
    commission_per_share_usd=0.004,
    commission_min_usd=0.5,
    half_spread_bps=4.0,
    impact_coefficient=1.0,
    borrow_bps_per_year=80.0,
    participation_frac=0.025,
    delisting_sessions=3,
    warmup_bars=0,
    initial_cash_usd=20_000.0,
)


def buy_once(value_usd: float, row: int = 0) -> ScriptedAgents:
    return ScriptedAgents({row: Decision(intents=(market(0, "A", value_usd, tag="mine"),))})


# --- one step


def test_an_order_of_one_close_fills_in_the_next_record_and_the_book_is_marked_at_its_close() -> (
    None
):
    rows = [flat(100.0), (50.0, 60.0, 40.0, 55.0, math.nan), flat(70.0)]
    _, lines = run_lines(make_panel({"A": rows}), buy_once(1_000.0))
    first, second, third = records(lines)
    assert first["orders"] == [
        {
            "id": "o1", "symbol": "A", "side": "buy", "quantity": None, "value_usd": 1_000.0,
            "type": "market", "limit_price": None, "stop_price": None, "tif": "day", "tag": "mine",
        }
    ]  # fmt: skip
    assert (first["fills"], first["positions"], first["cash_usd"]) == ([], {}, 100_000.0)
    # 1000 / 50 = 20 shares, marked at 55: 99,000 + 1,100.
    assert second["fills"] == [
        {
            "order_id": "o1", "symbol": "A", "quantity": 20.0, "price": 50.0,
            "commission_usd": 0.0, "spread_usd": 0.0, "impact_usd": 0.0,
        }
    ]  # fmt: skip
    assert (second["positions"], second["cash_usd"], second["equity_usd"]) == (
        {"A": 20.0},
        99_000.0,
        100_100.0,
    )
    assert (third["fills"], third["equity_usd"]) == ([], 100_400.0)


def test_every_key_stands_on_every_line_in_order() -> None:
    _, lines = run_lines(build_panel(random_bars(1, 4, 20), name="random"), BusyAgents(1), COSTLY)
    assert all(list(record) == KEYS for record in records(lines))
    assert [record["step"] for record in records(lines)] == list(range(20))


def test_the_last_bar_still_takes_a_decision() -> None:
    _, lines = run_lines(make_panel({"A": [flat(100.0)] * 3}), buy_once(500.0, row=2))
    assert [len(record["orders"]) for record in records(lines)] == [0, 0, 1]


def test_a_symbol_stands_nowhere_before_its_first_bar() -> None:
    bars = random_bars(5, 6, 40)
    panel = build_panel(bars, name="random")
    _, lines = run_lines(panel, BusyAgents(5), COSTLY)
    for row, line in enumerate(lines):
        for symbol in panel.symbols[panel.visible(row) :]:
            assert f'"{symbol}"'.encode() not in line


def test_views_are_columns_without_those_who_abstain_or_say_zero() -> None:
    views = Views("analyst", np.array([0.1, math.nan, 0.0]), np.array([0.5, 0.9, 0.0]))
    agents = ScriptedAgents({0: Decision(views=(views,))})
    rows = {name: [flat(1.0)] for name in "ABC"}
    _, lines = run_lines(make_panel(rows), agents)
    assert records(lines)[0]["views"] == {
        "analyst": {"symbols": ["A"], "expected_return_frac": [0.1], "confidence_frac": [0.5]}
    }


def test_a_verdict_is_recorded_and_its_reasons_are_counted() -> None:
    verdict = Verdict("A", 0.5, 0.2, ("gross", "position"))
    account, lines = run_lines(
        make_panel({"A": [flat(1.0)] * 2}), ScriptedAgents({0: Decision(verdict=(verdict,))})
    )
    assert records(lines)[0]["verdict"] == [
        {"symbol": "A", "wanted_frac": 0.5, "allowed_frac": 0.2, "reasons": ["gross", "position"]}
    ]
    assert account.bound == {"gross": 1, "position": 1}


def test_a_cancelled_order_leaves_and_one_that_is_not_there_is_no_fault() -> None:
    agents = ScriptedAgents(
        {
            0: Decision(intents=(fixed(0, "A", 1.0, limit=90.0, tif="gtc"),)),
            1: Decision(cancel_columns=(0,)),
            2: Decision(cancel_columns=(0,)),
        }
    )
    rows = [flat(100.0), flat(100.0), flat(80.0), flat(80.0)]
    _, lines = run_lines(make_panel({"A": rows}), agents)
    assert all(record["fills"] == [] for record in records(lines))


def test_a_delisting_is_an_order_and_a_fill_of_its_own_step() -> None:
    panel = make_panel(
        {"A": [flat(10.0), flat(20.0), None, None, None], "B": [flat(1.0)] * 5}, times=sessions(5)
    )
    trading = FREE.model_copy(update={"delisting_sessions": 2})
    _, lines = run_lines(panel, buy_once(1_000.0), trading)
    found = records(lines)
    assert [len(record["fills"]) for record in found] == [0, 1, 0, 1, 0]
    assert found[3]["orders"][0]["tag"] == "delisted"
    # 50 shares bought at 20 for 1,000, closed at 20 x (1 - 0.30) = 14: 300 are lost.
    assert found[3]["fills"][0]["price"] == 14.0
    assert found[3]["positions"] == {}
    assert (found[2]["equity_usd"], found[3]["equity_usd"]) == (100_000.0, 99_700.0)


def test_borrowing_is_paid_before_the_fills_of_the_bar_that_ends_it() -> None:
    agents = ScriptedAgents(
        {
            0: Decision(intents=(market(0, "A", -36_000.0),)),
            1: Decision(intents=(market(0, "A", 0.0, held_usd=-36_000.0),)),
        }
    )
    trading = FREE.model_copy(update={"allow_short": True, "borrow_bps_per_year": 100.0})
    _, lines = run_lines(make_panel({"A": [flat(10.0)] * 4}), agents, trading)
    # Sold at the open of row 1, covered at the open of row 2: one day, 36,000 x 1 % / 360 = 1.
    assert [record["borrow_usd"] for record in records(lines)] == [0.0, 0.0, 1.0, 0.0]
    assert records(lines)[-1]["equity_usd"] == 99_999.0


def test_a_book_without_equity_is_wound_up_and_nobody_is_asked_again() -> None:
    asked: list[int] = []

    def script(history: History, state: State) -> Decision:
        asked.append(history.row)
        return Decision(intents=(market(0, "A", -100_000.0),)) if history.row == 0 else Decision()

    trading = FREE.model_copy(update={"allow_short": True})
    rows = [flat(10.0), flat(10.0), flat(30.0), flat(31.0), flat(5.0)]
    _, lines = run_lines(make_panel({"A": rows}), ScriptedAgents(script), trading)
    found = records(lines)
    assert asked == [0, 1]
    # 10,000 short at 10, marked at 30: 200,000 - 300,000; covered at 31: 200,000 - 310,000.
    assert [record["equity_usd"] for record in found] == [1e5, 1e5, -1e5, -1.1e5, -1.1e5]
    assert found[2]["orders"][0]["tag"] == "margin_call"
    assert found[2]["verdict"][0]["reasons"] == ["margin_call"]
    assert found[4]["orders"] == []


# --- spans and the benchmark


def test_the_first_decision_comes_when_the_warm_up_is_visible() -> None:
    panel = make_panel({"A": [flat(float(price)) for price in range(1, 7)]})
    assert find_span(panel, 0) == find_span(panel, 1) == Span(0, 5)
    assert find_span(panel, 4) == Span(3, 5)
    assert find_span(panel, 4, "2020-01-02") == Span(3, 5)
    assert find_span(panel, 2, "2020-01-05") == Span(4, 5)


@pytest.mark.parametrize(
    ("warmup", "start", "found"),
    [
        (7, None, "the data have 6"),
        (0, "2020-01-07", "after the last bar"),
        (0, "soon", "soon is no date"),
    ],
)
def test_a_span_without_rows_is_refused(warmup: int, start: str | None, found: str) -> None:
    with pytest.raises(DataError, match=found):
        find_span(make_panel({"A": [flat(1.0)] * 6}), warmup, start)


def test_warm_up_rows_are_seen_and_hashed_but_not_recorded() -> None:
    seen: list[int] = []

    def script(history: History, state: State) -> None:
        seen.append(len(history.close))

    panel = make_panel({"A": [flat(1.0)] * 5})
    trading = FREE.model_copy(update={"warmup_bars": 3})
    _, late = run_lines(panel, ScriptedAgents(script), trading)
    _, early = run_lines(panel, ScriptedAgents({}))
    assert seen == [3, 4, 5]
    hashes = [[record["inputs_hash"] for record in records(lines)] for lines in (late, early)]
    assert hashes[0] == hashes[1][2:]


async def test_the_benchmark_buys_what_was_listed_at_the_first_close_and_holds_it() -> None:
    panel = make_panel(
        {
            "A": [flat(10.0), flat(10.0), flat(20.0)],
            "B": [flat(50.0), flat(50.0), flat(50.0)],
            "C": [None, flat(1.0), flat(9.0)],
        }
    )
    account = await run_benchmark(panel, FREE, Span(0, 2))
    # 50,000 in A and in B; A doubles.
    assert list(account.curve.equity_usd) == pytest.approx([1e5, 1e5, 1.5e5], abs=0.01)
    assert account.portfolio.positions[panel.symbols.index("C")] == 0.0


def test_sweep_mode_writes_nothing_and_comes_to_the_same_equity() -> None:
    panel = build_panel(random_bars(2, 4, 40), name="random")
    recorded, lines = run_lines(panel, BusyAgents(2), COSTLY)
    account = open_account(panel, BusyAgents(2), COSTLY, None)
    asyncio.run(replay(account, find_span(panel, 0)))
    assert list(account.curve.equity_usd) == list(recorded.curve.equity_usd)
    assert [record["equity_usd"] for record in records(lines)] == list(recorded.curve.equity_usd)
    assert account.written_bytes == 0


# --- the books, over whole runs


def explained(found: list[dict[str, Any]], initial: float, marks: dict[str, float]) -> float:
    """Final equity from the fills in the records alone."""
    cash, held = initial, dict.fromkeys(marks, 0.0)
    for record in found:
        cash -= record["borrow_usd"]
        for fill in record["fills"]:
            cash -= fill["quantity"] * fill["price"]
            cash -= fill["commission_usd"] + fill["spread_usd"] + fill["impact_usd"]
            held[fill["symbol"]] += fill["quantity"]
    return cash + math.fsum(held[symbol] * marks[symbol] for symbol in held if held[symbol])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_equity_is_explained_by_fills_by_trips_and_by_the_curve(
    seed: int, allow_short: bool
) -> None:
    panel = build_panel(random_bars(seed, 5, 50), name="random")
    trading = COSTLY.model_copy(update={"allow_short": allow_short})
    account, lines = run_lines(panel, BusyAgents(seed, allow_short=allow_short), trading)
    found, initial = records(lines), trading.initial_cash_usd
    final = found[-1]["equity_usd"]
    marks = dict(zip(panel.symbols, panel.field("mark")[-1].tolist(), strict=True))
    assert final == pytest.approx(explained(found, initial, marks), abs=0.005)
    # Trips: close what is open at the last marks, without costs.
    book = account.portfolio
    open_usd = math.fsum(
        book.positions[c] * (marks[symbol] - book.average_cost[c])
        for c, symbol in enumerate(panel.symbols)
        if book.positions[c]
    )
    assert final - initial == pytest.approx(
        book.realised_usd + open_usd - book.costs_usd, abs=0.005
    )
    closed = math.fsum(trip.pnl_usd for trip in book.trips)
    assert final - initial == pytest.approx(
        closed + open_pnl(found, marks) - book.borrow_usd, abs=0.005
    )
    # The curve tells the same story.
    curve = account.curve
    assert equity_column(curve).tolist() == [record["equity_usd"] for record in found]
    assert cash_column(curve).tolist() == [record["cash_usd"] for record in found]
    assert float(cost_columns(curve).total_usd.sum()) == pytest.approx(book.costs_usd, abs=0.005)
    if not allow_short:
        assert min(record["cash_usd"] for record in found) >= 0.0
        assert all(quantity > 0.0 for record in found for quantity in record["positions"].values())


def open_pnl(found: list[dict[str, Any]], marks: dict[str, float]) -> float:
    """P&L of what is open at the end, from the fills since each symbol was last flat (a fill that
    crosses zero is split, its costs with it)."""
    held = dict.fromkeys(marks, 0.0)
    flow = dict.fromkeys(marks, 0.0)
    for record in found:
        for fill in record["fills"]:
            symbol, quantity = fill["symbol"], fill["quantity"]
            before = held[symbol]
            after = held[symbol] = round(before + quantity, 8)
            cost = fill["commission_usd"] + fill["spread_usd"] + fill["impact_usd"]
            if after == 0.0:
                flow[symbol] = 0.0
            elif before * after < 0.0:
                flow[symbol] = -after * fill["price"] - cost * after / quantity
            else:
                flow[symbol] -= quantity * fill["price"] + cost
    return math.fsum(flow[each] + held[each] * marks[each] for each in marks if held[each])


# --- nothing of the future


def poisoned(bars: Bars, last: np.datetime64, seed: int) -> Bars:
    """The same bars up to a moment, and other well-formed ones after it."""
    draw = np.random.default_rng(seed)
    changed: Bars = {}
    for symbol, (times, values) in bars.items():
        later = times > last
        other = values.copy()
        other[:, later] *= draw.lognormal(0.0, 0.5, int(later.sum()))
        keep = ~later | (draw.random(len(times)) > 0.2)
        changed[symbol] = (times[keep], other[:, keep])
    return {symbol: each for symbol, each in changed.items() if len(each[0])}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 49), st.booleans())
def test_records_up_to_a_row_are_the_same_bytes_whatever_comes_after(
    seed: int, row: int, allow_short: bool
) -> None:
    bars = random_bars(seed, 6, 50)
    full = build_panel(bars, name="random")
    row = min(row, full.rows - 1)
    last = full.times[row]
    trading = COSTLY.model_copy(update={"allow_short": allow_short})

    def lines_of(some: Bars) -> list[bytes]:
        agents = BusyAgents(seed, allow_short=allow_short)
        return run_lines(build_panel(some, name="random"), agents, trading)[1]

    expected = lines_of(bars)[: row + 1]
    assert lines_of(cut_bars(bars, last)) == expected
    assert lines_of(poisoned(bars, last, seed))[: row + 1] == expected


# --- does it earn what there is to earn, and nothing else


def momentum(history: History, state: State) -> Decision | None:
    """All in while the close is above that of 20 bars ago, else out."""
    if len(history) <= 20:
        return None
    close = history.close
    held = float(state.position_array[0]) * float(close[-1, 0])
    wanted = state.equity_usd if close[-1, 0] > close[-21, 0] else 0.0
    if (wanted > 0.0) is (held > 0.0):
        return None
    return Decision(intents=(market(0, history.symbols[0], wanted, held_usd=held),))


def mean_daily_returns(bars: Bars) -> np.ndarray:
    """Of the momentum script on each path alone, [paths]."""
    means = []
    for symbol, each in bars.items():
        account = run_path({symbol: each})
        equity = equity_column(account.curve)
        means.append(np.mean(equity[1:] / equity[:-1] - 1.0))
    return np.array(means)


def run_path(bars: Bars, trading: TradingConfig = FREE) -> Account:
    return run_lines(build_panel(bars, name="path"), ScriptedAgents(momentum), trading)[0]


def standard_errors(means: np.ndarray) -> float:
    """How many standard errors the mean lies from 0."""
    return float(means.mean() / (means.std(ddof=1) / math.sqrt(len(means))))


def test_momentum_earns_nothing_on_martingales() -> None:
    means = mean_daily_returns(martingale_bars(400, 500, seed=20_130_329))
    assert abs(standard_errors(means)) < 2.0


def test_momentum_finds_a_planted_trend() -> None:
    # Drift of +-0.4 % a day, changing at random every 60 days, against a volatility of 2 %.
    means = mean_daily_returns(martingale_bars(60, 500, seed=7, trend_frac=0.004))
    assert standard_errors(means) > 5.0
    # In the market about half of the time, at 0.4 % a day: above 0.05 % a day.
    assert float(means.mean()) > 0.0005


def test_a_martingale_path_is_one() -> None:
    bars = martingale_bars(400, 100, seed=3)
    last = np.array([values[3, -1] for _, values in bars.values()]) / 100.0
    # E[price] stays 100; its standard deviation over 100 days of 2 % is sqrt(e^0.04 - 1) = 0.2.
    assert abs(last.mean() - 1.0) < 2.0 * math.sqrt(math.expm1(0.04) / 400)
    assert all(len(times) == 100 for times, _ in bars.values())
    assert days(100)[-1] == next(iter(bars.values()))[0][-1]


def test_net_is_gross_of_the_same_fills_minus_the_costs_to_the_cent() -> None:
    trading = TradingConfig(warmup_bars=0)
    total_costs = 0.0
    for symbol, each in martingale_bars(10, 250, seed=11, trend_frac=0.004).items():
        panel = build_panel({symbol: each}, name="path")
        account, lines = run_lines(panel, ScriptedAgents(momentum), trading)
        fills = [fill for record in records(lines) for fill in record["fills"]]
        gross = trading.initial_cash_usd - math.fsum(f["quantity"] * f["price"] for f in fills)
        gross += account.portfolio.positions[0] * float(panel.field("close")[-1, 0])
        costs = math.fsum(f["commission_usd"] + f["spread_usd"] + f["impact_usd"] for f in fills)
        assert account.curve.equity_usd[-1] == pytest.approx(gross - costs, abs=0.005)
        assert account.portfolio.costs_usd == pytest.approx(costs, abs=0.005)
        total_costs += costs
    assert total_costs > 100.0
