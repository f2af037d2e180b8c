"""What `athena model eval` refuses and warns of; its figures are held by `tests/models/test_nano.py`."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from core.config import AthenaConfig
from core.errors import DataError, UsageError
from models.state import StateNumbers, buckets
from training.data.split import TEST, TRAINING_CUTOFF, Series, part_series
from training.nano.evaluate import cases, evaluate, seen_in_training


def series(close: np.ndarray, first_day: str = "2020-01-01") -> Series:
    times = np.datetime64(f"{first_day}T21:00", "ns") + np.arange(len(close)) * np.timedelta64(
        1, "D"
    )
    numbers = StateNumbers.of(close)
    return Series("ZZ", times, close, numbers, buckets(close), 0, len(close) - 6)


def walk(bars: int) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.02, bars)))


def test_the_first_bar_that_can_be_forecast_has_its_history_and_its_answer() -> None:
    # 61 bars of history, the bar itself, five of its answer
    assert len(cases([series(walk(67))]).answers) == 1
    for too_little in (walk(66), np.full(200, 10.0)):
        with pytest.raises(DataError, match="at least 67 bars of a symbol whose price moves"):
            cases([series(too_little)])


def test_days_that_training_may_have_seen_are_counted() -> None:
    tested = cases([series(walk(100))])  # forecasts of 2020-03-02 (bar 61) to 2020-04-04 (bar 94)
    assert (str(tested.dates.min()), str(tested.dates.max())) == ("2020-03-02", "2020-04-04")
    assert seen_in_training(tested, date(2020, 3, 1)) == ()
    (warning,) = seen_in_training(tested, date(2020, 3, 4))
    assert warning.startswith("3 of 34 forecasts are for days up to 2020-03-04")


def test_the_shipped_test_split_is_after_the_shipped_models_cutoff() -> None:
    from trading.sources.load import load_panel

    tested = cases(part_series(load_panel(), TEST))
    assert seen_in_training(tested, TRAINING_CUTOFF) == ()


def test_another_horizon_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="asked about 5 days"):
        evaluate(AthenaConfig(), horizon=10)
