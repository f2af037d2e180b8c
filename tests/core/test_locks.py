"""One writer a folder: real processes, real kills, forked children, a namespace of process numbers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import RunFolderError
from core.locks import LOCK, FolderLock, holder, is_locked

ROOT = Path(__file__).resolve().parents[2]
HOLDING = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from core.locks import FolderLock
lock = FolderLock.acquire(Path(sys.argv[1]))
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        time.sleep(600)
print(child if "fork" in sys.argv else os.getpid(), flush=True)
time.sleep(600)
"""


@contextmanager
def holding(folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> Iterator[tuple[int, int]]:
    """Another process that holds the folder; yields (its number here, the number that it told)."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLDING, str(folder), str(ROOT), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    with holding(tmp_path) as (number, _):
        assert is_locked(tmp_path)
        with pytest.raises(RunFolderError, match=rf"written by process {number} on ") as caught:
            FolderLock.acquire(tmp_path)
        assert "one writer at a time" in caught.value.cure
        assert is_locked(tmp_path)


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    with holding(tmp_path) as (number, _):
        os.kill(number, signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        while is_locked(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_locked(tmp_path)
        assert (tmp_path / LOCK).exists()  # it had no time to take it away
        FolderLock.acquire(tmp_path).release()
    assert not (tmp_path / LOCK).exists()


def test_a_forked_child_does_not_inherit_it(tmp_path: Path) -> None:
    with holding(tmp_path, "fork") as (number, child):
        assert is_locked(tmp_path)
        os.kill(number, signal.SIGKILL)
        try:
            deadline = time.monotonic() + 10.0
            while is_locked(tmp_path) and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(child, 0)  # it lives
            assert not is_locked(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_started_program_does_not_inherit_it(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False
    )
    try:
        lock.release()
        assert not is_locked(tmp_path)
        FolderLock.acquire(tmp_path).release()
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0,
    reason="it needs unshare and the rights to make a namespace",
)
def test_a_lock_holds_between_namespaces_of_process_numbers(tmp_path: Path) -> None:
    prefix = ("unshare", "--pid", "--fork", "--kill-child")
    with holding(tmp_path, prefix=prefix) as (_, told):
        assert told == 1  # its number there, which lives here too and is somebody else
        assert is_locked(tmp_path)
        with pytest.raises(RunFolderError, match="written by process 1 on"):
            FolderLock.acquire(tmp_path)
    deadline = time.monotonic() + 10.0
    while is_locked(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    FolderLock.acquire(tmp_path).release()


def test_readers_ask_without_taking_and_a_folder_without_the_file_is_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    lock = FolderLock.acquire(tmp_path)
    for _ in range(50):
        assert is_locked(tmp_path)
    signed = holder(tmp_path)
    assert signed is not None
    assert signed.pid == os.getpid()
    lock.release()
    lock.release()
    assert not is_locked(tmp_path)


def test_a_lock_file_with_nonsense_in_it_still_locks(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path)
    (tmp_path / LOCK).write_text(json.dumps(["no", "holder"]))
    with pytest.raises(RunFolderError, match="written by another process"):
        FolderLock.acquire(tmp_path)
    lock.release()


def test_one_of_many_that_begin_at_once_gets_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\nfrom core.locks import FolderLock\n"
        "from core.errors import RunFolderError\nimport time\n"
        "try:\n    lock = FolderLock.acquire(Path(sys.argv[1]))\n"
        "except RunFolderError:\n    print('refused')\n"
        "else:\n    print('got'); time.sleep(3)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(ROOT)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in started)
    assert told == ["got", *["refused"] * 4]
