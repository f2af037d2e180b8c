"""Run folders: making one, writing its records, finding it again.

Owns `manifest.json`, `steps.jsonl`, `summary.json` and the folder's name. Refuses to know what a record
or a summary says; other files of the folder are written by their owners through `RunFolder.file`.
A backtest's records are not forced to the disk one by one: after a power cut the last ones may be missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self

from core import formats
from core.clock import SystemClock
from core.config import AthenaConfig, config_hash, short_hash
from core.errors import AthenaError, RunFolderError, RunNotFound, StorageError
from core.files import FULL_DISK, replacing, storage_error, storage_errors, write_atomic
from core.jsontext import json_bytes
from core.locks import FolderLock, is_locked
from core.protocols import Clock
from core.seals import MANIFEST, manifest_bytes, with_seal, without_seal
from core.version import VERSION

log = logging.getLogger(__name__)

Status = Literal["running", "done", "interrupted", "failed"]
DIED: Final = "died"
"""What a manifest's `running` means once nobody writes the folder: killed, or unable to write its end."""

STEPS = "steps.jsonl"
SUMMARY = "summary.json"
TRADES_CSV = "trades.csv"
TRADES_PARQUET = "trades.parquet"
EQUITY_PARQUET = "equity.parquet"
EQUITY_PICTURE = "equity.png"
REPORT = "report.html"
BOOK = "book.json"
DERIVED = (SUMMARY, TRADES_CSV, TRADES_PARQUET, EQUITY_PARQUET, EQUITY_PICTURE, REPORT, BOOK)
"""What follows from the records: it holds for those that there were, and for no more."""
BEFORE = ".before-"
"""Begins the name of a file that is kept as it was while a resumed run is lived through again."""

_BUFFER_BYTES = 1 << 20
_LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow",
    "TA-Lib",
    "exchange_calendars",
    "orjson",
    "pydantic",
    "PyYAML",
)


