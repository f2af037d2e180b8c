"""What an account holds and still waits for when a run ends, and what befell its holdings on the way.

Owns the facts behind `open_positions`, `open_orders`, `orders_unfilled`, `delistings` and `margin_calls` of a
summary, and the sentences about them. Refuses to know how they came about (`trading/broker.py`,
`trading/engine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.costs import DOLLAR_DIGITS
from trading.margin import MARGIN_CALL
from trading.panel import CLOSE, MARK, STALE, Panel

if TYPE_CHECKING:
    from core.types import OrderType, Side
    from trading.engine import Account

MOST_NAMED = 10
"""How many delistings, returns and stale holdings the notes name one by one."""


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A holding at the last record. `quantity` is signed; prices are adjusted prices, the entry's is the
    average cost; `unrealised_usd` is before costs. `missed_bars` is how many of its own bars the symbol has
    missed, so how stale its mark is."""

    symbol: str
    quantity: float
    entry_time: str
    entry_price_usd: float
    mark_usd: float
    value_usd: float
    unrealised_usd: float
    missed_bars: int
    last_bar: str


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that still worked at the last record. `quantity` is what is left of it, unsigned; None for a
    market order, whose quantity its fill would fix."""

    order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: float | None
    value_usd: float | None


@dataclass(frozen=True, slots=True)
class ClosedHolding:
    """A holding that was closed as delisted; `cost_usd` is what that lost against the last close."""

    symbol: str
    time: str
    quantity: float
    last_close_usd: float
    price_usd: float
    cost_usd: float
    left_universe: bool
    traded_again: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """A held symbol that traded again after bars without a trade."""

    symbol: str
    time: str
    quantity: float
    missed_bars: int
    last_close_usd: float
    price_usd: float


@dataclass(frozen=True, slots=True)
class AccountEnd:
    """An account at the end of a run; empty by default. `margin_closed` counts the (shorts, longs) that
    margin calls closed, `margin_waiting` their orders that still work."""

    open_positions: tuple[OpenPosition, ...] = ()
    open_orders: tuple[OpenOrder, ...] = ()
    orders_unfilled: Mapping[str, int] = field(default_factory=dict)
    delisted: tuple[ClosedHolding, ...] = ()
    returned: tuple[Returned, ...] = ()
    margin_calls: int = 0
    margin_shortfall_usd: float = 0.0
    margin_closed: tuple[int, int] = (0, 0)
    margin_waiting: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The keys of a summary that this module owns."""
        return {
            "orders_unfilled": dict(
                sorted(self.orders_unfilled.items(), key=lambda item: (-item[1], item[0]))
            ),
            "open_orders": [asdict(each) for each in self.open_orders],
            "open_positions": [asdict(each) for each in self.open_positions],
            "delistings": {
                "count": len(self.delisted),
                "cost_usd": round(
                    sum((each.cost_usd for each in self.delisted), 0.0), DOLLAR_DIGITS
                ),
                "closed": [asdict(each) for each in self.delisted],
                "returned": [asdict(each) for each in self.returned],
            },
            "margin_calls": {
                "count": self.margin_calls,
                "shortfall_usd": round(self.margin_shortfall_usd, DOLLAR_DIGITS),
            },
        }


def end_of(account: Account) -> AccountEnd:
    """What the account holds and waits for at its present row."""
    broker, panel = account.broker, account.tape.panel
    last = account.tape.row
    counts = dict(broker.unfilled)
    if broker.working:
        counts["open"] = len(broker.working)
    return AccountEnd(
        open_positions=_open_positions(account) if last >= 0 else (),
        open_orders=tuple(
            OpenOrder(
                working.order.id,
                working.order.symbol,
                working.order.side,
                working.order.type,
                None if working.left is None else abs(working.left),
                working.order.value_usd,
            )
            for _, working in sorted(broker.working.items())
        ),
        orders_unfilled=counts,
        delisted=tuple(
            ClosedHolding(
                each.symbol,
                panel.as_of[each.row],
                each.quantity,
                each.last_close,
                each.price,
                each.cost_usd,
                each.left_universe,
                _trades_after(panel, each.symbol, each.row, last),
            )
            for each in broker.delisted
        ),
        returned=tuple(
            Returned(
                each.symbol,
                panel.as_of[each.row],
                each.quantity,
                each.missed,
                each.last_close,
                each.price,
            )
            for each in broker.returned
        ),
        margin_calls=account.margin_calls.count,
        margin_shortfall_usd=account.margin_calls.shortfall_usd,
        margin_closed=_closed_by_calls(account) if account.margin_calls.count else (0, 0),
        margin_waiting=sum(each.order.tag == MARGIN_CALL for each in broker.working.values()),
    )


def _closed_by_calls(account: Account) -> tuple[int, int]:
    sold_short = [
        trip.quantity < 0.0 for trip in account.portfolio.trips if trip.tag == MARGIN_CALL
    ]
    return sum(sold_short), len(sold_short) - sum(sold_short)


