"""Who is believed, how fast, and that nothing is learnt before it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from agents.learning import SPEEDS, Speed, SpeedMixture

FloatArray = npt.NDArray[np.float64]

PHASES = (800, 400, 800)
"""Steps of the regimes A, B and A again."""
ANSWERS = 5


def regime_world(
    seed: int, phases: Sequence[int] = PHASES
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """(chances of five sources [T, 5, 5], answers [T]).

    Source 0 is three quarters of the truth in regime A, source 1 in B, source 2 a quarter in both; two
    more know nothing.
    """
    draw = np.random.default_rng(seed)
    steps = sum(phases)
    told = 0.02 + 0.9 * draw.dirichlet(np.full(ANSWERS, 1.2), size=(steps, 5))
    right = np.repeat([0, 1, 0], phases)
    truth = 0.75 * told[np.arange(steps), right] + 0.25 * told[:, 2]
    answers = (draw.random(steps)[:, None] > np.cumsum(truth, axis=1)).sum(axis=1)
    return told, answers.clip(0, ANSWERS - 1)


def losses(told: FloatArray, answers: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """(log losses of the whole [T], of each speed [T, S]), each answer learnt after it was told for."""
    mixture = SpeedMixture([f"s{k}" for k in range(told.shape[1])])
    whole, by_speed = np.empty(len(answers)), np.empty((len(answers), len(SPEEDS)))
    for step, answer in enumerate(answers):
        pooled = mixture.pool(told[step][:, None, :])
        heard = pooled.by_speed[:, 0, answer]
        whole[step], by_speed[step] = -np.log(pooled.chances[0, answer]), -np.log(heard)
        mixture.learn(told[step][None, :, answer], heard[None])
    return whole, by_speed


Losses = list[tuple[FloatArray, FloatArray]]


@pytest.fixture(scope="module")
def runs() -> Losses:
    """A -> B -> A, seeds that no rate was tuned on (1000 to 1005 were)."""
    return [losses(*regime_world(seed)) for seed in range(20)]


def test_three_speeds_together_are_near_the_best_and_below_the_others_when_a_regime_changes(
    runs: Losses,
) -> None:
    whole = np.array([run[0].mean() for run in runs])
    alone = np.array([run[1].mean(axis=0) for run in runs])
    best, *others = sorted(alone.mean(axis=0))
    assert whole.mean() <= 1.01 * best
    assert whole.mean() < min(others)
    # And in every single world.
    assert (whole <= 1.01 * alone.min(axis=1)).all()
    assert (whole < np.sort(alone, axis=1)[:, 1]).all()


def test_fast_follows_a_change_first_and_loses_more_where_nothing_changes(runs: Losses) -> None:
    """In the 64 steps after A -> B fast loses least; in the second half of the first A medium does."""
    after, calm = slice(PHASES[0], PHASES[0] + 64), slice(PHASES[0] // 2, PHASES[0])
    fast, medium, slow = np.mean([by_speed[after].mean(axis=0) for _, by_speed in runs], axis=0)
    assert fast < medium < slow
    fast, medium, _ = np.mean([by_speed[calm].mean(axis=0) for _, by_speed in runs], axis=0)
    assert medium < fast


def test_one_step_of_each_speed_by_hand() -> None:
    """Two sources with 0.6 and 0.2 for what came: the mixture had 0.4, the gradient is
    (0.5 (0.6 / 0.4 - 1), 0.5 (0.2 / 0.4 - 1)) = (0.25, -0.25)."""
    speeds = (Speed("now", 1, 2.0, 0.0), Speed("second", 2, 2.0, 0.0))
    mixture = SpeedMixture(["a", "b"], speeds, share=0.0)
    told = np.array([[0.6, 0.2]])
    mixture.learn(told, np.array([[0.4, 0.4]]))
    moved = 1.0 / (1.0 + math.exp(-1.0))  # logits +0.5 and -0.5
    assert mixture.weights[0] == pytest.approx([moved, 1.0 - moved])
    assert mixture.weights[1] == pytest.approx([0.5, 0.5])
    mixture.learn(told, np.array([[0.4, 0.4]]))
    # The second speed has two gradients of 0.25 by now: logits +1 and -1.
    twice = 1.0 / (1.0 + math.exp(-2.0))
    assert mixture.weights[1] == pytest.approx([twice, 1.0 - twice])


def test_speeds_are_weighted_by_what_they_had_told() -> None:
    """Told 0.6 and 0.3: 2/3 and 1/3 by Bayes, then a tenth flows back: 0.9 x 2/3 + 0.05."""
    speeds = (Speed("a", 1, 0.1, 0.0), Speed("b", 1, 0.1, 0.0))
    mixture = SpeedMixture(["x", "y"], speeds, rate=1.0, share=0.1)
    mixture.learn(np.array([[0.5, 0.5]]), np.array([[0.6, 0.3]]))
    assert mixture.speed_weights == pytest.approx([0.65, 0.35])


def test_a_source_that_abstains_neither_counts_nor_loses() -> None:
    mixture = SpeedMixture(["a", "b", "c"])
    chances = np.full((3, 2, ANSWERS), 1.0 / ANSWERS)
    chances[0] = np.nan
    chances[1, 0] = [0.6, 0.1, 0.1, 0.1, 0.1]
    chances[1:, 1] = np.nan
    pooled = mixture.pool(chances)
    assert pooled.chances[0] == pytest.approx([0.4, 0.15, 0.15, 0.15, 0.15])
    assert np.isnan(pooled.chances[1]).all()
    before = mixture.weights[:, 0] / mixture.weights.sum(axis=1)
    told = np.stack([chances[:, 0, 0], chances[:, 1, 0]])
    mixture.learn(told, np.stack([pooled.by_speed[:, 0, 0], pooled.by_speed[:, 1, 0]]))
    after = mixture.weights
    assert after[0, 1] > after[0, 0] > after[0, 2]  # told more, slept, told less
    assert np.abs(after[2] - before[2]).max() < 1e-12  # the slow speed has not moved yet
    assert mixture.steps == 1


def test_without_learning_all_weights_stay_even() -> None:
    told, answers = regime_world(3)
    mixture = SpeedMixture([f"s{k}" for k in range(5)], learns=False)
    for step in range(50):
        mixture.learn(told[step][None, :, answers[step]], np.full((1, 3), 0.2))
    assert mixture.source_weights == pytest.approx(np.full(5, 0.2))


def test_steps_without_answers_change_nothing() -> None:
    mixture = SpeedMixture(["a", "b"])
    mixture.learn(np.empty((0, 2)), np.empty((0, 3)))
    mixture.learn(np.full((2, 2), np.nan), np.full((2, 3), np.nan))
    assert mixture.steps == 0
    assert mixture.source_weights == pytest.approx([0.5, 0.5])
