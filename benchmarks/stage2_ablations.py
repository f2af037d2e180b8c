"""What each part of stage 2 is worth: short trainings with one thing changed, beside the unchanged one.

    python benchmarks/stage2_ablations.py --out OUT [--arms a,b] [--seeds 3] [--steps 60]
    python benchmarks/stage2_ablations.py --shuffled CHECKPOINT [CHECKPOINT ...]

Every arm is trained from the same seeds with the same budget, and its last weights are judged on the same
episodes (validation split, never the test). A run that is there already (`OUT/arm-seed.json`) is not trained
again: a broken run goes on; one of another budget is refused. The table gives each arm's accuracy, its
difference from `base` on the seeds that both have, and each seed's own; intervals are over seeds and episodes
drawn together, so few seeds make them wide. What `random_answers` taught is compared with the rules `none`
and `random`: doing nothing and doing anything.

`--shuffled` asks trained policies' memories for figures of another episode that speaks of the same fact.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig, Stage2Config
from memory.rules import rule_policy
from models.olmoe import OLMoEModel
from training.stage2_agemem.collect import TrainingStage
from training.stage2_agemem.episodes import Episode, Question, episode
from training.stage2_agemem.evaluate import learned_policy
from training.stage2_agemem.rewards import RewardWeights
from training.stage2_agemem.rollouts import CountedTokens, RolloutSettings
from training.stage2_agemem.sources import paths_for
from training.stage2_agemem.trainer import STAGES, Ablation, AgeMemTrainer
from training.stage2_agemem.tuning import Bench

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arm:
    """What differs from `base`."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    ablation: Ablation = field(default_factory=Ablation)
    stages: tuple[TrainingStage, ...] = STAGES
    exploration: float = 0.0
    random_answers: bool = False


SHORT_ENTROPY = 0.015
"""Less than in a whole training: a short one must settle sooner."""

