"""Curves for TensorBoard, where it is installed (extra `tensorboard`); nothing otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class BoardWriter:
    """Writes the numbers of each update below a run's folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def add(self, metrics: Mapping[str, Any]) -> None:
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "update":
                self._writer.add_scalar(name, value, metrics["update"])
        self._writer.flush()


def writer_for(folder: Path) -> BoardWriter | None:
    """None without TensorBoard."""
    return BoardWriter(folder) if find_spec("tensorboard") is not None else None
