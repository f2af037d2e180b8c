"""Export and import: the operation log as JSON lines, and bare dated lines of text.

An export holds the branches, every operation and every vector; reading it into an empty store gives the
same memory, as-of answers included. Bare lines are `{"text", "symbol", "recorded_from", ...}` (other names
become metadata) or `TIME text`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from core.errors import ContentRefused, MemoryRefused, StorageError
from core.memories import Branch, OperationRecord, StoredVector
from core.protocols import MemoryStore
from memory.codec import (
    branch_line,
    canonical,
    record_from_line,
    record_line,
    vector_from_line,
    vector_line,
)
from memory.operations import Add, Request

FORMAT: Final = 1
_OWN_NAMES: Final = frozenset(
    {"text", "recorded_from", "valid_from", "outcome_at", "source", "key"}
)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What went through: how many entries and operations."""

    path: str
    entries: int
    operations: int


@dataclass(frozen=True, slots=True)
class Export:
    """A whole export, read and checked."""

    seed: str
    branches: Sequence[Branch]
    operations: Sequence[OperationRecord]
    vectors: Sequence[StoredVector]

    @property
    def entries(self) -> int:
        return _entries(self.operations)


def _entries(operations: Sequence[OperationRecord]) -> int:
    return len({version.entry_id for record in operations for version in record.opened})


async def export(store: MemoryStore, path: Path) -> Transferred:
    """Write the file beside its place and move it there, so that it is whole or absent."""
    operations = await store.operations()
    last = operations[-1].sequence if operations else 0
    opened = (version.version_id for record in operations for version in record.opened)
    place = {name: number for number, name in enumerate(opened)}
    vectors = [vector for vector in await store.vectors() if vector.version_id in place]
    vectors.sort(key=lambda vector: place[vector.version_id])
    branches = sorted(
        (await store.branches()).values(), key=lambda b: (b.parent is not None, len(b.name), b.name)
    )
    lines = [canonical({"athena_memory": FORMAT, "seed": await store.seed()})]
    lines += [branch_line(branch) for branch in branches]
    lines += [record_line(record) for record in operations]
    lines += [vector_line(vector) for vector in vectors]
    lines.append(canonical({"end": last}))
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
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


def read(path: Path) -> Export | list[Request]:
    """An export, or bare lines as requests. Raises: ContentRefused for a line that is neither."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
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
    return [_bare(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]


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
                if value["athena_memory"] != FORMAT:
                    raise MemoryRefused(
                        f"{path} has export format {value['athena_memory']}; this Athena reads {FORMAT}.",
                        "Upgrade Athena.",
                    )
                seed = value["seed"]
            elif "branch" in value:
                branches.append(Branch(**value["branch"]))
            elif "operation" in value:
                operations.append(record_from_line(value["operation"]))
            elif "vector" in value:
                vectors.append(vector_from_line(value["vector"]))
            elif "end" in value:
                end = value["end"]
        except (KeyError, TypeError, ValueError) as error:
            raise ContentRefused(
                f"{path} line {number} is damaged: {error!r}.", "Export again."
            ) from error
    if end != (operations[-1].sequence if operations else 0):
        raise ContentRefused(f"{path} is cut off: its last line is missing.", "Export again.")
    return Export(seed, branches, operations, vectors)


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
            str(value.get("source", "import")),
            _moment(where, value.get("valid_from")),
            _moment(where, value.get("outcome_at")),
            str(value["key"]) if "key" in value else _key(line),
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
