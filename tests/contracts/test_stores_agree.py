"""Random histories on every store, compared with each other and with a small model of the memory."""

from __future__ import annotations

import asyncio
import copy
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from memory.agemem import AgeMem
from memory.operations import MemoryOperationResult
from tests.memory.model import ModelBranch
from tests.memory.support import HandClock, Place, day

T = TypeVar("T")
WORDS = ("bond", "yield", "AAPL", "split", "halt", "beta-7")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
picks = st.integers(0, 10**6)


class Histories(RuleBasedStateMachine):
    """The same operations on all stores and the model; ids are the same because seeds are."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        kinds = ["sqlite", "neo4j"] if "NEO4J_URI" in os.environ else ["sqlite"]
        self.places = [Place(kind, Path(self.folder.name)) for kind in kinds]
        self.branches: list[tuple[list[AgeMem], ModelBranch]] = [
            (
                [AgeMem(store=place.store(), clock=self.clock) for place in self.places],
                ModelBranch(),
            )
        ]
        self.deletes: list[tuple[int, str, str]] = []

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def pick(self, number: int) -> tuple[int, list[AgeMem], ModelBranch]:
        place = number % len(self.branches)
        return place, *self.branches[place]

    def name(self, model: ModelBranch, number: int) -> str:
        names = list(model.entries) or ["m-none"]
        return names[number % len(names)]

    def both(self, results: list[MemoryOperationResult]) -> MemoryOperationResult:
        """Receipts agree in everything but the time taken and the store's name."""
        first = results[0]
        for other in results[1:]:
            for field in ("success", "ids", "version", "superseded_ids", "operation_id"):
                assert getattr(other, field) == getattr(first, field)
            assert type(other.error) is type(first.error)
        return first

    @rule(branch=picks, text=texts, delay=st.integers(0, 3))
    def add(self, branch: int, text: str, delay: int) -> None:
        _, handles, model = self.pick(branch)
        outcome = self.clock.number + delay
        result = self.both(
            [self.wait(m.add(text, {"w": text[:4]}, outcome_at=day(outcome))) for m in handles]
        )
        model.add(result.id, text, self.clock.number, outcome)

    @rule(branch=picks, entry=picks, text=texts)
    def update(self, branch: int, entry: int, text: str) -> None:
        _, handles, model = self.pick(branch)
        name = self.name(model, entry)
        result = self.both([self.wait(m.update(name, text)) for m in handles])
        assert result.success == model.update(name, text, self.clock.number)

    @rule(branch=picks, entry=picks)
    def delete(self, branch: int, entry: int) -> None:
        place, handles, model = self.pick(branch)
        name = self.name(model, entry)
        result = self.both([self.wait(m.delete(name)) for m in handles])
        assert result.success == model.delete(name, self.clock.number)
        if result.success:
            self.deletes.append((place, name, result.operation_id or ""))

    @precondition(lambda self: self.deletes)
    @rule(number=picks)
    def undo_delete(self, number: int) -> None:
        place, name, operation_id = self.deletes.pop(number % len(self.deletes))
        handles, model = self.branches[place]
        result = self.both([self.wait(m.undo(operation_id)) for m in handles])
        entry = model.entries[name]
        assert result.success == (not entry.open and not entry.purged)
        if result.success:
            model.reopen(name, self.clock.number)

    @rule(branch=picks, entry=picks)
    def purge(self, branch: int, entry: int) -> None:
        _, handles, model = self.pick(branch)
        if entry % 5:
            return
        name = self.name(model, entry)
        known = name in model.entries and not model.entries[name].purged
        assert self.both([self.wait(m.purge(name)) for m in handles]).success == known
        for _, other in self.branches:
            if name in other.entries:
                other.entries[name].purged = True

    @precondition(lambda self: len(self.branches) < 4)
    @rule(branch=picks)
    def fork(self, branch: int) -> None:
        _, handles, model = self.pick(branch)
        self.branches.append(([self.wait(m.fork()) for m in handles], copy.deepcopy(model)))

    @rule(branch=picks, a=picks, b=picks)
    def link(self, branch: int, a: int, b: int) -> None:
        _, handles, model = self.pick(branch)
        self.both(
            [self.wait(m.link(self.name(model, a), self.name(model, b), "near")) for m in handles]
        )

    @rule(days=st.integers(1, 3))
    def time_passes(self, days: int) -> None:
        self.clock.number += days

    @rule(branch=picks, text=texts, back=st.integers(0, 6))
    def search(self, branch: int, text: str, back: int) -> None:
        _, handles, model = self.pick(branch)
        as_of = max(0, self.clock.number - back)
        answers = [self.wait(m.retrieve(text, 5, as_of=day(as_of))).data for m in handles]
        assert all(answer == answers[0] for answer in answers)
        visible = model.visible(as_of)
        assert all(visible[hit.id] == hit.text for hit in answers[0])
        wanted = {n for n, t in visible.items() if set(t.split()) & set(text.split())}
        assert len(answers[0]) >= min(5, len(wanted))

    @invariant()
    def lists_agree(self) -> None:
        for handles, model in self.branches:
            for as_of in (self.clock.number, max(0, self.clock.number - 2)):
                expected = sorted(model.visible(as_of).items())
                for memory in handles:
                    entries = self.wait(memory.list(as_of=day(as_of)))
                    assert sorted((e.id, e.text) for e in entries) == expected

    def teardown(self) -> None:
        for memory in self.branches[0][0]:
            assert self.wait(memory.check()) == ()
            self.wait(memory.close())
        for place in self.places:
            self.wait(place.clear())
        self.loop.close()
        self.folder.cleanup()


def test_random_histories_agree_with_the_model() -> None:
    examples = 6 if "NEO4J_URI" in os.environ else 25
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_many_random_histories_agree_with_the_model() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Histories,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
