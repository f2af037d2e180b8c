"""What each operation means: one request, the state it meets, the record that goes into the log.

The only place where ADD, UPDATE, DELETE, UNDO, LINK and PURGE are defined; a store merely reads and
appends inside its transaction, so both stores behave alike. Refuses to know SQL, Cypher, embedders and
the machine's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.errors import (
    ContentRefused,
    EntryClosed,
    EntryNotFound,
    KeyConflict,
    MemoryRefused,
    UndoRefused,
    VersionConflict,
)
from core.memories import (
    ROOT_BRANCH,
    Closing,
    Edge,
    OperationRecord,
    StoredVector,
    Version,
    to_micros,
)
from core.protocols import MemoryTransaction
from memory.codec import as_stored, derive_id, request_digest
from memory.operations import (
    Add,
    Delete,
    Link,
    MemoryOperationResult,
    Purge,
    Request,
    Undo,
    Update,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked request with the vector of its text, if it has one."""

    request: Request
    vector: StoredVector | None = None


def version_id(entry_id: str, number: int, branch: str) -> str:
    """`id@number` on the root branch; other branches say which they are."""
    suffix = "" if branch == ROOT_BRANCH else f"~{branch}"
    return f"{entry_id}@{number}{suffix}"


@dataclass(slots=True)
class Performed:
    """The receipts of a batch, and the log's new records with their vectors as they were appended."""

    results: list[MemoryOperationResult] = field(default_factory=list)
    records: list[OperationRecord] = field(default_factory=list)
    vectors: list[StoredVector] = field(default_factory=list)


async def perform(
    transaction: MemoryTransaction,
    drafts: Sequence[Draft],
    namespace: str,
    now: int,
    entry_cap: int | None,
) -> Performed:
    """Carry out requests in order. A refused one writes nothing and the others stand."""
    done = Performed()
    for draft in drafts:
        step = _Step(transaction, namespace, now, entry_cap, done)
        try:
            done.results.append(await step.run(draft))
        except MemoryRefused as error:
            done.results.append(MemoryOperationResult(False, draft.request.kind, error=error))
    return done