class StepsWriter:
    """Appends lines to `steps.jsonl` through a buffer that only ever reaches the file in whole lines.

    After a failed write the file is cut back to its last whole line, and every further call raises the
    same error. With `again` the whole lines of an earlier process stay (what is behind the last one is cut
    off): as many lines as these are `known`, must come again to the byte, and only then is anything added;
    `on_new` is called just before the first line that is.
    """

    def __init__(
        self,
        path: Path,
        *,
        again: bool = False,
        on_new: Callable[[], object] = lambda: None,
    ) -> None:
        self.path = path
        self._on_new = on_new
        self.lines_saved = 0
        self.known = 0
        self._earlier: BinaryIO | None = None
        self._buffer = bytearray()
        self._failure: StorageError | None = None
        try:
            if again:
                self._earlier, self.known = _whole_lines(path)
            kept = 0 if self._earlier is None else os.O_APPEND
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | (kept or os.O_TRUNC), 0o644)
        except OSError as error:
            raise storage_error(error, path) from error

    def write(self, line: bytes) -> None:
        """Append one line (without its newline).

        Raises: StorageError; RunFolderError for a line that is not the one an earlier process wrote.
        """
        if self._earlier is not None:
            if self.lines_saved < self.known:
                if self._earlier.readline() != line + b"\n":
                    raise RunFolderError(
                        f"line {self.lines_saved + 1} of {self.path} is not what comes now.",
                        "Go on with the version and the libraries that began the run, or begin anew.",
                    )
                self.lines_saved += 1
                return
            self._earlier.close()
            self._earlier = None
            self._on_new()
        buffer = self._buffer
        buffer += line
        buffer += b"\n"
        if len(buffer) > _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system. Raises: StorageError."""
        if self._failure is not None:
            raise self._failure
        written = 0
        try:
            while written < len(self._buffer):
                with memoryview(self._buffer) as view:
                    written += os.write(self._file, view[written:])
        except OSError as error:
            whole = self._buffer.rfind(b"\n", 0, written) + 1
            with suppress(OSError):
                os.ftruncate(self._file, os.fstat(self._file).st_size - (written - whole))
            self.lines_saved += self._buffer.count(b"\n", 0, whole)
            saved = f"{self.lines_saved} whole records are saved there."
            self._failure = storage_error(error, self.path, saved)
            raise self._failure from error
        self.lines_saved += self._buffer.count(b"\n")
        self._buffer.clear()

    def close(self) -> None:
        """Flush and close; a second call does nothing. Raises: StorageError."""
        if self._file < 0:
            return
        try:
            if self._failure is None:
                self.flush()
        finally:
            if self._earlier is not None:
                self._earlier.close()
            descriptor, self._file = self._file, -1
            try:
                os.close(descriptor)
            except OSError as error:
                raise storage_error(error, self.path) from error


def _whole_lines(path: Path) -> tuple[BinaryIO, int]:
    """A file cut back to its last whole line, opened to be read, and how many lines there are."""
    with path.open("r+b") as file:
        whole = file.read()
        end = whole.rfind(b"\n") + 1
        file.truncate(end)
    return path.open("rb"), whole.count(b"\n", 0, end)


class RunFolder:
    """A run's folder while the run lasts. Use it in a `with` block: leaving it sets the status and ends the
    folder's lock (`core/locks.py`), which it holds from the beginning.

    An exception that leaves the block gets a note saying what is saved; the manifest then says
    `interrupted` (Ctrl-C, cancellation) or `failed`.
    """

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        wall_clock: Clock,
        lock: FolderLock,
        *,
        again: bool = False,
    ) -> None:
        self.path = path
        self._wall_clock = wall_clock
        self._lock = lock
        self._as_it_was: bytes | None = None
        self._left = False
        self._manifest = without_seal(manifest)
        if again:
            self._as_it_was = (path / MANIFEST).read_bytes()
        self._write_manifest()
        self.steps = StepsWriter(path / STEPS, again=again, on_new=self._outgrow)

    @classmethod
    def create(
        cls,
        runs_dir: Path,
        *,
        mode: str,
        config: AthenaConfig,
        seed: int,
        data: Mapping[str, Any],
        asked: Mapping[str, Any] | None = None,
        not_stored: Sequence[Mapping[str, str]] = (),
        identity: Mapping[str, Any] | None = None,
        wall_clock: Clock | None = None,
    ) -> Self:
        """Make `runs_dir/<utc-time>-<mode>-<short hash>`, unique even within one second; the hash is of
        `identity`, or without one of the settings and the inputs, so that the same work has the same one.

        `data` describes the inputs for the manifest, hashes among them; `asked` are the options with which
        the run can be gone on with or repeated, None for one that cannot; `not_stored` names those options
        that are objects, and what they were.
        Raises: RunFolderError when it cannot be made; StorageError when the disk is full.
        """
        clock = wall_clock or SystemClock()
        started = clock.now()
        if identity is None:
            of_settings = config_hash(config)
            of_all = hashlib.sha256(of_settings.encode() + json_bytes(dict(data))).hexdigest()
        else:
            of_settings = of_all = short_hash(identity)
        name = f"{started:%Y%m%dT%H%M%SZ}-{mode}-{of_all[:8]}"
        path = _make_unique(runs_dir, name)
        manifest: dict[str, Any] = {
            formats.KEY: formats.RUN.version,
            "mode": mode,
            "status": "running",
            "pid": os.getpid(),
            "host": platform.node(),
            "started": started,
            "ended": None,
            "seed": seed,
            "config_hash": of_settings,
            "identity": None if identity is None else dict(identity),
            "config": config.to_dict(),
            "versions": versions(),
            "git_revision": git_revision(),
            "data": dict(data),
            "asked": None if asked is None else dict(asked),
            "not_stored": [dict(each) for each in not_stored],
            "model": {"id": None, "training_cutoff": None},
            "memory_snapshot": None,
        }
        try:
            return cls(path, manifest, clock, FolderLock.acquire(path))
        except AthenaError:
            with suppress(OSError):
                for leftover in path.iterdir():
                    leftover.unlink()
                path.rmdir()
            raise

    @classmethod
    def reopen(
        cls,
        path: Path,
        *,
        config: AthenaConfig,
        data: Mapping[str, Any],
        identity: Mapping[str, Any] | None = None,
    ) -> Self:
        """Go on with a run whose process is gone: its records must come again, and then go on.

        Raises: RunFolderError when another process writes it (then nothing is touched), and when its
        identity is not the one with which it began (for a run without one: settings and inputs).
        """
        lock = FolderLock.acquire(path)
        try:
            return cls._reopen(path, config, data, identity, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _reopen(
        cls,
        path: Path,
        config: AthenaConfig,
        data: Mapping[str, Any],
        identity: Mapping[str, Any] | None,
        lock: FolderLock,
    ) -> Self:
        manifest = read_manifest(path)
        if identity is not None and manifest.get("identity") is not None:
            then, now = manifest["identity"], json.loads(json_bytes(dict(identity)))
        else:
            then = {name: manifest.get(name) for name in ("config_hash", "data")}
            now = {"config_hash": config_hash(config), "data": json.loads(json_bytes(dict(data)))}
        for name in [*then, *(name for name in now if name not in then)]:
            if then.get(name) != now.get(name):
                raise RunFolderError(
                    f"the {name} of the run {path.name} is not what it was when it began.",
                    "Put the files back that it read, or begin anew.",
                )
        changed = {
            name for name, found in versions().items() if manifest["versions"].get(name) != found
        }
        if changed:
            log.warning(
                "%s began with other versions of %s.", path.name, ", ".join(sorted(changed))
            )
        manifest |= {
            "status": "running",
            "pid": os.getpid(),
            "host": platform.node(),
            "ended": None,
        }
        return cls(path, manifest, SystemClock(), lock, again=True)

    def _outgrow(self) -> None:
        """The first new record of a resumed run: what followed from the earlier ones holds no more."""
        with storage_errors(self.path):
            for name in DERIVED:
                (self.path / name).unlink(missing_ok=True)
            for kept in self.path.glob(f"{BEFORE}*"):
                kept.unlink()

    @property
    def caught_up(self) -> bool:
        """Whether every record of an earlier process has come again."""
        return self.steps.lines_saved >= self.steps.known

    def leave_as_it_was(self) -> None:
        """Give a reopened folder back as it was found: a resume that did not get as far as the run had got
        never makes it shorter. Raises: StorageError."""
        if self._as_it_was is None:
            return
        self.steps.close()
        with storage_errors(self.path):
            for kept in sorted(self.path.glob(f"{BEFORE}*")):
                kept.replace(self.path / kept.name.removeprefix(BEFORE))
        self.write_bytes(MANIFEST, self._as_it_was)
        self._manifest = json.loads(self._as_it_was)
        self._left = True

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_hash(self) -> str:
        """What the run is, in 12 digits."""
        return str(self._manifest["config_hash"])

    @property
    def lock(self) -> FolderLock:
        """The folder's lock, for one who goes on writing after this object (a training's last steps)."""
        return self._lock

    def file(self, name: str) -> AbstractContextManager[Path]:
        """A temporary path that becomes the folder's file `name` when the block succeeds.

        Raises: StorageError for every OSError of the block.
        """
        return replacing(self.path / name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """A whole file, atomically. Raises: StorageError."""
        write_atomic(self.path / name, content)

    def write_unforced(self, name: str, content: bytes) -> None:
        """A whole file, atomically, but left to the system to bring to the disk, as records are: for what is
        written at every step. Raises: StorageError."""
        with replacing(self.path / name) as temporary:
            temporary.write_bytes(content)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file, atomically; NaN becomes null. Raises: StorageError."""
        self.write_bytes(name, json_bytes(value, pretty=True) + b"\n")

    def note(self, **facts: Any) -> None:
        """Put facts known only later (a model's id, a snapshot's hash) into the manifest."""
        self._manifest.update(facts)
        self._write_manifest()

    def finish(self, summary: Mapping[str, Any] | None, status: Status = "done") -> None:
        """Close the records, write the summary, then the status and the hashes of all that lies in the folder
        (`core/seals.py`): nothing may be written to it afterwards. Raises: StorageError."""
        self.steps.close()
        if summary is not None:
            self.write_json(SUMMARY, summary)
        self._manifest["status"] = status
        self._manifest["ended"] = self._wall_clock.now()
        with storage_errors(self.path):
            for kept in self.path.glob(f"{BEFORE}*"):
                kept.unlink()
        self._manifest = with_seal(self.path, self._manifest)
        self._write_manifest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._leave(error)
        finally:
            self._lock.release()

    def _leave(self, error: BaseException | None) -> None:
        if self._left:
            return
        if error is None:
            if self._manifest["status"] == "running":
                self.finish(None)
            return
        with suppress(StorageError):
            self.steps.close()
        if self._manifest["status"] == "running":
            with suppress(StorageError):
                self.finish(None, "failed" if isinstance(error, Exception) else "interrupted")
        error.add_note(f"Saved: {self.steps.lines_saved} records in {self.steps.path}")

    def _write_manifest(self) -> None:
        self.write_bytes(MANIFEST, manifest_bytes(self._manifest))


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One line of `runs list`."""

    run_dir: Path
    mode: str | None
    started: str | None
    status: str
    final_equity_usd: float | None
    decided_by: str | None = None
    mock: bool = False


def list_runs(runs_dir: Path) -> tuple[RunEntry, ...]:
    """All run folders, oldest first; a manifest that cannot be read gives the status `damaged`, one of a
    newer Athena `of another version`."""
    return tuple(_entry(path) for path in _run_paths(runs_dir))


def find_run(run: str, runs_dir: Path) -> Path:
    """The folder of RUN: a path, a name, a prefix of one, or `last`.

    Raises: RunNotFound when there is none, or when a prefix fits several.
    """
    as_path = Path(run)
    if run and (as_path / MANIFEST).is_file():
        return as_path
    paths = _run_paths(runs_dir)
    if not paths:
        raise RunNotFound(
            f"there are no runs in {runs_dir}.",
            "Start one with `athena backtest`, or name --runs-dir.",
        )
    if run == "last":
        return paths[-1]
    exact = [path for path in paths if path.name == run]
    found = exact or [path for path in paths if run and path.name.startswith(run)]
    if not found:
        raise RunNotFound(
            f"there is no run {run!r} in {runs_dir}.", "`athena runs list` names those there are."
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise RunNotFound(
            f"{run!r} is the beginning of {len(found)} runs: {names}{more}.",
            "Give more of the name.",
        )
    return found[0]


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """Raises: RunFolderError when it is missing or damaged, or of another version than is read."""
    manifest = _read_json(run_dir / MANIFEST, "The run folder is damaged.")
    formats.RUN.check_in(manifest, run_dir / MANIFEST)
    return manifest


def run_status(run_dir: Path, manifest: Mapping[str, Any]) -> str:
    """A manifest's status; `died` where it says `running` and no process holds the folder's lock.

    The lock alone decides: a process number and a host's name say nothing in a container, where the one
    may live again and the other be new.
    """
    status = str(manifest.get("status"))
    return DIED if status == "running" and not is_locked(run_dir) else status


def read_summary(run_dir: Path) -> dict[str, Any]:
    """The run's JSON summary. Raises: RunFolderError when the run did not get that far."""
    status = run_status(run_dir, read_manifest(run_dir))
    return _read_json(
        run_dir / SUMMARY, f"The run's status is {status!r}; its records are in {run_dir / STEPS}."
    )


