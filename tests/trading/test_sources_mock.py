"""The mock walks: one per symbol, to the year 2199, the same everywhere, and never passed off as a market."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import DataConfig
from core.errors import DataError
from trading.sources import load_panel
from trading.sources.mock import mock_bars

ROOT = Path(__file__).resolve().parents[2]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from(["MOCK1", "AAPL", "x"]))
def test_a_longer_walk_begins_with_the_shorter(bars: int, more: int, symbol: str) -> None:
    short, long = mock_bars(symbol, bars), mock_bars(symbol, bars + more)
    assert short.tobytes() == np.ascontiguousarray(long[:, :bars]).tobytes()


def test_bars_are_sound_and_look_like_prices() -> None:
    opened, high, low, close, volume = mock_bars("MOCK1", 5000)[:5]
    assert (low > 0).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (volume > 0).all()
    assert 0.15 < np.diff(np.log(close)).std() * np.sqrt(252) < 0.47


def test_symbols_and_seeds_walk_apart() -> None:
    one = mock_bars("MOCK1", 500)[3]
    returns = [np.diff(np.log(walk)) for walk in (one, mock_bars("MOCK2", 500)[3])]
    assert abs(np.corrcoef(*returns)[0, 1]) < 0.15
    assert not np.array_equal(one, mock_bars("MOCK1", 500, seed=1)[3])


def test_another_process_walks_the_same() -> None:
    code = (
        "from trading.sources.mock import mock_bars; import hashlib;"
        "print(hashlib.sha256(mock_bars('AAPL', 100, seed=3).tobytes()).hexdigest())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    import hashlib

    own = hashlib.sha256(mock_bars("AAPL", 100, seed=3).tobytes()).hexdigest() + "\n"
    assert found == [own, own]


def test_a_mock_panel_says_so_and_follows_the_config() -> None:
    panel = load_panel("mock", config=DataConfig(mock_symbols=3, mock_bars=40), seed=7)
    assert panel.symbols == ("MOCK1", "MOCK2", "MOCK3")
    assert (panel.rows, panel.mock) == (40, True)
    assert "mock" in panel.name
    assert any("mock" in note for note in panel.notes)
    # The first session from 2000-01-03 on, and 2000-01-17, a holiday, left out.
    assert panel.as_of[0] == "2000-01-03T21:00:00Z"
    assert not any(moment.startswith("2000-01-17") for moment in panel.as_of)
    assert (
        panel.sha256 != load_panel("mock", config=DataConfig(mock_symbols=3, mock_bars=40)).sha256
    )


def test_any_symbol_has_a_mock_walk() -> None:
    panel = load_panel("mock", symbols=["IBM", "AAPL"], config=DataConfig(mock_bars=10))
    assert panel.symbols == ("AAPL", "IBM")
    assert panel.stack[:10, :, 0].tobytes() == mock_bars("AAPL", 10).tobytes()


def test_a_walk_past_the_calendars_is_refused() -> None:
    with pytest.raises(DataError, match="year 2199"):
        load_panel("mock", config=DataConfig(mock_bars=60_000, mock_symbols=1))


def test_end_cuts_a_mock_panel() -> None:
    panel = load_panel("mock", config=DataConfig(mock_bars=40), end="2000-01-05")
    assert panel.as_of[-1] == "2000-01-05T21:00:00Z"
    with pytest.raises(DataError, match="begin after 1999-01-01"):
        load_panel("mock", end="1999-01-01")
