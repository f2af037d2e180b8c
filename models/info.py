"""`athena model info`: what a model is, told from its files' headers without loading a weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from models.folder import open_folder, resolve

if TYPE_CHECKING:
    from core.config import OLMoEIntegrationConfig

HEAD_WIDTH = 128
ACTION_COUNT = 7


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """`active_parameters` are those that one token passes through (all but the experts it is not sent to);
    `trainable_parameters` add the action head; `memory_bytes` holds the weights alone, by dtype."""

    name: str
    path: Path
    parameters: int
    active_parameters: int
    trainable_parameters: int
    hidden_size: int
    layers: int
    experts: int
    experts_per_token: int
    vocabulary: int
    context_tokens: int
    training_cutoff: str | None
    backbone_hash: str
    memory_bytes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def model_info(config: OLMoEIntegrationConfig) -> ModelInfo:
    """Of the configured model. Raises: ModelError as loading would, and for one that is not on this disk."""
    chosen = resolve(config.model_path)
    if isinstance(chosen, str):
        raise ModelError(
            f"{chosen} is not on this disk.",
            f"Fetch it with `athena model download {chosen}`, then set olmoe.model_path to its folder.",
        )
    folder = open_folder(chosen, training_cutoff=config.training_cutoff)
    total, active = folder.weight_counts()
    shapes = folder.config
    hidden = shapes["hidden_size"]
    head = 2 * hidden + (hidden + 1) * HEAD_WIDTH + (HEAD_WIDTH + 1) * ACTION_COUNT
    cutoff = folder.training_cutoff
    return ModelInfo(
        name=folder.name,
        path=folder.path,
        parameters=total,
        active_parameters=active,
        trainable_parameters=total + head,
        hidden_size=hidden,
        layers=shapes["num_hidden_layers"],
        experts=shapes["num_experts"],
        experts_per_token=shapes["num_experts_per_tok"],
        vocabulary=shapes["vocab_size"],
        context_tokens=shapes["max_position_embeddings"],
        training_cutoff=cutoff.isoformat() if cutoff else None,
        backbone_hash=folder.backbone_hash(),
        memory_bytes={"float32": 4 * total, "bfloat16": 2 * total},
    )
