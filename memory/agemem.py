"""AgeMem: the six operations a policy chooses from, and what an owner of the memory needs besides.

Binds a store, an embedder, a clock and the one ranking. What an operation means stands in `ledger.py`, how
it is stored in `stores/`, how it is found in `retrieval.py`; this file refuses to know any of the three.

Point in time: every read takes `as_of` (default: the clock's now) and sees what was recorded, valid and
known by then. The user's mistakes come back as results with an `error`; a failing store raises
MemoryStoreError.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from core.clock import SystemClock
from core.errors import (
    ContentRefused,
    EmbedderMismatch,
    EntryNotFound,
    MemoryRefused,
    UnreadableRecord,
)
from core.memories import (
    FOREVER,
    ROOT_BRANCH,
    YEAR_ONE,
    Branch,
    Closing,
    HitRanks,
    Lineage,
    MemoryEntry,
    MemoryHit,
    MemorySnapshot,
    StoredVector,
    Version,
    from_micros,
    to_micros,
)
from core.protocols import Clock, Embedder, MemoryStore, MemoryTransaction, Summariser
from memory import transfer, verify
from memory.codec import own_copy
from memory.context import (
    DEFAULT_THRESHOLD,
    Message,
    ShortTermMemory,
    Span,
    check_span,
    first_of_rounds,
    similarities,
    texts_of,
)
from memory.embedders import HashedNgramEmbedder, unit_vectors
from memory.index import Filter, MemoryIndex
from memory.ledger import Draft, Performed, perform
from memory.operations import (
    Add,
    Delete,
    Link,
    MemoryOperation,
    MemoryOperationResult,
    Purge,
    Request,
    Undo,
    Update,
    check_moment,
    check_name,
    check_request,
    check_text,
)
from memory.retrieval import Ranked, RankingSettings, explain, rank
from memory.stores.sqlite import SqliteStore
from memory.summarise import ExtractiveSummariser
from memory.timing import Latencies, OperationStats

PlainContext = str | Sequence[str | Message | Mapping[str, Any]]
MAX_TOP_K = 1_000
MAX_QUERY_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """What is in the memory: one namespace of one branch, and the whole store beside it."""

    store: str
    namespace: str
    branch: str
    embedder: str
    entries_live: int
    entries_closed: int
    versions: int
    operations: int
    operations_by_kind: Mapping[str, int]
    branches: int
    calls: Mapping[str, OperationStats]


@dataclass(frozen=True, slots=True)
class LiveEntries:
    """The visible entries in brief. `oldest` is the one that an ADD at the cap would close."""

    count: int
    cap: int | None
    oldest: Version | None
    _index: MemoryIndex
    _rows: Sequence[int]

    @property
    def versions(self) -> tuple[Version, ...]:
        """All of them, the one written longest ago first; made when asked for."""
        return tuple(self._index.versions[row] for row in self._rows)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry at the other end of an edge; `outgoing` when the edge starts at the entry asked about."""

    relation: str
    outgoing: bool
    entry: MemoryEntry


@dataclass(slots=True)
class _Base:
    """The versions that overlapping updates of one entry saw as they began: the first one's."""

    reading: asyncio.Future[Sequence[Version]]
    users: int = 0


@dataclass(slots=True)
class _Shared:
    """What the handles on one store have in common: the store, its cached columns, the call counts.

    `bases` holds, by branch and entry, what overlapping updates of one entry build on.
    """

    store: MemoryStore
    embedder: Embedder
    clock: Clock
    index: MemoryIndex
    epoch: int = -1
    latencies: Latencies = field(default_factory=Latencies)
    opened: bool = False
    branches: Mapping[str, Branch] = field(default_factory=dict)
    bases: dict[tuple[str, str], _Base] = field(default_factory=dict)

    def follow(self, done: Performed) -> None:
        """Take what was just written into the cached columns where it follows on them, so that the next
        read need not fetch it again. What a store copies or erases by itself is left to that read."""
        index, records = self.index, done.records
        if self.epoch < 0 or not records or records[0].sequence != index.sequence + 1:
            return
        if any(r.purged or any(v.copy_of is not None for v in r.opened) for r in records):
            return
        with_vectors = index.vector_sequence == index.sequence
        index.take(records)
        if with_vectors:
            index.take_vectors(done.vectors, index.sequence)


