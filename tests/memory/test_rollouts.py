"""Rollouts run on the same store on a database in memory: what one step of them costs in statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memory.agemem import AgeMem
from memory.embedders import HashedNgramEmbedder
from memory.operations import Add, Delete, Update
from memory.stores.sqlite import SqliteStore
from tests.memory.support import HandClock

if TYPE_CHECKING:
    from core.protocols import Float32Array


class Traced(SqliteStore):
    """Keeps the statements that reach the engine, those inside triggers and FTS5 left out."""

    def __init__(self) -> None:
        super().__init__(":memory:", seed="seed")
        self.statements: list[str] = []

    async def open(self) -> None:
        await super().open()
        self._db().set_trace_callback(self._note)

    def _note(self, statement: str) -> None:
        if not statement.startswith("--"):
            self.statements.append(" ".join(statement.split())[:40])

    def drain(self) -> list[str]:
        found, self.statements = self.statements, []
        return found


async def test_a_database_in_memory_forks_writes_and_reads_like_a_file() -> None:
    async with AgeMem(store=SqliteStore(":memory:"), clock=HandClock()) as memory:
        first = await memory.add("dividend raised")
        snapshot = await memory.snapshot()
        forks = [await memory.fork(snapshot) for _ in range(8)]
        for number, fork in enumerate(forks):
            results = await fork.apply(
                [Update(first.id, f"dividend cut {number}"), Add("a note"), Delete(first.id)]
            )
            assert [result.success for result in results] == [True, True, True]
            assert [hit.text for hit in (await fork.retrieve("dividend note")).data] == ["a note"]
        assert [hit.text for hit in (await memory.retrieve("dividend")).data] == ["dividend raised"]
        assert (await memory.get_stats()).branches == 9
        assert await memory.check() == ()


async def test_a_step_of_a_rollout_reads_nothing_again() -> None:
    store = Traced()
    async with AgeMem(store=store, clock=HandClock()) as memory:
        results = await memory.apply([Add(f"note {number}") for number in range(6)])
        fork = await memory.fork(await memory.snapshot())
        await fork.retrieve("note")
        store.drain()
        # What is written goes into the cached columns at once, so a read asks for the position alone.
        await fork.apply([Update(results[0].id, "another note")])
        written = store.drain()
        found = await fork.retrieve("another note", 1)
        assert found.ids == results[0].ids
        assert store.drain() == ["SELECT (SELECT value FROM meta WHERE nam"]
        assert [line.split()[0] for line in written if "text_index" not in line] == [
            "BEGIN", "SELECT", "SELECT", "SELECT", "INSERT", "INSERT", "INSERT", "INSERT", "COMMIT",
        ]  # fmt: skip


async def test_a_fork_is_one_row_however_many_there_are() -> None:
    store = Traced()
    async with AgeMem(store=store, clock=HandClock()) as memory:
        await memory.add("a note")
        await memory.fork()
        store.drain()
        for number in range(60):
            await memory.fork()
            words = [line.split()[0] for line in store.drain()]
            assert words == ["BEGIN", "SELECT", "SELECT", "INSERT", "COMMIT"], number


class BusyEmbedder(HashedNgramEmbedder):
    """While it embeds, somebody else uses the memory."""

    memory: AgeMem | None = None

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        memory, self.memory = self.memory, None
        if memory is not None:
            await memory.add("one more note")
            await memory.retrieve("note")
        return await super().embed(texts)


async def test_a_write_while_a_query_is_embedded_does_not_disturb_its_ranking() -> None:
    embedder = BusyEmbedder()
    async with AgeMem(store=":memory:", embedder=embedder, clock=HandClock()) as memory:
        await memory.apply([Add(f"note {number}") for number in range(40)])
        await memory.retrieve("note")
        embedder.memory = memory
        found = await memory.retrieve("more note", 1)
        assert [hit.text for hit in found.data] == ["one more note"]
