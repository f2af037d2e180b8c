"""What is kept of a memory file before its schema is brought up to date.

Owns the copy's name (`memory.db.bak-v2`: the version that it has) and that it is whole before anything else
happens. Nobody but its owner reads it, and nothing of Athena ever opens it again. A purge does not reach it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from core.files import replacing, storage_errors


def copy_of(path: Path, version: int) -> Path:
    """Copy a memory file, with what its WAL file holds, beside it; the copy's path.

    Raises: StorageError; sqlite3.Error.
    """
    target, number = path.with_name(f"{path.name}.bak-v{version}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.bak-v{version}-{number}")
    with replacing(target) as temporary:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as source,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            source.backup(copy)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
    with storage_errors(target.parent):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return target
