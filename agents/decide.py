"""One decision for a book of one's own, at the last bar or an earlier one: `athena decide`.

Owns the book that is decided for and what the answer holds; `agents/decisions.py` says what the decision
comes to. Places nothing; refuses to know how anything is decided.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from agents.assemble import (
    RunOptions,
    build_deciders,
    load_data,
    log_start,
    resolve,
    run_sync,
)
from agents.decisions import OrderRules, Quote, SymbolDecision, propose
from agents.doubts import doubts, touched
from agents.inputs import Holdings, read_holdings
from agents.reasons import Decider
from core.config import AthenaConfig, TradingConfig
from core.errors import DataError, UsageError
from core.files import write_atomic
from trading.costs import volatility_before
from trading.engine import Account, run_step, skip_row
from trading.history import History
from trading.panel import CLOSE, MARK, VOLUME, Panel, as_traded_at
from trading.portfolio import BookState
from trading.run import cost_model, find_span, moment_of, open_account, session_days

log = logging.getLogger(__name__)

OLD_DAYS = 7
"""A last bar older than this is no basis for orders today."""


@dataclass(frozen=True, slots=True, eq=False)
class DecideReport:
    """What would be done now for a book. Nothing is placed."""

    as_of: str
    equity_usd: float
    cash_usd: float
    decisions: Sequence[Mapping[str, Any]]
    orders: Sequence[Mapping[str, Any]]
    targets: Mapping[str, float]
    views: Sequence[Mapping[str, Any]]
    limits: Sequence[Mapping[str, Any]]
    positions: Mapping[str, float]
    weights: Mapping[str, float | None]
    data: Mapping[str, Any]
    notes: Sequence[str]
    limits_in_force: bool
    news: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `athena decide`."""
        return {
            "as_of": self.as_of,
            "equity_usd": self.equity_usd,
            "cash_usd": self.cash_usd,
            "decisions": list(self.decisions),
            "orders": list(self.orders),
            "targets": dict(self.targets),
            "views": list(self.views),
            "limits": list(self.limits),
            "limits_in_force": self.limits_in_force,
            "positions": dict(self.positions),
            "weights": dict(self.weights),
            "data": dict(self.data),
            "notes": list(self.notes),
            "news": self.news,
        }


