"""A process that writes to a memory and is killed: at a given write boundary, or whenever its parent likes.

Run with a JSON plan as its argument. It imports everything once and forks one child per trial, so that two
hundred kills cost seconds. Every acknowledged operation is first noted in a file, one line each.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.protocols import MemoryStore
from memory.agemem import AgeMem
from memory.operations import Add
from memory.stores.neo4j import Neo4jStore
from memory.stores.sqlite import SqliteStore


def store(plan: dict[str, Any], boundary: Callable[[str], None] | None) -> MemoryStore:
    if plan["kind"] == "sqlite":
        return SqliteStore(plan["where"], seed="s", boundary=boundary)
    return Neo4jStore(
        os.environ["NEO4J_URI"],
        os.environ["NEO4J_USERNAME"],
        os.environ["NEO4J_PASSWORD"],
        run=plan["where"],
        seed="s",
        boundary=boundary,
        retry_seconds=240.0,  # a busy machine takes minutes to start a killed server again
    )


def note(file: int, **fact: Any) -> None:
    os.write(file, json.dumps(fact).encode() + b"\n")


async def every_kind(plan: dict[str, Any], notes: Path, fatal: int) -> None:
    """One operation of each kind; dies just before write boundary number `fatal`."""
    passed = 0

    def boundary(_: str) -> None:
        nonlocal passed
        passed += 1
        if passed == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with AgeMem(store=store(plan, boundary), entry_cap=3) as memory:
        names: list[str] = []
        for number in range(2):
            added = await memory.add(f"entry {number} words", idempotency_key=f"add-{number}")
            names.append(added.id)
            note(file, key=f"add-{number}", operation=added.operation_id)
        done = [
            await memory.update(names[0], "entry 0 changed", idempotency_key="update"),
            await memory.link(names[0], names[1], "near", idempotency_key="link"),
        ]
        note(file, key="update", operation=done[0].operation_id)
        note(file, key="link", operation=done[1].operation_id)
        batch = [Add(f"batch {number}", key=f"batch-{number}") for number in range(3)]
        for request, result in zip(batch, await memory.apply(batch), strict=True):
            note(file, key=request.key, operation=result.operation_id)
        fork = await memory.fork()
        note(file, branch=fork.branch)
        undone = await memory.undo(done[1].operation_id or "", idempotency_key="undo")
        note(file, key="undo", operation=undone.operation_id)
        purged = await memory.purge(names[1], idempotency_key="purge")
        note(file, key="purge", operation=purged.operation_id)
    note(file, end=passed)


async def under_load(plan: dict[str, Any], notes: Path, trial: int) -> None:
    """Random keyed writes until somebody ends it; `trial` makes keys and choices its own."""
    choose = random.Random(trial)
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with AgeMem(store=store(plan, None)) as memory:
        names: list[str] = []
        for number in range(10**9):
            key = f"{trial}-{number}"
            name = choose.choice(names) if names else ""
            kind = choose.choice(["add", "add", "update", "delete", "batch"]) if names else "add"
            if kind == "add":
                result = await memory.add(f"text {key}", {"trial": trial}, idempotency_key=key)
                names.append(result.id)
            elif kind == "update":
                result = await memory.update(name, f"text {key}", idempotency_key=key)
            elif kind == "delete":
                result = await memory.delete(name, idempotency_key=key)
                names.remove(name)
            else:
                parts = [Add(f"text {key} part {n}", key=f"{key}/{n}") for n in range(3)]
                results = await memory.apply(parts)
                result = results[0]
                for part, done in zip(parts[1:], results[1:], strict=True):
                    note(file, key=part.key, operation=done.operation_id)
                key = f"{key}/0"
            if result.success:
                note(file, key=key, operation=result.operation_id)


def child(work: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        asyncio.run(work())
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def expect(pid: int, code: int) -> None:
    """Wait for a child; one that ended in another way than meant proves nothing, so it ends the run."""
    found = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if found != code:
        raise SystemExit(f"a writer ended with {found}, not {code}")


def size(notes: Path) -> int:
    return notes.stat().st_size if notes.exists() else 0


def alive(pid: int) -> None:
    if os.waitpid(pid, os.WNOHANG) != (0, 0):
        raise SystemExit("a writer ended before it was killed")


def wait_for_a_write(pid: int, notes: Path, before: int) -> None:
    """Return once the child has noted an acknowledged write, however long the machine takes for it."""
    while size(notes) == before:
        alive(pid)
        time.sleep(0.001)


def kill_under_load(plan: dict[str, Any], notes: Path) -> None:
    """Kill `kills` writers, each a random time after its first acknowledged write.

    Before every fourth of them one more dies a random time after its start, so mostly while it opens
    the store. `until` names a file without which no writer is killed.
    """
    pause = random.Random(plan["seed"])
    shortest, longest = plan["seconds"]
    for trial in range(plan["kills"]):
        if trial % 4 == 3:
            pid = child(lambda t=trial: under_load(plan, notes, plan["kills"] + t))  # type: ignore[misc]
            time.sleep(pause.uniform(0.0, longest))
            os.kill(pid, signal.SIGKILL)
            expect(pid, -signal.SIGKILL)
        before = size(notes)
        pid = child(lambda t=trial: under_load(plan, notes, t))  # type: ignore[misc]
        wait_for_a_write(pid, notes, before)
        time.sleep(pause.uniform(shortest, longest))
        while "until" in plan and not Path(plan["until"]).exists():
            alive(pid)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        expect(pid, -signal.SIGKILL)


def main() -> None:
    plan = json.loads(sys.argv[1])
    if plan["kind"] == "neo4j":
        importlib.import_module("neo4j")  # takes as long as a trial does: once, not in every child
    notes = Path(plan["notes"])
    if plan["mode"] == "boundaries":
        for fatal in plan["fatal"]:
            one = {**plan, "where": plan["where"].replace("#", str(fatal))}
            trial_notes = Path(str(notes).replace("#", str(fatal)))
            pid = child(lambda o=one, n=trial_notes, f=fatal: every_kind(o, n, f))  # type: ignore[misc]
            expect(pid, -signal.SIGKILL if fatal else 0)
    else:
        kill_under_load(plan, notes)


if __name__ == "__main__":
    main()
