"""The operations of the memory as values: what is asked, what came of it, and the limits on text.

Refuses to know stores, clocks and ranking. Text is checked here, once, and is data from then on: nothing
in it is ever read as an operation, a filter or a limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from core.errors import ContentRefused, MemoryRefused
from core.memories import FOREVER, NO_METADATA, YEAR_ONE, to_micros

MAX_TEXT_CHARACTERS: Final = 16_384
MAX_METADATA_BYTES: Final = 16_384
MAX_METADATA_DEPTH: Final = 16
MAX_NAME_CHARACTERS: Final = 200

# C0 and C1 controls, overrides of the reading direction, halves of surrogate pairs, non-characters.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_INVISIBLE = re.compile(r"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*")
_RELATION = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class MemoryOperation(StrEnum):
    """The six operations that a policy chooses from."""

    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"
    RETRIEVE = "retrieve"
    SUMMARY = "summary"
    FILTER = "filter"


@dataclass(frozen=True, slots=True)
class MemoryOperationResult:
    """The receipt of one operation: what was stored or found, never what was meant.

    `ids` are the entries concerned; `superseded_ids` name the versions that were closed, as `id@number`.
    `replayed` says that the idempotency key had been used before for the same request: this is the first
    receipt again, and nothing was written. `pending` says where a purged text
    still stands. `error` is set when `success` is false.
    """

    success: bool
    operation: str
    data: Any = None
    ids: tuple[str, ...] = ()
    version: int | None = None
    superseded_ids: tuple[str, ...] = ()
    operation_id: str | None = None
    duration_seconds: float = 0.0
    error: MemoryRefused | None = None
    store: str = ""
    replayed: bool = False
    pending: str = ""

    def stamped(self, seconds: float, store: str) -> MemoryOperationResult:
        """The same receipt with how long it took and where."""
        return MemoryOperationResult(
            self.success, self.operation, self.data, self.ids, self.version, self.superseded_ids,
            self.operation_id, seconds, self.error, store, self.replayed, self.pending,
        )  # fmt: skip

    @property
    def id(self) -> str:
        """The one entry concerned. Raises the error of a refused operation."""
        if self.error is not None:
            raise self.error
        return self.ids[0]


@dataclass(frozen=True, slots=True)
class Add:
    content: str
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    source: str = "user"
    valid_from: datetime | None = None
    outcome_at: datetime | None = None
    key: str | None = None
    recorded_at: datetime | None = None
    kind: str = MemoryOperation.ADD.value


@dataclass(frozen=True, slots=True)
class Update:
    """`metadata` None keeps the metadata; `expected_version` refuses when the entry has moved on."""

    entry_id: str
    content: str
    metadata: Mapping[str, Any] | None = None
    source: str | None = None
    valid_from: datetime | None = None
    outcome_at: datetime | None = None
    key: str | None = None
    expected_version: int | None = None
    kind: str = MemoryOperation.UPDATE.value


@dataclass(frozen=True, slots=True)
class Delete:
    entry_id: str
    key: str | None = None
    kind: str = MemoryOperation.DELETE.value


@dataclass(frozen=True, slots=True)
class Undo:
    operation_id: str
    key: str | None = None
    kind: str = "undo"


@dataclass(frozen=True, slots=True)
class Link:
    from_entry: str
    to_entry: str
    relation: str
    key: str | None = None
    kind: str = "link"


@dataclass(frozen=True, slots=True)
class Purge:
    entry_id: str
    key: str | None = None
    kind: str = "purge"


Request = Add | Update | Delete | Undo | Link | Purge


def check_text(text: str, what: str = "the text", limit: int = MAX_TEXT_CHARACTERS) -> None:
    """Raises: ContentRefused for empty, overlong or control-character text."""
    if not isinstance(text, str):
        raise ContentRefused(f"{what} is {type(text).__name__}, not a string.", "Give it as text.")
    if _INVISIBLE.fullmatch(text):
        raise ContentRefused(f"{what} is empty.", "Give at least one word.")
    if len(text) > limit:
        raise ContentRefused(
            f"{what} has {len(text)} characters; the limit is {limit}.",
            "Shorten it, or split it into several.",
        )
    found = _CONTROL.search(text)
    if found:
        raise ContentRefused(
            f"{what} has the control character U+{ord(found[0]):04X} at {found.start()}.",
            "Remove it; line breaks and tabs are fine.",
        )


def check_name(name: str, what: str) -> None:
    """Names (namespace, source, key, id) are short single-line texts."""
    check_text(name, what, MAX_NAME_CHARACTERS)
    if "\n" in name or "\r" in name:
        raise ContentRefused(f"{what} has a line break.", "Give one line.")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises: ContentRefused unless it is JSON with short text keys, finite numbers and a small size."""
    if not isinstance(metadata, Mapping):
        raise ContentRefused(
            f"metadata is {type(metadata).__name__}, not a mapping.", "Give names and values."
        )
    for key, value in metadata.items():
        check_name(key, "a metadata name")
        if key == "source":
            raise ContentRefused(
                "the metadata name 'source' is taken: filters mean the entry's source by it.",
                "Give the source itself, or choose another name.",
            )
        _check_value(key, value, MAX_METADATA_DEPTH)
    try:
        size = len(orjson.dumps(dict(metadata)))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise ContentRefused(
            f"metadata cannot be stored: {error}.", "Use text, numbers, true/false and lists."
        ) from error
    if size > MAX_METADATA_BYTES:
        raise ContentRefused(
            f"metadata has {size} bytes; the limit is {MAX_METADATA_BYTES}.", "Store less of it."
        )


