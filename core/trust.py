"""Code files that this user has run before: a private list of hashes.

A run's folder may come from somebody else, and it names code (a strategy). Naming a file on the command
line is the user's own word for it; a folder's word is none. So a hash enters the list when its file was
named, and a resumed or repeated run may run only files on the list, or those that `--trust` vouches for.
Owns the list's place and its permissions: `$XDG_STATE_HOME/athena/trusted-code` (by default below
`~/.local/state`), 0600 in a folder of 0700. Refuses to know what the code is.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

NAME: Final = "trusted-code"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class TrustedCode:
    """The list of one user; without a `path` nothing is known and nothing added."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> TrustedCode:
        """The list in its place. `environment` is the process's; one without HOME has no list."""
        state, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
        if os.path.isabs(state):
            return cls(Path(state) / "athena" / NAME)
        return cls(Path(home) / ".local" / "state" / "athena" / NAME if home else None)

    def unknown(self, digests: Iterable[str]) -> list[str]:
        """Those of some SHA-256 digests that are not on the list, in their order."""
        known = self._known()
        return [digest for digest in digests if digest not in known]

    def add(self, digests: Iterable[str]) -> None:
        """Put digests on the list. Where it cannot be written, that is logged and nothing else happens: a
        later resume asks again."""
        fresh = self.unknown(dict.fromkeys(digests))
        if not fresh or self.path is None:
            return
        lines = "".join(f"{digest}\n" for digest in fresh).encode()
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

    def _known(self) -> frozenset[str]:
        """What the list says, if nobody else could have written it."""
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
        return frozenset(line for line in text.splitlines() if _DIGEST.fullmatch(line))
