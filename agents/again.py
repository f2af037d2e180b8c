"""A run once more: what its folder keeps of how it was begun, and whether its code may be run.

Owns which options a manifest keeps and how they are read back, and the rule for code that a folder names: it
must be what it was, and the user must have run it before, or vouch for it. Runs nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.fingerprint import code_files
from core.config import AthenaConfig
from core.errors import RunFolderError
from core.seals import MANIFEST
from core.trust import TrustedCode

if TYPE_CHECKING:
    from agents.assemble import RunOptions

RESUMABLE = (
    "data", "symbols", "universe", "start", "end", "agents", "news", "memory", "strategy", "params",
    "weights", "views", "risk", "no_risk", "speed", "steps",
)  # fmt: skip
"""The options of a run that its manifest keeps."""
PATHS = ("universe", "news", "memory", "weights", "views")
_STORED = (str, bool, int, float, tuple, type(None))
_SHOWN = 8
OLD = "the file"


def asked(options: RunOptions) -> dict[str, Any]:
    """What the manifest keeps of the options; None for one that is an object."""
    found = {}
    for name in RESUMABLE:
        value = getattr(options, name)
        value = str(value) if isinstance(value, Path) else value
        found[name] = value if isinstance(value, _STORED) else None
    return found


def not_stored(options: RunOptions) -> list[dict[str, str]]:
    """The options that no manifest can keep, and what they were."""
    return [
        {"option": f"--{name.replace('_', '-')}", "what": _what(value)}
        for name in RESUMABLE
        for value in (getattr(options, name),)
        if not isinstance(value, (*_STORED, Path))
    ]


def _what(value: object) -> str:
    """An object in a few words, without what it says of itself."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{kind} of {' x '.join(str(each) for each in shape)}"
    if isinstance(value, Mapping):
        return f"{kind} with {', '.join(str(name) for name in list(value)[:_SHOWN])}"
    symbols = getattr(value, "symbols", None)
    if isinstance(symbols, tuple):
        return f"{kind} of {', '.join(symbols[:_SHOWN])}"
    return f"an object of {kind}"


def began_with(
    manifest: Mapping[str, Any], run: str, config: AthenaConfig, options: RunOptions
) -> tuple[AthenaConfig, RunOptions]:
    """(settings, options) with which a run began. Places and addresses are the user's own, of `config`, and
    never the folder's: a folder may come from somebody else.

    Raises: RunFolderError for a run whose options were not kept.
    """
    kept = manifest.get("asked")
    if kept is None:
        raise RunFolderError(
            f"the run {run} was begun with objects of a Python program.", "Begin it anew there."
        )
    found: dict[str, Any] = {name: kept.get(name) for name in RESUMABLE}
    for name in PATHS:
        found[name] = Path(found[name]) if found[name] else None
    found["symbols"] = None if found["symbols"] is None else tuple(found["symbols"])
    found["params"] = tuple((name, value) for name, value in found["params"] or ())
    found["risk"], found["no_risk"] = bool(found["risk"]), bool(found["no_risk"])
    settings = AthenaConfig._from_dict(manifest["config"], f"{run}/{MANIFEST}")
    memory = settings.memory.model_copy(update={"neo4j_uri": config.memory.neo4j_uri})
    settings = settings.model_copy(update={"runs_dir": config.runs_dir, "memory": memory})
    return settings, replace(options, **found, seed=None, runs_dir=None)


def strategy_path(spec: str) -> Path:
    """The file of `FILE.py:Class`."""
    return Path(spec.rpartition(":")[0])


def remember_code(spec: str, environment: Mapping[str, str]) -> None:
    """The user named this file on a command: its code, and that beside it, is known from now on."""
    TrustedCode.of_user(environment).add(code_files(strategy_path(spec)).values())


def check_code(
    manifest: Mapping[str, Any],
    run: str,
    spec: str,
    environment: Mapping[str, str],
    *,
    vouched: bool,
    cure: str,
) -> None:
    """Refuse the strategy's file that a folder names, before any of it is run, unless it is what it was and
    the user has run it before, or has `vouched` for it. `cure` is what helps where it was changed.

    Raises: RunFolderError.
    """
    path = strategy_path(spec)
    if not path.is_file():
        raise RunFolderError(
            f"the strategy's file {path} of the run {run} is not there.",
            "Put it back, or go to the directory in which the run was begun.",
        )
    now, then = code_files(path), _code_then(manifest)
    for name in sorted({*then, *now} if then.keys() != {OLD} else {""}):
        if then.get(name, then.get(OLD)) != now.get(name):
            changed = path if name == "" else path.parent / name
            raise RunFolderError(
                f"the strategy's code {changed} is not what it was when the run {run} began.", cure
            )
    unknown = TrustedCode.of_user(environment).unknown(now.values())
    if unknown and not vouched:
        names = [str(path if not n else path.parent / n) for n, d in now.items() if d in unknown]
        raise RunFolderError(
            f"the run {run} names code that you have not run yourself yet: {', '.join(names)}.",
            f"Read it; then give --trust, or name it yourself: --strategy {spec}.",
        )


def _code_then(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The code's hashes as the manifest has them; an earlier version's has that of the file alone, `OLD`."""
    identity = manifest.get("identity") or {}
    code = (identity.get("strategy") or {}).get("code")
    if code is not None:
        return dict(code)
    return {OLD: str(((manifest.get("data") or {}).get("inputs") or {}).get("strategy", ""))}
