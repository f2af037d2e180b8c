"""The same strategy through `bt`: an oracle that somebody else wrote.

    python bt_sma.py SAMPLE.csv

`bt` knows one price a row and trades at it at once. So it is given the opens instead of the closes, and at
the row of bar t + 1 the weight that was decided at close t; one row more, after the last bar, holds the
last close, at which nothing is traded and the book is marked. A weight is given only where it changes:
`Rebalance` would otherwise trade the rounding of each row. Positions are fractional, and `bt` searches
the quantity whose outlay including commission equals the cash, to 1e-8 dollars.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bt
import numpy as np
import pandas as pd
from sma import COMMISSION_FRAC, INITIAL_CASH_USD, Bars, Traded, answer, read_sample, sma_long


def trade(bars: Bars) -> Traded:
    times = pd.DatetimeIndex(bars.times)
    rows = times.append(times[-1:] + pd.Timedelta(hours=12))
    prices = pd.DataFrame({bars.symbol: np.append(bars.open, bars.close[-1])}, index=rows)

    wanted = np.append(False, sma_long(bars.close)[:-1])
    changed = np.append(False, wanted[1:] != wanted[:-1])
    weights = pd.DataFrame({bars.symbol: wanted[changed].astype(float)}, index=times[changed])

    strategy = bt.Strategy("sma", [bt.algos.WeighTarget(weights), bt.algos.Rebalance()])
    backtest = bt.Backtest(
        strategy,
        prices,
        initial_capital=INITIAL_CASH_USD,
        commissions=lambda quantity, price: abs(quantity) * price * COMMISSION_FRAC,
        integer_positions=False,
        progress_bar=False,
    )
    backtest.run()
    fills = [
        {
            "time": time.strftime("%Y-%m-%d"),
            "quantity": float(row["quantity"]),
            "price": float(row["price"]),
        }
        for (time, _), row in backtest.strategy.get_transactions().iterrows()
    ]
    return Traded(float(backtest.strategy.value), fills)


if __name__ == "__main__":
    answer({bars.symbol: trade(bars) for bars in read_sample(Path(sys.argv[1]))})
