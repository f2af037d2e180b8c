"""SMA 10/30 through backtesting.py, timed.

    python backtesting_sma.py BARS.npz [--naive]

Signals are precomputed and read by index from a list, which is faster than the indicators of
`Strategy.I` (those are sliced anew each bar); with --naive two means of a slice of the closes each bar.
`FractionalBacktest` buys to a hundred-millionth of a share. A market order fills at the next open by
itself, for all the cash there is, commission included.
Included: `Backtest.run`, with the statistics that it always computes, also in its own sweeps; their share
is reported apart. Excluded: imports, making the frame, constructing the `Backtest`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import backtesting
import backtesting.backtesting as inner
import pandas as pd
from backtesting.lib import FractionalBacktest
from sma import (
    COMMISSION_FRAC,
    FAST_BARS,
    INITIAL_CASH_USD,
    SLOW_BARS,
    Bars,
    Timing,
    read_bars,
    report,
    sma_long,
    timed,
)


class SmaCross(backtesting.Strategy):
    """Long while the signal says so; the signal is read by index."""

    long: list[bool] = []

    def init(self) -> None:
        # Its loop starts at the second bar, without a call for the first.
        self.bar = 0

    def next(self) -> None:
        self.bar += 1
        if self.long[self.bar]:
            if not self.position:
                self.buy()
        elif self.position:
            self.position.close()


class NaiveSmaCross(SmaCross):
    """Two means of the last closes each bar."""

    def next(self) -> None:
        close = self.data.Close
        if len(close) < SLOW_BARS:
            return
        if close[-FAST_BARS:].mean() > close[-SLOW_BARS:].mean():
            if not self.position:
                self.buy()
        elif self.position:
            self.position.close()


def run(bars: Bars, naive: bool) -> Timing:
    frame = pd.DataFrame(
        {
            "Open": bars.open,
            "High": bars.high,
            "Low": bars.low,
            "Close": bars.close,
            "Volume": bars.volume,
        },
        index=pd.DatetimeIndex(bars.times).tz_localize(None),
    )
    SmaCross.long = sma_long(bars.close).tolist()
    backtest = FractionalBacktest(
        frame,
        NaiveSmaCross if naive else SmaCross,
        cash=INITIAL_CASH_USD,
        commission=COMMISSION_FRAC,
        finalize_trades=False,
    )
    stats_seconds: list[float] = []
    compute_stats = inner.compute_stats

    def clocked(*args: object, **kwargs: object) -> pd.Series:
        begin = time.perf_counter()
        result = compute_stats(*args, **kwargs)
        stats_seconds.append(time.perf_counter() - begin)
        return result

    inner.compute_stats = clocked
    result: list[pd.Series] = []
    try:
        seconds, cpu_seconds = timed(lambda: result.append(backtest.run()))
    finally:
        inner.compute_stats = compute_stats
    broker = result[0]["_strategy"]._broker
    return Timing(
        engine="backtesting",
        version=backtesting.__version__,
        bars=len(bars),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        fills=2 * len(broker.closed_trades) + len(broker.trades),
        final_equity_usd=float(result[0]["Equity Final [$]"]),
        parts_seconds={"of which statistics": sum(stats_seconds)},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bars", type=Path)
    parser.add_argument("--naive", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    bars = read_bars(given.bars)
    run(bars.head(500), given.naive)
    report(run(bars, given.naive))


if __name__ == "__main__":
    main()
