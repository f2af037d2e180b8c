"""Rollouts: policies before episodes, on the real memory, many at a time.

Every episode has a store of its own in this process's memory and as many forks of its state as it has
members; all members of all episodes take their n-th note together, so that states are encoded in batches.
Nothing is simulated and nothing goes round the store. Refuses to know advantages and losses.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from memory.agemem import AgeMem
from memory.context import ShortTermMemory
from memory.policy import (
    CONTEXT_TOKENS,
    NOTHING,
    TOP_HITS,
    MemoryPolicy,
    Seat,
    StepOutcome,
    memory_step,
)
from memory.stores.sqlite import SqliteStore
from training.stage2_agemem import reader
from training.stage2_agemem.episodes import Episode
from training.stage2_agemem.rewards import (
    DEFAULT_WEIGHTS,
    RewardParts,
    RewardWeights,
    reward,
    tells,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from core.memories import MemoryHit
    from core.protocols import Tokenizer

    FloatArray = npt.NDArray[np.float64]

QUERY_TOKENS: Final = 256
DEFAULT_CAP: Final = 6
DECISION_QUERY: Final = "outcome of the setup: buy or sell?"


@dataclass(slots=True)
class EpisodeClock:
    """The time of the note at hand; set by the rollout, read by the memory."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        """Time passes with the notes, not with waiting."""


class CountedTokens:
    """A tokenizer that remembers the counts of texts it has seen."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.count = lru_cache(maxsize=65_536)(tokenizer.count)

    def truncate(self, text: str, tokens: int) -> str:
        return self._tokenizer.truncate(text, tokens)


@dataclass(frozen=True, slots=True)
class Job:
    """One episode for `members` rollouts: notes before `start` are handled by the prefix policy, notes from
    `start` up to `stop` by the policy. `draws` [members, notes] sample; None takes the likeliest action."""

    episode: Episode
    members: int = 1
    start: int = 0
    stop: int | None = None
    draws: FloatArray | None = None

    @property
    def end(self) -> int:
        return len(self.episode.notes) if self.stop is None else self.stop


@dataclass(frozen=True, slots=True)
class Reading:
    """How one question went: right or wrong, and the entry version it was read from."""

    right: bool
    entry_id: str | None
    version: int | None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One rollout: its policy's steps, what was answered, and what it earned."""

    name: str
    episode: Episode
    steps: tuple[StepOutcome, ...]
    readings: tuple[Reading, ...]
    parts: RewardParts
    hits: tuple[tuple[MemoryHit, ...], ...] = field(repr=False)
    tokens: int = 0
    decision: int = 0

    @property
    def right_frac(self) -> float:
        return sum(reading.right for reading in self.readings) / max(len(self.readings), 1)

    @property
    def operations_done(self) -> int:
        """Operations of the memory: each step's automatic retrieval, what was chosen where that is not
        nothing, and the retrieval of each question."""
        chosen = sum(step.choice.action != NOTHING for step in self.steps)
        return len(self.steps) + chosen + len(self.readings)

    def operations(self) -> dict[str, int]:
        """How often each action was chosen."""
        counts: dict[str, int] = {}
        for step in self.steps:
            counts[step.choice.action] = counts.get(step.choice.action, 0) + 1
        return counts


@dataclass(slots=True)
class _Member:
    """One rollout while it runs. `overflows` are those of contexts that ended, `before` those that the
    leader's context had when it was copied."""

    name: str
    job: Job
    place: int
    clock: EpisodeClock
    memory: AgeMem
    context: ShortTermMemory
    steps: list[StepOutcome] = field(default_factory=list)
    refused: int = 0
    overflows: int = 0
    before: int = 0
    operations: int = 0

    def begin_context(self, context: ShortTermMemory) -> None:
        """Go on in an empty context; what overflowed in the one before still counts."""
        self.overflows += _overflows(self.context)
        self.context = context

    def take(self, step: StepOutcome) -> None:
        self.steps.append(step)
        self.refused += not step.outcome.success
        self.operations += step.outcome.action != NOTHING


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """What every rollout of a run has in common; `entry_cap` None is no cap.

    `decide` ends every episode with a trade of its symbol, too: in the direction of the best kept outcome of
    a setup, none without one. It is judged by real prices and never rewarded. `random_answers` takes a coin
    for every answer, the same for the same member: what is learnt from it is no use of memory (ablation).
    """

    entry_cap: int | None = DEFAULT_CAP
    weights: RewardWeights = DEFAULT_WEIGHTS
    tokenizer: Tokenizer | None = None
    decide: bool = False
    random_answers: bool = False

    def context(self) -> ShortTermMemory:
        return ShortTermMemory(CONTEXT_TOKENS, tokenizer=self.tokenizer)


async def run_jobs(
    policy: MemoryPolicy,
    jobs: Sequence[Job],
    settings: RolloutSettings,
    *,
    prefix: MemoryPolicy | None = None,
) -> list[list[Trajectory]]:
    """Carry out the jobs together; for each job the trajectories of its members."""
    leaders: list[_Member] = []
    try:
        leaders += [_leader(job, settings) for job in jobs]
        await _walk(prefix or policy, leaders, settings, prefix=True)
        groups = [
            await _fork(leader, job, number)
            for number, (leader, job) in enumerate(zip(leaders, jobs, strict=True))
        ]
        await _walk(policy, [member for group in groups for member in group], settings)
        return [[await _finish(member, settings) for member in group] for group in groups]
    finally:
        for leader in leaders:
            await leader.memory.close()


