"""What the learned parts make of a step: one distribution for every symbol, and what it is worth in trading.

Owns the order of learning: answers that became known first, then what is told now. From the pooled chances it
makes a *view* (an expected return with a confidence) and a *dispersion ratio* (how much wilder or calmer the
coming bars are than the last 20). Both are earned: confidence is the realised gain in log score, less one
standard error, over a reference that knows everything but that. For direction the reference is the same
forecast without its lean (its mirror image averaged in); for dispersion it is climatology without its lean.
Without a proven gain both are nothing, and the agents decide as without these parts.

Refuses to know memories and weights of positions. Shapes: N symbols, K sources, B buckets.
Source: bucket means and second moments of the standard normal distribution between `models.state.EDGES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents.claims import ClaimBook
from agents.forecasts import Answer, Batch, ForecastBook, Recalled, stamp
from agents.learning import FLOOR, SpeedMixture
from agents.sources import AnalogEvidence, Answers, Climatology, Seen, Source
from core.types import Views
from models.state import EDGES, HORIZON_BARS

if TYPE_CHECKING:
    from agents.remembered import Remembered

FloatArray = npt.NDArray[np.float64]

FULL_GAIN = 0.02
"""Nats of proven gain at which confidence is whole. The shipped model's whole gain in dispersion on stocks it
never saw is 0.044."""
FORGET = 0.998
"""What a gain still counts one answered step later: half after a year and a half of days."""
RATIO_DIGITS = 4
FEWEST_STEPS = 60
"""No confidence from fewer answered steps."""


def _moments() -> tuple[FloatArray, FloatArray]:
    """(mean [B], second moment [B]) of a standard normal variable inside each bucket."""
    edges = [-math.inf, *EDGES, math.inf]

    def density(x: float) -> float:
        return 0.0 if math.isinf(x) else math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)

    def below(x: float) -> float:
        return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))

    def part(x: float) -> float:
        return 0.0 if math.isinf(x) else x * density(x)

    means, squares = [], []
    for low, high in pairwise(edges):
        mass = below(high) - below(low)
        means.append((density(low) - density(high)) / mass)
        squares.append(1.0 + (part(low) - part(high)) / mass)
    return np.array(means), np.array(squares)


BUCKET_MEANS, BUCKET_SQUARES = _moments()


class Gain:
    """A running mean of what was gained at each answered step, and how sure it is.

    Answers overlap over the horizon, so that the standard error is widened by its root.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._weight = self._weight_squares = self._sum = self._squares = 0.0

    def add(self, gain: float) -> None:
        self.steps += 1
        self._weight = FORGET * self._weight + 1.0
        self._weight_squares = FORGET * FORGET * self._weight_squares + 1.0
        self._sum = FORGET * self._sum + gain
        self._squares = FORGET * self._squares + gain * gain

    @property
    def proven(self) -> float:
        """The mean less one standard error; 0 with too few steps, and never below."""
        if self.steps < FEWEST_STEPS:
            return 0.0
        mean = self._sum / self._weight
        variance = max(self._squares / self._weight - mean * mean, 0.0)
        effective = self._weight * self._weight / self._weight_squares
        error = math.sqrt(variance * HORIZON_BARS / effective)
        return max(mean - error, 0.0)

    @property
    def confidence_frac(self) -> float:
        return round(min(self.proven / FULL_GAIN, 1.0), 4)


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a step comes to. Shapes: [N]; `view` is over `horizon_bars`.

    `dispersion_ratio` multiplies a volatility; 1 is "as the last 20 bars". `told` is the record's
    `forecasts` without claims, seal and answers, `recalled` what its `memory` says of entries, by symbol.
    """

    view: Views
    horizon_bars: int
    dispersion_ratio: FloatArray
    told: Mapping[str, Any]
    recalled: Mapping[str, Any]


class Mind:
    """The sources, their weights, and the gains that trading may rely on."""

    def __init__(
        self,
        sources: Sequence[Source],
        climate: Climatology,
        book: ForecastBook,
        mixture: SpeedMixture,
        *,
        learns: bool = True,
    ) -> None:
        """`learns` False leaves every source, weight and gain as it began."""
        self.sources = tuple(sources)
        self.climate = climate
        self.book = book
        self.mixture = mixture
        self.claims = ClaimBook()
        self.direction, self.dispersion = Gain(), Gain()
        self._learns = learns
        self._analogs = next(
            (source for source in self.sources if isinstance(source, AnalogEvidence)), None
        )

    def learn(self, answers: Sequence[Answer]) -> None:
        """Take in what became known at this step: sources, weights, gains, in that order of use.

        Everything is measured with what was told at the time, never with what would be told now.
        """
        if not answers or not self._learns:
            return
        self.mixture.learn(
            np.stack([answer.told() for answer in answers]),
            np.stack([answer.told_by_speed() for answer in answers]),
        )
        self._measure(answers)
        buckets = np.array([answer.bucket for answer in answers])
        for place, source in enumerate(self.sources):
            told = [answer.batch.told[place] for answer in answers]
            features = None
            if told[0].features is not None:
                features = np.stack(
                    [
                        each.features[answer.column]  # type: ignore[index]
                        for each, answer in zip(told, answers, strict=True)
                    ]
                )
            chances = np.stack(
                [each.chances[a.column] for each, a in zip(told, answers, strict=True)]
            )
            source.learn(Answers(features, chances, buckets))

    def _measure(self, answers: Sequence[Answer]) -> None:
        whole = np.stack([answer.batch.pooled.chances[answer.column] for answer in answers])
        buckets = np.array([answer.bucket for answer in answers])
        rows = np.arange(len(answers))
        plain = 0.5 * (whole + whole[:, ::-1])
        usual = np.tile(0.5 * (self.climate.chances + self.climate.chances[::-1]), (len(rows), 1))

        def score(chances: FloatArray) -> FloatArray:
            result: FloatArray = np.log(np.maximum(chances[rows, buckets], FLOOR))
            return result

        self.direction.add(float((score(whole) - score(plain)).mean()))
        self.dispersion.add(float((score(plain) - score(usual)).mean()))

    def judge(self, remembered: Remembered, views: Views, views_horizon_bars: int) -> Judgement:
        """What all sources tell now, sealed, and what trading may make of it."""
        states = remembered.states
        seen = Seen(states, views, views_horizon_bars, remembered.cases, remembered.news)
        recalled = self._recalled(seen)
        told = tuple(source.tell(seen) for source in self.sources)
        stacked = np.stack([each.chances for each in told])
        pooled = self.mixture.pool(stacked)
        without = stacked.copy()
        for place, source in enumerate(self.sources):
            if source is self._analogs:
                without[place] = np.nan
        batch = Batch(
            made_at=stamp(states.as_of),
            symbols=states.symbols,
            told=told,
            pooled=pooled,
            without_recall=self.mixture.pool(without).chances if recalled else pooled.chances,
            close=states.close,
            scale=states.scale,
            numbers=seen.numbers,
            recalled=recalled,
            topics=remembered.topics,
        )
        forecasts = self.book.add(states, batch)
        lean = pooled.chances @ BUCKET_MEANS
        spread = np.sqrt(np.maximum(pooled.chances @ BUCKET_SQUARES, 1e-6))
        expected = np.round(lean * states.scale, 6)
        sure = np.where(np.isnan(expected), 0.0, self.direction.confidence_frac)
        known: FloatArray = np.where(np.isnan(spread), 1.0, spread)
        damped: FloatArray = np.exp(self.dispersion.confidence_frac * np.log(known))
        ratio = np.round(np.clip(damped, 0.5, 2.0), decimals=RATIO_DIGITS)
        return Judgement(
            view=Views("learned", expected, sure),
            horizon_bars=HORIZON_BARS,
            dispersion_ratio=ratio.astype(np.float64),
            told=forecasts,
            recalled={
                states.symbols[column]: {
                    "ids": [each.id for each in entries],
                    "versions": [each.version for each in entries],
                    "weights": [each.weight for each in entries],
                }
                for column, entries in recalled.items()
            },
        )

    def _recalled(self, seen: Seen) -> dict[int, list[Recalled]]:
        """The entries behind a forecast by column, those that count nothing left out."""
        if self._analogs is None:
            return {}
        found: dict[int, list[Recalled]] = {}
        for column, cases in seen.cases.items():
            weights = self._analogs.weights(seen, column)
            kept = [
                Recalled(case.entry_id, case.version, weight)
                for case, weight in zip(cases, weights, strict=True)
                if weight > 0.0
            ]
            if kept and seen.states.told[column]:
                found[column] = kept
        return found
