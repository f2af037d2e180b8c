"""The book: positions at average cost, cash, realised P&L, and round trips.

Owns double entry: after every fill, cash plus the cost of what is held must equal the initial cash plus
what was realised minus what was paid in costs, to the cent, or `LedgerImbalance`. Refuses to know bars
and orders. Positions stand twice, as a list for scalar work and as an array for work over all symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.errors import LedgerImbalance, PriceMissing
from core.types import Fill
from trading.costs import DOLLAR_DIGITS
from trading.margin import MARGIN_CALL

QUANTITY_DIGITS = 8
_CENT = 0.005
_DEFECT = "This is a defect in Athena: please report it with the run folder."
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From flat to flat in one symbol (a change of sign ends one and begins the next).

    Units: `quantity` is the signed total entered (short is negative), prices are averages weighted by
    quantity and exclude costs, `pnl_usd` is net of `costs_usd`.
    """

    symbol: str
    entry_time: str
    exit_time: str
    entry_price: float
    exit_price: float
    quantity: float
    pnl_usd: float
    costs_usd: float
    tag: str | None


class _OpenTrip:
    __slots__ = ("costs_usd", "entered", "entered_usd", "left", "left_usd", "start", "tag")

    def __init__(self, start: str, tag: str | None) -> None:
        self.start = start
        self.tag = tag
        self.entered = self.entered_usd = self.left = self.left_usd = self.costs_usd = 0.0


class Portfolio:
    """Positions of `columns` symbols (panel order) and the cash beside them.

    Units: dollars and adjusted shares. `realised_usd` is before costs, `costs_usd` all costs so far.
    Raises: LedgerImbalance from `apply` and `pay` when the two sides of the books differ by a cent.
    """

    def __init__(self, initial_cash_usd: float, columns: int) -> None:
        self.initial_usd = self.cash_usd = initial_cash_usd
        self.positions: list[float] = [0.0] * columns
        self.array: FloatArray = np.zeros(columns)
        self.average_cost: list[float] = [0.0] * columns
        self.realised_usd = 0.0
        self.costs_usd = 0.0
        self.commission_usd = self.spread_usd = self.impact_usd = self.borrow_usd = 0.0
        self.held_cost_usd = 0.0
        self.turned_over_usd = 0.0
        self.trips: list[RoundTrip] = []
        self._open: dict[int, _OpenTrip] = {}
        self.held: set[int] = set()

    def seed(self, column: int, quantity: float, price: float, moment: str = "") -> None:
        """Put an existing holding into an empty book at its present price (not a trade).

        Raises: PriceMissing when there is no price.
        """
        if not price > 0.0:
            raise PriceMissing(
                f"A holding of {quantity} has the price {price}.",
                "Give data that hold its price, or take it out of the holdings.",
            )
        self.positions[column] = self.array[column] = quantity
        self.average_cost[column] = price
        value = round(quantity * price, DOLLAR_DIGITS)
        self.held_cost_usd += value
        self.initial_usd += value
        if quantity:
            self.held.add(column)
            trip = self._open[column] = _OpenTrip(moment, None)
            trip.entered, trip.entered_usd = quantity, value

    def entry_time(self, column: int) -> str:
        """When the holding of a column was entered, ISO 8601; "" for one that the book began with."""
        trip = self._open.get(column)
        return "" if trip is None else trip.start

    def apply(self, column: int, fill: Fill, moment: str, tag: str | None) -> None:
        """Book one fill in a column, at an ISO 8601 moment.

        Average cost: buying more (or shorting more) moves the average, reducing realises against it, and
        crossing zero realises all of it and starts anew at the fill's price.
        """
        quantity, price = fill.quantity, fill.price
        value = round(quantity * price, DOLLAR_DIGITS)
        costs = _costs_usd(fill)
        held = self.positions[column]
        after = round(held + quantity, QUANTITY_DIGITS) + 0.0
        average = self.average_cost[column]
        before_usd = self.cash_usd
        self.cash_usd = round(self.cash_usd - value - costs, DOLLAR_DIGITS) + 0.0
        self.commission_usd += fill.commission_usd
        self.spread_usd += fill.spread_usd
        self.impact_usd += fill.impact_usd
        self.costs_usd += costs
        self.turned_over_usd += abs(value)
        old_cost = held * average
        if held == 0.0 or (held > 0.0) == (quantity > 0.0):
            new_cost = old_cost + value
            self.average_cost[column] = new_cost / after if after else 0.0
        elif after == 0.0 or (after > 0.0) == (held > 0.0):
            new_cost = after * average
            self.realised_usd += new_cost - old_cost - value
        else:
            new_cost = after * price
            self.average_cost[column] = price
            self.realised_usd += new_cost - old_cost - value
        self.held_cost_usd += new_cost - old_cost
        self.positions[column] = after
        self.array[column] = after
        if after:
            self.held.add(column)
        else:
            self.held.discard(column)
            self.average_cost[column] = 0.0
        self._track(column, fill, held, moment, tag)
        # At the fill's own price a fill changes the equity by its costs, and by nothing else.
        changed_usd = self.cash_usd - before_usd + (after - held) * price + costs
        if not abs(changed_usd) <= max(_CENT, 1e-12 * max(abs(self.cash_usd), abs(value))):
            raise LedgerImbalance(
                f"The fill of {quantity} {fill.symbol} at {price} changed the equity by "
                f"{changed_usd:.6f} beside its costs.",
                _DEFECT,
            )
        self.check(fill.symbol)

    def pay(self, borrow_usd: float) -> None:
        """Book the cost of borrowing."""
        self.borrow_usd += borrow_usd
        self.costs_usd += borrow_usd
        self.cash_usd = round(self.cash_usd - borrow_usd, DOLLAR_DIGITS) + 0.0
        self.check("borrow")

    def check(self, what: str) -> None:
        """The two sides of the books agree to the cent (or to 1e-12 of what was turned over)."""
        left = self.cash_usd + self.held_cost_usd
        right = self.initial_usd + self.realised_usd - self.costs_usd
        difference = abs(left - right)
        if not difference <= _CENT and not difference <= 1e-12 * (
            self.turned_over_usd + self.initial_usd
        ):
            raise LedgerImbalance(
                f"After {what}: cash {self.cash_usd:.6f} + holdings at cost "
                f"{self.held_cost_usd:.6f} is not initial {self.initial_usd:.6f} + realised "
                f"{self.realised_usd:.6f} - costs {self.costs_usd:.6f}.",
                _DEFECT,
            )

    def _track(self, column: int, fill: Fill, held: float, moment: str, tag: str | None) -> None:
        quantity, price, costs = fill.quantity, fill.price, _costs_usd(fill)
        after = self.positions[column]
        trip = self._open.get(column)
        crossing = held * after < 0.0
        leaving = -held if crossing else quantity
        if trip is None:
            trip = self._open[column] = _OpenTrip(moment, tag)
        share = abs(leaving / quantity) if crossing else 1.0
        trip.costs_usd += costs * share
        if held == 0.0 or (held > 0.0) == (quantity > 0.0):
            trip.entered += quantity
            trip.entered_usd += quantity * price
        else:
            trip.left += leaving
            trip.left_usd += leaving * price
        if tag is not None and trip.tag is None:
            trip.tag = tag
        if after == 0.0 or crossing:
            del self._open[column]
            self.trips.append(self._close(fill.symbol, trip, moment, tag))
        if crossing:
            fresh = self._open[column] = _OpenTrip(moment, tag)
            fresh.entered = after
            fresh.entered_usd = after * price
            fresh.costs_usd = costs * (1.0 - share)

    @staticmethod
    def _close(symbol: str, trip: _OpenTrip, moment: str, tag: str | None) -> RoundTrip:
        entered = trip.entered if trip.entered else -trip.left
        return RoundTrip(
            symbol=symbol,
            entry_time=trip.start,
            exit_time=moment,
            entry_price=round(trip.entered_usd / entered, 10) if entered else 0.0,
            exit_price=round(trip.left_usd / trip.left, 10) if trip.left else 0.0,
            quantity=round(entered, QUANTITY_DIGITS),
            pnl_usd=round(-trip.left_usd - trip.entered_usd - trip.costs_usd, DOLLAR_DIGITS),
            costs_usd=round(trip.costs_usd, DOLLAR_DIGITS),
            tag=tag if tag in ("delisted", MARGIN_CALL) else trip.tag,
        )

    def to_dict(self, symbols: tuple[str, ...]) -> dict[str, Any]:
        """The book as saved beside a paper run."""
        return {
            "cash_usd": self.cash_usd,
            "positions": {symbols[column]: self.positions[column] for column in sorted(self.held)},
            "average_cost": {
                symbols[column]: self.average_cost[column] for column in sorted(self.held)
            },
            "realised_usd": round(self.realised_usd, DOLLAR_DIGITS),
            "costs_usd": round(self.costs_usd, DOLLAR_DIGITS),
        }


