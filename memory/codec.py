"""Operation records as JSON and back: the log's lines, the export's lines, and digests of requests.

Refuses to know stores. Every store writes the same bytes for the same operation.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import orjson

from core.errors import UnreadableRecord
from core.memories import Branch, Closing, Edge, OperationRecord, StoredVector, Version, to_micros
from memory.operations import Request

# Base 32, ten bits at a time: `b32encode` goes by a loop and takes four times as long.
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS = [first + second for first in _BASE32 for second in _BASE32]


def canonical(value: Any) -> bytes:
    """JSON with sorted names: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def request_digest(request: Request, namespace: str) -> str:
    """What the idempotency key stands for: everything asked except the key itself."""
    asked = {
        name: to_micros(value) if isinstance(value, datetime) else value
        for name in request.__slots__
        if name not in {"key", "expected_version"}
        for value in (getattr(request, name),)
    }
    for name, value in asked.items():
        if isinstance(value, Mapping):
            asked[name] = dict(value)
    asked["namespace"] = namespace
    return hashlib.blake2b(canonical(asked), digest_size=16).hexdigest()


def derive_id(seed: str, branch: str, number: int) -> str:
    """An entry's id: fixed by the store's seed, the branch and the operation's number there."""
    digest = hashlib.blake2b(f"{seed}|{branch}|{number}".encode(), digest_size=10).digest()
    bits = int.from_bytes(digest, "big")
    return "m" + "".join([_BASE32_PAIRS[bits >> place & 1023] for place in range(70, -1, -10)])


def payload(record: OperationRecord) -> str:
    """The part of a record that is stored as JSON; the rest stands in columns."""
    body: dict[str, Any] = {}
    if record.opened:
        body["opened"] = [_version_body(version) for version in record.opened]
    if record.closed:
        body["closed"] = [
            {"target": c.target, "recorded_to": c.recorded_to, "hidden_from": c.hidden_from}
            for c in record.closed
        ]
    if record.linked:
        body["linked"] = [
            {
                "edge_id": e.edge_id,
                "from_entry": e.from_entry,
                "to_entry": e.to_entry,
                "relation": e.relation,
            }
            for e in record.linked
        ]
    if record.purged:
        body["purged"] = list(record.purged)
    if record.undoes:
        body["undoes"] = record.undoes
    return canonical(body).decode()


def _version_body(version: Version) -> dict[str, Any]:
    return {
        "version_id": version.version_id,
        "entry_id": version.entry_id,
        "number": version.number,
        "content": version.content,
        "metadata": dict(version.metadata),
        "source": version.source,
        "recorded_from": version.recorded_from,
        "valid_from": version.valid_from,
        "outcome_at": version.outcome_at,
        "copy_of": version.copy_of,
    }


def as_stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as it reads when it comes back from a store; a copy, nested values too."""
    stored: dict[str, Any] = orjson.loads(canonical(dict(metadata))) if metadata else {}
    return stored


def own_copy(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of stored metadata, nested values too, that its reader may change as he likes.

    Written out rather than `copy.deepcopy`, which takes three times as long; stored values are JSON's.
    """
    return {name: _copied(item) for name, item in metadata.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return own_copy(value)
    return [_copied(item) for item in value] if isinstance(value, list) else value


def metadata_of(version_id: str, text: str) -> Any:
    """Stored metadata. Raises: UnreadableRecord."""
    if text == "{}":
        return {}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableRecord(
            f"the metadata of version {version_id} cannot be read: {error}.",
            "Run `athena memory rebuild`.",
        ) from error


def log_digest(seed: str, *columns: Any) -> str:
    """A seal on one stored record of the log, from its columns (its JSON part included) as written."""
    return hashlib.blake2b(canonical([seed, *columns]), digest_size=16).hexdigest()


def vector_digest(seed: str, vector: StoredVector) -> str:
    """A seal on one stored vector and on the version and model it belongs to."""
    head = canonical([seed, vector.version_id, vector.model_id, vector.dimension])
    return hashlib.blake2b(head + vector.data, digest_size=16).hexdigest()


def record_of(*columns: Any) -> OperationRecord:
    """A record from its columns and its JSON part. Raises: UnreadableRecord."""
    try:
        return _record_of(*columns)
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableRecord(
            f"record {columns[0]} of the operation log cannot be read: {error}.",
            "Restore a copy of the memory, or import an export into a new one.",
        ) from error


def _record_of(  # noqa: PLR0917 -- in the order of the columns
    sequence: int,
    branch: str,
    number: int,
    kind: str,
    namespace: str,
    key: str | None,
    request: str | None,
    recorded_at: int,
    body_json: str,
) -> OperationRecord:
    body = orjson.loads(body_json)
    return OperationRecord(
        sequence=sequence,
        branch=branch,
        number=number,
        kind=kind,
        namespace=namespace,
        key=key,
        request=request,
        recorded_at=recorded_at,
        opened=tuple(
            Version(**opened, namespace=namespace, branch=branch, sequence=sequence)
            for opened in body.get("opened", ())
        ),
        closed=tuple(
            Closing(**closed, branch=branch, sequence=sequence) for closed in body.get("closed", ())
        ),
        linked=tuple(
            Edge(
                **linked,
                namespace=namespace,
                recorded_from=recorded_at,
                branch=branch,
                sequence=sequence,
            )
            for linked in body.get("linked", ())
        ),
        purged=tuple(body.get("purged", ())),
        undoes=body.get("undoes"),
    )


def purged_key(seed: str, key: str) -> str:
    """What stands for the idempotency key of a purged text, which may itself tell of the text."""
    digest = hashlib.blake2b(canonical([seed, key]), digest_size=16).hexdigest()
    return f"purged:{digest}"


def scrub(record: OperationRecord, entry_id: str, seed: str) -> OperationRecord:
    """The record without the text, metadata, key and request digest of a purged entry."""
    if not any(version.entry_id == entry_id for version in record.opened):
        return record
    opened = tuple(
        replace(version, content="", metadata={}, source="purged")
        if version.entry_id == entry_id
        else version
        for version in record.opened
    )
    key = record.key
    if key is not None and record.request is not None:
        key = purged_key(seed, key)
    return replace(record, opened=opened, request=None, key=key)


def record_line(record: OperationRecord) -> bytes:
    """One line of an export."""
    return canonical(
        {
            "operation": {
                "sequence": record.sequence,
                "branch": record.branch,
                "number": record.number,
                "kind": record.kind,
                "namespace": record.namespace,
                "key": record.key,
                "request": record.request,
                "recorded_at": record.recorded_at,
                "body": orjson.loads(payload(record)),
            }
        }
    )


def record_from_line(line: Mapping[str, Any]) -> OperationRecord:
    columns = {name: value for name, value in line.items() if name != "body"}
    return _record_of(**columns, body_json=canonical(line["body"]).decode())


def branch_line(branch: Branch) -> bytes:
    return canonical({"branch": asdict(branch)})


def vector_line(vector: StoredVector) -> bytes:
    return canonical(
        {
            "vector": {
                "version_id": vector.version_id,
                "model_id": vector.model_id,
                "dimension": vector.dimension,
                "data": b64encode(vector.data).decode(),
            }
        }
    )


def vector_from_line(line: Mapping[str, Any]) -> StoredVector:
    return StoredVector(
        line["version_id"], line["model_id"], line["dimension"], b64decode(line["data"])
    )
