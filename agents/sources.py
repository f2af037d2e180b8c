"""Sources of forecasts: each tells chances for the five buckets of a symbol's next five-bar return.

Owns the common question (`models/state.py`: five buckets in units of the symbol's own 20-bar volatility) and
six ways to answer it. Each abstains (a row of NaN) where it has nothing to go by, and learns only from
answers that are known. What each is worth is not judged here (`agents/learning.py`).

* climatology: how often each bucket came so far, in all symbols;
* indicators: a normal distribution of EWMA volatility, corrected by an online multinomial logistic regression
  on the state's numbers;
* market_analyst: the same distribution, moved by the analyst's expected return;
* forecaster: the language model's answer to the state as text;
* analogs: how the recalled cases with known outcomes came out, weighted by likeness, recency and evidence;
* news: climatology, corrected by an online multinomial logistic regression on the hashed words of the news
  since the last bar. Text moves chances only by what such words were followed by.

Shapes: N symbols, B = 5 buckets, F features, R answers.
Source: AdaGrad, Duchi, Hazan and Singer (2011); feature hashing, Weinberger et al. (2009).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from agents.news import telling_words, words_of
from models.forecaster import normalised
from models.render import BUCKETS
from models.state import EDGES, HORIZON_BARS

if TYPE_CHECKING:
    from agents.news import News
    from agents.states import StateRow
    from core.types import MarketState, Views

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BUCKET_COUNT = len(BUCKETS)
DIGITS = 4
"""Chances are rounded so at the border of a source: what is scored is what the record holds."""
CLIMATE_PRIOR = 4.0
"""Answers that climatology takes for given, one fifth in each bucket."""


@dataclass(frozen=True, slots=True)
class Case:
    """A recalled entry about an earlier state whose outcome is known.

    `numbers` are its state as features, `counts` how often each bucket came in the cases that the entry
    stands for, `age_days` how long ago the last became known, `words` those of the news it began with.
    """

    entry_id: str
    version: int
    numbers: tuple[float, ...]
    counts: tuple[float, ...]
    age_days: float
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Seen:
    """What sources may look at, at one step. `cases` and `news` are by column."""

    states: StateRow
    views: Views | None = None
    views_horizon_bars: int = HORIZON_BARS
    cases: Mapping[int, Sequence[Case]] = field(default_factory=dict)
    news: Mapping[int, Sequence[News]] = field(default_factory=dict)

    @cached_property
    def features(self) -> FloatArray:
        """`state_features` [N, F], made once."""
        return state_features(self.states)

    def words(self, column: int) -> frozenset[str]:
        """By what a symbol's news since the last bar is known."""
        return frozenset(telling_words(self.news.get(column, ())))

    @cached_property
    def numbers(self) -> FloatArray:
        """By what a case is like the present, [N, 5]."""
        return self.features[:, CASE_FEATURES]


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Chances [N, B] and, for sources that learn, the features [N, F] they were told from."""

    chances: FloatArray
    features: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one source had told from (`features` [R, F]) and told [R, B], and which bucket came [R].

    Point in time: all R are known now. Rows of NaN are questions on which the source abstained.
    """

    features: FloatArray | None
    told: FloatArray
    buckets: IntArray


class Source(Protocol):
    """One way to answer. `tell` must not change what it will tell; only `learn` may."""

    @property
    def name(self) -> str: ...

    def tell(self, seen: Seen) -> Told: ...

    def learn(self, answers: Answers) -> None: ...


def nothing(count: int) -> FloatArray:
    """Everybody abstained on, [N, B]."""
    return np.full((count, BUCKET_COUNT), np.nan)


def told_only(chances: FloatArray, seen: Seen) -> FloatArray:
    """Rounded, and NaN for the symbols that no forecast is made for."""
    result: FloatArray = np.round(chances, DIGITS)
    result[~seen.states.told] = np.nan
    return result


