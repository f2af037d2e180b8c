"""SMA 10/30 through backtrader, timed.

    python backtrader_sma.py BARS.npz [--naive]

Signals are precomputed (or, with --naive, two means of the last closes each bar). backtrader sizes an order
when it is sent and fills it at the next open; so that it buys with all its cash, as the others do, the
strategy is allowed to look up the next open for the size, and for nothing else.
Included: `Cerebro.run` less the loading of the feed, which is reported apart. Excluded: imports, and
making the feed. Settings are those that run fastest: no observers, `runonce`, preloaded data.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from pathlib import Path

import backtrader
import numpy as np
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

ROUNDING = 1.0 - 1e-12
"""Leaves cash above zero: backtrader turns down an order that overdraws by the last bit."""


class ArrayFeed(backtrader.feed.DataBase):
    """A feed over lists in memory; loading them is timed apart, since it is building data."""

    params = (("rows", ()),)

    def __init__(self) -> None:
        super().__init__()
        self.load_seconds = 0.0
        self._rows = iter(self.p.rows)

    def preload(self) -> None:
        begin = time.perf_counter(), time.process_time()
        super().preload()
        self.load_seconds = time.perf_counter() - begin[0]
        self.load_cpu_seconds = time.process_time() - begin[1]

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        lines = self.lines
        lines.datetime[0], lines.open[0], lines.high[0], lines.low[0] = row[:4]
        lines.close[0], lines.volume[0], lines.openinterest[0] = row[4], row[5], 0.0
        return True


class SmaCross(backtrader.Strategy):
    """Long while the signal says so; the signal is read by index."""

    params = (("long", ()), ("opens", ()))

    def __init__(self) -> None:
        self.bar = -1
        self.fills = 0
        self.last = len(self.p.opens) - 1

    def notify_order(self, order: backtrader.Order) -> None:
        if order.status == order.Completed:
            self.fills += 1
        elif order.status in (order.Margin, order.Rejected):
            raise RuntimeError(f"backtrader turned down the order of bar {self.bar}")

    def wants_long(self) -> bool:
        return self.p.long[self.bar]

    def next(self) -> None:
        self.bar += 1
        if self.bar == self.last:
            return
        held = self.position.size
        if self.wants_long():
            if not held:
                price = self.p.opens[self.bar + 1] * (1.0 + COMMISSION_FRAC)
                self.buy(size=self.broker.get_cash() / price * ROUNDING)
        elif held:
            self.sell(size=held)


class NaiveSmaCross(SmaCross):
    """Two means of the last closes each bar."""

    def wants_long(self) -> bool:
        if self.bar < SLOW_BARS - 1:
            return False
        close = self.data.close
        return np.mean(close.get(size=FAST_BARS)) > np.mean(close.get(size=SLOW_BARS))


def rows_of(bars: Bars) -> list[tuple[float, ...]]:
    """The bars as backtrader keeps them: its own date numbers, then prices and volume."""
    date_numbers = [
        backtrader.date2num(datetime.fromisoformat(time.removesuffix("Z"))) for time in bars.times
    ]
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(date_numbers, *(column.tolist() for column in columns), strict=True))


def run(bars: Bars, naive: bool) -> Timing:
    feed = ArrayFeed(rows=rows_of(bars))
    cerebro = backtrader.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(
        NaiveSmaCross if naive else SmaCross,
        long=sma_long(bars.close).tolist(),
        opens=bars.open.tolist(),
    )
    cerebro.broker.setcash(INITIAL_CASH_USD)
    cerebro.broker.setcommission(commission=COMMISSION_FRAC)
    # Its check at submission prices the order at this close, not at the open that sized it.
    cerebro.broker.set_checksubmit(False)
    result: list[SmaCross] = []
    seconds, cpu_seconds = timed(lambda: result.extend(cerebro.run()))
    return Timing(
        engine="backtrader",
        version=backtrader.__version__,
        bars=len(bars),
        seconds=seconds - feed.load_seconds,
        cpu_seconds=cpu_seconds - feed.load_cpu_seconds,
        fills=result[0].fills,
        final_equity_usd=float(cerebro.broker.get_value()),
        parts_seconds={"left out: loading": feed.load_seconds},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bars", type=Path)
    parser.add_argument("--naive", action="store_true")
    given = parser.parse_args()
    bars = read_bars(given.bars)
    run(bars.head(500), given.naive)
    report(run(bars, given.naive))


if __name__ == "__main__":
    main()
