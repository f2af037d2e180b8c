"""Whatever form data comes in inside Python, the same bars come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from trading.sources import DataFaults, load_panel

DATES = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"], name="Date")
FIELDS = ("open", "high", "low", "close", "volume")
BARS = {
    "0050": np.array([[10, 12, 9, 11, 100], [11, 13, 10, 12, 200], [12, 14, 11, 13, 300]], float),
    "BRK.B": np.array([[20, 22, 19, 21, 50], [21, 23, 20, 22, 60], [22, 24, 21, 23, 70]], float),
}


def one(symbol: str) -> pd.DataFrame:
    return pd.DataFrame(BARS[symbol], index=DATES, columns=list(FIELDS))


def long_frame() -> pd.DataFrame:
    parts = [one(symbol).assign(symbol=symbol) for symbol in BARS]
    return pd.concat(parts).reset_index()


def two_level(symbol_first: bool) -> pd.DataFrame:
    table = pd.concat({symbol: one(symbol) for symbol in BARS}, axis=1)
    return table if symbol_first else table.swaplevel(axis=1).sort_index(axis=1)


FULL: dict[str, Callable[[], Any]] = {
    "long": long_frame,
    "long, dates as index": lambda: long_frame().set_index("Date"),
    "long, index of symbol and time": lambda: long_frame().set_index(["symbol", "Date"]),
    "two levels, symbol first": lambda: two_level(True),
    "two levels, field first": lambda: two_level(False),
    "two levels, dates as column": lambda: two_level(False).reset_index(),
    "frames by symbol": lambda: {symbol: one(symbol) for symbol in BARS},
    "frames by symbol, dates as column": lambda: {s: one(s).reset_index() for s in BARS},
    "frames by symbol with a symbol column": lambda: {s: one(s).assign(symbol=s) for s in BARS},
}
CLOSES: dict[str, Callable[[], Any]] = {
    "wide": lambda: pd.DataFrame({s: BARS[s][:, 3] for s in BARS}, index=DATES),
    "wide, dates as column": lambda: pd.DataFrame(
        {s: BARS[s][:, 3] for s in BARS}, index=DATES
    ).reset_index(),
    "wide, index without a name": lambda: pd.DataFrame(
        {s: BARS[s][:, 3] for s in BARS}, index=DATES.rename(None)
    ),
    "Series by symbol": lambda: {symbol: one(symbol)["close"] for symbol in BARS},
    "Series with two levels": lambda: long_frame().set_index(["Date", "symbol"])["close"],
    "frames of closes by symbol": lambda: {symbol: one(symbol)[["close"]] for symbol in BARS},
    "two levels of closes": lambda: two_level(False)[["close"]],
}


@pytest.mark.parametrize("form", FULL)
def test_every_form_of_full_bars_is_one_panel(form: str) -> None:
    panel = load_panel(FULL[form]())
    assert panel.symbols == tuple(BARS)
    for column, symbol in enumerate(BARS):
        np.testing.assert_array_equal(panel.stack[:5, :, column].T, BARS[symbol])


@pytest.mark.parametrize("form", CLOSES)
def test_every_form_of_closes_is_one_panel(form: str) -> None:
    panel = load_panel(CLOSES[form]())
    assert panel.symbols == tuple(BARS)
    for column, symbol in enumerate(BARS):
        for field in ("open", "high", "low", "close"):
            np.testing.assert_array_equal(panel.field(field)[:, column], BARS[symbol][:, 3])


@pytest.mark.parametrize("form", [*FULL, *CLOSES])
def test_options_mean_the_same_in_every_form(form: str) -> None:
    data = {**FULL, **CLOSES}[form]()
    panel = load_panel(data, symbols=["0050"], end="2024-01-03")
    assert (panel.symbols, panel.rows) == (("0050",), 2)
    assert panel.field("close")[:, 0].tolist() == [11, 12]


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("XYZ", "XYZ"), ("LOW", "LOW"), ("0050", "0050"), (None, "Series"), ("Close", "Series")],
)
def test_a_series_is_called_by_its_name(name: str | None, symbol: str) -> None:
    panel = load_panel(one("0050")["close"].rename(name))
    assert panel.symbols == (symbol,)
    assert panel.field("close")[:, 0].tolist() == [11, 12, 13]


def test_the_values_make_the_identity_of_frames_by_symbol() -> None:
    frames = {symbol: one(symbol) for symbol in BARS}
    same = load_panel({symbol: one(symbol) for symbol in BARS}).sha256
    assert load_panel(frames).sha256 == same
    frames["0050"].iloc[1, 3] = 12.5
    assert load_panel(frames).sha256 != same


def test_what_is_no_data_is_named_with_the_forms_that_are() -> None:
    with pytest.raises(DataError, match="dictionary of frames is empty"):
        load_panel({})
    with pytest.raises(DataError, match=r"the key 50 is no text \(int\)"):
        load_panel({50: one("0050")})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"data\['A'\] is a list"):
        load_panel({"A": [1, 2]})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="no times"):
        load_panel(pd.Series([1.0, 2.0], name="A"))
    with pytest.raises(DataError, match="several symbols"):
        load_panel({"A": CLOSES["wide"]()})
    with pytest.raises(DataError, match=r"data\['A'\] has rows of 0050"):
        load_panel({"A": long_frame()})
    with pytest.raises(DataError, match=r"the symbol 50 is no text \(int\)"):
        load_panel(long_frame(), symbols=[50])  # type: ignore[list-item]


def test_a_fault_of_one_frame_names_its_symbol() -> None:
    frames = {symbol: one(symbol) for symbol in BARS}
    frames["BRK.B"].iloc[1, 3] = -1.0
    with pytest.raises(DataFaults) as caught:
        load_panel(frames)
    assert {fault.symbol for fault in caught.value.faults} == {"BRK.B"}
