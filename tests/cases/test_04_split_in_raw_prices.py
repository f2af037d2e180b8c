"""A split that raw prices are not adjusted for is told with its row and ratio."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cases.conftest import Desk

Open = Callable[[str], Desk]

CASE = "04-split-in-raw-prices"


def warnings_of(desk: Desk, file: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in desk.ask("data", "check", file)["warnings"] if one["kind"] == kind]


@pytest.mark.parametrize(
    ("file", "ratio", "name"), [("AAPL.csv", "4:1", "AAPL"), ("reverse.csv", "1:190", "reverse")]
)
def test_data_check_names_the_row_and_the_ratio(
    desk: Open, file: str, ratio: str, name: str
) -> None:
    (warning,) = warnings_of(desk(CASE), file, "suspected_split")
    # 373.83 on 2020-08-28, open 93.21 on 2020-08-31: 4.011; 0.02021 and 3.8285: 189.4. Line 1 is the header.
    assert (warning["row"], warning["time"], warning["symbol"]) == (44, "2020-08-31", name)
    assert f"ratio {ratio}" in warning["found"]
    assert ratio in warning["cause"]
    assert "adj_close" in warning["cure"]
    assert warning["count"] == 1


def test_the_terminal_tells_it_and_exits_0(desk: Open) -> None:
    told = desk(CASE).run("data", "check", "AAPL.csv")
    assert told.code == 0
    text = " ".join(told.out.split())
    assert "Warning: suspected_split (AAPL, row 44, 2020-08-31: open 93.21" in text
    assert "No faults. 1 warning." in text


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_buy_and_hold_over_it_says_so(desk: Open, extra: tuple[str, ...]) -> None:
    told = desk(CASE).run(
        "backtest", "--data", "AAPL.csv", "--strategy", "hold.py:Hold", "--no-risk", *extra
    )
    assert told.code == 0, told.err
    text = " ".join(told.out.split())
    assert "1 warning about the prices" in text
    assert "1 suspected_split (AAPL 2020-08-31" in text


def rewritten(desk: Desk, change: Callable[[int, dict[str, str]], None]) -> None:
    """AAPL.csv with the split taken out (prices before it divided by 4), then changed row by row."""
    path = desk.path / "AAPL.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for at, row in enumerate(rows):
        if at < 42:
            scaled(row, 0.25)
        change(at, row)
    write(path, rows)


def scaled(row: dict[str, str], factor: float) -> None:
    for name in ("open", "high", "low", "close"):
        row[name] = f"{float(row[name]) * factor:.6g}"


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("factor", "ratio"), [(1 / 2, "2:1"), (1 / 20, "20:1"), (8.0, "1:8"), (1 / 1.5, "3:2")]
)
def test_other_ratios_on_another_row(desk: Open, factor: float, ratio: str) -> None:
    """Without the split the file has no warning; a split at row index 30 stands on line 32."""
    place = desk(CASE)

    def split(at: int, row: dict[str, str]) -> None:
        if at >= 30:
            scaled(row, factor)
            row["volume"] = f"{float(row['volume']) / factor:.0f}"

    rewritten(place, split)
    (warning,) = warnings_of(place, "AAPL.csv", "suspected_split")
    assert warning["row"] == 32
    assert f"ratio {ratio}" in warning["found"]


def test_an_adjusted_close_explains_the_split(desk: Open) -> None:
    place = desk(CASE)
    path = place.path / "AAPL.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for at, row in enumerate(rows):
        row["adj_close"] = f"{float(row['close']) / (4 if at < 42 else 1):.6g}"
    write(path, rows)
    assert place.ask("data", "check", "AAPL.csv")["warnings"] == []


def test_a_crash_of_four_fifths_is_no_split(desk: Open) -> None:
    """Down 80 % on 30 times the shares, a wide bar and nervous days after it: news, not 5:1."""
    place = desk(CASE)

    def crash(at: int, row: dict[str, str]) -> None:
        if at >= 30:
            scaled(row, 0.2 * math.exp(0.07 * (-1) ** at))
            row["volume"] = f"{float(row['volume']) * (30 if at < 35 else 4):.0f}"
        if at == 30:
            row["high"] = f"{float(row['high']) * 1.18:.6g}"

    rewritten(place, crash)
    assert place.ask("data", "check", "AAPL.csv")["warnings"] == []
