"""Episodes made of what happens in a run: drawn alike everywhere, and worth remembering rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memory.policy import NOTHING, Choice, MemoryPolicy, MemoryState
from memory.rules import RuleChooser, rule_policy
from training.stage2_agemem import reader
from training.stage2_agemem.episodes import Episode, Fact, Path, Question
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


@dataclass(frozen=True, slots=True)
class Knows:
    """Keeps tallies of the topics that lean, and nothing else."""

    episodes: dict[str, Episode]

    def choose(self, states: Sequence[MemoryState], draws: object) -> list[Choice]:
        chosen = []
        for state in states:
            episode = self.episodes[state.name.split("/", maxsplit=1)[0]]
            leaning = {fact.topic for fact, claim in episode.truth.items() if claim}
            wanted = state.event.kind == "outcome" and state.event.topic in leaning
            keep = "add" if state.closest is None else "update"
            chosen.append(Choice(keep if wanted else NOTHING))
        return chosen


def news_tallies(state: MemoryState) -> str:
    if state.event.kind != "outcome" or not state.event.topic.startswith("news"):
        return NOTHING
    return "add" if state.closest is None else "update"


async def test_what_is_kept_decides(train_paths: list[Path], rollouts: RolloutSettings) -> None:
    episodes = drawn(train_paths)
    knows = MemoryPolicy("knows", Knows({each.id: each for each in episodes}))
    right: dict[str, float] = {}
    rules: dict[str, MemoryPolicy] = {
        "knows": knows,
        "tallies": MemoryPolicy("tallies", RuleChooser(news_tallies)),
        **{name: rule_policy(name) for name in ("none", "random", "recency")},
    }
    for name, policy in rules.items():
        found = await run_jobs(policy, [Job(each) for each in episodes], rollouts)
        right[name] = float(np.mean([group[0].right_frac for group in found]))
    assert right["none"] < 0.4
    assert right["knows"] > right["tallies"] > max(right["random"], right["recency"]) + 0.05
    assert right["knows"] > 0.65


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
