"""Gross price errors are found on their row; real crashes and fat tails are left alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from trading.calendar import sessions_between
from trading.panel import build_panel
from trading.price_warnings import (
    PriceWarning,
    known_warnings,
    split_warnings,
    warnings_note,
)
from trading.sources.file import Series
from trading.sources.load import load_panel
from trading.sources.suspects import find_warnings

FloatArray = npt.NDArray[np.float64]

DAY = 86_400_000_000_000

FIRST = int(np.datetime64("2015-01-02", "D").astype(np.int64))
SESSIONS = sessions_between("XNYS", FIRST, FIRST + 3_000).days


def series_of(values: FloatArray, days: npt.NDArray[np.int64] | None = None) -> Series:
    """Bars [5, K] of prices that are not adjusted, on sessions; the first one stands on line 2."""
    count = values.shape[1]
    here = SESSIONS[:count] if days is None else days
    raw = np.vstack([values, np.full((1, count), np.nan)])
    known = (here * DAY + 20 * DAY // 24).view("datetime64[ns]")
    lines = np.arange(2, count + 2)
    return Series(known, here, here * DAY, raw, np.concatenate([values, values]), lines)


def closes_of(closes: Sequence[float] | FloatArray) -> FloatArray:
    """Bars [5, K] of a table of closes: one price four times, no volume."""
    close = np.asarray(closes, dtype=np.float64)
    return np.vstack([np.tile(close, (4, 1)), np.full((1, len(close)), np.nan)])


def walk(seed: int, bars: int, deviation: float, *, night: float = 0.4) -> FloatArray:
    """A random walk with tails of Student's t (3 degrees), as bars [5, K] with volume."""
    rng = np.random.default_rng(seed)
    moves = rng.standard_t(3, bars) * deviation / math.sqrt(3)
    close = 50.0 * np.exp(np.cumsum(moves))
    before = np.concatenate([[50.0], close[:-1]])
    opened = before * np.exp(moves * night)
    aside = np.abs(rng.standard_normal((2, bars))) * deviation * 0.5
    high = np.maximum(opened, close) * np.exp(aside[0])
    low = np.minimum(opened, close) * np.exp(-aside[1])
    volume = 1e6 * np.exp(rng.standard_normal(bars) * 0.4 + 8 * np.abs(moves))
    return np.vstack([opened, high, low, close, volume])


def warnings_of(
    values: FloatArray, days: npt.NDArray[np.int64] | None = None, interval: str = "1d"
) -> tuple[PriceWarning, ...]:
    return find_warnings({"S": series_of(values, days)}, interval=interval, calendar="XNYS")


def scale(values: FloatArray, rows: slice | int, factor: float) -> FloatArray:
    changed = values.copy()
    changed[:4, rows] *= factor
    return changed


@pytest.mark.parametrize("deviation", [0.0005, 0.005, 0.02, 0.05])
@pytest.mark.parametrize("closes_only", [False, True])
def test_fat_tails_raise_no_alarm(deviation: float, closes_only: bool) -> None:
    """100 walks of 1,000 bars each; tails of t(3) make days of ten deviations."""
    for seed in range(100):
        values = walk(seed, 1_000, deviation)
        assert warnings_of(closes_of(values[3]) if closes_only else values) == ()


@pytest.mark.parametrize("interval", ["1w", "1mo", "5m"])
def test_other_intervals_raise_no_alarm(interval: str) -> None:
    step, deviation = {"1w": (7, 0.04), "1mo": (30, 0.09), "5m": (1, 0.001)}[interval]
    days = FIRST + step * np.arange(400, dtype=np.int64)
    for seed in range(50):
        values = walk(seed, 400, deviation)
        assert warnings_of(values, days, interval) == ()
        assert warnings_of(closes_of(values[3]), days, interval) == ()


@pytest.mark.parametrize("closes_only", [False, True])
@pytest.mark.parametrize("factor", [0.001, 0.01, 0.1, 10.0, 100.0])
def test_every_planted_bar_is_a_jump_on_its_row(factor: float, closes_only: bool) -> None:
    rng = np.random.default_rng(7)
    for seed in range(20):
        values = walk(seed, 300, float(rng.uniform(0.003, 0.03)))
        at = int(rng.integers(1, 299))
        if closes_only:
            values = closes_of(values[3])
        (warning,) = warnings_of(scale(values, at, factor))
        assert (warning.kind, warning.row, warning.count) == ("jump", at + 2, 1)
        assert warning.time == str(np.datetime64(int(SESSIONS[at]), "D"))
        assert f"{values[3, at] * factor:.6g}" in warning.found


