"""The memory stage of a step: what happened is offered to the memory, what is like the present is recalled.

Owns which of a step's events the memory is offered, by what states are found again, and the credit of
entries. All that a step writes is one transaction, all that it asks is one retrieval, all texts are embedded
in one batch; the memory's clock is the run's. Refuses to know how events read (`agents/run_events.py`), who
chooses (`memory/policy.py`) and what cases are worth (`agents/sources.py`).

Text of news and entries is data: it is embedded, compared and shown, and nothing in it is ever followed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.forecasts import Answer, ForecastBook, Recalled
from agents.learning import FLOOR
from agents.news import MARKET, by_column
from agents.remembered import Remembered
from agents.run_events import (
    CASE,
    answered,
    filled,
    jumps,
    news_topic,
    printed,
    state_topic,
    traded,
)
from agents.sources import BUCKET_COUNT, CASE_FEATURES, Case
from agents.states import OwnBars, StateRow
from core.memories import MemoryHit
from memory.agemem import AgeMem
from memory.context import ShortTermMemory
from memory.operations import Delete, MemoryOperationResult, Request, Update
from memory.policy import (
    CONTEXT_TOKENS,
    MOST,
    MemoryEvent,
    MemoryPolicy,
    Seat,
    Situation,
    memory_step,
)
from models.state import HORIZON_BARS
from trading.regimes import VOLATILITY_BARS, regime_of

if TYPE_CHECKING:
    from agents.news import News, NewsFeed
    from core.clock import ReplayClock
    from core.protocols import ClosedTrade, Embedder, Float32Array, History, State, Tokenizer
    from core.types import Fill
    from memory.policy import StepOutcome

CASES_RECALLED = 12
LINES_TOLD = 5
NEWS_TOKENS = CONTEXT_TOKENS - 24
"""The most that one line of news may have: with its role before it, it still is one message."""
NEWS_PER_SYMBOL = 8
"""Lines of news about one symbol that the memory is offered at one step: the last ones."""
CREDIT_BASE = 4
"""Credit is written when the number of answers reaches a power of this: few versions."""
CACHED_TEXTS = 50_000


class CachedEmbedder:
    """An embedder that looks up what it embedded before; the cache begins anew when it is full."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._cache: dict[str, Float32Array] = {}

    @property
    def model_id(self) -> str:
        return self._inner.model_id

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        missing = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if missing:
            if len(self._cache) + len(missing) > CACHED_TEXTS:
                self._cache.clear()
                missing = list(dict.fromkeys(texts))
            rows = await self._inner.embed(missing)
            self._cache.update(zip(missing, rows, strict=True))
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        return np.stack([self._cache[text] for text in texts])


@dataclass(slots=True)
class Credit:
    """What an entry brought, by its share in each: gains in log score of the forecasts that rested on it
    (`total` of `recalled`), and net returns of closed trades in deviations of the symbol over as many bars
    (`trade_total` of `trades`). `written` is at how many answers it was last told in a version."""

    recalled: int = 0
    total: float = 0.0
    squares: float = 0.0
    trades: int = 0
    trade_total: float = 0.0
    written: int = 0
    due: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "recalled": self.recalled,
            "total": round(self.total, 6),
            "squares": round(self.squares, 8),
            "trades": self.trades,
            "trade_total": round(self.trade_total, 6),
        }


@dataclass(frozen=True, slots=True)
class Basis:
    """What the decision that opened a trade rested on. `bar` counts the symbol's bars at its first fill."""

    recalled: Sequence[Recalled]
    volatility: float
    bar: int


