"""Writing files so that a failure leaves the old file or the new one, never half of one.

Owns the translation of a failed disk into `StorageError`. Refuses to know what is written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import StorageError

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""A disk that takes no more, or fails: no mistake of the user's."""
_PLACES = "(--runs-dir; data_dir and checkpoint_dir are settings)"
_CURES = {
    errno.ENOSPC: f"Free some space on that disk, or choose another {_PLACES}.",
    errno.EDQUOT: f"Free some of your quota, or choose another disk {_PLACES}.",
    errno.EFBIG: f"Raise the limit on file size (ulimit -f), or choose another disk {_PLACES}.",
    errno.EIO: f"The disk reports a fault: choose another {_PLACES}.",
    errno.EROFS: f"That file system is read-only: choose another place {_PLACES}.",
    errno.EACCES: f"Check the permissions, or choose another place {_PLACES}.",
}


def storage_error(error: OSError, path: Path, saved: str = "") -> StorageError:
    """The error for a write that failed; `saved` says what is safe on disk."""
    reason = error.strerror or str(error)
    cure = _CURES.get(error.errno or 0, f"Check the disk, or choose another {_PLACES}.")
    message = f"writing {path} failed: {reason}."
    return StorageError(f"{message} {saved}".strip(), cure)


@contextmanager
def storage_errors(path: Path, saved: str = "") -> Iterator[None]:
    """Turns every OSError of the block into a StorageError about `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, saved) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block succeeds.

    Raises: StorageError for every OSError of the block; then, as after any exception, `path` is as it was.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with storage_errors(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a whole file: after a crash it holds the old content or the new one. A `private` one is its
    owner's alone (0600).

    Raises: StorageError.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "wb", opener=private_opener if private else None) as file,
    ):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def private_opener(path: str, flags: int) -> int:
    """For `open(opener=...)`: a file that is made is its owner's alone."""
    return os.open(path, flags, 0o600)


def state_folder(environment: Mapping[str, str]) -> Path | None:
    """Where what Athena remembers of a user lies: `$XDG_STATE_HOME/athena`, by default below
    `~/.local/state`; None without HOME. `environment` is the process's."""
    state, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    if os.path.isabs(state):
        return Path(state) / "athena"
    return Path(home) / ".local" / "state" / "athena" if home else None


def set_aside(path: Path) -> Path:
    """Rename what is not understood, so that nobody takes it for sound and nothing is lost; the new path.

    Raises: StorageError.
    """
    number, target = 1, path.with_name(f"set-aside-{path.name}")
    while target.exists():
        number += 1
        target = path.with_name(f"set-aside-{path.name}-{number}")
    with storage_errors(path):
        path.rename(target)
    return target
