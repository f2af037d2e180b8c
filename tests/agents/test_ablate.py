"""Worlds in which it is known what there is to learn, and arms compared question by question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.ablate import Ablation, Comparison, ablate, verdict
from agents.assemble import RunOptions
from agents.worlds import DECOYS, SETUP, make_world
from core.config import AthenaConfig
from core.errors import UsageError
from trading.panel import CLOSE


def after_lines(kind: Any, text: str, seeds: int = 6) -> np.ndarray[Any, Any]:
    """Five-bar log returns that followed the lines of one wording."""
    found = []
    for seed in range(seeds):
        world = make_world(kind, seed)
        close = np.log(world.panel.stack[CLOSE])
        rows = {moment[:10]: row for row, moment in enumerate(world.panel.as_of)}
        for line in world.news._lines:
            row, column = rows[f"{line.time:%Y-%m-%d}"], world.panel.symbols.index(line.symbol)
            if line.text == text and row + 5 < len(close):
                found.append(close[row + 5, column] - close[row, column])
    return np.array(found)


def test_the_setup_pays_where_it_is_planted_and_nowhere_else() -> None:
    """Five bars of half a daily deviation of 1.5 % each are 3.75 % more than after a decoy (both may be
    followed by the drift of other lines)."""
    paid, decoy = after_lines("planted", SETUP), after_lines("planted", DECOYS[0])
    error = float(np.sqrt(paid.var() / len(paid) + decoy.var() / len(decoy)))
    assert paid.mean() - decoy.mean() == pytest.approx(0.0375, abs=4.0 * error)
    nothing = after_lines("noise", SETUP)
    assert abs(nothing.mean()) < 4.0 * nothing.std() / np.sqrt(len(nothing)) + 0.002
    assert len(paid) > 600


def test_the_same_seed_gives_the_same_world() -> None:
    ours, theirs, other = (make_world("planted", seed, rows=80) for seed in (1, 1, 2))
    assert np.array_equal(ours.panel.stack, theirs.panel.stack, equal_nan=True)
    assert ours.news._lines == theirs.news._lines
    assert not np.array_equal(ours.panel.stack, other.panel.stack, equal_nan=True)


@pytest.fixture(scope="module")
def planted() -> Ablation:
    """Without the language model, decisions from the 120th bar on."""
    config = AthenaConfig._from_dict(
        {
            "model": {"enabled": False},
            "memory": {"policy": "heuristic"},
            "trading": {"warmup_bars": 120},
            "seed": 3,
        }
    )
    return ablate(config, RunOptions(), world="planted", arms=("none", "oracle"), rows=200)


def test_every_arm_is_compared_with_its_baseline_on_the_same_questions(planted: Ablation) -> None:
    told = {arm.name: arm for arm in planted.arms}
    assert list(told) == ["full", "none", "oracle"]
    assert len({len(arm.scores) for arm in planted.arms}) == 1
    pairs = {(each.arm, each.baseline, each.figure): each for each in planted.differences}
    assert {pair[:2] for pair in pairs} == {("full", "none"), ("oracle", "full")}
    each = pairs["full", "none", "log_score"]
    assert each.difference == pytest.approx(
        float(np.nanmean(told["full"].scores) - np.nanmean(told["none"].scores))
    )
    assert each.interval[0] <= each.difference <= each.interval[1]
    assert planted.verdict == verdict(planted.differences)
    report = planted.to_dict()
    assert report["arms"][0]["log_score"] == pytest.approx(float(np.nanmean(told["full"].scores)))


def test_an_arm_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(UsageError, match="--arms names cleverness"):
        ablate(AthenaConfig(), RunOptions(), world="noise", arms=("cleverness",))
    with pytest.raises(UsageError, match="needs --world planted"):
        ablate(AthenaConfig(), RunOptions(), world="noise", arms=("oracle",))


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ((0.001, 0.003), "The memory is worth +0.0020 nats"),
        ((-0.001, 0.005), "No measurable gain from the memory, in nats a forecast (-0.0010"),
        (
            (-0.003, -0.001),
            "The memory costs 0.0020 nats a forecast (-0.0030 to -0.0010): no meas",
        ),
    ],
)
def test_the_verdict_claims_a_gain_only_where_the_interval_lies_above_zero(
    interval: tuple[float, float], says: str
) -> None:
    found = 0.002 if interval[1] > 0.0 else -0.002
    assert verdict([Comparison("full", "none", "log_score", found, interval)]).startswith(says)