class RunMemory:
    """`core.protocols.MemoryStage` on AgeMem."""

    def __init__(
        self,
        memory: AgeMem,
        *,
        embedder: CachedEmbedder,
        policy: MemoryPolicy,
        clock: ReplayClock,
        book: ForecastBook,
        news: NewsFeed | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """`memory` must use this `embedder` and this `clock`."""
        self._memory = memory
        self._embedder = embedder
        self._policy = policy
        self._tokenizer = tokenizer
        self._clock = clock
        self._book = book
        self._news = news
        self._bars = OwnBars()
        self._previous: datetime | None = None
        self._credit: dict[str, Credit] = {}
        self._seen: dict[str, MemoryHit] = {}
        self._bases: dict[str, Basis] = {}

    async def remember(
        self,
        history: History,
        state: State,
        fills: Sequence[Fill],
        closed: Sequence[ClosedTrade],
    ) -> Remembered:
        """One step of the memory. Raises: MemoryStoreError, EmbedderMismatch."""
        now = history.as_of
        self._clock.move_to(now)
        states = self._bars.follow(history)
        answers = self._book.answer(states)
        column_of = {symbol: column for column, symbol in enumerate(states.symbols)}
        lines = {} if self._news is None else self._news.since_last(now, self._previous)
        news = by_column(lines, column_of)
        self._previous = now
        happened = [
            *answered(answers, now),
            *(traded(trade, now) for trade in closed),
            *(filled(fill, now) for fill in fills),
            *(
                printed(line, now)
                for symbol, each in lines.items()
                if symbol in column_of or symbol == MARKET
                for line in each[-NEWS_PER_SYMBOL:]
            ),
            *jumps(states, now),
        ]
        topics = _topics(states, news)
        self._account(answers)
        self._account_trades(states, column_of, fills, closed)
        if self._policy.name == "none":
            return Remembered(states, answers, news=news, topics=topics)
        await self._embedder.embed([*(each.text for each in happened), *topics.values()])
        operations = await self._write(happened, states)
        cases, told = await self._recall(topics, now)
        return Remembered(states, answers, cases, news, topics, told, operations)

    # Writing

    async def _write(
        self, happened: Sequence[MemoryEvent], states: StateRow
    ) -> list[Mapping[str, Any]]:
        """Let the policy act on what happened and write it, and credit that is due, in one transaction.

        What happened at one step is one short-term memory, as the desk's notes of a phase are in training.
        """
        if not happened:
            return []
        context = ShortTermMemory(CONTEXT_TOKENS, tokenizer=self._tokenizer)
        situations = self._situations(states, {event.symbol for event in happened})
        seats = [Seat(self._memory, context, event, situations[event.symbol]) for event in happened]
        credits = _DueCredits(self)
        done = await memory_step(self._policy, seats, riders=credits)
        return [*_receipts(done), *credits.receipts]

    def _situations(self, states: StateRow, symbols: set[str]) -> dict[str, Situation]:
        listed = frozenset({*states.symbols, MARKET})  # the market's news are about all of them
        found = {}
        for symbol in symbols:
            close = (
                self._bars.closes(states.symbols.index(symbol)) if symbol in states.symbols else ()
            )
            found[symbol] = Situation(listed)
            if len(close) > VOLATILITY_BARS + 1:
                regime, rank, trend = regime_of(np.asarray(close))
                found[symbol] = Situation(listed, regime, rank, trend)
        return found

    # Credit

    def _account(self, answers: Sequence[Answer]) -> None:
        """Hand what each answered forecast gained by its memories back to them, by their shares.

        The gain is the log score of what all sources told less that of all but the memories.
        """
        for answer in answers:
            batch, column = answer.batch, answer.column
            recalled = batch.recalled.get(column, ())
            total = sum(each.weight for each in recalled)
            if not total > 0.0:
                continue
            with_, without = (
                math.log(max(float(chances[column, answer.bucket]), FLOOR))
                for chances in (batch.pooled.chances, batch.without_recall)
            )
            for each in recalled:
                credit = self._credit.setdefault(each.id, Credit())
                share = (with_ - without) * each.weight / total
                credit.recalled += 1
                credit.total += share
                credit.squares += share * share

    def _account_trades(
        self,
        states: StateRow,
        column_of: Mapping[str, int],
        fills: Sequence[Fill],
        closed: Sequence[ClosedTrade],
    ) -> None:
        """Hand each closed trade's net return, in deviations, to what its opening decision rested on."""
        batch = self._book.last
        for fill in fills:
            if fill.symbol not in self._bases and batch is not None:
                place = batch.symbols.index(fill.symbol) if fill.symbol in batch.symbols else None
                if place is not None and math.isfinite(batch.scale[place]):
                    bar = int(states.bars[column_of[fill.symbol]])
                    volatility = float(batch.scale[place]) / math.sqrt(HORIZON_BARS)
                    self._bases[fill.symbol] = Basis(batch.recalled.get(place, ()), volatility, bar)
        for trade in closed:
            basis = self._bases.pop(trade.symbol, None)
            entered = abs(trade.quantity) * trade.entry_price
            if basis is None or not basis.recalled or not entered > 0.0:
                continue
            held = max(int(states.bars[column_of[trade.symbol]]) - basis.bar, 1)
            gain = trade.pnl_usd / entered / (basis.volatility * math.sqrt(held))
            total = sum(each.weight for each in basis.recalled)
            for each in basis.recalled:
                credit = self._credit.setdefault(each.id, Credit())
                credit.trades += 1
                credit.trade_total += gain * each.weight / total
                credit.due = True

    def due(self, touched: set[str]) -> list[Update]:
        """Versions that tell entries' credit: where the number of answers reached a power of four, and where
        a trade was closed."""
        for entry_id in touched:
            self._seen.pop(entry_id, None)  # until it is recalled as it is now
        found = []
        for entry_id, credit in self._credit.items():
            hit = self._seen.get(entry_id)
            if hit is None:
                continue
            power = 0
            if credit.recalled >= CREDIT_BASE:
                power = CREDIT_BASE ** int(math.log(credit.recalled, CREDIT_BASE) + 1e-9)
            if power <= credit.written and not credit.due:
                continue
            credit.written, credit.due = max(power, credit.written), False
            metadata = {**hit.metadata, "credit": credit.to_dict()}
            found.append(
                Update(entry_id, hit.text, metadata, hit.source, hit.valid_from, hit.outcome_at,
                       expected_version=hit.version)
            )  # fmt: skip
        return found

    def credited(self, request: Update, result: MemoryOperationResult) -> None:
        """Let the next credit of an entry build on the version that this one made."""
        if result.success and result.version is not None:
            hit = self._seen[request.entry_id]
            metadata = request.metadata or {}
            self._seen[hit.id] = replace(hit, version=result.version, metadata=metadata)

    # Recalling

    async def _recall(
        self, topics: Mapping[int, str], now: datetime
    ) -> tuple[dict[int, list[Case]], tuple[str, ...]]:
        """(cases by column, the best texts): one retrieval for all symbols, as of now."""
        if not topics:
            return {}, ()
        distinct = list(dict.fromkeys(topics.values()))  # symbols in one state ask the same
        results = await self._memory.retrieve_many(
            distinct, CASES_RECALLED, {"kind": CASE}, as_of=now
        )
        found: dict[str, list[Case]] = {}
        lines: dict[str, None] = {}
        for query, result in zip(distinct, results, strict=True):
            if result.error is not None:
                raise result.error
            found[query] = []
            for hit in result.data:
                case = _case(hit, now)
                if case is not None:
                    self._seen[hit.id] = hit
                    found[query].append(case)
                    if len(lines) < LINES_TOLD:
                        lines[hit.text] = None
        cases = {column: found[query] for column, query in topics.items() if found[query]}
        return cases, tuple(lines)


class _DueCredits:
    """Credit that goes along with what the policy writes; entries that it writes itself wait."""

    def __init__(self, stage: RunMemory) -> None:
        self._stage = stage
        self._requests: list[Update] = []
        self.receipts: list[dict[str, Any]] = []

    def requests(self, written: Sequence[Request]) -> Sequence[Request]:
        touched = {each.entry_id for each in written if isinstance(each, Update | Delete)}
        self._requests = self._stage.due(touched)
        return self._requests

    def done(self, results: Sequence[MemoryOperationResult]) -> None:
        for request, result in zip(self._requests, results, strict=True):
            self._stage.credited(request, result)
        self.receipts = [
            _receipt("credit", each.operation_id,
                     None if each.error is None else type(each.error).__name__,
                     each.ids, each.version, each.superseded_ids)
            for each in results
        ]  # fmt: skip


def _receipts(done: Sequence[StepOutcome]) -> list[dict[str, Any]]:
    """What a record says of the operations that wrote, or tried to."""
    return [
        _receipt(each.action, each.operation_id, each.error, each.entry_ids, each.version,
                 each.superseded_ids)
        for each in (step.outcome for step in done)
        if each.action in WRITES
    ]  # fmt: skip


WRITES = ("add", "update", "delete")


def _receipt(  # noqa: PLR0917
    operation: str,
    operation_id: str | None,
    error: str | None,
    entries: Sequence[str],
    version: int | None,
    closed: Sequence[str],
) -> dict[str, Any]:
    told: dict[str, Any] = {"operation": operation, "id": operation_id}
    if error is not None:
        return told | {"refused": error}
    return told | {"entry": entries[0], "version": version, "closed": list(closed)}


def _case(hit: MemoryHit, now: datetime) -> Case | None:
    """A hit as a case; None for an entry without a tally that can be read."""
    counts = _numbers(hit.metadata.get("counts"), BUCKET_COUNT)
    numbers = _numbers(hit.metadata.get("numbers"), len(CASE_FEATURES))
    if counts is None or numbers is None or min(counts) < 0.0 or not 0.0 < sum(counts) <= MOST:
        return None
    known = hit.outcome_at or hit.recorded_from
    return Case(
        entry_id=hit.id,
        version=hit.version,
        numbers=numbers,
        counts=counts,
        age_days=(now - known).total_seconds() / 86_400.0,
        words=frozenset(str(hit.metadata.get("news", "")).split()),
    )


def _numbers(value: Any, length: int) -> tuple[float, ...] | None:
    """So many finite numbers; None for anything else that somebody may have put into metadata."""
    if not isinstance(value, list | tuple) or len(value) != length:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in value):
        return None
    return tuple(float(v) for v in value)


def _topics(states: StateRow, news: Mapping[int, Sequence[News]]) -> dict[int, str]:
    """Topics by column, for the symbols that a forecast is made for: what is asked is what will be told."""
    topics = {}
    for column in np.flatnonzero(states.told).tolist():
        lines = news.get(column, ())
        topics[column] = (
            news_topic(lines)
            if lines
            else state_topic(
                float(states.short_ratio[column]),
                float(states.long_ratio[column]),
                float(states.trend_ratio[column]),
            )
        )
    return topics
