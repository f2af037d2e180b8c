"""Values of the memory that cross package borders: frozen, checked where they are made.

Owns the words: an *entry* has immutable *versions*; a *closing* ends a version (or an edge) in one branch;
an *operation* is the unit of the log and carries all that it opened, closed and linked. Refuses to know
how any of it is stored or ranked.

Units: times are integer microseconds since 1970 UTC; `FOREVER` stands for "not yet ended" and is never
null. A version is seen at `as_of` when `visible_from <= as_of < hidden_from`: it was recorded, it was valid
and its outcome, if it speaks of one, was known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
ROOT_BRANCH: Final = "main"
NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970. Raises: ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def iso(micros: int) -> str:
    """ISO 8601 in UTC with a Z."""
    return from_micros(micros).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of history: it starts as its parent stood after operation `fork_sequence`."""

    name: str
    parent: str | None
    fork_sequence: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """What one branch can see: itself whole, each ancestor up to the operation it forked at."""

    limits: Mapping[str, int]

    @staticmethod
    def of(name: str, branches: Mapping[str, Branch]) -> Lineage:
        limits = {name: FOREVER}
        branch, limit = branches[name], FOREVER
        while branch.parent is not None:
            limit = min(limit, branch.fork_sequence)
            limits[branch.parent] = limit
            branch = branches[branch.parent]
        return Lineage(limits)

    def sees(self, branch: str, sequence: int) -> bool:
        return sequence <= self.limits.get(branch, -1)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable text of an entry, as one operation recorded it.

    `number` counts the versions of the entry in its line of history. `copy_of` names the version whose
    text an undo brought back.
    """

    version_id: str
    entry_id: str
    number: int
    namespace: str
    content: str
    metadata: Mapping[str, Any]
    source: str
    recorded_from: int
    valid_from: int
    outcome_at: int | None
    copy_of: str | None = None
    branch: str = ROOT_BRANCH
    sequence: int = 0

    @property
    def visible_from(self) -> int:
        return max(self.recorded_from, self.valid_from, self.outcome_at or self.recorded_from)


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a version or an edge in one branch.

    It is known from `recorded_to` on; the target is hidden from `hidden_from` on, which lies later when
    its successor may only be seen later.
    """

    target: str
    recorded_to: int
    hidden_from: int
    branch: str = ROOT_BRANCH
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """A named relation from one entry to another."""

    edge_id: str
    from_entry: str
    to_entry: str
    relation: str
    namespace: str
    recorded_from: int
    branch: str = ROOT_BRANCH
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """One line of the operation log: everything that is stored follows from these records.

    `number` counts within the branch, `sequence` over the whole store. `request` is a digest of what was
    asked, so that a key used again for something else is noticed (null once purged).
    """

    sequence: int
    branch: str
    number: int
    kind: str
    namespace: str
    key: str | None
    request: str | None
    recorded_at: int
    opened: tuple[Version, ...] = ()
    closed: tuple[Closing, ...] = ()
    linked: tuple[Edge, ...] = ()
    purged: tuple[str, ...] = ()
    undoes: str | None = None

    @property
    def operation_id(self) -> str:
        return f"{self.branch}:{self.number}"


@dataclass(frozen=True, slots=True)
class StoredVector:
    """The embedding of one version: float32, little-endian, unit length, with the model it came from."""

    version_id: str
    model_id: str
    dimension: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything a store keeps besides its log; `memory check` compares it with the log."""

    versions: tuple[Version, ...]
    closings: tuple[Closing, ...]
    edges: tuple[Edge, ...]
    vector_models: Mapping[str, str]
    index_problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HitRanks:
    """The place of a hit in each component, from 1; None where the component did not find it."""

    vector: int | None = None
    text: int | None = None
    graph: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """One answer of a search, with the ranks that put it there and the reason in words."""

    id: str
    version: int
    text: str
    score: float
    ranks: HitRanks
    reason: str
    valid_from: datetime
    recorded_from: datetime
    outcome_at: datetime | None
    source: str = "user"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """One version of an entry as a reader sees it.

    `recorded_to` and `valid_to` are in the year 9999 while it is open. `closed` says that no version of the
    entry is open any more, `purged` that its text was erased.
    """

    id: str
    version: int
    text: str
    metadata: Mapping[str, Any]
    source: str
    namespace: str
    valid_from: datetime
    valid_to: datetime
    recorded_from: datetime
    recorded_to: datetime
    outcome_at: datetime | None
    version_id: str
    closed: bool = False
    purged: bool = False


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """A state of the memory that can be forked again and again: a branch after one operation."""

    branch: str
    sequence: int
