"""Does a store agree with its operation log? Pure: the log and the derived rows in, problems out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.memories import FOREVER, Branch, Derived, Lineage, OperationRecord, Version
from memory.codec import log_digest, record_of


def problems(
    branches: Mapping[str, Branch], operations: Sequence[OperationRecord], derived: Derived
) -> list[str]:
    """Everything that does not fit, in words; empty when the store is whole."""
    found = list(derived.index_problems)
    found += _numbering(branches, operations)
    found += _lineages(branches, operations)
    found += _times(operations)
    found += _names(operations)
    expected = [version for record in operations for version in record.opened]
    found += _compare("version", expected, derived.versions, lambda v: v.version_id)
    closings = [closing for record in operations for closing in record.closed]
    found += _compare("closing", closings, derived.closings, lambda c: f"{c.target} in {c.branch}")
    edges = [edge for record in operations for edge in record.linked]
    found += _compare("edge", edges, derived.edges, lambda e: e.edge_id)
    with_text = {version.version_id for version in expected if version.content}
    found += [
        f"version {name} has no vector" for name in sorted(with_text - set(derived.vector_models))
    ]
    found += [
        f"a vector belongs to no version with text: {name}"
        for name in sorted(map(str, set(derived.vector_models) - with_text))
    ]
    purged = {entry_id for record in operations for entry_id in record.purged}
    found += [
        f"purged entry {version.entry_id} still has text"
        for version in expected
        if version.entry_id in purged and version.content
    ]
    return found


def _numbering(
    branches: Mapping[str, Branch], operations: Sequence[OperationRecord]
) -> Iterable[str]:
    last: dict[str, int] = {}
    keys: set[tuple[str, str]] = set()
    for place, record in enumerate(operations, 1):
        if record.sequence != place:
            yield f"the log has sequence {record.sequence} where {place} belongs"
            return
        if record.branch not in branches:
            yield f"operation {record.operation_id} is on an unknown branch"
        if record.number != last.get(record.branch, 0) + 1:
            yield f"operation {record.operation_id} is out of order"
        last[record.branch] = record.number
        if record.key is not None:
            if (record.branch, record.key) in keys:
                yield f"the key {record.key!r} stands twice in branch {record.branch}"
            keys.add((record.branch, record.key))


def _lineages(
    branches: Mapping[str, Branch], operations: Sequence[OperationRecord]
) -> Iterable[str]:
    """Branches fork from what was there, and an operation touches only what its branch can see."""
    first: dict[str, int] = {}
    places: dict[str, tuple[str, int]] = {}
    for record in operations:
        first.setdefault(record.branch, record.sequence)
        places |= {v.version_id: (v.branch, v.sequence) for v in record.opened}
        places |= {e.edge_id: (e.branch, e.sequence) for e in record.linked}
    for branch in branches.values():
        if branch.parent is not None and branch.parent not in branches:
            yield f"branch {branch.name} forks from the unknown branch {branch.parent}"
            return
        if not 0 <= branch.fork_sequence <= len(operations):
            yield f"branch {branch.name} forks at {branch.fork_sequence}, which is not in the log"
        elif branch.fork_sequence >= first.get(branch.name, FOREVER):
            yield f"branch {branch.name} forks after its own first operation"
    lineages = {name: Lineage.of(name, branches) for name in branches}
    for record in operations:
        touched = [closing.target for closing in record.closed]
        touched += [version.copy_of for version in record.opened if version.copy_of is not None]
        for name in touched if record.branch in lineages else ():
            if name not in places or not lineages[record.branch].sees(*places[name]):
                yield f"operation {record.operation_id} touches {name}, which its branch cannot see"


def _times(operations: Sequence[OperationRecord]) -> Iterable[str]:
    for record in operations:
        times = {version.recorded_from for version in record.opened}
        times |= {closing.recorded_to for closing in record.closed}
        if times - {record.recorded_at}:
            yield f"operation {record.operation_id} has another time than what it did"


def _names(operations: Sequence[OperationRecord]) -> Iterable[str]:
    """Each version, edge and closing stands once, in the order of an entry's life."""
    newest: dict[str, int] = {}
    seen: set[tuple[str, ...]] = set()
    purged = {entry_id for record in operations for entry_id in record.purged}
    for record in operations:
        names = [(version.version_id,) for version in record.opened]
        names += [(edge.edge_id,) for edge in record.linked]
        for name in (*names, *((closing.target, closing.branch) for closing in record.closed)):
            if name in seen:
                yield f"{' in '.join(name)} stands twice in the log"
            seen.add(name)
        for version in record.opened:
            if not 1 <= version.number <= newest.get(version.entry_id, 0) + 1:
                yield f"version {version.version_id} comes before its predecessor"
            newest[version.entry_id] = max(version.number, newest.get(version.entry_id, 0))
            if not version.content and version.entry_id not in purged:
                yield f"version {version.version_id} has no text and was not purged"
        for edge in record.linked:
            for entry_id in (edge.from_entry, edge.to_entry):
                if entry_id not in newest:
                    yield f"edge {edge.edge_id} names the unknown entry {entry_id}"


def log_problems(
    seed: str, rows: Iterable[tuple[Sequence[Any], str | None, str | None]]
) -> list[str]:
    """Rows of the log as stored (columns, the operation undone, seal) that are not as written."""
    found = []
    for columns, undoes, seal in rows:
        if seal != log_digest(seed, *columns):
            found.append(f"record {columns[0]} of the operation log is not as it was written")
        elif record_of(*columns).undoes != undoes:
            found.append(f"record {columns[0]} of the operation log names another undone operation")
    return found


def entry_problems(
    operations: Sequence[OperationRecord], entries: Mapping[str, tuple[str, bool]]
) -> list[str]:
    """Stored entries (namespace, purged) that differ from the log."""
    purged = {entry_id for record in operations for entry_id in record.purged}
    expected = {v.entry_id: v.namespace for record in operations for v in record.opened}
    found = [f"entry {name} is stored but not in the log" for name in entries.keys() - expected]
    for name, namespace in expected.items():
        if name not in entries:
            found.append(f"entry {name} is in the log but not stored")
        elif entries[name] != (namespace, name in purged):
            found.append(f"entry {name} differs from the log")
    return found


def _compare(what: str, logged: Sequence[Any], stored: Sequence[Any], name: Any) -> Iterable[str]:
    expected = {name(item): _plain(item) for item in logged}
    actual = {name(item): _plain(item) for item in stored}
    for key, item in expected.items():
        if key not in actual:
            yield f"{what} {key} is in the log but not stored"
        elif actual[key] != item:
            yield f"{what} {key} differs from the log"
    for key in actual:
        if key not in expected:
            yield f"{what} {key} is stored but not in the log"


def _plain(item: Any) -> Any:
    return replace(item, metadata=dict(item.metadata)) if isinstance(item, Version) else item
