from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config import OLMoEIntegrationConfig
from core.errors import ModelError
from models.device import check_torch_version, pick_device
from models.folder import MANIFEST, NANO_FOLDER, open_folder, resolve, write_manifest
from models.olmoe import OLMoEModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def load(folder: Path) -> OLMoEModel:
    return OLMoEModel(OLMoEIntegrationConfig(device="cpu")).load(folder)


def change_weights(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Write other weights and a manifest that agrees with them: what transformers would load silently."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    for name, value in change.items():
        if value is None:
            del weights[name]
        else:
            weights[name] = value
    save_file(weights, path)
    about = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    from datetime import date

    write_manifest(
        folder, name=about["name"], training_cutoff=date.fromisoformat(about["training_cutoff"])
    )


def test_a_missing_folder_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder .*olmoe\.model_path"):
        load(tmp_path / "nowhere")


def test_another_architecture_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="holds LlamaForCausalLM, not OlmoeForCausalLM"):
        load(folder)


def test_a_truncated_file_is_told_from_its_length(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated or altered"):
        load(folder)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="truncated or no safetensors"):
        load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_flipped_bit_is_told_by_its_hash(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    place = len(content) - 40 if name.endswith("safetensors") else content.index(b"\n")
    content[place] ^= 0x01 if name.endswith("safetensors") else 0x2A
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=f"{name}.* not the file that its manifest names"):
        load(folder)


def test_pickled_weights_are_not_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled weights \(pytorch_model.bin\)"):
        load(folder)


def test_missing_weights_are_told(folder: Path) -> None:
    change_weights(folder, {"model.layers.1.self_attn.q_norm.weight": None})
    with pytest.raises(ModelError, match=r"do not fit its config .*missing_keys"):
        load(folder)


def test_missing_expert_weights_are_told(folder: Path) -> None:
    change_weights(folder, {"model.layers.1.mlp.experts.down_proj": None})
    with pytest.raises(ModelError, match=r"do not fit its config .*missing_keys"):
        load(folder)


def test_unexpected_weights_are_told(folder: Path) -> None:
    change_weights(folder, {"model.layers.7.more": torch.ones(3)})
    with pytest.raises(ModelError, match=r"do not fit its config .*unexpected_keys"):
        load(folder)


def test_weights_of_another_shape_are_told(folder: Path) -> None:
    change_weights(folder, {"model.norm.weight": torch.ones(17)})
    with pytest.raises(ModelError, match=r"mismatch|do not fit"):
        load(folder)


def test_weights_that_are_not_finite_are_told(folder: Path) -> None:
    change_weights(folder, {"model.norm.weight": torch.full((16,), torch.nan)})
    with pytest.raises(ModelError, match=r"model\.norm\.weight .* is not finite"):
        load(folder)


def test_a_damaged_tokenizer_is_told(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / "tokenizer.json").write_text("{")
    config = OLMoEIntegrationConfig(training_cutoff="2007-12-31")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"tokenizer .* cannot be read"):
        OLMoEModel(config).load(folder)


def test_a_model_without_a_training_cutoff_is_refused_until_one_is_given(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"up to when .*olmoe\.training_cutoff"):
        load(folder)
    config = OLMoEIntegrationConfig(training_cutoff="2010-01-31")  # type: ignore[arg-type]
    assert str(OLMoEModel(config).load(folder).training_cutoff) == "2010-01-31"


def test_too_little_memory_is_told_before_loading(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.olmoe.available_bytes", lambda: 1000)
    with pytest.raises(ModelError, match=r"needs 0\.0 GiB in float32; 0\.0 GiB are free"):
        load(folder)


def test_an_old_torch_is_refused() -> None:
    with pytest.raises(ModelError, match=r"torch is 1\.13\.1; 2\.0 is the oldest"):
        check_torch_version("1.13.1")
    check_torch_version("2.13.0+cpu")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="no device"):
        pick_device("gpu")
    with pytest.raises(ModelError, match="cuda:99 is not there"):
        pick_device("cuda:99")


def test_what_looks_like_a_hub_id_is_one_only_where_no_folder_has_that_name(tmp_path: Path) -> None:
    assert resolve(None) == NANO_FOLDER
    assert resolve("allenai/OLMoE-1B-7B-0924") == "allenai/OLMoE-1B-7B-0924"
    assert resolve(tmp_path) == tmp_path
    assert resolve("/somewhere/else/far") == Path("/somewhere/else/far")


def test_a_hub_that_cannot_be_reached_says_the_offline_way(tmp_path: Path) -> None:
    probe = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from models.olmoe import OLMoEModel\n"
        "from core.errors import ModelError\n"
        "try:\n    OLMoEModel().load('allenai/OLMoE-1B-7B-0924')\n"
        "except ModelError as error:\n    print(error)\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=env
    )
    assert "could not be fetched" in done.stdout
    assert "athena model download" in done.stdout
    assert "olmoe.model_path" in done.stdout


def test_counts_come_from_the_headers(tiny_folder: Path) -> None:
    total, active = open_folder(tiny_folder).weight_counts()
    # 2048 x 16 embeddings; per layer 4 x 16 x 16 attention, 4 norms of 16, a router of 4 x 16 and
    # 4 experts of 3 x 16 x 8; a last norm of 16.
    layer = 4 * 256 + 4 * 16 + 64
    assert total == 2048 * 16 + 2 * (layer + 4 * 384) + 16
    assert active == 2048 * 16 + 2 * (layer + 2 * 384) + 16
