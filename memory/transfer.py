"""Export and import: the operation log as JSON lines, and bare dated lines of text.

An export holds the branches, every operation and every vector; reading it into an empty store gives the
same memory, as-of answers included. Its last line has the SHA-256 of those before it, which must fit; an
export of an earlier version, which has none, is read with a note. Bare lines are `{"text", "symbol",
"recorded_from", ...}` (other names become metadata) or `TIME text`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from core.errors import ContentRefused, MemoryRefused, StorageError
from core.files import private_opener
from core.formats import EXPORT
from core.memories import (
    FOREVER,
    ROOT_BRANCH,
    Branch,
    Derived,
    OperationRecord,
    StoredVector,
    to_micros,
)
from core.protocols import MemoryStore
from memory import verify
from memory.codec import (
    branch_line,
    canonical,
    record_from_line,
    record_line,
    vector_from_line,
    vector_line,
)
from memory.operations import (
    Add,
    Link,
    check_metadata,
    check_name,
    check_request,
    check_text,
)

NO_DIGEST: Final = (
    "The export has no digest (an earlier version wrote it): a change would not be noticed."
)
_EARLIEST: Final = to_micros(datetime.min.replace(tzinfo=UTC))
_KINDS: Final = frozenset({"add", "update", "delete", "undo", "link", "purge", "evict"})
_OWN_NAMES: Final = frozenset(
    {"text", "recorded_from", "valid_from", "outcome_at", "source", "key"}
)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What went through: how many entries and operations; what is to be said of it."""

    path: str
    entries: int
    operations: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """A whole export, read and checked. `sealed`: whether it had a digest to be held against."""

    seed: str
    branches: Sequence[Branch]
    operations: Sequence[OperationRecord]
    vectors: Sequence[StoredVector]
    sealed: bool = True

    @property
    def entries(self) -> int:
        return _entries(self.operations)

    def notes(self) -> tuple[str, ...]:
        """What an import has to say of it."""
        return () if self.sealed else (NO_DIGEST,)


def _entries(operations: Sequence[OperationRecord]) -> int:
    return len({version.entry_id for record in operations for version in record.opened})


async def export(store: MemoryStore, path: Path) -> Transferred:
    """Write the file beside its place and move it there, so that it is whole or absent; it is its owner's
    alone (0600), as the memory is."""
    operations = await store.operations()
    last = operations[-1].sequence if operations else 0
    opened = (version.version_id for record in operations for version in record.opened)
    place = {name: number for number, name in enumerate(opened)}
    vectors = [vector for vector in await store.vectors() if vector.version_id in place]
    vectors.sort(key=lambda vector: place[vector.version_id])
    branches = sorted(
        (await store.branches()).values(), key=lambda b: (b.parent is not None, len(b.name), b.name)
    )
    lines = [canonical({"athena_memory": EXPORT.version, "seed": await store.seed()})]
    lines += [branch_line(branch) for branch in branches]
    lines += [record_line(record) for record in operations]
    lines += [vector_line(vector) for vector in vectors]
    lines.append(canonical({"end": last, "sha256": _digest(lines)}))
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb", opener=private_opener) as file:
            file.write(b"\n".join(lines) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written: {error.strerror}.", "Choose another file."
        ) from error
    return Transferred(str(path), _entries(operations), len(operations))


def _digest(lines: Iterable[bytes]) -> str:
    """SHA-256 over lines, each with a newline behind it."""
    found = hashlib.sha256()
    for line in lines:
        found.update(line + b"\n")
    return found.hexdigest()


