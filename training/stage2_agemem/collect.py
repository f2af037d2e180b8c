"""Which rollouts an update is made of, by stage.

    single tool   one note before a memory that the hand rule has filled
    multi tool    two to four notes, the memory filled by the policy itself
    unified       four to eight notes at first, whole three-phase episodes in the end, with a plan line

A share of the episodes (`run_frac`) are a run's events instead of a desk's notes. Everything is drawn from
(seed, update): the same jobs in every process. Refuses to know losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from memory.policy import MemoryPolicy
from memory.rules import rule_policy
from training.stage2_agemem.episodes import EPISODE_BARS, Path, episode
from training.stage2_agemem.rollouts import Job, RolloutSettings, Trajectory, run_jobs
from training.stage2_agemem.run_episodes import RUN_NOTES, run_episode

if TYPE_CHECKING:
    from core.config import Stage2Config

WHOLE_FROM: Final = 0.3
"""Share of the unified stage after which all its episodes are whole."""


class TrainingStage(StrEnum):
    SINGLE_TOOL = "single"
    MULTI_TOOL = "multi"
    UNIFIED = "unified"


@dataclass(frozen=True, slots=True)
class Collector:
    """Makes the jobs of an update and has them carried out."""

    paths: Sequence[Path]
    settings: Stage2Config
    rollouts: RolloutSettings
    seed: int

    async def collect(
        self, stage: TrainingStage, policy: MemoryPolicy, update: int, progress_frac: float
    ) -> list[list[Trajectory]]:
        """The rollouts of one update; `progress_frac` is how far the stage has come."""
        match stage:
            case TrainingStage.SINGLE_TOOL:
                return await self._collect_single_tool_trajectory(policy, update)
            case TrainingStage.MULTI_TOOL:
                return await self._collect_multi_tool_trajectory(policy, update)
        return await self._collect_unified_trajectory(policy, update, progress_frac)

    async def _collect_single_tool_trajectory(
        self, policy: MemoryPolicy, update: int
    ) -> list[list[Trajectory]]:
        jobs = self._jobs(update, 4 * self.settings.batch_episodes, 1, 1)
        return await run_jobs(policy, jobs, self.rollouts, prefix=rule_policy("heuristic"))

    async def _collect_multi_tool_trajectory(
        self, policy: MemoryPolicy, update: int
    ) -> list[list[Trajectory]]:
        jobs = self._jobs(update, 2 * self.settings.batch_episodes, 2, 4)
        return await run_jobs(policy, jobs, self.rollouts)

    async def _collect_unified_trajectory(
        self, policy: MemoryPolicy, update: int, progress_frac: float
    ) -> list[list[Trajectory]]:
        if progress_frac >= WHOLE_FROM:
            jobs = self._jobs(update, self.settings.batch_episodes, EPISODE_BARS, EPISODE_BARS)
        else:
            longest = 8 + int((EPISODE_BARS - 8) * progress_frac / WHOLE_FROM)
            jobs = self._jobs(update, 2 * self.settings.batch_episodes, 4, longest)
        return await run_jobs(policy, jobs, self.rollouts)

    def _jobs(self, update: int, groups: int, shortest: int, longest: int) -> list[Job]:
        """Episodes that end after a random note; the last few notes of each are the policy's."""
        draw = np.random.default_rng([self.seed, 77, update])
        of_runs = np.random.default_rng([self.seed, 79, update]).random(groups)
        jobs = []
        for group in range(groups):
            steps = int(draw.integers(shortest, longest + 1))
            of_run = of_runs[group] < self.settings.run_frac
            whole = RUN_NOTES if of_run else EPISODE_BARS
            if steps == EPISODE_BARS:
                steps = end = whole
            else:
                end = int(draw.integers(steps, whole + 1))
            number = update * 100_000 + group
            questions = self.settings.questions
            made = (
                run_episode(self.paths, number, seed=self.seed, notes=end, questions=questions)
                if of_run
                else episode(
                    self.paths,
                    "train",
                    number,
                    seed=self.seed,
                    planted=True,
                    notes=end,
                    questions=questions,
                )
            )
            if longest <= 4:
                made = replace(made, situation=replace(made.situation, plan=""))
            members = self.settings.rollouts
            jobs.append(Job(made, members, end - steps, end, draw.random((members, whole))))
        return jobs
