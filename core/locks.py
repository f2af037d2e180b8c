"""One lock a folder: the operating system knows whether somebody writes it now, not a file's text.

Owns the file `.lock` of a run's folder and what a refused writer is told. The lock is `flock(2)`: it belongs
to the open file, ends with the process however that ends, and holds between containers that share the
folder, where process numbers and host names say nothing. Readers hold none. Children do not inherit it: a
program that is started gets no such descriptor, and a forked one closes its copy. A folder without the file
is written by nobody.
Known weakness: a network file system without locks refuses every writer, and says so.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from core.errors import RunFolderError
from core.files import FULL_DISK, storage_error

LOCK: Final = ".lock"
_TAKEN: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_PATIENCE_SECONDS: Final = 0.5
"""How long a writer tries: a reader that asks whether a folder is locked holds it for an instant."""
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Holder:
    """Who says that it holds a lock: for people; nothing is decided by it."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class FolderLock:
    """A folder that this process alone may write, until `release`."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor
        _held.add(self)

    @classmethod
    def acquire(cls, folder: Path) -> Self:
        """Raises: RunFolderError, which names the holder, when another process writes the folder, or
        where locks cannot be had; StorageError for a full disk."""
        path = folder / LOCK
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno not in _TAKEN:
                    raise _no_locks(path, error) from error
                if time.monotonic() < until:
                    time.sleep(_PAUSE_SECONDS)
                    continue
                raise held_by_another(folder) from None
            if _is_at(path, descriptor):
                break
            os.close(descriptor)  # the holder before us has just taken the file away
        lock = cls(folder, descriptor)
        lock._sign()
        return lock

    def _sign(self) -> None:
        text = json.dumps(
            {
                "pid": os.getpid(),
                "host": platform.node(),
                "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
        ).encode()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text, 0)
        except OSError as error:
            self.release()
            raise storage_error(error, self.folder / LOCK) from error

    def release(self) -> None:
        """Take the file away and end the lock; a second call does nothing."""
        if self._descriptor < 0:
            return
        # A folder that was removed, or a disk that failed: closing is what counts.
        with suppress(OSError):
            if _is_at(self.folder / LOCK, self._descriptor):
                os.unlink(self.folder / LOCK)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child closes its copies: they would keep the lock when the parent is gone."""
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_forget_in_child)


def is_locked(folder: Path) -> bool:
    """Whether a process writes the folder now. Where nothing can be asked, the answer is no."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(descriptor)
    return False


def holder(folder: Path) -> Holder | None:
    """Who signed the lock file; None without a readable one. Ask `is_locked` whether it still holds."""
    try:
        said: dict[str, Any] = json.loads((folder / LOCK).read_bytes())
        return Holder(int(said["pid"]), str(said["host"]), str(said["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def held_by_another(folder: Path) -> RunFolderError:
    """What a second writer is told."""
    who = holder(folder)
    by = "another process" if who is None else str(who)
    return RunFolderError(
        f"{folder.name} is being written by {by}.",
        "Wait for it to end, or stop it first; a folder has one writer at a time.",
    )


def _no_locks(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"{path} cannot be locked: {error.strerror or error}.",
        "Use a file system with locks (a local disk) for runs_dir and checkpoint_dir.",
    )


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise storage_error(error, path) from error
        raise RunFolderError(
            f"{path} cannot be opened: {error.strerror or error}.",
            "Check the permissions of the folder.",
        ) from error


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
