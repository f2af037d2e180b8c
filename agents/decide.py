"""One decision for a book of one's own, at the last bar or an earlier one: `athena decide`.

Owns what the answer holds. Places nothing and writes nothing; refuses to know how anything is decided.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from agents.assemble import (
    RunOptions,
    build_deciders,
    load_data,
    log_start,
    plain,
    resolve,
    run_sync,
)
from agents.inputs import read_holdings
from core.config import AthenaConfig
from core.errors import DataError, PriceMissing
from core.types import Order, StepRecord
from trading.engine import Account, run_step, skip_row
from trading.history import History
from trading.panel import MARK, Panel, as_traded_at
from trading.portfolio import BookState
from trading.run import find_span, moment_of, open_account, session_days

log = logging.getLogger(__name__)

OLD_DAYS = 7
"""A last bar older than this is no basis for orders today."""


@dataclass(frozen=True, slots=True, eq=False)
class DecideReport:
    """What would be done now for a book. Nothing is placed."""

    as_of: str
    equity_usd: float
    cash_usd: float
    orders: Sequence[Mapping[str, Any]]
    targets: Mapping[str, float]
    views: Sequence[Mapping[str, Any]]
    limits: Sequence[Mapping[str, Any]]
    positions: Mapping[str, float]
    weights: Mapping[str, float]
    data: Mapping[str, Any]
    notes: Sequence[str]
    news: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `athena decide`."""
        return {
            "as_of": self.as_of,
            "equity_usd": self.equity_usd,
            "cash_usd": self.cash_usd,
            "orders": list(self.orders),
            "targets": dict(self.targets),
            "views": list(self.views),
            "limits": list(self.limits),
            "positions": dict(self.positions),
            "weights": dict(self.weights),
            "data": dict(self.data),
            "notes": list(self.notes),
            "news": self.news,
        }


def decide(config: AthenaConfig, options: RunOptions) -> DecideReport:
    """One decision at the last bar (or at `--as-of`) for the user's own book.

    Prices are scaled so that the last bar is as traded: quantities are real shares, limits real prices.

    Raises: DataError for a moment before the first decision and for a book that is worth nothing;
    PriceMissing for a holding without a price.
    """
    config = resolve(config, options)
    panel = load_data(config, options)
    row = _row_as_of(panel, options.as_of)
    panel = as_traded_at(panel, row)
    deciders = build_deciders(config, options, panel)
    span = find_span(panel, deciders.warmup)
    if row < span.first:
        raise DataError(
            f"At {panel.as_of[row]} {row + 1} bars are known, and the first decision needs "
            f"{span.first + 1}.",
            "Give more history, or lower trading.warmup_bars.",
        )
    log_start("decide", panel, deciders, config, (row, row))
    records: list[bytes] = []
    account = open_account(panel, deciders.agents, config.trading, records.append)
    holdings = None
    if options.holdings is not None:
        holdings = read_holdings(options.holdings).matched(panel.symbols)

    async def go() -> StepRecord | None:
        async with deciders.remembering(account, None, options.environment):
            await _live_through(account, span.first, row, config.learning.rehearsal_bars)
            if holdings is not None:
                _seed(account, row, holdings.cash_usd or 0.0, holdings.quantities)
            return await run_step(account, row)

    record = run_sync(go())
    news = deciders.news(panel, max(span.first, row - config.learning.rehearsal_bars), row)
    notes = [*panel.notes, *([] if news is None else news.notes())]
    if holdings is not None and holdings.cash_usd is None:
        notes.append("The holdings have no CASH line: cash is taken to be 0.")
    age = _age_note(panel, row, options.as_of)
    if age is not None:
        notes.append(age)
    assert record is not None
    equity = record["equity_usd"]
    if not equity > 0.0:
        raise DataError(
            f"The book is worth {equity:,.2f} USD at {record['as_of']}.",
            "Check the quantities and the CASH line of --holdings.",
        )
    log.info("decided at %s: %d orders, nothing placed", record["as_of"], len(record["orders"]))
    return DecideReport(
        as_of=record["as_of"],
        equity_usd=equity,
        cash_usd=record["cash_usd"],
        orders=[_estimated(order, panel, row, record["positions"]) for order in record["orders"]],
        targets=record["targets"],
        views=_view_rows(record["views"]),
        limits=[plain(verdict) for verdict in record["verdict"]],
        positions=record["positions"],
        weights={
            symbol: quantity * float(panel.stack[MARK, row, panel.symbols.index(symbol)]) / equity
            for symbol, quantity in record["positions"].items()
        },
        data={"name": panel.name, "mock": panel.mock, "currency": panel.currency},
        notes=notes,
        news=None if news is None else news.to_dict(),
    )