class AgeMem:
    """A handle on one namespace of one branch of a store. Use it with `async with`, or `close` it.

    `store` is a store or the path of an SQLite file. `context` is the short-term memory that RETRIEVE
    inserts into and SUMMARY and FILTER work on when they are given none. `entry_cap` closes the oldest
    entries beyond it.
    """

    def __init__(
        self,
        *,
        store: MemoryStore | str | Path,
        embedder: Embedder | None = None,
        context: ShortTermMemory | None = None,
        namespace: str = "default",
        clock: Clock | None = None,
        entry_cap: int | None = None,
        ranking: RankingSettings | None = None,
        summariser: Summariser | None = None,
        branch: str = ROOT_BRANCH,
    ) -> None:
        check_name(namespace, "the namespace")
        if entry_cap is not None and entry_cap < 1:
            raise ContentRefused(f"entry_cap is {entry_cap}.", "Give at least 1, or none.")
        embedder = embedder or HashedNgramEmbedder()
        self.namespace = namespace
        self.branch = branch
        self.context = context
        self._cap = entry_cap
        self._ranking = ranking or RankingSettings()
        self._summariser = summariser or ExtractiveSummariser()
        self._shared = _Shared(
            store=SqliteStore(store) if isinstance(store, str | Path) else store,
            embedder=embedder,
            clock=clock or SystemClock(),
            index=MemoryIndex(embedder.model_id, embedder.dimension),
        )

    async def __aenter__(self) -> AgeMem:
        await self.store()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, keep_timings: bool = False) -> None:
        """Close the store for every handle on it; `keep_timings` adds the call counts to the store's."""
        if self._shared.opened:
            if keep_timings and (counts := self._shared.latencies.drain()):
                await self._shared.store.add_timings(counts)
            await self._shared.store.close()
            self._shared.opened = False

    async def store(self) -> MemoryStore:
        """The store, opened."""
        if not self._shared.opened:
            await self._shared.store.open()
            self._shared.opened = True
        return self._shared.store

    def _handle(self, **changes: Any) -> AgeMem:
        other = object.__new__(AgeMem)
        other.__dict__.update(self.__dict__ | changes)
        return other

    def in_namespace(self, namespace: str) -> AgeMem:
        """A handle on another namespace of the same branch."""
        check_name(namespace, "the namespace")
        return self._handle(namespace=namespace)

    # The six operations

    async def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        source: str = "user",
        valid_from: datetime | None = None,
        outcome_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> MemoryOperationResult:
        """Remember something new. `outcome_at` hides it until the outcome it speaks of is known."""
        request = Add(content, metadata or {}, source, valid_from, outcome_at, idempotency_key)
        return await self._one(request)

    async def update(
        self,
        entry_id: str,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
        valid_from: datetime | None = None,
        outcome_at: datetime | None = None,
        idempotency_key: str | None = None,
        expected_version: int | None = None,
    ) -> MemoryOperationResult:
        """Close the open version and open a new one; without metadata the old metadata stays.

        It is refused (VersionConflict) when the entry has changed since this call began, or is not at
        `expected_version`.
        """
        request = Update(
            entry_id, content, metadata, source, valid_from, outcome_at, idempotency_key,
            expected_version,
        )  # fmt: skip
        return await self._one(request)

    async def delete(
        self, entry_id: str, *, idempotency_key: str | None = None
    ) -> MemoryOperationResult:
        """Close an entry from now on; the past keeps it, and `undo` brings it back."""
        return await self._one(Delete(entry_id, idempotency_key))

    async def retrieve(
        self,
        query: str,
        top_k: int = 3,
        filter: Mapping[str, Any] | None = None,
        *,
        as_of: datetime | None = None,
    ) -> MemoryOperationResult:
        """The best entries for a query; `data` is a tuple of MemoryHit.

        `filter` names metadata (or `source`) and the value, or list of values, it must have. With a
        context the hits are inserted into it.
        """
        result = (await self.retrieve_many([query], top_k, filter, as_of=as_of))[0]
        if self.context is not None and result.success:
            self.context.insert_hits(result.data)
        return result

    async def retrieve_many(
        self,
        queries: Sequence[str],
        top_k: int = 3,
        filter: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        as_of: datetime | None = None,
    ) -> list[MemoryOperationResult]:
        """Answer several queries in one scan; each answer is what `retrieve` would give.

        A sequence of filters has one for each query.
        """
        started = time.perf_counter()
        try:
            hits = await self._search(queries, top_k, filter, as_of)
        except MemoryRefused as error:
            refused = MemoryOperationResult(False, MemoryOperation.RETRIEVE, error=error)
            return [self._timed(refused, started) for _ in queries]
        return [
            self._timed(
                MemoryOperationResult(
                    True, MemoryOperation.RETRIEVE, data=found, ids=tuple(hit.id for hit in found)
                ),
                started,
            )
            for found in hits
        ]

    async def summary(
        self,
        context: ShortTermMemory | PlainContext | None = None,
        span: Span = "all",
        max_tokens: int | None = None,
    ) -> MemoryOperationResult:
        """Summarise a context; `data` is the text. A ShortTermMemory has the span replaced by it."""
        return await self._call(MemoryOperation.SUMMARY, self._summary(context, span, max_tokens))

    async def _summary(
        self, context: ShortTermMemory | PlainContext | None, span: Span, max_tokens: int | None
    ) -> str:
        given = self._context(context)
        if isinstance(given, ShortTermMemory):
            message = await given.summarise(span, max_tokens)
            return "" if message is None else message.content
        texts = texts_of(given)
        for text in texts:
            check_text(text, "the context", 1_000_000)
        check_span(span)
        if isinstance(span, int):
            texts = texts[first_of_rounds(given, span) :]
        return await self._summariser.summarise(texts, 128 if max_tokens is None else max_tokens)

    async def filter(
        self,
        context: ShortTermMemory | PlainContext | None = None,
        criteria: str = "",
        threshold: float = DEFAULT_THRESHOLD,
    ) -> MemoryOperationResult:
        """Drop the messages that are like the criteria; `data` is what was kept, in its order."""
        return await self._call(MemoryOperation.FILTER, self._filter(context, criteria, threshold))

    async def _filter(
        self, context: ShortTermMemory | PlainContext | None, criteria: str, threshold: float
    ) -> tuple[Any, ...]:
        given = self._context(context)
        embedder = self._shared.embedder
        if isinstance(given, ShortTermMemory):
            await given.filter(criteria, threshold, embedder)
            return given.messages
        items: Sequence[Any] = [given] if isinstance(given, str) else given
        values = await similarities(criteria, texts_of(items), threshold, embedder)
        return tuple(item for item, value in zip(items, values, strict=True) if value < threshold)

    def _context(
        self, context: ShortTermMemory | PlainContext | None
    ) -> ShortTermMemory | PlainContext:
        if context is not None:
            return context
        if self.context is None:
            raise ContentRefused("there is no context.", "Give one here or to AgeMem(context=...).")
        return self.context

    # Other writes

    async def undo(
        self, operation_id: str, *, idempotency_key: str | None = None
    ) -> MemoryOperationResult:
        """Close what an operation opened and open anew what it closed, as one more operation."""
        return await self._one(Undo(operation_id, idempotency_key))

    async def link(
        self, a: str, b: str, relation: str, *, idempotency_key: str | None = None
    ) -> MemoryOperationResult:
        """Join two entries by a named, directed edge."""
        return await self._one(Link(a, b, relation, idempotency_key))

    async def purge(
        self, entry_id: str, *, idempotency_key: str | None = None
    ) -> MemoryOperationResult:
        """Erase an entry's text for good, from every branch and from the past; a tombstone stays."""
        result = await self._one(Purge(entry_id, idempotency_key))
        return replace(result, pending=await self._shared.store.erasure_pending())

    async def apply(self, requests: Sequence[Request]) -> list[MemoryOperationResult]:
        """A batch in one transaction: after a crash all of it is there or none. A refused request writes
        nothing, says so in its result, and does not stop the others."""
        started = time.perf_counter()
        checked: list[Request | MemoryOperationResult] = []
        for request in requests:
            try:
                check_request(request)
                checked.append(request)
            except MemoryRefused as error:
                checked.append(MemoryOperationResult(False, request.kind, error=error))
        accepted = [item for item in checked if not isinstance(item, MemoryOperationResult)]
        try:
            written = iter(await self._write(accepted) if accepted else [])
        except EntryNotFound as error:  # this handle's branch
            written = iter([MemoryOperationResult(False, r.kind, error=error) for r in accepted])
        return [
            self._timed(item if isinstance(item, MemoryOperationResult) else next(written), started)
            for item in checked
        ]

    async def _one(self, request: Request) -> MemoryOperationResult:
        if not isinstance(request, Update) or request.expected_version is not None:
            return (await self.apply([request]))[0]
        return await self._update_since_now(request)

    async def _update_since_now(self, request: Update) -> MemoryOperationResult:
        """Update on top of the version that is open as the call begins, whoever else is at work."""
        try:
            check_request(request)
        except MemoryRefused as error:
            refused = MemoryOperationResult(False, request.kind, error=error)
            return self._timed(refused, time.perf_counter())
        store, bases = await self.store(), self._shared.bases
        place = (self.branch, request.entry_id)
        base = bases.get(place)
        if base is None:
            base = bases[place] = _Base(asyncio.ensure_future(store.versions(*place)))
        base.users += 1
        try:
            versions = await asyncio.shield(base.reading)
            if versions:
                request = replace(request, expected_version=versions[-1].number)
            result = (await self.apply([request]))[0]
        except EntryNotFound as error:  # this handle's branch
            refused = MemoryOperationResult(False, request.kind, error=error)
            return self._timed(refused, time.perf_counter())
        finally:
            base.users -= 1
            if not base.users and bases.get(place) is base:
                del bases[place]
        if result.success and bases.get(place) is base:
            del bases[place]  # calls that begin from here on build on the new version
        return result

    async def _write(
        self,
        requests: Sequence[Request],
        accept: Callable[[Sequence[MemoryOperationResult]], None] = lambda _: None,
    ) -> list[MemoryOperationResult]:
        """One transaction; `accept` may raise, and then nothing of it is written."""
        store = await self.store()
        drafts = await self._drafts(requests)

        async def work(transaction: MemoryTransaction) -> Performed:
            now = to_micros(self._shared.clock.now())
            done = await perform(transaction, drafts, self.namespace, now, self._cap)
            accept(done.results)
            return done

        done = await store.write(self.branch, work)
        self._shared.follow(done)
        return done.results

    async def _drafts(self, requests: Sequence[Request]) -> list[Draft]:
        texts = [r.content for r in requests if isinstance(r, Add | Update)]
        vectors = iter(await self._vectors(texts) if texts else [])
        return [Draft(r, next(vectors) if isinstance(r, Add | Update) else None) for r in requests]

    async def _vectors(self, texts: Sequence[str]) -> list[StoredVector]:
        embedder = self._shared.embedder
        matrix = await unit_vectors(embedder, texts)
        return [
            StoredVector("", embedder.model_id, embedder.dimension, row.astype("<f4").tobytes())
            for row in matrix
        ]

    async def _call(self, operation: str, work: Awaitable[Any]) -> MemoryOperationResult:
        started = time.perf_counter()
        try:
            result = MemoryOperationResult(True, operation, data=await work)
        except MemoryRefused as error:
            result = MemoryOperationResult(False, operation, error=error)
        return self._timed(result, started)

    def _timed(self, result: MemoryOperationResult, started: float) -> MemoryOperationResult:
        seconds = time.perf_counter() - started
        self._shared.latencies.record(result.operation, seconds, result.success)
        return result.stamped(seconds, self._shared.store.name)

    # Reads

    def _as_of(self, moment: datetime | None) -> int:
        check_moment(moment, "as_of")
        micros = to_micros(self._shared.clock.now() if moment is None else moment)
        return max(YEAR_ONE, min(micros, FOREVER - 1))

    async def _index(self, with_vectors: bool = False) -> MemoryIndex:
        """The cached columns, brought up to the store's last operation."""
        store, shared = await self.store(), self._shared
        epoch, last = await store.state()
        if epoch != shared.epoch:
            shared.index = MemoryIndex(shared.embedder.model_id, shared.embedder.dimension)
            shared.epoch = epoch
        index = shared.index
        if last > index.sequence:
            index.take(await store.operations(index.sequence))
        if with_vectors and index.vector_sequence < index.sequence:
            reached = index.sequence
            index.take_vectors(await store.vectors(index.vector_sequence), reached)
        return index

    async def _search(
        self,
        queries: Sequence[str],
        top_k: int,
        where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        as_of: datetime | None,
    ) -> list[tuple[MemoryHit, ...]]:
        if not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
            raise ContentRefused(f"top_k is {top_k!r}.", f"Give a number from 1 to {MAX_TOP_K}.")
        for query in queries:
            check_text(query, "the query", MAX_QUERY_CHARACTERS)
        given: Sequence[Any] = where if isinstance(where, list | tuple) else [where]
        wanted = [_filter(each) for each in given]
        if len(wanted) not in (1, len(queries)):
            raise ContentRefused(
                f"there are {len(wanted)} filters for {len(queries)} queries.",
                "Give one for all, or one for each.",
            )
        moment = self._as_of(as_of)
        vectors = await unit_vectors(self._shared.embedder, queries)
        branches = await self._branches()
        # No wait from here on: a write meanwhile would move the columns under the ranking.
        index = await self._index(with_vectors=True)
        if index.foreign_models:
            found = ", ".join(sorted(index.foreign_models))
            raise EmbedderMismatch(
                f"stored vectors come from {found}, queries from {index.model_id}.",
                "Run `athena memory rebuild` to embed everything anew, or choose the old embedder.",
            )
        asked = list(zip(queries, vectors, strict=True))
        groups = [asked] if len(wanted) == 1 else [[each] for each in asked]
        ranked: list[list[Ranked]] = []
        for group, fitting in zip(groups, wanted, strict=True):
            corpus = index.corpus(self.branch, self.namespace, branches, moment, fitting)
            ranked += rank(corpus, group, top_k, self._ranking)
        return [tuple(_hit(index.versions[r.row], r) for r in hits) for hits in ranked]

    async def _branches(self) -> Mapping[str, Branch]:
        """The branches, read again only while this handle's own is not among them."""
        if self.branch not in self._shared.branches:
            self._shared.branches = await (await self.store()).branches()
        if self.branch not in self._shared.branches:
            raise EntryNotFound(f"no branch {self.branch!r}.", "Fork one first.")
        return self._shared.branches

    async def get(self, entry_id: str, *, as_of: datetime | None = None) -> MemoryEntry | None:
        """The entry as it was known at `as_of`; None when it could not be seen then."""
        moment = self._as_of(as_of)
        for entry in await self._entries(entry_id, moment):
            gate = max(entry.recorded_from, entry.valid_from, entry.outcome_at or entry.valid_from)
            hidden = max(entry.recorded_to, entry.valid_to)
            if to_micros(gate) <= moment < to_micros(hidden) and entry.text:
                return entry
        return None

    async def history(
        self, entry_id: str, *, as_of: datetime | None = None
    ) -> tuple[MemoryEntry, ...]:
        """Every version that could be seen by `as_of` (its outcome known), oldest first, with both
        intervals; empty if there is none."""
        return tuple(await self._entries(entry_id, self._as_of(as_of)))

    async def _entries(self, entry_id: str, moment: int) -> list[MemoryEntry]:
        check_name(entry_id, "the entry id")
        store = await self.store()
        versions = [
            version
            for version in await store.versions(self.branch, entry_id)
            if version.namespace == self.namespace and version.recorded_from <= moment
        ]
        closings = {
            closing.target: closing
            for closing in await store.closings(self.branch, [v.version_id for v in versions])
            if closing.recorded_to <= moment
        }
        purged = any(not version.content for version in versions)
        closed = bool(versions) and versions[-1].version_id in closings
        found, until = [], FOREVER
        for version in reversed(versions):
            closing = closings.get(version.version_id)
            if closing is not None:
                # What ends a version ends those that stand in for it, too.
                until = min(until, closing.hidden_from)
                closing = replace(closing, hidden_from=until)
            if version.visible_from <= moment:
                found.append(_entry(version, closing))
        return [replace(entry, closed=closed or purged, purged=purged) for entry in found[::-1]]

    async def list(
        self,
        *,
        as_of: datetime | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> tuple[MemoryEntry, ...]:
        """The entries visible at `as_of`, oldest first (the newest `limit` of them)."""
        moment = self._as_of(as_of)
        index = await self._index()
        branches = await self._branches()
        rows = index.visible(self.branch, self.namespace, branches, moment, _filter(filter))
        lineage = Lineage.of(self.branch, branches)
        if limit is not None:
            rows = rows[max(0, len(rows) - limit) :]
        found = []
        for row in rows:
            version = index.versions[row]
            closing = index.closing(version.version_id, lineage, moment)
            found.append(_entry(version, closing))
        return tuple(found)

    async def neighbours(
        self, entry_id: str, relation: str | None = None, *, as_of: datetime | None = None
    ) -> tuple[Neighbour, ...]:
        """Entries joined to this one by edges that stand at `as_of`, both ends visible."""
        moment = self._as_of(as_of)
        index = await self._index()
        lineage = Lineage.of(self.branch, await self._branches())
        if await self.get(entry_id, as_of=from_micros(moment)) is None:
            return ()
        found: dict[tuple[str, bool, str], Neighbour] = {}
        for edge in index.edges(entry_id, lineage, moment):
            outgoing = edge.from_entry == entry_id
            other = edge.to_entry if outgoing else edge.from_entry
            if relation is not None and edge.relation != relation:
                continue
            entry = await self.get(other, as_of=from_micros(moment))
            if entry is not None:
                found[edge.relation, outgoing, other] = Neighbour(edge.relation, outgoing, entry)
        return tuple(found.values())

    async def live(self, *, as_of: datetime | None = None) -> LiveEntries:
        """The visible entries in brief: what a policy must know of them before it adds one."""
        moment = self._as_of(as_of)
        index = await self._index()
        rows = index.visible(self.branch, self.namespace, await self._branches(), moment)
        oldest = index.versions[rows[0]] if len(rows) else None
        return LiveEntries(len(rows), self._cap, oldest, index, rows.tolist())

    async def namespaces(self) -> tuple[str, ...]:
        """Every namespace that an operation has named."""
        index = await self._index()
        return tuple(sorted({namespace for namespace, _, _ in index.kinds}))

    async def get_stats(self) -> MemoryStats:
        index = await self._index()
        branches = await self._branches()
        lineage = Lineage.of(self.branch, branches)
        live = len(index.open_versions(self.branch, self.namespace, branches))
        own = [
            v
            for v in index.versions
            if v.namespace == self.namespace and lineage.sees(v.branch, v.sequence)
        ]
        kinds = index.counts(self.namespace, lineage)
        return MemoryStats(
            store=self._shared.store.name,
            namespace=self.namespace,
            branch=self.branch,
            embedder=self._shared.embedder.model_id,
            entries_live=live,
            entries_closed=len({v.entry_id for v in own}) - live,
            versions=len(own),
            operations=sum(kinds.values()),
            operations_by_kind=kinds,
            branches=len(await (await self.store()).branches()),
            calls=self._shared.latencies.stats(await self._shared.store.timings()),
        )

    @property
    def operation_stats(self) -> Mapping[str, OperationStats]:
        """Calls, failures and latency quantiles by operation, since this memory was made."""
        return self._shared.latencies.stats()

    # Branches, transfer, upkeep

    async def snapshot(self) -> MemorySnapshot:
        """The present state of this branch, to be forked as often as wanted."""
        _, last = await (await self.store()).state()
        return MemorySnapshot(self.branch, last)

    async def fork(self, snapshot: MemorySnapshot | None = None) -> AgeMem:
        """A handle on a new branch that starts at the snapshot (or now) and goes its own way."""
        store = await self.store()
        at = snapshot or MemorySnapshot(self.branch, FOREVER)
        created = to_micros(self._shared.clock.now())
        sequence = None if snapshot is None else at.sequence
        branch = await store.fork(at.branch, sequence, created)
        return self._handle(branch=branch.name, context=None)

    async def export(self, path: str | Path) -> transfer.Transferred:
        """Write the whole store (every branch and namespace) as JSON lines."""
        return await transfer.export(await self.store(), Path(path))

    async def import_(self, path: str | Path) -> transfer.Transferred:
        """Read an export into an empty store, or bare lines of text into this namespace."""
        store = await self.store()
        content = transfer.read(Path(path))
        if isinstance(content, transfer.Export):
            await store.load(content.branches, content.operations, content.vectors, content.seed)
            self._shared.branches = {}
            return transfer.Transferred(
                str(path), content.entries, len(content.operations), content.notes()
            )
        started = time.perf_counter()

        def whole(results: Sequence[MemoryOperationResult]) -> None:
            for (number, _), result in zip(content, results, strict=True):
                if result.error is not None:
                    raise transfer.at_line(Path(path), number, result.error)

        requests = [request for _, request in content]
        results = await self._write(requests, whole) if requests else []
        written = sum(not self._timed(result, started).replayed for result in results)
        return transfer.Transferred(str(path), written, written)

    async def check(self) -> tuple[str, ...]:
        """What does not agree with the operation log, in words; empty when all is well."""
        store = await self.store()
        while True:
            before = await store.state()
            try:
                found = verify.problems(
                    await store.branches(), await store.operations(), await store.derived()
                )
            except UnreadableRecord as error:
                found = [str(error)]
            # Somebody wrote between the reads: these problems may be none, so look again.
            if not found or await store.state() == before:
                return tuple(found)

    async def rebuild(self) -> int:
        """Make every table and index anew from the log, embedding every text with this embedder."""
        store = await self.store()
        by_text: dict[str, StoredVector] = {}
        while True:
            operations = await store.operations()
            versions = [v for record in operations for v in record.opened if v.content]
            texts = list(dict.fromkeys(v.content for v in versions if v.content not in by_text))
            for start in range(0, len(texts), 256):
                part = texts[start : start + 256]
                by_text |= dict(zip(part, await self._vectors(part), strict=True))
            vectors = [replace(by_text[v.content], version_id=v.version_id) for v in versions]
            if await store.rebuild(vectors, operations[-1].sequence if operations else 0):
                return len(versions)


def _filter(where: Mapping[str, Any] | None) -> Filter | None:
    """Raises: ContentRefused unless names map to plain values or lists of them."""
    if where is not None and not isinstance(where, Mapping):
        raise ContentRefused(
            f"the filter is {type(where).__name__}, not a mapping.", "Give names and values."
        )
    for name, value in (where or {}).items():
        check_name(name, "a filter name")
        for item in value if isinstance(value, list | tuple | set | frozenset) else [value]:
            if not isinstance(item, str | int | float | bool | None):
                raise ContentRefused(
                    f"the filter {name!r} asks for {item!r}.", "Filter by text, numbers or lists."
                )
            try:
                written = orjson.dumps(item)
            except orjson.JSONEncodeError as error:
                raise ContentRefused(
                    f"the filter {name!r} asks for what cannot be stored: {error}.",
                    "Filter by plain text and numbers.",
                ) from error
            if written == b"null" and item is not None:
                raise ContentRefused(f"the filter {name!r} asks for {item}.", "Give a number.")
    return where


def _hit(version: Version, ranked: Ranked) -> MemoryHit:
    valid = recorded = from_micros(version.recorded_from)
    if version.valid_from != version.recorded_from:
        valid = from_micros(version.valid_from)
    return MemoryHit(
        id=version.entry_id,
        version=version.number,
        text=version.content,
        score=ranked.score,
        ranks=HitRanks(ranked.vector, ranked.text, ranked.graph),
        reason=explain(ranked),
        valid_from=valid,
        recorded_from=recorded,
        outcome_at=None if version.outcome_at is None else from_micros(version.outcome_at),
        source=version.source,
        metadata=own_copy(version.metadata),
    )


def _entry(version: Version, closing: Closing | None) -> MemoryEntry:
    return MemoryEntry(
        id=version.entry_id,
        version=version.number,
        text=version.content,
        metadata=own_copy(version.metadata),
        source=version.source,
        namespace=version.namespace,
        valid_from=from_micros(version.valid_from),
        valid_to=from_micros(FOREVER if closing is None else closing.hidden_from),
        recorded_from=from_micros(version.recorded_from),
        recorded_to=from_micros(FOREVER if closing is None else closing.recorded_to),
        outcome_at=None if version.outcome_at is None else from_micros(version.outcome_at),
        version_id=version.version_id,
    )