SINGLE, MULTI, UNIFIED = STAGES
ARMS = {
    "base": Arm(),
    "no_text": Arm(ablation=Ablation(use_text=False)),
    "no_features": Arm(ablation=Ablation(use_features=False)),
    "random_answers": Arm(random_answers=True),
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
    # Every pass encodes all states anew: two passes an update, not eight, and still the slowest arms.
    "weights_lora": Arm({"policy_weights": "lora", "epochs": 2}),
    "weights_all": Arm({"policy_weights": "all", "epochs": 2}),
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
    judged = RolloutSettings(settings.entry_cap, tokenizer=CountedTokens(model.tokenizer))
    rollouts = replace(
        judged,
        weights=replace(RewardWeights(), **arm.weights),
        random_answers=arm.random_answers,
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
    asyncio.run(trainer.train())
    found = asyncio.run(Bench(episodes, judged).run(trainer.policy))
    return {
        "accuracies": [each.right_frac for each in found],
        "seconds": round(time.perf_counter() - began, 1),
    }


def asked_elsewhere(episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes that end in the exact figures of others: each is asked of the next one that has its fact."""
    asked: dict[int, list[Question]] = {}
    for place, own in enumerate(episodes):
        for question in filter(_of_a_figure, own.questions):
            others = ((place + away) % len(episodes) for away in range(1, len(episodes)))
            other = next((each for each in others if question.fact in episodes[each].truth), None)
            if other is not None:
                asked.setdefault(other, []).append(question)
    return [replace(episodes[each], questions=tuple(asked[each])) for each in asked]


def _of_a_figure(question: Question) -> bool:
    return question.type == "figure" and question.answer is not None


def shuffled(checkpoints: Sequence[Path], episodes: Sequence[Episode]) -> None:
    """Exact figures in force, asked of the next memory that heard of the same fact in another episode."""
    with_others = asked_elsewhere(episodes)
    model = OLMoEModel().load()
    rollouts = RolloutSettings(Stage2Config().entry_cap, tokenizer=CountedTokens(model.tokenizer))
    print("| policy | memory | figures asked | something read | right |")
    print("|---|---|---|---|---|")
    policies = [("none", rule_policy("none"))]
    for checkpoint in checkpoints:
        learned = learned_policy(AthenaConfig(), checkpoint, model=model)
        policies.append((checkpoint.parent.name, learned))
    for name, policy in policies:
        for memory, chosen in (("own", episodes), ("another's", with_others)):
            readings = [
                reading
                for each in asyncio.run(Bench(chosen, rollouts).run(policy))
                for question, reading in zip(each.episode.questions, each.readings, strict=True)
                if _of_a_figure(question)
            ]
            read = np.mean([reading.entry_id is not None for reading in readings])
            right = np.mean([reading.right for reading in readings])
            print(f"| {name} | {memory} | {len(readings)} | {read:.3f} | {right:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--shuffled", type=Path, nargs="+", metavar="CHECKPOINT")
    chosen = parser.parse_args()
    if (chosen.out is None) == (chosen.shuffled is None):
        parser.error("give --out or --shuffled")
    torch.set_num_threads(1)
    paths = paths_for(AthenaConfig(), "validation").paths
    drawn = [episode(paths, "validation", number, seed=50) for number in range(chosen.episodes)]
    if chosen.shuffled is not None:
        shuffled(chosen.shuffled, drawn)
        return
    budget = {name: getattr(chosen, name) for name in ("steps", "batch", "episodes")}
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in range(chosen.seeds):
        for name in chosen.arms.split(","):
            target = chosen.out / f"{name}-{seed}.json"
            if not target.exists():
                result = train(ARMS[name], seed, chosen.steps, chosen.batch, drawn)
                target.write_text(json.dumps(budget | result), encoding="utf-8")
                mean = np.mean(result["accuracies"])
                print(f"{name} seed {seed}: {mean:.3f} in {result['seconds']} s", file=sys.stderr)
    show(chosen.out, budget, drawn)


def show(out: Path, budget: Mapping[str, int], episodes: Sequence[Episode]) -> None:
    """The table of everything that is there."""
    print("| arm | seeds | right | seconds | less base, 95 % | each seed |")
    print("|---|---|---|---|---|---|")
    runs = {name: _runs(out, name, budget) for name in ARMS}
    model = OLMoEModel().load()
    rollouts = RolloutSettings(Stage2Config().entry_cap, tokenizer=CountedTokens(model.tokenizer))
    bench = Bench(episodes, rollouts)
    untaught = {
        rule: np.array([each.right_frac for each in asyncio.run(bench.run(rule_policy(rule)))])
        for rule in ("none", "random")
    }
    for rule, rights in untaught.items():
        print(f"| the rule `{rule}` | | {rights.mean():.3f} | | | |")
    for name, found in runs.items():
        if not found:
            continue
        right = np.mean([each["accuracies"] for each in found.values()])
        seconds = np.median([each["seconds"] for each in found.values()])
        line = f"| {name} | {len(found)} | {right:.3f} | {seconds:.0f} |"
        both = [seed for seed in found if seed in runs["base"]]
        if name == "base" or not both:
            print(f"{line} | |")
            continue
        gains = np.array(
            [
                np.subtract(found[seed]["accuracies"], runs["base"][seed]["accuracies"])
                for seed in both
            ]
        )
        each_seed = " ".join(f"{gain:+.3f}" for gain in gains.mean(axis=1))
        print(f"{line} {_told(gains)} | {each_seed} |")
        if name == "random_answers":
            for rule, rights in untaught.items():
                gains = np.array([each["accuracies"] for each in found.values()]) - rights
                each_seed = " ".join(f"{gain:+.3f}" for gain in gains.mean(axis=1))
                print(f"| that, less the rule `{rule}` | | | | {_told(gains)} | {each_seed} |")


def _runs(out: Path, name: str, budget: Mapping[str, int]) -> dict[int, dict[str, Any]]:
    found = {}
    for path in sorted(out.glob(f"{name}-[0-9]*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if any(run[each] != value for each, value in budget.items()):
            raise SystemExit(
                f"{path} is of another budget than {dict(budget)}; give another --out."
            )
        found[int(path.stem.rpartition("-")[2])] = run
    return found


def _told(gains: FloatArray) -> str:
    """Mean and 95 % interval of differences [seeds, episodes], seeds and episodes drawn with replacement."""
    draw = np.random.default_rng(0)
    seeds, episodes = gains.shape
    means = [
        gains[draw.integers(seeds, size=seeds)][:, draw.integers(episodes, size=episodes)].mean()
        for _ in range(4_000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
