"""The states of all symbols at a row: those that the language model was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.states import WINDOW_BARS, OwnBars
from models.state import StateNumbers
from tests.fakes import bars_of, random_bars
from trading.history import History, Tape
from trading.panel import Panel, build_panel

NUMBERS = (
    "volatility", "short_ratio", "long_ratio", "trend_ratio", "drawdown", "rsi", "band_z", "volume_ratio",
)  # fmt: skip


def panel(rows: int = 420) -> Panel:
    return build_panel(random_bars(3, 4, rows), name="test")


def followed(made: Panel, first: int = 0) -> list[Any]:
    """The states at every row from `first` on, bar by bar."""
    tape, bars, found = Tape(made, 10), OwnBars(), []
    for row in range(made.rows):
        tape.reveal(row)
        if row >= first:
            found.append(bars.follow(History(tape.shown, row)))
    return found


def test_the_last_state_has_the_numbers_that_the_model_was_trained_on() -> None:
    made = panel()
    last = followed(made)[-1]
    seen = 0
    for column, _ in enumerate(made.symbols):
        close, volume = made.field("close")[:, column], made.field("volume")[:, column]
        have = ~np.isnan(close)
        whole = StateNumbers.of(close[have], volume[have])
        for name in NUMBERS:
            expected = getattr(whole, name)[-1]
            assert getattr(last, name)[column] == pytest.approx(expected, rel=2e-6, nan_ok=True)
        assert last.returns[column] == pytest.approx(whole.returns[-5:])
        assert last.bars[column] == have.sum()
        seen += bool(last.told[column])
    assert seen >= 2


def test_followed_or_begun_later_the_bits_are_the_same() -> None:
    made = panel()
    whole, late = followed(made), followed(made, first=390)
    for ours, theirs in zip(whole[390:], late, strict=True):
        for name in (*NUMBERS, "returns", "close", "ewma_ratio", "told", "bars"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), name


def test_a_symbol_without_a_bar_is_not_told_about_and_keeps_its_numbers() -> None:
    rows = [(p, p, p, p, 10.0) for p in np.linspace(50.0, 60.0, 100) + np.sin(np.arange(100))]
    made = build_panel(bars_of({"A": rows, "B": [*rows[:-1], None]}), name="test")
    before, last = followed(made)[-2:]
    assert last.told.tolist() == [True, False]
    assert last.rsi[1] == before.rsi[1]
    assert last.bars.tolist() == [100, 99]


def test_the_window_holds_the_year_and_ewma_is_a_weighted_mean_of_it() -> None:
    """A price that moves by 1 % every day has 1 % in every volatility: all ratios are 1."""
    prices = 100.0 * 1.01 ** (np.arange(WINDOW_BARS + 30) % 2)
    made = build_panel(bars_of({"A": [(p, p, p, p, 10.0) for p in prices]}), name="test")
    last = followed(made)[-1]
    assert last.short_ratio[0] == pytest.approx(1.0, abs=0.01)
    assert last.ewma_ratio[0] == pytest.approx(1.0, abs=0.01)
    assert last.volume_ratio[0] == 1.0
