"""How stale a symbol is by the calendar, and what a delisted holding brings."""

from __future__ import annotations

import numpy as np
import pytest

from trading.delisting import delisting_bars, delisting_price, stale_bars

NAN = np.nan


def times(*stamps: str) -> np.ndarray:
    return np.array(stamps, dtype="datetime64[ns]")


def test_sessions_count_and_not_rows_of_others() -> None:
    # Friday's close, a coin's bars of Saturday to Memorial Day, Tuesday's and Wednesday's close.
    known = times(
        "2024-05-24T20:00", "2024-05-26T00:00", "2024-05-27T00:00", "2024-05-28T00:00",
        "2024-05-28T20:00", "2024-05-29T20:00",
    )  # fmt: skip
    close = np.array([[1.0], [NAN], [NAN], [NAN], [NAN], [NAN]])
    assert stale_bars(close, known, "XNYS", "1d")[:, 0].tolist() == [0, 0, 0, 0, 1, 2]


def test_a_lull_within_a_session_is_none_and_a_session_is_one() -> None:
    known = times(
        "2024-06-03T14:00", "2024-06-03T17:00", "2024-06-03T20:00", "2024-06-04T14:00",
        "2024-06-04T20:00", "2024-06-05T14:00",
    )  # fmt: skip
    close = np.array([[1.0], [NAN], [NAN], [NAN], [NAN], [2.0]])
    # It traded in the session of the 3rd, and missed that of the 4th.
    assert stale_bars(close, known, "XNYS", "1h")[:, 0].tolist() == [0, 0, 0, 0, 1, 0]


def test_a_row_answers_the_same_whatever_comes_later() -> None:
    known = times("2024-06-03T20:00", "2024-06-04T20:00", "2024-06-05T20:00", "2024-06-06T20:00")
    close = np.array([[1.0, NAN], [NAN, 2.0], [NAN, NAN], [3.0, NAN]])
    whole = stale_bars(close, known, "XNYS", "1d")
    for rows in range(1, 5):
        np.testing.assert_array_equal(
            stale_bars(close[:rows], known[:rows], "XNYS", "1d"), whole[:rows]
        )


def test_a_calendar_without_records_of_the_time_counts_weekdays() -> None:
    known = times("1901-01-04T21:00", "1901-01-07T21:00", "1901-01-08T21:00")
    close = np.array([[1.0], [NAN], [NAN]])
    assert stale_bars(close, known, "XTKS", "1d")[:, 0].tolist() == [0, 1, 2]


def test_the_threshold_is_in_own_bars() -> None:
    assert delisting_bars(60, "XNYS", "1d") == delisting_bars(60, "XNYS", "5m") == 60
    # 252 / 52 sessions a week: 60 are 12.4 weeks; 21 a month: 2.9 months; never fewer than three bars.
    told = [delisting_bars(60, "XNYS", each) for each in ("1w", "1mo", "3mo", "1y")]
    assert told == [13, 3, 3, 3]


def test_long_bars_count_the_bars_missed() -> None:
    # Closes of the last sessions of 2024's months; the row of February 14th is another symbol's.
    known = times(
        "2024-01-31T21:00", "2024-02-14T21:00", "2024-02-29T21:00", "2024-03-28T20:00",
        "2024-04-30T20:00",
    )  # fmt: skip
    close = np.array([[1.0], [NAN], [NAN], [NAN], [NAN]])
    assert stale_bars(close, known, "XNYS", "1mo")[:, 0].tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("quantity", "left", "price"), [(5.0, False, 28.0), (-5.0, False, 40.0), (5.0, True, 40.0)]
)
def test_a_long_loses_thirty_percent_and_the_rule_never_pays(
    quantity: float, left: bool, price: float
) -> None:
    assert delisting_price(40.0, quantity, -0.30, left_universe=left) == price
