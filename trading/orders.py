"""When an order fills and at what price, from one bar alone. Pure.

Every rule takes the price that could have been had, and where a bar leaves the order of its prices open,
the worse for us.

Sources: order types and their priorities after the NYSE and Nasdaq order-type guides (market, limit,
stop, stop-limit; day and GTC); the conventions for bars are those that LEAN and backtrader document: a
stop that gaps fills at the open, a limit at its price or better.
"""

from __future__ import annotations

import math

from core.errors import OrderRejected
from core.types import Order, OrderIntent, UnfilledReason

Bar = tuple[float, float, float, float]
"""Open, high, low, close."""

OPENING, DURING = 0, 1
"""The phases of a bar: what fills at the open fills before anything that is touched later."""


def limit_fill(buying: bool, limit: float, bar: Bar) -> tuple[int, float] | None:
    """(phase, price) of a limit order in a bar, or None: at the open when the open is as good as the
    limit, else at the limit when the bar touches it; never beyond the limit."""
    open_, high, low, _ = bar
    if buying:
        if open_ <= limit:
            return OPENING, open_
        return (DURING, limit) if low <= limit else None
    if open_ >= limit:
        return OPENING, open_
    return (DURING, limit) if high >= limit else None


def stop_fill(buying: bool, stop: float, bar: Bar) -> tuple[int, float] | None:
    """(phase, price) of a stop order in a bar, or None while it is not triggered: at the stop, and at
    the open when the bar gaps through it."""
    open_, high, low, _ = bar
    if buying:
        if open_ >= stop:
            return OPENING, open_
        return (DURING, stop) if high >= stop else None
    if open_ <= stop:
        return OPENING, open_
    return (DURING, stop) if low <= stop else None


def stop_limit_fill(
    buying: bool, stop: float, limit: float, bar: Bar
) -> tuple[bool, tuple[int, float] | None]:
    """(triggered, fill) of a stop-limit order in a bar.

    Triggered at the open, it is a limit order from the open on. Triggered later, it fills at the worse of
    stop and limit that the bar reaches: the limit, or the bar's extreme short of it. With the limit on
    the far side (a buy limit below its stop) the bar must come back to the limit *after* the trigger,
    which is certain only when it closes there.
    """
    _, high, low, close = bar
    trigger = stop_fill(buying, stop, bar)
    if trigger is None:
        return False, None
    if trigger[0] == OPENING:
        return True, limit_fill(buying, limit, bar)
    if buying:
        if limit >= stop:
            return True, (DURING, min(limit, high))
        return True, ((DURING, limit) if close <= limit else None)
    if limit <= stop:
        return True, (DURING, max(limit, low))
    return True, ((DURING, limit) if close >= limit else None)


_PRICES_OF_TYPE = {
    "market": (False, False),
    "limit": (True, False),
    "stop": (False, True),
    "stop_limit": (True, True),
}
"""Whether an order type has a limit price and a stop price."""


def check_intent(intent: OrderIntent) -> None:
    """Raises: OrderRejected for an order that makes no sense."""
    fixed = intent.value_usd is None
    amount = intent.quantity if fixed else intent.value_usd
    limit, stop = intent.limit_price, intent.stop_price
    if amount is None or not math.isfinite(amount):
        raise OrderRejected(
            f"An order for {intent.symbol} has the amount {amount}.",
            "Give a finite value_usd (market) or quantity (limit, stop).",
        )
    if not fixed and intent.type != "market":
        raise OrderRejected(
            f"A {intent.type} order for {intent.symbol} has the value {amount} USD.",
            "Only market orders take a target value; give the others a quantity.",
        )
    if fixed and amount != 0.0 and (amount > 0.0) != (intent.side == "buy"):
        raise OrderRejected(
            f"An order to {intent.side} {intent.symbol} has the quantity {amount}.",
            "Quantities are signed: bought is positive, sold is negative.",
        )
    if (limit is not None, stop is not None) != _PRICES_OF_TYPE[intent.type]:
        raise OrderRejected(
            f"A {intent.type} order for {intent.symbol} has the limit {limit} and the stop {stop}.",
            "Give a limit order its limit, a stop order its stop, a stop-limit order both.",
        )
    for price in (limit, stop):
        if price is not None and not (math.isfinite(price) and price > 0.0):
            raise OrderRejected(
                f"An order for {intent.symbol} has the limit {limit} and the stop {stop}.",
                "Prices must be positive numbers.",
            )


class WorkingOrder:
    """An order at the broker: what is left of it and whether its stop was triggered.

    `left` is the signed quantity still open (None for a market order, whose quantity is fixed at the
    fill); `session` the last session day it may fill in, None until its first bar. `rested` says of the
    last match that the order lay in the book until the price came to it, and so took no liquidity.
    `cause` is why the last bar did not fill it whole, `missing` what that bar left of a market order,
    unsigned (None before its first bar); `begun` says that part of it was filled.
    """

    __slots__ = (
        "begun", "cause", "column", "left", "missing", "order", "rested", "session", "triggered",
    )  # fmt: skip

    def __init__(self, order: Order, column: int) -> None:
        self.order = order
        self.column = column
        self.triggered = False
        self.rested = False
        self.session: str | None = None
        self.cause: UnfilledReason | None = None
        self.missing: float | None = None
        self.begun = False
        if order.quantity is None:
            self.left: float | None = None
        else:
            self.left = order.quantity if order.side == "buy" else -order.quantity

    def match(self, bar: Bar) -> tuple[int, float] | None:
        """(phase, price) in this bar, or None; remembers a triggered stop."""
        open_ = bar[0]
        order = self.order
        if order.type == "market":
            return OPENING, open_
        buying = order.side == "buy"
        limit, stop = order.limit_price, order.stop_price
        if limit is None:
            if stop is None or self.triggered:
                return OPENING, open_
            fill = stop_fill(buying, stop, bar)
            self.triggered = fill is not None
            return fill
        if stop is None or self.triggered:
            fill = limit_fill(buying, limit, bar)
            self.rested = fill is not None and fill[0] == DURING
            return fill
        self.triggered, fill = stop_limit_fill(buying, stop, limit, bar)
        # Triggered within the bar with its limit still ahead of the price, it takes what is there.
        at_open = self.triggered and (open_ >= stop if buying else open_ <= stop)
        ahead = limit >= stop if buying else limit <= stop
        self.rested = fill is not None and fill[0] == DURING and (at_open or not ahead)
        return fill
