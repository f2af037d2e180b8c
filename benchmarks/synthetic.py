"""Seeded markets for the benchmarks: one long series, or a universe of many symbols.

The log price of each symbol is a random walk whose drift changes sign from regime to regime, so that a
trend follower keeps trading and neither wins nor loses everything. Nothing here resembles a real market.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

SEED = 20_240_607
REGIME_BARS = 120
PRICE_DECIMALS = 6
"""Six decimals keep two means from ever being equal, where rounding would decide a trade."""


def regime_drift(rng: np.random.Generator, bars: int, size_frac: float) -> FloatArray:
    """Shape [T]: +size or -size in log points a bar, in regimes of exponential length."""
    lengths = 1 + rng.exponential(REGIME_BARS, size=2 * bars // REGIME_BARS + 8).astype(int)
    signs = np.where(np.arange(len(lengths)) % 2 == 0, 1.0, -1.0)
    return np.asarray(np.repeat(signs * size_frac, lengths)[:bars])


def walk(rng: np.random.Generator, bars: int, drift_frac: float, noise_frac: float) -> FloatArray:
    """Bars of one walk. Shape [5, T]: open, high, low, close, volume."""
    gap = rng.normal(0.0, noise_frac / 3.0, bars)
    move = regime_drift(rng, bars, drift_frac) + rng.normal(0.0, noise_frac, bars)
    log_close = np.cumsum(gap + move)
    log_open = log_close - move
    reach = np.abs(rng.normal(0.0, noise_frac / 2.0, (2, bars)))
    high = np.maximum(log_open, log_close) + reach[0]
    low = np.minimum(log_open, log_close) - reach[1]
    prices = np.round(100.0 * np.exp(np.stack([log_open, high, low, log_close])), PRICE_DECIMALS)
    volume = np.round(rng.lognormal(18.0, 0.3, bars))
    return np.concatenate([prices, volume[None]])


def long_series(bars: int, seed: int = SEED) -> tuple[TimeArray, FloatArray]:
    """One symbol, one bar a minute around the clock. Shapes: [T] and [5, T]."""
    start = np.datetime64("2020-01-01T00:01:00", "s")
    times = start + 60 * np.arange(bars).astype("timedelta64[s]")
    return times, walk(np.random.default_rng(seed), bars, drift_frac=0.00025, noise_frac=0.002)


def universe(symbols: int, days: int, seed: int = SEED) -> tuple[list[str], TimeArray, FloatArray]:
    """One bar a day for many symbols, known at 21:00 UTC. Shapes: [N], [T] and [N, 5, T]."""
    start = np.datetime64("1990-01-01T21:00:00", "s")
    times = start + np.arange(days).astype("timedelta64[D]")
    names = [f"S{number:04d}" for number in range(symbols)]
    bars = [
        walk(np.random.default_rng([seed, number]), days, drift_frac=0.0015, noise_frac=0.012)
        for number in range(symbols)
    ]
    return names, times, np.stack(bars)
