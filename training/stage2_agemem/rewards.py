"""What a rollout earns, component by component. Pure.

Task: the share of questions answered rightly. Context: room left in the token budget. Memory: precision and
recall of the kept facts against the truth, and staleness. Retrieval: a check with the original queries, is
the true claim found at all (the paper's "key facts still present", on the memory)? The last three count only
in proportion to right answers: alone they could be earned by one pointless call.
Penalties: refused operations, overflow, more operations than notes deserve, no answer where one was kept.
Source: AgeMem, arXiv 2601.01885, section on rewards; verifiable answers stand in for its judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from training.stage2_agemem.episodes import Claim, Episode, Fact


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """What each component weighs; 0 leaves it out."""

    task: float = 1.0
    context: float = 0.03
    memory: float = 0.05
    retrieval: float = 0.03
    refused: float = 0.004
    overflow: float = 0.01
    busy: float = 0.03
    unread: float = 0.01


DEFAULT_WEIGHTS = RewardWeights()
DEVIATION_FLOOR: Final = 0.1
"""The least deviation of a group that advantages are divided by. Rewards are shares of right answers; one
answer of four makes more than this in a group of eight."""


@dataclass(frozen=True, slots=True)
class RewardParts:
    """The components of one rollout's reward, unweighted, and their weighted total.

    `precision_frac` and `recall_frac` compare live entries with the facts in force; `staleness_frac` is the
    share of live entries whose fact has moved on. `context_frac` is the unused share of the budget.
    """

    total: float
    task_frac: float
    context_frac: float
    precision_frac: float
    recall_frac: float
    staleness_frac: float
    retrieval_frac: float
    refused: int
    overflows: int
    busy_frac: float
    unread_frac: float


class Kept(Protocol):
    """A live entry, as far as rewards look."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...


def reward(
    episode: Episode,
    right: Sequence[bool],
    kept: Sequence[Kept],
    *,
    tokens_used_frac: float,
    refused: int,
    overflows: int,
    operations: int,
    steps: int,
    unread: int,
    found: int,
    weights: RewardWeights,
) -> RewardParts:
    """Score one rollout. `unread` counts questions whose true fact was kept and yet not read,
    `found` those whose true claim was among the hits."""
    task = sum(right) / max(len(right), 1)
    precision, recall, staleness = memory_quality(episode, kept)
    context = 1.0 - min(1.0, tokens_used_frac)
    busy = operations / max(steps, 1)
    balance = 0.0
    if precision + recall > 0.0:
        balance = 2.0 * precision * recall / (precision + recall)
    unread_frac = unread / max(len(right), 1)
    retrieval = found / max(len(right), 1)
    total = (
        weights.task * task
        + weights.context * context * task
        + weights.memory * balance * (1.0 - 0.5 * staleness) * task
        + weights.retrieval * retrieval * task
        - weights.refused * refused
        - weights.overflow * overflows
        - weights.busy * busy
        - weights.unread * unread_frac
    )
    return RewardParts(
        total,
        task,
        context,
        precision,
        recall,
        staleness,
        retrieval,
        refused,
        overflows,
        busy,
        unread_frac,
    )


def memory_quality(episode: Episode, kept: Sequence[Kept]) -> tuple[float, float, float]:
    """Precision, recall and staleness of the live entries against the truth at the end."""
    current: set[Fact] = set()
    useful = stale = 0
    for entry in kept:
        fact = next((each for each in episode.truth if each.is_of(entry.metadata)), None)
        if fact is None:
            continue
        if tells(entry.metadata, fact, episode.truth[fact]):
            useful += fact not in current
            current.add(fact)
        else:
            stale += 1
    in_force = sum(claim is not None for claim in episode.truth.values())
    return (
        useful / len(kept) if kept else 0.0,
        len(current) / in_force if in_force else 0.0,
        stale / len(kept) if kept else 0.0,
    )


def tells(metadata: Mapping[str, Any], fact: Fact, truth: Claim | None) -> bool:
    """Whether an entry about a fact tells what is in force: the figure, or a leaning topic's tally."""
    if truth is None:
        return False
    return bool(fact.topic) or metadata.get("figure") == truth.figure
