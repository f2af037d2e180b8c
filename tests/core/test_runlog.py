from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import ReplayClock
from core.config import AthenaConfig
from core.errors import RunFolderError, RunNotFound, StorageError
from core.runlog import RunFolder, StepsWriter, find_run, list_runs, read_manifest, read_summary

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def made(runs_dir: Path, mode: str = "backtest", at: datetime = NOON) -> RunFolder:
    return RunFolder.create(
        runs_dir,
        mode=mode,
        config=AthenaConfig(),
        seed=5,
        data={"name": "sample", "sha256": "ab"},
        wall_clock=ReplayClock(at),
    )


def test_the_name_says_time_mode_and_hash(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        hash_of_all = folder.name.removeprefix("20240301T120000Z-backtest-")
        assert re.fullmatch("[0-9a-f]{8}", hash_of_all)
    with made(tmp_path / "again") as folder:
        assert folder.name.endswith(hash_of_all)
    # Other inputs are other work, and have another name.
    other = RunFolder.create(
        tmp_path / "other",
        mode="backtest",
        config=AthenaConfig(),
        seed=0,
        data={"sha256": "another"},
    )
    with other as folder:
        assert not folder.name.endswith(hash_of_all)


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        with made(tmp_path) as folder:
            names.append(folder.name)
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]


def test_the_manifest_tells_what_made_the_run(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        running = read_manifest(folder.path)
        assert running["status"] == "running"
        folder.finish({"final_equity_usd": 1.5})
    manifest = read_manifest(folder.path)
    assert manifest["status"] == "done"
    assert manifest["started"] == "2024-03-01T12:00:00Z"
    assert manifest["seed"] == 5
    assert manifest["config"] == AthenaConfig().to_dict()
    assert manifest["data"]["sha256"] == "ab"
    assert manifest["versions"]["numpy"]
    assert manifest["versions"]["TA-Lib"]
    assert manifest["model"] == {"id": None, "training_cutoff": None}


def test_records_stand_one_a_line_in_order(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        for step in range(3):
            folder.steps.write(b'{"step":%d}' % step)
        folder.finish(None)
        folder.steps.close()
    lines = (folder.path / "steps.jsonl").read_bytes()
    assert lines == b'{"step":0}\n{"step":1}\n{"step":2}\n'


def test_a_figure_that_does_not_exist_is_null_in_the_summary(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        folder.finish({"sharpe": float("nan"), "path": folder.path})
    assert read_summary(folder.path) == {"sharpe": None, "path": str(folder.path)}


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "interrupted"), (asyncio.CancelledError(), "interrupted"),
     (ZeroDivisionError(), "failed")],
)  # fmt: skip
def test_an_exception_leaves_the_records_and_a_status(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    folder = made(tmp_path)
    with pytest.raises(type(error)), folder:
        folder.steps.write(b"{}")
        raise error
    assert (folder.path / "steps.jsonl").read_bytes() == b"{}\n"
    assert read_manifest(folder.path)["status"] == status
    assert error.__notes__ == [f"Saved: 1 records in {folder.path / 'steps.jsonl'}"]


def test_a_file_in_place_of_the_runs_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match="cannot be made") as caught:
        made(tmp_path / "runs")
    assert "--runs-dir" in caught.value.cure


def test_a_runs_directory_that_cannot_be_written_is_told() -> None:
    with pytest.raises(RunFolderError, match="/proc/runs"):
        made(Path("/proc/runs"))


def test_a_full_disk_keeps_whole_records_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StepsWriter(tmp_path / "steps.jsonl")
    really = os.write

    def write(file: int, content: bytes) -> int:
        # Room for 25 bytes: two records of 10 bytes and half of a third.
        room = 25 - os.fstat(file).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(file, content[:room])

    monkeypatch.setattr(os, "write", write)
    for _ in range(4):
        writer.write(b"123456789")
    with pytest.raises(StorageError, match="2 whole records") as caught:
        writer.flush()
    assert "No space left" in caught.value.message
    assert "--runs-dir" in caught.value.cure
    assert caught.value.exit_code == 1
    with pytest.raises(StorageError):
        writer.flush()
    writer.close()
    writer.close()
    assert (tmp_path / "steps.jsonl").read_bytes() == b"123456789\n" * 2


LIMITED = """
import sys
from pathlib import Path
from core.config import AthenaConfig
from core.errors import StorageError
from core.runlog import RunFolder
folder = RunFolder.create(Path(sys.argv[1]), mode="backtest", config=AthenaConfig(), seed=0, data={})
try:
    with folder:
        for _ in range(400_000):
            folder.steps.write(b"123456789")
except StorageError as error:
    print(folder.path)
    print(error.message)
"""


