"""Code files that this user has run before: a private list of hashes.

A run's folder may come from somebody else, and it names code (a strategy). Naming a file on the command
line is the user's own word for it; a folder's word is none. So a hash enters the list when its file was
named, and a resumed or repeated run may run only files on the list, or those that `--trust` vouches for.
Owns the list's place and its permissions: `$XDG_STATE_HOME/athena/trusted-code` (by default below
`~/.local/state`), 0600 in a folder of 0700. Its first line says the version of the list; one of a newer
Athena is not believed and not added to. Refuses to know what the code is.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from core import formats
from core.errors import RunFolderError
from core.files import state_folder

log = logging.getLogger(__name__)

NAME: Final = "trusted-code"
_HEAD: Final = re.compile(r"# athena trusted-code (\d+)")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class TrustedCode:
    """The list of one user; without a `path` nothing is known and nothing added."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> TrustedCode:
        """The list in its place. `environment` is the process's; one without HOME has no list."""
        folder = state_folder(environment)
        return cls(None if folder is None else folder / NAME)

    def unknown(self, digests: Iterable[str]) -> list[str]:
        """Those of some SHA-256 digests that are not on the list, in their order."""
        known = self._known() or frozenset()
        return [digest for digest in digests if digest not in known]

    def add(self, digests: Iterable[str]) -> None:
        """Put digests on the list. Where it cannot be written, that is logged and nothing else happens: a
        later resume asks again."""
        known = self._known()
        if known is None or self.path is None:
            return
        fresh = [digest for digest in dict.fromkeys(digests) if digest not in known]
        if not fresh:
            return
        head = "" if self.path.exists() else f"# athena {NAME} {formats.TRUSTED_CODE.version}\n"
        lines = (head + "".join(f"{digest}\n" for digest in fresh)).encode()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.write(descriptor, lines)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.info("%s cannot be written: %s", self.path, error.strerror or error)

    def _known(self) -> frozenset[str] | None:
        """What the list says, if nobody else could have written it; None for a list of a newer Athena."""
        if self.path is None:
            return frozenset()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return frozenset()
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                log.warning(
                    "%s can be written by others and is not believed: chmod 600 it, or remove it.",
                    self.path,
                )
                return frozenset()
            text = file.read().decode("ascii", errors="replace")
        lines = text.splitlines()
        if lines and (head := _HEAD.fullmatch(lines[0])):
            try:
                formats.TRUSTED_CODE.check(int(head[1]), self.path)
            except RunFolderError as error:
                log.warning("%s", error)
                return None
        return frozenset(line for line in lines if _DIGEST.fullmatch(line))
