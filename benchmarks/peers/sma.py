"""What every script of the comparison shares: bars, the SMA signal, the form of an answer.

Needs numpy and the standard library only, because each peer runs in an environment of its own. Knows no
engine. The strategy: long while the mean of the last 10 closes is above the mean of the last 30, else
flat; decided at each close from the 30th bar on, filled at the next open with 0.1 % commission.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FAST_BARS, SLOW_BARS = 10, 30
COMMISSION_FRAC = 0.001
INITIAL_CASH_USD = 100_000.0


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one symbol. Shapes: all arrays [T]; `times` are ISO dates or ISO moments in UTC."""

    symbol: str
    times: list[str]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.times)

    def head(self, bars: int) -> Bars:
        """The first bars alone: a short run warms an engine up before its timed one."""
        columns = (self.open, self.high, self.low, self.close, self.volume)
        return Bars(self.symbol, self.times[:bars], *(column[:bars] for column in columns))


@dataclass(frozen=True, slots=True)
class Traded:
    """One run over one symbol. A fill is `{time, quantity, price}`; quantity is signed, price bare."""

    final_equity_usd: float
    fills: list[dict[str, object]] = field(default_factory=list)


def sma_long(close: FloatArray) -> BoolArray:
    """True at t where the strategy wants to be long after close t. Shape [T]; False before bar 30."""
    long = np.zeros(len(close), dtype=bool)
    if len(close) >= SLOW_BARS:
        window = np.lib.stride_tricks.sliding_window_view
        fast = window(close, FAST_BARS).mean(axis=1)[SLOW_BARS - FAST_BARS :]
        slow = window(close, SLOW_BARS).mean(axis=1)
        long[SLOW_BARS - 1 :] = fast > slow
    return long


def read_sample(path: Path) -> list[Bars]:
    """The daily sample, one `Bars` a symbol, prices adjusted by `adj_close` (open x adj_close/close).

    Volume is adjusted the other way round, so that each bar keeps its dollars.
    """
    columns: dict[str, list[tuple[str, float, float, float, float, float]]] = defaultdict(list)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            close, adjusted = float(row["close"]), float(row["adj_close"])
            factor = adjusted / close
            columns[row["symbol"]].append(
                (
                    row["date"],
                    float(row["open"]) * factor,
                    float(row["high"]) * factor,
                    float(row["low"]) * factor,
                    adjusted,
                    float(row["volume"]) / factor,
                )
            )
    panel = []
    for symbol in sorted(columns):
        rows = columns[symbol]
        prices = np.array([row[1:] for row in rows], dtype=np.float64).T
        panel.append(Bars(symbol, [row[0] for row in rows], *prices))
    return panel


def read_bars(path: Path) -> Bars:
    """Bars that `write_bars` wrote."""
    with np.load(path) as stored:
        times = np.datetime_as_string(stored["times"], unit="s").tolist()
        o, h, l, c, v = stored["prices"]  # noqa: E741
        return Bars("SYN", [f"{t}Z" for t in times], o, h, l, c, v)


def write_bars(path: Path, times: npt.NDArray[np.datetime64], prices: FloatArray) -> None:
    """Shapes: times [T], prices [5, T] in the order open, high, low, close, volume."""
    np.savez(path, times=times, prices=prices)


def answer(traded: dict[str, Traded]) -> None:
    """Print the result of an oracle as JSON: symbol -> final equity and fills."""
    sys.stdout.write(json.dumps({symbol: asdict(run) for symbol, run in traded.items()}) + "\n")


@dataclass(frozen=True, slots=True)
class Timing:
    """One timed run as a peer reports it: `seconds` and `cpu_seconds` of the run call alone."""

    engine: str
    version: str
    bars: int
    seconds: float
    cpu_seconds: float
    fills: int
    final_equity_usd: float
    parts_seconds: dict[str, float] = field(default_factory=dict)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(timing: Timing) -> None:
    """Print one timing as the last line of stdout."""
    sys.stdout.write(json.dumps(asdict(timing)) + "\n")
