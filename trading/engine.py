"""`run_step`: the one place where the stages of a step meet the world.

Backtest, paper trading and `decide` are loops over it; they differ in clock, data source and broker only.
Owns the order of events of a step (`docs/interface.md`, "Record t") and the receipt, the `StepRecord`.
Refuses to know who decides, where bars come from and what is done with the receipt.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from core.errors import PriceMissing
from core.protocols import Agents, Remembering
from core.types import Decision, Fill, Order, OrderIntent, StepRecord, Verdict, Views
from trading.broker import SimulatedBroker
from trading.costs import DOLLAR_DIGITS
from trading.history import History, Tape
from trading.margin import MARGIN_CALL, MarginCalls, MarginRule
from trading.panel import MARK
from trading.portfolio import BookState, Portfolio

FloatArray = npt.NDArray[np.float64]
NO_DECISION = Decision()
WEIGHT_DIGITS = 8
NO_FORECASTS: dict[str, Any] = {}
NO_MEMORY: dict[str, Any] = {"operations": [], "recalled": {}}
_new_tuple = tuple.__new__  # what the class's own constructor does, in a third of the time


class Booked(NamedTuple):
    """What the fills and the borrowing of one step traded and cost; only steps that had any."""

    step: int
    cash_usd: float
    traded_usd: float
    commission_usd: float
    spread_usd: float
    impact_usd: float
    borrow_usd: float


class Curve:
    """What a run's figures are computed from: two floats per step, and a row per step that traded."""

    __slots__ = ("booked", "equity_usd", "first_row", "gross_usd", "initial_cash_usd")

    def __init__(self, initial_cash_usd: float) -> None:
        self.first_row = 0
        self.initial_cash_usd = initial_cash_usd
        self.equity_usd = array("d")
        self.gross_usd = array("d")
        self.booked: list[Booked] = []

    def book(self, cash_usd: float, fills: list[Fill], borrow_usd: float) -> None:
        """Note what the present step traded and cost; to be called before its equity is appended."""
        traded = commission = spread = impact = 0.0
        for fill in fills:
            traded += abs(fill.quantity) * fill.price
            commission += fill.commission_usd
            spread += fill.spread_usd
            impact += fill.impact_usd
        self.booked.append(
            Booked(len(self.equity_usd), cash_usd, traded, commission, spread, impact, borrow_usd)
        )


class Account:
    """Everything a run carries from one step to the next.

    `write` takes one JSON line per step, or is None in sweep mode, which keeps the curve alone.
    `bound` counts how often each reason code of a verdict bound. With `remembering`, its memory stage acts
    before its agents decide, and `agents` are not asked.
    """

    __slots__ = (
        "agents",
        "bound",
        "broker",
        "charges_borrow",
        "curve",
        "margin",
        "margin_calls",
        "portfolio",
        "remembering",
        "step",
        "tape",
        "write",
        "written_bytes",
    )

    def __init__(
        self,
        tape: Tape,
        portfolio: Portfolio,
        broker: SimulatedBroker,
        agents: Agents,
        write: Callable[[bytes], object] | None,
        *,
        charges_borrow: bool = False,
        remembering: Remembering[Any] | None = None,
        margin: MarginRule | None = None,
    ) -> None:
        self.tape = tape
        self.portfolio = portfolio
        self.broker = broker
        self.agents = agents
        self.write = write
        self.charges_borrow = charges_borrow
        self.remembering = remembering
        self.margin = margin or MarginRule()
        self.margin_calls = MarginCalls()
        self.curve = Curve(portfolio.cash_usd)
        self.bound: dict[str, int] = {}
        self.step = 0
        self.written_bytes = 0


def skip_row(account: Account, row: int) -> None:
    """Make a warm-up row known without deciding anything; it enters the chain of inputs only."""
    tape = account.tape
    shown = tape.count
    tape.reveal(row)
    if account.write is not None:
        tape.chain(tape.symbols[shown:])


