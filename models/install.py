"""`athena model download`: a published model into a folder, with a manifest of what came."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.folder import KNOWN_CUTOFFS, download, open_folder, write_manifest

if TYPE_CHECKING:
    from core.config import AthenaConfig


@dataclass(frozen=True, slots=True)
class Installed:
    """A model folder and its manifest."""

    path: Path
    manifest: Path

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def install(model_id: str, folder: Path | None, config: AthenaConfig) -> Installed:
    """Fetch `model_id` into a folder (default: under `data_dir`) and write down what came.

    Raises: ModelError when the hub cannot be reached, or what came is no OLMoE.
    """
    target = folder or config.data_dir / "models" / model_id.replace("/", "--")
    download(model_id, target)
    cutoff = config.olmoe.training_cutoff or KNOWN_CUTOFFS.get(model_id)
    open_folder(target, training_cutoff=cutoff, name=model_id)
    return Installed(target, write_manifest(target, name=model_id, training_cutoff=cutoff))