def read(path: Path) -> Export | list[tuple[int, Add]]:
    """An export, or bare lines as requests with their line numbers, every one of them checked.

    Raises: ContentRefused for a line that is neither, and for an export that does not fit together.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ContentRefused(
            f"{path} cannot be read: {error.strerror}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ContentRefused(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
    lines = [line.rstrip("\r") for line in lines]
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("{") and "athena_memory" in _json(path, 1, first):
        return _export(path, lines)
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            request = _bare(path, number, line)
            try:
                check_request(request)
            except MemoryRefused as error:
                raise at_line(path, number, error) from error
            found.append((number, request))
    return found


def at_line(path: Path, number: int, error: MemoryRefused) -> MemoryRefused:
    """The error with the place it comes from. Nothing of the file is stored then."""
    return type(error)(f"{path} line {number}: {error.message}", error.cure)


def _json(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ContentRefused(f"{path} line {number} is no JSON: {error}.", "Correct it.") from error
    if not isinstance(value, dict):
        raise ContentRefused(f"{path} line {number} is no JSON object.", "Write one object a line.")
    return value


def _export(path: Path, lines: Sequence[str]) -> Export:
    seed = ""
    branches: list[Branch] = []
    operations: list[OperationRecord] = []
    vectors: list[StoredVector] = []
    end: int | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        value = _json(path, number, line)
        try:
            if "athena_memory" in value:
                EXPORT.check(value["athena_memory"], path)
                seed = value["seed"]
            elif "branch" in value:
                branches.append(_branch(Branch(**value["branch"])))
            elif "operation" in value:
                operations.append(_record(record_from_line(value["operation"])))
            elif "vector" in value:
                vectors.append(_vector(vector_from_line(value["vector"])))
            elif "end" in value:
                end = value["end"]
        except ContentRefused as error:
            raise at_line(path, number, error) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ContentRefused(
                f"{path} line {number} is damaged: {error!r}.", "Export again."
            ) from error
    sealed = _check_digest(path, [line for line in lines if line.strip()])
    if end != (operations[-1].sequence if operations else 0):
        raise ContentRefused(f"{path} is cut off: its last line is missing.", "Export again.")
    if problem := next(iter(_misfits(seed, branches, operations, vectors)), None):
        raise ContentRefused(f"{path} does not fit together: {problem}.", "Export again.")
    return Export(seed, branches, operations, vectors, sealed)


def _check_digest(path: Path, lines: Sequence[str]) -> bool:
    """Whether an export has a digest. Line ends and a mark of the byte order are not part of it, for they
    change on their way between systems.

    Raises: ContentRefused where the lines are not those that were written.
    """
    last = _json(path, len(lines), lines[-1])
    if last.keys() == {"end"}:
        return False
    if last.keys() != {"end", "sha256"}:
        raise ContentRefused(f"{path} is cut off: its last line is missing.", "Export again.")
    if last["sha256"] != _digest(line.encode() for line in lines[:-1]):
        raise ContentRefused(
            f"{path} is not as it was exported: its SHA-256 is not the one in its last line.",
            "Export again, or import an unchanged copy.",
        )
    return True


def _misfits(
    seed: object,
    branches: Sequence[Branch],
    operations: Sequence[OperationRecord],
    vectors: Sequence[StoredVector],
) -> Iterable[str]:
    """What would make a store of this export disagree with its log."""
    if not isinstance(seed, str) or not seed:
        yield "it names no seed"
    parents: set[str | None] = {None}
    for branch in branches:
        if branch.parent not in parents or branch.name in parents:
            yield f"branch {branch.name} comes before its parent, or twice"
            return
        if (branch.parent is None) != (branch.name == ROOT_BRANCH):
            yield f"branch {branch.name} has no parent, or is {ROOT_BRANCH} and has one"
        parents.add(branch.name)
    if ROOT_BRANCH not in parents:
        yield f"the branch {ROOT_BRANCH} is missing"
    derived = Derived(
        versions=tuple(version for record in operations for version in record.opened),
        closings=tuple(closing for record in operations for closing in record.closed),
        edges=tuple(edge for record in operations for edge in record.linked),
        vector_models={vector.version_id: vector.model_id for vector in vectors},
    )
    yield from verify.problems({branch.name: branch for branch in branches}, operations, derived)


def _typed(value: object, *kinds: type) -> None:
    """Raises: TypeError for a value of another type; true and false are no numbers."""
    if type(value) not in kinds:
        raise TypeError(f"{value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")


def _branch(branch: Branch) -> Branch:
    _typed(branch.name, str)
    _typed(branch.parent, str, type(None))
    _typed(branch.fork_sequence, int)
    _typed(branch.created_at, int)
    return branch


def _record(record: OperationRecord) -> OperationRecord:
    """The record, its types, texts and times within the limits that a write has to keep."""
    if record.kind not in _KINDS:
        raise ValueError(f"{record.kind!r} is no operation")
    for number in (record.sequence, record.number, record.recorded_at):
        _typed(number, int)
    for text in (record.key, record.request, record.undoes):
        _typed(text, str, type(None))
    check_name(record.namespace, "the namespace")
    times = [record.recorded_at]
    for version in record.opened:
        _typed(version.number, int)
        _typed(version.content, str)
        check_name(version.version_id, "the version id")
        check_name(version.entry_id, "the entry id")
        if version.version_id.partition("@")[0] != version.entry_id:
            raise ValueError(f"{version.version_id} is no version of {version.entry_id}")
        check_name(version.source, "the source")
        check_metadata(version.metadata)
        if version.content:
            check_text(version.content)
        times += [version.recorded_from, version.valid_from]
        times += [] if version.outcome_at is None else [version.outcome_at]
        _typed(version.copy_of, str, type(None))
    for closing in record.closed:
        _typed(closing.target, str)
        times += [closing.recorded_to, closing.hidden_from]
    for edge in record.linked:
        check_name(edge.edge_id, "the edge id")
        check_request(Link(edge.from_entry, edge.to_entry, edge.relation))
    for entry_id in record.purged:
        _typed(entry_id, str)
    for time in times:
        _typed(time, int)
        if not _EARLIEST <= time <= FOREVER:
            raise ValueError(f"the time {time} lies outside the years 1 to 9999")
    return record


def _vector(vector: StoredVector) -> StoredVector:
    for text in (vector.version_id, vector.model_id):
        check_name(text, "a name of a vector")
    _typed(vector.dimension, int)
    if len(vector.data) != 4 * vector.dimension:
        raise ValueError(f"{len(vector.data) // 4} numbers for dimension {vector.dimension}")
    if not np.isfinite(np.frombuffer(vector.data, "<f4")).all():
        raise ValueError("a vector has numbers that are not finite")
    return vector


def _bare(path: Path, number: int, line: str) -> Add:
    where = f"{path} line {number}"
    if line.lstrip().startswith("{"):
        value = _json(path, number, line)
        text = value.get("text")
        if not isinstance(text, str):
            raise ContentRefused(f"{where} has no `text`.", "Give every line a text.")
        metadata = {n: v for n, v in value.items() if n not in _OWN_NAMES and v is not None}
        recorded = _moment(where, value.get("recorded_from"))
        return Add(
            text,
            metadata,
            "import" if value.get("source") is None else value["source"],
            _moment(where, value.get("valid_from")),
            _moment(where, value.get("outcome_at")),
            _key(line) if value.get("key") is None else value["key"],
            recorded,
        )
    time, _, text = line.strip().partition(" ")
    return Add(text, {}, "import", key=_key(line), recorded_at=_moment(where, time))


def _key(line: str) -> str:
    """The same line imported twice is one entry."""
    return "import:" + hashlib.blake2b(line.strip().encode(), digest_size=12).hexdigest()


def _moment(where: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ContentRefused(
            f"{where} has the time {value!r}.", "Write ISO 8601 with a zone: 2014-06-09T20:00:00Z."
        ) from error
    if moment.tzinfo is None:
        raise ContentRefused(
            f"{where} has the time {value!r} without a zone.", "Add Z or an offset."
        )
    return moment
