"""The corpus of `athena-olmoe-nano`: market narratives and free prose, as documents.

Owns what is in it and in what share. Narratives come from the train split of the shipped sample and from
simulated paths; each holds a state as `models.render` words it with the answer to its question, or a short
story about the same state. Prose comes from `training/nano/prose`. Refuses to know tokens and models.

Known weakness: the stories and their news are made from templates; they teach words, not the world.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import resources

import numpy as np

from core.types import MarketState, NewsLine
from models.render import BUCKETS, QUESTION, question, render
from models.state import HORIZON_BARS, WARM_UP_BARS, StateNumbers, buckets, utc
from training.data.split import Series
from training.nano.simulate import simulate

PROSE_FILES = ("wordnet", "devil", "jargon")
VALIDATION_EVERY = 20
"""One prose document in twenty is kept for validation."""

SIMULATED_BARS = 420
STRIDE_BARS = 7
"""Simulated states are taken every seventh bar: their answers do not overlap."""

_NEWS = (
    (
        "raised its guidance for the year",
        "reported higher quarterly profit",
        "won a large contract",
    ),
    (
        "said its chief executive will stay",
        "will hold its annual meeting next month",
        "named a new member to its board",
    ),
    ("cut its guidance for the year", "warned of lower quarterly profit", "recalled a product"),
)
"""What an invented company's news say after a large rise, after a quiet day, after a large fall."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts for training and for validation, each kind apart."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def prose() -> Documents:
    """The shipped prose; every twentieth document is for validation."""
    train: list[str] = []
    validation: list[str] = []
    folder = resources.files("training.nano.prose")
    for name in PROSE_FILES:
        text = lzma.decompress((folder / f"{name}.txt.xz").read_bytes()).decode()
        for number, document in enumerate(text.split("\n\n")):
            kept = validation if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 else train
            kept.append(document)
    return Documents(tuple(train), tuple(validation))


def simulated_narratives(paths: int, *, seed: int, bars: int = SIMULATED_BARS) -> Iterator[str]:
    """About (bars - 66) / 7 narratives of each path, in path order."""
    rng = np.random.default_rng([seed, 1])
    worlds = simulate(paths, bars, seed=seed)
    for column, name in enumerate(worlds.names):
        close = worlds.close[:, column]
        numbers = StateNumbers.of(close, worlds.volume[:, column])
        answers = buckets(close)
        begin = datetime(1990, 1, 1, 21, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 5000)))
        offset = int(rng.integers(0, STRIDE_BARS))
        for bar in range(WARM_UP_BARS + offset, bars - HORIZON_BARS, STRIDE_BARS):
            moment = begin + timedelta(days=bar * 7 // 5)
            state = numbers.at(bar, symbol=name, as_of=moment)
            yield narrative(state, int(answers[bar]), rng, invented=True)


def real_narratives(series: Sequence[Series], *, seed: int, copies: int = 1) -> Iterator[str]:
    """Narratives of every bar of real series, each told `copies` times in another form.

    Point in time: states and answers lie inside the part that the series were cut to.
    """
    rng = np.random.default_rng([seed, 2])
    for each in series:
        for bar in range(max(each.first, WARM_UP_BARS), each.last + 1):
            state = each.numbers.at(bar, symbol=each.symbol, as_of=utc(each.times[bar]))
            for _ in range(copies):
                yield narrative(state, int(each.answers[bar]), rng, invented=False)


def narrative(state: MarketState, answer: int, rng: np.random.Generator, *, invented: bool) -> str:
    """One document about a state: three in four as the model is asked about it, one in four a story."""
    if invented and rng.random() < 0.3:
        state = replace(state, news=_invented_news(state, rng))
    if rng.random() < 0.25:
        return story(state, answer, rng)
    text = render(state, masked=bool(rng.random() < 0.5))
    if rng.random() < 0.2:
        text = _shortened(text, rng)
    return f"{question(text)} {BUCKETS[answer]}" if answer >= 0 else text


def story(state: MarketState, answer: int, rng: np.random.Generator) -> str:
    """The state in sentences, in one of several orders, as notes about a market are written."""
    name = state.symbol
    last = state.returns_frac[-1]
    moved = "rose" if last > 0 else "fell"
    size = abs(last) / (state.volatility_frac or 0.01)
    manner = "sharply" if size > 2 else "a little" if size < 0.5 else "again" if size < 1 else ""
    sentences = [f"{name} {moved} {100 * abs(last):.1f} percent {manner}".rstrip() + "."]
    week = float(np.prod([1.0 + each for each in state.returns_frac]) - 1.0)
    facts = [
        f"Over the week it {'gained' if week > 0 else 'lost'} {100 * abs(week):.1f} percent.",
        f"Its daily volatility is {100 * (state.volatility_frac or 0):.1f} percent.",
    ]
    if state.drawdown_frac is not None:
        at_high = state.drawdown_frac < 0.01
        below = f"It stands {100 * state.drawdown_frac:.0f} percent below its high of the year."
        facts.append("It stands at its high of the year." if at_high else below)
    if state.trend_ratio is not None:
        word = "up" if state.trend_ratio > 0.4 else "down" if state.trend_ratio < -0.4 else "flat"
        facts.append(f"The trend of the month is {word}.")
    if state.volume_ratio is not None:
        word = (
            "heavy"
            if state.volume_ratio > 1.4
            else "light"
            if state.volume_ratio < 0.7
            else "usual"
        )
        facts.append(f"Volume was {word}.")
    if state.rsi is not None and (state.rsi > 70 or state.rsi < 30):
        facts.append(
            f"It looks {'overbought' if state.rsi > 70 else 'oversold'}, RSI {state.rsi:.0f}."
        )
    order = rng.permutation(len(facts))[: int(rng.integers(2, len(facts) + 1))]
    sentences += [facts[index] for index in order]
    sentences += [f"News: {line.text}." for line in state.news]
    if answer >= 0 and rng.random() < 0.5:
        sentences.append(f"{QUESTION} {BUCKETS[answer]}")
    head = f"{state.as_of:%Y-%m-%d} " if rng.random() < 0.5 else "Note: "
    return head + " ".join(sentences)


def _invented_news(state: MarketState, rng: np.random.Generator) -> tuple[NewsLine, ...]:
    size = state.returns_frac[-1] / (state.volatility_frac or 0.01)
    group = 0 if size > 1.5 else 2 if size < -1.5 else 1
    text = _NEWS[group][int(rng.integers(0, 3))]
    time = state.as_of - timedelta(hours=int(rng.integers(1, 90)))
    return (NewsLine(time, f"{state.symbol} {text}"),)


def _shortened(text: str, rng: np.random.Generator) -> str:
    """Without one of the later lines, as a tight token budget leaves it."""
    lines = text.split("\n")
    if len(lines) > 2:
        del lines[int(rng.integers(1, len(lines)))]
    return "\n".join(lines)
