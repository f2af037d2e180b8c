from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.state import EDGES, HORIZON_BARS, StateNumbers, buckets


def walk(seed: int, bars: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, bars)))


def test_the_numbers_of_a_state_by_hand() -> None:
    # Every return is +1 % but the last, which is -2 %.
    returns = np.full(80, 0.01)
    returns[-1] = -0.02
    close = 100.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    state = StateNumbers.of(close).at(80, symbol="X", as_of=datetime(2007, 1, 2, tzinfo=UTC))
    assert state.returns_frac == pytest.approx((0.01, 0.01, 0.01, 0.01, -0.02))
    twenty = np.sqrt((19 * 0.01**2 + 0.02**2) / 20)
    assert state.volatility_frac == pytest.approx(twenty)
    assert state.short_ratio == pytest.approx(np.sqrt((4 * 0.01**2 + 0.02**2) / 5) / twenty)
    assert state.long_ratio == pytest.approx(np.sqrt((59 * 0.01**2 + 0.02**2) / 60) / twenty)
    assert state.trend_ratio == pytest.approx(
        (1.01**19 * 0.98 - 1.0) / (twenty * np.sqrt(20)), rel=1e-9
    )
    assert state.drawdown_frac == pytest.approx(0.02)
    assert state.volume_ratio is None


@given(st.integers(0, 10_000), st.integers(70, 110))
@settings(max_examples=20, deadline=None)
def test_no_number_reads_a_later_bar(seed: int, cut: int) -> None:
    close = walk(seed)
    other = np.concatenate([close[: cut + 1], walk(seed + 1)[cut + 1 :] * 3.0])
    now = datetime(2007, 1, 2, tzinfo=UTC)
    volume = np.abs(walk(seed + 2)) * 1000.0
    state = StateNumbers.of(close, volume).at(cut, symbol="X", as_of=now)
    assert state == StateNumbers.of(other, volume).at(cut, symbol="X", as_of=now)


def test_the_answer_is_the_bucket_of_the_next_five_bars() -> None:
    close = walk(3)
    answers = buckets(close)
    scale = np.sqrt(np.mean((close[41:61] / close[40:60] - 1.0) ** 2)) * np.sqrt(5)
    ahead = (close[65] / close[60] - 1.0) / scale
    assert answers[60] == sum(ahead >= edge for edge in EDGES)
    assert (answers[-HORIZON_BARS:] == -1).all()
    assert (answers[:20] == -1).all()
    assert set(answers[20:-HORIZON_BARS]) <= {0, 1, 2, 3, 4}


def test_a_price_that_stands_still_has_no_answer() -> None:
    assert (buckets(np.full(60, 10.0)) == -1).all()
