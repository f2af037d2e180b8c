"""What only Neo4j has: its errors, its own indexes, its dialect."""

from __future__ import annotations

import os
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neo4j import AsyncSession

from core.errors import MemoryStoreError
from memory.agemem import AgeMem
from memory.embedders import HashedNgramEmbedder
from memory.stores.neo4j import (
    VECTOR_INDEX,
    Dialect,
    Neo4jStore,
    check_online,
    escape_lucene,
    server_version,
)
from tests.memory.support import NO_SERVER, neo4j_store


@pytest.fixture
def run() -> str:
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    return f"test-{uuid.uuid4().hex[:12]}"


async def test_an_unreachable_server_is_an_error_with_a_cure() -> None:
    store = Neo4jStore("bolt://127.0.0.1:9", "neo4j", "x")
    with pytest.raises(MemoryStoreError) as caught:
        await AgeMem(store=store).add("one")
    assert "Start the server" in caught.value.cure
    with pytest.raises(MemoryStoreError, match="address"):
        await Neo4jStore("http://127.0.0.1:9", "neo4j", "x").open()


async def test_a_wrong_password_is_an_error_with_a_cure(run: str) -> None:
    store = Neo4jStore(os.environ["NEO4J_URI"], "neo4j", "wrong", run=run)
    with pytest.raises(MemoryStoreError) as caught:
        await store.open()
    assert "NEO4J_PASSWORD" in caught.value.cure


async def test_an_unknown_database_is_an_error(run: str) -> None:
    store = Neo4jStore(
        os.environ["NEO4J_URI"],
        os.environ["NEO4J_USERNAME"],
        os.environ["NEO4J_PASSWORD"],
        run=run,
        database="nosuch",
    )
    with pytest.raises(MemoryStoreError):
        await store.open()


async def test_a_dropped_index_is_made_again_as_the_store_opens(run: str) -> None:
    store = neo4j_store(run)
    async with AgeMem(store=store) as memory:
        entry = (await memory.add("copper mine")).id
        async with store._open_driver().session() as session:
            await (await session.run("DROP INDEX athena_undo")).consume()
    again = neo4j_store(run)
    async with AgeMem(store=again) as memory:
        assert (await memory.retrieve("copper")).ids == (entry,)
        async with again._open_driver().session() as session:
            found = await indexes(session)
        check_online(found)
        await again.erase_run()
    for state in ("POPULATING", "FAILED"):
        with pytest.raises(MemoryStoreError, match=f"{VECTOR_INDEX} is {state}, not online"):
            check_online({**found, VECTOR_INDEX: state})
    with pytest.raises(MemoryStoreError, match="missing") as caught:
        check_online({name: state for name, state in found.items() if name != "athena_run"})
    assert "Wait until Neo4j has built it" in caught.value.cure


async def indexes(session: AsyncSession) -> dict[str, str]:
    result = await session.run("SHOW INDEXES YIELD name, state RETURN name, state")
    return dict(await result.values())


async def test_the_native_indexes_serve_the_users_own_queries(run: str) -> None:
    store = neo4j_store(run)
    embedder = HashedNgramEmbedder()
    async with AgeMem(store=store, embedder=embedder) as memory:
        entry = (await memory.add("copper mine reopens in Chile", {"symbol": "FCX"})).id
        await memory.add("unrelated words")
        assert await store.native_text('copper AND (mine) "') == [f"{entry}@1"]
        (vector,) = await embedder.embed(["copper mine reopens"])
        assert (await store.native_nearest([float(v) for v in vector], 1)) == [f"{entry}@1"]
        await memory.purge(entry)
        assert await store.native_text("copper") == []
        await store.erase_run()


async def test_two_runs_in_one_database_do_not_see_each_other(run: str) -> None:
    one, two = neo4j_store(run), neo4j_store(f"{run}-two")
    async with AgeMem(store=one) as first, AgeMem(store=two) as second:
        a = await first.add("same words", idempotency_key="k")
        b = await second.add("same words", idempotency_key="k")
        assert a.ids == b.ids  # the same seed, branch and number
        await second.delete(b.id)
        assert len(await first.list()) == 1
        await one.erase_run()
        await two.erase_run()


