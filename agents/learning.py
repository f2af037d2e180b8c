"""Learning which source to believe: prediction with expert advice, at three speeds at once.

Owns the weights of sources that each tell chances for the same question. They are learnt from realised log
scores alone, after the outcome is known. Refuses to know what a source is and what it was asked.

Each speed keeps logits over the sources and mixes their chances by the softmax of them. The gradient of the
mixture's log score by the logits is, for one answer y, w_k (p_k(y) / p(y) - 1): a source gains by telling
more than the mixture did. Fast adds it at every step, medium every 8 steps, slow every 64, the gradients of
the steps between accumulated: slow parameters see many answers and forget little, fast ones follow a change
of regime. The three mixtures are mixed again, weighted by their own realised log scores with a fixed share
that flows back, so that no speed is ever written off.

Sources that abstain (NaN) sleep: the others' weights are scaled up, and they neither gain nor lose.

Shapes: K sources, S speeds, N questions, B answers, R questions answered in one step.
Source: exponentiated gradient, Kivinen and Warmuth (1997); fixed share, Herbster and Warmuth (1998); sleeping
experts, Freund et al. (1997); several speeds with accumulated gradients, Behrouz et al., Nested Learning
(2025), the continuum memory system. Known weakness: the weights are common to all symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FLOOR = 1e-6
"""No chance counts as less than this in a logarithm."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How often logits move (`every` so many steps with answers), by how much, and how far they may go.

    `share` is spread evenly over the sources, so that one that was wrong for years can come back.
    """

    name: str
    every: int
    rate: float
    share: float


SPEEDS = (
    Speed("fast", 1, 1.6, 0.02),
    Speed("medium", 8, 0.4, 0.02),
    Speed("slow", 64, 0.1, 0.02),
)
"""Tuned on worlds of other seeds than the tests' (`docs/log.md`, 2026-11-28)."""
SPEED_RATE = 1.0
"""How strongly a speed's realised log score moves its weight; 1 is Bayes' rule."""
SPEED_SHARE = 0.005
"""What flows back to all speeds at each step with answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """What the sources come to: `chances` [N, B], and each speed's own mixture, `by_speed` [S, N, B].

    Rows of NaN where every source abstained.
    """

    chances: FloatArray
    by_speed: FloatArray


class SpeedMixture:
    """The learner. Nothing here looks at a clock: steps are counted by calls of `learn`."""

    def __init__(
        self,
        sources: Sequence[str],
        speeds: Sequence[Speed] = SPEEDS,
        *,
        rate: float = SPEED_RATE,
        share: float = SPEED_SHARE,
        learns: bool = True,
    ) -> None:
        """`learns` False keeps every weight equal for ever: the baseline."""
        self.sources = tuple(sources)
        self.speeds = tuple(speeds)
        self._rate, self._share, self._learns = rate, share, learns
        self._logits = np.zeros((len(self.speeds), len(self.sources)))
        self._gradient = np.zeros_like(self._logits)
        self._speed_weights = np.full(len(self.speeds), 1.0 / len(self.speeds))
        self.steps = 0

    @property
    def weights(self) -> FloatArray:
        """Of each source in each speed's mixture, [S, K], rows adding up to 1."""
        raised = np.exp(self._logits - self._logits.max(axis=1, keepdims=True))
        even = np.array([speed.share for speed in self.speeds])[:, None]
        soft = raised / raised.sum(axis=1, keepdims=True)
        result: FloatArray = (1.0 - even) * soft + even / len(self.sources)
        return result

    @property
    def speed_weights(self) -> FloatArray:
        """Of each speed, [S], adding up to 1."""
        return self._speed_weights.copy()

    @property
    def source_weights(self) -> FloatArray:
        """Of each source in the end, [K]."""
        result: FloatArray = self._speed_weights @ self.weights
        return result

    def pool(self, chances: FloatArray) -> Pooled:
        """Mix what the sources tell, [K, N, B]; a source's row of NaN abstains on that question."""
        speaks = ~np.isnan(chances[:, :, 0])
        told = np.where(speaks[:, :, None], chances, 0.0)
        heard = self.weights[:, :, None] * speaks[None]  # [S, K, N]
        total = heard.sum(axis=1)
        anyone = total > 0.0
        share = heard / np.where(anyone, total, 1.0)[:, None]
        by_speed = np.einsum("skn,knb->snb", share, told)
        by_speed[~anyone] = np.nan
        return Pooled(np.einsum("s,snb->nb", self._speed_weights, by_speed), by_speed)

    def learn(self, told: FloatArray, told_by_speed: FloatArray) -> None:
        """One step's answers: what each source, [R, K], and each speed, [R, S], had told for what came.

        Point in time: to be called once the answers are known, with what was told before they were.
        A step without answers does nothing and does not count.
        """
        if not self._learns or not len(told):
            return
        speaks = ~np.isnan(told)
        some = speaks.any(axis=1)
        told, told_by_speed, speaks = told[some], told_by_speed[some], speaks[some]
        if not len(told):
            return
        self.steps += 1
        chance = np.where(speaks, np.maximum(told, FLOOR), 0.0)
        heard = self.weights[:, None] * speaks[None]  # [S, R, K]
        heard /= heard.sum(axis=2, keepdims=True)
        mixed = (heard * chance[None]).sum(axis=2, keepdims=True)
        self._gradient += (heard * (chance[None] / mixed - 1.0) * speaks[None]).mean(axis=1)
        for place, speed in enumerate(self.speeds):
            if self.steps % speed.every == 0:
                self._logits[place] += speed.rate * self._gradient[place]
                self._gradient[place] = 0.0
        self._logits -= self._logits.mean(axis=1, keepdims=True)
        gain = np.log(np.maximum(told_by_speed, FLOOR)).mean(axis=0)
        scaled = self._speed_weights * np.exp(self._rate * (gain - gain.max()))
        scaled /= scaled.sum()
        self._speed_weights = (1.0 - self._share) * scaled + self._share / len(self.speeds)
