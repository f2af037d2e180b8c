"""What each `athena memory` command does: open the memory that the config names, one call, plain values.

Refuses to know click and terminals. A refused operation raises its error here, because a command has
nobody else to tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from core.config import AthenaConfig
from core.errors import ConfigError, EntryNotFound, MemoryRefused, RunNotFound, UsageError
from core.memories import Lineage, MemoryEntry
from core.protocols import Embedder, MemoryStore
from core.redact import bare_url, has_user
from core.runlog import find_run
from memory.agemem import AgeMem
from memory.graph_page import graph_page
from memory.operations import MemoryOperationResult
from memory.stores.neo4j import Neo4jStore
from memory.stores.sqlite import SqliteStore

Json = dict[str, Any]
EmbedderOf = Callable[[AthenaConfig], Embedder | None]


@dataclass(frozen=True, slots=True)
class Which:
    """Which memory a command speaks of."""

    config: AthenaConfig
    embedder_of: EmbedderOf
    environment: Mapping[str, str]
    namespace: str = "default"
    run: str | None = None


@asynccontextmanager
async def opened(which: Which, read_only: bool = False) -> AsyncIterator[AgeMem]:
    """The memory of the config, or of a run; its call counts are kept when it closes."""
    memory = which.config.memory
    agemem = AgeMem(
        store=_store(which, read_only),
        embedder=which.embedder_of(which.config),
        namespace=which.namespace,
        entry_cap=memory.entry_cap,
    )
    async with agemem:
        try:
            yield agemem
        except MemoryRefused:  # a refused call counts too
            await agemem.close(keep_timings=which.run is None)
            raise
        await agemem.close(keep_timings=which.run is None)


def _store(which: Which, read_only: bool) -> MemoryStore:
    memory = which.config.memory
    folder = None if which.run is None else find_run(which.run, which.config.runs_dir)
    if memory.store == "neo4j":
        run = "athena" if folder is None else folder.name
        return neo4j_store(memory.neo4j_uri, which.environment, run)
    if folder is None:
        return SqliteStore(memory.path, read_only=read_only)
    if not (folder / "memory.db").is_file():
        raise RunNotFound(f"the run {folder} kept no memory.", "Runs without agents keep none.")
    return SqliteStore(folder / "memory.db", read_only=read_only)


def neo4j_store(
    uri: str | None, environment: Mapping[str, str], run: str, seed: str | None = None
) -> Neo4jStore:
    """The server of `memory.neo4j_uri` or NEO4J_URI; `seed` fixes the ids of a new run.

    Raises: ConfigError without address or password.
    """
    address = uri or environment.get("NEO4J_URI")
    if not address:
        raise ConfigError(
            "memory.store is neo4j, but no server is named.", "Set memory.neo4j_uri or NEO4J_URI."
        )
    if has_user(address):
        raise ConfigError(
            f"the address of Neo4j ({bare_url(address)}) holds a name or password.",
            "Leave them out of it, and set NEO4J_USERNAME and NEO4J_PASSWORD.",
        )
    password = environment.get("NEO4J_PASSWORD")
    if password is None:
        raise ConfigError(
            "the variable NEO4J_PASSWORD is not set.",
            "Set it (and NEO4J_USERNAME, unless it is neo4j).",
        )
    username = environment.get("NEO4J_USERNAME", "neo4j")
    return Neo4jStore(address, username, password, run=run, seed=seed)


def moment(text: str | None, what: str) -> datetime | None:
    """ISO 8601; without a zone it is UTC. Raises: UsageError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{what} is {text!r}.", "Write a time like 2014-06-09T20:00:00Z."
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def conditions(pairs: Sequence[tuple[str, str]], symbol: str | None) -> Mapping[str, Any]:
    """`--where` pairs as a filter: a value means the text, or the number or truth it spells."""
    where: dict[str, Any] = {}
    for name, text in pairs:
        values: list[Any] = [text]
        try:
            spelled = orjson.loads(text)
        except orjson.JSONDecodeError:
            spelled = text
        if isinstance(spelled, int | float | bool):
            values.append(spelled)
        where.setdefault(name, []).extend(values)
    if symbol is not None:
        where["symbol"] = symbol
    return where


def receipt(result: MemoryOperationResult) -> Json:
    """A write's receipt. Raises the error of a refused one."""
    if result.error is not None:
        raise result.error
    return {
        "id": result.ids[0] if result.ids else None,
        "ids": list(result.ids),
        "version": result.version,
        "operation_id": result.operation_id,
        "superseded": list(result.superseded_ids),
        "replayed": result.replayed,
    }


def entry_json(entry: MemoryEntry) -> Json:
    return asdict(entry)


