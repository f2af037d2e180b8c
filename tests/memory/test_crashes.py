"""kill -9 anywhere: the store opens, acknowledged writes are there, no half write is, nothing doubles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.protocols import MemoryStore
from memory.agemem import AgeMem
from memory.codec import purged_key
from memory.operations import Add
from memory.stores.sqlite import SqliteStore
from tests.memory.support import NO_SERVER, neo4j_store

ROOT = Path(__file__).resolve().parents[2]


def work(plan: dict[str, Any]) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.memory.crash_worker", json.dumps(plan)],
        cwd=ROOT,
        check=True,
        timeout=900,
    )


def read(notes: Path) -> list[dict[str, Any]]:
    """The facts noted before the kill; a last line cut short was not acknowledged."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def writers(facts: list[dict[str, Any]]) -> set[int]:
    """Who acknowledged these facts: keys begin with the writer's number."""
    return {int(fact["key"].split("-")[0]) for fact in facts}


def wait_for_more(notes: Path, than: int, writer: subprocess.Popen[bytes]) -> int:
    """The number of facts, once it is above `than`; a writer that ended writes no more."""
    deadline = time.monotonic() + 300.0
    while (count := len(read(notes))) <= than:
        assert writer.poll() is None, "the writer ended"
        assert time.monotonic() < deadline, "nothing was written for five minutes"
        time.sleep(0.05)
    return count


async def assert_whole(store: MemoryStore, facts: list[dict[str, Any]]) -> None:
    memory = AgeMem(store=store)
    async with memory:
        assert await memory.check() == ()
        operations = await store.operations()
        by_key = {record.key: record.operation_id for record in operations if record.key}
        assert len(by_key) == sum(1 for record in operations if record.key)
        for fact in facts:
            if "key" in fact:
                kept = fact["key"] if fact["key"] in by_key else purged_key("s", fact["key"])
                assert by_key[kept] == fact["operation"]
            if "branch" in fact:
                assert fact["branch"] in await store.branches()
        batch = {f"batch-{number}" in by_key for number in range(3)}
        assert len(batch) == 1, "a batch is there whole or not at all"
        for record in [r for r in operations if r.kind == "add" and r.key and r.opened[0].content]:
            again = await memory.add(record.opened[0].content, record.opened[0].metadata,
                                     idempotency_key=record.key)  # fmt: skip
            assert again.replayed or again.error is not None
            assert again.error is None
        assert len(await store.operations()) == len(operations)
        (fresh,) = (await memory.apply([Add("written after the crash", key="after")]))[:1]
        assert fresh.success
        assert fresh.id in (await memory.retrieve("written after the crash")).ids


async def test_a_kill_at_every_write_boundary_leaves_a_whole_sqlite_file(tmp_path: Path) -> None:
    plan = {"kind": "sqlite", "mode": "boundaries", "where": str(tmp_path / "#.db")}
    notes = tmp_path / "#.notes"
    work({**plan, "notes": str(notes), "fatal": [0]})
    total = read(tmp_path / "0.notes")[-1]["end"]
    assert total > 60
    work({**plan, "notes": str(notes), "fatal": list(range(1, total + 1))})
    for fatal in range(total + 1):
        facts = read(tmp_path / f"{fatal}.notes")
        assert ("end" in (facts or [{}])[-1]) == (fatal == 0)
        await assert_whole(SqliteStore(tmp_path / f"{fatal}.db"), facts)


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
async def test_random_kills_under_load_lose_nothing_on_sqlite(tmp_path: Path, kills: int) -> None:
    notes = tmp_path / "notes"
    work({"kind": "sqlite", "mode": "load", "where": str(tmp_path / "m.db"), "notes": str(notes),
          "kills": kills, "seed": kills, "seconds": [0.0, 0.1]})  # fmt: skip
    facts = read(notes)
    assert writers(facts) >= set(range(kills)), "each was killed after a write of its own"
    await assert_whole(SqliteStore(tmp_path / "m.db"), facts)


@pytest.mark.slow
async def test_a_kill_at_every_write_boundary_leaves_a_whole_neo4j_run(tmp_path: Path) -> None:
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    prefix = f"crash-{uuid.uuid4().hex[:8]}"
    plan = {"kind": "neo4j", "mode": "boundaries", "where": f"{prefix}-#"}
    notes = tmp_path / "#.notes"
    work({**plan, "notes": str(notes), "fatal": [0]})
    total = read(tmp_path / "0.notes")[-1]["end"]
    work({**plan, "notes": str(notes), "fatal": list(range(1, total + 1))})
    for fatal in range(total + 1):
        run = f"{prefix}-{fatal}"
        await assert_whole(neo4j_store(run, seed=None), read(tmp_path / f"{fatal}.notes"))
        await erase(run)


@pytest.mark.slow
async def test_random_kills_under_load_lose_nothing_on_neo4j(tmp_path: Path) -> None:
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    run, notes = f"crash-{uuid.uuid4().hex[:8]}", tmp_path / "notes"
    kills = int(os.environ.get("NEO4J_TEST_KILLS", "20"))
    work({"kind": "neo4j", "mode": "load", "where": run, "notes": str(notes), "kills": kills,
          "seed": 1, "seconds": [0.0, 0.8]})  # fmt: skip
    facts = read(notes)
    assert writers(facts) >= set(range(kills)), "each was killed after a write of its own"
    await assert_whole(neo4j_store(run, seed=None), facts)
    await erase(run)


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A Neo4j server that may be killed without harm to other tests: NEO4J_URI names it meanwhile.

    NEO4J_TEST_TOOL takes `start` and `kill`, each with `--home H`, and `start` prints NAME=value.
    """
    tool, home = os.environ.get("NEO4J_TEST_TOOL"), str(tmp_path / "neo4j")
    if tool is None:
        pytest.skip("NEO4J_TEST_TOOL does not name a tool that starts and kills a Neo4j server")

    def told(what: str) -> str:
        return subprocess.run(
            [tool, what, "--home", home], check=True, stdout=subprocess.PIPE, text=True, timeout=180
        ).stdout

    for line in told("start").splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    try:
        yield told
    finally:
        told("kill")


@pytest.mark.slow
async def test_a_killed_server_comes_back_with_every_acknowledged_write(
    tmp_path: Path, own_server: Callable[[str], str]
) -> None:
    """The write in between just waits."""
    run, notes, enough = f"crash-{uuid.uuid4().hex[:8]}", tmp_path / "notes", tmp_path / "enough"
    plan = {"kind": "neo4j", "mode": "load", "where": run, "notes": str(notes), "kills": 1,
            "seed": 1, "seconds": [0.0, 0.5], "until": str(enough)}  # fmt: skip
    command = [sys.executable, "-m", "tests.memory.crash_worker", json.dumps(plan)]
    with subprocess.Popen(command, cwd=ROOT) as writer:
        try:
            wait_for_more(notes, 5, writer)
            own_server("kill")
            before = len(read(notes))
            own_server("start")
            wait_for_more(notes, before + 5, writer)
        finally:
            enough.touch()
        assert writer.wait(timeout=120) == 0
    facts = read(notes)
    assert len(facts) > before > 5, "the writer went on after the restart"
    await assert_whole(neo4j_store(run, seed=None), facts)


async def erase(run: str) -> None:
    store = neo4j_store(run, seed=None)
    await store.open()
    await store.erase_run()
