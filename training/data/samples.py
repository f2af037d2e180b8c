"""Supervised samples: a market state as text, with the news known by then, and the bucket that came.

Owns which states are asked about and which news stand in them. The wording is `models/render.py`'s, the one
that trading uses. Refuses to know tokens.

Point in time: a state at a close holds news up to that close; the answer lies five bars later and inside the
part, so that nothing of a part reaches past its end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from core.errors import DataError
from core.types import MarketState, NewsLine
from models.render import BUCKETS
from models.state import WARM_UP_BARS, utc
from training.data.corpus import Document
from training.data.dates import future_date
from training.data.split import Series

NEWS_DAYS = 3
NEWS_LINES = 4
NEWS_LETTERS = 140
"""How old, how many and how long the news of a state may be."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A state and the bucket (0 to 4) of the five bars after it. `bar` is its place in its series."""

    state: MarketState
    answer: int
    bar: int


class NewsBook:
    """The documents of each symbol by time."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents: dict[str, list[Document]] = {}
        for each in sorted(documents, key=lambda document: document.time):
            self._documents.setdefault(each.symbol, []).append(each)
        self._times = {
            symbol: [each.time for each in found] for symbol, found in self._documents.items()
        }

    def lines(self, symbol: str, as_of: datetime) -> tuple[NewsLine, ...]:
        """The last few different texts about a symbol that were public at `as_of`, oldest first."""
        found = self._documents.get(symbol, [])
        end = bisect_right(self._times.get(symbol, []), as_of)
        lines: dict[str, NewsLine] = {}
        for each in reversed(found[:end]):
            if each.time < as_of - timedelta(days=NEWS_DAYS) or len(lines) == NEWS_LINES:
                break
            text = each.text[:NEWS_LETTERS].strip()
            if future_date(text, as_of) is None:
                lines.setdefault(text.casefold(), NewsLine(each.time, text))
        return tuple(reversed(lines.values()))


def build_samples(
    series: Sequence[Series], news: NewsBook | None = None, *, stride_bars: int = 1
) -> list[Sample]:
    """Samples of every `stride_bars`-th bar of series, by symbol and bar."""
    samples = []
    for each in series:
        first = max(each.first, WARM_UP_BARS)
        for bar in range(first, each.last + 1, stride_bars):
            answer = int(each.answers[bar])
            if answer < 0:
                continue
            as_of = utc(each.times[bar])
            lines = news.lines(each.symbol, as_of) if news is not None else ()
            state = each.numbers.at(bar, symbol=each.symbol, as_of=as_of, news=lines)
            samples.append(Sample(state, answer, bar))
    return samples


def deal_answers(samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """The same states with the same answers, dealt out anew among them: nothing is left to be found."""
    order = np.random.default_rng([seed, 5]).permutation(len(samples)).tolist()
    return [
        replace(each, answer=samples[other].answer)
        for each, other in zip(samples, order, strict=True)
    ]


def require_classes(samples: Sequence[Sample], where: str) -> None:
    """Raises: DataError when the samples have no answers, or all the same one."""
    answers = {each.answer for each in samples}
    if len(answers) < 2:
        what = "no answers" if not answers else f"only one kind of answer ({answers.pop()})"
        raise DataError(
            f"{where} has {what}: there is nothing to learn from it.",
            "Give prices of more bars, symbols or times.",
        )


def cut(series: Series, first: datetime | None, last: datetime | None, horizon: int) -> Series:
    """The series' states from after `first` to such whose whole answer lies at or before `last`."""
    times = series.times
    low = 0 if first is None else int(np.searchsorted(times, _stamp(first), side="right"))
    high = len(times) if last is None else int(np.searchsorted(times, _stamp(last), side="right"))
    return Series(
        series.symbol, series.times, series.close, series.numbers, series.answers,
        max(series.first, low), min(series.last, high - 1 - horizon),
    )  # fmt: skip


def answer_shares(samples: Sequence[Sample]) -> Mapping[str, float]:
    """How often each bucket is the answer."""
    counts = np.bincount([each.answer for each in samples], minlength=5)
    return {
        word: float(count / max(1, len(samples)))
        for word, count in zip(BUCKETS, counts, strict=True)
    }


def _stamp(moment: datetime) -> np.datetime64:
    from datetime import UTC

    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")
