"""AgeMemTrainer: collect, learn, validate, move on, and be able to stop and go on anywhere.

Owns the stages, the best weights by validation, and the state that a checkpoint needs. Refuses to know the
algorithm (`grpo.py`), the rollouts (`collect.py`), files (`checkpoint.py`) and terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from core.errors import TrainingError
from memory.policy import ACTIONS, FEATURES, LearnedChooser, MemoryPolicy
from models.action_head import MemoryActionHead
from models.action_scorer import HeadScorer
from training.stage2_agemem.collect import Collector, TrainingStage
from training.stage2_agemem.credit import RULES
from training.stage2_agemem.episodes import Episode, Path
from training.stage2_agemem.exploration import elliptical_bonus, projection
from training.stage2_agemem.grpo import StepBatch, StepwiseGRPO
from training.stage2_agemem.rollouts import Job, RolloutSettings, Trajectory, run_jobs
from training.stage2_agemem.run_episodes import run_episode

if TYPE_CHECKING:
    from core.config import Stage2Config
    from models.olmoe import OLMoEModel

STAGES: Final = (TrainingStage.SINGLE_TOOL, TrainingStage.MULTI_TOOL, TrainingStage.UNIFIED)
PLATEAU: Final = 0.002
"""A validation counts as better when it beats the best by this much."""

VALIDATED_TOGETHER: Final = 50
RUN_VALIDATED: Final = 50
_RUN_VALIDATION_SEED: Final = 2**31 - 1
"""A run's events that no training is drawn from."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """What is switched off in an experiment."""

    use_text: bool = True
    use_features: bool = True


@dataclass(slots=True)
class TrainerState:
    """Where a training stands: everything but tensors and random generators."""

    update: int = 0
    stage: str = TrainingStage.SINGLE_TOOL.value
    stage_began: int = 0
    best_score: float = -1.0
    best_accuracy_frac: float = -1.0
    best_run_accuracy_frac: float | None = None
    best_update: int = 0
    stage_best: float = -1.0
    without_better: int = 0
    operations: int = 0
    episodes: int = 0
    stages: list[dict[str, Any]] = field(default_factory=list)


Observer = Callable[[dict[str, Any]], None]
Saver = Callable[["AgeMemTrainer", str], None]


