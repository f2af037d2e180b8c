"""When bars become known, which sessions are missing, how many bars a year has."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from trading.calendar import (
    Gap,
    bars_per_year,
    exchange_days,
    known_at_close,
    missing_periods,
    missing_sessions,
    sessions_between,
)
from trading.intervals import Interval


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
    # Weeks and months are the same everywhere: 52 weeks, 12 months.
    assert [bars_per_year("XNYS", name) for name in ("1w", "2w", "1mo", "2mo", "3mo", "6mo", "1y")] == [
        52, 26, 12, 6, 4, 2, 1,
    ]  # fmt: skip
    assert bars_per_year("24/7", "1w") == 52
    assert bars_per_year("24/7", "2d") == 182.5
    assert bars_per_year("XNYS", "2d") == 126


def test_holidays_of_new_york_before_1970_are_no_sessions() -> None:
    # Election Day 1961, Washington's Birthday 1952, the funeral of President Kennedy.
    for day in ("1961-11-07", "1952-02-22", "1963-11-25"):
        (number,) = days(day).tolist()
        assert len(sessions_between("XNYS", number, number).days) == 0, day
    # An ordinary week has its five days, and 1970 is as exchange_calendars has it.
    week = sessions_between("XNYS", *days("1961-02-27", "1961-03-05").tolist())
    assert len(week.days) == 5
    later = sessions_between("NYSE", *days("1969-12-29", "1970-01-04").tolist()).days
    assert later.tolist() == days("1969-12-29", "1969-12-30", "1969-12-31", "1970-01-02").tolist()


def test_saturdays_are_sessions_only_of_bars_that_have_them() -> None:
    # The week of Monday 1951-10-15, with its Saturday the 20th; the next one without.
    weekdays = days(*(f"1951-10-{day}" for day in (15, 16, 17, 18, 19, 22, 23, 24, 25, 26)))
    assert missing_sessions("OLD", weekdays, "XNYS") == []
    with_saturday = np.sort(np.concatenate([weekdays, days("1951-10-20", "1951-10-29")]))
    assert missing_sessions("OLD", with_saturday, "XNYS") == [
        Gap("OLD", "1951-10-27", "1951-10-27", 1)
    ]
    # A Saturday session closed at noon, 17:00 UTC in October's standard time.
    moments, is_session = known_at_close(days("1951-10-20"), "XNYS")
    assert is_session.all()
    assert str(moments.view("datetime64[ns]")[0])[:16] == "1951-10-20T17:00"


def test_missing_bars_of_months_are_gaps() -> None:
    held = days("2012-01-31", "2012-02-29", "2012-05-31")
    (gap,) = missing_periods("XYZ", held, Interval(1, "mo"), "XNYS")
    assert gap.sessions == 2  # March and April
