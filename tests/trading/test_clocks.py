"""Which date a daily stamp stands for, and whose clock it shows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trading.clocks import (
    bar_days,
    better_calendar,
    fitting_calendars,
    misplaced,
    not_closed,
)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[D]").astype(np.int64)


def nanoseconds(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]").astype(np.int64)


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


@pytest.mark.parametrize(
    ("zone", "calendar", "not_it"),
    [
        ("Australia/Sydney", "XASX", "XNZE"),
        ("Europe/Berlin", "XETR", "XLON"),
        ("Europe/London", "XLON", "XETR"),
        ("Asia/Tokyo", "XTKS", "XHKG"),
        ("Asia/Kolkata", "XBOM", "XHKG"),
    ],
)
def test_midnights_of_another_exchange_do_not_fit_and_name_theirs(
    zone: str, calendar: str, not_it: str
) -> None:
    # Over both clock changes of 2024.
    dates = pd.bdate_range("2024-03-04", "2024-11-29")
    utc = dates.tz_localize(zone).tz_convert(None).as_unit("ns").asi8
    zoned = np.ones(len(utc), dtype=bool)
    assert misplaced(utc, utc, zoned, "XNYS").any()
    assert not misplaced(utc, utc, zoned, calendar).any()
    found = fitting_calendars(utc, utc, zoned)
    assert calendar in found[:6]
    assert not_it not in found
    assert (
        bar_days(utc, utc, zoned, calendar).tolist()
        == (dates.as_unit("ns").asi8 // (24 * 3600 * 10**9)).tolist()
    )


def test_opens_closes_and_half_days_fit() -> None:
    # The day after Thanksgiving closes at 13:00 New York; a vendor may write 16:00 there too.
    closes = nanoseconds("2024-11-27T21:00", "2024-11-29T18:00", "2024-12-24T21:00")
    opens = nanoseconds("2024-07-01T13:30", "2024-12-02T14:30")
    for utc in (closes, opens):
        assert not misplaced(utc, utc, np.ones(len(utc), dtype=bool), "XNYS").any()
    off = nanoseconds("2024-07-01T15:00")
    assert misplaced(off, off, np.ones(1, dtype=bool), "XNYS").all()


def test_a_session_runs_until_its_close() -> None:
    moments = nanoseconds(
        "2024-05-14T17:05:31", "2024-05-14T20:00", "2024-05-18T17:00", "2024-11-29T18:30"
    )
    assert not_closed(moments, "XNYS").tolist() == [True, False, False, False]


def test_a_calendar_whose_holidays_are_the_gaps_is_named() -> None:
    # Sessions of London in 2023: under New York's calendar Thanksgiving, Labor Day and others are missing.
    import exchange_calendars as exchanges

    london = exchanges.get_calendar("XLON", start="2022-01-01", end="2024-12-31").sessions
    held = london.to_numpy().astype("datetime64[D]").astype(np.int64)
    found = better_calendar(held, "XNYS")
    assert found is not None
    assert found[0] == "XLON"
    assert better_calendar(held, "XLON") is None
