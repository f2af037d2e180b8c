"""What a record comes to for a book of one's own: each symbol bought, sold or kept, once. Pure.

Owns the three states, estimated quantities in whole shares where the account has no fractions, the smallest
order, and estimated costs. Refuses to know where the record comes from. Prices are as traded at the record's
close, so shares are real shares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents.reasons import Decider, reason_of
from trading.costs import DOLLAR_DIGITS, CostModel

Action = Literal["buy", "sell", "hold"]
_SHARE_DIGITS = 8
_WEIGHT_DIGITS = 8
_CENT = 0.01


@dataclass(frozen=True, slots=True)
class Quote:
    """What is known of a symbol for an estimate: its last close, its mean volume a bar (NaN where it is not
    known) and the volatility of a bar."""

    close_usd: float
    volume_shares: float = math.nan
    sigma_frac: float = 0.0


@dataclass(frozen=True, slots=True)
class OrderRules:
    """The settings of an account that say which orders can be."""

    costs: CostModel
    allow_fractional: bool = True
    min_order_usd: float = 0.0
    participation_frac: float | None = None


@dataclass(frozen=True, slots=True)
class OrderEstimate:
    """What an order comes to at the last close. Units: signed shares, dollars; bought is positive."""

    shares: float
    value_usd: float
    commission_usd: float
    spread_usd: float
    impact_usd: float

    @property
    def cost_usd(self) -> float:
        return round(self.commission_usd + self.spread_usd + self.impact_usd, DOLLAR_DIGITS)


@dataclass(frozen=True, slots=True)
class SymbolDecision:
    """One symbol's part: `quantity` is unsigned, the shares to buy or sell; `present_quantity` and
    `target_quantity` are signed holdings before and after. Weights are None without a price."""

    symbol: str
    action: Action
    quantity: float
    present_quantity: float
    target_quantity: float
    present_weight: float | None
    target_weight: float | None
    estimated_cost_usd: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """The decisions by symbol, the orders that they need, and what a person should know beside them."""

    decisions: tuple[SymbolDecision, ...]
    orders: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def propose(
    record: Mapping[str, Any],
    *,
    symbols: Iterable[str],
    unpriced: Mapping[str, float],
    quotes: Mapping[str, Quote],
    rules: OrderRules,
    decider: Decider,
) -> Proposal:
    """Every symbol once: those of the universe in their order, then holdings without a price.

    `record` is a line of `steps.jsonl`; `quotes` has every symbol that has had a bar.
    """
    by_symbol = {order["symbol"]: order for order in record["orders"]}
    decisions: list[SymbolDecision] = []
    orders: list[dict[str, Any]] = []
    small: dict[str, int] = {}
    for symbol in dict.fromkeys([*symbols, *unpriced]):
        quote, order = quotes.get(symbol), by_symbol.get(symbol)
        if quote is None:
            decisions.append(_without_price(symbol, unpriced.get(symbol, 0.0), record["as_of"]))
            continue
        reason = reason_of(record, symbol, decider, order)
        present = float(record["positions"].get(symbol, 0.0))
        if order is None:
            decisions.append(_kept(record, symbol, quote, present, reason))
            continue
        shares = _shares(order, quote, present, rules)
        refused = _refused(order, shares, quote, present, rules)
        if refused is not None:
            code, why = refused
            small[code] = small.get(code, 0) + 1
            decisions.append(_kept(record, symbol, quote, present, f"{reason} {why}", target=True))
            continue
        estimate = _estimate(order, shares, quote, rules)
        reason = f"{reason}{_pace(shares, quote, rules)}"
        decisions.append(
            SymbolDecision(
                symbol=symbol,
                action=order["side"],
                quantity=abs(shares),
                present_quantity=present,
                target_quantity=round(present + shares, _SHARE_DIGITS) + 0.0,
                present_weight=_weight(present, quote, record),
                target_weight=float(record["targets"].get(symbol, 0.0)),
                estimated_cost_usd=estimate.cost_usd,
                reason=reason,
            )
        )
        orders.append(_told(order, estimate, reason, rules))
    return Proposal(tuple(decisions), tuple(orders), tuple(_notes(small, rules, orders, record)))


def _without_price(symbol: str, held: float, as_of: str) -> SymbolDecision:
    reason = (
        f"The bars of this run (--data, --symbols, --universe) have no price of it up to {as_of}, so nothing "
        "can be decided."
    )
    weight = None if held else 0.0
    return SymbolDecision(symbol, "hold", 0.0, held, held, weight, weight, 0.0, reason)


def _kept(
    record: Mapping[str, Any],
    symbol: str,
    quote: Quote,
    present: float,
    reason: str,
    *,
    target: bool = False,
) -> SymbolDecision:
    """No order: the target is the record's, or what is held; with `target` an order was left out, and what is
    not in the targets was to be 0."""
    weight = _weight(present, quote, record)
    wanted = record["targets"].get(symbol, 0.0 if target else weight)
    return SymbolDecision(symbol, "hold", 0.0, present, present, weight, wanted, 0.0, reason)


def _weight(shares: float, quote: Quote, record: Mapping[str, Any]) -> float:
    equity: float = record["equity_usd"]
    return round(shares * quote.close_usd / equity, _WEIGHT_DIGITS) + 0.0


def _shares(order: Mapping[str, Any], quote: Quote, present: float, rules: OrderRules) -> float:
    """Signed shares: as fixed, or what a market order would come to at the last close; whole ones where the
    account has no fractions, except where all is sold."""
    if order["quantity"] is not None:
        shares = float(order["quantity"]) * (1.0 if order["side"] == "buy" else -1.0)
    elif order["value_usd"] == 0.0:
        shares = -present
    else:
        shares = order["value_usd"] / quote.close_usd - present
    if not rules.allow_fractional and shares != -present:
        shares = math.copysign(math.floor(abs(shares) + 1e-9), shares)
    return round(shares, _SHARE_DIGITS) + 0.0


def _refused(
    order: Mapping[str, Any], shares: float, quote: Quote, present: float, rules: OrderRules
) -> tuple[str, str] | None:
    """(code, sentence) where the account takes no such order. Selling out is always possible."""
    if shares == 0.0:
        return "whole_shares", "No order: it comes to less than one whole share."
    value = abs(shares) * quote.close_usd
    if value < rules.min_order_usd and shares != -present:
        return "min_order", (
            f"No order: {value:,.2f} USD is less than trading.min_order_usd, "
            f"{rules.min_order_usd:,.2f}."
        )
    return None


def _estimate(
    order: Mapping[str, Any], shares: float, quote: Quote, rules: OrderRules
) -> OrderEstimate:
    """Costs by the same model as a backtest's, at the last close (a limit or stop order's at its price), in a
    bar of mean volume; an order that rests would pay less."""
    price = order["limit_price"] or order["stop_price"] or quote.close_usd
    costs, value = rules.costs, abs(shares) * price
    share = abs(shares) / quote.volume_shares if quote.volume_shares > 0.0 else math.nan
    if rules.participation_frac is not None:
        share = min(share, rules.participation_frac)  # the rest fills in later bars
    return OrderEstimate(
        shares,
        round(shares * price, DOLLAR_DIGITS),
        costs.commission_usd(value, abs(shares)),
        costs.spread_usd(value),
        costs.impact_usd(value, share, quote.sigma_frac),
    )


def _pace(shares: float, quote: Quote, rules: OrderRules) -> str:
    """A sentence where one bar will hardly fill the order."""
    cap = rules.participation_frac
    if cap is None or not quote.volume_shares > 0.0:
        return ""
    most = cap * quote.volume_shares
    if abs(shares) <= most:
        return ""
    return (
        f" It is {abs(shares) / most:,.1f} times what trading.participation_frac lets one bar of mean volume "
        "fill."
    )


def _told(
    order: Mapping[str, Any], estimate: OrderEstimate, reason: str, rules: OrderRules
) -> dict[str, Any]:
    quantity = order["quantity"]
    if quantity is not None and not rules.allow_fractional:
        quantity = abs(estimate.shares)
    return {
        **order,
        "quantity": quantity,
        "estimated_quantity": estimate.shares,
        "estimated_value_usd": estimate.value_usd,
        "estimated_commission_usd": estimate.commission_usd,
        "estimated_spread_usd": estimate.spread_usd,
        "estimated_impact_usd": estimate.impact_usd,
        "estimated_cost_usd": estimate.cost_usd,
        "reason": reason,
    }


def _notes(
    small: Mapping[str, int],
    rules: OrderRules,
    orders: Iterable[Mapping[str, Any]],
    record: Mapping[str, Any],
) -> list[str]:
    notes = []
    if count := small.get("min_order"):
        notes.append(
            f"{_orders_were(count)} left out as smaller than trading.min_order_usd, "
            f"{rules.min_order_usd:,.2f} USD."
        )
    if count := small.get("whole_shares"):
        notes.append(
            f"{_orders_were(count)} left out as less than one whole share "
            "(trading.allow_fractional is false)."
        )
    needed = sum(order["estimated_value_usd"] + order["estimated_cost_usd"] for order in orders)
    if needed > max(record["cash_usd"], 0.0) + _CENT:
        notes.append(
            f"The orders and their costs need {needed:,.2f} USD in sum at the last close, and the cash is "
            f"{record['cash_usd']:,.2f} USD: the last of the purchases may not fill whole."
        )
    return notes


def _orders_were(count: int) -> str:
    return "1 order was" if count == 1 else f"{count:,} orders were"