class AgeMemTrainer:
    """Trains one policy. `advance` is told of every update, `save` is asked to keep a named state
    (`last`, `best`, or a stage's name at its end)."""

    def __init__(
        self,
        model: OLMoEModel,
        settings: Stage2Config,
        paths: Sequence[Path],
        validation: Sequence[Episode],
        *,
        seed: int,
        rollouts: RolloutSettings,
        stages: Sequence[TrainingStage] = STAGES,
        exploration_coefficient: float = 0.0,
        ablation: Ablation | None = None,
        advance: Observer = lambda _: None,
        save: Saver = lambda _trainer, _name: None,
    ) -> None:
        if exploration_coefficient and settings.credit != "broadcast":
            raise TrainingError(
                f"learning.exploration_coefficient is {exploration_coefficient} and training.stage2.credit "
                f"{settings.credit}, which gives a rollout's bonus to no step.",
                "Leave one of them at its default (0.0, broadcast).",
            )
        self.model = model
        self.settings = settings
        self.seed = seed
        self.state = TrainerState(stage=stages[0].value)
        self._stages = tuple(stages)
        self._validation = tuple(validation)
        of_runs = min(RUN_VALIDATED, settings.eval_episodes)
        self._run_validation = tuple(
            run_episode(paths, number, seed=_RUN_VALIDATION_SEED, questions=settings.questions)
            for number in range(of_runs if settings.run_frac > 0.0 else 0)
        )
        self._rollouts = rollouts
        self._exploration = exploration_coefficient
        self._ablation = ablation or Ablation()
        self._advance = advance
        self._save = save
        self.generator = torch.Generator().manual_seed(seed)
        prepare_policy(model, settings, seed)
        self.scorer = HeadScorer(model, self._ablation.use_text, self._ablation.use_features)
        self.policy = MemoryPolicy("trained", LearnedChooser(self.scorer))
        self.grpo = StepwiseGRPO(settings)
        self.grpo.setup(self.scorer)
        self._collector = Collector(paths, settings, rollouts, seed)
        self._projection = projection(model.hidden_size, settings.rollouts)

    async def train(self) -> TrainerState:
        """From where the state stands to the last update. The state may be saved after every update."""
        state = self.state
        if state.update == 0 and state.best_score < 0.0:
            await self._validate()
        while state.update < self.settings.steps:
            stage = TrainingStage(state.stage)
            limit = self._limit(stage)
            metrics = await self._update(stage, limit)
            state.update += 1
            whole = state.update % self.settings.eval_steps == 0
            ended = state.update - state.stage_began >= limit or state.update >= self.settings.steps
            if whole or ended:
                metrics |= await self._validate()
                ended = ended or state.without_better >= self.settings.patience
            self._advance(metrics)
            if ended:
                self._end_stage(stage)
                if stage is self._stages[-1]:
                    break
            if whole or ended:
                self._save(self, "last")
        return state

    def _limit(self, stage: TrainingStage) -> int:
        """The most updates of a stage: its share, and for the last stage all that is left."""
        steps = self.settings.steps
        if stage is self._stages[-1]:
            return steps - self.state.stage_began
        share = (
            self.settings.single_frac
            if stage is TrainingStage.SINGLE_TOOL
            else self.settings.multi_frac
        )
        return max(1, round(share * steps))

    def _end_stage(self, stage: TrainingStage) -> None:
        state = self.state
        state.stages.append(
            {
                "stage": stage.value,
                "updates": state.update - state.stage_began,
                "accuracy_frac": state.stage_best,
            }
        )
        self._save(self, stage.value)
        place = self._stages.index(stage) + 1
        if place < len(self._stages):
            state.stage = self._stages[place].value
        state.stage_began = state.update
        state.stage_best, state.without_better = -1.0, 0

    async def _update(self, stage: TrainingStage, limit: int) -> dict[str, Any]:
        """One update: rollouts, advantages, epochs. Time fields are reported and used nowhere."""
        state = self.state
        began = time.perf_counter()
        progress = (state.update - state.stage_began) / max(limit, 1)
        groups = await self._collector.collect(stage, self.policy, state.update, progress)
        collected = time.perf_counter()
        batch, skipped = self._batch(groups)
        learned = (
            self.grpo.train_step(batch, self.generator, state.update / self.settings.steps)
            if len(batch.texts)
            else {}
        )
        ended = time.perf_counter()
        members = [member for group in groups for member in group]
        of_runs = [member for member in members if member.episode.of_run]
        desk = [member for member in members if not member.episode.of_run] or members
        operations = sum(member.operations_done for member in members)
        state.operations += operations
        state.episodes += len(groups)
        return {
            "update": state.update,
            "stage": stage.value,
            **_component_means(desk),
            **{name: round(value, 6) for name, value in learned.items()},
            "groups": len(groups),
            "skipped_groups": skipped,
            "steps": sum(len(member.steps) for member in members),
            "actions_frac": _action_shares(desk),
            **({"run_actions_frac": _action_shares(of_runs)} if of_runs else {}),
            "operations_per_second": round(operations / max(collected - began, 1e-9), 1),
            "seconds": round(ended - began, 3),
            "learning_seconds": round(ended - collected, 3),
        }

    def _batch(self, groups: Sequence[Sequence[Trajectory]]) -> tuple[StepBatch, int]:
        rewards_PG = torch.tensor(
            [[member.parts.total for member in group] for group in groups], dtype=torch.float64
        )
        advantages = self.grpo.compute_group_advantages(rewards_PG)
        values_PG = advantages.values
        if self._exploration:
            values_PG = values_PG + self._exploration * self._bonus(groups)
        credit = RULES[self.settings.credit](groups, values_PG, self._rollouts.weights)
        idle = values_PG.abs().sum(dim=1) == 0.0 if self.settings.credit == "broadcast" else None
        texts: list[str] = []
        features, actions, old, given = [], [], [], []
        place = 0
        for p, group in enumerate(groups):
            for member in group:
                rows = credit[place]
                place += 1
                if idle is not None and bool(idle[p]):
                    continue
                for step, value in zip(member.steps, rows, strict=True):
                    texts.append(step.state.text)
                    features.append(step.state.features)
                    actions.append(step.choice.index)
                    old.append(step.choice.log_probabilities)
                    given.append(value)
        return StepBatch(
            tuple(texts),
            torch.from_numpy(np.array(features, np.float32).reshape(len(texts), len(FEATURES))),
            torch.tensor(actions, dtype=torch.int64),
            torch.tensor(old, dtype=torch.float32).reshape(len(texts), len(ACTIONS)),
            torch.tensor(given, dtype=torch.float32),
        ), advantages.skipped

    def _bonus(self, groups: Sequence[Sequence[Trajectory]]) -> torch.Tensor:
        """The exploration bonus of every member, centred in its group, [P, G]."""
        rows = []
        for group in groups:
            means = [
                self.scorer.embed([step.state.text for step in member.steps]).float().mean(dim=0)
                for member in group
            ]
            bonus = elliptical_bonus(torch.stack(means).cpu(), self._projection)
            rows.append(bonus - bonus.mean())
        return torch.stack(rows).double()

    async def _validate(self) -> dict[str, Any]:
        """Greedy accuracy on desk notes, and on a run's events; the best weights by both, weighed as they are
        in training, are kept. A plateau is one of desk notes."""
        state = self.state
        accuracy = await accuracy_of(self.policy, self._validation, self._rollouts)
        if accuracy > state.stage_best + PLATEAU:
            state.stage_best, state.without_better = accuracy, 0
        else:
            state.without_better += 1
        told, score = {"validation_accuracy_frac": round(accuracy, 6)}, accuracy
        of_runs: float | None = None
        if self._run_validation:
            of_runs = await accuracy_of(self.policy, self._run_validation, self._rollouts)
            told["run_accuracy_frac"] = round(of_runs, 6)
            score += self.settings.run_frac * (of_runs - accuracy)
        if score > state.best_score:
            state.best_score, state.best_update = score, state.update
            state.best_accuracy_frac, state.best_run_accuracy_frac = accuracy, of_runs
            self._save(self, "best")
        return told

    def state_dict(self) -> dict[str, Any]:
        """Everything that going on needs, tensors and plain values."""
        return {
            "state": asdict(self.state),
            "policy": self.model.state_dict(),
            "grpo": self.grpo.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave. Raises: CheckpointError for another shape of policy."""
        self.model.load_state_dict(saved["policy"])
        self.grpo.load_state_dict(saved["grpo"])
        self.generator.set_state(saved["generator"])
        self.state = TrainerState(**saved["state"])


def prepare_policy(model: OLMoEModel, settings: Stage2Config, seed: int) -> None:
    """Choose what is trained, and give the model a fresh head for the policy's features."""
    if settings.policy_weights == "lora":
        model.add_lora(rank=settings.lora_rank, experts=False, seed=seed)
    else:
        model.freeze(settings.policy_weights == "head")
    model.set_action_head(fresh_head(model, settings, seed))


def fresh_head(model: OLMoEModel, settings: Stage2Config, seed: int) -> MemoryActionHead:
    """An untrained head for the policy's features, with a second set of weights that adds to the first where
    an event is about a topic."""
    gate = FEATURES.index("has_topic")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MemoryActionHead(model.hidden_size, len(FEATURES), settings.head_width, gate)


async def accuracy_of(
    policy: MemoryPolicy, episodes: Sequence[Episode], rollouts: RolloutSettings
) -> float:
    """The share of questions that a policy, taking its likeliest actions, has answered rightly."""
    right = total = 0
    for start in range(0, len(episodes), VALIDATED_TOGETHER):
        jobs = [Job(each) for each in episodes[start : start + VALIDATED_TOGETHER]]
        for group in await run_jobs(policy, jobs, rollouts):
            right += sum(reading.right for reading in group[0].readings)
            total += len(group[0].readings)
    return right / max(total, 1)


def _component_means(members: Sequence[Trajectory]) -> dict[str, float]:
    """The reward and each of its components, as means over rollouts of desk notes, where there are any."""
    parts = [asdict(member.parts) for member in members]
    means = {name: float(np.mean([each[name] for each in parts])) for name in parts[0]}
    means["reward"] = means.pop("total")
    means["accuracy_frac"] = means.pop("task_frac")
    return {name: round(value, 6) for name, value in means.items()}


def _action_shares(members: Sequence[Trajectory]) -> dict[str, float]:
    counts = dict.fromkeys(ACTIONS, 0)
    for member in members:
        for action, count in member.operations().items():
            counts[action] += count
    total = max(sum(counts.values()), 1)
    return {action: round(count / total, 4) for action, count in counts.items()}