async def run_step(account: Account, row: int) -> StepRecord | None:
    """One step: fills in this bar, the book marked at its close, the decision taken there, its orders.

    Returns the record, or None in sweep mode.
    Raises: whatever the agents raise; LedgerImbalance; PriceMissing for a held symbol without a price.
    """
    tape, portfolio, broker = account.tape, account.portfolio, account.broker
    curve = account.curve
    shown = tape.count
    tape.reveal(row)
    count = tape.count

    trips = len(portfolio.trips)
    borrow = broker.charge_borrow() if account.charges_borrow and portfolio.held else 0.0
    if tape.may_go_stale and portfolio.held:
        broker.note_returns()
    fills: list[Fill] = broker.fill_bar() if broker.working else []
    orders: list[Order] = []
    if tape.may_go_stale and portfolio.held:
        orders, closed = broker.close_delisted()
        fills += closed
    if fills or borrow:
        curve.book(portfolio.cash_usd, fills, borrow)

    marks: Sequence[float] | FloatArray
    if count == 1:
        held = portfolio.positions[0]
        only = tape.only_marks
        mark = only[row] if only is not None else float(tape.stack[MARK, row, 0])
        value = held * mark if held else 0.0
        gross = abs(value)
        positions: tuple[float, ...] = (held,)
        marks = (mark,)
    else:
        marks = tape.stack[MARK, row, :count]
        values = portfolio.array[:count] * marks
        value = float(values.sum())
        gross = float(np.abs(values).sum())
        positions = tuple(portfolio.positions[:count])
        marks = np.frombuffer(marks.tobytes())  # a copy of its own that nobody can write to
    if math.isnan(value):
        raise _unpriced(account)
    equity = round(portfolio.cash_usd + value, DOLLAR_DIGITS)

    lacking = 0.0
    if gross > value or portfolio.cash_usd < 0.0:
        lacking = account.margin.shortfall_usd(equity, gross, value)
    unmet = (
        account.margin_calls.note(lacking) if lacking or account.margin_calls.standing else False
    )
    if not lacking and equity > 0.0:
        history = History(tape.shown, row)
        book = _new_tuple(BookState, (equity, portfolio.cash_usd, tape.symbols, positions, marks))
        remembering = account.remembering
        if remembering is None:
            decision = await account.agents.decide(history, book)
        else:
            remembered = await remembering.stage.remember(
                history, book, fills, portfolio.trips[trips:]
            )
            decision = await remembering.agents.decide_remembering(history, book, remembered)
    else:
        decision = _margin_call(account, everything=unmet or equity <= 0.0)
    if decision.cancel_columns and broker.working:
        broker.cancel(decision.cancel_columns)
    for intent in decision.intents:
        orders.append(broker.submit(intent))

    ended = broker.take_ended()

    step = account.step
    if step == 0:
        curve.first_row = row
    account.step = step + 1
    curve.equity_usd.append(equity)
    curve.gross_usd.append(gross)
    if decision.verdict:
        for verdict in decision.verdict:
            for reason in verdict.reasons:
                account.bound[reason] = account.bound.get(reason, 0) + 1
    if account.write is None:
        return None

    symbols = tape.symbols
    record: StepRecord = {
        "step": step,
        "as_of": tape.panel.as_of[row],
        "inputs_hash": tape.chain(symbols[shown:]),
        "views": view_columns(decision.views, symbols) if decision.views else {},
        "targets": decision.targets or {},
        "verdict": decision.verdict,
        "reasons": decision.reasons or {},
        "orders": orders,
        "fills": fills,
        "unfilled": ended,
        "positions": {symbols[c]: positions[c] for c in sorted(portfolio.held)},
        "cash_usd": portfolio.cash_usd,
        "equity_usd": equity,
        "borrow_usd": borrow,
        "forecasts": NO_FORECASTS if decision.forecasts is None else decision.forecasts,
        "memory": NO_MEMORY if decision.memory is None else decision.memory,
        "messages": decision.messages or (),
    }
    line = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    account.written_bytes += len(line) + 1
    account.write(line)
    return record


def view_columns(views: tuple[Views, ...], symbols: tuple[str, ...]) -> dict[str, Any]:
    """Views as they stand in a record: per agent, columns over the symbols that it did not abstain on."""
    columns: dict[str, Any] = {}
    for view in views:
        spoken = np.flatnonzero(
            ~np.isnan(view.expected_return_frac)
            & ((view.expected_return_frac != 0.0) | (view.confidence_frac != 0.0))
        )
        columns[view.agent] = {
            "symbols": [symbols[column] for column in spoken.tolist()],
            "expected_return_frac": view.expected_return_frac[spoken],
            "confidence_frac": view.confidence_frac[spoken],
        }
    return columns


def _margin_call(account: Account, *, everything: bool) -> Decision:
    """The broker's decision for a book below its maintenance margin; nobody else is asked.

    All shorts are covered at the next open, tag `margin_call`. When the next close finds the call unmet, or
    the equity is gone, all longs are sold too. An order of an earlier close of the same call goes on working;
    all others end, reason `margin`.
    """
    portfolio, symbols, broker = account.portfolio, account.tape.symbols, account.broker
    shorts = [c for c in sorted(portfolio.held) if portfolio.positions[c] < 0.0]
    closing = sorted(portfolio.held) if everything or not shorts else shorts
    at_work = {c for c, each in broker.working.items() if each.order.tag == MARGIN_CALL}
    broker.cancel([c for c in sorted(broker.working) if c not in at_work], reason="margin")
    return Decision(
        verdict=tuple(
            Verdict(symbols[c], _weight(account, c), 0.0, (MARGIN_CALL,)) for c in closing
        ),
        intents=tuple(
            OrderIntent(
                column=c,
                symbol=symbols[c],
                side="sell" if portfolio.positions[c] > 0.0 else "buy",
                value_usd=0.0,
                tif="gtc",
                tag=MARGIN_CALL,
            )
            for c in closing
            if c not in at_work
        ),
    )


def _weight(account: Account, column: int) -> float:
    """A holding's value over equity at the present close; 0 for a book without equity."""
    tape, portfolio = account.tape, account.portfolio
    values = portfolio.array[: tape.count] * tape.stack[MARK, tape.row, : tape.count]
    equity = portfolio.cash_usd + float(np.nansum(values))
    return round(float(values[column]) / equity, WEIGHT_DIGITS) if equity > 0.0 else 0.0


def _unpriced(account: Account) -> PriceMissing:
    tape = account.tape
    names = [
        tape.panel.symbols[column]
        for column in sorted(account.portfolio.held)
        if np.isnan(tape.stack[MARK, tape.row, column])
    ]
    return PriceMissing(
        f"{', '.join(names)} is held and never had a price up to {tape.panel.as_of[tape.row]}.",
        "Give data that hold its prices, or take it out of the holdings.",
    )