async def _live_through(account: Account, first: int, row: int, bars: int) -> None:
    """Make every row before `row` known; agents with a memory learn from the last `bars` from `first` on."""
    from agents.coordinator import Coordinator

    tape, remembering = account.tape, account.remembering
    for earlier in range(row):
        skip_row(account, earlier)
        if remembering is None or earlier < max(first, row - bars):
            continue
        assert isinstance(remembering.agents, Coordinator)
        history, count = History(tape.shown, earlier), tape.count
        marks = tape.stack[MARK, earlier, :count].copy()
        cash = account.portfolio.cash_usd
        nothing = BookState(cash, cash, tape.symbols, (0.0,) * count, marks)
        remembered = await remembering.stage.remember(history, nothing, (), ())
        await remembering.agents.rehearse(history, nothing, remembered)


def _estimated(
    order: Order, panel: Panel, row: int, positions: Mapping[str, float]
) -> dict[str, Any]:
    """An order with its signed number of shares: as fixed, or what a market order would come to at the last
    close (it is fixed at the fill)."""
    told = plain(order)
    if order.quantity is not None:
        shares = order.quantity if order.side == "buy" else -order.quantity
    else:
        assert order.value_usd is not None
        close = float(panel.stack[MARK, row, panel.symbols.index(order.symbol)])
        shares = order.value_usd / close - positions.get(order.symbol, 0.0)
    return {**told, "estimated_quantity": round(shares, 6)}


def _age_note(panel: Panel, row: int, as_of: str | None) -> str | None:
    """A sentence when the last bar is older than a week at the moment of the decision."""
    moment = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ns")
    if as_of is not None:
        moment = min(moment, np.datetime64(as_of[:10], "ns"))
    days = int((moment - panel.times[row]) / np.timedelta64(1, "D"))
    if days <= OLD_DAYS:
        return None
    return f"The last bar is {days:,} days old: these orders are for then, not for today."


def _row_as_of(panel: Panel, as_of: str | None) -> int:
    """The last row known at a moment; a bare date means through that day."""
    if as_of is None:
        return panel.rows - 1
    moment, is_date = moment_of(as_of, "--as-of")
    known = session_days(panel) if is_date else panel.times
    row = int(np.searchsorted(known, moment, side="right")) - 1
    if row < 0:
        raise DataError(
            f"--as-of {as_of} lies before the first bar ({panel.as_of[0]}).",
            "Choose a later moment.",
        )
    return row


def _seed(account: Account, row: int, cash: float, holdings: Mapping[str, float]) -> None:
    panel, portfolio = account.tape.panel, account.portfolio
    visible = panel.visible(row)
    known = panel.symbols[:visible]
    missing = [symbol for symbol in holdings if symbol not in known]
    if missing:
        raise PriceMissing(
            f"--holdings has {', '.join(missing)}, without a price up to {panel.as_of[row]}.",
            f"The data have {', '.join(known[:10])}{' ...' if visible > 10 else ''}.",
        )
    portfolio.initial_usd = portfolio.cash_usd = cash
    for symbol, quantity in holdings.items():
        place = panel.symbols.index(symbol)
        portfolio.seed(place, quantity, float(panel.stack[MARK, row, place]))


def _view_rows(views: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "agent": agent,
            "symbol": symbol,
            "expected_return_frac": float(expected),
            "confidence_frac": float(confidence),
        }
        for agent, columns in views.items()
        for symbol, expected, confidence in zip(
            columns["symbols"],
            columns["expected_return_frac"],
            columns["confidence_frac"],
            strict=True,
        )
    ]
