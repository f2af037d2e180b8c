"""Checkpoints of a training, and the curve of its updates: whole or absent, and never code.

A checkpoint is a folder that is renamed into its place when all its files are there, with a mark of their
hashes written last. `trainer.pt` is read with `torch.load(weights_only=True)` and in no other way. Memories
live for one update and are made anew from (seed, update), so the cursor stands for their snapshots. Refuses
to know the algorithm.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import torch

from core import formats
from core.errors import CheckpointError
from core.files import set_aside, storage_errors, write_atomic
from models.folder import sha256

TRAINER: Final = "trainer.pt"
COMPLETE: Final = "complete.json"
METRICS: Final = "metrics.jsonl"
KEPT: Final = 2
_OLDEST_MAJOR: Final = 2


def write_checkpoint(
    folder: Path, update: int, state: Mapping[str, Any], about: Mapping[str, Any]
) -> Path:
    """Write `update-N` below `folder`; older ones but one are removed. Raises: StorageError."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    target = folder / f"update-{update:07d}"
    part = folder / f".{target.name}.part"
    with storage_errors(target):
        shutil.rmtree(part, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.mkdir(mode=0o700)
    write_atomic(part / TRAINER, buffer.getvalue())
    mark = {
        formats.KEY: formats.STAGE2_CHECKPOINT.version,
        "about": dict(about),
        "files": {TRAINER: sha256(part / TRAINER)},
    }
    write_atomic(part / COMPLETE, (json.dumps(mark, indent=1) + "\n").encode())
    with storage_errors(target):
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
        for old in _checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old)
    return target


def set_aside_damaged(folder: Path) -> list[Path]:
    """Rename checkpoints that are not what their mark says, so that none is taken for sound, counted among
    those kept, or written over; their new paths.

    Raises: StorageError; CheckpointError for one of another version than is read.
    """
    return [set_aside(path) for path in _checkpoints(folder) if not _is_whole(path)]


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its mark says; None without one.

    Raises: CheckpointError for one of another version than is read.
    """
    return next((path for path in reversed(_checkpoints(folder)) if _is_whole(path)), None)


def _is_whole(path: Path) -> bool:
    try:
        mark = json.loads((path / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(mark, dict):
        return False
    formats.STAGE2_CHECKPOINT.check_in(mark, path / COMPLETE)
    files = mark.get("files")
    return isinstance(files, dict) and all(
        (path / name).is_file() and sha256(path / name) == said for name, said in files.items()
    )


def read_about(checkpoint: Path) -> dict[str, Any]:
    """What was written beside the tensors: backbone hash, seed, settings."""
    about: dict[str, Any] = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))["about"]
    return about


def read_trainer(checkpoint: Path) -> dict[str, Any]:
    """Tensors and plain values of a checkpoint, never code.

    Raises: CheckpointError for a torch that cannot do that, or a file that is more than that.
    """
    require_safe_torch(torch.__version__)
    path = checkpoint / TRAINER
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read as plain tensors: {reason}", "Resume from another run."
        ) from error
    return state


def require_safe_torch(version: str) -> None:
    """Raises: CheckpointError for a torch before 2, whose loading runs code of the file."""
    if int(version.split(".", maxsplit=1)[0]) < _OLDEST_MAJOR:
        raise CheckpointError(
            f"torch {version} cannot read a checkpoint without running code of it.",
            "Install torch 2.6 or newer.",
        )


def append_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """One more line of the curve."""
    with storage_errors(folder / METRICS), (folder / METRICS).open("ab") as file:
        file.write(orjson.dumps(dict(metrics)) + b"\n")


def truncate_metrics(folder: Path, update: int) -> None:
    """Leave the lines before `update`: those that the checkpoint knows of."""
    lines = [line for line in read_metrics(folder) if line["update"] < update]
    write_atomic(folder / METRICS, b"".join(orjson.dumps(line) + b"\n" for line in lines))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the curve; half a line at its end is left out."""
    try:
        data = (folder / METRICS).read_bytes()
    except FileNotFoundError:
        return []
    lines = data.split(b"\n")[:-1]
    return [orjson.loads(line) for line in lines]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("update-*"))