def versions() -> dict[str, str | None]:
    """Versions that can change a result, by distribution."""
    found: dict[str, str | None] = {
        "athena": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def git_revision() -> str | None:
    """The revision of the checkout that this code runs from, `-dirty` when changed; else null."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            [
                "git",
                "-C",
                str(root),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _make_unique(runs_dir: Path, name: str) -> Path:
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        for candidate in _names(name):
            path = runs_dir / candidate
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        if error.errno in FULL_DISK:
            raise storage_error(error, runs_dir / name) from error
        raise RunFolderError(
            f"the run folder {runs_dir / name} cannot be made: {error.strerror or error}.",
            "Choose a directory that can be written with --runs-dir.",
        ) from error
    raise AssertionError("the names never end")


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _run_paths(runs_dir: Path) -> list[Path]:
    try:
        return _in_order(path for path in runs_dir.iterdir() if (path / MANIFEST).is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunFolderError(
            f"the runs directory {runs_dir} cannot be read: {error.strerror or error}.",
            "Check its permissions, or name another with --runs-dir.",
        ) from error


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """By the second in the name; within one second the manifests decide."""
    seconds: dict[str, list[Path]] = {}
    for path in sorted(paths, key=lambda path: path.name):
        seconds.setdefault(path.name.split("-")[0], []).append(path)
    ordered: list[Path] = []
    for second in sorted(seconds):
        rivals = seconds[second]
        ordered += rivals if len(rivals) == 1 else sorted(rivals, key=_started)
    return ordered


def _started(path: Path) -> float:
    try:
        return datetime.fromisoformat(_entry(path).started or "").timestamp()
    except ValueError:
        return 0.0


def _entry(path: Path) -> RunEntry:
    try:
        manifest = _read_json(path / MANIFEST, "")
    except RunFolderError:
        return RunEntry(path, None, None, "damaged", None)
    if not formats.RUN.reads(manifest.get(formats.KEY)):
        return RunEntry(path, None, None, "of another version", None)
    summary: dict[str, Any] = {}
    with suppress(RunFolderError):
        summary = _read_json(path / SUMMARY, "")
    return RunEntry(
        path,
        manifest.get("mode"),
        manifest.get("started"),
        run_status(path, manifest),
        summary.get("final_equity_usd"),
        summary.get("decided_by"),
        bool((manifest.get("data") or {}).get("mock")),
    )


def _read_json(path: Path, cure: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"there is no {path.name} in {path.parent}.", cure) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}.", cure) from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path} holds no JSON object.", cure)
    return value