async def test_a_lost_answer_to_a_commit_does_not_double_the_write(run: str) -> None:
    """The first try commits and then fails as a lost connection would; the second recognises it."""
    from neo4j import AsyncSession
    from neo4j.exceptions import IncompleteCommit

    store = neo4j_store(run)
    memory = AgeMem(store=store)
    await memory.list()
    original = AsyncSession.execute_write
    tries = []

    async def lossy(self, work, *arguments, **options):  # type: ignore[no-untyped-def]
        result = await original(self, work, *arguments, **options)
        tries.append(1)
        if len(tries) == 1:
            raise IncompleteCommit
        return result

    AsyncSession.execute_write = lossy  # type: ignore[method-assign]
    try:
        added = await memory.add("written once")
    finally:
        AsyncSession.execute_write = original  # type: ignore[method-assign]
    assert len(tries) == 2
    assert added.operation_id == "main:1"
    assert len(await store.operations()) == 1
    await store.erase_run()


def test_server_versions_are_read_and_old_servers_refused() -> None:
    assert server_version("Neo4j/5.26.0") == (5, 26)
    assert server_version("Neo4j/2026.01.3") == (2026, 1)
    with pytest.raises(MemoryStoreError):
        server_version("Memgraph/3")
    assert Dialect.of((5, 26)).prefix == "CYPHER 5 "


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_lucene_syntax_is_escaped(text: str) -> None:
    escaped = escape_lucene(text)
    plain = escaped.replace("\\\\", "")
    for place, character in enumerate(plain):
        if character in '+-!(){}[]^"~*?:/&|<>=':
            assert plain[place - 1] == "\\"
    assert not {"AND", "OR", "NOT"} & set(escaped.split())


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("Neo.ClientError.General.ForbiddenOnReadOnlyDatabase", "does not take writes"),
        ("Neo.ClientError.Statement.AccessMode", "does not take writes"),
        ("Neo.ClientError.Security.Forbidden", "does not take writes"),
        ("Neo.ClientError.Database.DatabaseNotFound", "database that exists"),
        ("Neo.ClientError.Security.Unauthorized", "NEO4J_PASSWORD"),
    ],
)
def test_each_refusal_of_the_server_has_its_cure(code: str, cure: str) -> None:
    from neo4j.exceptions import Neo4jError

    error = Neo4jError._hydrate_neo4j(code=code, message="no")
    with pytest.raises(MemoryStoreError) as caught, Neo4jStore("bolt://x", "n", "p")._guard():
        raise error
    assert cure in caught.value.cure


@pytest.mark.parametrize(
    "damage",
    [
        "MATCH (v:AthenaVersion {run: $run}) SET v.embedding = [x IN v.embedding | 0.5]",
        "MATCH (v:AthenaVersion {run: $run}) SET v.model_id = 'other'",
        "MATCH (o:AthenaOperation {run: $run}) SET o.undoes = null",
        "MATCH (o:AthenaOperation {run: $run, sequence: 1}) SET o.key = 'other'",
        "MATCH (o:AthenaOperation {run: $run, sequence: 1}) SET o.body = 'garbage'",
        "MATCH (e:AthenaEntry {run: $run}) SET e.purged = true",
        "MATCH (b:AthenaBranch {run: $run, name: 'b1'}) SET b.fork_sequence = 99",
        "MATCH (r:AthenaRun {run: $run}) SET r.seed = 'x'",
    ],
)
async def test_check_finds_every_kind_of_tampering(run: str, damage: str) -> None:
    store = neo4j_store(run)
    async with AgeMem(store=store) as memory:
        first = await memory.add("one bond", idempotency_key="k")
        deleted = await memory.delete(first.id)
        await memory.undo(deleted.operation_id or "")
        await (await memory.fork()).update(first.id, "another bond")
        assert await memory.check() == ()
        async with store._open_driver().session() as session:
            await (await session.run(damage, run=run)).consume()  # type: ignore[arg-type]
        assert await memory.check()
        await store.erase_run()
