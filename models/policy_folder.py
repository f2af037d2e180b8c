"""The folder of a memory policy: its trained weights, and what they belong to.

`policy.safetensors` has the head and whatever of the backbone was trained; `policy.json`, written last, names
the backbone by its hash, the features by name, and the weights by SHA-256. Refuses to know what actions mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core import formats
from core.errors import CheckpointError
from core.files import storage_errors, write_atomic
from models.finite import require_finite

if TYPE_CHECKING:
    from core.config import OLMoEIntegrationConfig
    from models.action_head import MemoryActionHead
    from models.action_scorer import HeadScorer
    from models.olmoe import OLMoEModel

WEIGHTS: Final = "policy.safetensors"
ABOUT: Final = "policy.json"
_HEAD: Final = "head."
"""What the names of a head's weights begin with."""
_DAMAGED: Final = "The file is damaged or altered: copy or train it again."
_OTHER_POLICY: Final = "Train the policy again, or name another one."


@dataclass(frozen=True, slots=True)
class PolicyFolder:
    """What `policy.json` says. `more` is what the trainer added: figures, settings, dates."""

    path: Path
    backbone_hash: str
    features: tuple[str, ...]
    head_width: int
    head_gate: str | None
    trained: str
    lora_rank: int
    sha256: str
    more: Mapping[str, Any]


def save_policy(
    model: OLMoEModel,
    path: Path,
    *,
    features: Sequence[str],
    trained: str,
    lora_rank: int = 0,
    more: Mapping[str, Any] | None = None,
) -> PolicyFolder:
    """Write head and trained backbone weights; each file is replaced atomically, the mark comes last."""
    from safetensors.torch import save

    head = model.action_head
    if head is None:
        raise CheckpointError("the model has no action head.", "Call load() first.")
    weights = {name: each.contiguous().cpu().clone() for name, each in model.state_dict().items()}
    data = save(weights)
    about = {
        formats.KEY: formats.POLICY.version,
        "backbone_hash": model.backbone_hash,
        "features": list(features),
        "head_width": head.width,
        "head_gate": None if head.gate is None else features[head.gate],
        "trained": trained,
        "lora_rank": lora_rank,
        "sha256": hashlib.sha256(data).hexdigest(),
        **(more or {}),
    }
    with storage_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path / WEIGHTS, data)
    write_atomic(path / ABOUT, (json.dumps(about, indent=1) + "\n").encode())
    return read_policy(path)


def read_policy(path: Path) -> PolicyFolder:
    """What the folder says of itself. Raises: CheckpointError for a missing, foreign or unmarked folder."""
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        if isinstance(about, dict):
            formats.POLICY.check_in(about, path / ABOUT)
        weights = (path / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no memory policy: {error}.",
            "Name a folder that `athena train stage2` wrote (its `checkpoint`).",
        ) from error
    if not isinstance(about, dict):
        raise CheckpointError(f"{path / ABOUT} holds no JSON object.", _DAMAGED)
    known = {
        "format", "backbone_hash", "features", "head_width", "head_gate", "trained", "lora_rank",
        "sha256",
    }  # fmt: skip
    if absent := sorted(known - about.keys()):
        raise CheckpointError(f"{path / ABOUT} does not say its {absent[0]}.", _DAMAGED)
    found = hashlib.sha256(weights).hexdigest()
    if found != about["sha256"]:
        raise CheckpointError(
            f"{path / WEIGHTS} has the SHA-256 {found[:12]}..., {about['sha256'][:12]}... is written.",
            _DAMAGED,
        )
    if about["head_gate"] not in {None, *about["features"]}:
        raise CheckpointError(
            f"{path / ABOUT} has the gate {about['head_gate']!r}, which is none of its features.",
            _DAMAGED,
        )
    return PolicyFolder(
        path,
        about["backbone_hash"],
        tuple(about["features"]),
        about["head_width"],
        about["head_gate"],
        about["trained"],
        about["lora_rank"],
        about["sha256"],
        {name: value for name, value in about.items() if name not in known},
    )


def shipped_policy() -> Path:
    """The folder of the trained policy that comes with the package."""
    return Path(__file__).parent / "nano_policy"


def load_policy(model: OLMoEModel, path: Path, *, features: Sequence[str]) -> PolicyFolder:
    """Give a loaded model the policy's head (rebuilt with its own size) and trained weights.

    Raises: CheckpointError for another backbone, other features, or a damaged file.
    """
    from safetensors.torch import load_file

    about = _fitting(model, path, features)
    if about.lora_rank:
        model.add_lora(rank=about.lora_rank, experts=False)
    elif about.trained == "head":
        model.freeze()
    weights = load_file(path / WEIGHTS)
    require_finite(weights, str(path / WEIGHTS), _OTHER_POLICY)
    model.set_action_head(_empty_head(model, about))
    model.load_state_dict(weights)
    return about


def load_head(model: OLMoEModel, path: Path, *, features: Sequence[str]) -> MemoryActionHead:
    """The head of a policy of which nothing else was trained; the model is left as it is.

    Raises: CheckpointError as `load_policy`, and for a policy that is more than a head.
    """
    from safetensors.torch import load_file

    about = _fitting(model, path, features)
    if about.trained != "head":
        raise CheckpointError(
            f"{path} has trained weights beside the head ({about.trained}).",
            "Load it with `load_policy`.",
        )
    weights = load_file(path / WEIGHTS)
    require_finite(weights, str(path / WEIGHTS), _OTHER_POLICY)
    head = _empty_head(model, about)
    try:
        head.load_state_dict({name.removeprefix(_HEAD): each for name, each in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{path / WEIGHTS} does not fit: {' '.join(str(error).split())[:160]}.",
            "Train the policy again.",
        ) from error
    return head.to(model.device)


def load_scorer(
    config: OLMoEIntegrationConfig,
    path: Path,
    *,
    features: Sequence[str],
    model: OLMoEModel | None = None,
) -> HeadScorer:
    """A policy that can be asked: one that is a head alone works on `model` where there is one, others on a
    model of their own.

    Raises: ModelError; CheckpointError as `load_policy`.
    """
    from models.action_scorer import HeadScorer
    from models.olmoe import OLMoEModel

    if model is not None and read_policy(path).trained == "head":
        return HeadScorer(model, head=load_head(model, path, features=features))
    own = OLMoEModel(config).load()
    load_policy(own, path, features=features)
    return HeadScorer(own)


def _fitting(model: OLMoEModel, path: Path, features: Sequence[str]) -> PolicyFolder:
    about = read_policy(path)
    model.require_backbone(about.backbone_hash, f"the policy {path}")
    if about.features != tuple(features):
        raise CheckpointError(
            f"{path} was trained on {len(about.features)} other features than the {len(features)} of "
            "this version.",
            "Train it again with `athena train stage2`.",
        )
    return about


def _empty_head(model: OLMoEModel, about: PolicyFolder) -> MemoryActionHead:
    from models.action_head import MemoryActionHead

    gate = None if about.head_gate is None else about.features.index(about.head_gate)
    return MemoryActionHead(model.hidden_size, len(about.features), about.head_width, gate)
