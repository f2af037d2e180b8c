"""Episodes made of what happens in a run: outcomes of forecasts, fills, closed trades, news lines, jumps.

Owns a world in which some topics lean and most do not, and what is asked of a memory in the end: which way
does it go after this topic? Events are made by `agents/run_events.py`, as in a run. Used in training only,
beside the desk notes (`episodes.py`), so that a policy has met what it decides about in a run. Everything is
drawn from (seed, number). Refuses to know memories, policies, rewards.

A leaning topic is followed by five-bar returns moved by `LEAN_DEVIATIONS` of their own deviation, up or
down; any other by returns around 0. So one outcome says little, a tally says much, and what to keep is which
tallies to go on with. What must be learnt from reward: how often topics of each sort lean, how many outcomes
it takes to know, and that fills, trades, jumps and the lines themselves are never asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from agents.news import MARKET, News
from agents.run_events import (
    NEWS_TOPIC,
    SIZE_WORDS,
    TREND_WORDS,
    Outcome,
    filled,
    jumped,
    news_topic,
    outcome_event,
    printed,
    short,
    state_in_words,
    traded,
)
from agents.sources import CASE_FEATURES
from core.types import Fill
from memory.policy import MemoryEvent, Situation
from models.state import EDGES
from trading.portfolio import RoundTrip
from training.stage2_agemem.episodes import (
    Claim,
    Episode,
    Fact,
    Note,
    Path,
    Question,
    regime_at,
    ticker,
)
from training.stage2_agemem.world import VOICES

Generator = np.random.Generator

RUN_NOTES: Final = 52
NEWS_TOPICS: Final = 9
STATE_TOPICS: Final = 4
NEWS_LEAN_CHANCE: Final = 0.35
STATE_LEAN_CHANCE: Final = 0.05
LEAN_DEVIATIONS: Final = 1.2
STATE_SHARE: Final = 0.35
"""Of the outcomes, those of forecasts that began with a state."""
TOGETHER_SHARE: Final = 0.2
"""Of the outcomes, those of two symbols at once."""
OUTCOME_SHARE: Final = 0.85
"""Of the events; the rest are news lines, fills, trades and jumps."""
MARKET_SHARE: Final = 0.2
"""Of the news lines, those about no symbol."""
LEANING_ASKED: Final = 0.7
"""Share of the questions that are about a topic that leans."""
SYMBOLS: Final = 4

_SUBJECTS: Final = (
    "amber", "barge", "cedar", "dairy", "ember", "falcon", "granite", "hazel", "ivory", "jasper", "kiln",
    "linen", "maple", "nickel", "orchard", "pepper", "quarry", "raven", "sable", "timber",
)  # fmt: skip
_DEEDS: Final = (
    "audit opened", "bridge closed", "crane moved", "depot cleared", "engine tested", "fleet painted",
    "gauge repaired", "hangar sold", "index revised", "journal printed", "kettle recalled", "lease signed",
    "mast raised", "notice posted", "office moved", "permit granted", "quota lifted", "roster changed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Topic:
    """A topic and the way it leans: 1, -1, or 0."""

    text: str
    lean: int


def run_episode(
    paths: Sequence[Path], number: int, *, seed: int, notes: int = RUN_NOTES, questions: int
) -> Episode:
    """Episode `number` of a run's events; with fewer `notes` the questions come after that many, and are
    about topics that came up. Each event comes to an empty context, as each step of a run does.

    The regime is that of a real bar of `paths`. Every fact is a topic; its claim's direction is the way it
    leans, and None stands for a topic that does not.
    """
    draw = np.random.default_rng([seed, 9, number])
    path = paths[int(draw.integers(len(paths)))]
    start = int(path.starts[int(draw.integers(len(path.starts)))])
    regime, rank, trend = regime_at(path.close, start - 1)
    voice = VOICES["train"].companies
    symbols = [ticker(voice[i]) for i in draw.permutation(len(voice))[:SYMBOLS]]
    topics = _topics(draw)
    facts = {topic.text: Fact(topic.text, "", "outcome", short(topic.text)) for topic in topics}
    began = path.times[start].astype("datetime64[us]").astype(datetime).replace(tzinfo=UTC)
    made = []
    for place in range(RUN_NOTES):
        event, topic = _event(draw, topics, symbols, began + timedelta(days=place))
        fact = facts[topics[0].text if topic is None else topic.text]
        made.append(
            Note(place, event, fact, "new", "fact" if topic else "chatter", "plain", None, True)
        )
    told = {note.event.topic for note in made[:notes] if note.role == "fact"}
    came = [topic for topic in topics if short(topic.text) in told]
    truth = {
        facts[topic.text]: Claim(0.0, topic.lean, 0) if topic.lean else None for topic in topics
    }
    return Episode(
        id=f"run-{seed}-{number}",
        split="train",
        symbol=path.symbol,
        situation=Situation(frozenset({*symbols, MARKET}), regime, round(rank, 4), round(trend, 4)),
        first=tuple(made[:notes]),
        later=(),
        questions=tuple(_question(draw, came or topics, facts) for _ in range(questions)),
        truth=truth,
        withdrawn=frozenset(),
        ahead_deviations=0.0,
        fresh=frozenset(range(RUN_NOTES)),
    )  # fmt: skip


def _topics(draw: Generator) -> list[_Topic]:
    """Distinct topics; at least one leans."""
    found: dict[str, int] = {}
    while len(found) < NEWS_TOPICS:
        subject = _SUBJECTS[int(draw.integers(len(_SUBJECTS)))]
        deed = _DEEDS[int(draw.integers(len(_DEEDS)))]
        line = News(datetime(2000, 1, 1, tzinfo=UTC), "", f"{subject} {deed}")
        found.setdefault(news_topic([line]), _leaning(draw, NEWS_LEAN_CHANCE))
    while len(found) < NEWS_TOPICS + STATE_TOPICS:
        words = [each[int(draw.integers(3))] for each in (SIZE_WORDS, SIZE_WORDS, TREND_WORDS)]
        found.setdefault(state_in_words(*words), _leaning(draw, STATE_LEAN_CHANCE))
    topics = [_Topic(text, lean) for text, lean in found.items()]
    if not any(topic.lean for topic in topics):
        topics[0] = _Topic(topics[0].text, 1 if draw.random() < 0.5 else -1)
    return topics


def _leaning(draw: Generator, chance: float) -> int:
    if draw.random() >= chance:
        return 0
    return 1 if draw.random() < 0.5 else -1


def _event(
    draw: Generator, topics: Sequence[_Topic], symbols: Sequence[str], at: datetime
) -> tuple[MemoryEvent, _Topic | None]:
    symbol = symbols[int(draw.integers(len(symbols)))]
    if draw.random() < OUTCOME_SHARE:
        states = draw.random() < STATE_SHARE
        pool = topics[NEWS_TOPICS:] if states else topics[:NEWS_TOPICS]
        topic = pool[int(draw.integers(len(pool)))]
        together = 1 + int(draw.random() < TOGETHER_SHARE)
        whose = draw.permutation(len(symbols))[:together]
        outcomes = [_outcome(draw, symbols[i], topic, at) for i in whose]
        return outcome_event(topic.text, outcomes, at), topic
    return _other(draw, topics, symbol, at), None


def _outcome(draw: Generator, symbol: str, topic: _Topic, at: datetime) -> Outcome:
    moved = float(draw.normal(LEAN_DEVIATIONS * topic.lean, 1.0))
    return Outcome(
        symbol,
        (at - timedelta(days=7)).isoformat()[:10],
        int(np.searchsorted(EDGES, moved, side="right")),
        0.03 * moved,
        draw.normal(0.0, 1.0, len(CASE_FEATURES)).tolist(),
    )


def _other(draw: Generator, topics: Sequence[_Topic], symbol: str, at: datetime) -> MemoryEvent:
    """Something that is never asked for."""
    price = round(float(draw.uniform(5.0, 500.0)), 2)
    shares = float(draw.integers(1, 500)) * (1.0 if draw.random() < 0.5 else -1.0)
    match int(draw.integers(5)):
        case 0 | 1:
            topic = topics[int(draw.integers(NEWS_TOPICS))]
            about = MARKET if draw.random() < MARKET_SHARE else symbol
            return printed(News(at, about, topic.text.removeprefix(NEWS_TOPIC)), at)
        case 2:
            order = f"o-{int(draw.integers(1_000_000)):06d}"
            return filled(Fill(order, symbol, shares, price, 1.0, 0.0, 0.0), at)
        case 3:
            before = (at - timedelta(days=int(draw.integers(1, 30)))).isoformat()
            gain = float(draw.normal(0.0, 0.05)) * abs(shares) * price
            trip = RoundTrip(
                symbol, before, at.isoformat(), price, price, shares, gain, costs_usd=0.0, tag=None
            )
            return traded(trip, at)
    return jumped(symbol, float(draw.normal(0.0, 0.06)), at)


def _question(draw: Generator, topics: Sequence[_Topic], facts: dict[str, Fact]) -> Question:
    leaning = [topic for topic in topics if topic.lean]
    level = [topic for topic in topics if not topic.lean]
    pool = leaning if draw.random() < LEANING_ASKED else level
    pool = pool or leaning or level
    topic = pool[int(draw.integers(len(pool)))]
    return Question("outlook", facts[topic.text], topic.text, topic.lean or None)
