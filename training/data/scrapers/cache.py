"""Answers kept on disk for a while: one file an address, for the user's eyes alone.

Owns where an answer lies and how long it is given again. Refuses to know what it means. The name of a file
is a hash of the address without its secrets, so no key lies on disk; folder and files are private (0700,
0600), since what was asked for is nobody else's business either.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from core.files import replacing, storage_errors
from core.redact import bare_url, secret_name

OLD_FILES = ("http.db", "http.db-wal", "http.db-shm")
"""The cache of versions before 0.3: it held whole addresses, keys among them."""


class DiskCache:
    """Bodies of successful answers. Units: `seconds` is how long one is given again."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Makes the folder and clears it of what is too old. Raises: StorageError."""
        self._folder = folder
        self._seconds = seconds
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            for name in OLD_FILES:
                (folder / name).unlink(missing_ok=True)
            for path in folder.glob("*.answer"):
                if not self._young(path):
                    path.unlink(missing_ok=True)

    def get(self, url: str, params: Mapping[str, str] | None = None) -> bytes | None:
        """The body kept for an address, or None."""
        path = self._path(url, params)
        if not self._young(path):
            return None
        with suppress(FileNotFoundError), storage_errors(path):
            return path.read_bytes()
        return None

    def put(self, url: str, params: Mapping[str, str] | None, body: bytes) -> None:
        """Keep a body. Raises: StorageError."""
        with replacing(self._path(url, params)) as temporary:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(body)

    def _young(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            return 0.0 <= time.time() - path.stat().st_mtime <= self._seconds
        return False

    def _path(self, url: str, params: Mapping[str, str] | None) -> Path:
        known = [(name, value) for name, value in (params or {}).items() if not secret_name(name)]
        address = f"{bare_url(url)} {urlencode(sorted(known))}"
        return self._folder / f"{hashlib.sha256(address.encode()).hexdigest()}.answer"
