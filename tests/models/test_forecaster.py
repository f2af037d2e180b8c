from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ModelError
from models.forecaster import (
    FLOOR,
    LogisticRegression,
    OLMoEForecaster,
    climatology,
    ewma_chances,
    ewma_volatility,
)
from models.olmoe import OLMoEModel
from models.render import BUCKETS, question, render
from tests.models.test_olmoe import train_a_little
from tests.models.test_render import STATE


def test_chances_are_the_scores_of_the_bucket_words(model: OLMoEModel) -> None:
    short = replace(STATE, news=(), returns_frac=(0.01,), volatility_frac=None, trend_ratio=None)
    chances = OLMoEForecaster(model, masked=False).forecast([short, STATE])
    budget = model.context_tokens - 8
    asked = question(render(short, tokenizer=model.tokenizer, budget_tokens=budget))
    scores = model.score(asked, [f" {word}" for word in BUCKETS]).double().softmax(0).numpy()
    assert chances[0] == pytest.approx(FLOOR + (1 - 5 * FLOOR) * scores, abs=1e-6)
    assert chances.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert OLMoEForecaster(model).forecast([]).shape == (0, 5)


def test_adapters_do_not_move_forecasts_and_changed_weights_are_refused(model: OLMoEModel) -> None:
    forecaster = OLMoEForecaster(model)
    before = forecaster.forecast([STATE])
    with torch.no_grad():
        changed = model.backbone.model.norm.weight
        changed.mul_(2.0)
    with pytest.raises(ModelError, match="were changed"):
        forecaster.forecast([STATE])
    assert OLMoEForecaster(model, follow_training=True).forecast([STATE]) != pytest.approx(before)


def test_a_trained_adapter_leaves_forecasts_alone(model: OLMoEModel) -> None:
    forecaster = OLMoEForecaster(model)
    before = forecaster.forecast([STATE])
    model.add_lora(rank=2)
    train_a_little(model)
    assert forecaster.forecast([STATE]) == pytest.approx(before, abs=1e-5)


def test_climatology_counts_with_one_of_each_added() -> None:
    # counts 2 1 0 0 1, one more each: 3 2 1 1 2 of 9
    assert climatology(np.array([0, 0, 1, 4])) == pytest.approx(np.array([3, 2, 1, 1, 2]) / 9)


def test_ewma_volatility_forgets_by_its_decay() -> None:
    returns = np.array([np.nan, 0.01, 0.02, 0.0])
    first = np.mean([0.0001, 0.0004, 0.0])
    one = 0.94 * first + 0.06 * 0.0001
    two = 0.94 * one + 0.06 * 0.0004
    assert ewma_volatility(returns)[2] == pytest.approx(np.sqrt(two))
    assert np.isnan(ewma_volatility(returns)[0])


def test_a_wilder_week_moves_chance_to_the_outer_buckets() -> None:
    calm, wild = ewma_chances(np.array([0.5, 2.0]))
    # Phi(0.84 / 2) = 0.6628: 33.7 % lie beyond each outer edge
    assert wild[4] == pytest.approx(0.3372, abs=2e-4)
    assert wild[0] == pytest.approx(wild[4])
    assert calm[2] > wild[2]


def test_logistic_regression_finds_a_known_relation() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(4000, 2))
    chances = np.array([[0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6]])[
        (numbers[:, 0] > 0).astype(int)
    ]
    answers = np.array([rng.choice(5, p=each) for each in chances])
    fitted = LogisticRegression.fit(numbers, answers).chances(np.array([[-2.0, 0.0], [2.0, 0.0]]))
    assert fitted[0, 0] > 0.55
    assert fitted[1, 4] > 0.55
    assert fitted.sum(axis=1) == pytest.approx([1.0, 1.0])
