"""The stored formats: what each is called, the version that is written, and which older ones are read.

Owns the numbers and what is said of one that does not fit. Whoever reads a stored file asks `check` before
anything else, so that a file of a newer Athena is refused whole and left as it is, never half read. A file
from before a format bore a number counts as version 1. Refuses to know where a number stands in a file:
in JSON and in Parquet's description it is `format`, in SQLite `user_version`, in Neo4j a property.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.errors import (
    AthenaError,
    CheckpointError,
    DataError,
    MemoryRefused,
    MemoryStoreError,
    ModelError,
    RunFolderError,
)
from core.version import VERSION

KEY: Final = "format"


@dataclass(frozen=True, slots=True)
class Format:
    """A stored format: `version` is written, `oldest` to `version` are read, `error` tells of others."""

    name: str
    version: int
    oldest: int
    error: type[AthenaError]

    def reads(self, found: object) -> bool:
        """Whether a number is one of those that are read; None, a file without one, is version 1."""
        return self._number(found) in range(self.oldest, self.version + 1)

    def check(self, found: object, where: str | Path) -> int:
        """The version of a file. Raises: `error` with the file, the number found and those that are read."""
        number = self._number(found)
        if number is None:
            raise self.error(
                f"{where} says {found!r} as the version of its format, which is no number from 1 on.",
                "It is damaged or altered: take a copy of it, or make it again.",
            )
        if number in range(self.oldest, self.version + 1):
            return number
        read = str(self.version)
        if self.oldest < self.version:
            read = f"{self.oldest} to {self.version}"
        cure = "Use a newer Athena"
        if number < self.oldest:
            cure = "Use the older Athena that wrote it, or make it again"
        raise self.error(
            f"{where} is a {self.name} of version {number}; this Athena ({VERSION}) reads {read}.",
            f"{cure}; nothing was changed.",
        )

    def check_in(self, values: Mapping[str, Any], where: str | Path) -> int:
        """`check` of what stands under `format` in a file's JSON. Raises: `error`."""
        return self.check(values.get(KEY), where)

    @staticmethod
    def _number(found: object) -> int | None:
        if found is None:
            return 1
        return found if type(found) is int and found >= 1 else None


RUN: Final = Format("run folder", 1, 1, RunFolderError)
"""`manifest.json`, and with it every file of the folder, seals included; of a training too."""
MEMORY: Final = Format("memory file", 3, 1, MemoryStoreError)
"""`memory.db`, by SQLite's `user_version`; older ones are migrated after a copy."""
GRAPH: Final = Format("memory in Neo4j", 1, 1, MemoryStoreError)
"""One run's nodes, by the property `format` of its `AthenaRun`."""
EXPORT: Final = Format("memory export", 1, 1, MemoryRefused)
"""The lines of `athena memory export`, by the first one's `athena_memory`."""
MODEL: Final = Format("model folder", 1, 1, ModelError)
"""`athena-model.json`."""
ADAPTER: Final = Format("adapter", 1, 1, CheckpointError)
"""`athena-adapter.json`, and the `stage1.json` beside it."""
POLICY: Final = Format("memory policy", 3, 3, CheckpointError)
"""`policy.json`. Versions 1 and 2 knew other features and were never released."""
STAGE1_CHECKPOINT: Final = Format("checkpoint of stage 1", 2, 1, CheckpointError)
"""`complete.json` of `checkpoint-N`; version 1 held nothing but the files' hashes."""
STAGE2_CHECKPOINT: Final = Format("checkpoint of stage 2", 1, 1, CheckpointError)
"""`complete.json` of `update-N`, and with it `trainer.pt`."""
DATASET: Final = Format("dataset", 1, 1, DataError)
"""A Parquet file of `athena data import` and `fetch`, in the description that it carries."""
TEXTS: Final = Format("table of scraped texts", 1, 1, DataError)
"""A Parquet file of `athena data scrape`, likewise."""
TRUSTED_CODE: Final = Format("list of trusted code", 1, 1, RunFolderError)
"""`trusted-code`, by its first line."""

ALL: Final = (
    RUN,
    MEMORY,
    GRAPH,
    EXPORT,
    MODEL,
    ADAPTER,
    POLICY,
    STAGE1_CHECKPOINT,
    STAGE2_CHECKPOINT,
    DATASET,
    TEXTS,
    TRUSTED_CODE,
)

_DESCRIBED: Final[Mapping[bytes, Format]] = {b"athena": DATASET, b"athena-text": TEXTS}
"""The keys of our own descriptions in a Parquet file's metadata."""


def check_table(metadata: Mapping[bytes, bytes] | None, where: str | Path) -> None:
    """A Parquet file's version, where it is one of ours.

    Raises: DataError for another version than is read, and for a description that is none.
    """
    for key, kind in _DESCRIBED.items():
        if metadata is None or key not in metadata:
            continue
        try:
            about = json.loads(metadata[key])
        except ValueError:
            about = None
        if not isinstance(about, dict):
            raise kind.error(
                f"the description that {where} carries as a {kind.name} is damaged.",
                "Make the file again.",
            )
        kind.check_in(about, where)
