from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memory.policy import MemoryPolicy
from memory.rules import RuleChooser, rule_policy
from training.stage2_agemem import reader
from training.stage2_agemem.episodes import Claim, Episode, Fact, Question
from training.stage2_agemem.references import reference_policy
from training.stage2_agemem.rewards import RewardWeights, memory_quality, reward
from training.stage2_agemem.rollouts import Job, RolloutSettings, run_jobs

FACT = Fact("Halden Foods", "HALF", "rating")


class Entry:
    def __init__(self, source: str = "filing", **metadata: object) -> None:
        self.source = source
        self.metadata = {"symbol": "HALF", "kind": "rating", "mode": "new"} | metadata


def asked(type_: str, answer: float | int | None, options: tuple[float, ...] = ()) -> Question:
    return Question(type_, FACT, "?", answer, options)  # type: ignore[arg-type]


def test_the_reader_takes_the_best_source_then_the_newest() -> None:
    entries = [
        Entry("forum", figure=1.0, direction=1, count=2),
        Entry("wire", figure=2.0, direction=-1, count=3),
        Entry("wire", figure=3.0, direction=1, count=4),
    ]
    given = reader.answer(asked("figure", 3.0), entries, [9.0, 1.0, 2.0])
    assert (given.value, given.place) == (3.0, 2)
    assert reader.answer(asked("direction", 1), entries, [9.0, 1.0, 2.0]).value == 1
    assert reader.answer(asked("count", 4), entries, [9.0, 1.0, 2.0]).value == 4


def test_the_reader_never_guesses() -> None:
    assert reader.answer(asked("figure", 1.0), [], []).value is None
    other = [Entry(figure=5.0, symbol="ELSE")]
    assert reader.answer(asked("figure", 5.0), other, [1.0]) == reader.Answer(None, None)
    withdrawn = [Entry(mode="withdrawal")]
    assert reader.answer(asked("figure", None), withdrawn, [1.0]) == reader.Answer(None, 0)


def test_which_is_answered_only_by_one_of_its_options() -> None:
    question = asked("which", 4.0, (4.0, 7.0))
    assert reader.is_right(question, reader.answer(question, [Entry(figure=4.0)], [1.0]))
    assert not reader.is_right(question, reader.answer(question, [Entry(figure=7.0)], [1.0]))
    ended = replace(question, answer=None)
    assert reader.is_right(ended, reader.answer(ended, [], []))
    # The withdrawal itself says that nothing is in force, too.
    assert reader.is_right(ended, reader.answer(ended, [Entry(mode="withdrawal")], [1.0]))
    # An entry with a third figure is no answer, although it says None.
    assert not reader.is_right(ended, reader.answer(ended, [Entry(figure=9.0)], [1.0]))


def test_precision_recall_and_staleness_by_hand(some_episodes: list[Episode]) -> None:
    other = Fact("Halden Foods", "HALF", "limit")
    episode = replace(some_episodes[0], truth={FACT: Claim(4.0, 1, 1), other: Claim(50.0, 1, 1)})
    kept = [
        Entry(figure=4.0),
        Entry(figure=3.0),
        Entry(figure=1.0, symbol="ELSE"),
        Entry(figure=4.0),
    ]
    # One useful entry (the second 4.0 repeats it) of four; one of two facts; one stale of four.
    assert memory_quality(episode, kept) == (0.25, 0.5, 0.25)
    assert memory_quality(episode, []) == (0.0, 0.0, 0.0)


def test_context_and_memory_terms_pay_only_with_right_answers(some_episodes: list[Episode]) -> None:
    episode = some_episodes[0]
    everything = {
        "kept": [], "tokens_used_frac": 0.0, "refused": 0, "overflows": 0, "operations": 0, "steps": 26,
        "unread": 0, "found": 4, "weights": RewardWeights(),
    }  # fmt: skip
    wrong = reward(episode, [False] * 4, **everything)  # type: ignore[arg-type]
    assert wrong.total == 0.0
    half = reward(episode, [True, True, False, False], **everything)  # type: ignore[arg-type]
    # 0.5 + (0.03 context + 0.03 retrieval) x 0.5.
    assert half.total == pytest.approx(0.53)


async def test_pointless_policies_earn_at_most_six_tenths_of_the_oracle(
    some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    async def mean(policy: MemoryPolicy) -> float:
        groups = await run_jobs(policy, [Job(each) for each in some_episodes], rollouts)
        return float(np.mean([group[0].parts.total for group in groups]))

    best = await mean(reference_policy("oracle", some_episodes))
    for action in ("update", "summary", "delete", "none", "add", "filter"):
        earned = await mean(MemoryPolicy(action, RuleChooser(lambda _, each=action: each)))
        assert earned <= 0.6 * best, action


async def test_the_oracle_solves_nearly_everything(
    some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    policy = reference_policy("oracle", some_episodes)
    groups = await run_jobs(policy, [Job(each) for each in some_episodes], rollouts)
    assert np.mean([group[0].right_frac for group in groups]) >= 0.98


async def test_with_another_episodes_memory_nothing_is_known(
    some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    """Exact figures asked of memories that heard of the same fact elsewhere: they answer, wrongly."""
    policy = rule_policy("keep_all")
    asked: dict[int, list[Question]] = {}
    for place, episode in enumerate(some_episodes):
        for question in episode.questions:
            if question.type != "figure" or question.answer is None:
                continue
            for other, elsewhere in enumerate(some_episodes):
                if other != place and question.fact in elsewhere.truth:
                    asked.setdefault(other, []).append(question)
    jobs = [Job(replace(some_episodes[each], questions=tuple(asked[each]))) for each in asked]
    unlimited = replace(rollouts, entry_cap=None)
    groups = await run_jobs(policy, jobs, unlimited)
    readings = [reading for group in groups for reading in group[0].readings]
    assert sum(reading.entry_id is not None for reading in readings) > 50
    assert np.mean([reading.right for reading in readings]) <= 0.03


async def test_what_overflowed_before_the_context_ended_counts(
    some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    """An ADD of six notes, then only retrievals: each puts hits into a context that is full before note 20,
    where a new one begins."""
    taken = {"count": 0}

    def choose(_: object) -> str:
        taken["count"] += 1
        return "add" if taken["count"] <= 6 else "retrieve"

    policy = MemoryPolicy("greedy", RuleChooser(choose))
    (found,) = (await run_jobs(policy, [Job(some_episodes[0])], rollouts))[0]
    first = [step for step in found.steps[:20] if step.outcome.action == "retrieve"]
    assert len(first) == 14
    assert found.parts.overflows > 20


async def test_random_answers_are_the_same_again_and_half_of_them_right(
    some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    random = replace(rollouts, random_answers=True)
    jobs = [Job(each, 4) for each in some_episodes]
    shares = []
    for _ in range(2):
        groups = await run_jobs(rule_policy("none"), jobs, random)
        shares.append([[m.parts.task_frac for m in group] for group in groups])
    assert shares[0] == shares[1]
    assert 0.4 < np.mean(shares[0]) < 0.6
    assert any(len(set(group)) > 1 for group in shares[0])
