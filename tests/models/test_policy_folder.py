from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config import OLMoEIntegrationConfig, Stage2Config
from core.errors import CheckpointError
from memory.policy import FEATURES
from models.olmoe import OLMoEModel
from models.policy_folder import load_policy, read_policy, save_policy
from tests.models.conftest import make_tiny
from training.stage2_agemem.trainer import prepare_policy

TEXTS = ["IBM rating now 4.5 points", "a stoppage of 12 days"]


def trained(folder: Path, weights: str) -> OLMoEModel:
    model = OLMoEModel().load()
    prepare_policy(model, Stage2Config(policy_weights=weights, head_width=8, lora_rank=2), seed=4)  # type: ignore[arg-type]
    rank = 2 if weights == "lora" else 0
    save_policy(model, folder, features=FEATURES, trained=weights, lora_rank=rank, more={"seed": 4})
    return model


@pytest.mark.parametrize("weights", ["head", "lora", "all"])
def test_a_saved_policy_gives_the_same_logits(tmp_path: Path, weights: str) -> None:
    import torch

    model = trained(tmp_path, weights)
    fresh = OLMoEModel().load()
    about = load_policy(fresh, tmp_path, features=FEATURES)
    assert (about.trained, about.more["seed"]) == (weights, 4)
    features = torch.rand(2, len(FEATURES))
    assert model.action_head is not None
    assert fresh.action_head is not None
    with torch.no_grad():
        old = model.action_head(model.encode_batch(TEXTS), features)
        new = fresh.action_head(fresh.encode_batch(TEXTS), features)
    assert torch.equal(old, new)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "policy", "head")
    other = make_tiny(tmp_path / "tiny")
    model = OLMoEModel(OLMoEIntegrationConfig(model_path=other)).load()
    with pytest.raises(CheckpointError, match="backbone"):
        load_policy(model, tmp_path / "policy", features=FEATURES)


def test_other_features_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, "head")
    with pytest.raises(CheckpointError, match="other features"):
        load_policy(OLMoEModel().load(), tmp_path, features=FEATURES[:-1])


def test_a_damaged_or_missing_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no memory policy"):
        read_policy(tmp_path / "nowhere")
    trained(tmp_path, "head")
    data = bytearray((tmp_path / "policy.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "policy.safetensors").write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_policy(tmp_path)
    about = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.json").write_text(json.dumps(about | {"head_gate": "moon"}))
    with pytest.raises(CheckpointError):
        read_policy(tmp_path)
    (tmp_path / "policy.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(CheckpointError, match="of version 99"):
        read_policy(tmp_path)
