"""Checking, importing and listing files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.config import DataConfig
from core.errors import DataError
from trading.datasets import check_data, import_files, list_datasets
from trading.sample import SAMPLE_FILE
from trading.sources import DataFaults, load_panel

CSV = """symbol,date,open,high,low,close,volume,adj_close,note
AAA,2024-01-02,10,12,9,11,100,5.5,x
AAA,2024-01-05,11,13,10,12,200,6,y
BBB,2024-01-03,20,21,19,20,300,20,z
"""


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    (tmp_path / "prices.csv").write_text(CSV)
    return tmp_path / "prices.csv"


def test_the_report_of_a_sound_file(prices: Path) -> None:
    report = check_data(prices).to_dict()
    assert {
        name: report[name] for name in ("ok", "rows", "symbols", "start", "end", "interval")
    } == {
        "ok": True,
        "rows": 3,
        "symbols": ["AAA", "BBB"],
        "start": "2024-01-02",
        "end": "2024-01-05",
        "interval": "1d",
    }
    assert report["faults"] == []
    # AAA has no bar on the 3rd and the 4th; BBB's single bar has no gap.
    assert report["gaps"] == [
        {"symbol": "AAA", "start": "2024-01-03", "end": "2024-01-04", "sessions": 2}
    ]
    assert report["ignored"] == ["note"]
    json.dumps(report)


def test_the_report_of_a_faulty_file(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(CSV.replace("10,12,9,11", "10,12,9,-11"))
    report = check_data(tmp_path / "p.csv").to_dict()
    assert not report["ok"]
    fault = report["faults"][0]
    assert {name: fault[name] for name in ("kind", "row", "symbol", "found")} == {
        "kind": "price",
        "row": 2,
        "symbol": "AAA",
        "found": "close -11",
    }
    json.dumps(report)


def test_intraday_reports_carry_times(tmp_path: Path) -> None:
    (tmp_path / "X.csv").write_text(
        "time,close\n2024-01-02T09:30-05:00,1\n2024-01-02T09:31-05:00,2\n"
    )
    report = check_data(tmp_path / "X.csv")
    assert (report.start, report.end) == ("2024-01-02T14:30:00Z", "2024-01-02T14:31:00Z")
    assert report.interval == "1m"


def test_the_shipped_sample_has_no_fault_and_no_gap() -> None:
    report = check_data(SAMPLE_FILE)
    assert (report.ok, report.rows, report.gaps, report.ignored) == (True, 12154, (), ())


def test_weekend_bars_under_a_stock_exchange_are_noted(tmp_path: Path) -> None:
    (tmp_path / "BTC.csv").write_text("date,close\n2024-01-05,1\n2024-01-06,2\n2024-01-08,3\n")
    assert "1 of 3 bars lie on no session of XNYS" in check_data(tmp_path / "BTC.csv").notes[1]
    crypto = check_data(tmp_path / "BTC.csv", config=DataConfig(calendar="24/7"))
    assert [gap.start for gap in crypto.gaps] == ["2024-01-07"]


def test_an_imported_file_is_the_same_data_by_name(prices: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    dataset = import_files([prices], data_dir)
    assert (dataset.name, dataset.rows, dataset.symbols) == ("prices", 3, ("AAA", "BBB"))
    assert list_datasets(data_dir) == [dataset]
    ours, theirs = load_panel("prices", data_dir=data_dir), load_panel(prices)
    assert ours.stack.tobytes() == theirs.stack.tobytes()
    assert ours.as_of == theirs.as_of
    assert check_data("prices", data_dir=data_dir).ok
    columns = pq.read_table(dataset.path).column_names
    assert columns == ["date", "symbol", "open", "high", "low", "close", "volume", "adj_close"]


def test_imported_intraday_bars_keep_their_moments(tmp_path: Path) -> None:
    text = "Datetime,close\n2024-01-02 15:30-05:00,1\n2024-01-02 15:31-05:00,2\n"
    (tmp_path / "X.csv").write_text(text)
    import_files([tmp_path / "X.csv"], tmp_path / "data", name="minutes")
    panel = load_panel("minutes", data_dir=tmp_path / "data")
    assert panel.as_of == ("2024-01-02T20:31:00Z", "2024-01-02T20:32:00Z")
    assert not panel.has_volume


def test_the_sample_survives_importing(tmp_path: Path) -> None:
    import_files([SAMPLE_FILE], tmp_path, name="again")
    assert load_panel("again", data_dir=tmp_path).stack.tobytes() == load_panel().stack.tobytes()


def test_several_files_become_one_named_dataset(tmp_path: Path) -> None:
    lines = CSV.splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(lines[:3]))
    (tmp_path / "b.csv").write_text(lines[0] + lines[3])
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    with pytest.raises(DataError, match="several files") as caught:
        import_files(files, tmp_path / "data")
    assert "--name" in caught.value.cure
    assert import_files(files, tmp_path / "data", name="both").symbols == ("AAA", "BBB")


def test_a_faulty_file_leaves_the_old_dataset(prices: Path, tmp_path: Path) -> None:
    import_files([prices], tmp_path / "data")
    prices.write_text(CSV.replace("200", "-200"))
    with pytest.raises(DataFaults):
        import_files([prices], tmp_path / "data")
    assert load_panel("prices", data_dir=tmp_path / "data").rows == 3
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prices.parquet"]


@pytest.mark.parametrize("name", ["mock", "sample", "../up", "", "a b", ".hidden"])
def test_names_that_cannot_be(prices: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot be a dataset's name"):
        import_files([prices], tmp_path / "data", name=name)


def test_a_folder_that_cannot_be_made(prices: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written: Not a directory"):
        import_files([prices], tmp_path / "file" / "data")


def test_an_empty_or_missing_folder_has_no_datasets(tmp_path: Path) -> None:
    assert list_datasets(tmp_path / "nowhere") == []
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    assert list_datasets(tmp_path) == []


def test_a_path_wins_over_a_dataset_of_its_name(prices: Path, tmp_path: Path) -> None:
    import_files([prices], tmp_path / "data", name="prices.csv")
    panel = load_panel(prices, data_dir=tmp_path / "data")
    assert np.isfinite(panel.field("close")).any()
    assert panel.name == "prices.csv"
