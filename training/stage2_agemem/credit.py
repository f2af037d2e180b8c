"""How the end of a rollout is handed back to its steps. Pure; one function per rule.

Shapes: P episodes, G members; a rule gives one list of advantages per member, as long as its steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from training.stage2_agemem.rollouts import Trajectory

if TYPE_CHECKING:
    import torch

    from training.stage2_agemem.rewards import RewardWeights

Credit = Literal["broadcast", "return_to_go", "evidence"]
Rule = Callable[
    [Sequence[Sequence[Trajectory]], "torch.Tensor", "RewardWeights"], list[list[float]]
]


def broadcast(
    groups: Sequence[Sequence[Trajectory]], advantages_PG: torch.Tensor, weights: RewardWeights
) -> list[list[float]]:
    """The group's normalised reward to every step alike (AgeMem)."""
    return [
        [float(advantages_PG[p, g])] * len(member.steps)
        for p, group in enumerate(groups)
        for g, member in enumerate(group)
    ]


def return_to_go(
    groups: Sequence[Sequence[Trajectory]], advantages_PG: torch.Tensor, weights: RewardWeights
) -> list[list[float]]:
    """What is still to come at a step, less the mean of the other members' at the same step.

    A step's own costs (a refused operation) no longer count against later steps. Unbiased: the baseline
    leaves the member itself out.
    """
    given = []
    for group in groups:
        to_go = [_to_go(member, weights) for member in group]
        others = max(len(group) - 1, 1)
        deviation = _deviation([returns[0] for returns in to_go])
        for own in to_go:
            row = []
            for step, value in enumerate(own):
                rest = sum(each[step] for each in to_go) - value
                row.append((value - rest / others) / deviation)
            given.append(row)
    return given


def evidence(
    groups: Sequence[Sequence[Trajectory]], advantages_PG: torch.Tensor, weights: RewardWeights
) -> list[list[float]]:
    """Each question's result to the step that wrote the version it was read from; where nothing was read,
    to every step of that member. Results are compared within the group."""
    given = []
    for group in groups:
        questions = len(group[0].readings)
        means = [sum(m.readings[q].right for m in group) / len(group) for q in range(questions)]
        for member in group:
            row = [0.0] * len(member.steps)
            writers: dict[tuple[str, int | None], int] = {
                (entry, step.outcome.version): place
                for place, step in enumerate(member.steps)
                for entry in step.outcome.entry_ids[:1]
                if step.outcome.version is not None
            }
            for reading, mean in zip(member.readings, means, strict=True):
                gain = float(reading.right) - mean
                writer = None
                if reading.entry_id is not None:
                    writer = writers.get((reading.entry_id, reading.version))
                if writer is not None:
                    row[writer] += gain
                else:
                    for place in range(len(row)):
                        row[place] += gain / max(questions, 1)
            given.append(row)
    return given


def _to_go(member: Trajectory, weights: RewardWeights) -> list[float]:
    """The reward from each step on: the total with the costs of earlier refusals given back."""
    row, before = [], 0
    for step in member.steps:
        row.append(member.parts.total + weights.refused * before)
        before += not step.outcome.success
    return row or [member.parts.total]


def _deviation(values: Sequence[float]) -> float:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return spread if spread > 1e-9 else 1.0


RULES: dict[Credit, Rule] = {
    "broadcast": broadcast,
    "return_to_go": return_to_go,
    "evidence": evidence,
}
