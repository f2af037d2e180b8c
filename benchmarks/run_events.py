"""What a memory policy keeps of a run's events, beside the rules: accuracy on episodes that no training drew.

    python benchmarks/run_events.py [--checkpoint FOLDER...] [--episodes 300] [--caps 4,6,24,none]

Each episode is 52 events of a run, then twelve questions about which way a topic goes
(`training/stage2_agemem/run_episodes.py`). `known` keeps tallies of the topics that lean and nothing else:
what the outcomes themselves allow. Intervals are paired bootstraps over episodes; several checkpoints are
averaged.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig
from memory.policy import FEATURES, LearnedChooser, MemoryPolicy
from memory.rules import rule_policy
from models.olmoe import OLMoEModel
from models.policy_folder import load_scorer, shipped_policy
from training.stage2_agemem.episodes import Episode
from training.stage2_agemem.evaluate import bootstrap_interval
from training.stage2_agemem.references import reference_policy
from training.stage2_agemem.rollouts import CountedTokens, Job, RolloutSettings, run_jobs
from training.stage2_agemem.run_episodes import run_episode
from training.stage2_agemem.sources import paths_for

SEED = 2**30
QUESTIONS = 12
RULES = ("none", "keep_all", "recency", "random", "heuristic")


def accuracies(
    policy: MemoryPolicy, episodes: Sequence[Episode], settings: RolloutSettings
) -> npt.NDArray[np.float64]:
    found: list[float] = []
    for start in range(0, len(episodes), 50):
        jobs = [Job(each) for each in episodes[start : start + 50]]
        groups = asyncio.run(run_jobs(policy, jobs, settings))
        found += [group[0].right_frac for group in groups]
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--caps", default="4,6,24,none")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = AthenaConfig()
    model = OLMoEModel(config.olmoe).load()
    paths = paths_for(config, "train").paths
    episodes = [
        run_episode(paths, number, seed=SEED, questions=QUESTIONS)
        for number in range(chosen.episodes)
    ]
    trained = [
        MemoryPolicy(
            "trained",
            LearnedChooser(load_scorer(config.olmoe, path, features=FEATURES, model=model)),
        )
        for path in chosen.checkpoint or [shipped_policy()]
    ]
    known = reference_policy("known", episodes)
    print("| cap | policy | right | 95 % | trained less it, 95 % |")
    print("|---|---|---|---|---|")
    for word in chosen.caps.split(","):
        cap = None if word == "none" else int(word)
        settings = RolloutSettings(cap, tokenizer=CountedTokens(model.tokenizer))
        ours = np.mean([accuracies(each, episodes, settings) for each in trained], axis=0)
        rows = {name: accuracies(rule_policy(name), episodes, settings) for name in RULES}
        rows |= {"trained": ours, "known": accuracies(known, episodes, settings)}
        for name, right in rows.items():
            low, high = bootstrap_interval(right)
            less = ""
            if name != "trained":
                worst, best = bootstrap_interval(ours - right)
                less = f"{(ours - right).mean():+.3f} ({worst:+.3f} to {best:+.3f})"
            print(f"| {word} | {name} | {right.mean():.3f} | {low:.3f} to {high:.3f} | {less} |")


if __name__ == "__main__":
    main()
