"""When bars longer than a day become known, and what their stamps label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trading.intervals import parse_interval
from trading.periods import periods_of


def known(
    stamps: pd.DatetimeIndex, interval: str, calendar: str = "XNYS", bar_label: str = "auto"
) -> tuple[str, list[str]]:
    days = stamps.as_unit("ns").asi8 // (86_400 * 10**9)
    found = periods_of(days, parse_interval(interval), calendar, bar_label)  # type: ignore[arg-type]
    moments = found.known.view("datetime64[ns]").astype("datetime64[m]").astype(str)
    return found.label, moments.tolist()


def every(freq: str, count: int = 30, start: str = "2010-01-04") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=freq)


@pytest.mark.parametrize(
    ("freq", "interval", "label", "first"),
    [
        # Mondays begin weeks that New York closes on Fridays at 21:00 UTC; Sundays and Fridays end them.
        ("W-MON", "1w", "open", ["2010-01-08T21:00", "2010-01-15T21:00"]),
        ("W-SUN", "1w", "close", ["2010-01-08T21:00", "2010-01-15T21:00"]),
        ("W-FRI", "1w", "close", ["2010-01-08T21:00", "2010-01-15T21:00"]),
        # A Wednesday is no last day: seven days from it end on the next Tuesday.
        ("W-WED", "1w", "open", ["2010-01-12T21:00", "2010-01-19T21:00"]),
        # 2010-02-01 to 28: the last session is Friday the 26th. March ends in summer time.
        ("MS", "1mo", "open", ["2010-02-26T21:00", "2010-03-31T20:00"]),
        # 2010-01-31 is a Sunday, 2010-02-28 too.
        ("ME", "1mo", "close", ["2010-01-29T21:00", "2010-02-26T21:00"]),
        ("BME", "1mo", "close", ["2010-01-29T21:00", "2010-02-26T21:00"]),
        ("QS", "3mo", "open", ["2010-06-30T20:00", "2010-09-30T20:00"]),
        ("YE", "1y", "close", ["2010-12-31T21:00", "2011-12-30T21:00"]),
        ("YS", "1y", "open", ["2011-12-30T21:00", "2012-12-31T21:00"]),
    ],
)
def test_a_long_bar_is_known_at_the_last_close_of_its_period(
    freq: str, interval: str, label: str, first: list[str]
) -> None:
    found, moments = known(every(freq), interval)
    assert (found, moments[:2]) == (label, first)


def test_a_market_that_never_closes_ends_its_week_at_midnight() -> None:
    assert known(every("W-MON"), "1w", "24/7")[1][0] == "2010-01-11T00:00"
    assert known(every("MS"), "1mo", "24/7")[1][0] == "2010-03-01T00:00"


def test_holidays_move_last_sessions_and_change_no_label() -> None:
    # Good Friday, 2012-04-06: the week ended on Thursday, whether it is stamped so or with its Friday.
    fridays = every("W-FRI", 20, "2012-03-01")
    at = fridays.get_loc(pd.Timestamp("2012-04-06"))
    thursday = fridays.to_series().replace(pd.Timestamp("2012-04-06"), pd.Timestamp("2012-04-05"))
    for stamps in (fridays, pd.DatetimeIndex(thursday)):
        label, moments = known(stamps, "1w")
        assert label == "close"
        assert moments[at] == "2012-04-05T20:00"


def test_the_setting_overrules_what_the_stamps_look_like() -> None:
    # Month ends that label a beginning: from 2010-01-31 to the day before 2010-02-28.
    label, moments = known(every("ME"), "1mo", bar_label="open")
    assert (label, moments[0]) == ("open", "2010-02-26T21:00")
    # First days that label an end: Monday 2010-02-01 itself.
    label, moments = known(every("MS"), "1mo", bar_label="close")
    assert (label, moments[0]) == ("close", "2010-02-01T21:00")


def test_bars_of_two_days_wait_for_two_sessions() -> None:
    # Friday and Saturday hold one session of New York: the bar may hold Monday, and waits for it.
    assert known(every("2D"), "2d")[1][2] == "2010-01-11T21:00"
    assert known(every("2D"), "2d", "24/7")[1][2] == "2010-01-10T00:00"


def test_no_period_is_known_before_its_stamp_or_its_last_session() -> None:
    for freq, interval in (("2W-FRI", "2w"), ("2MS", "2mo"), ("BQE", "3mo"), ("2QE", "6mo")):
        stamps = every(freq)
        days = stamps.as_unit("ns").asi8 // (86_400 * 10**9)
        found = periods_of(days, parse_interval(interval), "XNYS", "auto")
        assert (found.first <= days).all()
        assert (days <= found.last).all()
        assert (np.diff(found.known) > 0).all()