def _leader(job: Job, settings: RolloutSettings) -> _Member:
    """The one who fills the memory before the members' first note."""
    clock = EpisodeClock(job.episode.notes[0].event.at)
    store = SqliteStore(":memory:", seed=job.episode.id)
    memory = AgeMem(store=store, entry_cap=settings.entry_cap, clock=clock)
    return _Member("prefix", job, 0, clock, memory, settings.context())


async def _fork(leader: _Member, job: Job, number: int) -> list[_Member]:
    snapshot = await leader.memory.snapshot()
    return [
        _Member(
            f"{job.episode.id}/{number}/{place}",
            job,
            place,
            leader.clock,
            await leader.memory.fork(snapshot),
            leader.context.copy(),
            before=_overflows(leader.context),
        )
        for place in range(job.members)
    ]


async def _walk(
    policy: MemoryPolicy,
    members: Sequence[_Member],
    settings: RolloutSettings,
    *,
    prefix: bool = False,
) -> None:
    """Let each member take its notes, all of them in step."""
    longest = max(len(member.job.episode.notes) for member in members)
    for number in range(longest):
        present = [
            member
            for member in members
            if (
                number < member.job.start if prefix else member.job.start <= number < member.job.end
            )
        ]
        if not present:
            continue
        seats = []
        for member in present:
            note = member.job.episode.notes[number]
            member.clock.moment = note.event.at
            if number in member.job.episode.fresh:
                member.begin_context(settings.context())
            seats.append(
                Seat(
                    member.memory,
                    member.context,
                    note.event,
                    member.job.episode.situation,
                    member.name,
                )
            )
        draws = None
        if not prefix and present[0].job.draws is not None:
            draws = np.array([_draw(member, number) for member in present])
        for member, step in zip(present, await memory_step(policy, seats, draws), strict=True):
            member.take(step)


def _overflows(context: ShortTermMemory) -> int:
    return sum(event.kind == "overflow" for event in context.events)


def _draw(member: _Member, number: int) -> float:
    assert member.job.draws is not None
    return float(member.job.draws[member.place, number])


async def _finish(member: _Member, settings: RolloutSettings) -> Trajectory:
    """Phase 3: ask, retrieve within the token budget, read, and reckon."""
    episode = member.job.episode
    member.clock.moment = episode.asked_at
    texts = [question.text for question in episode.questions]
    if settings.decide:
        texts.append(DECISION_QUERY)
    found = await member.memory.retrieve_many(texts, TOP_HITS)
    readings: list[Reading] = []
    tokens = 0
    decision = _decision(found[-1].data or ()) if settings.decide else 0
    all_hits = []
    kept = (await member.memory.live()).versions
    unread = located = 0
    for question, result in zip(episode.questions, found, strict=False):
        window = ShortTermMemory(QUERY_TOKENS, tokenizer=settings.tokenizer)
        window.append("user", question.text)
        hits: tuple[MemoryHit, ...] = result.data or ()
        fitting = window.insert_hits(hits)
        hits = hits[: len(fitting)]
        all_hits.append(hits)
        tokens += window.tokens
        given = reader.answer(question, hits, [hit.recorded_from.timestamp() for hit in hits])
        right = reader.is_right(question, given)
        read = None if given.place is None else hits[given.place]
        readings.append(Reading(right, read.id if read else None, read.version if read else None))
        if read is None and question.answer is not None:
            unread += any(question.fact.is_of(version.metadata) for version in kept)
        truth = episode.truth.get(question.fact)
        located += any(
            question.fact.is_of(hit.metadata) and tells(hit.metadata, question.fact, truth)
            for hit in hits
        )
    if settings.random_answers:
        coins = np.random.default_rng(zlib.crc32(member.name.encode())).random(len(readings)) < 0.5
        readings = [
            replace(each, right=bool(coin)) for each, coin in zip(readings, coins, strict=True)
        ]
    parts = reward(
        episode,
        [reading.right for reading in readings],
        kept,
        tokens_used_frac=tokens / (QUERY_TOKENS * max(len(episode.questions), 1)),
        refused=member.refused,
        overflows=member.overflows + _overflows(member.context) - member.before,
        operations=member.operations,
        steps=len(member.steps),
        unread=unread,
        found=located,
        weights=settings.weights,
    )
    return Trajectory(
        member.name,
        episode,
        tuple(member.steps),
        tuple(readings),
        parts,
        tuple(all_hits),
        tokens,
        decision,
    )


def _decision(hits: Sequence[MemoryHit]) -> int:
    """+1 buys, -1 sells, 0 leaves it: what the best hit about an outcome says."""
    for hit in hits:
        if hit.metadata.get("kind") == "outcome":
            return int(hit.metadata.get("direction", 0))
    return 0
