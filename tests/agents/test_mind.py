"""What the learned parts may say: nothing without a proven gain, and the right thing with one."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from agents.forecasts import Answer, ForecastBook
from agents.learning import SpeedMixture
from agents.mind import BUCKET_MEANS, BUCKET_SQUARES, FEWEST_STEPS, Gain, Mind
from agents.remembered import Remembered
from agents.sources import AnalogEvidence, Answers, Case, Climatology, Seen, Told, told_only
from agents.states import StateRow
from core.types import Views

FloatArray = npt.NDArray[np.float64]
NOW = datetime(2020, 1, 6, 21, tzinfo=UTC)


def states(count: int = 2) -> StateRow:
    ones = np.ones(count)
    return StateRow(
        as_of=NOW, symbols=tuple("ABCDEF"[:count]), told=np.ones(count, bool), fresh=np.ones(count, bool),
        bars=np.full(count, 100), close=100.0 * ones, returns=np.zeros((count, 5)), volatility=0.01 * ones,
        short_ratio=ones, long_ratio=ones, trend_ratio=0.0 * ones, drawdown=0.0 * ones, rsi=50.0 * ones,
        band_z=0.0 * ones, volume_ratio=ones, ewma_ratio=ones,
    )  # fmt: skip


class Says:
    """A source that always tells the same."""

    def __init__(self, chances: list[float]) -> None:
        self.name = "says"
        self.chances = np.array(chances)
        self.learnt: list[Answers] = []

    def tell(self, seen: Seen) -> Told:
        return Told(told_only(np.tile(self.chances, (len(seen.states.told), 1)), seen))

    def learn(self, answers: Answers) -> None:
        self.learnt.append(answers)


def mind_of(*sources: Says | AnalogEvidence, climate: Climatology, learns: bool = True) -> Mind:
    everybody = [climate, *sources]
    names = [source.name for source in everybody]
    return Mind(
        everybody, climate, ForecastBook(names), SpeedMixture(names, learns=learns), learns=learns
    )


def silent(count: int = 2) -> Views:
    return Views("market_analyst", np.full(count, np.nan), np.zeros(count))


def live(mind: Mind, outcomes: FloatArray, steps: int) -> None:
    """Each step is answered at once by a draw from `outcomes`."""
    draw = np.random.default_rng(0)
    for _ in range(steps):
        mind.judge(Remembered(states()), silent(), 5)
        batch = mind.book._open["A"][-1][2]
        mind.learn([Answer(batch, c, int(draw.choice(5, p=outcomes)), 0.0) for c in (0, 1)])


def test_bucket_moments_are_those_of_the_normal_distribution() -> None:
    """E Z = 0 and E Z^2 = 1 over all; beyond 0.84 the mean is 0.2803 / 0.2005 = 1.398."""
    masses = np.array([0.20045, 0.20084, 0.19742, 0.20084, 0.20045])
    assert masses @ BUCKET_MEANS == pytest.approx(0.0, abs=1e-9)
    assert masses @ BUCKET_SQUARES == pytest.approx(1.0, abs=1e-4)
    assert BUCKET_MEANS[4] == pytest.approx(1.398, abs=2e-3)


def test_a_gain_is_proven_by_its_mean_less_a_standard_error_widened_by_the_overlap() -> None:
    gain = Gain()
    for step in range(FEWEST_STEPS):
        assert gain.proven == 0.0
        gain.add(0.1 if step % 2 else 0.0)
    # Mean 0.05, deviation 0.05, 60 steps: 0.05 - 0.05 sqrt(5 / 60) = 0.0356, nearly (old ones fade).
    assert gain.proven == pytest.approx(0.0356, abs=5e-4)
    assert gain.confidence_frac == 1.0
    loss = Gain()
    for _ in range(200):
        loss.add(-0.1)
    assert loss.proven == 0.0


def test_a_source_that_leans_rightly_earns_a_view_and_one_that_leans_wrongly_does_not() -> None:
    up = [0.05, 0.1, 0.2, 0.3, 0.35]
    judged = {}
    for name, outcomes in (("right", up), ("wrong", up[::-1])):
        mind = mind_of(Says(up), climate=Climatology())
        first = mind.judge(Remembered(states()), silent(), 5)
        assert first.view.confidence_frac.tolist() == [0.0, 0.0]
        live(mind, np.array(outcomes), 200)
        judged[name] = mind.judge(Remembered(states()), silent(), 5)
    right, wrong = judged["right"].view, judged["wrong"].view
    assert right.confidence_frac[0] == 1.0
    # A lean of about +0.7 deviations of five bars, each 0.01 sqrt 5 = 0.0224.
    assert 0.010 < right.expected_return_frac[0] < 0.020
    # Whoever always leans the wrong way is not believed: climatology has learnt the right way by then.
    assert wrong.expected_return_frac[0] < 0.0


def test_wildness_that_came_true_widens_the_volatility_and_a_mere_claim_does_not() -> None:
    wild, calm = [0.35, 0.12, 0.06, 0.12, 0.35], [0.05, 0.15, 0.6, 0.15, 0.05]
    source = Says(wild)
    mind = mind_of(source, climate=Climatology())
    assert mind.judge(Remembered(states()), silent(), 5).dispersion_ratio.tolist() == [1.0, 1.0]
    draw = np.random.default_rng(0)
    # Climatology cannot tell the wild days from the calm ones; here only every second answer is wild.
    for step in range(300):
        source.chances = np.array(wild if step % 2 else calm)
        mind.judge(Remembered(states()), silent(), 5)
        batch = mind.book._open["A"][-1][2]
        truth = batch.told[1].chances[0]
        mind.learn([Answer(batch, 0, int(draw.choice(5, p=truth / truth.sum())), 0.0)])
    source.chances = np.array(wild)
    ratio = mind.judge(Remembered(states()), silent(), 5).dispersion_ratio[0]
    assert ratio > 1.1


def test_without_learning_nothing_is_ever_believed() -> None:
    up = [0.05, 0.1, 0.2, 0.3, 0.35]
    source = Says(up)
    mind = mind_of(source, climate=Climatology(), learns=False)
    live(mind, np.array(up), 100)
    judged = mind.judge(Remembered(states()), silent(), 5)
    assert judged.view.confidence_frac.tolist() == [0.0, 0.0]
    assert judged.dispersion_ratio.tolist() == [1.0, 1.0]
    assert not source.learnt


def test_what_a_forecast_rests_on_is_named_with_its_weight_and_taken_out_for_comparison() -> None:
    climate = Climatology()
    mind = mind_of(AnalogEvidence(climate), climate=climate)
    here = tuple(Seen(states()).numbers[0].tolist())
    case = Case("e7", 2, here, counts=(0.0, 0.0, 0.0, 0.0, 2.0), age_days=0.0)
    far = Case("e8", 1, tuple(value + 30.0 for value in here), (1.0, 0.0, 0.0, 0.0, 0.0), 0.0)
    judged = mind.judge(Remembered(states(), cases={0: [case, far]}), silent(), 5)
    assert judged.recalled == {"A": {"ids": ["e7"], "versions": [2], "weights": [2.0]}}
    batch = mind.book._open["A"][-1][2]
    assert batch.pooled.chances[0, 4] > batch.without_recall[0, 4] == pytest.approx(0.2)
    assert judged.told["chances"]["analogs"][1] is None
