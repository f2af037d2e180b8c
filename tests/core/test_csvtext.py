"""The one careful reader of CSV beside the prices."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from core.csvtext import read_csv_table
from core.errors import DataError


def write(tmp_path: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_cells_stay_text_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    text = 'symbol, text\r\n0050,"one, two"\r\n\r\nNA,"two\nlines"\r\nTRUE\r\n'
    table = read_csv_table(write(tmp_path, text), "a.csv")
    assert table.header == ("symbol", "text")
    assert table.rows == [["0050", "one, two"], ["NA", "two\nlines"], ["TRUE", ""]]
    assert table.lines == [2, 4, 5]  # the empty row 3 counts; a text over two lines is one row


@pytest.mark.parametrize(
    ("text", "row", "share"),
    [
        ("text,time\nOil fell, then rose,t\nGold fell, then rose,t\n", 2, "2 of 2"),
        ("time,symbol,text\nt,A,fine\n\nt,A,one, two\n", 4, "1 of 2"),
        ("time;text\nt;one\nt;two; three\n", 3, "1 of 2"),
        ('a,b\n"x\ny",1\n1,2,,3\n', 3, "1 of 2"),
    ],
)
def test_a_row_with_more_cells_than_the_header_is_refused(
    tmp_path: Path, text: str, row: int, share: str
) -> None:
    with pytest.raises(DataError) as told:
        read_csv_table(write(tmp_path, text), "a.csv")
    assert f"a.csv, row {row}: " in str(told.value)
    assert f"{share} rows" in str(told.value)
    assert "quotes" in str(told.value.cure)


def test_empty_cells_behind_the_last_are_harmless(tmp_path: Path) -> None:
    table = read_csv_table(write(tmp_path, "a,b\n1,2,\n3,4, \n"), "a.csv")
    assert table.rows == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("text", ['a,b\n1,"two\n3,4\n', 'a,b\n1,"two', '"a,b\n1,2\n'])
def test_a_quote_without_an_end_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="never closed"):
        read_csv_table(write(tmp_path, text), "a.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_read_off_the_header(tmp_path: Path, delimiter: str) -> None:
    rows = [["time", "symbol", "text"], ["t", "A", "x"]]
    text = "\n".join(delimiter.join(row) for row in rows)
    table = read_csv_table(write(tmp_path, text), "a.csv")
    assert (table.delimiter, table.rows) == (delimiter, [["t", "A", "x"]])


def test_encodings_and_archives(tmp_path: Path) -> None:
    text = "symbol,text\nA,Café\n"
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", text)
    paths = [
        write(tmp_path, text.encode("utf-8-sig")),
        write(tmp_path, text.encode("utf-16"), "b.csv"),
        write(tmp_path, gzip.compress(text.encode()), "c.csv.gz"),
        tmp_path / "a.csv.zip",
    ]
    assert [read_csv_table(path, "it").rows for path in paths] == [[["A", "Café"]]] * 4
    for content, name, says in (
        (text.encode("latin-1"), "d.csv", "line 2 is not UTF-8"),
        (b"symbol\nA\0B\n", "e.csv", "line 2 holds a zero byte"),
        (gzip.compress(text.encode())[:20], "f.csv.gz", "cut short"),
        (b"", "g.csv", "is empty"),
        (b"\n\n  \n", "h.csv", "is empty"),
    ):
        with pytest.raises(DataError, match=says):
            read_csv_table(write(tmp_path, content, name), "it")


def test_a_long_text_is_one_cell(tmp_path: Path) -> None:
    long = "word " * 50_000
    table = read_csv_table(write(tmp_path, f'a,b\n1,"{long}"\n'), "a.csv")
    assert table.rows == [["1", long]]
