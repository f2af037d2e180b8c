"""What a chart draws: a run's curves, thinned to the points that can be seen.

Owns thinning, so that no figure is ever computed from thinned values. Refuses to know how charts look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trading.metrics import underwater

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

MAX_POINTS = 3_000
LOG_RATIO = 4.0
"""A curve whose highest value is more than this many times its lowest is drawn on a log scale."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """A run's curves and the words around them.

    Shapes: `times` (datetime64, UTC) and all curves [S]. Units: `currency` is what equity is counted in.
    """

    title: str
    times: TimeArray
    equity_usd: FloatArray
    benchmark_usd: FloatArray
    exposure_frac: FloatArray
    symbols: tuple[str, ...] = ()
    benchmark_name: str = "buy and hold"
    currency: str = "USD"
    mock: bool = False

    @property
    def subtitle(self) -> str:
        """Symbols and dates: `AAPL, MSFT, 2000-03-01 to 2013-12-31`."""
        parts = [symbol_list(self.symbols)]
        if len(self.times):
            first, last = np.datetime_as_string(self.times[[0, -1]], unit="D").tolist()
            parts.append(f"{first} to {last}")
        return ", ".join(part for part in parts if part)

    @property
    def log_scale(self) -> bool:
        """Whether equity spans so much that a linear axis would hide its early years."""
        both = np.concatenate((self.equity_usd, self.benchmark_usd))
        low = float(np.min(both, initial=np.inf))
        return 0.0 < low < float(np.max(both, initial=0.0)) / LOG_RATIO


@dataclass(frozen=True, slots=True, eq=False)
class DrawnCurves:
    """The points that are drawn, [P] each. Losses from the peak are fractions <= 0."""

    times: TimeArray
    equity_usd: FloatArray
    benchmark_usd: FloatArray
    drawdown_frac: FloatArray
    benchmark_drawdown_frac: FloatArray
    exposure_frac: FloatArray


def drawn(curves: Curves, points: int = MAX_POINTS) -> DrawnCurves:
    """The curves at the rows that a picture needs; drawdowns come from the whole curve."""
    loss = -underwater(curves.equity_usd)
    benchmark_loss = -underwater(curves.benchmark_usd)
    rows = seen_rows((curves.equity_usd, curves.benchmark_usd, loss, curves.exposure_frac), points)
    return DrawnCurves(
        times=curves.times[rows],
        equity_usd=curves.equity_usd[rows],
        benchmark_usd=curves.benchmark_usd[rows],
        drawdown_frac=loss[rows],
        benchmark_drawdown_frac=benchmark_loss[rows],
        exposure_frac=curves.exposure_frac[rows],
    )


def seen_rows(series: tuple[FloatArray, ...], points: int) -> npt.NDArray[np.int64]:
    """Row numbers, ascending, at most `points`: first, last, and each bucket's lowest and highest value.

    Shapes: every series [S].
    """
    count = len(series[0])
    if count <= points:
        return np.arange(count)
    buckets = max(1, (points - 2) // (2 * len(series)))
    width = -(-count // buckets)
    starts = np.arange(0, count, width)
    chosen = [np.array([0, count - 1])]
    for values in series:
        padded = np.full(len(starts) * width, np.nan)
        padded[:count] = values
        table = padded.reshape(len(starts), width)
        chosen += [starts + np.nanargmin(table, axis=1), starts + np.nanargmax(table, axis=1)]
    return np.unique(np.concatenate(chosen))


def symbol_list(symbols: tuple[str, ...] | list[str], shown: int = 8) -> str:
    """`AAPL, FB, GOOG`, or the first few and the count."""
    if len(symbols) <= shown:
        return ", ".join(symbols)
    return f"{', '.join(symbols[:shown])} and {len(symbols) - shown} more symbols"