@pytest.mark.parametrize(("cell", "factor"), [(1, 100.0), (1, 10.0), (2, 0.01), (2, 0.1)])
def test_every_planted_high_or_low_is_a_jump_on_its_row(cell: int, factor: float) -> None:
    for seed in range(20):
        values = walk(seed, 300, 0.02)
        values[cell, 3 * seed] *= factor
        (warning,) = warnings_of(values)
        assert (warning.kind, warning.row) == ("jump", 3 * seed + 2)
        assert warning.found.startswith("high" if cell == 1 else "low")


@pytest.mark.parametrize("bars", [2, 5, 40])
@pytest.mark.parametrize("closes_only", [False, True])
def test_a_stretch_in_pence_is_told_with_its_length(bars: int, closes_only: bool) -> None:
    for seed in range(20):
        values = walk(seed, 300, 0.015)
        if closes_only:
            values = closes_of(values[3])
        (warning,) = warnings_of(scale(values, slice(60 + seed, 60 + seed + bars), 100.0))
        assert (warning.kind, warning.row, warning.count) == ("unit_change", 62 + seed, bars)


def test_a_unit_that_changes_for_good() -> None:
    values = scale(walk(3, 300, 0.015), slice(120, None), 100.0)
    (warning,) = warnings_of(values)
    assert (warning.kind, warning.row, warning.count) == ("unit_change", 122, 180)
    assert warning.first == warning.last


def test_the_few_bars_before_a_change_of_the_unit_are_the_odd_ones() -> None:
    (warning,) = warnings_of(scale(walk(3, 300, 0.015), slice(0, 5), 100.0))
    assert (warning.kind, warning.row, warning.count) == ("unit_change", 2, 5)
    assert warning.found.startswith("5 bars to close")


@pytest.mark.parametrize("factor", [0.25, 0.5, 3.0])
def test_a_few_rows_adjusted_otherwise_are_told_as_a_stretch(factor: float) -> None:
    for seed in range(10):
        (warning,) = warnings_of(scale(walk(seed, 200, 0.01), slice(80, 84), factor))
        assert (warning.kind, warning.row, warning.count) == ("unit_change", 82, 4)
        assert "adjusted for a split otherwise" in warning.cause


def test_the_value_told_is_the_one_that_stands_in_the_input() -> None:
    """Prices twice the adjusted: a slip in all is told as read, one in the adjusted close as adjusted."""
    values = walk(3, 200, 0.01)
    one = series_of(scale(values, 100, 0.01))
    doubled = one.values.copy()
    doubled[5:9] *= 2.0
    (warning,) = find_warnings({"S": replace(one, values=doubled)}, interval="1d", calendar="XNYS")
    assert warning.found.startswith(f"close {values[3, 100] * 0.02:.6g} between")
    doubled[5:9] = values[:4] * 2.0
    (warning,) = find_warnings({"S": replace(one, values=doubled)}, interval="1d", calendar="XNYS")
    assert warning.found.startswith(f"adjusted close {values[3, 100] * 0.01:.6g} between")


@pytest.mark.parametrize(
    ("factor", "ratio"),
    [(1 / 2, "2:1"), (1 / 3, "3:1"), (1 / 4, "4:1"), (1 / 7, "7:1"), (1 / 20, "20:1"),
     (5.0, "1:5"), (10.0, "1:10"), (25.0, "1:25"), (190.0, "1:190")],
)  # fmt: skip
@pytest.mark.parametrize("volume", ["adjusts", "stays"])
def test_every_planted_split_is_found_on_its_row(factor: float, ratio: str, volume: str) -> None:
    """On a day whose own move is within a deviation; volume may follow the split or not."""
    for seed in range(20):
        values = walk(seed, 200, 0.012)
        at = 100 + int(np.argmin(np.abs(np.diff(np.log(values[3, 99:140])))))
        values = scale(values, slice(at, None), factor)
        if volume == "adjusts":
            values[4, at:] /= factor
        found = [one for one in warnings_of(values) if one.kind == "suspected_split"]
        assert [one.row for one in found] == [at + 2]
        assert f"(ratio {ratio})" in found[0].found


@pytest.mark.parametrize(("factor", "ratio"), [(0.5, "2:1"), (0.25, "4:1"), (20.0, "1:20")])
def test_a_split_among_closes_alone(factor: float, ratio: str) -> None:
    for seed in range(20):
        closes = walk(seed, 200, 0.012)[3]
        at = 100 + int(np.argmin(np.abs(np.diff(np.log(closes[99:140])))))
        closes[at:] *= factor
        (warning,) = warnings_of(closes_of(closes))
        assert (warning.kind, warning.row) == ("suspected_split", at + 2)
        assert f"(ratio {ratio})" in warning.found


