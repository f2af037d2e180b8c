"""The panel of the sample and of random data: what is known when, and nothing from later rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config import DataConfig
from trading.panel import Panel, build_panel, marks
from trading.sources import load_panel


def test_symbols_are_ordered_by_first_bar_then_name() -> None:
    times = np.array(["2024-01-02", "2024-01-03"], dtype="datetime64[ns]")
    one = np.ones((10, 2))
    bars = {"Z": (times, one), "B": (times[1:], one[:, 1:]), "A": (times[1:], one[:, 1:])}
    panel = build_panel(bars, name="x")
    assert panel.symbols == ("Z", "A", "B")
    assert panel.listed_at.tolist() == [0, 1, 1]
    assert [panel.visible(row) for row in range(2)] == [1, 3]


def test_the_mark_is_the_last_close_and_stale_counts_rows_without_a_bar() -> None:
    close = np.array([[np.nan], [5.0], [np.nan], [np.nan], [6.0]])
    mark = marks(close)
    np.testing.assert_array_equal(mark[:, 0], [np.nan, 5, 5, 5, 6])


@st.composite
def tables(draw: st.DrawFn, interval: str = "1d") -> pd.DataFrame:
    """Long tables of up to four symbols that start late, end early and miss bars; prices split once."""
    rows = draw(st.integers(4, 25))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    if interval == "1d":
        stamps = pd.date_range("2019-12-20", periods=rows, freq="D").astype(str)
    else:
        stamps = pd.date_range("2020-01-02 14:30", periods=rows, freq=interval, tz="UTC").astype(
            str
        )
    parts = []
    for symbol in "ABCD"[: draw(st.integers(1, 4))]:
        first = draw(st.integers(0, rows - 2)) if symbol != "A" else 0
        last = draw(st.integers(first + 1, rows - 1))
        here = np.arange(first, last + 1)
        if symbol != "A":
            here = here[random.random(len(here)) > 0.2]
        close = np.round(np.exp(random.normal(3, 0.05, len(here))), 2)
        spread = np.round(random.random((3, len(here))), 2)
        opened = close + spread[0] - 0.5
        factor = np.where(here < rows // 2, 0.5, 1.0)
        close, opened = close / factor, opened / factor
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "time": stamps[here],
                    "open": opened,
                    "high": np.maximum(opened, close) + spread[1],
                    "low": np.minimum(opened, close) - spread[2],
                    "close": close,
                    "volume": random.integers(0, 10**6, len(here)),
                    "adj_close": close * factor,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def assert_same_past(short: Panel, whole: Panel, rows: int) -> None:
    """`short` equals the first `rows` rows of `whole`, byte for byte."""
    columns = len(short.symbols)
    assert short.symbols == whole.symbols[:columns]
    assert all(row >= rows for row in whole.listed_at[columns:])
    assert short.as_of[:rows] == whole.as_of[:rows]
    assert short.times[:rows].tobytes() == whole.times[:rows].tobytes()
    assert short.listed_at.tolist() == whole.listed_at[:columns].tolist()
    ours, theirs = short.stack[:, :rows, :], whole.stack[:, :rows, :columns]
    assert ours.tobytes() == np.ascontiguousarray(theirs).tobytes()


def cut(table: pd.DataFrame, last: str) -> pd.DataFrame:
    return table[table["time"] <= last].reset_index(drop=True)


def poisoned(table: pd.DataFrame, last: str, seed: int) -> pd.DataFrame:
    """Other, well-formed values in every row after `last`."""
    table = table.copy()
    late = (table["time"] > last).to_numpy()
    scale = np.exp(np.random.default_rng(seed).normal(0, 0.05, int(late.sum())))
    prices = ["open", "high", "low", "close", "adj_close"]
    values = table[[*prices, "volume"]].astype(float)
    values.loc[late, prices] *= scale[:, None]
    values.loc[late, "volume"] += 17.0
    table[values.columns] = values
    return table


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    interval=st.sampled_from(["1d", "5min"]),
    calendar=st.sampled_from(["XNYS", "24/7"]),
)
def test_later_rows_change_nothing_in_earlier_ones(
    data: st.DataObject, interval: str, calendar: str
) -> None:
    table = data.draw(tables(interval))
    config = DataConfig(calendar=calendar)
    whole = load_panel(table, config=config)
    stamps = sorted(set(table["time"]))
    # Two stamps at least: a single intraday bar tells no interval.
    at = data.draw(st.integers(1, len(stamps) - 1))
    last = stamps[at]
    assert_same_past(load_panel(cut(table, last), config=config), whole, at + 1)
    other = load_panel(poisoned(table, last, data.draw(st.integers(0, 9))), config=config)
    columns = whole.visible(at)
    assert other.symbols == whole.symbols
    assert other.as_of == whole.as_of
    ours, theirs = (panel.stack[:, : at + 1, :columns] for panel in (other, whole))
    assert np.ascontiguousarray(ours).tobytes() == np.ascontiguousarray(theirs).tobytes()


def test_a_single_daily_row_is_known_when_the_whole_file_says_so() -> None:
    table = pd.DataFrame({"date": ["2012-11-23", "2012-11-26"], "AAA": [1.0, 2.0]})
    assert load_panel(table[:1]).as_of == load_panel(table).as_of[:1] == ("2012-11-23T18:00:00Z",)
