"""Tunes the reader and the references on training episodes, and writes `baselines.json`.

    python -m training.stage2_agemem.tuning [--episodes 300] [--restarts 3] [--parts fitted]

    reader      which sources are read first, where everything about listed companies is kept
    heuristic   a depth-3 tree over the features, its leaves an action or the hand rule, found by hill
                climbing on training accuracy from several starts; the hand rule where no tree is better on
                fresh episodes
    attainable  how much an ADD and an UPDATE must gain
    fitted      a logistic model of which note answers a question, from 2,000 episodes that end in twelve
                questions, and its threshold, from the others

Everything runs on the real memory, at the default cap, on training episodes only. Refuses to see the other
splits.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from core.config import AthenaConfig, Stage2Config
from memory.policy import FEATURES, SOURCES, MemoryPolicy
from memory.rules import RuleChooser, Tree, rule_policy
from training.stage2_agemem import reader
from training.stage2_agemem.episodes import Episode, episode
from training.stage2_agemem.references import (
    AnswerModel,
    Attainable,
    EpisodeChooser,
    FittedChooser,
    fitted_inputs,
)
from training.stage2_agemem.rollouts import (
    CountedTokens,
    Job,
    RolloutSettings,
    Trajectory,
    run_jobs,
)
from training.stage2_agemem.sources import paths_for

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

SEED: Final = 9_000
"""Episodes of this seed are nobody's training episodes."""

READER_EPISODES: Final = 1_000
"""Orders of sources differ by little: their order needs more episodes than the rest."""
FITTED_SEED: Final = 9_001
FITTED_EPISODES: Final = 2_000
"""Of FITTED_SEED, each ending in as many questions as an episode of the trainer."""
PARTS: Final = ("reader", "attainable", "fitted", "heuristic")

LEAVES: Final = ("hand", "add", "update", "delete", "none")
DEPTH: Final = 3
GAINS: Final = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06)


@dataclass(slots=True)
class Bench:
    """Episodes on which candidates are compared, and how."""

    episodes: Sequence[Episode]
    rollouts: RolloutSettings

    async def run(self, policy: MemoryPolicy, count: int | None = None) -> list[Trajectory]:
        found: list[Trajectory] = []
        chosen = self.episodes[:count]
        for start in range(0, len(chosen), 50):
            jobs = [Job(each) for each in chosen[start : start + 50]]
            found += [group[0] for group in await run_jobs(policy, jobs, self.rollouts)]
        return found

    async def accuracy(self, policy: MemoryPolicy, count: int | None = None) -> float:
        return float(np.mean([each.right_frac for each in await self.run(policy, count)]))


def tiers_to_try() -> list[dict[str, int]]:
    """Every order of the sources with ties (541 of five), the one without any order first."""
    places = itertools.product(range(len(SOURCES)), repeat=len(SOURCES))
    dense = [each for each in places if set(each) == set(range(max(each) + 1))]
    return [dict(zip(SOURCES, each, strict=True)) for each in sorted(dense, key=max)]


def tune_reader(runs: Sequence[Trajectory]) -> tuple[dict[str, int], float]:
    """The tiers under which what was retrieved is read best."""
    best, score = dict.fromkeys(SOURCES, 0), -1.0
    for tiers in tiers_to_try():
        right = [
            reader.is_right(
                question,
                reader.answer(
                    question, hits, [hit.recorded_from.timestamp() for hit in hits], tiers
                ),
            )
            for run in runs
            for question, hits in zip(run.episode.questions, run.hits, strict=True)
        ]
        share = float(np.mean(right))
        if share > score + 1e-9:
            best, score = tiers, share
    return best, score


async def search_tree(
    bench: Bench, fresh: Bench, restarts: int, tries: int, seed: int = 0
) -> tuple[Tree | None, dict[str, float]]:
    """Hill climbing over trees of depth 3; the best of all restarts, if fresh episodes agree."""
    draw = np.random.default_rng(seed)
    seen = np.stack(
        [
            step.state.features
            for run in await bench.run(rule_policy("heuristic"), 100)
            for step in run.steps
        ]
    )
    useful = [i for i in range(len(FEATURES)) if seen[:, i].std() > 1e-6]
    nodes = 2**DEPTH - 1

    def threshold(feature: int) -> float:
        values = np.unique(seen[:, feature])
        return float((values[:-1] + values[1:])[int(draw.integers(len(values) - 1))] / 2.0)

    def changed(tree: Tree) -> Tree:
        features, thresholds = list(tree.features), list(tree.thresholds)
        leaves = list(tree.leaves)
        for _ in range(int(draw.integers(1, 3))):
            if draw.random() < 0.5:
                place = int(draw.integers(nodes))
                feature = useful[int(draw.integers(len(useful)))]
                features[place], thresholds[place] = FEATURES[feature], threshold(feature)
            else:
                leaves[int(draw.integers(len(leaves)))] = LEAVES[int(draw.integers(len(LEAVES)))]
        return Tree(tuple(features), tuple(thresholds), tuple(leaves))

    hand = await bench.accuracy(rule_policy("heuristic"))
    best, best_score = None, hand
    for restart in range(restarts):
        picks = [useful[int(draw.integers(len(useful)))] for _ in range(nodes)]
        tree = Tree(
            tuple(FEATURES[i] for i in picks),
            tuple(threshold(i) for i in picks),
            ("hand",) * (nodes + 1),
        )
        score = hand
        for _ in range(tries):
            other = changed(tree)
            found = await bench.accuracy(MemoryPolicy("tree", RuleChooser(other)))
            if found >= score:
                tree, score = other, found
        print(f"  restart {restart}: {score:.4f} (hand rule {hand:.4f})", flush=True)
        if score > best_score:
            best, best_score = tree, score
    figures = {"hand_train": hand, "tree_train": best_score}
    figures["hand_fresh"] = await fresh.accuracy(rule_policy("heuristic"))
    if best is not None:
        figures["tree_fresh"] = await fresh.accuracy(MemoryPolicy("tree", RuleChooser(best)))
        if figures["tree_fresh"] <= figures["hand_fresh"]:
            best = None
    return best, figures


