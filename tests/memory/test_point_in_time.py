"""Nothing that came later, and nothing of another branch, can change what was known at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.memories import FOREVER
from memory.agemem import AgeMem
from memory.index import MemoryIndex
from memory.stores.sqlite import SqliteStore
from tests.memory.support import HandClock, day

WORDS = ("bond", "yield", "AAPL", "split", "halt", "beta-7", "rates", "cut")
QUERIES = ("bond yield", "AAPL split halt", "beta-7", "rates cut bond")


@dataclass(frozen=True)
class Step:
    """One operation of a history, `days` after the one before."""

    kind: str
    days: int
    text: str
    pick: int
    outcome: int | None


texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
steps = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(("add", "add", "add", "update", "delete", "undo", "link")),
        days=st.integers(0, 3),
        text=texts,
        pick=st.integers(0, 50),
        outcome=st.none() | st.integers(0, 9),
    ),
    min_size=3,
    max_size=25,
)


async def carry_out(memory: AgeMem, clock: HandClock, step: Step, names: list[str]) -> None:
    name = names[step.pick % len(names)] if names else "m-none"
    other = names[(step.pick // 3) % len(names)] if names else "m-none"
    match step.kind:
        case "add":
            outcome = None if step.outcome is None else day(clock.number + step.outcome)
            added = await memory.add(step.text, {"first": step.text[:4]}, outcome_at=outcome)
            names.append(added.id)
        case "update":
            await memory.update(name, step.text)
        case "delete":
            await memory.delete(name)
        case "undo":
            await memory.undo(f"main:{step.pick}")
        case "link":
            await memory.link(name, other, "near")


async def history(folder: str, name: str, todo: list[Step], until: float, plant: bool) -> AgeMem:
    """Carry out the steps up to a time; `plant` adds writes of other branches all along."""
    clock = HandClock()
    memory = AgeMem(store=SqliteStore(Path(folder) / f"{name}.db", seed="s"), clock=clock)
    names: list[str] = []
    for step in todo:
        clock.number += step.days
        if clock.number > until:
            break
        await carry_out(memory, clock, step, names)
        if plant:
            fork = await memory.fork()
            await fork.add(f"{step.text} planted in a branch")
            if names:
                await fork.update(names[-1], "bond yield AAPL rewritten in a branch")
                await fork.delete(names[0])
    return memory


async def seen(memory: AgeMem, as_of: float) -> list[Any]:
    found: list[Any] = [r.data for r in await memory.retrieve_many(QUERIES, 8, as_of=day(as_of))]
    found.append(await memory.list(as_of=day(as_of)))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(todo=steps, until=st.integers(0, 30), later=st.lists(texts, max_size=30))
def test_as_of_equals_a_replay_up_to_then_scores_included(
    todo: list[Step], until: int, later: list[str]
) -> None:
    asyncio.run(replay(todo, until, later))


async def replay(todo: list[Step], until: int, later: list[str]) -> None:
    with TemporaryDirectory() as folder:
        whole = await history(folder, "whole", todo, FOREVER, plant=True)
        clock = HandClock(10_000)
        whole._shared.clock = clock
        await whole.in_namespace("elsewhere").add("bond yield AAPL split in another namespace")
        for text in later:
            await whole.add(text)
        replayed = await history(folder, "replayed", todo, until, plant=False)
        assert await seen(whole, until) == await seen(replayed, until)
        await whole.close()
        await replayed.close()


async def no_lesson_before_its_outcome(folder: Path) -> None:
    clock = HandClock()
    async with AgeMem(store=SqliteStore(folder / "lessons.db"), clock=clock) as memory:
        for number in range(20):
            await memory.add(f"lesson {number} about bonds", outcome_at=day(number))
        for moment in range(-1, 21):
            found = (await memory.retrieve("lesson about bonds", 20, as_of=day(moment))).data
            assert len(found) == min(max(moment + 1, 0), 20)
            assert all(hit.outcome_at <= day(moment) for hit in found)


async def test_a_lesson_never_appears_before_its_outcome(tmp_path: Path) -> None:
    await no_lesson_before_its_outcome(tmp_path)


async def test_the_end_of_time_sees_what_stands(tmp_path: Path) -> None:
    async with AgeMem(store=SqliteStore(tmp_path / "m.db"), clock=HandClock()) as memory:
        await memory.add("stands")
        assert len(await memory.list(as_of=datetime.max.replace(tzinfo=UTC))) == 1
        assert await memory.list(as_of=datetime.min.replace(tzinfo=UTC)) == ()


async def test_without_the_gate_that_test_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = MemoryIndex.visible

    def ungated(self: MemoryIndex, *arguments: Any) -> Any:
        branch, namespace, branches, _, *rest = arguments
        return gated(self, branch, namespace, branches, FOREVER - 1, *rest)

    monkeypatch.setattr(MemoryIndex, "visible", ungated)
    with pytest.raises(AssertionError):
        await no_lesson_before_its_outcome(tmp_path)
