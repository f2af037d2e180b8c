"""Reading the records of a run again: one JSON object a line of `steps.jsonl`.

Owns what is said of a line that is none: a torn or altered folder is the user's news, not a defect of ours.
Refuses to know what a record says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from core.errors import RunFolderError
from core.runlog import STEPS


def record_of(line: bytes, number: int, path: Path) -> dict[str, Any]:
    """One line as a record; `number` counts from 1. Raises: RunFolderError that names the line."""
    try:
        record = orjson.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "as_of" not in record:
        raise RunFolderError(
            f"line {number} of {path} is no record: it is torn or was altered.",
            "`athena runs verify` says what else is not as recorded; resume the run, or make it again.",
        )
    return record


def record_lines(run_dir: Path) -> list[bytes]:
    """All lines, as bytes, each known to be a record. Raises: RunFolderError as `read_records`."""
    path = run_dir / STEPS
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise _unreadable(path, error) from error
    for number, line in enumerate(lines, 1):
        record_of(line, number, path)
    return lines


def read_records(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The records in their order. Raises: RunFolderError, also for a line that is none."""
    path = run_dir / STEPS
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield record_of(line, number, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"{path} cannot be read: {error.strerror or error}.", "Make the run again."
    )