CRASHES = {
    "S&P 500, October 1987": (
        314.52, 311.07, 310.04, 309.39, 314.52, 305.23, 298.08, 282.70, 224.84, 236.83, 258.38, 248.25,
        248.22, 227.67, 233.19, 233.28, 244.77, 251.79,
    ),
    "S&P 500, autumn 2008": (
        1213.27, 1106.42, 1166.36, 1161.06, 1114.28, 1099.23, 1056.89, 996.23, 984.94, 909.92, 899.22,
        1003.35, 998.01, 907.84, 946.43, 940.55, 985.40, 955.05, 896.78, 908.11, 876.77, 848.92, 940.51,
    ),
    "S&P 500, March 2020": (
        3130.12, 3023.94, 2972.37, 2746.56, 2882.23, 2741.38, 2480.64, 2711.02, 2386.13, 2529.19, 2398.10,
        2409.39, 2304.92, 2237.40, 2447.33, 2475.56, 2630.07, 2541.47, 2626.65,
    ),
    "VIX, February 2018": (
        11.08, 11.10, 11.47, 11.58, 11.08, 13.84, 14.79, 13.54, 13.47, 17.31, 37.32, 29.98, 27.73, 33.46,
        29.06, 25.61, 24.97, 19.26, 19.13, 19.46,
    ),
    "GME, January 2021": (
        17.25, 17.37, 18.36, 18.08, 17.69, 19.94, 19.95, 31.40, 39.91, 35.50, 39.36, 39.12, 43.03, 65.01,
        76.79, 147.98, 347.51, 193.60, 325.00, 225.00, 90.00, 92.41, 53.50, 63.77, 60.00,
    ),
    "FB, February 2022": (
        301.71, 300.15, 308.71, 294.64, 301.71, 313.26, 319.00, 323.00, 237.76, 237.09, 224.91, 220.18,
        232.00, 228.07, 219.55, 217.70,
    ),
    "a yield near zero": (
        0.05, 0.04, 0.03, 0.01, 0.02, 0.01, 0.10, 0.02, 0.01, 0.08, 0.01, 0.03, 0.05, 0.01, 0.11, 0.02,
    ),
    "a share quoted in hundredths of a cent": (
        0.0003, 0.0002, 0.0001, 0.0004, 0.0001, 0.0002, 0.0008, 0.0002, 0.0001, 0.0001, 0.0003, 0.0009,
        0.0001,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CRASHES)
def test_closes_of_real_crashes_are_left_alone(name: str) -> None:
    closes = np.array(CRASHES[name])
    calm = closes[0] * np.exp(np.cumsum(np.random.default_rng(1).standard_normal(80)[::-1] * 0.008))
    before = calm * closes[0] / calm[-1]
    whole = closes if closes[0] < 1 else np.concatenate([before, closes])
    assert warnings_of(closes_of(whole)) == ()


@pytest.mark.parametrize(
    ("name", "before", "bar", "busier", "after"),
    [
        ("NFLX 2022-04-20", 348.61, (245.20, 248.70, 212.51, 226.19), 9.0, (218.22, 215.52, 209.91)),
        ("FB 2022-02-03", 323.00, (244.65, 248.00, 235.75, 237.76), 6.0, (237.09, 224.91, 220.18)),
        ("Bear Stearns 2008-03-17", 30.00, (3.17, 5.50, 2.84, 4.81), 10.0, (5.91, 5.33, 5.96)),
        ("SIVB 2023-03-09", 267.83, (176.55, 177.75, 100.00, 106.04), 20.0, ()),
        ("Puma Biotechnology 2014-07-23", 59.03, (213.0, 242.0, 209.0, 233.43), 40.0, (235.0, 226.0)),
        ("a biotech at exactly a fifth", 50.0, (10.4, 11.6, 9.2, 10.0), 30.0, (9.6, 9.9, 9.3)),
        ("a biotech at exactly three times", 5.0, (14.6, 17.5, 13.9, 15.0), 60.0, (14.1, 15.3)),
        ("half overnight on a lost trial", 40.0, (20.4, 21.9, 19.1, 20.0), 15.0, (19.2, 19.6, 18.9)),
    ],
)  # fmt: skip
def test_bars_of_real_crashes_are_left_alone(
    name: str,
    before: float,
    bar: tuple[float, ...],
    busier: float,
    after: tuple[float, ...],
) -> None:
    """As traded, on many times the usual shares; `busier` is roughly what was reported."""
    values = walk(5, 60, 0.02)
    values[:4] *= before / values[3, -1]
    usual = float(np.median(values[4]))
    news = np.array([*bar, usual * busier])[:, None]
    days = [
        np.array([close * 0.99, close * 1.03, close * 0.96, close, usual * busier / 3])[:, None]
        for close in after
    ]
    assert warnings_of(np.hstack([values, news, *days])) == (), name


def test_a_symbol_that_stopped_is_stale_by_sessions() -> None:
    """Ends 3 sessions before the other; one session behind, and a weekend of a coin, are nothing."""
    values = walk(1, 60, 0.01)
    cut = {"OLD": series_of(values[:, :57]), "LATE": series_of(values[:, :59])}
    (warning,) = find_warnings({**cut, "NEW": series_of(values)}, interval="1d", calendar="XNYS")
    assert (warning.kind, warning.symbol, warning.row, warning.count) == ("stale", "OLD", 58, 3)
    left = find_warnings(
        {**cut, "NEW": series_of(values)}, interval="1d", calendar="XNYS", left=["OLD"]
    )
    assert left == ()
    friday = int(np.datetime64("2015-06-05", "D").astype(np.int64))
    days = np.arange(friday - 59, friday + 1)
    stock = series_of(values, days)
    coin = series_of(values, days + 2)  # to Sunday
    assert find_warnings({"S": stock, "COIN": coin}, interval="1d", calendar="XNYS") == ()


def test_volume_0_is_counted_and_told_apart() -> None:
    """20 bars with volume 0: in 15 prices moved, 5 repeat the close before."""
    values = walk(2, 60, 0.01)
    values[4, 20:40] = 0.0
    values[:4, 35:40] = values[3, 34]
    (warning,) = warnings_of(values)
    assert (warning.kind, warning.row, warning.count) == ("no_volume", 22, 20)
    assert warning.found == "volume 0 in 20 of 60 bars: prices moved in 15, 5 are flat"
    assert "no volume there" in warning.cause


def test_later_bars_change_no_warning_about_a_step_that_stays() -> None:
    values = scale(walk(4, 200, 0.012), slice(100, None), 0.25)
    whole, early = warnings_of(values), warnings_of(values[:, :150])
    assert [(one.kind, one.row, one.first) for one in whole] == [
        (one.kind, one.row, one.first) for one in early
    ]


def test_only_what_lies_in_the_look_back_makes_a_decision_doubtful() -> None:
    """A jump in row 50, a look-back to row 90 or to row 50, of a symbol that is held or not."""
    values = scale(walk(6, 100, 0.01), 50, 0.01)
    series = {"BAD": series_of(values), "GOOD": series_of(walk(7, 100, 0.01))}
    found = find_warnings(series, interval="1d", calendar="XNYS")
    panel = build_panel({name: (one.known, one.values) for name, one in series.items()}, name="x")
    panel = replace(panel, warnings=found)
    assert split_warnings(panel, 99, 10, {"BAD"}) == ((), found)
    assert split_warnings(panel, 99, 49, {"BAD"}) == ((), found)
    assert split_warnings(panel, 99, 50, {"BAD"}) == (found, ())
    assert split_warnings(panel, 99, None, {"BAD"}) == (found, ())
    assert split_warnings(panel, 99, None, {"GOOD"}) == ((), found)
    assert known_warnings(panel, 49) == ()
    assert warnings_note(()) == []
    assert warnings_note(found)[0].startswith("1 warning about the prices")


@pytest.mark.parametrize("end", [None, "2015-03-13", "2015-03-16", "2015-06-30"])
@pytest.mark.parametrize("symbols", [None, ("OLD", "NEW"), ("BAD",)])
def test_a_panel_that_is_cut_has_the_warnings_of_its_source(
    end: str | None, symbols: tuple[str, ...] | None
) -> None:
    """A slip on 2015-03-16, the 50th session; OLD ends at the 100th; volume 0 in the last ten bars of NEW."""
    values = {name: walk(seed, 150, 0.01) for seed, name in enumerate(("BAD", "OLD", "NEW"))}
    values["BAD"] = scale(values["BAD"], 49, 0.01)
    values["NEW"][4, 140:] = 0.0
    parts = [
        pd.DataFrame(bars.T, columns=["open", "high", "low", "close", "volume"]).assign(
            symbol=name, date=SESSIONS[:150].astype("datetime64[D]").astype("datetime64[ns]")
        )[: 100 if name == "OLD" else 150]
        for name, bars in values.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    read = load_panel(frame, end=end, symbols=symbols).warnings
    assert load_panel(load_panel(frame), end=end, symbols=symbols).warnings == read
    assert all(one.row > 0 for one in read)
    if symbols is None and end is None:
        assert [(one.kind, one.symbol, one.count) for one in read] == [
            ("jump", "BAD", 1), ("stale", "OLD", 50), ("no_volume", "NEW", 10),
        ]  # fmt: skip
    if end == "2015-03-13":
        assert read == ()
