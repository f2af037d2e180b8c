"""One order about to fill in a bar, and how its quantity is cut. Pure.

Owns what the cost of a fill depends on and the rounding of quantities. Refuses to know cash and margin
(`trading/broker.py`).
"""

from __future__ import annotations

import math

from trading.orders import WorkingOrder
from trading.portfolio import QUANTITY_DIGITS

QUANTUM = 10**QUANTITY_DIGITS


class Candidate:
    """One order about to fill in a bar: signed quantity wanted and all that its cost depends on.

    `base` is the part of a purchase that covers a short; only the rest is scaled to the cash. `closing` says
    that the whole order would leave nothing held.
    """

    __slots__ = (
        "base",
        "capped",
        "closing",
        "parts",
        "price",
        "priced",
        "quantity",
        "raw_ratio",
        "sigma_frac",
        "taking",
        "volume",
        "working",
    )

    def __init__(
        self,
        working: WorkingOrder,
        quantity: float,
        price: float,
        *,
        taking: bool,
        raw_ratio: float,
        volume: float,
        sigma_frac: float,
        capped: bool,
        closing: bool,
    ) -> None:
        self.working = working
        self.quantity = quantity
        self.base = 0.0
        self.priced = math.nan
        self.parts = (0.0, 0.0, 0.0)
        self.price = price
        self.taking = taking
        self.raw_ratio = raw_ratio
        self.volume = volume
        self.sigma_frac = sigma_frac
        self.capped = capped
        self.closing = closing


def floored(quantity: float) -> float:
    down: float = math.floor(quantity * QUANTUM) / QUANTUM
    return down


def scaled(candidate: Candidate, scale: float) -> float:
    return candidate.base + (candidate.quantity - candidate.base) * scale


def whole_shares(quantity: float, raw_ratio: float) -> float:
    """The quantity cut to whole raw shares, in adjusted shares (dollars kept: shares x adjusted price =
    raw shares x raw price, so raw shares = shares x adjusted / raw). Never more than was asked for."""
    raw_shares = math.floor(abs(quantity) * raw_ratio + 1e-9)
    if not raw_shares:
        return 0.0
    shares = min(round(raw_shares / raw_ratio, QUANTITY_DIGITS), abs(quantity))
    return math.copysign(shares, quantity)
