"""Turns raw bars with an adjusted close into adjusted bars, and rounds both.

Owns the arithmetic of adjusting. Refuses to know where the numbers come from.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DIGITS = 10
"""Significant digits of every price and volume behind this border."""


def round_significant(values: FloatArray, digits: int = DIGITS) -> FloatArray:
    """Round to `digits` significant digits; the result is the double nearest to that short decimal.

    Any shape. 0 and NaN stay. A power of ten up to 10**22 is exact in float64, so one division by it is
    rounded once.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(values)))
        usable = np.isfinite(places)
        places = np.where(usable, places, 0.0)
        scale = np.power(10.0, np.abs(places))
        rounded = np.where(
            places >= 0, np.rint(values * scale) / scale, np.rint(values / scale) * scale
        )
    return np.where(usable, rounded, values)


def adjusted_bars(raw: FloatArray, adj_close: FloatArray) -> FloatArray:
    """[10, K] in the order of `panel.FIELDS` from raw open, high, low, close, volume [5, K].

    Each price is multiplied by adj_close / close. Volume is raw volume x close / adj_close, so that
    adjusted price x volume is the dollars that changed hands. A vendor's own adj_volume divides by the
    split factor alone and leaves dividends out; price x volume is then short by all dividends paid since
    (2014's IBM: up to 10 %), and a participation cap on it would be too small by as much.
    A NaN in `adj_close` means that there is none: the raw price is the price.
    """
    raw = round_significant(raw)
    has = ~np.isnan(adj_close)
    target = np.where(has, adj_close, raw[3])
    factor = np.where(has, adj_close / raw[3], 1.0)
    adjusted = raw * factor
    adjusted[3] = target
    adjusted[4] = raw[4] / factor
    return np.concatenate([round_significant(adjusted), raw])