async def tune_attainable(bench: Bench) -> dict[str, float]:
    """The gains that ADD and UPDATE must bring, by training accuracy."""
    best = {"add_gain": 0.0, "update_gain": 0.0, "accuracy_frac": -1.0}
    for add_gain, update_gain in itertools.product(GAINS, (0.0, 0.01)):
        chooser = EpisodeChooser(Attainable(add_gain, update_gain))
        chooser.know(bench.episodes)
        found = await bench.accuracy(MemoryPolicy("attainable", chooser))
        if found > best["accuracy_frac"]:
            best = {"add_gain": add_gain, "update_gain": update_gain, "accuracy_frac": found}
    return best


async def fit_answers(
    bench: Bench, seen: Bench, encoder: Any, backbone_hash: str
) -> tuple[AnswerModel, float]:
    """A logistic model of "this note's claim will answer a question", from what is `seen`, then the threshold
    that is best on the bench."""
    import torch

    runs = await seen.run(rule_policy("heuristic"))
    states = [step.state for run in runs for step in run.steps]
    labels = np.array(
        [float(_answers(run.episode, place)) for run in runs for place in range(len(run.steps))]
    )
    inputs = fitted_inputs(states, encoder)
    mean, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-6)
    rows = torch.from_numpy((inputs - mean) / scale)
    target = torch.from_numpy(labels)
    weights = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(rows @ weights + bias, target)
        loss = loss + 1e-3 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    best, score = None, -1.0
    for threshold in (0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.4, 0.5):
        model = AnswerModel(
            backbone_hash,
            weights.detach().numpy(),
            float(bias.detach()),
            mean,
            scale,
            threshold,
        )
        found = await bench.accuracy(MemoryPolicy("fitted", FittedChooser(model, encoder)))
        if found > score:
            best, score = model, found
    assert best is not None
    return best, score


def _answers(each: Episode, place: int) -> bool:
    """Whether the claim of a note is the answer of one of the episode's questions."""
    note = each.notes[place]
    return any(
        question.fact == note.fact
        and note.claim is not None
        and each.truth[note.fact] == note.claim
        for question in each.questions
    )


async def tune(
    episodes: int, restarts: int, tries: int, target: Path, parts: Sequence[str] = PARTS
) -> dict[str, Any]:
    """The parts asked for, in order, the reader first: everything is read by it. What is not, stays."""
    import torch

    from models.action_scorer import HeadScorer
    from models.olmoe import OLMoEModel

    torch.set_num_threads(1)
    model = OLMoEModel().load()
    encoder = HeadScorer(model)
    rollouts = RolloutSettings(tokenizer=CountedTokens(model.tokenizer))
    paths = paths_for(AthenaConfig(), "train").paths
    drawn = [episode(paths, "train", number, seed=SEED) for number in range(2 * episodes)]
    bench, fresh = Bench(drawn[:episodes], rollouts), Bench(drawn[episodes:], rollouts)
    kept: dict[str, Any] = {}
    if target.exists():
        kept = json.loads(target.read_text(encoding="utf-8"))
    if "reader" in parts:
        more = [episode(paths, "train", number, seed=SEED) for number in range(READER_EPISODES)]
        unlimited = Bench(more, RolloutSettings(None, tokenizer=rollouts.tokenizer))
        tiers, share = tune_reader(await unlimited.run(rule_policy("recency")))
        print(f"reader: {tiers} {share:.4f}, in use {dict(reader.SOURCE_TIERS)}", flush=True)
        kept["reader"] = {"tiers": tiers}
    if "attainable" in parts:
        kept["attainable"] = await tune_attainable(bench)
        print(f"attainable: {kept['attainable']}", flush=True)
    if "fitted" in parts:
        questions = Stage2Config().questions
        many = [
            episode(paths, "train", number, seed=FITTED_SEED, questions=questions)
            for number in range(FITTED_EPISODES)
        ]
        seen = Bench(many, rollouts)
        answers, share = await fit_answers(bench, seen, encoder, model.backbone_hash)
        print(f"fitted: threshold {answers.threshold}, {share:.4f}", flush=True)
        kept["fitted"] = _answer_model(answers)
    if "heuristic" in parts:
        tree, figures = await search_tree(bench, fresh, restarts, tries)
        print(f"heuristic: {tree} {figures}", flush=True)
        kept["heuristic"] = {"tree": None if tree is None else _tree(tree), **figures}
    target.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def _tree(tree: Tree) -> Mapping[str, Any]:
    return {"features": tree.features, "thresholds": tree.thresholds, "leaves": tree.leaves}


def _answer_model(model: AnswerModel) -> Mapping[str, Any]:
    def short(values: FloatArray) -> list[float]:
        return [float(f"{value:.6g}") for value in values]

    return {
        "backbone_hash": model.backbone_hash,
        "bias": model.bias,
        "threshold": model.threshold,
        "weights": short(model.weights),
        "mean": short(model.mean),
        "scale": short(model.scale),
    }


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--tries", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "baselines.json")
    parser.add_argument("--parts", default=",".join(PARTS))
    chosen = parser.parse_args()
    named = chosen.parts.split(",")
    if unknown := [name for name in named if name not in PARTS]:
        parser.error(f"--parts names {', '.join(unknown)}; there are {', '.join(PARTS)}")
    asyncio.run(tune(chosen.episodes, chosen.restarts, chosen.tries, chosen.out, named))