def _open_positions(account: Account) -> tuple[OpenPosition, ...]:
    tape, portfolio = account.tape, account.portfolio
    panel, row = tape.panel, tape.row
    found = []
    for column in sorted(portfolio.held):
        quantity, entry = portfolio.positions[column], portfolio.average_cost[column]
        mark = float(panel.stack[MARK, row, column])
        bars = np.flatnonzero(~np.isnan(panel.stack[CLOSE, : row + 1, column]))
        found.append(
            OpenPosition(
                symbol=panel.symbols[column],
                quantity=quantity,
                entry_time=portfolio.entry_time(column),
                entry_price_usd=float(f"{entry:.9g}"),
                mark_usd=mark,
                value_usd=round(quantity * mark, DOLLAR_DIGITS),
                unrealised_usd=round(quantity * (mark - entry), DOLLAR_DIGITS),
                missed_bars=int(panel.stack[STALE, row, column]),
                last_bar=panel.as_of[bars[-1]] if len(bars) else "",
            )
        )
    return tuple(found)


def _trades_after(panel: Panel, symbol: str, row: int, last: int) -> bool:
    closes = panel.stack[CLOSE, row + 1 : last + 1, panel.symbols.index(symbol)]
    return bool(np.any(~np.isnan(closes)))


def account_notes(account: Account) -> list[str]:
    """What happened to holdings and orders that the figures do not show by themselves, a sentence each."""
    return [*_unknown_volume(account), *end_notes(end_of(account))]


def _unknown_volume(account: Account) -> list[str]:
    unknown = account.broker.fills_of_unknown_volume
    if not unknown:
        return []
    fills = "1 fill was" if unknown == 1 else f"{unknown:,} fills were"
    return [
        f"{fills} made in bars of volume 0 whose prices moved, or of symbols without any volume so far: "
        "that is an unknown volume, so without cap and impact."
    ]


def end_notes(end: AccountEnd) -> list[str]:
    """Delistings, returns, stale holdings, margin calls and orders left open."""
    notes = [_delisted(each) for each in end.delisted[:MOST_NAMED]]
    if len(end.delisted) > MOST_NAMED:
        more = end.delisted[MOST_NAMED:]
        cost = sum(each.cost_usd for each in more)
        notes.append(
            f"{len(more):,} more holdings were closed as delisted, which cost {cost:,.2f}."
        )
    notes += [
        f"{each.symbol} traded again at {each.time[:10]} after {_bars(each.missed_bars)}, at "
        f"{each.price_usd:,.6g} (last close {each.last_close_usd:,.6g}); {each.quantity:,.6g} were held."
        for each in end.returned[:MOST_NAMED]
    ]
    if len(end.returned) > MOST_NAMED:
        notes.append(f"{len(end.returned) - MOST_NAMED:,} more returns stand in summary.json.")
    stale = [each for each in end.open_positions if each.missed_bars]
    notes += [
        f"{each.symbol} is held at its close of {each.last_bar[:10]} ({each.mark_usd:,.6g}): "
        f"{_bars(each.missed_bars)} since."
        for each in stale[:MOST_NAMED]
    ]
    if len(stale) > MOST_NAMED:
        notes.append(f"{len(stale) - MOST_NAMED:,} more holdings have a stale mark at the end.")
    if end.margin_calls:
        notes.append(_called(end))
    return notes


def benchmark_notes(end: AccountEnd) -> list[str]:
    """What closing delisted holdings cost the benchmark: its return is not the market's alone."""
    if not end.delisted:
        return []
    named = ", ".join(
        f"{each.symbol} at {each.price_usd:,.6g}" for each in end.delisted[:MOST_NAMED]
    )
    more = len(end.delisted) - MOST_NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    count = "1 holding" if len(end.delisted) == 1 else f"{len(end.delisted):,} holdings"
    cost = sum(each.cost_usd for each in end.delisted)
    return [
        f"The benchmark had {count} closed as delisted or for leaving the universe ({named}{rest}), "
        f"which cost it {cost:,.2f} against the last closes."
    ]


def _called(end: AccountEnd) -> str:
    """How often there was a call, and what it closed: a halted short waits for its next bar."""
    times = "once" if end.margin_calls == 1 else f"{end.margin_calls:,} times"
    shorts, longs = end.margin_closed
    done = [
        f"{word} {count:,} {name}{'s' if count > 1 else ''}"
        for word, count, name in (("covered", shorts, "short"), ("sold", longs, "long"))
        if count
    ]
    told = f" The broker {' and '.join(done)}." if done else ""
    if end.margin_waiting:
        orders = "1 order" if end.margin_waiting == 1 else f"{end.margin_waiting:,} orders"
        told += f" At the end {orders} of the call still waited for a bar."
    return (
        f"The account was called for margin {times}: {end.margin_shortfall_usd:,.2f} of equity were "
        f"missing.{told}"
    )


def _delisted(each: ClosedHolding) -> str:
    why = "left the universe" if each.left_universe else "counts as delisted"
    short = "a short of " if each.quantity < 0.0 else ""
    was = "was" if short else "were"
    cost = f", which cost {each.cost_usd:,.2f}" if each.cost_usd else ""
    again = " It traded again later." if each.traded_again else ""
    return (
        f"{each.symbol} {why} at {each.time[:10]}: {short}{abs(each.quantity):,.6g} {was} closed "
        f"at {each.price_usd:,.6g} (last close {each.last_close_usd:,.6g}){cost}.{again}"
    )


def _bars(count: int) -> str:
    return "1 missed bar" if count == 1 else f"{count:,} missed bars"