def normal_chances(mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """Chances [N, B] under a normal distribution in units of the scale; NaN where either is."""
    known = ~(np.isnan(mean) | np.isnan(deviation))
    place = np.where(known, mean, 0.0)
    width = np.where(known, np.clip(deviation, 0.2, 5.0), 1.0)
    cuts = (np.array(EDGES)[None] - place[:, None]) / (width[:, None] * math.sqrt(2.0))
    below = np.array([[0.5 * (1.0 + math.erf(cut)) for cut in row] for row in cuts.tolist()])
    below = below.reshape(len(mean), len(EDGES))
    ends = np.ones((len(mean), 1))
    chances = normalised(np.diff(np.concatenate([0.0 * ends, below, ends], axis=1), axis=1))
    return np.where(known[:, None], chances, np.nan)


class Climatology:
    """How often each bucket came so far; one fifth each before any answer."""

    name = "climatology"

    def __init__(self) -> None:
        self._counts = np.full(BUCKET_COUNT, CLIMATE_PRIOR / BUCKET_COUNT)

    @property
    def chances(self) -> FloatArray:
        """[B]"""
        result: FloatArray = self._counts / self._counts.sum()
        return result

    def tell(self, seen: Seen) -> Told:
        return Told(told_only(np.tile(self.chances, (len(seen.states.told), 1)), seen))

    def learn(self, answers: Answers) -> None:
        self._counts = self._counts + np.bincount(answers.buckets, minlength=BUCKET_COUNT)


class OnlineLogistic:
    """Corrections to a base distribution: softmax(log base + features @ weights), learnt by AdaGrad.

    Weights begin at 0, so that it begins as its base. Rows of one step are averaged.
    """

    def __init__(self, features: int, rate: float, ridge: float = 1e-4) -> None:
        self._weights = np.zeros((features, BUCKET_COUNT))
        self._squares = np.full((features, BUCKET_COUNT), 1e-2)
        self._rate, self._ridge = rate, ridge

    def chances(self, base: FloatArray, features: FloatArray) -> FloatArray:
        """[N, B] from a base [N, B] and features [N, F]."""
        scores = np.log(base) + features @ self._weights
        return normalised(np.exp(scores - scores.max(axis=1, keepdims=True)))

    def learn(self, features: FloatArray, told: FloatArray, buckets: IntArray) -> None:
        """One step by the gradient of the mean log score."""
        missed = -told
        missed[np.arange(len(buckets)), buckets] += 1.0
        gradient = features.T @ missed / len(buckets) - self._ridge * self._weights
        self._squares += gradient * gradient
        self._weights += self._rate * gradient / np.sqrt(self._squares)


class Indicators:
    """A normal distribution of EWMA volatility, corrected by what the state's numbers were followed by."""

    name = "indicators"

    def __init__(self, rate: float = 0.02) -> None:
        self._model = OnlineLogistic(len(FEATURE_NAMES), rate)

    def tell(self, seen: Seen) -> Told:
        ratio = np.where(seen.states.told, seen.states.ewma_ratio, 1.0)
        base = normal_chances(np.zeros(len(ratio)), ratio)
        features = seen.features
        return Told(told_only(self._model.chances(base, features), seen), features)

    def learn(self, answers: Answers) -> None:
        assert answers.features is not None
        self._model.learn(answers.features, answers.told, answers.buckets)


FEATURE_NAMES = (
    "one", "short", "long", "trend", "trend_size", "drawdown", "rsi", "band", "band_size", "volume",
)  # fmt: skip


def state_features(states: StateRow) -> FloatArray:
    """The numbers of a state as features of about the same size, [N, F]; what is not known is 0."""
    columns = (
        np.ones(len(states.told)),
        2.0 * np.log(np.maximum(states.short_ratio, 0.1)),
        2.0 * np.log(np.maximum(states.long_ratio, 0.1)),
        states.trend_ratio,
        np.abs(states.trend_ratio) - 0.8,
        4.0 * states.drawdown - 0.5,
        (states.rsi - 50.0) / 15.0,
        states.band_z,
        np.abs(states.band_z) - 0.8,
        np.log(np.maximum(states.volume_ratio, 0.1)),
    )
    stacked = np.stack(columns, axis=1)
    result: FloatArray = np.clip(np.where(np.isfinite(stacked), stacked, 0.0), -3.0, 3.0)
    return np.round(result, 3)


class AnalystOpinion:
    """The market analyst's expected return as chances: the distribution of EWMA volatility, moved."""

    name = "market_analyst"

    def tell(self, seen: Seen) -> Told:
        states, views = seen.states, seen.views
        if views is None:
            return Told(nothing(len(states.told)))
        scale = np.where(states.told, states.scale, 1.0)
        expected = views.expected_return_frac * (HORIZON_BARS / seen.views_horizon_bars)
        ratio = np.where(states.told, states.ewma_ratio, 1.0)
        return Told(told_only(normal_chances(np.clip(expected / scale, -2.0, 2.0), ratio), seen))

    def learn(self, answers: Answers) -> None:
        """Its formula does not learn."""


class Forecaster(Protocol):
    """The part of `models.forecaster.OLMoEForecaster` that is used."""

    def forecast(self, states: Sequence[MarketState]) -> FloatArray: ...


class ModelForecast:
    """The language model's chances, asked for all symbols in one pass."""

    name = "forecaster"

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster

    def tell(self, seen: Seen) -> Told:
        chances = nothing(len(seen.states.told))
        columns = np.flatnonzero(seen.states.told).tolist()
        if columns:
            asked = [seen.states.state(column) for column in columns]
            chances[columns] = self._forecaster.forecast(asked)
        return Told(told_only(chances, seen))

    def learn(self, answers: Answers) -> None:
        """Its weights are frozen in a run."""


class AnalogEvidence:
    """How recalled cases came out.

    An entry weighs likeness (a Gaussian of the distance between its numbers and the present ones x the words
    of news in common over all words of either) x recency (half after `half_life_days`) x evidence (how many
    cases it stands for). All are added to `prior_cases` cases of climatology, so that little evidence moves
    little. Without a case it abstains.
    """

    name = "analogs"

    def __init__(
        self, climate: Climatology, *, prior_cases: float = 16.0, half_life_days: float = 1_500.0
    ) -> None:
        self._climate = climate
        self._prior, self._half_life = prior_cases, half_life_days

    def weights(self, seen: Seen, column: int) -> list[float]:
        """What each of a symbol's recalled cases counts, in their order."""
        present, words = seen.numbers[column], seen.words(column)
        found = []
        for case in seen.cases.get(column, ()):
            away = present - np.array(case.numbers)
            likeness = math.exp(-0.5 * float(away @ away) / len(away))
            if words or case.words:
                likeness *= len(words & case.words) / len(words | case.words)
            recency = 0.5 ** (max(case.age_days, 0.0) / self._half_life)
            found.append(round(likeness * recency * sum(case.counts), DIGITS))
        return found

    def tell(self, seen: Seen) -> Told:
        chances = nothing(len(seen.states.told))
        for column, cases in seen.cases.items():
            counts = self._prior * self._climate.chances
            weights = self.weights(seen, column)
            if not sum(weights) > 0.0:
                continue
            for case, weight in zip(cases, weights, strict=True):
                counts += weight * np.array(case.counts) / sum(case.counts)
            chances[column] = counts / counts.sum()
        spoken = ~np.isnan(chances[:, 0])
        chances[spoken] = normalised(chances[spoken])
        return Told(told_only(chances, seen))

    def learn(self, answers: Answers) -> None:
        """What it knows is in the memory."""


CASE_FEATURES = (1, 2, 3, 6, 7)
"""Columns of `state_features` by which one case is like another: those not made from others."""


NEWS_WORDS = 64
"""Columns for hashed words."""


class NewsEvidence:
    """Climatology, corrected by what such words, and so many lines, were followed by.

    Abstains on symbols without news since the last bar.
    """

    name = "news"

    def __init__(self, climate: Climatology, rate: float = 0.03) -> None:
        self._climate = climate
        self._model = OnlineLogistic(NEWS_WORDS + 2, rate)

    def tell(self, seen: Seen) -> Told:
        count = len(seen.states.told)
        features = np.zeros((count, NEWS_WORDS + 2))
        chances = nothing(count)
        columns = [column for column, lines in sorted(seen.news.items()) if lines]
        for column in columns:
            features[column] = news_features([line.text for line in seen.news[column]])
        if columns:
            base = np.tile(self._climate.chances, (len(columns), 1))
            chances[columns] = self._model.chances(base, features[columns])
        return Told(told_only(chances, seen), features)

    def learn(self, answers: Answers) -> None:
        assert answers.features is not None
        spoke = ~np.isnan(answers.told[:, 0])
        if spoke.any():
            self._model.learn(answers.features[spoke], answers.told[spoke], answers.buckets[spoke])


def news_features(texts: Sequence[str]) -> FloatArray:
    """Signed hashed words of unit length, a 1 and the logarithm of the number of lines, [NEWS_WORDS + 2]."""
    row = np.zeros(NEWS_WORDS + 2)
    for text in texts:
        for word in words_of(text):
            place, sign = _place(word)
            row[place] += sign
    length = float(np.sqrt(row @ row))
    if length > 0.0:
        row /= length
    row[-2], row[-1] = 1.0, math.log1p(len(texts)) - 1.0
    return np.round(row, 6)


@lru_cache(maxsize=100_000)
def _place(word: str) -> tuple[int, float]:
    digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
    value = int.from_bytes(digest, "little")
    return (value >> 1) % NEWS_WORDS, 1.0 if value & 1 else -1.0