class _Step:
    """One request inside a transaction."""

    def __init__(
        self,
        transaction: MemoryTransaction,
        namespace: str,
        now: int,
        entry_cap: int | None,
        done: Performed,
    ) -> None:
        self._tx = transaction
        self._done = done
        self._namespace = namespace
        self._now = now
        self._cap = entry_cap

    async def run(self, draft: Draft) -> MemoryOperationResult:
        request = draft.request
        digest = request_digest(request, self._namespace) if request.key is not None else None
        if request.key is not None:
            earlier = await self._tx.operation_by_key(request.key)
            if earlier is not None:
                return await self._replay(earlier, request, digest)
        match request:
            case Add():
                return await self._add(draft, request, digest)
            case Update():
                return await self._update(draft, request, digest)
            case Delete():
                return await self._delete(request, digest)
            case Undo():
                return await self._undo(request, digest)
            case Link():
                return await self._link(request, digest)
            case Purge():
                return await self._purge(request, digest)

    async def _replay(
        self, earlier: OperationRecord, request: Request, digest: str | None
    ) -> MemoryOperationResult:
        if earlier.request is None:
            raise KeyConflict(
                f"the key {request.key!r} was used by {earlier.operation_id}, whose text is purged.",
                "Use a new key for a new request.",
            )
        if earlier.request != digest:
            raise KeyConflict(
                f"the key {request.key!r} was used by {earlier.operation_id} for something else.",
                "Use a new key for a new request.",
            )
        evicted: tuple[Closing, ...] = ()
        if earlier.kind == "add":
            before = await self._tx.operation(f"{earlier.branch}:{earlier.number - 1}")
            evicted = before.closed if before is not None and before.kind == "evict" else ()
        return replace(receipt(earlier, evicted), replayed=True)

    async def _append(
        self,
        request: Request,
        digest: str | None,
        *,
        number: int,
        sequence: int,
        opened: Sequence[Version] = (),
        closed: Sequence[Closing] = (),
        linked: Sequence[Edge] = (),
        purged: tuple[str, ...] = (),
        undoes: str | None = None,
        vector: StoredVector | None = None,
        recorded_at: int | None = None,
    ) -> OperationRecord:
        branch = self._tx.branch
        record = OperationRecord(
            sequence=sequence,
            branch=branch,
            number=number,
            kind=request.kind,
            namespace=self._namespace,
            key=request.key,
            request=digest,
            recorded_at=self._now if recorded_at is None else recorded_at,
            opened=tuple(opened),
            closed=tuple(closed),
            linked=tuple(linked),
            purged=purged,
            undoes=undoes,
        )
        vectors: tuple[StoredVector, ...] = ()
        if vector is not None and opened:
            vectors = (
                StoredVector(opened[0].version_id, vector.model_id, vector.dimension, vector.data),
            )
        await self._log(record, vectors)
        return record

    async def _log(self, record: OperationRecord, vectors: Sequence[StoredVector]) -> None:
        await self._tx.append(record, vectors)
        self._done.records.append(record)
        self._done.vectors += vectors

    def _closing(self, target: str, sequence: int, hidden_from: int | None = None) -> Closing:
        hidden = self._now if hidden_from is None else hidden_from
        return Closing(target, self._now, hidden, self._tx.branch, sequence)

    async def _open_version(self, entry_id: str) -> Version:
        """The open version of an entry here and now. Raises: EntryNotFound, EntryClosed."""
        versions = await self._tx.versions(entry_id)
        if not versions or versions[0].namespace != self._namespace:
            raise EntryNotFound(
                f"no entry {entry_id!r} in namespace {self._namespace!r}.",
                "`athena memory list` shows the entries.",
            )
        latest = versions[-1]
        if latest.recorded_from > self._now:
            raise EntryNotFound(f"entry {entry_id!r} is recorded only later than now.")
        if not latest.content:
            raise EntryClosed(f"entry {entry_id!r} is purged; its text is gone.", "Add it anew.")
        if await self._tx.closings([latest.version_id]):
            raise EntryClosed(
                f"entry {entry_id!r} is closed since version {latest.number}.",
                "Undo the operation that closed it (`athena memory history`), or add it anew.",
            )
        return latest

    async def _add(self, draft: Draft, request: Add, digest: str | None) -> MemoryOperationResult:
        at = self._now if request.recorded_at is None else to_micros(request.recorded_at)
        evicted = await self._make_room() if self._cap is not None else ()
        sequence, number = await self._tx.position()
        entry_id = derive_id(self._tx.seed, self._tx.branch, number)
        version = Version(
            version_id=version_id(entry_id, 1, self._tx.branch),
            entry_id=entry_id,
            number=1,
            namespace=self._namespace,
            content=request.content,
            metadata=as_stored(request.metadata),
            source=request.source,
            recorded_from=at,
            valid_from=at if request.valid_from is None else to_micros(request.valid_from),
            outcome_at=None if request.outcome_at is None else to_micros(request.outcome_at),
            branch=self._tx.branch,
            sequence=sequence,
        )
        record = await self._append(
            request,
            digest,
            number=number,
            sequence=sequence,
            opened=[version],
            vector=draft.vector,
            recorded_at=at,
        )
        return receipt(record, evicted)

    async def _make_room(self) -> tuple[Closing, ...]:
        live = await self._tx.live(self._namespace)
        excess = len(live) + 1 - (self._cap or 0)
        if excess <= 0:
            return ()
        sequence, number = await self._tx.position()
        closed = tuple(self._closing(version.version_id, sequence) for version in live[:excess])
        await self._log(
            OperationRecord(
                sequence, self._tx.branch, number, "evict", self._namespace, None, None, self._now,
                closed=closed,
            ),
            (),
        )  # fmt: skip
        return closed

    async def _update(
        self, draft: Draft, request: Update, digest: str | None
    ) -> MemoryOperationResult:
        current = await self._open_version(request.entry_id)
        if request.expected_version not in {None, current.number}:
            raise VersionConflict(
                f"entry {request.entry_id!r} is at version {current.number}, not "
                f"{request.expected_version}: somebody changed it first.",
                "Read it again and decide anew.",
            )
        sequence, number = await self._tx.position()
        metadata = current.metadata if request.metadata is None else as_stored(request.metadata)
        version = Version(
            version_id=version_id(current.entry_id, current.number + 1, self._tx.branch),
            entry_id=current.entry_id,
            number=current.number + 1,
            namespace=self._namespace,
            content=request.content,
            metadata=metadata,
            source=current.source if request.source is None else request.source,
            recorded_from=self._now,
            valid_from=self._now if request.valid_from is None else to_micros(request.valid_from),
            outcome_at=None if request.outcome_at is None else to_micros(request.outcome_at),
            branch=self._tx.branch,
            sequence=sequence,
        )
        closing = self._closing(current.version_id, sequence, version.visible_from)
        record = await self._append(
            request,
            digest,
            number=number,
            sequence=sequence,
            opened=[version],
            closed=[closing],
            vector=draft.vector,
        )
        return receipt(record)

    async def _delete(self, request: Delete, digest: str | None) -> MemoryOperationResult:
        current = await self._open_version(request.entry_id)
        sequence, number = await self._tx.position()
        closing = self._closing(current.version_id, sequence)
        record = await self._append(
            request, digest, number=number, sequence=sequence, closed=[closing]
        )
        return receipt(record)

    async def _undo(self, request: Undo, digest: str | None) -> MemoryOperationResult:
        target = await self._tx.operation(request.operation_id)
        if target is None or target.namespace != self._namespace:
            raise EntryNotFound(
                f"no operation {request.operation_id!r} in namespace {self._namespace!r}.",
                "`athena memory history ID` shows the operations of an entry.",
            )
        if target.recorded_at > self._now:
            raise UndoRefused(
                f"operation {request.operation_id} is recorded only later than now.",
                "Set the clock right, or wait.",
            )
        if target.kind == "purge":
            raise UndoRefused("a purge erased its text and cannot be undone.")
        if await self._tx.is_undone(request.operation_id):
            raise UndoRefused(
                f"operation {request.operation_id} is undone already.", "Undo that undo instead."
            )
        opened_ids = [version.version_id for version in target.opened]
        edge_ids = [edge.edge_id for edge in target.linked]
        if await self._tx.closings([*opened_ids, *edge_ids]):
            raise UndoRefused(
                f"a later operation changed what {request.operation_id} made.",
                "Undo the later one first.",
            )
        sequence, number = await self._tx.position()
        closed = [self._closing(name, sequence) for name in [*opened_ids, *edge_ids]]
        opened, linked = await self._reopened(target, set(opened_ids), sequence, number)
        record = await self._append(
            request,
            digest,
            number=number,
            sequence=sequence,
            opened=opened,
            closed=closed,
            linked=linked,
            undoes=request.operation_id,
        )
        return receipt(record)

    async def _reopened(
        self, target: OperationRecord, closing_now: set[str], sequence: int, number: int
    ) -> tuple[list[Version], list[Edge]]:
        """New versions (and edges) with the text of those that `target` closed."""
        opened, linked = [], []
        for place, closing in enumerate(target.closed):
            entry_id, is_version, _ = closing.target.partition("@")
            if not is_version:
                edge = await self._edge(closing.target)
                linked.append(
                    replace(
                        edge,
                        edge_id=f"{self._tx.branch}:{number}/{place}",
                        recorded_from=self._now,
                        branch=self._tx.branch,
                        sequence=sequence,
                    )
                )
                continue
            versions = await self._tx.versions(entry_id)
            old = next(v for v in versions if v.version_id == closing.target)
            latest = versions[-1]
            still_open = not await self._tx.closings([latest.version_id])
            if still_open and latest.version_id not in closing_now:
                raise UndoRefused(
                    f"entry {entry_id!r} has been opened again since.", "Undo the later one first."
                )
            if not old.content:
                raise UndoRefused(f"entry {entry_id!r} was purged; its text is gone.")
            opened.append(
                replace(
                    old,
                    version_id=version_id(entry_id, latest.number + 1, self._tx.branch),
                    number=latest.number + 1,
                    recorded_from=self._now,
                    copy_of=old.version_id,
                    branch=self._tx.branch,
                    sequence=sequence,
                )
            )
        return opened, linked

    async def _edge(self, edge_id: str) -> Edge:
        record = await self._tx.operation(edge_id.partition("/")[0])
        assert record is not None, "an edge's id begins with its operation's id"
        return next(edge for edge in record.linked if edge.edge_id == edge_id)

    async def _link(self, request: Link, digest: str | None) -> MemoryOperationResult:
        if request.from_entry == request.to_entry:
            raise ContentRefused(
                f"entry {request.from_entry!r} cannot be linked to itself.", "Name two entries."
            )
        await self._open_version(request.from_entry)
        await self._open_version(request.to_entry)
        sequence, number = await self._tx.position()
        edge = Edge(
            edge_id=f"{self._tx.branch}:{number}/0",
            from_entry=request.from_entry,
            to_entry=request.to_entry,
            relation=request.relation,
            namespace=self._namespace,
            recorded_from=self._now,
            branch=self._tx.branch,
            sequence=sequence,
        )
        record = await self._append(
            request, digest, number=number, sequence=sequence, linked=[edge]
        )
        return receipt(record)

    async def _purge(self, request: Purge, digest: str | None) -> MemoryOperationResult:
        versions = await self._tx.versions(request.entry_id)
        if not versions or versions[0].namespace != self._namespace:
            raise EntryNotFound(
                f"no entry {request.entry_id!r} in namespace {self._namespace!r}.",
                "`athena memory list` shows the entries.",
            )
        if not versions[-1].content:
            raise EntryClosed(f"entry {request.entry_id!r} is purged already.")
        latest = versions[-1].version_id
        is_open = not await self._tx.closings([latest])
        sequence, number = await self._tx.position()
        record = await self._append(
            request,
            digest,
            number=number,
            sequence=sequence,
            closed=[self._closing(latest, sequence)] if is_open else [],
            purged=(request.entry_id,),
        )
        await self._tx.erase(request.entry_id)
        return receipt(record)


def receipt(record: OperationRecord, evicted: Sequence[Closing] = ()) -> MemoryOperationResult:
    """What an operation stored, read from its record alone."""
    ids: dict[str, None] = {version.entry_id: None for version in record.opened}
    for edge in record.linked:
        ids |= {edge.from_entry: None, edge.to_entry: None}
    ids |= dict.fromkeys(record.purged)
    superseded = [c.target for c in (*record.closed, *evicted) if "@" in c.target]
    if not ids:
        ids = {target.partition("@")[0]: None for target in superseded}
    return MemoryOperationResult(
        success=True,
        operation=record.kind,
        ids=tuple(ids),
        version=record.opened[0].number if record.opened else None,
        superseded_ids=tuple(superseded),
        operation_id=record.operation_id,
    )
