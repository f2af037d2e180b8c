"""`athena train eval`: the trained policy beside every baseline, on episodes that it never saw.

Owns the table: rows with intervals, and paired differences, by bootstrap over whole episodes. All policies
face the same episodes on the real memory, and one reader answers for all. Refuses to know training.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from memory.policy import ACTIONS, FEATURES, LearnedChooser, MemoryPolicy
from memory.rules import rule_policy
from training.stage2_agemem.episodes import Episode, Path, episode
from training.stage2_agemem.references import (
    FittedChooser,
    baselines,
    heuristic_policy,
    reference_policy,
)
from training.stage2_agemem.rewards import RewardParts
from training.stage2_agemem.rollouts import (
    CountedTokens,
    Job,
    RolloutSettings,
    Trajectory,
    run_jobs,
)
from training.stage2_agemem.world import SplitName

if TYPE_CHECKING:
    import numpy.typing as npt

    from core.config import AthenaConfig
    from models.olmoe import OLMoEModel

    FloatArray = npt.NDArray[np.float64]

Advance = Callable[[int, "int | None", str], None]

RULE_ROWS: Final = ("none", "keep_all", "recency", "random")
STAGE_ROWS: Final = ("single", "multi", "unified")
POLICIES: Final = (
    *RULE_ROWS, "heuristic", "fitted", "untrained", *STAGE_ROWS, "trained", "attainable", "oracle",
)  # fmt: skip
TOGETHER: Final = 50
RESAMPLES: Final = 4_000
UNTRAINED_SEED: Final = 1_234


@dataclass(frozen=True, slots=True, eq=False)
class PolicyRow:
    """One policy's figures. `accuracies` [E] is each episode's share of right answers, kept for pairing."""

    policy: str
    accuracy_frac: float
    interval: tuple[float, float]
    decision_score: float
    memory_precision_frac: float
    memory_recall_frac: float
    staleness_frac: float
    tokens: float
    operations: dict[str, float]
    by_question: dict[str, float]
    reward: float
    accuracies: FloatArray

    def to_dict(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del kept["accuracies"]
        return {**kept, "interval": list(self.interval)}


@dataclass(frozen=True, slots=True)
class Difference:
    """trained - baseline in accuracy, with its paired 95 % interval."""

    baseline: str
    figure: str
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PolicyEvaluation:
    """What `athena train eval` says."""

    rows: tuple[PolicyRow, ...]
    differences: tuple[Difference, ...]
    gap_closed_frac: float | None
    gap_closed_interval: tuple[float, float] | None
    episodes: int
    seeds: int
    cap: int | None
    symbols: tuple[str, ...]
    checkpoints: tuple[str, ...]
    missing: tuple[str, ...]
    overlap: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "differences": [
                {**asdict(each), "interval": list(each.interval)} for each in self.differences
            ],
            "gap_closed_frac": self.gap_closed_frac,
            "gap_closed_interval": self.gap_closed_interval and list(self.gap_closed_interval),
            "episodes": self.episodes,
            "seeds": self.seeds,
            "cap": self.cap,
            "symbols": list(self.symbols),
            "checkpoints": list(self.checkpoints),
            "missing": list(self.missing),
            "overlap": self.overlap,
        }


def test_episodes(
    paths: Sequence[Path], split: SplitName, episodes: int, seeds: int, first_seed: int
) -> list[Episode]:
    """`episodes` of each of `seeds` seeds, from the first seed on."""
    return [
        episode(paths, split, number, seed=seed)
        for seed in range(first_seed, first_seed + seeds)
        for number in range(episodes)
    ]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a row needs of one rollout. `readings` are (kind of question, right)."""

    right_frac: float
    decided: float
    tokens: int
    operations: dict[str, int]
    readings: tuple[tuple[str, bool], ...]
    parts: RewardParts

    @classmethod
    def of(cls, found: Trajectory) -> Judged:
        questions = found.episode.questions
        return cls(
            found.right_frac,
            found.decision * found.episode.ahead_deviations,
            found.tokens,
            found.operations(),
            tuple(
                (question.type if question.answer is not None else "withdrawn", reading.right)
                for question, reading in zip(questions, found.readings, strict=True)
            ),
            found.parts,
        )


