"""The last error of this user's commands, with the log that led to it: for a bug report.

Owns `last-error.json` in the user's state folder (0600, replaced by each error, never sent anywhere), and the
newest lines of the log, which stay in this process until an error comes. Everything is without secrets
before it is kept. Refuses to know what becomes of it (`agents/bug_report.py`).
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from core.errors import StorageError
from core.files import state_folder, write_atomic
from core.redact import without_secrets, without_values
from core.version import VERSION

NAME: Final = "last-error.json"
LINES: Final = 200
_CHARACTERS: Final = 2_000
"""What is kept of one line."""


class LogTail(logging.Handler):
    """The newest lines of the log, down to the level info, whatever is shown of them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:_CHARACTERS])


tail: Final = LogTail()
"""Of this process; the command line's logging writes to it."""


def keep(
    error: Mapping[str, str], trace: str, words: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Write what was told of an error, its traceback, the command and the log's tail. Where that cannot be
    written nothing happens: the error itself is what the user needs."""
    folder = state_folder(environment)
    if folder is None:
        return
    found = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "version": VERSION,
        "command": list(words),
        **error,
        "trace": trace.splitlines()[-LINES:],
        "log": list(tail.lines),
    }
    text = json.dumps(redacted(found, environment), indent=1)
    with suppress(OSError, StorageError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(folder / NAME, text.encode("utf-8", "backslashreplace"), private=True)


def last_error(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What was kept last; None without one, or where it is no longer whole."""
    folder = state_folder(environment)
    if folder is None:
        return None
    try:
        found = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def redacted(value: Any, environment: Mapping[str, str]) -> Any:
    """A value of plain types, every text in it without secrets and with `~` for the user's home."""
    if isinstance(value, str):
        text = without_values(without_secrets(value), environment)
        home = environment.get("HOME", "")
        return text.replace(home, "~") if len(home) > 1 and os.path.isabs(home) else text
    if isinstance(value, Mapping):
        return {name: redacted(each, environment) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, environment) for each in value]
    return str(value) if isinstance(value, Path) else value
