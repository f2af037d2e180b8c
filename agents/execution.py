"""Execution: accepted target weights become orders.

Owns which order brings a holding to its target: its type, side, value or quantity. Refuses to know why a
target was set. Reads the last close and the volumes so far and no other price, so that no order depends on
a price that was not known; the fill is the broker's business.

A market order carries the target value and leaves the quantity to the fill. A limit or stop order fixes
its quantity at the close, `weight x equity / close - position`. A target within 1e-6 of the marked weight
makes no order, and ends the symbol's working order; NaN leaves the symbol and its working order alone.

Source of slicing: participation in average volume, Almgren and Chriss (2000), here without a horizon: each
step moves at most a fraction of the average volume, and the next step starts from what was filled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agents.base import AgentContext, BaseAgent, OrdersAction, Thought
from agents.claims import CHANCE_DIGITS, FillClaim
from core.types import Decision, OrderIntent, OrderType, Side, Target, Verdict, Views

if TYPE_CHECKING:
    from core.config import ExecutionConfig
    from core.protocols import History, State

FloatArray = npt.NDArray[np.float64]

SAME_WEIGHT = 1e-6
"""A target this near to the marked weight makes no order."""
WEIGHT_DIGITS = 8
_DOLLAR_DIGITS = 6
_QUANTITY_DIGITS = 8
_PRICE_DIGITS = 10

Orders = tuple[tuple[OrderIntent, ...], tuple[int, ...]]
"""(orders to send, columns whose working order ends without a successor)."""


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionThought(Thought):
    """The accepted weights [N] to be turned into orders."""

    accepted_frac: FloatArray


class ExecutionAgent(BaseAgent[ExecutionThought, OrdersAction]):
    """Turns accepted weights into orders in the configured style."""

    name = "execution"
    task = "Turn the accepted weights into orders."

    def __init__(self, config: ExecutionConfig, participation_frac: float | None = None) -> None:
        """`participation_frac`: the broker's cap, by which it claims what will be filled."""
        self._config = config
        self._participation_frac = participation_frac
        self._market = config.style == "market"

    async def think(self, context: AgentContext) -> ExecutionThought:
        accepted = context.observation.accepted_frac
        assert accepted is not None, "the risk manager speaks before execution"
        return ExecutionThought(context, accepted)

    async def act(self, thought: ExecutionThought) -> OrdersAction:
        observation = thought.context.observation
        intents, cancel_columns = self.orders_from(
            thought.accepted_frac,
            observation.history,
            observation.held_frac,
            observation.state,
        )
        return OrdersAction(self.name, intents, cancel_columns)

    def claims(
        self, intents: Sequence[OrderIntent], history: History, state: State
    ) -> list[FillClaim]:
        """What it claims of the next bar: that each order can be filled whole, market orders by their
        quantity at this close. The chance is how many of the last `slice_volume_bars` would have done it,
        with one more that did and one that did not. Nothing for what no cap, volume or limit could stop.
        """
        found = []
        bars, cap = self._config.slice_volume_bars, self._participation_frac
        for intent in intents:
            column = intent.column
            close, position = float(history.mark[-1, column]), float(state.position_array[column])
            quantity = intent.quantity
            if quantity is None:
                assert intent.value_usd is not None
                quantity = round(intent.value_usd / close - position, _QUANTITY_DIGITS)
            volume = history.volume[-bars:, column]
            limit = intent.limit_price
            capped = cap is not None and not np.isnan(volume).all()
            if intent.stop_price is not None or (limit is None and not capped):
                continue
            needed = abs(quantity) / cap if capped and cap is not None else 0.0
            fits = np.full(len(volume), True)
            if capped:
                fits = (volume >= needed) | _unknown_zeros(history, column, len(volume))
            if limit is not None:
                fits = fits & _touched(limit / close, quantity, history, column, len(fits))
            chance = round((int(fits.sum()) + 1) / (len(fits) + 2), CHANCE_DIGITS)
            found.append(
                FillClaim(self.name, chance, intent.symbol, column, quantity, needed, limit)
            )
        return found

    def orders(
        self,
        accepted_frac: FloatArray,
        history: History,
        state: State,
        targets: Mapping[int, Target] | None = None,
    ) -> Orders:
        """Orders for accepted weights [N]; NaN leaves a symbol alone.

        `targets` maps columns to a user's own targets, whose limit, stop, tag and time in force are
        used; their weights are not read (the accepted ones count).
        """
        return self.orders_from(accepted_frac, history, state.weight_array, state, targets)

    def orders_from(
        self,
        accepted_frac: FloatArray,
        history: History,
        held_frac: FloatArray,
        state: State,
        targets: Mapping[int, Target] | None = None,
    ) -> Orders:
        """`orders` for a caller who has the held weights [N] at hand."""
        if len(accepted_frac) == 1:
            return self._one(
                float(accepted_frac[0]), history, float(held_frac[0]), state, _first(targets)
            )
        moves = np.abs(accepted_frac - held_frac)  # NaN where held; false below either way
        sending = moves > SAME_WEIGHT
        columns: list[int] = sending.nonzero()[0].tolist()
        ending = tuple((moves <= SAME_WEIGHT).nonzero()[0].tolist())
        if not columns:
            return (), ending
        weights: list[float] = accepted_frac[sending].tolist()
        held: list[float] = held_frac[sending].tolist()
        symbols, equity = history.symbols, state.equity_usd
        if self._market and not targets:
            return (
                tuple(
                    _market_intent(column, symbols[column], weight, now, equity)
                    for column, weight, now in zip(columns, weights, held, strict=True)
                ),
                ending,
            )
        positions, marks = state.position_array, history.mark[-1]
        targets = targets or {}
        intents: list[OrderIntent] = []
        idle: list[int] = []
        for column, weight, now in zip(columns, weights, held, strict=True):
            intent = self._intent(
                column,
                symbols[column],
                weight=weight,
                held=now,
                equity=equity,
                position=float(positions[column]),
                close=float(marks[column]),
                target=targets.get(column),
                history=history,
            )
            if intent is None:
                idle.append(column)
            else:
                intents.append(intent)
        return tuple(intents), tuple(sorted((*ending, *idle))) if idle else ending

    def orders_one(
        self, accepted_frac: float, history: History, state: State, target: Target | None = None
    ) -> Orders:
        """`orders` of a universe of one symbol, in scalars."""
        return self._one(accepted_frac, history, state.weight(0), state, target)

    def _one(
        self, weight: float, history: History, held: float, state: State, target: Target | None
    ) -> Orders:
        if math.isnan(weight):
            return (), ()
        if abs(weight - held) <= SAME_WEIGHT:
            return (), (0,)
        symbol = history.symbols[0]
        if target is None and self._market:
            return (_market_intent(0, symbol, weight, held, state.equity_usd),), ()
        intent = self._intent(
            0,
            symbol,
            weight=weight,
            held=held,
            equity=state.equity_usd,
            position=float(state.position_array[0]),
            close=float(history.mark[-1, 0]),
            target=target,
            history=history,
        )
        return ((), (0,)) if intent is None else ((intent,), ())

    def _intent(
        self,
        column: int,
        symbol: str,
        *,
        weight: float,
        held: float,
        equity: float,
        position: float,
        close: float,
        target: Target | None,
        history: History,
    ) -> OrderIntent | None:
        """The order that moves one holding, or None when nothing is left to move."""
        config = self._config
        side: Side = "buy" if weight > held else "sell"
        tag = None if target is None else target.tag
        if target is not None and not (target.limit_price is None and target.stop_price is None):
            quantity = _quantity(weight, equity, close, position)
            if quantity == 0.0:
                return None
            return OrderIntent(
                column,
                symbol,
                side,
                _order_type(target),
                quantity=quantity,
                limit_price=target.limit_price,
                stop_price=target.stop_price,
                tif=target.tif,
                tag=tag,
            )
        tif = "day" if target is None else target.tif
        value = weight * equity
        if config.style == "limit" and target is None:
            quantity = _quantity(weight, equity, close, position)
            if quantity == 0.0:
                return None
            offset = config.limit_offset_bps / 10_000.0
            price = close * (1.0 - offset) if side == "buy" else close * (1.0 + offset)
            return OrderIntent(
                column,
                symbol,
                side,
                "limit",
                quantity=quantity,
                limit_price=float(f"{price:.{_PRICE_DIGITS}g}"),
                tif=config.limit_tif,
            )
        if config.style == "sliced":
            value = self._slice(column, value, position * close, close, history)
        return OrderIntent(
            column, symbol, side, "market", round(value, _DOLLAR_DIGITS), tif=tif, tag=tag
        )

    def _slice(
        self, column: int, value: float, held_usd: float, close: float, history: History
    ) -> float:
        """The target value cut to what this step may move; the whole where no volume is known."""
        config = self._config
        volume = history.volume[-config.slice_volume_bars :, column]
        known = volume[~np.isnan(volume) & ~_unknown_zeros(history, column, len(volume))]
        if len(known) == 0:
            return value
        most = config.slice_volume_frac * float(known.sum()) / len(known) * close
        move = value - held_usd
        if abs(move) <= most:
            return value
        return held_usd + most if move > 0.0 else held_usd - most


