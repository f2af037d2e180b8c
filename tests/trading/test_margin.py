"""Maintenance margin by hand."""

from __future__ import annotations

import pytest

from trading.margin import MarginCalls, MarginRule


def test_what_a_book_must_have() -> None:
    # 30,000 long and 120,000 short: 7,500 + 36,000.
    assert MarginRule().required_usd(150_000.0, -90_000.0) == pytest.approx(43_500.0)
    assert MarginRule().shortfall_usd(40_000.0, 150_000.0, -90_000.0) == pytest.approx(3_500.0)
    assert MarginRule().shortfall_usd(43_500.0, 150_000.0, -90_000.0) == 0.0
    assert MarginRule(0.0, 0.0).shortfall_usd(1.0, 150_000.0, -90_000.0) == 0.0


def test_a_call_that_is_not_met_is_the_same_call() -> None:
    calls = MarginCalls()
    assert [calls.note(lacking) for lacking in (10.0, 7.0, 0.0, 5.0)] == [False, True, False, False]
    assert (calls.count, calls.shortfall_usd) == (2, 15.0)
