"""What is packed is unpacked up to a limit, by every reader, and never whole first."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from agents.inputs import read_sheet
from core.errors import DataError
from core.unpack import limited
from tests.conftest import Athena
from trading.sources.load import load_panel
from training.data.importers import read_texts

LIMIT = 1_000_000
LINE = b"2020-01-06T00:00:00Z,A,the same words again and again\n"
CSV = b"time,symbol,text\n" + LINE * 40_000  # 2.2 MB


def zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)


PACK: dict[str, Callable[[Path, bytes], object]] = {
    "a.csv.gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    "a.csv.bz2": lambda path, content: path.write_bytes(bz2.compress(content)),
    "a.csv.xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    "a.csv.zip": zipped,
}


def frame(rows: int) -> pd.DataFrame:
    words = {"time": "2020-01-06T00:00:00Z", "symbol": "A", "text": "x" * 200}
    return pd.DataFrame({name: [word] * rows for name, word in words.items()})


def refused(read: Callable[[], object]) -> None:
    with limited(LIMIT), pytest.raises(DataError, match="unpacks to") as caught:
        read()
    assert "max_unpacked_bytes" in caught.value.cure


@pytest.mark.parametrize("name", PACK)
def test_texts_beside_the_prices(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PACK[name](path, CSV)
    refused(lambda: read_sheet(path, ("time", "symbol", "text"), "news"))
    with limited(len(CSV)):
        assert len(read_sheet(path, ("time", "symbol", "text"), "news").frame) == 40_000


def test_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(b"date,symbol,close\n" + b"2020-01-06,A,1.00000\n" * 90_000))
    refused(lambda: load_panel(path))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
def test_texts_of_a_corpus(tmp_path: Path, name: str) -> None:
    line = b'{"time": "2020-01-06T00:00:00Z", "symbol": "A", "text": "words"}\n'
    (tmp_path / name).write_bytes(gzip.compress(line * 40_000 if "json" in name else CSV))
    refused(lambda: read_texts(tmp_path / name))


@pytest.mark.parametrize("rows", [6_000, 60_000])
def test_parquet_by_its_footer_and_then_by_batches(tmp_path: Path, rows: int) -> None:
    # 60,000 x 3 cells of 8 bytes are 1.44 MB by the footer; 6,000 texts of 200 letters 1.2 MB by batches.
    path = tmp_path / "a.parquet"
    frame(rows).to_parquet(path)
    assert path.stat().st_size < 10_000
    refused(lambda: read_sheet(path, ("time", "symbol", "text"), "news"))
    refused(lambda: read_texts(path))
    prices = tmp_path / "prices.parquet"
    pq.write_table(pa.table({"date": ["2020-01-06"] * 200_000, "close": [1.0] * 200_000}), prices)
    refused(lambda: load_panel(prices))


def test_feather(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    feather.write_feather(frame(6_000), path, compression="zstd")
    refused(lambda: read_sheet(path, ("time", "symbol", "text"), "news"))
    with limited(10 * LIMIT):
        assert len(read_sheet(path, ("time", "symbol", "text"), "news").frame) == 6_000


def test_the_setting_is_obeyed_and_told(athena: Athena, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(gzip.compress(b"date,symbol,close\n" + b"2020-01-06,A,1.00000\n" * 90_000))
    words = ["data", "check", "prices.csv.gz", "--set", "max_unpacked_bytes=1000000"]
    done = athena(*words)
    assert done.returncode != 0
    assert "prices.csv.gz unpacks to more than 1,000,000 bytes" in done.stderr
