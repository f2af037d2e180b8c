"""Does a store agree with its operation log? Pure: the log and the derived rows in, problems out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.memories import Branch, Derived, OperationRecord, Version


def problems(
    branches: Mapping[str, Branch], operations: Sequence[OperationRecord], derived: Derived
) -> list[str]:
    """Everything that does not fit, in words; empty when the store is whole."""
    found = list(derived.index_problems)
    found += _numbering(branches, operations)
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
