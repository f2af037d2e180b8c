from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Athena

GOOD = "date,symbol,open,high,low,close,volume\n2020-01-02,A,1,2,1,2,10\n2020-01-03,A,2,3,2,3,10\n"
BAD = GOOD.replace("2020-01-03,A,2,3,2,3", "2020-01-03,A,2,1,2,-3")


def test_a_clean_file_passes_the_check(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    done = athena("data", "check", "a.csv", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["ok"] is True
    assert report["rows"] == 2
    assert report["symbols"] == ["A"]
    assert report["faults"] == []


def test_faults_are_an_object_of_their_own_and_exit_2(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(BAD)
    done = athena("data", "check", "a.csv", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert report["ok"] is False
    assert "error" not in report
    assert {"kind", "row", "symbol", "found", "cure"} <= set(report["faults"][0])
    assert athena("data", "check", "a.csv").returncode == 2


def test_a_missing_file_is_an_error(athena: Athena) -> None:
    done = athena("data", "check", "absent.csv", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "DataError"


def test_what_is_imported_is_listed(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert json.loads(athena("data", "list", "--json").stdout) == {"datasets": []}
    imported = json.loads(athena("data", "import", "a.csv", "--name", "mine", "--json").stdout)
    assert imported["rows"] == 2
    assert imported["symbols"] == ["A"]
    assert (tmp_path / imported["path"]).is_file()
    assert json.loads(athena("data", "list", "--json").stdout)["datasets"] == [imported]
    assert "mine" in athena("data", "list").stdout


def test_the_data_directory_is_a_setting(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    imported = json.loads(
        athena("data", "import", "a.csv", "--set", "data_dir=kept", "--json").stdout
    )
    assert imported["path"].startswith("kept")


def test_faulty_files_are_not_imported(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(BAD)
    done = athena("data", "import", "a.csv", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "DataError"
    assert not (tmp_path / "data").exists()


def test_a_date_that_is_none_is_named(athena: Athena) -> None:
    done = athena("data", "fetch", "AAPL", "--start", "2020-13-01")
    assert done.returncode == 2
    assert "2020-13-01" in done.stderr


def test_checking_mock_says_that_there_is_nothing_to_check(athena: Athena) -> None:
    done = athena("data", "check", "mock")
    assert done.returncode == 2
    assert "there is nothing to check" in done.stderr
    assert "--data mock" in done.stderr


def test_a_folder_is_checked_to_the_end_and_each_fault_names_its_file(
    athena: Athena, tmp_path: Path
) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(BAD.replace(",A,", ",B,"))
    (folder / "c.csv").write_bytes(bytes(range(256)))
    (folder / "d.csv").write_text("")
    report = json.loads(athena("data", "check", "prices", "--json").stdout)
    found = [(fault["file"], fault["kind"], fault["row"]) for fault in report["faults"]]
    assert ("c.csv", "not_a_table", 1) in found
    assert ("d.csv", "empty", None) in found
    assert {row for file, _, row in found if file == "b.csv"} == {3}
    shown = athena("data", "check", "prices").stdout
    assert "(c.csv, row 1): binary data" in shown
    assert "(b.csv, row 3, B)" in shown
    for words in (["backtest", "--data", "prices"], ["data", "import", "prices", "--name", "x"]):
        done = athena(*words)
        assert done.returncode == 2
        assert f"{len(found)} faults" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_dataset_is_checked_by_its_name(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert athena("data", "import", "a.csv", "--name", "mine").returncode == 0
    report = json.loads(athena("data", "check", "mine", "--json").stdout)
    assert report["ok"] is True
    assert report["rows"] == 2


def test_a_data_directory_that_cannot_be_written_is_the_users_mistake(
    athena: Athena, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    done = athena("data", "import", "a.csv", "--set", "data_dir=a.csv", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "DataError"
    assert "the data directory a.csv cannot be written" in error["message"]
    assert "data_dir" in error["cure"]
    assert (tmp_path / "a.csv").read_text() == GOOD