def _unknown_zeros(history: History, column: int, bars: int) -> npt.NDArray[np.bool_]:
    """In which of the last bars the volume is 0 and that means "not known" (`trading/volumes.py`), [bars]."""
    unknown: npt.NDArray[np.bool_] = history.volume[-bars:, column] == 0.0
    if not unknown.any():
        return unknown
    traded = np.flatnonzero(history.volume[:, column] > 0.0)
    first = traded[0] if len(traded) else len(history)
    before = np.concatenate([[np.nan], history.mark[:-1, column]])[-bars:]
    moved = np.zeros(bars, dtype=bool)
    for prices in (history.open, history.high, history.low, history.close):
        moved |= prices[-bars:, column] != before
    row = np.arange(len(history) - bars, len(history))
    unknown &= moved | (row < first)
    return unknown


def _touched(
    ratio: float, quantity: float, history: History, column: int, bars: int
) -> npt.NDArray[np.bool_]:
    """In which of the last bars a price that stands so to the close before was reached, [bars]."""
    before = history.mark[-bars - 1 : -1, column] * ratio
    if quantity > 0.0:
        touched = history.low[-len(before) :, column] <= before
    else:
        touched = history.high[-len(before) :, column] >= before
    found = np.zeros(bars, np.bool_)
    found[bars - len(before) :] = touched
    return found


