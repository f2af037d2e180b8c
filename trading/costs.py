"""What trading costs: commission, spread, impact, borrow. Pure; switched off only by a zero.

Sources
* Commission in basis points of traded value, or per share with a minimum per fill: the two ways in
  which US brokers quote.
* Half spread: whoever demands liquidity pays half the quoted spread against the mid price
  (Roll 1984; Hasbrouck, "Empirical Market Microstructure", 2007, chapter 3).
* Impact: cost_frac = Y x sigma x sqrt(Q / V), sigma the daily volatility, Q the order's and V the bar's
  volume (Almgren, Thum, Hauptmann, Li 2005; Toth et al. 2011, "Anomalous price impact", with Y near 1).
* Borrow: an annual rate on the short value, actual days over 360 (US money-market convention).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FEWEST_RETURNS = 5
"""With fewer returns there is no volatility of closes; the bar's range has to do."""

DOLLAR_DIGITS = 6
"""Digits kept of every dollar amount in the books: records stay short and sums stay exact."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """The cost rates of one account.

    Units: `*_bps` of traded value, `commission_per_share_usd` per raw (unadjusted) share,
    `commission_min_usd` per fill, `impact_coefficient` is Y above (dimensionless).
    """

    commission_bps: float = 0.0
    commission_per_share_usd: float = 0.0
    commission_min_usd: float = 0.0
    half_spread_bps: float = 0.0
    impact_coefficient: float = 0.0
    borrow_bps_per_year: float = 0.0

    @property
    def linear(self) -> bool:
        """True when the cost of a fill is a fixed fraction of its value."""
        return not (
            self.commission_per_share_usd or self.commission_min_usd or self.impact_coefficient
        )

    @property
    def linear_frac(self) -> float:
        return (self.commission_bps + self.half_spread_bps) / 10_000.0

    def commission_usd(self, value_usd: float, raw_shares: float) -> float:
        """Commission of one fill of unsigned value and raw shares."""
        fee = value_usd * self.commission_bps / 10_000.0
        fee += raw_shares * self.commission_per_share_usd
        return round(max(fee, self.commission_min_usd), DOLLAR_DIGITS)

    def spread_usd(self, value_usd: float) -> float:
        return round(value_usd * self.half_spread_bps / 10_000.0, DOLLAR_DIGITS)

    def impact_usd(self, value_usd: float, participation_frac: float, sigma_frac: float) -> float:
        """Square-root impact, at most the value itself; 0 where there is no volume to take part in (NaN)."""
        if not self.impact_coefficient or not participation_frac > 0.0:
            return 0.0
        cost_frac = self.impact_coefficient * sigma_frac * math.sqrt(participation_frac)
        return round(value_usd * min(cost_frac, 1.0), DOLLAR_DIGITS)

    def borrow_usd(self, short_value_usd: float, days: float) -> float:
        """Cost of borrowing for `days` calendar days (fractions allowed)."""
        return round(
            short_value_usd * self.borrow_bps_per_year / 10_000.0 * days / 360.0, DOLLAR_DIGITS
        )


def volatility_before(closes: FloatArray, bars: int) -> FloatArray:
    """Volatility known before each row: the sample standard deviation of the last `bars` log returns of
    the symbol's own bars, NaN with fewer than five of them.

    Shapes: `closes` [T] with NaN where there is no bar; the result [T].
    Point in time: row t uses closes up to row t - 1.
    """
    own = np.flatnonzero(~np.isnan(closes))
    after = np.full(len(own) + 1, np.nan)
    if len(own) > 1:
        returns = np.diff(np.log(closes[own]))
        if len(returns) >= bars:
            windows = np.lib.stride_tricks.sliding_window_view(returns, bars)
            after[bars + 1 :] = windows.std(axis=1, ddof=1)
        for count in range(FEWEST_RETURNS, min(bars, len(returns) + 1)):
            after[count + 1] = returns[:count].std(ddof=1)
    # after[k] is known once k bars of the symbol have passed
    passed = np.searchsorted(own, np.arange(len(closes)), side="left")
    return after[passed]


def range_volatility_frac(high: float, low: float) -> float:
    """Volatility of one bar from its range, ln(H/L) / (2 sqrt(ln 2)) (Parkinson 1980, eq. 1)."""
    return math.log(high / low) / (2.0 * math.sqrt(math.log(2.0)))
