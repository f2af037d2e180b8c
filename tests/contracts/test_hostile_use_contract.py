"""What neither a source, a clock, an embedder nor a slip of the user can do to a memory, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from core.errors import ContentRefused, EntryNotFound, KeyConflict, UndoRefused
from memory.agemem import AgeMem
from memory.operations import Add, Delete
from tests.memory.support import HandClock, Place, day


async def test_metadata_cannot_forge_the_source_of_a_filter(place: Place, clock: HandClock) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        filed = await memory.add("margin fell", source="10-Q")
        forged = await memory.add("margin doubled", {"source": "10-Q"}, source="tweet")
        assert isinstance(forged.error, ContentRefused)
        assert "source" in str(forged.error)
        found = await memory.retrieve("margin", 5, {"source": "10-Q"})
        assert found.ids == filed.ids


async def test_nothing_changes_what_is_recorded_later_than_now(
    place: Place, clock: HandClock
) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        clock.number = 4
        entry = await memory.add("limit is 5")
        clock.number = 6
        update = await memory.update(entry.id, "limit is 7")
        clock.number = 5  # set back
        undone = await memory.undo(update.operation_id or "")
        assert isinstance(undone.error, UndoRefused)
        for refused in (await memory.update(entry.id, "9"), await memory.delete(entry.id)):
            assert isinstance(refused.error, EntryNotFound)
        for moment, text in ((day(5), "limit is 5"), (day(7), "limit is 7")):
            assert [each.text for each in await memory.list(as_of=moment)] == [text]


async def test_the_key_of_a_purged_text_serves_no_other(place: Place, clock: HandClock) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        entry = await memory.add("a secret", idempotency_key="k")
        await memory.purge(entry.id)
        for text in ("another text", "a secret"):
            again = await memory.add(text, idempotency_key="k")
            assert isinstance(again.error, KeyConflict)
            assert "purged" in str(again.error)
        assert await memory.list() == ()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"end": 1}
    for _ in range(depth):
        value = {"more": value}
    return value


async def test_slips_come_back_as_refusals(place: Place, clock: HandClock) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        await memory.add("a note", {"n": 1})
        results = [
            await memory.add("deep", nested(5_000)),
            await memory.retrieve("note", 3, {"n": "\ud800"}),
            await memory.retrieve("note", 3, {"n": 2**70}),
            await memory.retrieve("note", 3, {"n": float("nan")}),
            await memory.retrieve("note", 3, ["n"]),  # type: ignore[arg-type]
            await memory.summary(["a", "b"], span=[1]),  # type: ignore[arg-type]
            await memory.summary(["a", "b"], span="foo"),  # type: ignore[arg-type]
            await memory.summary(["a", "b"], span=0),
            await memory.filter(["a", "b"], "a", threshold=None),  # type: ignore[arg-type]
        ]
        assert [type(each.error) for each in results] == [ContentRefused] * len(results)
        assert len(await memory.list()) == 1


async def test_an_unknown_branch_is_refused_alike_by_reads_and_writes(
    place: Place, clock: HandClock
) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        await memory.add("a note")
    async with AgeMem(store=place.store(), clock=clock, branch="nowhere") as lost:
        results = [
            await lost.add("text"),
            await lost.update("id", "text"),
            await lost.retrieve("note"),
            *await lost.apply([Add("one"), Delete("two")]),
        ]
        assert [type(each.error) for each in results] == [EntryNotFound] * 5


class Fixed:
    """Gives the vectors it was made with, in order."""

    model_id = "fixed"
    dimension = 2

    def __init__(self, **vectors: Sequence[float]) -> None:
        self._vectors = vectors

    async def embed(self, texts: Sequence[str]) -> Any:
        return np.array([self._vectors[text] for text in texts], np.float32)


async def test_vectors_are_brought_to_length_one(place: Place, clock: HandClock) -> None:
    # the long diagonal vector has the larger inner product with the query, the short one the larger cosine
    vectors = {"long": (5.0, 5.0), "same": (0.1, 0.0), "query": (3.0, 0.0)}
    async with AgeMem(store=place.store(), clock=clock, embedder=Fixed(**vectors)) as memory:
        await memory.add("long")
        same = await memory.add("same")
        found = await memory.retrieve("query", 2)
        assert found.ids[0] == same.id
        assert [hit.ranks.vector for hit in found.data] == [1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_a_vector_that_is_not_finite_stores_nothing(
    place: Place, clock: HandClock, value: float
) -> None:
    async with AgeMem(store=place.store(), clock=clock, embedder=Fixed(bad=(value, 1.0))) as memory:
        with pytest.raises(ValueError, match="fixed gave a vector that is not finite"):
            await memory.add("bad")
        assert await memory.list() == ()


async def test_stats_count_what_the_branch_has_seen(place: Place, clock: HandClock) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        await memory.add("one")
        fork = await memory.fork()
        await fork.add("two")
        await fork.add("three")
        await memory.add("four")
        assert (await memory.get_stats()).operations == 2
        assert (await fork.get_stats()).operations_by_kind == {"add": 3}


async def test_rounds_of_a_plain_context_are_those_of_messages(
    place: Place, clock: HandClock
) -> None:
    talk = [
        {"role": "user", "content": "The limit of BYTE is five."},
        {"role": "assistant", "content": "Noted, five it is."},
        {"role": "user", "content": "The rating of CORE is hold."},
        {"role": "assistant", "content": "Noted, hold it is."},
    ]
    async with AgeMem(store=place.store(), clock=clock) as memory:
        last = await memory.summary(talk, span=1)
        assert "CORE" in last.data
        assert "BYTE" not in last.data
        assert "BYTE" in (await memory.summary(talk, span=2)).data
