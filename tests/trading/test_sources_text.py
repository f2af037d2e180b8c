"""Files of prices that are odd as text, and names of symbols that are nearly those of the data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from core.csvtext import read_csv_table
from core.errors import DataError
from trading.datasets import check_data
from trading.sources import DataFaults, load_panel

HEAD = b"date,close\n"
ROWS = b"2024-01-02,1.5\n2024-01-03,1.6\n"

READ: dict[str, tuple[bytes, int]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + HEAD + ROWS, 2),
    "a byte order mark before a quote": (b'\xef\xbb\xbf"date","close"\n' + ROWS, 2),
    "CR alone at the ends of lines": ((HEAD + ROWS).replace(b"\n", b"\r"), 2),
    "one row": (HEAD + b"2024-01-02,1.5\n", 1),
    "GMT is UTC": (HEAD + b"2024-01-02 00:00 GMT,1.5\n2024-01-03 00:00 GMT,1.6\n", 2),
}


@pytest.mark.parametrize("name", READ)
def test_odd_texts_that_are_read(tmp_path: Path, name: str) -> None:
    content, rows = READ[name]
    (tmp_path / "X.csv").write_bytes(content)
    panel = load_panel(tmp_path / "X.csv")
    assert [moment[:10] for moment in panel.as_of] == ["2024-01-02", "2024-01-03"][:rows]
    assert panel.field("close")[:, 0].tolist() == [1.5, 1.6][:rows]


REFUSED: dict[str, tuple[bytes, str, int | None, str, str]] = {
    "a zero byte": (
        HEAD + ROWS + b"2024-01-04,1.7\0\n", "not_a_table", 4, "a zero byte", "as UTF-8",
    ),
    "a zero byte far down": (
        HEAD + b"\n" * 5000 + b"2024-01-04,1\0\n", "not_a_table", 5002, "a zero byte", "as UTF-8",
    ),
    "UTF-16 without its mark": (
        (HEAD + ROWS).decode().encode("utf-16-le"), "not_a_table", 1, "a zero byte", "as UTF-8",
    ),
    "nothing": (b"", "empty", None, "an empty file", "header line and rows"),
    "a mark alone": (b"\xef\xbb\xbf", "empty", None, "an empty file", "header line and rows"),
    "a header alone": (HEAD, "empty", None, "a header without rows", "with rows"),
    "a header without an end": (b"date,close", "empty", None, "a header without rows", "with rows"),
    "a name twice": (
        b"date,close,close\n2024-01-02,1,2\n", "columns", None, "two columns that mean close", "keep one",
    ),
    "Windows-1252": (
        "date,close,remark\n2024-01-02,1,x\n2024-01-03,2,café\n".encode("cp1252"),
        "encoding", 3, "byte 0xe9, 'é' in Windows-1252", "save the file as UTF-8",
    ),
    "Windows-1252 with CR alone": (
        "date,close,remark\r2024-01-02,1,x\r2024-01-03,2,5 €\r".encode("cp1252"),
        "encoding", 3, "byte 0x80, '€' in Windows-1252", "iconv -f WINDOWS-1252 -t UTF-8",
    ),
    "a zone by its short name": (
        HEAD + b"2024-01-02 16:00 EST,1\n2024-01-03 16:00 EST,2\n",
        "zone", 2, "'2024-01-02 16:00 EST': a time in a zone by its name, EST", "write the offset",
    ),
    "a zone by its city": (
        HEAD + b"20240102 16:00:00 US/Eastern,1\n20240103 16:00:00 US/Eastern,2\n",
        "zone", 2, "by its name, US/Eastern", "or UTC",
    ),
    "a zone in brackets": (
        HEAD + b"2024-01-02T16:00:00-05:00[America/New_York],1\n",
        "zone", 2, "by its name, America/New_York", "write the offset",
    ),
    "a zone after PM": (
        HEAD + b"1/2/2024 4:00 PM ET,1\n1/16/2024 4:00 PM ET,2\n", "zone", 2, "by its name, ET", "or UTC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_odd_texts_that_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, kind, row, found, cure = REFUSED[name]
    (tmp_path / "X.csv").write_bytes(content)
    (fault,) = check_data(tmp_path / "X.csv").faults
    assert (fault.kind, fault.row) == (kind, row)
    assert found in fault.found
    assert cure in fault.cure


def test_other_tables_name_the_byte_too(tmp_path: Path) -> None:
    (tmp_path / "book.csv").write_bytes("symbol,quantity\rAAA,1\rM\xfc,2\r".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 3 is not UTF-8 \(byte 0xfc, 'ü'") as caught:
        read_csv_table(tmp_path / "book.csv", "book.csv")
    assert "Save the file as UTF-8" in caught.value.cure


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    rows = [
        f"2024-01-02,{symbol},{at}"
        for at, symbol in enumerate(("AAA", "bbb", "$BBB", "CCC"), start=1)
    ]
    (tmp_path / "p.csv").write_text("date,symbol,close\n" + "\n".join(rows) + "\n")
    return tmp_path / "p.csv"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["$AAA"], ("AAA",)),
        (["aaa", "AAA"], ("AAA",)),
        (["bbb"], ("bbb",)),
        (["ccc", "$BBB"], ("$BBB", "CCC")),
    ],
)
def test_symbols_are_found_as_holdings_and_news_find_them(
    prices: Path, wanted: list[str], found: tuple[str, ...]
) -> None:
    for data in (prices, load_panel(prices)):
        assert tuple(sorted(load_panel(data, symbols=wanted).symbols)) == found


def test_a_name_that_two_symbols_fit_is_refused(prices: Path) -> None:
    for data in (prices, load_panel(prices)):
        with pytest.raises(DataError, match=r"BBB fits \$BBB and bbb"):
            load_panel(data, symbols=["BBB"])
        with pytest.raises(DataError, match="has no DDD"):
            load_panel(data, symbols=["DDD"])


def test_symbols_and_a_universe_without_a_common_symbol_are_both_named(prices: Path) -> None:
    universe = prices.parent / "u.csv"
    universe.write_text("symbol\nCCC\n")
    for data in (prices, load_panel(prices), "mock"):
        with pytest.raises(
            DataError, match=r"--symbols \(AAA\) and --universe \(CCC\) have no symbol in common"
        ):
            load_panel(data, symbols=["AAA"], universe=universe)


def test_names_of_columns_are_texts() -> None:
    days = pd.DatetimeIndex(["2024-01-02", "2024-01-03"])
    two = pd.DataFrame({"AAA": [1.0, 2.0], 50: [2.0, 3.0]}, index=days)
    with pytest.raises(DataFaults, match=r"a column called 50 \(int\), which is no text"):
        load_panel(two)
    with pytest.raises(DataFaults, match=r"a column called 50 \(int\)"):
        load_panel(pd.DataFrame({("Close", 50): [1.0, 2.0]}, index=days))
    with pytest.raises(DataError, match=r"called 50 \(int\), which is no text"):
        load_panel(two[50])
    assert load_panel(two.rename(columns={50: "0050"})).symbols == ("0050", "AAA")
    assert load_panel(pd.DataFrame({0: [1.0, 2.0]}, index=days)[0]).symbols == ("Series",)
