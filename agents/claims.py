"""What agents claim of the next bar with a chance: sealed with the forecasts, and answered one bar later.

Owns the claims that are open and how each is answered. Refuses to judge them (`agents/forecast_scores.py`).
Two agents make one: the risk manager, that the accepted weights will lose more than the value at risk by
which it limits them, and the execution agent, that the bar in which an order works can fill it whole (volume
under the cap, a limit price that is reached). Nothing else that these two say is a probability, nor is
anything that the coordinator does.

Point in time: a claim is made at a close and answered at the next row that is lived through, by the bar that
follows the close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from core.protocols import History

FloatArray = npt.NDArray[np.float64]

CHANCE_DIGITS = 4
BEYOND_VAR, FILLS_WHOLE = "loss_beyond_var", "fills_whole"


@dataclass(frozen=True, slots=True, eq=False)
class TailClaim:
    """`weights` [N] lose more than `loss_frac` over the next bar, by closes."""

    agent: str
    chance: float
    loss_frac: float
    weights: FloatArray

    def came(self, history: History, row: int) -> bool:
        """Whether it did in the bar of a row; a symbol without a bar did not move."""
        count = len(self.weights)
        before, after = history.mark[row - 1, :count], history.mark[row, :count]
        moved = after / before - 1.0
        return -float(np.where(np.isnan(moved), 0.0, moved) @ self.weights) > self.loss_frac

    def receipt(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "event": BEYOND_VAR,
            "symbol": None,
            "chance": self.chance,
            "loss_frac": self.loss_frac,
        }


@dataclass(frozen=True, slots=True)
class FillClaim:
    """The next bar of `symbol` can fill `quantity` (signed) whole: it trades `volume` shares or more, and
    reaches the limit price, if there is one."""

    agent: str
    chance: float
    symbol: str
    column: int
    quantity: float
    volume: float
    limit_price: float | None = None

    def came(self, history: History, row: int) -> bool:
        """Whether it did in the bar of a row; a bar that is missing fills nothing."""
        low, high = float(history.low[row, self.column]), float(history.high[row, self.column])
        traded = float(history.volume[row, self.column])
        return bool(traded >= self.volume and reached(self.quantity, self.limit_price, low, high))

    def receipt(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "event": FILLS_WHOLE,
            "symbol": self.symbol,
            "chance": self.chance,
            "quantity": self.quantity,
        }


Claim = TailClaim | FillClaim


def reached(quantity: float, limit: float | None, low: float, high: float) -> bool:
    """Whether a bar touches a limit price, from below for what is sold."""
    if limit is None:
        return True
    return low <= limit if quantity > 0.0 else high >= limit


class ClaimBook:
    """The claims made at the last step with any."""

    def __init__(self) -> None:
        self._open: tuple[Claim, ...] = ()
        self._made = ("", -1)

    def answer(self, history: History) -> list[dict[str, Any]]:
        """What became of the open claims, as the record has it; they are open no more."""
        at, row = self._made
        if not self._open or history.row <= row:
            return []
        found = []
        for claim in self._open:
            told = claim.receipt()
            found.append(
                {
                    "agent": told["agent"],
                    "event": told["event"],
                    "symbol": told["symbol"],
                    "made_at": at,
                    "came": claim.came(history, row + 1),
                }
            )
        self._open = ()
        return found

    def add(self, claims: Sequence[Claim], at: str, row: int) -> list[dict[str, Any]]:
        """Keep claims until they are answered; returns them as the record has them."""
        self._open, self._made = tuple(claims), (at, row)
        return [claim.receipt() for claim in claims]
