"""Episodes made of what happens in a run: drawn alike everywhere, and worth remembering rightly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.config import Stage2Config
from memory.policy import NOTHING, MemoryPolicy, MemoryState
from memory.rules import RuleChooser, rule_policy
from training.stage2_agemem import reader
from training.stage2_agemem.collect import Collector
from training.stage2_agemem.episodes import EPISODE_BARS, Episode, Fact, Path, Question
from training.stage2_agemem.references import reference_policy
from training.stage2_agemem.rollouts import Job, RolloutSettings, run_jobs
from training.stage2_agemem.run_episodes import (
    LEANING_ASKED,
    NEWS_TOPICS,
    RUN_NOTES,
    STATE_TOPICS,
    run_episode,
)

COUNT = 40


def drawn(paths: Sequence[Path], count: int = COUNT) -> list[Episode]:
    return [run_episode(paths, number, seed=5, questions=12) for number in range(count)]


def test_the_same_numbers_give_the_same_episode_and_fewer_notes_its_beginning(
    train_paths: list[Path],
) -> None:
    whole = run_episode(train_paths, 3, seed=1, questions=4)
    assert whole == run_episode(train_paths, 3, seed=1, questions=4)
    assert whole != run_episode(train_paths, 4, seed=1, questions=4)
    part = run_episode(train_paths, 3, seed=1, notes=20, questions=4)
    assert part.notes == whole.notes[:20]
    came = {note.event.topic for note in part.notes}
    assert {question.fact.topic for question in part.questions} <= came
    for notes in range(1, 9):  # also where no topic that leans came up, or none at all
        assert len(run_episode(train_paths, 3, seed=1, notes=notes, questions=4).questions) == 4


def test_everything_that_happens_in_a_run_happens_here(train_paths: list[Path]) -> None:
    episodes = drawn(train_paths)
    events = [note.event for each in episodes for note in each.notes]
    assert len(events) == COUNT * RUN_NOTES
    assert {event.kind for event in events} == {"outcome", "news", "fill", "trade", "event"}
    outcomes = [event for event in events if event.kind == "outcome"]
    assert {event.topic.partition(":")[0] for event in outcomes} == {"news", "state"}
    assert {sum(event.more["counts"]) for event in outcomes} == {1.0, 2.0}
    for each in episodes:
        assert len(each.truth) == NEWS_TOPICS + STATE_TOPICS
        assert any(claim is not None for claim in each.truth.values())


def test_topics_lean_as_often_as_they_are_said_to_be_asked(train_paths: list[Path]) -> None:
    asked = [q.answer is not None for each in drawn(train_paths, 400) for q in each.questions]
    assert abs(np.mean(asked) - LEANING_ASKED) < 0.02


def test_outcomes_of_a_leaning_topic_lie_on_its_side(train_paths: list[Path]) -> None:
    scores: dict[int, list[float]] = {-1: [], 0: [], 1: []}
    for each in drawn(train_paths, 200):
        leans = {fact.topic: claim.direction if claim else 0 for fact, claim in each.truth.items()}
        for note in each.notes:
            if note.event.kind == "outcome":
                counts = note.event.more["counts"]
                middle = sum((place - 2) * count for place, count in enumerate(counts))
                scores[leans[note.event.topic]].append(middle / sum(counts))
    assert np.mean(scores[-1]) < -0.8
    assert abs(np.mean(scores[0])) < 0.05
    assert np.mean(scores[1]) > 0.8


def news_tallies(state: MemoryState) -> str:
    if state.event.kind != "outcome" or not state.event.topic.startswith("news"):
        return NOTHING
    return "add" if state.closest is None else "update"


async def test_what_is_kept_decides(train_paths: list[Path], rollouts: RolloutSettings) -> None:
    episodes = drawn(train_paths)
    right: dict[str, float] = {}
    rules: dict[str, MemoryPolicy] = {
        "known": reference_policy("known", episodes),
        "tallies": MemoryPolicy("tallies", RuleChooser(news_tallies)),
        **{name: rule_policy(name) for name in ("none", "random", "recency")},
    }
    for name, policy in rules.items():
        found = await run_jobs(policy, [Job(each) for each in episodes], rollouts)
        right[name] = float(np.mean([group[0].right_frac for group in found]))
    assert right["none"] < 0.4
    assert right["known"] > right["tallies"] > max(right["random"], right["recency"]) + 0.05
    assert right["known"] > 0.65


def always(action: str) -> MemoryPolicy:
    return MemoryPolicy(action, RuleChooser(lambda _: action))


async def test_a_run_never_presses_the_context(
    train_paths: list[Path], rollouts: RolloutSettings
) -> None:
    jobs = [Job(each) for each in drawn(train_paths)]
    still = [group[0] for group in await run_jobs(always(NOTHING), jobs, rollouts)]
    busy = [group[0] for group in await run_jobs(always("summary"), jobs, rollouts)]
    assert all(found.parts.overflows == 0 for found in [*still, *busy])
    assert all(step.state.pressure_frac < 0.8 for found in still for step in found.steps)
    earned = [np.mean([found.parts.total for found in each]) for each in (still, busy)]
    assert earned[1] < earned[0]


async def test_pointless_policies_earn_at_most_six_tenths_of_what_can_be_known(
    train_paths: list[Path], rollouts: RolloutSettings
) -> None:
    episodes = drawn(train_paths)

    async def mean(policy: MemoryPolicy) -> float:
        groups = await run_jobs(policy, [Job(each) for each in episodes], rollouts)
        return float(np.mean([group[0].parts.total for group in groups]))

    best = await mean(reference_policy("known", episodes))
    for action in ("update", "summary", "delete", "none", "add", "filter"):
        assert await mean(always(action)) <= 0.6 * best, action


async def test_the_share_of_a_runs_events_is_the_one_that_is_asked_for(
    train_paths: list[Path], rollouts: RolloutSettings
) -> None:
    for share, whole in ((0.0, EPISODE_BARS), (1.0, RUN_NOTES)):
        settings = Stage2Config(batch_episodes=3, rollouts=2, questions=2, run_frac=share)
        jobs = [
            Collector(train_paths, settings, rollouts, seed)._jobs(7, 3, EPISODE_BARS, EPISODE_BARS)
            for seed in (1, 1, 2)
        ]
        assert [job.episode for job in jobs[0]] == [job.episode for job in jobs[1]]
        assert [job.episode for job in jobs[0]] != [job.episode for job in jobs[2]]
        for job in jobs[0]:
            assert (job.start, job.end) == (0, whole) == (0, len(job.episode.notes))
            assert job.draws is not None
            assert job.draws.shape == (2, whole)


class Entry:
    source = "outcome"

    def __init__(self, *counts: float, topic: str = "news: kiln lit") -> None:
        self.metadata = {"kind": "outcome", "symbol": "A", "topic": topic, "counts": list(counts)}


def outlook(*entries: Entry) -> float | int | None:
    fact = Fact("news: kiln lit", "", "outcome", "news: kiln lit")
    question = Question("outlook", fact, "news: kiln lit", 1)
    return reader.answer(question, entries, [float(place) for place in range(len(entries))]).value


def test_the_reader_wants_more_than_one_outcome_and_adds_entries_up() -> None:
    assert outlook(Entry(0, 0, 0, 0, 1)) is None
    assert outlook(Entry(0, 0, 0, 0, 1), Entry(0, 0, 0, 0, 1)) == 1
    assert outlook(Entry(4, 1, 0, 0, 0)) == -1
    assert outlook(Entry(2, 0, 0, 0, 2)) is None
    assert outlook(Entry(0, 0, 0, 0, 5, topic="news: other")) is None
    assert outlook() is None
