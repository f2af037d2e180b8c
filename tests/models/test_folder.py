from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config import OLMoEIntegrationConfig
from core.errors import ModelError
from models.device import check_torch_version, pick_device
from models.folder import (
    MANIFEST,
    NANO_FOLDER,
    available_bytes,
    open_folder,
    resolve,
    write_manifest,
)
from models.olmoe import HEAD_SHAPE, MemoryActionHead, OLMoEModel

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
    with pytest.raises(ModelError, match="do not have the shapes that its config names"):
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


# --- what is written by others


def edit(path: Path, **changes: object) -> None:
    found = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del found[key]
        else:
            found[key] = value
    path.write_text(json.dumps(found))


def sign(folder: Path) -> None:
    """A manifest that agrees with whatever lies in the folder now."""
    (folder / MANIFEST).unlink()
    write_manifest(folder, name="tiny", training_cutoff=date(2007, 12, 31))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": None}, "does not say num_hidden_layers"),
        ({"max_position_embeddings": None}, "does not say max_position_embeddings"),
        ({"intermediate_size": "8"}, "does not say intermediate_size in whole numbers"),
        ({"hidden_size": -16}, "does not say hidden_size"),
        ({"vocab_size": True}, "does not say vocab_size"),
        ({"num_experts_per_tok": 5}, "asks 5 of 4 experts"),
        ({"architectures": 5}, "not OlmoeForCausalLM"),
        ({"architectures": "OlmoeForCausalLM"}, "not OlmoeForCausalLM"),
        ({"vocab_size": 10**10}, r"embed_tokens.* \[2048, 16\], \[10000000000, 16\] by its config"),
        ({"hidden_act": "nope"}, "cannot be loaded: KeyError: 'nope'"),
        ({"clip_qkv": "no"}, "cannot be loaded"),
    ],
    ids=str,
)
def test_a_config_that_says_nonsense_is_told(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    edit(folder / "config.json", **changes)
    sign(folder)
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_json_that_is_nested_too_deep_is_told(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training_cutoff": "soon"}, "says 'soon' as training_cutoff, which is no date"),
        ({"training_cutoff": 5}, "says 5 as training_cutoff"),
        ({"files": ["config.json"]}, "does not name the model and its files"),
        ({"files": None}, "does not name the model and its files"),
        ({"files": {"../config.json": "0"}}, "does not name the model and its files"),
        ({"name": 5}, "does not name the model and its files"),
    ],
    ids=str,
)
def test_a_manifest_that_says_nonsense_is_told(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    edit(folder / MANIFEST, **changes)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_manifest_that_leaves_a_file_out_vouches_for_none(folder: Path, name: str) -> None:
    files = json.loads((folder / MANIFEST).read_text())["files"]
    del files[name]
    edit(folder / MANIFEST, files=files)
    with pytest.raises(ModelError, match=f"has no SHA-256 of {name}"):
        load(folder)


def test_weights_of_a_kind_that_is_not_computed_with_are_told(folder: Path) -> None:
    change_weights(folder, {"model.norm.weight": torch.ones(16, dtype=torch.int8)})
    with pytest.raises(ModelError, match=r"model\.norm\.weight .* has the dtype I8"):
        load(folder)


def test_a_pickle_under_the_name_of_safetensors_is_told(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    sign(folder)
    with pytest.raises(ModelError, match="truncated or no safetensors file"):
        load(folder)


@pytest.mark.parametrize("content", ['{"model": {}}', '{"model": {"type": "BPE", "vocab": {}}}'])
def test_a_tokenizer_that_is_none_is_told(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    sign(folder)
    with pytest.raises(ModelError, match=r"tokenizer\.json is no tokenizer"):
        load(folder)


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        (None, None, "hidden_size feature_size width"),
        ("16 x", None, "invalid literal"),
        ("16 3 128", None, "size mismatch"),
        ("16 0 128", torch.nan, "it is not finite"),
        ("32 0 128", None, "it takes embeddings of 32, the model gives 16"),
    ],
)
def test_a_damaged_head_is_told(
    folder: Path, shape: str | None, change: float | None, message: str
) -> None:
    head = MemoryActionHead(16).state_dict()
    if change is not None:
        head["out.bias"] = head["out.bias"] * 0.0 + change
    metadata = None if shape is None else {HEAD_SHAPE: shape}
    save_file(head, folder / "action_head.safetensors", metadata=metadata)
    sign(folder)
    with pytest.raises(ModelError, match=f"action head .* cannot be loaded: .*{message}"):
        load(folder)


# --- the layout of published models


def publish(folder: Path, target: Path, *, without: str = "", more: str = "") -> Path:
    """The same model as the hub has OLMoE: an expert's matrices apart, in two files with an index."""
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        part = name.rpartition(".")[2]
        if part not in {"gate_up_proj", "down_proj"}:
            weights[name] = tensor
            continue
        for number, matrix in enumerate(tensor):
            front = name.removesuffix(part) + str(number)
            if part == "down_proj":
                weights[f"{front}.down_proj.weight"] = matrix.contiguous()
            else:
                gate, up = matrix.chunk(2)
                weights[f"{front}.gate_proj.weight"] = gate.contiguous()
                weights[f"{front}.up_proj.weight"] = up.contiguous()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    if without:
        del weights[without]
    if more:
        weights[more] = torch.ones(8, 16)
    target.mkdir()
    names, places = sorted(weights), {}
    for number in (0, 1):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        chosen = {name: weights[name] for name in names[number::2]}
        save_file(chosen, target / file, metadata={"format": "pt"})
        places |= dict.fromkeys(chosen, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (target / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(folder / "config.json", target)
    shutil.copy(folder / "tokenizer.json", target)
    edit(target / "config.json", tie_word_embeddings=False)
    return target


PUBLISHED = OLMoEIntegrationConfig(device="cpu", training_cutoff=date(2007, 12, 31))


def test_a_model_as_the_hub_has_it_gives_the_same_vectors(
    tiny_folder: Path, tmp_path: Path
) -> None:
    model = OLMoEModel(PUBLISHED).load(publish(tiny_folder, tmp_path / "published"))
    ours = load(tiny_folder)
    torch.testing.assert_close(model.encode("a share"), ours.encode("a share"), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        model.score("a share", [" rise", " fall"]), ours.score("a share", [" rise", " fall"])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": "model.layers.0.mlp.experts.2.up_proj.weight"}, "experts are not those"),
        ({"without": "model.layers.1.mlp.experts.3.down_proj.weight"}, "do not have the shapes"),
        ({"more": "model.layers.0.mlp.experts.4.up_proj.weight"}, "experts are not those"),
        ({"without": "model.layers.1.self_attn.q_norm.weight"}, "missing_keys"),
    ],
    ids=str,
)
def test_an_expert_too_few_or_too_many_is_told(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        OLMoEModel(PUBLISHED).load(publish(tiny_folder, tmp_path / "published", **changes))


@pytest.mark.parametrize("places", [["a"], {}, {"x": "../outside.safetensors"}, {"x": ""}], ids=str)
def test_an_index_that_names_no_files_of_the_folder_is_told(
    tiny_folder: Path, tmp_path: Path, places: object
) -> None:
    folder = publish(tiny_folder, tmp_path / "published")
    edit(folder / "model.safetensors.index.json", weight_map=places)
    with pytest.raises(ModelError, match="does not say which files hold the weights"):
        OLMoEModel(PUBLISHED).load(folder)


# --- memory


def test_a_container_has_the_memory_that_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert available_bytes(tmp_path) == 4000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("700000\n")
    (group / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    assert available_bytes(tmp_path) == 4000 * 1024
    (group / "memory.max").write_text("1000000\n")
    # 1,000,000 allowed, 700,000 taken, of which 200,000 are cached files that give way
    assert available_bytes(tmp_path) == 500_000
    (group / "memory.max").write_text("100000\n")
    assert available_bytes(tmp_path) == 0


@pytest.mark.parametrize(
    "name", ["num_hidden_layers", "num_experts", "intermediate_size", "vocab_size", "hidden_size"]
)
def test_a_config_of_far_more_weights_than_there_are_is_refused_before_it_is_built(
    folder: Path, name: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: 10**9}))
    (folder / MANIFEST).unlink()
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"1,?000,?000,?000"):
        open_folder(folder)
    assert time.monotonic() - start < 5.0
