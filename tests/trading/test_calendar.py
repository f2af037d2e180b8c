"""When bars become known, which sessions are missing, how many bars a year has."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from trading.calendar import (
    DAY,
    HOUR,
    MINUTE,
    Gap,
    bar_days,
    bars_per_year,
    exchange_days,
    interval_name,
    interval_of,
    known_at_close,
    missing_sessions,
    parse_interval,
)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[D]").astype(np.int64)


def nanoseconds(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]").astype(np.int64)


def known(calendar: str, *texts: str) -> list[str]:
    moments, _ = known_at_close(days(*texts), calendar)
    return moments.view("datetime64[ns]").astype("datetime64[m]").astype(str).tolist()


def test_a_daily_bar_is_known_at_its_sessions_close() -> None:
    # New York closes at 16:00: 21:00 UTC in winter, 20:00 in summer, 18:00 on the half day of 2012-11-23.
    found = known("XNYS", "2012-01-03", "2012-07-02", "2012-11-23")
    assert found == ["2012-01-03T21:00", "2012-07-02T20:00", "2012-11-23T18:00"]


def test_a_date_without_a_session_is_known_when_the_day_ends() -> None:
    moments, is_session = known_at_close(days("2024-01-05", "2024-01-06", "2024-01-08"), "XNYS")
    assert is_session.tolist() == [True, False, True]
    assert moments.view("datetime64[ns]").astype("datetime64[h]").astype(str).tolist() == [
        "2024-01-05T21",
        "2024-01-07T00",
        "2024-01-08T21",
    ]


def test_a_market_that_never_closes_is_known_at_midnight() -> None:
    assert known("24/7", "2024-01-06", "2024-01-07") == ["2024-01-07T00:00", "2024-01-08T00:00"]


def test_dates_before_a_calendar_begins_are_no_sessions() -> None:
    # exchange_calendars knows Tokyo from 1997 on.
    assert known("XTKS", "1990-01-04", "2000-01-04") == ["1990-01-05T00:00", "2000-01-04T06:00"]


def test_a_range_without_any_session() -> None:
    assert known("XNYS", "2024-01-06") == ["2024-01-07T00:00"]


def test_an_unknown_calendar_names_the_nearest() -> None:
    with pytest.raises(DataError, match="'XNYC'") as caught:
        known("XNYC", "2024-01-05")
    assert "XNYS" in caught.value.cure


def test_holidays_and_half_days_are_no_gaps_and_runs_are_one() -> None:
    # 2012-10-29 and 30: closed for the storm. 2012-11-22: Thanksgiving, 23: a half day.
    held = days("2012-10-26", "2012-10-31", "2012-11-21", "2012-11-23", "2012-11-26")
    gaps = missing_sessions("XYZ", held, "XNYS")
    assert gaps == [Gap("XYZ", "2012-11-01", "2012-11-20", 14)]


def test_the_interval_is_told_by_the_first_stamps() -> None:
    assert interval_of(nanoseconds("2024-01-02", "2024-01-05")) == DAY
    assert (
        interval_of(nanoseconds("2024-01-02T09:30", "2024-01-02T09:35", "2024-01-03")) == 5 * MINUTE
    )
    # A clock change between two daily stamps, and a first bar that is alone on its day.
    assert interval_of(nanoseconds("2024-03-08T05:00", "2024-03-11T04:00")) == DAY
    first = ("2024-01-02T15:30", "2024-01-03T09:30", "2024-01-03T10:30")
    assert interval_of(nanoseconds(*first)) == HOUR
    assert interval_of(nanoseconds("2024-01-02")) == DAY
    assert interval_of(nanoseconds("2024-01-02T09:30")) is None


def test_intervals_have_names() -> None:
    for name in ("1d", "1h", "4h", "5m", "90m", "30s"):
        assert interval_name(parse_interval(name)) == name
    with pytest.raises(DataError, match="'week' is no interval"):
        parse_interval("week")


def test_a_zoned_daily_stamp_falls_on_the_exchanges_date() -> None:
    # Midnight in New York written in UTC, the close in UTC, and midnight in its own zone.
    utc = nanoseconds("2024-01-03T05:00", "2024-01-04T21:00", "2024-01-05T00:00")
    zoned = np.ones(3, dtype=bool)
    found = bar_days(utc, utc, zoned, "XNYS")
    assert found.tolist() == days("2024-01-03", "2024-01-04", "2024-01-05").tolist()
    # Midnight in Tokyo is 15:00 UTC of the day before.
    tokyo = nanoseconds("2024-01-04T15:00")
    assert (
        bar_days(tokyo, tokyo, np.ones(1, dtype=bool), "XTKS").tolist()
        == days("2024-01-05").tolist()
    )


def test_the_exchanges_own_date_of_an_instant() -> None:
    # Sydney opens at 10:00, which is 23:00 UTC of the day before in January.
    assert (
        exchange_days(nanoseconds("2024-01-04T23:00"), "XASX").tolist()
        == days("2024-01-05").tolist()
    )


def test_bars_per_year() -> None:
    assert bars_per_year("XNYS", "1d") == 252
    assert bars_per_year("24/7", "1d") == 365
    # 390 minutes: 78 bars of five, and 7 of an hour.
    assert bars_per_year("XNYS", "5m") == 252 * 78
    assert bars_per_year("XNYS", "1h") == 252 * 7
    assert bars_per_year("24/7", "1h") == 365 * 24
