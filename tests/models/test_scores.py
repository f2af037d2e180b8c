from __future__ import annotations

import numpy as np
import pytest

from models.scores import brier_scores, log_scores, mean_interval

CHANCES = np.array([[0.5, 0.2, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]])
ANSWERS = np.array([0, 3])


def test_scores_by_hand() -> None:
    assert log_scores(CHANCES, ANSWERS) == pytest.approx(np.log([0.5, 0.2]))
    # 0.5^2 + 0.2^2 + 3 x 0.1^2 = 0.32; 4 x 0.2^2 + 0.8^2 = 0.8
    assert brier_scores(CHANCES, ANSWERS) == pytest.approx([0.32, 0.8])


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        noise = rng.normal(size=404)
        values = noise[4:] + noise[3:-1] + noise[2:-2] + noise[1:-3] + noise[:-4]
        low, high = mean_interval(values, np.arange(400), seed=trial, resamples=400)
        covered += low <= 0.0 <= high
    # 95 % asked; blocks of 25 in 400 dates cover a little less
    assert 0.86 <= covered / 200 <= 0.99


def test_symbols_of_one_date_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    day = rng.normal(size=300)
    alone = mean_interval(day, np.arange(300))
    doubled = mean_interval(np.repeat(day, 4), np.repeat(np.arange(300), 4))
    assert doubled == pytest.approx(alone)


def test_the_interval_is_that_of_the_arch_library() -> None:
    bootstrap = pytest.importorskip("arch.bootstrap", reason="arch is not installed")
    values = np.cumsum(np.random.default_rng(2).normal(size=500)) * 0.1
    theirs = bootstrap.CircularBlockBootstrap(25, values, seed=3)
    low, high = theirs.conf_int(np.mean, reps=4000, method="percentile", size=0.95).ravel()
    ours = mean_interval(values, np.arange(500), resamples=4000)
    assert ours == pytest.approx((low, high), abs=0.1 * (high - low))
