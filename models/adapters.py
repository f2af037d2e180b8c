"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685) on an OLMoE, by peft.

Recent transformers keep a layer's experts in 3-D tensors, which module names do not reach: attention is
targeted by module (`q_proj` ...), experts by parameter (`mlp.experts.gate_up_proj` ...). The router is never
adapted: which expert is asked stays the base's choice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import formats
from core.errors import CheckpointError
from core.files import storage_errors, write_atomic
from models.finite import require_finite
from models.folder import sha256

if TYPE_CHECKING:
    import torch

MANIFEST = "athena-adapter.json"
ADAPTER = "adapter.safetensors"
ATTENTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")
EXPERT_PARAMETERS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """What an adapter is, and the backbone that it was trained on."""

    rank: int
    alpha: float
    experts: bool
    backbone_hash: str
    sha256: str


def attach(backbone: Any, *, rank: int, alpha: float, experts: bool, seed: int = 0) -> Any:
    """The peft model around a backbone, whose own parameters it freezes; a no-op until it is trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    if rank < 1 or alpha <= 0.0:
        raise ValueError(f"rank is {rank} and alpha {alpha}; both must be above 0.")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(ATTENTION_MODULES),
        target_parameters=list(EXPERT_PARAMETERS) if experts else None,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(backbone, config)
    _check_targets(adapted, experts)
    return adapted.eval()


def save(adapted: Any, folder: Path, *, backbone_hash: str) -> Path:
    """Write the adapter's matrices, then the manifest with their hash; returns the manifest.

    Raises: CheckpointError for matrices that are not finite: a training that diverged leaves no adapter.
    """
    from safetensors.torch import save as to_bytes

    require_finite(
        _matrices(adapted),
        "the adapter",
        "The training diverged: lower its learning rate, or take an earlier checkpoint.",
    )

    with storage_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(folder / ADAPTER, to_bytes(_matrices(adapted)))
    config = adapted.peft_config["default"]
    about = {
        formats.KEY: formats.ADAPTER.version,
        "rank": config.r,
        "alpha": config.lora_alpha,
        "experts": bool(config.target_parameters),
        "backbone_hash": backbone_hash,
        "sha256": sha256(folder / ADAPTER),
    }
    write_atomic(folder / MANIFEST, (json.dumps(about, indent=2) + "\n").encode())
    return folder / MANIFEST


def read_manifest(folder: Path) -> AdapterManifest:
    """Raises: CheckpointError for a missing or damaged adapter, or one of another version than is read."""
    cure = "Give a folder that save_lora() wrote."
    try:
        told = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        formats.ADAPTER.check(told.pop(formats.KEY, None), folder / MANIFEST)
        about = AdapterManifest(**told)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no adapter: {error}.", cure) from None
    path = folder / ADAPTER
    if not path.exists() or sha256(path) != about.sha256:
        raise CheckpointError(f"{path} is missing or not the file that its manifest names.", cure)
    return about


def load(backbone: Any, folder: Path, about: AdapterManifest) -> Any:
    """The peft model with the saved matrices.

    Raises: CheckpointError when they do not fit or are not finite.
    """
    import torch
    from safetensors.torch import load_file

    saved = load_file(folder / ADAPTER)
    require_finite(saved, str(folder / ADAPTER), "Train the adapter again, or name another one.")
    adapted = attach(backbone, rank=about.rank, alpha=about.alpha, experts=about.experts)
    own = _matrices(adapted)
    if saved.keys() != own.keys() or any(saved[name].shape != own[name].shape for name in own):
        adapted.unload()
        raise CheckpointError(
            f"the matrices in {folder} do not fit this model.",
            "Load the model they were trained on.",
        )
    with torch.no_grad():
        for name, matrix in own.items():
            matrix.copy_(saved[name])
    return adapted


def _matrices(adapted: Any) -> dict[str, torch.Tensor]:
    return {
        name: parameter.detach()
        for name, parameter in adapted.named_parameters()
        if "lora_" in name
    }


def _check_targets(adapted: Any, experts: bool) -> None:
    """peft says nothing of a target that matches no part; here every wanted one must have been found."""
    names = list(_matrices(adapted))
    wanted = [*ATTENTION_MODULES, *(["experts"] if experts else [])]
    missing = [target for target in wanted if not any(target in name for name in names)]
    if missing:
        raise CheckpointError(
            f"the adapter found no {', '.join(missing)} in this model.",
            "This version of transformers names its parts differently: use one before it.",
        )
