"""What happens in a run, as events that a memory policy decides about, and the topics they are about.

Owns the wording and the metadata of answered forecasts, closed trades, fills, news lines and bars that
matter. A run makes its events here, and so does the training of the policy: what was met in training reads
as what comes in a run. Refuses to know memories and policies.

A forecast's *topic* is what it began with: the words of the news since the last bar, else the words of the
state. A policy can keep one entry with a tally for all cases of one topic, whatever the symbol.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from agents.forecasts import stamp
from agents.news import telling_words
from agents.sources import BUCKET_COUNT
from memory.policy import MemoryEvent
from models.render import BUCKETS

if TYPE_CHECKING:
    from agents.forecasts import Answer
    from agents.news import News
    from agents.states import StateRow
    from core.protocols import ClosedTrade
    from core.types import Fill

CASE = "outcome"
"""The kind of entries that cases are made of."""
NEWS_TOPIC = "news: "
STATE_TOPIC = "state: "
OUTCOMES_TOLD = 3
"""Outcomes of one topic and one step that stand in an entry's text; its tally has all."""
JUMP_DEVIATIONS = 3.0
"""A bar that moved by more than so many 20-bar deviations matters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What followed a topic once: for which symbol, since when (a day), the bucket, the five-bar return,
    and the numbers of the state that it began with."""

    symbol: str
    asked_on: str
    bucket: int
    return_frac: float
    numbers: Sequence[float]

    def __str__(self) -> str:
        said = f"{BUCKETS[self.bucket]} ({100.0 * self.return_frac:+.1f} percent in five bars)"
        return f"{self.symbol} {self.asked_on}: then {said}"


def answered(answers: Sequence[Answer], now: datetime) -> list[MemoryEvent]:
    """The outcomes of forecasts that are known now, one event a topic."""
    by_topic: dict[str, list[Outcome]] = {}
    for answer in answers:
        batch, column = answer.batch, answer.column
        by_topic.setdefault(batch.topics.get(column, ""), []).append(
            Outcome(
                answer.symbol,
                batch.made_at[:10],
                answer.bucket,
                answer.return_frac,
                batch.numbers[column].tolist(),
            )
        )
    return [outcome_event(topic, outcomes, now) for topic, outcomes in by_topic.items()]


def outcome_event(topic: str, outcomes: Sequence[Outcome], now: datetime) -> MemoryEvent:
    """What followed a topic: a tally of the buckets, and the mean of the states' numbers. Of several symbols
    the first stands for the event."""
    counts = [0.0] * BUCKET_COUNT
    for outcome in outcomes:
        counts[outcome.bucket] += 1.0
    told = ", ".join(map(str, outcomes[:OUTCOMES_TOLD]))
    more = len(outcomes) - OUTCOMES_TOLD
    means = [sum(each) / len(outcomes) for each in zip(*(o.numbers for o in outcomes), strict=True)]
    return MemoryEvent(
        text=f"{topic} | {told}" + (f", and {more} more" if more > 0 else ""),
        kind=CASE,
        symbol=outcomes[0].symbol,
        source="outcome",
        at=now,
        topic=short(topic),
        outcome_at=now,
        more={
            "counts": counts,
            "numbers": [round(value, 3) for value in means],
            "news": topic.removeprefix(NEWS_TOPIC) if topic.startswith(NEWS_TOPIC) else "",
        },
    )


def traded(trade: ClosedTrade, now: datetime) -> MemoryEvent:
    """A closed trade with its result."""
    side = "long" if trade.quantity > 0.0 else "short"
    entered = abs(trade.quantity) * trade.entry_price
    gain = trade.pnl_usd / entered if entered > 0.0 else 0.0
    return MemoryEvent(
        text=f"Closed {trade.symbol} {side}, {trade.entry_time[:10]} to {trade.exit_time[:10]}: "
        f"{100.0 * gain:+.2f} percent after costs",
        kind="trade",
        symbol=trade.symbol,
        source="broker",
        at=now,
        topic=f"closed {trade.symbol} {trade.exit_time}",
        outcome_at=now,
        more={"pnl_frac": round(gain, 6)},
    )


def filled(fill: Fill, now: datetime) -> MemoryEvent:
    """An order's fill."""
    verb = "Bought" if fill.quantity > 0.0 else "Sold"
    return MemoryEvent(
        text=f"{verb} {abs(fill.quantity):.6g} {fill.symbol} at {fill.price:.6g}",
        kind="fill",
        symbol=fill.symbol,
        source="broker",
        at=now,
        topic=f"order {fill.order_id}",
        more={"order": fill.order_id},
    )


def printed(line: News, now: datetime) -> MemoryEvent:
    """A line of news."""
    return MemoryEvent(
        text=line.text,
        kind="news",
        symbol=line.symbol,
        source="wire",
        at=now,
        topic=short(" ".join([line.symbol, *telling_words([line])]).strip()),
        more={"published": stamp(line.time)},
    )


def jumps(states: StateRow, now: datetime) -> list[MemoryEvent]:
    """Bars that moved by more than three deviations of the 20 bars up to them."""
    with np.errstate(invalid="ignore"):
        size = np.abs(states.returns[:, -1]) / states.volatility
    return [
        jumped(states.symbols[column], float(states.returns[column, -1]), now)
        for column in np.flatnonzero(states.fresh & (size > JUMP_DEVIATIONS)).tolist()
    ]


def jumped(symbol: str, return_frac: float, now: datetime) -> MemoryEvent:
    """A bar that mattered."""
    return MemoryEvent(
        text=f"{symbol} moved {100.0 * return_frac:+.1f} percent in one bar",
        kind="event",
        symbol=symbol,
        source="market",
        at=now,
        topic=f"jump {symbol} {stamp(now)}",
        more={"return_frac": round(return_frac, 6)},
    )


# Topics


def news_topic(lines: Sequence[News]) -> str:
    return NEWS_TOPIC + " ".join(telling_words(lines))


_SIZES = ((0.75, "calm"), (1.25, "even"), (math.inf, "wild"))
_TRENDS = ((-0.8, "falling"), (0.8, "level"), (math.inf, "rising"))
SIZE_WORDS = tuple(word for _, word in _SIZES)
"""Words for volatility in units of the 20-bar one."""
TREND_WORDS = tuple(word for _, word in _TRENDS)
"""Words for the trend in deviations."""


def state_topic(short_ratio: float, long_ratio: float, trend_ratio: float) -> str:
    """A state in three words of which each has three values."""
    return state_in_words(
        _word(short_ratio, _SIZES), _word(long_ratio, _SIZES), _word(trend_ratio, _TRENDS)
    )


def state_in_words(week: str, quarter: str, trend: str) -> str:
    return f"{STATE_TOPIC}week-{week} quarter-{quarter} trend-{trend}"


def _word(value: float, words: Sequence[tuple[float, str]]) -> str:
    return next((word for limit, word in words if value < limit), "unknown")


def short(topic: str) -> str:
    """A topic as a name: long ones by their hash."""
    if len(topic) <= 60:
        return topic
    return topic[:20] + hashlib.blake2b(topic.encode(), digest_size=8).hexdigest()