def decision(
    views: tuple[Views, ...],
    accepted_frac: FloatArray,
    verdict: tuple[Verdict, ...],
    orders: Orders,
    history: History,
) -> Decision:
    """The receipt's part of a decision: `targets` leaves out zeros and symbols that are held."""
    symbols = history.symbols
    said = (np.abs(accepted_frac) > 0.0).nonzero()[0]
    weights: list[float] = accepted_frac[said].tolist()
    targets = {
        symbols[column]: round(weight, WEIGHT_DIGITS)
        for column, weight in zip(said.tolist(), weights, strict=True)
    }
    return Decision(views, targets, verdict, *orders)


def _market_intent(
    column: int, symbol: str, weight: float, held: float, equity: float
) -> OrderIntent:
    side: Side = "buy" if weight > held else "sell"
    return OrderIntent(column, symbol, side, "market", round(weight * equity, _DOLLAR_DIGITS))


def _quantity(weight: float, equity: float, close: float, position: float) -> float:
    """Signed shares from the position to the target at this close; a target of 0 is all of it."""
    if weight == 0.0:
        return -position
    return round(weight * equity / close - position, _QUANTITY_DIGITS)


def _order_type(target: Target) -> OrderType:
    if target.stop_price is None:
        return "limit"
    return "stop" if target.limit_price is None else "stop_limit"


def _first(targets: Mapping[int, Target] | None) -> Target | None:
    return targets.get(0) if targets else None
