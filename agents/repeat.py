"""A run made again from what its folder keeps: do the bytes agree, and if not, what is different.

Owns what is missing for it, the comparison and its report; `agents/again.py` reads the folder and guards the
code that it names. The first run's folder is only read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from agents.again import PATHS, began_with, check_code, strategy_path
from agents.assemble import RunOptions, backtest, paper_trade
from agents.identity import differences
from core.errors import RunFolderError
from core.locks import held_by_another
from core.runlog import STEPS, find_run, read_manifest, run_status
from trading.sources.load import DATASET_SUFFIX

if TYPE_CHECKING:
    from core.config import AthenaConfig
    from trading.result import Run
    from trading.run import Progress

SUPPLIED = ("data", "strategy", "weights", "views", "news", "memory", "universe")
"""The options that may be given to a repeat: what the first run read, where it is not as it was."""
MODES = ("backtest", "paper-trade")
_WORDS = {
    "data": "--data FILE", "strategy": "--strategy FILE.py:Class", "weights": "--weights FILE",
    "views": "--views FILE", "news": "--news FILE", "memory": "--memory SNAPSHOT",
    "universe": "--universe FILE",
}  # fmt: skip
_INPUTS = (
    "sha256",
    "symbols",
    "interval",
    "calendar",
    "currency",
    "rows",
    "first",
    "last",
    "inputs",
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """What came of a repeat. `identical`: every byte of the records agrees; `differences` {what, then, now}
    are those of versions, identity and inputs; `first_difference` is the first line that differs, from 1."""

    run_dir: Path
    repeated_dir: Path
    identical: bool
    differences: Sequence[Mapping[str, Any]]
    first_difference: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `athena runs repeat`."""
        return {
            "run_dir": str(self.run_dir),
            "repeated_dir": str(self.repeated_dir),
            "identical": self.identical,
            "differences": [dict(each) for each in self.differences],
            "first_difference": self.first_difference,
        }


def repeat(
    config: AthenaConfig, run: str, supplied: RunOptions, progress: Progress | None = None
) -> Repeat:
    """Make a run again, into a new folder of `config.runs_dir`.

    `config` is the user's own; `supplied` has what takes the place of the run's options (`SUPPLIED`, and
    `params` with a strategy), whether its code is trusted, and the environment. A paper-trade is made at full
    speed, for as many steps as are recorded.
    Raises: RunNotFound; RunFolderError for what is missing, for code that is not known, for a run that
    still goes on; and as the run.
    """
    path = find_run(run, Path(config.runs_dir))
    manifest = read_manifest(path)
    _require_repeatable(path, manifest)
    settings, options = began_with(manifest, path.name, config, supplied)
    given = {name: value for name in SUPPLIED if (value := getattr(supplied, name)) is not None}
    if supplied.params:
        given["params"] = supplied.params
    options = replace(options, **given, trust=supplied.strategy is None)
    _require_inputs(path, manifest, options, given, settings)
    if isinstance(options.strategy, str) and supplied.strategy is None:
        check_code(
            manifest,
            path.name,
            options.strategy,
            supplied.environment,
            vouched=supplied.trust,
            cure=f"Put the old file back, or name it yourself: --strategy {options.strategy}.",
        )
    made = _make(settings, options, manifest, _lines(path), progress)
    return compared(path, manifest, made.path)


def _require_repeatable(path: Path, manifest: Mapping[str, Any]) -> None:
    if manifest.get("mode") not in MODES:
        raise RunFolderError(
            f"the run {path.name} is a {manifest.get('mode')}.",
            "A backtest or a paper-trade can be repeated.",
        )
    if run_status(path, manifest) == "running":
        raise held_by_another(path)


def _require_inputs(
    path: Path,
    manifest: Mapping[str, Any],
    options: RunOptions,
    given: Mapping[str, Any],
    settings: AthenaConfig,
) -> None:
    """Raises: RunFolderError that names all that is missing, with the options that give it."""
    lost: dict[str, str] = {}
    for each in manifest.get("not_stored") or ():
        name = str(each["option"]).removeprefix("--").replace("-", "_")
        if name not in given:
            lost[name] = str(each["what"])
    for name in PATHS:
        if name not in lost and (file := getattr(options, name)) and not Path(file).exists():
            lost[name] = f"{file}, which is not there"
    if "data" not in lost and isinstance(options.data, str) and not _is_there(options, settings):
        lost["data"] = f"{options.data}, which is not there"
    if "strategy" not in lost and isinstance(options.strategy, str):
        file = strategy_path(options.strategy)
        if not file.is_file():
            lost["strategy"] = f"{file}, which is not there"
    if lost:
        what = "; ".join(f"--{name} ({said})" for name, said in lost.items())
        raise RunFolderError(
            f"to repeat the run {path.name} its folder has not all that it was given: {what}.",
            f"Give {', '.join(_WORDS.get(name, f'--{name}') for name in lost)}.",
        )


def _is_there(options: RunOptions, settings: AthenaConfig) -> bool:
    """Whether a path, or a dataset of this name, is there."""
    data = str(options.data)
    if data == "mock" or os.path.exists(data):
        return True
    return (Path(settings.data_dir) / f"{data}{DATASET_SUFFIX}").exists()


def _make(
    settings: AthenaConfig,
    options: RunOptions,
    manifest: Mapping[str, Any],
    lines: Sequence[bytes],
    progress: Progress | None,
) -> Run:
    if manifest["mode"] == "backtest":
        return backtest(settings, options, progress)
    options = replace(options, speed=0.0, steps=max(len(lines), 1))
    return paper_trade(settings, options, progress)


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a run's records. Raises: RunFolderError."""
    try:
        whole = (path / STEPS).read_bytes()
    except OSError as error:
        raise RunFolderError(
            f"{path / STEPS} cannot be read: {error.strerror or error}.",
            "The run folder is damaged.",
        ) from error
    return whole[: whole.rfind(b"\n") + 1].splitlines(keepends=True)


def compared(path: Path, manifest: Mapping[str, Any], made: Path) -> Repeat:
    """The report on two folders of the same work. Of a run that came to no end, the records that it has are
    compared. Raises: RunFolderError."""
    then, now = _lines(path), _lines(made)
    if manifest.get("status") != "done":
        now = now[: len(then)]
    identical = then == now
    first = None
    if not identical:
        at = next(
            (at for at, (one, two) in enumerate(zip(then, now, strict=False)) if one != two),
            min(len(then), len(now)),
        )
        line = then[at] if at < len(then) else now[at]
        first = {"line": at + 1, "as_of": _as_of(line)}
    return Repeat(path, made, identical, _named(manifest, read_manifest(made)), first)


def _as_of(line: bytes) -> str | None:
    try:
        return str(orjson.loads(line)["as_of"])
    except (ValueError, KeyError, TypeError):
        return None


def _named(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs in versions, identity and inputs of two manifests."""

    def part(manifest: Mapping[str, Any]) -> dict[str, Any]:
        data = manifest.get("data") or {}
        return {
            "versions": manifest.get("versions") or {},
            "git_revision": manifest.get("git_revision"),
            "identity": manifest.get("identity"),
            "data": {name: data.get(name) for name in _INPUTS},
            "model": manifest.get("model"),
        }

    return [
        {"what": name, "then": one, "now": two}
        for name, one, two in differences(part(then), part(now))
    ]
