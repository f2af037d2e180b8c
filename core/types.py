"""Values that cross package borders: frozen, small, without behaviour.

Shapes: T rows of time, N symbols (columns). Units stand in the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from core.errors import LookAhead

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit"]
TimeInForce = Literal["day", "gtc"]
UnfilledReason = Literal[
    "no_bar", "no_volume", "participation", "limit", "stop", "cash", "margin", "whole_shares",
    "min_order", "replaced", "expired", "open",
]  # fmt: skip
"""Why an order, or what was left of it, was not filled; `docs/interface.md` says when each is told."""
MOST_REASON_CHARACTERS = 500
"""The longest sentence that a target may carry into the records."""


@dataclass(frozen=True, slots=True)
class Target:
    """A wanted holding of one symbol, as a fraction of equity at the close it is decided on.

    With `limit_price` the order is a limit order, with `stop_price` a stop order, with both a
    stop-limit order; prices are adjusted prices. `tif` is `day` (the remainder expires at the end of the
    next session) or `gtc` (works until it is filled, replaced or cancelled). `tag` ends up in the trades,
    `reason`, a sentence of one's own, in the record's `reasons`. `weight` None holds the symbol, as a bare
    None does, with a reason.
    """

    weight: float | None
    limit_price: float | None = None
    stop_price: float | None = None
    tag: str | None = None
    tif: TimeInForce = "day"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """What the execution agent asks of the broker for one column of the panel; the broker gives the id.

    A market intent carries `value_usd`, the target value of the holding, and fixes its quantity at the
    fill. Other types carry the signed `quantity`, fixed at the close they are decided on.
    """

    column: int
    symbol: str
    side: Side
    type: OrderType = "market"
    value_usd: float | None = None
    quantity: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    tif: TimeInForce = "day"
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the broker took it. `quantity` is unsigned; a market order's is None until it fills."""

    id: str
    symbol: str
    side: Side
    quantity: float | None
    value_usd: float | None
    type: OrderType
    limit_price: float | None
    stop_price: float | None
    tif: TimeInForce
    tag: str | None


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill. `quantity` is signed (bought is positive); `price` excludes every cost."""

    order_id: str
    symbol: str
    quantity: float
    price: float
    commission_usd: float
    spread_usd: float
    impact_usd: float


@dataclass(frozen=True, slots=True)
class Unfilled:
    """An order that has ended without being filled whole. `quantity` is what was left, unsigned; None for a
    market order that ended before any bar fixed its quantity."""

    order_id: str
    quantity: float | None
    reason: UnfilledReason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit changed for one symbol; `reasons` are codes, the binding one last."""

    symbol: str
    wanted_frac: float
    allowed_frac: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """One agent's views at one step, as columns in panel order.

    Shapes: both arrays [N]. NaN in `expected_return_frac` means that the agent abstains, which is not 0.
    Units: expected return over the agent's stated horizon; confidence 0 to 1.
    """

    agent: str
    expected_return_frac: FloatArray
    confidence_frac: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """All that the agents (or a user's strategy) decided at one step, before the broker sees it.

    `targets` are the accepted weights by symbol, zeros left out. `cancel_columns` are columns whose
    working order ends without a successor (a target that needs no order). `forecasts`, `memory` and
    `messages` are as the record has them; None where no learned part took part. `reasons` are what the
    decider says of its own decisions, by symbol.
    """

    views: tuple[Views, ...] = ()
    targets: Mapping[str, float] | None = None
    verdict: tuple[Verdict, ...] = ()
    intents: tuple[OrderIntent, ...] = ()
    cancel_columns: tuple[int, ...] = ()
    forecasts: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    reasons: Mapping[str, str] | None = None


class StepRecord(TypedDict):
    """The receipt of one step, in the order of events that `docs/interface.md` fixes ("Record t").

    `fills` are those in bar t of earlier orders; then the book marked at close t; then the decision taken
    there and its new orders. `unfilled` are the orders that ended in this step without being filled whole,
    each once; `reasons` what the decider said by symbol. `borrow_usd` is what borrowing cost since the last
    step.

    A typed dictionary, not a frozen dataclass, because it is written as JSON at every step: making and
    writing it takes 0.5 us, against 1.9 us.
    """

    step: int
    as_of: str
    inputs_hash: str
    views: Mapping[str, Any]
    targets: Mapping[str, float]
    verdict: Sequence[Verdict]
    reasons: Mapping[str, str]
    orders: Sequence[Order]
    fills: Sequence[Fill]
    unfilled: Sequence[Unfilled]
    positions: Mapping[str, float]
    cash_usd: float
    equity_usd: float
    borrow_usd: float
    forecasts: Mapping[str, Any]
    memory: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NewsLine:
    """A line of news and when it became public (UTC)."""

    time: datetime
    text: str


@dataclass(frozen=True, slots=True)
class MarketState:
    """What was known about one symbol at a close, as the language model is told it.

    `returns_frac` are the last one-bar simple returns, oldest first (at most five are told). None is "not
    known". Volatilities are root mean squares of one-bar returns: `volatility_frac` over 20 bars; the
    ratios are those over 5 and over 60 bars to it. `trend_ratio` is the 20-bar return / (volatility x
    sqrt 20); `drawdown_frac` the loss from the highest close of 252 bars, positive; `rsi` 0 to 100 over 14
    bars; `band_z` the close's distance from its 20-bar mean in deviations; `volume_ratio` the last volume
    / its 20-bar mean.
    Point in time: all from bars and news up to `as_of`. Raises: LookAhead for news after `as_of`;
    ValueError for a number that is not finite or a time without a zone.
    """

    symbol: str
    as_of: datetime
    returns_frac: tuple[float, ...]
    volatility_frac: float | None = None
    short_ratio: float | None = None
    long_ratio: float | None = None
    trend_ratio: float | None = None
    drawdown_frac: float | None = None
    rsi: float | None = None
    band_z: float | None = None
    volume_ratio: float | None = None
    news: tuple[NewsLine, ...] = ()

    def __post_init__(self) -> None:
        if None in {self.as_of.tzinfo, *(line.time.tzinfo for line in self.news)}:
            raise ValueError(f"a time in the state of {self.symbol} has no zone.")
        numbers = (
            *(self.volatility_frac, self.short_ratio, self.long_ratio, self.trend_ratio),
            *(self.drawdown_frac, self.rsi, self.band_z, self.volume_ratio, *self.returns_frac),
        )
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ValueError(f"a number in the state of {self.symbol} is not finite: say None.")
        for line in self.news:
            if line.time > self.as_of:
                raise LookAhead(
                    f"news of {line.time.isoformat()} in the state of {self.symbol} at "
                    f"{self.as_of.isoformat()}.",
                    "Give only what was public by then.",
                )
