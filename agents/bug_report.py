"""`athena dry-run --bundle FILE`: what a report of a defect needs, in one text file without secrets.

Owns what is collected: versions, settings, the dry run's parts, the newest run's status, the last error with
the tail of its log. Nothing of a run's records, prices, texts or memory goes in, and nothing is sent: the
text is shown whole before it is written. Refuses to know how it is asked for.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from core.config import AthenaConfig, LoadedConfig, value_of
from core.errors import AthenaError, RunFolderError, UsageError
from core.files import write_atomic
from core.formats import ALL, KEY
from core.jsontext import json_bytes
from core.last_error import last_error, redacted, tail
from core.layers import leaf_schemas
from core.runlog import git_revision, list_runs, versions

VERSION: Final = 1
_MORE_LIBRARIES: Final = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "neo4j",
    "click",
)


def bug_report(
    loaded: LoadedConfig, dry_run: Mapping[str, Any], environment: Mapping[str, str]
) -> str:
    """The report as JSON text. `dry_run` is what the dry run said, or its error; `environment` the process's,
    of which only the names of Athena's variables are told."""
    config = loaded.config
    found = {
        KEY: VERSION,
        "what": "Athena's bug report: versions, settings, last error. It was sent nowhere.",
        "made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "versions": versions() | {name: _version(name) for name in _MORE_LIBRARIES},
        "git_revision": git_revision(),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "locale_encoding": sys.getfilesystemencoding(),
        },
        "formats": {each.name: each.version for each in ALL},
        "settings": config.to_dict(),
        "settings_changed": _changed(loaded),
        "variables": sorted(name for name in environment if name.startswith(("ATHENA_", "NEO4J_"))),
        "dry_run": dict(dry_run),
        "newest_run": _newest_run(config),
        "last_error": last_error(environment),
        "log": list(tail.lines),
    }
    return json_bytes(redacted(found, environment), pretty=True).decode() + "\n"


def check_place(path: Path) -> None:
    """Raises: UsageError for a file that is there already, or a folder that is not."""
    if path.exists():
        raise UsageError(f"--bundle {path} exists already.", "Name a new file.")
    if not path.parent.is_dir():
        raise UsageError(f"--bundle {path}: there is no folder {path.parent}.", "Make it first.")


def write_report(text: str, path: Path) -> None:
    """Write it for its owner alone (0600). Raises: StorageError."""
    write_atomic(path, text.encode(), private=True)


def failed(error: AthenaError) -> dict[str, Any]:
    """What the report says of a dry run that could not be made."""
    return {
        "ok": False,
        "error": {"kind": type(error).__name__, "message": error.message, "cure": error.cure},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _changed(loaded: LoadedConfig) -> dict[str, Any]:
    """The settings that are not the shipped ones, and where each came from."""
    shipped = AthenaConfig()
    return {
        key: {"value": value_of(loaded.config, key), "from": loaded.origins.get(key, "")}
        for key in leaf_schemas(AthenaConfig)
        if value_of(loaded.config, key) != value_of(shipped, key)
    }


def _newest_run(config: AthenaConfig) -> dict[str, Any] | None:
    """How the newest run ended; None where there is none, or its folder cannot be read."""
    try:
        runs = list_runs(config.runs_dir)
    except RunFolderError:
        return None
    if not runs:
        return None
    newest = runs[-1]
    return {
        "name": newest.run_dir.name,
        "mode": newest.mode,
        "status": newest.status,
        "started": newest.started,
        "mock": newest.mock,
    }
