"""What a finished run's folder held, by hash, and whether it still does.

Owns two keys of the manifest: `outputs` (SHA-256 and size of every file of the folder, by name) and `seal`
(SHA-256 over the manifest without it). They find damage and slips. They do not find a forger, who can hash
anew what he wrote: only living the run again from its inputs does. Refuses to know what the files say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from core import formats
from core.files import storage_errors
from core.jsontext import json_bytes
from core.locks import LOCK

MANIFEST: Final = "manifest.json"
OUTPUTS: Final = "outputs"
SEAL: Final = "seal"
_TEMPORARY: Final = ".tmp-"
_DATABASE_PARTS: Final = ("-wal", "-shm", "-journal")
"""What SQLite may lay beside a database while somebody reads it."""

_SHOWN: Final = 5

State = Literal["as recorded", "not as recorded", "not sealed"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One file of a folder, and what is wrong with it."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Integrity:
    """Whether a folder is what its manifest says. `unlisted` are files that came later: said, no damage."""

    state: State
    problems: tuple[Problem, ...] = ()
    unlisted: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `integrity`."""
        return {
            "state": self.state,
            "problems": [{"file": each.file, "what": each.what} for each in self.problems],
            "unlisted": list(self.unlisted),
        }


def sentences(report: Mapping[str, Any]) -> list[str]:
    """What is to be said of a folder, from the JSON of its `Integrity`; nothing when all is as recorded."""
    if report["state"] == "not sealed":
        return ["Not sealed: the folder has no hashes to compare with."]
    said = [f"Not as recorded: {each['file']} {each['what']}." for each in report["problems"]]
    if report["unlisted"]:
        said.append(f"Came later: {', '.join(report['unlisted'][:_SHOWN])}.")
    return said


def with_seal(run_dir: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the hashes of all that the folder holds now, and its own. Raises: StorageError."""
    with storage_errors(run_dir):
        outputs = {name: _fingerprint(run_dir / name) for name in _names(run_dir)}
    sealed = {**without_seal(manifest), OUTPUTS: outputs}
    return {**sealed, SEAL: _seal_of(sealed)}


def without_seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a folder that is written again: what it held does not hold any more."""
    return {name: value for name, value in manifest.items() if name not in (OUTPUTS, SEAL)}


def integrity(run_dir: Path) -> Integrity:
    """The folder against its manifest: every byte of every file named there, and of the manifest itself.

    Raises: RunFolderError for a folder of another version than is read.
    """
    try:
        raw = (run_dir / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        outputs = manifest.get(OUTPUTS)
    except (OSError, ValueError, AttributeError) as error:
        return Integrity("not as recorded", (Problem(MANIFEST, f"cannot be read: {error}"),))
    formats.RUN.check_in(manifest, run_dir / MANIFEST)
    if outputs is None and SEAL not in manifest:
        return Integrity("not sealed")
    problems = [] if _is_sealed(raw, manifest) else [Problem(MANIFEST, "is not as recorded")]
    if not isinstance(outputs, dict):
        return Integrity("not as recorded", (Problem(MANIFEST, "names no outputs"),))
    for name, recorded in outputs.items():
        if (what := _difference(run_dir, str(name), recorded)) is not None:
            problems.append(Problem(str(name), what))
    unlisted = tuple(name for name in _names(run_dir) if name not in outputs)
    return Integrity("not as recorded" if problems else "as recorded", tuple(problems), unlisted)


def _is_sealed(raw: bytes, manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest's own hash fits, and its bytes are those that we would write for what it says."""
    sealed = {name: value for name, value in manifest.items() if name != SEAL}
    return manifest.get(SEAL) == _seal_of(sealed) and raw == manifest_bytes(manifest)


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it stands in its file."""
    return json_bytes(dict(manifest), pretty=True) + b"\n"


def _seal_of(manifest: Mapping[str, Any]) -> str:
    plain = json.loads(json_bytes(dict(manifest)))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _difference(run_dir: Path, name: str, recorded: Any) -> str | None:
    path = run_dir / name
    if not path.resolve().is_relative_to(run_dir.resolve()):
        return "lies outside the folder"
    try:
        found = _fingerprint(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not isinstance(recorded, dict) or found["sha256"] == recorded.get("sha256"):
        return None if isinstance(recorded, dict) else "has no hash in the manifest"
    if found["bytes"] != recorded.get("bytes"):
        return f"has {found['bytes']:,} bytes, {recorded.get('bytes'):,} were recorded"
    return "is not as recorded"


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest, "bytes": file.tell()}


def _names(run_dir: Path) -> list[str]:
    """Every file that counts, by its path in the folder."""
    return sorted(
        path.relative_to(run_dir).as_posix()
        for path in run_dir.rglob("*")
        if path.is_file()
        and path.name not in (MANIFEST, LOCK)
        and not path.name.startswith(_TEMPORARY)
        and not path.name.endswith(_DATABASE_PARTS)
    )
