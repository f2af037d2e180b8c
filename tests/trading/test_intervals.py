"""Which interval stamps show, and how intervals are written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from trading.intervals import DAILY, Interval, interval_of, is_intraday, parse_interval


def nanoseconds(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]").astype(np.int64)


def name_of(*texts: str) -> str | None:
    found = interval_of(nanoseconds(*texts))
    return None if found is None else found.name


def every(freq: str, count: int = 100) -> np.ndarray:
    return pd.date_range("2010-01-04", periods=count, freq=freq).as_unit("ns").asi8


EVERY = {
    "1min": "1m", "7min": "7m", "30min": "30m", "1h": "1h", "4h": "4h", "12h": "12h", "16h": "16h",
    "1D": "1d", "B": "1d", "2D": "2d", "3D": "3d", "10D": "10d", "W-SUN": "1w", "W-FRI": "1w", "2W-FRI": "2w",
    "13W-WED": "13w", "MS": "1mo", "ME": "1mo", "BMS": "1mo", "BME": "1mo", "2ME": "2mo", "QS": "3mo",
    "QE": "3mo", "2QE": "6mo", "YS": "1y", "YE": "1y", "2YE": "2y", "18MS": "18mo",
}  # fmt: skip


@pytest.mark.parametrize("freq", EVERY)
def test_any_whole_number_of_a_unit_is_found(freq: str) -> None:
    stamps = every(freq)
    for count in (4, 6, 20, 63, 64, 65, 100):
        found = interval_of(stamps[:count])
        assert found is not None
        assert found.name == EVERY[freq], count


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(EVERY)), st.data())
def test_missing_bars_change_no_interval(freq: str, data: st.DataObject) -> None:
    stamps = every(freq)
    gone = data.draw(st.sets(st.integers(6, len(stamps) - 1), max_size=12))
    kept = np.delete(stamps, sorted(gone))
    found = interval_of(kept)
    assert found is not None
    assert found.name == EVERY[freq]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(EVERY)), st.lists(st.integers(1, 10**16), min_size=1, max_size=30))
def test_no_row_after_the_first_sixty_four_changes_the_interval(
    freq: str, later: list[int]
) -> None:
    first = every(freq, 64)
    more = np.unique(first[-1] + np.array(later))
    assert interval_of(np.concatenate([first, more])) == interval_of(first)


def test_the_interval_is_told_by_the_first_stamps() -> None:
    assert name_of("2024-01-02", "2024-01-05") == "1d"
    assert name_of("2024-01-02T09:30", "2024-01-02T09:35", "2024-01-03") == "5m"
    # A clock change between two daily stamps, and a first bar that is alone on its day.
    assert name_of("2024-03-08T05:00", "2024-03-11T04:00") == "1d"
    assert name_of("2024-01-02T15:30", "2024-01-03T09:30", "2024-01-03T10:30") == "1h"
    assert name_of("2024-01-02") == "1d"
    assert name_of("2024-01-02T09:30") is None
    # Two bars at the ends of their months, and two that are a week apart.
    assert name_of("2024-01-31", "2024-02-29") == "1mo"
    assert name_of("2024-01-05", "2024-01-12") == "1w"


def test_minute_bars_with_many_minutes_missing_are_minute_bars() -> None:
    stamps = nanoseconds(*(f"2024-01-02T09:{minute}" for minute in (33, 36, 37, 39, 44, 45)))
    assert interval_of(stamps) == Interval(1, "m")


def test_daily_bars_with_gaps_of_all_sizes_are_daily() -> None:
    held = np.cumsum([0, 3, 1, 7, 2, 5, 4, 1, 30, 6, 2])
    assert interval_of((held + 15_000) * 86_400 * 10**9) == DAILY


def test_bars_of_so_many_sessions_are_found_on_a_calendar() -> None:
    # Every second session of January 2024 in New York, over New Year's Day and Martin Luther King's.
    stamps = nanoseconds(
        "2023-12-26", "2023-12-28", "2024-01-02", "2024-01-04", "2024-01-08", "2024-01-10", "2024-01-12",
        "2024-01-17",
    )  # fmt: skip
    sessions = pd.bdate_range("2023-12-26", "2024-01-17").difference(
        pd.to_datetime(["2024-01-01", "2024-01-15"])
    )
    days = sessions.as_unit("ns").asi8 // (86_400 * 10**9)
    assert interval_of(stamps, days) == Interval(2, "d")


def test_intervals_have_names() -> None:
    for name in (
        "1d",
        "2d",
        "1h",
        "4h",
        "5m",
        "90m",
        "30s",
        "1w",
        "2w",
        "1mo",
        "6mo",
        "1y",
        "18mo",
    ):
        assert parse_interval(name).name == name
    # Other spellings of the same length.
    assert [parse_interval(name).name for name in ("60m", "24h", "7d", "1wk", "12mo", "48h")] == [
        "1h", "1d", "1w", "1w", "1y", "2d",
    ]  # fmt: skip
    for wrong in ("week", "0d", "1q", "mo", ""):
        with pytest.raises(DataError, match="is no interval"):
            parse_interval(wrong)
    assert is_intraday("4h")
    assert not is_intraday("1w")