async def evaluate_policies(
    policies: Sequence[tuple[str, Sequence[MemoryPolicy]]],
    episodes: Sequence[Episode],
    rollouts: RolloutSettings,
    advance: Advance | None = None,
) -> list[PolicyRow]:
    """One row for each name; several policies of a name (training seeds) are pooled episode by episode.

    All policies take some episodes before any takes the next: what one has encoded serves the others.
    """
    total = sum(len(each) for _, each in policies) * len(episodes)
    done = 0
    runs: dict[str, list[list[Judged]]] = {name: [[] for _ in each] for name, each in policies}
    for start in range(0, len(episodes), TOGETHER):
        jobs = [Job(each) for each in episodes[start : start + TOGETHER]]
        for name, members in policies:
            for policy, run in zip(members, runs[name], strict=True):
                run += [Judged.of(group[0]) for group in await run_jobs(policy, jobs, rollouts)]
                done += len(jobs)
                if advance is not None:
                    advance(done, total, f"evaluating {name}")
    return [_row(name, found) for name, found in runs.items()]


def _row(name: str, runs: Sequence[Sequence[Judged]]) -> PolicyRow:
    everything = [each for run in runs for each in run]
    accuracies = np.mean([[each.right_frac for each in run] for run in runs], axis=0)
    counts = dict.fromkeys(ACTIONS, 0)
    for each in everything:
        for action, count in each.operations.items():
            counts[action] += count
    readings = [reading for each in everything for reading in each.readings]
    by_question = {
        kind: float(np.mean([right for found, right in readings if found == kind]))
        for kind in sorted({found for found, _ in readings})
    }
    return PolicyRow(
        policy=name,
        accuracy_frac=float(accuracies.mean()),
        interval=bootstrap_interval(accuracies),
        decision_score=float(np.mean([each.decided for each in everything])),
        memory_precision_frac=_mean(everything, "precision_frac"),
        memory_recall_frac=_mean(everything, "recall_frac"),
        staleness_frac=_mean(everything, "staleness_frac"),
        tokens=float(np.mean([each.tokens for each in everything])),
        operations={action: counts[action] / len(everything) for action in ACTIONS},
        by_question=by_question,
        reward=_mean(everything, "total"),
        accuracies=accuracies,
    )


def _mean(judged: Sequence[Judged], figure: str) -> float:
    return float(np.mean([getattr(each.parts, figure) for each in judged]))


