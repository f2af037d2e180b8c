"""How the end of a rollout is handed back to its steps. Pure; one function per rule.

Shapes: P episodes, G members; a rule gives one list of advantages per member, as long as its steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.stage2_agemem.rewards import DEVIATION_FLOOR
from training.stage2_agemem.rollouts import Trajectory

if TYPE_CHECKING:
    import numpy.typing as npt
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

    A step's own costs (a refused operation) no longer count against later steps.
    """
    given: list[list[float]] = []
    for group in groups:
        to_go_GS = np.array([_to_go(member, weights) for member in group])
        given += (leave_one_out(to_go_GS) / _deviation(group)).tolist()
    return given


def leave_one_out(returns_GS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each member's return less the mean of the others' [G, S]: unbiased, for the baseline of a member
    does not depend on what it did (arXiv 2402.14740)."""
    others = max(len(returns_GS) - 1, 1)
    result: npt.NDArray[np.float64] = returns_GS - (returns_GS.sum(axis=0) - returns_GS) / others
    return result


def evidence(
    groups: Sequence[Sequence[Trajectory]], advantages_PG: torch.Tensor, weights: RewardWeights
) -> list[list[float]]:
    """Each question's result, less the group's mean, to the step that wrote the version it was read from.
    What was read from nothing that a step wrote, and all of the reward but the answers, goes to every step
    as in `broadcast`."""
    given = []
    for group in groups:
        questions = len(group[0].readings)
        means = [sum(m.readings[q].right for m in group) / len(group) for q in range(questions)]
        besides = [m.parts.total - weights.task * m.parts.task_frac for m in group]
        deviation = _deviation(group)
        for member, beside in zip(group, besides, strict=True):
            row = [0.0] * len(member.steps)
            writers: dict[tuple[str, int | None], int] = {
                (entry, step.outcome.version): place
                for place, step in enumerate(member.steps)
                for entry in step.outcome.entry_ids[:1]
                if step.outcome.version is not None
            }
            for_all = beside - statistics.fmean(besides)
            for reading, mean in zip(member.readings, means, strict=True):
                gain = float(reading.right) - mean
                writer = None
                if reading.entry_id is not None:
                    writer = writers.get((reading.entry_id, reading.version))
                if writer is None:
                    for_all += weights.task * gain / questions
                else:
                    row[writer] += gain
            given.append([share + for_all / deviation for share in row])
    return given


def _to_go(member: Trajectory, weights: RewardWeights) -> list[float]:
    """The reward from each step on: the total with the costs of earlier refusals given back."""
    row, before = [], 0
    for step in member.steps:
        row.append(member.parts.total + weights.refused * before)
        before += not step.outcome.success
    return row or [member.parts.total]


def _deviation(group: Sequence[Trajectory]) -> float:
    """The sample deviation of the members' rewards, with the floor that `broadcast` has."""
    totals = [member.parts.total for member in group]
    return max(statistics.stdev(totals) if len(totals) > 1 else 0.0, DEVIATION_FLOOR)


RULES: dict[Credit, Rule] = {
    "broadcast": broadcast,
    "return_to_go": return_to_go,
    "evidence": evidence,
}
