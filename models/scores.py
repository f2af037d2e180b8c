"""Scores of forecasts, and how sure one can be of them: log score, Brier score, block bootstrap.

The bootstrap is the circular moving block one, written out here: the mean over resampled dates is ten lines
of numpy, and the `arch` package would bring statsmodels for it; `tests/models/test_scores.py` holds it
against arch where that is installed. Whole dates are drawn, so that symbols which move together stay
together, and in blocks, since answers overlap for five days.
Source: Politis and Romano (1992), "A circular block-resampling procedure for stationary data".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RESAMPLES = 2000
BLOCK_DATES = 25
"""Five horizons of five days: longer than the answers overlap and than volatility's sharpest turns."""


def log_scores(chances: FloatArray, answers: IntArray) -> FloatArray:
    """Natural logarithm of the chance given to what came, [S]; higher is better."""
    result: FloatArray = np.log(chances[np.arange(len(answers)), answers])
    return result


def brier_scores(chances: FloatArray, answers: IntArray) -> FloatArray:
    """Sum of squared differences to what came, over the five buckets, [S]; lower is better."""
    came = np.zeros_like(chances)
    came[np.arange(len(answers)), answers] = 1.0
    result: FloatArray = np.square(chances - came).sum(axis=1)
    return result


def mean_interval(
    values: FloatArray,
    dates: npt.NDArray[np.datetime64] | IntArray,
    *,
    seed: int = 0,
    block: int = BLOCK_DATES,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % interval of the mean of `values` [S], which belong to `dates` [S]."""
    _, place = np.unique(dates, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place).astype(np.float64)
    length = len(sums)
    block = max(1, min(block, length // 2 or 1))
    blocks = -(-length // block)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, length, (resamples, blocks))
    index = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :length] % length
    means = sums[index].sum(axis=1) / counts[index].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