def bootstrap_interval(values: FloatArray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling whole episodes, [E]."""
    means = _resampled(values[:, None], seed)[:, 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _resampled(values_EC: FloatArray, seed: int) -> FloatArray:
    """Column means of resampled episodes, [R, C]; all columns see the same episodes."""
    draw = np.random.default_rng(seed)
    count = len(values_EC)
    weights = draw.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES) / count
    means: FloatArray = weights @ values_EC
    return means


def compare(rows: Sequence[PolicyRow], name: str = "trained") -> tuple[Difference, ...]:
    """The named row less every other one, paired by episode."""
    by_name = {row.policy: row for row in rows}
    if name not in by_name:
        return ()
    own = by_name[name].accuracies
    found = []
    for row in rows:
        if row.policy != name:
            paired = own - row.accuracies
            found.append(
                Difference(
                    row.policy, "accuracy_frac", float(paired.mean()), bootstrap_interval(paired)
                )
            )
    return tuple(found)


def gap_closed(
    rows: Sequence[PolicyRow],
) -> tuple[float | None, tuple[float, float] | None]:
    """(trained - random) / (attainable - random), with its interval; None where a row is missing."""
    by_name = {row.policy: row.accuracies for row in rows}
    if not {"trained", "random", "attainable"} <= by_name.keys():
        return None, None
    columns = np.stack([by_name[name] for name in ("trained", "random", "attainable")], axis=1)
    trained, random, attainable = columns.mean(axis=0)
    if attainable <= random:
        return None, None
    means = _resampled(columns, 0)
    ratios = (means[:, 0] - means[:, 1]) / np.maximum(means[:, 2] - means[:, 1], 1e-9)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float((trained - random) / (attainable - random)), (float(low), float(high))


def evaluate(
    config: AthenaConfig,
    *,
    checkpoints: Sequence[FilePath] = (),
    episodes: int = 500,
    seeds: int = 1,
    first_seed: int = 0,
    cap: int | None = 6,
    data: FilePath | None = None,
    rows: Sequence[str] = POLICIES,
    advance: Advance | None = None,
) -> PolicyEvaluation:
    """The whole table, on the shipped test split or on a user's prices.

    Raises: CheckpointError for a folder that is no policy of this backbone; DataError for prices that are
    too short.
    """
    from models.device import torch_threads
    from models.olmoe import OLMoEModel
    from models.policy_folder import shipped_policy
    from training.stage2_agemem.sources import paths_for

    with torch_threads(config.training.stage2.threads):
        model = OLMoEModel(config.olmoe).load()
        source = paths_for(config, "test", data)
        drawn = test_episodes(source.paths, source.split, episodes, seeds, first_seed)
        chosen = [*checkpoints] or [shipped_policy()]
        named, missing = _policies(config, model, chosen, drawn, rows)
        rollouts = RolloutSettings(cap, tokenizer=CountedTokens(model.tokenizer), decide=True)
        table = asyncio.run(evaluate_policies(named, drawn, rollouts, advance))
    share, interval = gap_closed(table)
    return PolicyEvaluation(
        tuple(table),
        compare(table),
        share,
        interval,
        episodes,
        seeds,
        cap,
        tuple(sorted({each.symbol for each in source.paths})),
        tuple(str(each) for each in chosen),
        tuple(missing),
        source.overlap,
    )


def _policies(
    config: AthenaConfig,
    model: OLMoEModel,
    checkpoints: Sequence[FilePath],
    episodes: Sequence[Episode],
    rows: Sequence[str],
) -> tuple[list[tuple[str, list[MemoryPolicy]]], list[str]]:
    """Every row's policies in the table's order, and the names that could not be had."""
    from models.action_scorer import HeadScorer

    named: list[tuple[str, list[MemoryPolicy]]] = []
    missing = []
    for name in [each for each in POLICIES if each in rows]:
        found: list[MemoryPolicy] = []
        if name in RULE_ROWS:
            found = [rule_policy(name, config.seed)]
        elif name == "heuristic":
            found = [heuristic_policy()]
        elif name == "fitted":
            answers = baselines().answers
            if answers is not None and answers.backbone_hash == model.backbone_hash:
                found = [MemoryPolicy(name, FittedChooser(answers, HeadScorer(model)))]
        elif name == "untrained":
            found = [_untrained(config, model)]
        elif name in ("attainable", "oracle"):
            found = [reference_policy(name, episodes)]
        else:
            folders = [each if name == "trained" else each.parent / name for each in checkpoints]
            if name != "trained":
                folders = [
                    inner if (inner := each / name).is_dir() else outer
                    for each, outer in zip(checkpoints, folders, strict=True)
                ]
            if all(each.is_dir() for each in folders) or name == "trained":
                found = [learned_policy(config, each, name, model) for each in folders]
        if found:
            named.append((name, found))
        else:
            missing.append(name)
    return named, missing


def learned_policy(
    config: AthenaConfig, folder: FilePath, name: str = "trained", model: OLMoEModel | None = None
) -> MemoryPolicy:
    """A trained policy, on `model` where that serves. Raises: CheckpointError."""
    from models.policy_folder import load_scorer

    return MemoryPolicy(
        name, LearnedChooser(load_scorer(config.olmoe, folder, features=FEATURES, model=model))
    )


def _untrained(config: AthenaConfig, model: OLMoEModel) -> MemoryPolicy:
    """A fresh head, never trained."""
    from models.action_scorer import HeadScorer
    from training.stage2_agemem.trainer import fresh_head

    head = fresh_head(model, config.training.stage2, UNTRAINED_SEED)
    return MemoryPolicy("untrained", LearnedChooser(HeadScorer(model, head=head)))
