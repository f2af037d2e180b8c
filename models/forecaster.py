"""The distribution over five buckets of the next 5-day return, by the language model and by baselines.

Owns the question that the model is asked, and the baselines that it has to beat. The buckets are scaled by
the symbol's own 20-day volatility (`models/state.py`), so what can be forecast is mostly dispersion: whether
the coming week will be wilder or calmer than the last month. Direction hardly can. Refuses to know data.

Shapes: S states, 5 buckets, F numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import ModelError
from core.types import MarketState
from models.olmoe import OLMoEModel
from models.render import BUCKETS, question, render
from models.state import EDGES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STATES_PER_PASS = 512
QUESTION_TOKENS = 8
"""Room for the question behind a state's text."""

EWMA_DECAY = 0.94
FLOOR = 1e-4
"""No bucket is given less than this: one surprise must not cost everything."""


class OLMoEForecaster:
    """Asks the language model. Uses its base weights: neither adapter nor policy training moves it, unless
    `follow_training` says so.

    `masked` hides symbol and date, so that nothing is recalled that belongs to a name.
    """

    def __init__(
        self, model: OLMoEModel, *, masked: bool = True, follow_training: bool = False
    ) -> None:
        self._model = model
        self._masked = masked
        self._follow = follow_training

    @property
    def name(self) -> str:
        return self._model.name

    def forecast(self, states: Sequence[MarketState]) -> FloatArray:
        """Chances of the five buckets, [S, 5], rows adding up to 1.

        Raises: ModelError when training changed the base weights and `follow_training` is off.
        """
        if self._model.changed and not self._follow:
            raise ModelError(
                f"the weights of {self._model.name} were changed since they were loaded.",
                "Load a second model for forecasts, or give follow_training=True.",
            )
        budget = self._model.context_tokens - QUESTION_TOKENS
        prompts = [
            question(
                render(
                    state,
                    masked=self._masked,
                    tokenizer=self._model.tokenizer,
                    budget_tokens=budget,
                )
            )
            for state in states
        ]
        answers = [f" {word}" for word in BUCKETS]
        parts = []
        for start in range(0, len(prompts), STATES_PER_PASS):
            asked = prompts[start : start + STATES_PER_PASS]
            if self._follow:
                scores = self._model.score_batch(asked, answers)
            else:
                with self._model.without_adapter():
                    scores = self._model.score_batch(asked, answers)
            parts.append(scores.double().cpu().numpy())
        if not parts:
            return np.empty((0, len(BUCKETS)))
        return normalised(np.exp(np.concatenate(parts)))


def normalised(chances: FloatArray) -> FloatArray:
    """Rows that add up to 1 with no bucket below the floor, [S, 5]."""
    share = chances / chances.sum(axis=1, keepdims=True)
    result: FloatArray = FLOOR + (1.0 - FLOOR * share.shape[1]) * share
    return result


def climatology(answers: IntArray) -> FloatArray:
    """How often each bucket came, [5]; one of each is added, so that none has chance 0."""
    counts = np.bincount(answers, minlength=len(BUCKETS)) + 1.0
    result: FloatArray = counts / counts.sum()
    return result


def ewma_volatility(returns: FloatArray, decay: float = EWMA_DECAY) -> FloatArray:
    """Exponentially weighted root mean square of one-bar returns, [L]; the first value is left out (NaN).

    Source: RiskMetrics Technical Document, 1996, decay 0.94 for daily returns.
    """
    variance = np.full(len(returns), np.nan)
    level = float(np.mean(returns[1:21] ** 2)) if len(returns) > 1 else math.nan
    for bar in range(1, len(returns)):
        level = decay * level + (1.0 - decay) * returns[bar] ** 2
        variance[bar] = level
    result: FloatArray = np.sqrt(variance)
    return result


def ewma_chances(ratio: FloatArray) -> FloatArray:
    """Chances under a normal distribution of mean 0 whose deviation is `ratio` [S] times the 20-day
    volatility that scales the buckets, [S, 5]."""
    cuts = np.array(EDGES)[None] / ratio[:, None]
    below = 0.5 * (1.0 + np.vectorize(math.erf)(cuts / math.sqrt(2.0)))
    edges = np.concatenate([np.zeros((len(ratio), 1)), below, np.ones((len(ratio), 1))], axis=1)
    return normalised(np.diff(edges, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class LogisticRegression:
    """Multinomial logistic regression on standardised numbers.

    Shapes: `centre` and `scale` [F], `weights` [F + 1, 5].
    """

    centre: FloatArray
    scale: FloatArray
    weights: FloatArray

    @classmethod
    def fit(cls, numbers: FloatArray, answers: IntArray, ridge: float = 1.0) -> LogisticRegression:
        """By L-BFGS on the ridged likelihood, from `numbers` [S, F] and `answers` [S]."""
        import torch

        centre, scale = numbers.mean(axis=0), numbers.std(axis=0)
        scale = np.where(scale > 0.0, scale, 1.0)
        inputs = torch.from_numpy(_with_one((numbers - centre) / scale))
        targets = torch.from_numpy(answers)
        weights = torch.zeros(
            (inputs.shape[1], len(BUCKETS)), dtype=torch.float64, requires_grad=True
        )
        solver = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            solver.zero_grad()
            fitted = torch.nn.functional.cross_entropy(inputs @ weights, targets)
            penalised = fitted + ridge / (2 * len(answers)) * weights[:-1].square().sum()
            penalised.backward()  # type: ignore[no-untyped-call]
            return penalised

        solver.step(loss)  # type: ignore[no-untyped-call]
        return cls(centre, scale, weights.detach().numpy())

    def chances(self, numbers: FloatArray) -> FloatArray:
        """[S, 5] from `numbers` [S, F]."""
        scores = _with_one((numbers - self.centre) / self.scale) @ self.weights
        return normalised(np.exp(scores - scores.max(axis=1, keepdims=True)))


def _with_one(numbers: FloatArray) -> FloatArray:
    return np.concatenate([np.clip(numbers, -5.0, 5.0), np.ones((len(numbers), 1))], axis=1)