def decide(config: AthenaConfig, options: RunOptions) -> DecideReport:
    """One decision at the last bar (or at `--as-of`) for the user's own book.

    Prices are scaled so that the last bar is as traded: quantities are real shares, limits real prices.

    A holding without a price is kept, and stands outside the equity.

    Raises: DataError for a moment before the first decision and for a book that is worth nothing;
    DoubtfulPrices for a gross price error within the look-back.
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
    known = panel.symbols[: panel.visible(row)]
    holdings = None
    if options.holdings is not None:
        holdings = read_holdings(options.holdings).matched(panel.symbols)
    priced, unpriced = _split(holdings, known)

    async def go() -> None:
        async with deciders.remembering(account, None, options.environment):
            await _live_through(account, span.first, row, config.learning.rehearsal_bars)
            if holdings is not None:
                _seed(account, row, holdings.cash_usd or 0.0, priced)
            await run_step(account, row)

    run_sync(go())
    record = orjson.loads(records[-1])
    news = deciders.news(panel, max(span.first, row - config.learning.rehearsal_bars), row)
    equity = record["equity_usd"]
    if not equity > 0.0:
        outside = f", without {', '.join(unpriced)} (no price)" if unpriced else ""
        raise DataError(
            f"The book is worth {equity:,.2f} USD at {record['as_of']}{outside}.",
            "Check the quantities and the CASH line of --holdings.",
        )
    asked = options.symbols is not None or options.universe is not None
    proposal = propose(
        record,
        symbols=panel.symbols if asked else account.tape.symbols,
        unpriced=unpriced,
        quotes=_quotes(panel, row, config.trading),
        rules=OrderRules(
            cost_model(config.trading),
            config.trading.allow_fractional,
            config.trading.min_order_usd,
            config.trading.participation_frac,
        ),
        decider=Decider(deciders.name, config.agents.analyst.horizon_bars),
    )
    doubtful = doubts((config, options, deciders), panel, row, touched(records[-1]))
    log.info("decided at %s: %d orders, nothing placed", record["as_of"], len(proposal.orders))
    held = {**record["positions"], **unpriced}
    weights = {each.symbol: each.present_weight for each in proposal.decisions}
    return DecideReport(
        as_of=record["as_of"],
        equity_usd=equity,
        cash_usd=record["cash_usd"],
        decisions=[each.to_dict() for each in proposal.decisions],
        orders=proposal.orders,
        targets=record["targets"],
        views=_view_rows(record["views"]),
        limits=record["verdict"],
        limits_in_force=deciders.limits,
        positions=held,
        weights={symbol: weights[symbol] for symbol in held},
        data={"name": panel.name, "mock": panel.mock, "currency": panel.currency},
        notes=[
            *panel.notes,
            *deciders.notes(),
            *doubtful,
            *([] if news is None else news.notes()),
            *_book_notes(holdings, unpriced, record["as_of"]),
            *proposal.notes,
            *_age_notes(panel, row, options.as_of),
        ],
        news=None if news is None else news.to_dict(),
    )


def write_decisions(report: DecideReport, path: Path) -> None:
    """The whole answer as JSON, or the decisions as CSV, by the file's suffix; whole or not at all.

    Raises: UsageError for another suffix, StorageError.
    """
    check_out(path)
    if path.suffix == ".json":
        content = orjson.dumps(report.to_dict(), option=orjson.OPT_INDENT_2) + b"\n"
    else:
        text = io.StringIO()
        table = csv.DictWriter(text, SymbolDecision.__slots__, lineterminator="\n")
        table.writeheader()
        table.writerows(report.decisions)
        content = text.getvalue().encode()
    write_atomic(path, content)


def check_out(path: Path) -> None:
    """Raises: UsageError for a file that `write_decisions` would not write."""
    if path.suffix not in (".json", ".csv"):
        raise UsageError(
            f"--out is {path}.", "Name a .json file (the whole answer) or a .csv (the decisions)."
        )


def _split(
    holdings: Holdings | None, known: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """(what has a price by now, what has none) of a book."""
    held = {} if holdings is None else holdings.quantities
    priced = {symbol: quantity for symbol, quantity in held.items() if symbol in known}
    return priced, {symbol: q for symbol, q in held.items() if symbol not in priced}


def _quotes(panel: Panel, row: int, trading: TradingConfig) -> dict[str, Quote]:
    """What is known of every symbol that has had a bar by a row."""
    bars = trading.impact_volatility_bars
    quotes = {}
    for column in range(panel.visible(row)):
        closes = panel.stack[CLOSE, : row + 1, column]
        volume = panel.stack[VOLUME, max(row + 1 - bars, 0) : row + 1, column]
        traded = volume[volume > 0.0]
        sigma = float(volatility_before(np.append(closes, np.nan), bars)[-1])
        quotes[panel.symbols[column]] = Quote(
            close_usd=float(panel.stack[MARK, row, column]),
            volume_shares=float(traded.mean()) if len(traded) else math.nan,
            sigma_frac=0.0 if math.isnan(sigma) else sigma,
        )
    return quotes


def _book_notes(
    holdings: Holdings | None, unpriced: Mapping[str, float], as_of: str
) -> Iterator[str]:
    """What of the book could not be used, or was taken to be something."""
    if holdings is None:
        return
    if holdings.cash_usd is None:
        yield "The holdings have no CASH line: cash is taken to be 0."
    if holdings.ignored:
        yield f"Columns of the holdings that were not read: {', '.join(holdings.ignored)}."
    if unpriced:
        many = (
            "have no price in the data and are"
            if len(unpriced) > 1
            else "has no price in the bars of this run and is"
        )
        yield f"{', '.join(unpriced)} {many} kept as held, outside the equity (as of {as_of})."


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


def _age_notes(panel: Panel, row: int, as_of: str | None) -> list[str]:
    """A sentence when the last bar is older than a week at the moment of the decision."""
    moment = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ns")
    if as_of is not None:
        moment = min(moment, np.datetime64(as_of[:10], "ns"))
    days = int((moment - panel.times[row]) / np.timedelta64(1, "D"))
    if days <= OLD_DAYS:
        return []
    return [f"The last bar is {days:,} days old: these orders are for then, not for today."]


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
