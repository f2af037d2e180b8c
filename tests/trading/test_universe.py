"""Universes: who belongs to it, and when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import DataError
from trading.panel import NEVER
from trading.sources import DataFaults, load_panel
from trading.universe import read_universe


def write(folder: Path, text: str) -> Path:
    path = folder / "universe.csv"
    path.write_text(text)
    return path


def prices(folder: Path) -> Path:
    path = folder / "closes.csv"
    path.write_text(
        "date,AAA,BBB,CCC\n2024-01-02,1,1,1\n2024-01-03,2,2,2\n2024-01-04,3,3,3\n2024-01-05,4,4,4\n"
    )
    return path


def test_members_with_open_and_closed_ends(tmp_path: Path) -> None:
    members = read_universe(write(tmp_path, "Symbol,From,To\nAAA,,\n\nBBB,2024-01-03,2024-01-04\n"))
    assert members == {
        "AAA": (None, None),
        "BBB": (
            np.datetime64("2024-01-03", "ns"),
            np.datetime64("2024-01-04T23:59:59.999999999", "ns"),
        ),
    }


def test_membership_shapes_the_panel(tmp_path: Path) -> None:
    universe = write(tmp_path, "symbol,from,to\nBBB,2024-01-03,2024-01-04\nAAA,,\n")
    panel = load_panel(prices(tmp_path), universe=universe)
    assert panel.symbols == ("AAA", "BBB")
    # BBB is visible from its first bar on or after 2024-01-03 (row 1) and gone from row 3 on.
    assert panel.listed_at.tolist() == [0, 1]
    assert panel.leaves_at.tolist() == [NEVER, 3]
    assert panel.rows == 4


def test_symbols_within_a_universe(tmp_path: Path) -> None:
    universe = write(tmp_path, "symbol\nAAA\nBBB\n")
    assert load_panel(prices(tmp_path), universe=universe, symbols=["BBB", "CCC"]).symbols == (
        "BBB",
    )


def test_symbols_that_look_like_numbers_stay_as_written(tmp_path: Path) -> None:
    names = ("0050", "50", "TRUE", "1E5", "NA", "NAN", "INF", "null")
    assert tuple(read_universe(write(tmp_path, "symbol\n" + "\n".join(names)))) == names


@pytest.mark.parametrize(
    "text",
    ["symbol,from\nAAA,2024-01-02,2024-02-01\n", "symbol\nAAA,x\nBBB,x\n", "symbol,Symbol\nA,B\n"],
)
def test_columns_that_do_not_fit_the_header_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"row 2: |two columns"):
        read_universe(write(tmp_path, text))


@pytest.mark.parametrize("text", ["", "\n\n", "symbol\n", "symbol,from\n,2024-01-01\n"])
def test_an_empty_universe_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"universe\.csv is empty"):
        read_universe(write(tmp_path, text))


def test_unknown_members_are_all_named(tmp_path: Path) -> None:
    universe = write(tmp_path, "symbol\nAAA\nAAB\nZZZ\n")
    with pytest.raises(DataError, match=r"has no AAB \(nearest: AAA\), ZZZ\."):
        load_panel(prices(tmp_path), universe=universe)


def test_all_faults_of_a_universe_are_listed_with_their_lines(tmp_path: Path) -> None:
    text = "symbol,from,to\nAAA,2024-02-01,2024-01-01\nBBB,soon,\nCCC,,\nCCC,2025-01-01,\n"
    with pytest.raises(DataFaults) as caught:
        read_universe(write(tmp_path, text))
    found = {(fault.row, fault.kind) for fault in caught.value.faults}
    assert found == {(2, "date"), (3, "date"), (5, "duplicate")}


def test_the_message_of_a_faulty_universe_lists_every_row_itself(tmp_path: Path) -> None:
    rows = "".join(f"S{number},soon,\n" for number in range(9))
    with pytest.raises(DataFaults) as caught:
        read_universe(write(tmp_path, f"symbol,from,to\n{rows}"))
    assert caught.value.message.count("'soon', which is no time") == 9
    assert "data check" not in caught.value.cure  # it reads no universes


def test_no_symbol_column_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column symbol"):
        read_universe(write(tmp_path, "name\nAAA\n"))
    with pytest.raises(DataError, match="no universe file"):
        read_universe(tmp_path / "none.csv")


def test_members_that_never_trade_while_they_are_members(tmp_path: Path) -> None:
    universe = write(tmp_path, "symbol,from\nAAA,2030-01-01\n")
    with pytest.raises(DataError, match="no member of the universe has a bar"):
        load_panel(prices(tmp_path), universe=universe)