def test_a_file_size_limit_of_the_system_is_told_and_whole_records_stay(tmp_path: Path) -> None:
    limit = 1_500_005

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=True,
    )
    folder, message = done.stdout.splitlines()
    steps = (Path(folder) / "steps.jsonl").read_bytes()
    assert steps == b"123456789\n" * 150_000
    assert "150000 whole records" in message
    assert read_manifest(Path(folder))["status"] == "failed"


def test_a_run_that_nobody_writes_has_died(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        assert [run.status for run in list_runs(tmp_path)] == ["running"]
        # Neither number nor host decides: the number may live again, the host be a new container's.
        folder.note(pid=1, host="another machine")
        assert [run.status for run in list_runs(tmp_path)] == ["running"]
        folder.lock.release()  # as it stands after a kill, or a disk too full for the last status
        assert [run.status for run in list_runs(tmp_path)] == ["died"]
        folder.note(pid=os.getpid())
        assert [run.status for run in list_runs(tmp_path)] == ["died"]
        with pytest.raises(RunFolderError) as caught:
            read_summary(folder.path)
        assert "'died'" in caught.value.cure
    assert [run.status for run in list_runs(tmp_path)] == ["done"]
    assert not (folder.path / ".lock").exists()


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        folder.write_bytes("report.html", b"old")
        with pytest.raises(StorageError), folder.file("report.html") as temporary:
            temporary.write_bytes(b"ne")
            raise OSError(errno.EIO, "Input/output error")
        assert (folder.path / "report.html").read_bytes() == b"old"
        assert not list(folder.path.glob(".tmp*"))
        with folder.file("equity.png") as temporary:
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"new")
        assert (folder.path / "equity.png").read_bytes() == b"new"


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    for mode, minutes, equity in (
        ("backtest", 0, 1.0),
        ("paper-trade", 1, 2.0),
        ("backtest", 2, 3.0),
    ):
        with made(tmp_path, mode, NOON + timedelta(minutes=minutes)) as folder:
            folder.finish({"final_equity_usd": equity})
    (tmp_path / "not-a-run").mkdir()
    return tmp_path


def test_runs_are_listed_oldest_first(three_runs: Path) -> None:
    listed = list_runs(three_runs)
    assert [run.mode for run in listed] == ["backtest", "paper-trade", "backtest"]
    assert [run.final_equity_usd for run in listed] == [1.0, 2.0, 3.0]
    assert [run.status for run in listed] == ["done"] * 3


def test_a_damaged_manifest_is_listed_as_such(three_runs: Path) -> None:
    (list_runs(three_runs)[1].run_dir / "manifest.json").write_text("{")
    assert [run.status for run in list_runs(three_runs)] == ["done", "damaged", "done"]
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_summary(list_runs(three_runs)[1].run_dir)


def test_a_run_is_found_by_path_name_prefix_and_last(three_runs: Path) -> None:
    first, second, third = (run.run_dir for run in list_runs(three_runs))
    assert find_run(str(first), Path("/nowhere")) == first
    assert find_run(first.name, three_runs) == first
    assert find_run("20240301T1201", three_runs) == second
    assert find_run("last", three_runs) == third


def test_last_of_one_second_is_the_one_that_started_last(tmp_path: Path) -> None:
    with (
        made(tmp_path, "paper-trade", NOON),
        made(tmp_path, "backtest", NOON.replace(microsecond=5)) as late,
    ):
        pass
    assert find_run("last", tmp_path) == late.path


def test_an_ambiguous_prefix_lists_the_candidates(three_runs: Path) -> None:
    with pytest.raises(RunNotFound) as caught:
        find_run("20240301", three_runs)
    for run in list_runs(three_runs):
        assert run.run_dir.name in caught.value.message


def test_no_such_run_names_the_directory(three_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match=str(three_runs)):
        find_run("1999", three_runs)
    with pytest.raises(RunNotFound, match="no runs in"):
        find_run("last", tmp_path / "absent")


def test_a_run_without_a_summary_says_its_status(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), made(tmp_path) as folder:
        raise KeyboardInterrupt
    with pytest.raises(RunFolderError, match=r"summary\.json") as caught:
        read_summary(folder.path)
    assert "interrupted" in caught.value.cure


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    with made(tmp_path) as folder:
        folder.note(model={"id": "nano", "training_cutoff": "2012-12-31"})
    assert json.loads((folder.path / "manifest.json").read_text())["model"]["id"] == "nano"
