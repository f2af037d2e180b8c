"""The regime of one symbol from its own trailing year: calm, trending or turbulent.

Fixed thresholds would call most of a young, restless share's life turbulent; ranks within its own year do
not. Refuses to know what regimes are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

Regime = Literal["calm", "trending", "turbulent"]

REGIME_BARS: Final = 252
VOLATILITY_BARS: Final = 20
TREND_BARS: Final = 63
TURBULENT_RANK: Final = 2.0 / 3.0
TRENDING_DEVIATIONS: Final = 0.8


def regime_of(close: FloatArray) -> tuple[Regime, float, float]:
    """Regime, volatility rank and trend after the last of these closes [L], L > 20, the last 253 of which
    are read.

    Turbulent when the 20-bar volatility is in the top third of its own trailing year; else trending when
    the 63-bar return is beyond 0.8 deviations; else calm.
    """
    returns = np.diff(np.log(close[-REGIME_BARS - 1 :]))
    cumulative = np.concatenate([[0.0], np.cumsum(returns * returns)])
    variances = (cumulative[VOLATILITY_BARS:] - cumulative[:-VOLATILITY_BARS]) / VOLATILITY_BARS
    rank = float((variances < variances[-1]).mean())
    bars = min(TREND_BARS, len(returns))
    deviation = float(returns[-bars:].std()) * bars**0.5
    trend = float(returns[-bars:].sum()) / max(deviation, 1e-9)
    if rank >= TURBULENT_RANK:
        return "turbulent", rank, trend
    return ("trending" if abs(trend) >= TRENDING_DEVIATIONS else "calm"), rank, trend