def _check_value(name: str, value: Any, depth: int) -> None:
    if depth == 0:
        raise ContentRefused(
            f"metadata is nested deeper than {MAX_METADATA_DEPTH} levels.", "Store it flat."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ContentRefused(f"metadata {name!r} is {value}.", "Leave out what does not exist.")
    if isinstance(value, str) and _CONTROL.search(value):
        raise ContentRefused(f"metadata {name!r} has a control character.", "Remove it.")
    if isinstance(value, list | tuple):
        for item in value:
            _check_value(name, item, depth - 1)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_value(f"{name}.{key}", item, depth - 1)


def check_request(request: Request) -> None:
    """Everything about a request that can be judged without the store. Raises: ContentRefused."""
    if request.key is not None:
        check_name(request.key, "the idempotency key")
    match request:
        case Add():
            check_text(request.content)
            check_metadata(request.metadata)
            check_name(request.source, "the source")
            _check_times(request.valid_from, request.outcome_at, request.recorded_at)
        case Update():
            check_text(request.content)
            check_name(request.entry_id, "the entry id")
            if request.metadata is not None:
                check_metadata(request.metadata)
            if request.source is not None:
                check_name(request.source, "the source")
            _check_times(request.valid_from, request.outcome_at)
        case Delete() | Purge():
            check_name(request.entry_id, "the entry id")
        case Undo():
            check_name(request.operation_id, "the operation id")
        case Link():
            check_name(request.from_entry, "the entry id")
            check_name(request.to_entry, "the entry id")
            if not isinstance(request.relation, str) or not _RELATION.fullmatch(request.relation):
                raise ContentRefused(
                    f"the relation {request.relation!r} is no name.",
                    "Use up to 64 letters, digits and underscores, a letter first.",
                )


def _check_times(*moments: datetime | None) -> None:
    for moment in moments:
        check_moment(moment, "a time")
        if moment is not None and not YEAR_ONE <= to_micros(moment) < FOREVER:
            raise ContentRefused(
                f"a time is {moment.isoformat()}, in UTC before the year 1 or after 9999.",
                "Give a time within these years.",
            )


def check_moment(moment: datetime | None, what: str) -> None:
    """Raises: ContentRefused for a time without a zone."""
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise ContentRefused(f"{what} is {moment!r}.", "Give a datetime with a time zone (UTC).")
