"""Four processes on one file: nothing is lost, nobody waits for ever, readers never see half a batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memory.agemem import AgeMem
from memory.stores.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("operations", [100, pytest.param(2_000, marks=pytest.mark.slow)])
async def test_four_processes_lose_nothing(tmp_path: Path, operations: int) -> None:
    path = tmp_path / "m.db"
    async with AgeMem(store=path) as memory:
        await memory.add("count 0", {"shared": True})
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.memory.concurrency_worker",
                path,
                str(n),
                str(operations),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    reports = []
    for worker in workers:
        output, _ = worker.communicate(timeout=900)
        assert worker.returncode == 0
        reports.append(json.loads(output))
    store = SqliteStore(path)
    async with AgeMem(store=store) as memory:
        assert await memory.check() == ()
        keyed = {
            record.key: record.operation_id for record in await store.operations() if record.key
        }
        acknowledged = [tuple(pair) for report in reports for pair in report["acknowledged"]]
        assert dict(acknowledged) == keyed
        assert len(acknowledged) == len(keyed)
        (shared,) = await memory.list(filter={"shared": True})
        history = await memory.history(shared.id)
        assert [entry.version for entry in history] == list(range(1, len(history) + 1))
