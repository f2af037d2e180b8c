from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.folder import MANIFEST, NANO_FOLDER
from tests.conftest import ROOT, Athena
from tests.models.hub import serving


def test_model_info_tells_sizes_memory_and_cutoff(athena: Athena) -> None:
    done = athena("model", "info", "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert info["name"] == "athena-olmoe-nano"
    assert info["memory_bytes"] == {
        "float32": 4 * info["parameters"],
        "bfloat16": 2 * info["parameters"],
    }
    assert info["active_parameters"] < info["parameters"] < info["trainable_parameters"]
    assert info["context_tokens"] >= 512
    assert info["training_cutoff"] == "2007-12-31"
    assert {"path", "hidden_size"} <= info.keys()


def test_model_info_for_people_names_the_cutoff(athena: Athena) -> None:
    shown = athena("model", "info").stdout
    assert "training cut-off" in shown
    assert "2007-12-31" in shown


def test_model_info_of_a_missing_folder_is_an_error(athena: Athena) -> None:
    done = athena("model", "info", "--json", "--set", "olmoe.model_path=/no/such/folder")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "ModelError"
    assert "/no/such/folder" in error["message"]


def test_model_info_of_a_hub_id_says_how_to_fetch_it(athena: Athena) -> None:
    done = athena("model", "info", "--set", "olmoe.model_path=allenai/OLMoE-1B-7B-0924")
    assert done.returncode == 1
    assert "athena model download allenai/OLMoE-1B-7B-0924" in done.stderr


def test_model_download_offline_says_the_other_way(athena: Athena, tmp_path: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = athena("model", "download", "allenai/OLMoE-1B-7B-0924", "--json", env=env)
    assert done.returncode == 1
    assert "olmoe.model_path" in json.loads(done.stdout)["error"]["cure"]


def test_model_download_fetches_weights_and_neither_pickles_nor_code(
    athena: Athena, tmp_path: Path
) -> None:
    model_id, source, target = "allenai/OLMoE-1B-7B-0924", tmp_path / "hub", tmp_path / "here"
    shutil.copytree(NANO_FOLDER, source)
    (source / MANIFEST).unlink()
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    (source / "modeling_olmoe.py").write_text("raise SystemExit('code of the hub ran')")
    with serving(model_id, source) as (address, asked):
        env = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
        done = athena("model", "download", model_id, "--out", str(target), "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert set(asked) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert json.loads(done.stdout) == {"path": str(target), "manifest": str(target / MANIFEST)}
    info = athena("model", "info", "--json", "--set", f"olmoe.model_path={target}")
    found = json.loads(info.stdout)
    assert (found["name"], found["training_cutoff"]) == (model_id, "2024-09-01")
    (target / "config.json").write_text("{}")
    again = athena("model", "info", "--json", "--set", f"olmoe.model_path={target}")
    assert json.loads(again.stdout)["error"]["kind"] == "ModelError"


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["model", "eval", "--data", "nowhere.csv"], 2, "DataError"),
        (["model", "eval", "--set", "olmoe.device=cuda:99"], 1, "ModelError"),
        (["model", "build", "--preset", "huge"], 2, "UsageError"),
        (["model", "build", "--out", "file/below"], 2, "UsageError"),
    ],
    ids=["data", "device", "preset", "folder"],
)
def test_a_mistake_is_told_in_json_before_the_work_begins(
    athena: Athena, tmp_path: Path, words: list[str], code: int, kind: str
) -> None:
    (tmp_path / "file").write_text("")
    done = athena(*words, "--json")
    assert done.returncode == code, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == kind
    assert error["message"]
    assert error["cure"]
    assert len(done.stderr.splitlines()) <= 2


def test_model_eval_refuses_another_horizon(athena: Athena) -> None:
    done = athena("model", "eval", "--horizon", "10", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "UsageError"


@pytest.mark.slow
def test_model_eval_on_a_file_has_every_key(athena: Athena) -> None:
    done = athena("model", "eval", "--data", "mock", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ("narratives", "prose"):
        assert {"model", "trigram", "tokens"} == found["perplexity"][kind].keys()
    names = [row["name"] for row in found["forecast"]["rows"]]
    assert names == ["athena-olmoe-nano", "climatology", "ewma_volatility", "logistic_regression"]
    for row in found["forecast"]["rows"]:
        assert row["interval"][0] <= row["log_score"] <= row["interval"][1]
    pairs = {(each["name"], each["baseline"]) for each in found["forecast"]["differences"]}
    assert ("athena-olmoe-nano", "climatology") in pairs
    for row in found["forecast"]["differences"]:
        assert {"name", "baseline", "figure", "difference", "interval"} == row.keys()
    assert {"train_symbols", "test_symbols", "train_end", "test_start"} <= found["split"].keys()


PROBE = """
import sys
sys.path.insert(0, {root!r})
sys.argv = ["athena", *{words!r}]
import atexit, main
atexit.register(lambda: print("loaded", sorted(set(sys.modules) & {{"torch", "transformers", "peft"}})))
main.cli()
"""


@pytest.mark.parametrize(
    "words",
    [
        ["backtest", "--agents", "rules", "--start", "2012-06-01", "--end", "2012-09-01"],
        ["model", "info"],
        ["model", "--help"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_never_imports_torch(words: list[str], tmp_path: Path) -> None:
    probe = PROBE.format(root=str(ROOT), words=words)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"
