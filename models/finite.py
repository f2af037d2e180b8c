"""Weights that are NaN or infinite, refused by name: a model that has them abstains without a word.

Owns that one check; refuses to know what the weights are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def require_finite(tensors: Mapping[str, torch.Tensor], where: str, cure: str) -> None:
    """Raises: CheckpointError that names the first tensor with a NaN or an infinity and counts the others."""
    bad = [name for name, each in tensors.items() if not bool(each.isfinite().all())]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise CheckpointError(f"{where} has NaN or infinite weights: {bad[0]}{more}.", cure)


def require_finite_file(path: Path, cure: str) -> None:
    """The same for every tensor of a safetensors file, one at a time. Raises: CheckpointError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                require_finite({name: file.get_tensor(name)}, str(path), cure)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.", cure) from error
