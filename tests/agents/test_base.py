"""What agents are handed: the present bars as a mapping that is made when asked."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from agents.base import MarketData
from tests.agents.books import at
from tests.fakes import Row, make_panel
from trading.market_data import OHLCV

FIRST: Row = (1.0, 2.0, 0.5, 1.5, 10.0)
SECOND: Row = (2.0, 3.0, 1.5, 2.5, 20.0)


def test_market_data_is_the_present_bar_as_a_dictionary() -> None:
    panel = make_panel({"A": [FIRST, SECOND]}, adjusted_per_raw=0.5)
    data = MarketData(at(panel))
    # Adjusted prices are half the raw ones, and volume doubles to keep the dollars.
    assert data["A"] == dataclasses.asdict(
        OHLCV(
            symbol="A",
            time=datetime(2020, 1, 2, 21, tzinfo=UTC),
            open=2.0,
            high=3.0,
            low=1.5,
            close=2.5,
            volume=20.0,
            raw_open=4.0,
            raw_high=6.0,
            raw_low=3.0,
            raw_close=5.0,
            raw_volume=10.0,
        )
    )


def test_a_symbol_without_a_bar_has_no_market_data() -> None:
    data = MarketData(at(make_panel({"A": [FIRST, SECOND], "B": [FIRST, None]})))
    assert list(data) == ["A"]
    assert len(data) == 1
    with pytest.raises(KeyError):
        data["B"]


def test_a_missing_volume_is_none() -> None:
    nothing = float("nan")
    data = MarketData(at(make_panel({"A": [(1.0, 1.0, 1.0, 1.0, nothing)]})))
    assert data["A"]["volume"] is None
    assert data["A"]["raw_volume"] is None