async def add(
    which: Which,
    text: str,
    *,
    symbol: str | None,
    kind: str | None,
    source: str | None,
    valid_from: str | None,
    outcome_at: str | None,
    key: str | None,
) -> Json:
    metadata = {n: v for n, v in (("symbol", symbol), ("kind", kind)) if v is not None}
    async with opened(which) as memory:
        result = await memory.add(
            text,
            metadata,
            source=source or "user",
            valid_from=moment(valid_from, "--valid-from"),
            outcome_at=moment(outcome_at, "--outcome-at"),
            idempotency_key=key,
        )
    return receipt(result)


async def update(which: Which, entry_id: str, text: str) -> Json:
    async with opened(which) as memory:
        return receipt(await memory.update(entry_id, text))


async def delete(which: Which, entry_id: str) -> Json:
    async with opened(which) as memory:
        return receipt(await memory.delete(entry_id))


async def undo(which: Which, operation_id: str) -> Json:
    async with opened(which) as memory:
        return receipt(await memory.undo(operation_id))


async def purge(which: Which, entry_id: str) -> Json:
    async with opened(which) as memory:
        result = await memory.purge(entry_id)
    return receipt(result) | {"pending": result.pending or None}


async def link(which: Which, a: str, b: str, relation: str) -> Json:
    async with opened(which) as memory:
        return receipt(await memory.link(a, b, relation))


async def search(
    which: Which, query: str, *, top_k: int, where: Mapping[str, Any], as_of: str | None
) -> Json:
    async with opened(which, read_only=True) as memory:
        result = await memory.retrieve(query, top_k, where, as_of=moment(as_of, "--as-of"))
    if result.error is not None:
        raise result.error
    return {"hits": [asdict(hit) for hit in result.data]}


async def entries(
    which: Which, *, where: Mapping[str, Any], as_of: str | None, limit: int | None
) -> Json:
    async with opened(which, read_only=True) as memory:
        found = await memory.list(as_of=moment(as_of, "--as-of"), filter=where, limit=limit)
    return {"entries": [entry_json(entry) for entry in found]}


async def show(which: Which, entry_id: str, as_of: str | None) -> Json:
    """The entry as it was known at a time; a closed one is shown as it last stood."""
    time = moment(as_of, "--as-of")
    async with opened(which, read_only=True) as memory:
        found = await memory.get(entry_id, as_of=time)
        versions = await memory.history(entry_id, as_of=time)
    if found is None and (not versions or not versions[-1].closed):
        raise EntryNotFound(
            f"no entry {entry_id!r} in namespace {which.namespace!r} at that time.",
            "`athena memory list` shows the entries.",
        )
    return entry_json(found or versions[-1])


async def history(which: Which, entry_id: str, as_of: str | None) -> Json:
    async with opened(which, read_only=True) as memory:
        versions = await memory.history(entry_id, as_of=moment(as_of, "--as-of"))
        store = await memory.store()
        lineage = Lineage.of(memory.branch, await store.branches())
        records = [
            record
            for record in (await store.operations() if versions else ())
            if lineage.sees(record.branch, record.sequence)
        ]
    if not versions:
        raise EntryNotFound(
            f"no entry {entry_id!r} in namespace {which.namespace!r} at that time.",
            "`athena memory list` shows the entries.",
        )
    opened_by = {v.version_id: r.operation_id for r in records for v in r.opened}
    closed_by = {c.target: r.operation_id for r in records for c in r.closed}
    return {
        "versions": [
            entry_json(entry)
            | {
                "opened_by": opened_by.get(entry.version_id),
                "closed_by": closed_by.get(entry.version_id),
            }
            for entry in versions
        ]
    }


async def stats(which: Which) -> Json:
    async with opened(which, read_only=True) as memory:
        return asdict(await memory.get_stats())


async def check(which: Which) -> Json:
    async with opened(which, read_only=True) as memory:
        problems = await memory.check()
    return {"ok": not problems, "problems": list(problems)}


async def rebuild(which: Which) -> Json:
    async with opened(which) as memory:
        embedded = await memory.rebuild()
        problems = await memory.check()
    return {"ok": not problems, "problems": list(problems), "embedded": embedded}


async def export(which: Which, file: Path) -> Json:
    async with opened(which, read_only=True) as memory:
        return asdict(await memory.export(file))


async def import_(which: Which, file: Path) -> Json:
    async with opened(which) as memory:
        return asdict(await memory.import_(file))


async def graph(which: Which, entry_id: str, as_of: str | None, out: Path | None) -> Json:
    async with opened(which, read_only=True) as memory:
        page = await graph_page(memory, entry_id, moment(as_of, "--as-of"))
    path = out or Path(f"memory-{entry_id}.html")
    path.write_text(page, encoding="utf-8")
    return {"path": str(path)}
