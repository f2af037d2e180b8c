"""What each part of stage 2 is worth: short trainings with one thing changed, beside the unchanged one.

    python benchmarks/stage2_ablations.py --out OUT [--arms a,b] [--seeds 3] [--steps 60] [--episodes 300]

Every arm is trained from the same seeds with the same budget and judged on the same episodes (validation
split, never the test). A run that is there already (`OUT/arm-seed.json`) is not trained again: a broken run
goes on. The table gives each arm's accuracy and its difference from `base`, with the spread over training
seeds; paired intervals are over episodes, of the mean over seeds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig, Stage2Config
from models.olmoe import OLMoEModel
from training.stage2_agemem import reader
from training.stage2_agemem.collect import TrainingStage
from training.stage2_agemem.episodes import Episode, episode
from training.stage2_agemem.evaluate import bootstrap_interval
from training.stage2_agemem.rewards import RewardWeights
from training.stage2_agemem.rollouts import (
    CountedTokens,
    Job,
    RolloutSettings,
    Trajectory,
    run_jobs,
)
from training.stage2_agemem.sources import paths_for
from training.stage2_agemem.trainer import STAGES, Ablation, AgeMemTrainer


@dataclass(frozen=True, slots=True)
class Arm:
    """What differs from `base`."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    ablation: Ablation = field(default_factory=Ablation)
    stages: tuple[TrainingStage, ...] = STAGES
    exploration: float = 0.0


SHORT_ENTROPY = 0.015
"""Less than in a whole training: a short one must settle sooner."""

SINGLE, MULTI, UNIFIED = STAGES
ARMS = {
    "base": Arm(),
    "no_text": Arm(ablation=Ablation(use_text=False)),
    "no_features": Arm(ablation=Ablation(use_features=False)),
    "random_answers": Arm(ablation=Ablation(random_answers=True)),
    "reward_no_context": Arm(weights={"context": 0.0}),
    "reward_no_memory": Arm(weights={"memory": 0.0}),
    "reward_no_retrieval": Arm(weights={"retrieval": 0.0}),
    "reward_no_penalties": Arm(
        weights={"refused": 0.0, "overflow": 0.0, "busy": 0.0, "unread": 0.0}
    ),
    "credit_return_to_go": Arm({"credit": "return_to_go"}),
    "credit_evidence": Arm({"credit": "evidence"}),
    "stages_unified_only": Arm(stages=(UNIFIED,)),
    "stages_no_single": Arm(stages=(MULTI, UNIFIED)),
    "stages_no_multi": Arm(stages=(SINGLE, UNIFIED)),
    "exploration": Arm(exploration=0.1),
    "weights_lora": Arm({"policy_weights": "lora", "learning_rate": 2e-3}),
    "weights_all": Arm({"policy_weights": "all", "learning_rate": 1e-3}),
}


def train(arm: Arm, seed: int, steps: int, batch: int, episodes: list[Episode]) -> dict[str, Any]:
    """Train one arm and judge its last weights by the likeliest action."""
    settings = Stage2Config.model_validate(
        {
            "steps": steps,
            "batch_episodes": batch,
            "eval_steps": steps,
            "entropy_coefficient": SHORT_ENTROPY,
            **arm.settings,
        }
    )
    model = OLMoEModel().load()
    rollouts = RolloutSettings(
        settings.entry_cap,
        weights=replace(RewardWeights(), **arm.weights),
        tokenizer=CountedTokens(model.tokenizer),
    )
    began = time.perf_counter()
    trainer = AgeMemTrainer(
        model,
        settings,
        paths_for(AthenaConfig(), "train").paths,
        episodes[:20],
        seed=seed,
        rollouts=rollouts,
        stages=arm.stages,
        exploration_coefficient=arm.exploration,
        ablation=arm.ablation,
    )

    async def work() -> list[Trajectory]:
        await trainer.train()
        found: list[Trajectory] = []
        for start in range(0, len(episodes), 50):
            jobs = [Job(each) for each in episodes[start : start + 50]]
            found += [group[0] for group in await run_jobs(trainer.policy, jobs, rollouts)]
        return found

    found = asyncio.run(work())
    return {
        "accuracies": [each.right_frac for each in found],
        "shuffled_exact_frac": shuffled_exact(found),
        "seconds": round(time.perf_counter() - began, 1),
    }


def shuffled_exact(found: list[Trajectory]) -> float:
    """Exact figures in force, answered from the next episode's memory."""
    right = []
    for place, own in enumerate(found):
        other = found[(place + 1) % len(found)].hits
        for question, hits in zip(own.episode.questions, other, strict=True):
            if question.type == "figure" and question.answer is not None:
                given = reader.answer(question, hits, [h.recorded_from.timestamp() for h in hits])
                right.append(reader.is_right(question, given))
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--episodes", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    paths = paths_for(AthenaConfig(), "validation").paths
    drawn = [episode(paths, "validation", number, seed=50) for number in range(chosen.episodes)]
    for seed in range(chosen.seeds):
        for name in chosen.arms.split(","):
            target = chosen.out / f"{name}-{seed}.json"
            if not target.exists():
                result = train(ARMS[name], seed, chosen.steps, chosen.batch, drawn)
                target.write_text(json.dumps(result), encoding="utf-8")
                mean = np.mean(result["accuracies"])
                print(f"{name} seed {seed}: {mean:.3f} in {result['seconds']} s", file=sys.stderr)
    show(chosen.out)


def show(out: Path) -> None:
    """The table of everything that is there."""
    print("| arm | seeds | right | spread | less base, 95 % | other memory, exact figures |")
    print("|---|---|---|---|---|---|")
    base = None
    for name in ARMS:
        runs = [json.loads(path.read_text()) for path in sorted(out.glob(f"{name}-[0-9]*.json"))]
        if not runs:
            continue
        by_seed = np.array([run["accuracies"] for run in runs])
        mean = by_seed.mean(axis=0)
        base = mean if name == "base" else base
        spread = f"{by_seed.mean(axis=1).min():.3f} to {by_seed.mean(axis=1).max():.3f}"
        gain = ""
        if base is not None and name != "base":
            low, high = bootstrap_interval(mean - base)
            gain = f"{(mean - base).mean():+.3f} ({low:+.3f} to {high:+.3f})"
        shuffled = np.mean([run["shuffled_exact_frac"] for run in runs])
        print(f"| {name} | {len(runs)} | {mean.mean():.3f} | {spread} | {gain} | {shuffled:.3f} |")


if __name__ == "__main__":
    main()
