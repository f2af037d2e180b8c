"""A process that writes to a memory and is killed: at a given write boundary, or whenever its parent likes.

Run with a JSON plan as its argument. It imports everything once and forks one child per trial, so that two
hundred kills cost seconds. Every acknowledged operation is first noted in a file, one line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
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
    try:
        asyncio.run(work())
    finally:
        os._exit(0)


def main() -> None:
    plan = json.loads(sys.argv[1])
    notes = Path(plan["notes"])
    if plan["mode"] == "boundaries":
        for fatal in plan["fatal"]:
            one = {**plan, "where": plan["where"].replace("#", str(fatal))}
            trial_notes = Path(str(notes).replace("#", str(fatal)))
            pid = child(lambda o=one, n=trial_notes, f=fatal: every_kind(o, n, f))  # type: ignore[misc]
            os.waitpid(pid, 0)
    else:
        pause = random.Random(plan["seed"])
        for trial in range(plan["kills"]):
            pid = child(lambda t=trial: under_load(plan, notes, t))  # type: ignore[misc]
            time.sleep(pause.uniform(*plan["seconds"]))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
