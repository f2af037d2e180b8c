"""Adjusting by the adjusted close, against hand arithmetic and the vendor's own adjusted columns."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.sources import load_panel
from trading.sources.adjust import adjusted_bars, round_significant

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ATHENA_SHARED", ROOT.parent / "shared"))
WIKI_2014 = SHARED / "data" / "sample" / "wiki_us4_daily_2014_raw_and_adj.csv"


def test_a_factor_scales_prices_down_and_volume_up() -> None:
    # adj_close / close = 5 / 10: prices halve, volume doubles, price x volume is 10 x 300 = 5 x 600.
    raw = np.array([[8.0], [12.0], [6.0], [10.0], [300.0]])
    assert adjusted_bars(raw, np.array([5.0]))[:, 0].tolist() == [
        4,
        6,
        3,
        5,
        600,
        8,
        12,
        6,
        10,
        300,
    ]


def test_without_an_adjusted_close_the_prices_stand() -> None:
    raw = np.array([[8.0], [12.0], [6.0], [10.0], [300.0]])
    values = adjusted_bars(raw, np.array([np.nan]))
    assert values[:5].tolist() == values[5:].tolist() == raw.tolist()


def test_rounding_to_ten_digits_by_hand() -> None:
    values = np.array(
        [1.23456789012, 98765432109.8, 0.000123456789055, -2.00000000006, 0.0, np.nan]
    )
    rounded = round_significant(values)
    assert rounded[:5].tolist() == [1.23456789, 98765432110.0, 0.0001234567891, -2.0, 0.0]
    assert np.isnan(rounded[5])


@given(st.floats(1e-9, 1e15))
def test_a_rounded_number_is_the_double_of_its_ten_digits(value: float) -> None:
    rounded = float(round_significant(np.array([value]))[0])
    assert rounded == float(f"{rounded:.10g}")
    assert abs(rounded - value) <= abs(value) * 0.51e-9
    assert float(round_significant(np.array([rounded]))[0]) == rounded


@pytest.mark.skipif(
    not WIKI_2014.exists(), reason="the shared sample of 2014 is not here (ATHENA_SHARED)"
)
def test_adjusted_prices_agree_with_the_vendors_own() -> None:
    """AAPL splits 7:1 on 2014-06-09 and pays dividends; BRK_A pays none; ZEN lists on 2014-05-15."""
    table = pd.read_csv(WIKI_2014)
    panel = load_panel(WIKI_2014)
    assert panel.symbols == ("AAPL", "BRK_A", "MSFT", "ZEN")
    for column, symbol in enumerate(panel.symbols):
        own = table[table["symbol"] == symbol]
        here = ~np.isnan(panel.field("close")[:, column])
        assert here.sum() == len(own)
        for name in ("open", "high", "low", "close"):
            np.testing.assert_allclose(
                panel.field(name)[here, column], own[f"adj_{name}"], rtol=1e-9
            )
            np.testing.assert_allclose(
                panel.field(f"raw_{name}")[here, column], own[name], rtol=1e-9
            )
        dollars = panel.field("close")[here, column] * panel.field("volume")[here, column]
        np.testing.assert_allclose(dollars, own["close"] * own["volume"], rtol=1e-8)


@pytest.mark.skipif(
    not WIKI_2014.exists(), reason="the shared sample of 2014 is not here (ATHENA_SHARED)"
)
def test_the_vendors_adjusted_volume_leaves_dividends_out() -> None:
    """Ours is larger than theirs by the dividends paid later, by up to a tenth in this file."""
    table = pd.read_csv(WIKI_2014)
    ours = table["volume"] * table["close"] / table["adj_close"]
    excess = ours / table["adj_volume"] - 1
    assert excess.min() > -1e-9
    assert 0.05 < excess.max() < 0.11