def _costs_usd(fill: Fill) -> float:
    return round(fill.commission_usd + fill.spread_usd + fill.impact_usd, DOLLAR_DIGITS)


class _Book(NamedTuple):
    equity_usd: float
    cash_usd: float
    columns: tuple[str, ...]
    quantities: Sequence[float]
    marks: Sequence[float] | FloatArray


class BookState(_Book):
    """The marked book at one close (`core.protocols.State`): cannot be changed, and holds nothing but itself.

    Mappings are made when asked for.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"State(equity_usd={self.equity_usd}, cash_usd={self.cash_usd})"

    def weight(self, column: int) -> float:
        """One signed weight, in scalars."""
        held = self.quantities[column]
        return held * float(self.marks[column]) / self.equity_usd if held else 0.0

    @property
    def position_array(self) -> FloatArray:
        return np.array(self.quantities)

    @property
    def weight_array(self) -> FloatArray:
        """Signed value over equity, [N]; 0 where nothing is held, whatever the price."""
        positions = np.array(self.quantities)
        marks = np.where(positions == 0.0, 0.0, self.marks)
        weights: FloatArray = positions * marks / self.equity_usd
        return weights

    @property
    def positions(self) -> dict[str, float]:
        return dict(zip(self.columns, self.quantities, strict=True))

    @property
    def weights(self) -> dict[str, float]:
        return dict(zip(self.columns, self.weight_array.tolist(), strict=True))
