"""The window of returns: kept up bar by bar, it is the window read at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.returns import ReturnsWindow, SortedReturns
from tests.agents.books import at, closing
from tests.fakes import make_panel, random_bars
from trading.history import Tape
from trading.panel import build_panel


def test_returns_stand_in_the_ring_by_row() -> None:
    # Closes 10, 11, 9.9, 9.9: returns +0.1, -0.1, 0. Ring of 2: row 3 overwrites row 1's place.
    window = ReturnsWindow(2).follow(at(closing([[10.0, 11.0, 9.9, 9.9]])))
    np.testing.assert_allclose(window[:, 0], [0.0, -0.1], atol=1e-15)


def test_a_symbol_before_its_first_bar_moves_with_the_mean_of_the_others() -> None:
    bar = (10.0, 10.0, 10.0, 10.0, 1.0)
    up = (12.0, 12.0, 12.0, 12.0, 1.0)
    panel = make_panel({"A": [bar, up, up], "B": [bar, bar, bar], "C": [None, None, bar]})
    window = ReturnsWindow(5).follow(at(panel))
    # Row 1: A +20 %, B 0, so C is taken to have made +10 %. Row 2: C's first bar has no return either:
    # A 0, B 0, mean 0.
    np.testing.assert_allclose(window, [[0.2, 0.0, 0.1], [0.0, 0.0, 0.0]])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 59))
def test_following_every_bar_gives_the_bits_of_a_restart(
    seed: int, symbols: int, start: int
) -> None:
    panel = build_panel(random_bars(seed, symbols, 60), name="random")
    followed, restarted = ReturnsWindow(20), ReturnsWindow(20)
    tape = Tape(panel, 10)
    for row in range(panel.rows):
        tape.reveal(row)
        one = followed.follow(tape.upto(row)).copy()
        if row >= start:
            assert restarted.follow(tape.upto(row)).tobytes() == one.tobytes()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 39))
def test_the_sorted_window_holds_the_same_numbers(seed: int, start: int) -> None:
    panel = build_panel(random_bars(seed, 1, 40), name="random")
    scalar, arrays = SortedReturns(12), ReturnsWindow(12)
    tape = Tape(panel, 10)
    for row in range(panel.rows):
        tape.reveal(row)
        if row >= start:
            expected = sorted(arrays.follow(tape.upto(row))[:, 0].tolist())
            assert scalar.follow(tape.upto(row)) == expected
