"""What became of an order, from the records of a run: its fills, what they cost, the round trip that they
belong to, and what was left of it and why. Pure.

Round trips are made of the recorded fills by the same book as in the run, so they agree with `trades.csv` to
the cent, and stand there for a run that was killed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from core.types import Fill
from trading.costs import DOLLAR_DIGITS
from trading.portfolio import Portfolio, RoundTrip

COSTS = ("commission_usd", "spread_usd", "impact_usd")


def fills_of(lines: Sequence[bytes], order_id: str) -> list[dict[str, Any]]:
    """The fills of an order with their `as_of`, oldest first. `lines` are those of `steps.jsonl`."""
    return [
        {"as_of": record["as_of"], **fill}
        for record in _naming(lines, f'"order_id":"{order_id}"')
        for fill in record["fills"]
        if fill["order_id"] == order_id
    ]


def unfilled_of(lines: Sequence[bytes], order_id: str) -> list[dict[str, Any]]:
    """What was left of an order when it ended, and the recorded cause."""
    return [
        {"as_of": record["as_of"], "quantity": each["quantity"], "reason": each["reason"]}
        for record in _naming(lines, f'"order_id":"{order_id}"')
        for each in record.get("unfilled", ())
        if each["order_id"] == order_id
    ]


def costs_of(fills: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The costs of fills by kind and in sum; empty without a fill."""
    if not fills:
        return {}
    parts = {kind: round(sum(fill[kind] for fill in fills), DOLLAR_DIGITS) for kind in COSTS}
    return {**parts, "total_usd": round(sum(parts.values()), DOLLAR_DIGITS)}


def trade_of(
    lines: Sequence[bytes], symbol: str, fills: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The round trip that the first of these fills belongs to: closed, with its result, or still open. None
    without a fill. A fill that turns a long into a short belongs to the one that it closed."""
    if not fills:
        return None
    wanted, book, begun = fills[0], Portfolio(0.0, 1), None
    reached = False
    for moment, fill in _booked(lines, symbol):
        before, closed = book.positions[0], len(book.trips)
        book.apply(0, Fill(**fill), moment, None)
        if before == 0.0:
            begun = moment
        reached = reached or (moment == wanted["as_of"] and fill["order_id"] == wanted["order_id"])
        if reached and len(book.trips) > closed:
            return _told(book.trips[closed])
        if book.positions[0] * before < 0.0:
            begun = moment
    held = book.positions[0]
    return {
        "status": "open",
        "entry_time": begun,
        "quantity": held,
        "average_price": round(book.average_cost[0], 10),
    }


def _told(trip: RoundTrip) -> dict[str, Any]:
    names = (
        "entry_time",
        "exit_time",
        "entry_price",
        "exit_price",
        "quantity",
        "pnl_usd",
        "costs_usd",
    )
    return {"status": "closed", **{name: getattr(trip, name) for name in names}}


def _booked(lines: Sequence[bytes], symbol: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(moment, fill) of every fill of a symbol, oldest first."""
    name = orjson.dumps(symbol).decode()
    for record in _naming(lines, f'"symbol":{name}'):
        for fill in record["fills"]:
            if fill["symbol"] == symbol:
                yield record["as_of"], fill


def _naming(lines: Sequence[bytes], text: str) -> Iterator[dict[str, Any]]:
    """The records whose line has a text; the others need not be read."""
    needle = text.encode()
    for line in lines:
        if needle in line:
            yield orjson.loads(line)
