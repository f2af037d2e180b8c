"""Maintenance margin: how much equity a book must have at a close. Pure.

Source: FINRA Rule 4210(c): 25 % of the value of what is held long, 30 % of the value of what is sold short.
The rule's higher rates for shares below 5 USD (2.50 USD a share, or the whole value) are left out, as are
those that brokers set for single names. Initial margin is another rule and stands with the orders
(`trading/broker.py`, Regulation T).
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_CALL = "margin_call"
"""The reason code and the tag of what a margin call orders."""


@dataclass(frozen=True, slots=True)
class MarginRule:
    """Fractions of long and of short value that the equity must cover; 0 switches one off."""

    long_frac: float = 0.25
    short_frac: float = 0.30

    def shortfall_usd(self, equity_usd: float, gross_usd: float, net_usd: float) -> float:
        """What the equity lacks at a close, in dollars; 0 where it is enough.

        `gross_usd` is the sum of absolute values held, `net_usd` of signed ones.
        """
        required = self.required_usd(gross_usd, net_usd)
        return max(required - equity_usd, 0.0)

    def required_usd(self, gross_usd: float, net_usd: float) -> float:
        """The equity that the book must have."""
        long_usd, short_usd = (gross_usd + net_usd) / 2.0, (gross_usd - net_usd) / 2.0
        return self.long_frac * long_usd + self.short_frac * short_usd


@dataclass(slots=True)
class MarginCalls:
    """The calls of a run: how many, and what was missing when each began, in all. A call that the next close
    finds unmet is the same call."""

    count: int = 0
    shortfall_usd: float = 0.0
    standing: bool = False

    def note(self, shortfall_usd: float) -> bool:
        """Take the shortfall of one close; True when it is the second or a later close of the same call."""
        again = self.standing and shortfall_usd > 0.0
        if shortfall_usd > 0.0 and not self.standing:
            self.count += 1
            self.shortfall_usd += shortfall_usd
        self.standing = shortfall_usd > 0.0
        return again
