"""Four processes on one memory: nothing is lost, nobody waits for ever, readers never see half a batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from memory.agemem import AgeMem
from tests.memory.concurrency_worker import store_at
from tests.memory.support import NO_SERVER, neo4j_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("operations", [100, pytest.param(2_000, marks=pytest.mark.slow)])
async def test_four_processes_lose_nothing_on_sqlite(tmp_path: Path, operations: int) -> None:
    await four_at_once(str(tmp_path / "m.db"), operations)


@pytest.mark.slow
async def test_four_processes_lose_nothing_on_neo4j() -> None:
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    run = f"four-{uuid.uuid4().hex[:8]}"
    await four_at_once(f"neo4j:{run}", int(os.environ.get("NEO4J_TEST_OPERATIONS", "60")))
    store = neo4j_store(run)
    await store.open()
    await store.erase_run()


async def four_at_once(place: str, operations: int) -> None:
    """Four writers with a memory of their own and one entry that all change."""
    async with AgeMem(store=store_at(place)) as memory:
        await memory.add("count 0", {"shared": True})
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.memory.concurrency_worker",
                place,
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
        output, _ = worker.communicate(timeout=3_600)
        assert worker.returncode == 0
        reports.append(json.loads(output))
    store = store_at(place)
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
