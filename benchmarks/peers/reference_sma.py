"""The reference: SMA 10/30 on one symbol after another, as a plain loop without any engine.

    python reference_sma.py SAMPLE.csv|BARS.npz

Prints JSON: symbol -> {final_equity_usd, fills: [{time, quantity, price}]}. It shares nothing with Athena,
and computes its means anew at each bar, so that it can serve as an oracle for both engine and indicators.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sma import (
    COMMISSION_FRAC,
    FAST_BARS,
    INITIAL_CASH_USD,
    SLOW_BARS,
    Bars,
    Traded,
    answer,
    read_bars,
    read_sample,
)


def trade(bars: Bars) -> Traded:
    """Decide at each close, fill at the next open, mark at the last close without liquidation."""
    opens, closes = bars.open.tolist(), bars.close.tolist()
    cash_usd, quantity, fills = INITIAL_CASH_USD, 0.0, []
    for t in range(SLOW_BARS - 1, len(bars) - 1):
        fast = sum(closes[t + 1 - FAST_BARS : t + 1]) / FAST_BARS
        slow = sum(closes[t + 1 - SLOW_BARS : t + 1]) / SLOW_BARS
        price = opens[t + 1]
        if fast > slow and quantity == 0.0:
            quantity = cash_usd / (price * (1.0 + COMMISSION_FRAC))
            cash_usd = 0.0
            fills.append({"time": bars.times[t + 1], "quantity": quantity, "price": price})
        elif fast <= slow and quantity > 0.0:
            cash_usd = quantity * price * (1.0 - COMMISSION_FRAC)
            fills.append({"time": bars.times[t + 1], "quantity": -quantity, "price": price})
            quantity = 0.0
    return Traded(cash_usd + quantity * closes[-1], fills)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    series = [read_bars(path)] if path.suffix == ".npz" else read_sample(path)
    answer({bars.symbol: trade(bars) for bars in series})
