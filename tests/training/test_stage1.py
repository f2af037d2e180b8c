"""Stage 1 on a tiny model of the real class: what it leaves, what it refuses, that it can be resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.config import AthenaConfig, OLMoEIntegrationConfig, Stage1Config, load
from core.errors import CheckpointError, DataError, TrainingError
from models.olmoe import OLMoEModel
from models.serving import adapter_cutoff, load_forecaster, load_model, training_cutoff
from tests.conftest import ROOT, Athena
from tests.models.conftest import make_tiny
from training.stage1_finetune.finetune import (
    _memory_error,
    _require_finite_checkpoint,
    _set_aside_incomplete,
    last_complete,
)
from training.stage1_finetune.prepare import Stage1Data, prepare


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny")


def words(tiny: Path, checkpoints: Path, **settings: Any) -> list[str]:
    given = {"steps": 4, "eval_steps": 2, "batch_rows": 2, "context_tokens": 128} | settings
    sets = [f"--set=training.stage1.{name}={value}" for name, value in given.items()]
    return [
        str(ROOT / "main.py"), "train", "stage1", "--json", *sets, f"--set=olmoe.model_path={tiny}",
        "--set=olmoe.device=cpu", f"--set=checkpoint_dir={checkpoints}",
    ]  # fmt: skip


def trained(arguments: list[str], *launcher: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *launcher, *arguments], capture_output=True, text=True, check=False,
        timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One whole run of ten steps."""
    return trained(words(tiny, tmp_path_factory.mktemp("whole"), steps=10))


@pytest.mark.slow
def test_a_run_leaves_an_adapter_a_card_and_curves(tiny: Path, run: dict[str, Any]) -> None:
    adapter = Path(run["checkpoint"])
    assert run["steps"] == 10
    assert run["training_cutoff"] == "2007-12-31"
    assert {"perplexity_before", "perplexity_after"} <= set(run["metrics"])
    card = (adapter / "MODEL_CARD.md").read_text()
    assert "Training cut-off: **2007-12-31**" in card
    assert (Path(run["run_dir"]) / "curves.png").stat().st_size > 1000
    manifest = json.loads((Path(run["run_dir"]) / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert manifest["model"]["training_cutoff"] == "2007-12-31"


@pytest.mark.slow
def test_the_forecaster_uses_the_adapter_that_the_configuration_names(
    tiny: Path, run: dict[str, Any]
) -> None:
    base = OLMoEIntegrationConfig(model_path=tiny, device="cpu")
    named = base.model_copy(update={"adapter_path": Path(run["checkpoint"])})
    files = prepare([], Stage1Config(context_tokens=128), load_model(base))
    states = [each.state for each in files.validation_samples[:8]]
    before = load_forecaster(base).forecast(states)
    after = load_forecaster(named).forecast(states)
    assert abs(before - after).max() > 1e-4
    # What the memory policy loads is the base, whatever the forecaster uses.
    assert not OLMoEModel(named).load().has_adapter
    assert training_cutoff(named) == adapter_cutoff(Path(run["checkpoint"]))


@pytest.mark.slow
def test_training_stops_early_and_leaves_the_best_step(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    # So large a step that the validation gets worse at once, and stays so.
    found = trained(words(tiny, tmp_path, steps=12, eval_steps=1, patience=3, learning_rate=0.1))
    history = json.loads((Path(found["run_dir"]) / "log.json").read_text())
    losses = {row["step"]: row["eval_loss"] for row in history if "eval_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert found["stopped_early"]
    assert found["steps"] == best + 3 == max(losses)
    card = json.loads((Path(found["checkpoint"]) / "stage1.json").read_text())
    assert card["best_step"] == best
    kept = Path(found["run_dir"]) / "checkpoints" / f"checkpoint-{best}"
    left = sorted(load_file(Path(found["checkpoint"]) / "adapter.safetensors").items())
    saved = sorted(load_file(kept / "adapter_model.safetensors").items())
    assert len(left) == len(saved) > 0
    assert all(bool((a == b).all()) for (_, a), (_, b) in zip(left, saved, strict=True))


@pytest.mark.slow
def test_another_backbone_refuses_the_adapter(run: dict[str, Any], tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", seed=1)
    config = OLMoEIntegrationConfig(
        model_path=other, device="cpu", adapter_path=Path(run["checkpoint"])
    )
    with pytest.raises(CheckpointError, match="was trained on the backbone"):
        load_model(config)


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_weights(
    tiny: Path, run: dict[str, Any], tmp_path: Path
) -> None:
    arguments = words(tiny, tmp_path, steps=10)
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("*/checkpoints/checkpoint-4/complete.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = next(tmp_path.iterdir())
    # A half-written checkpoint must not be taken for one.
    half = begun / "checkpoints" / "checkpoint-9"
    half.mkdir()
    (half / "trainer_state.json").write_text("{")
    resumed = trained([*arguments, "--resume", "last"])
    assert Path(resumed["run_dir"]) == begun
    whole = Path(run["checkpoint"]) / "adapter.safetensors"
    assert (Path(resumed["checkpoint"]) / "adapter.safetensors").read_bytes() == whole.read_bytes()


RECIPE = {
    "lora_experts": False, "gradient_checkpointing": True, "accumulation_steps": 2, "sharded": True,
}  # fmt: skip
"""As `configs/olmoe-1b-7b.yaml` has it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "settings"), [(2, {}), (2, {"sharded": True}), (1, RECIPE)], ids=["ddp", "fsdp2", "7b"]
)
def test_two_processes_train_as_one_with_twice_the_rows(
    tiny: Path, tmp_path: Path, rows: int, settings: dict[str, Any]
) -> None:
    from safetensors.torch import load_file

    experts = settings.get("lora_experts", True)
    one = trained(words(tiny, tmp_path / "one", batch_rows=4, lora_experts=experts))
    log = tmp_path / "log"
    two = trained(
        [*words(tiny, tmp_path / "two", batch_rows=rows, **settings), "-v", f"--log-file={log}"],
        "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
    )  # fmt: skip
    weights = [load_file(Path(each["checkpoint"]) / "adapter.safetensors") for each in (one, two)]
    assert max(float(each.abs().max()) for name, each in weights[0].items() if "lora_B" in name) > 0
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-4
    kept = re.findall(r"keeps (\d+) of the (\d+) weights", log.read_text())
    assert len(kept) == (2 if "sharded" in settings else 0)
    for part, whole in kept:
        assert int(part) == pytest.approx(int(whole) / 2, rel=0.05)


def test_the_recipe_of_the_large_model_shards_as_it_is_tested_here() -> None:
    recipe = load([ROOT / "configs" / "olmoe-1b-7b.yaml"]).config.training.stage1
    assert recipe.accumulation_steps > 1
    assert RECIPE.items() - {("accumulation_steps", 2)} <= recipe.model_dump().items()


def test_a_checkpoint_counts_only_when_every_file_is_what_its_mark_says(tmp_path: Path) -> None:
    from models.folder import sha256

    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"w")
        marks = {"weights": sha256(folder / "weights")}
        (folder / "complete.json").write_text(json.dumps(marks))
    assert last_complete(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4" / "weights").write_bytes(b"x")
    assert last_complete(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "complete.json").unlink()
    assert last_complete(tmp_path) is None


def test_a_checkpoint_that_is_not_what_its_mark_says_is_set_aside(tmp_path: Path) -> None:
    from models.folder import sha256

    for step in (2, 4, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"w")
        (folder / "complete.json").write_text(json.dumps({"weights": sha256(folder / "weights")}))
    (tmp_path / "checkpoint-4" / "weights").write_bytes(b"of worth")
    (tmp_path / "checkpoint-6" / "complete.json").unlink()
    _set_aside_incomplete(tmp_path, last_complete(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-2", "set-aside-checkpoint-4", "set-aside-checkpoint-6",
    ]  # fmt: skip
    assert (tmp_path / "set-aside-checkpoint-4" / "weights").read_bytes() == b"of worth"


def test_a_checkpoint_with_nan_in_it_is_refused_by_name(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"good": torch.ones(2)}, tmp_path / "a.safetensors")
    _require_finite_checkpoint(tmp_path)
    save_file(
        {"good": torch.ones(2), "bad": torch.full((2,), torch.nan)}, tmp_path / "b.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"b\.safetensors has NaN or infinite weights: bad"):
        _require_finite_checkpoint(tmp_path)


def test_out_of_memory_names_the_settings_to_lower() -> None:
    ran_out = RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    )
    told = _memory_error(ran_out, Stage1Config(batch_rows=64))
    assert isinstance(told, TrainingError)
    assert "batch_rows 64" in told.message
    assert "Lower training.stage1.batch_rows" in told.cure
    other = RuntimeError("shapes differ")
    assert _memory_error(other, Stage1Config()) is other


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_memory_that_runs_out_while_training_is_told(tiny: Path, tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))

    # The logits alone of 4,096 rows of 128 tokens and 2,048 words are 4 GiB.
    done = subprocess.run(
        [sys.executable, *words(tiny, tmp_path, steps=1, batch_rows=4096)],
        capture_output=True, text=True, check=False, preexec_fn=limit, timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    told = json.loads(done.stdout)["error"]
    assert told["kind"] == "TrainingError"
    assert "batch_rows 4096" in told["message"]
    assert "Lower training.stage1.batch_rows" in told["cure"]


def prices(path: Path, closes: list[float]) -> Path:
    days = pd.bdate_range("2015-01-05", periods=len(closes)).strftime("%Y-%m-%d")
    pd.DataFrame({"date": days, "symbol": "A", "close": closes, "open": closes, "high": closes,
                  "low": closes}).to_csv(path, index=False)  # fmt: skip
    return path


def test_prices_that_never_move_or_always_rise_are_refused(tiny: Path, tmp_path: Path) -> None:
    model = load_model(OLMoEIntegrationConfig(model_path=tiny, device="cpu"))
    rising = prices(tmp_path / "rising.csv", [10.0 * 1.01**at for at in range(300)])
    with pytest.raises(DataError, match="only one kind of answer"):
        prepare([rising], Stage1Config(context_tokens=128), model)
    short = prices(tmp_path / "short.csv", [10.0, 11.0, 10.5] * 10)
    with pytest.raises(DataError, match="no answers"):
        prepare([short], Stage1Config(context_tokens=128), model)


def test_every_file_after_data_is_read_and_a_broken_one_is_told(
    tiny: Path, tmp_path: Path, athena: Athena
) -> None:
    good, broken = tmp_path / "good.csv", tmp_path / "broken.csv"
    good.write_text("time,text\n2015-06-01T14:30:00Z,a text of the first day\n")
    broken.write_text("time,headline\n2015-06-01 14:30,a text without a zone\n")
    model = f"--set=olmoe.model_path={tiny}"
    done = athena("train", "stage1", "--data", str(good), str(broken), model, "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)["error"]
    assert "broken.csv has a time without a zone" in told["message"]
    assert "2015-06-01T14:30:00Z" in told["cure"]
    assert not (tmp_path / "checkpoints").exists()
    stray = athena("train", "stage1", str(good), model)
    assert "files come after --data" in stray.stderr


def texts(path: Path, *more: tuple[str, str]) -> Path:
    """A text a working day about A, and more of one's own."""
    days = pd.bdate_range("2015-01-05", periods=390)
    rows = [
        (f"{day:%Y-%m-%d}T15:00:00Z", f"report {at} of the day about orders")
        for at, day in enumerate(days)
    ]
    table = pd.DataFrame([*rows, *more], columns=["time", "text"])
    table.assign(symbol="A", licence="CC0-1.0").to_csv(path, index=False)
    return path


def walk(path: Path) -> Path:
    moves = np.random.default_rng(0).normal(0, 0.02, 400)
    return prices(path, list(100 * np.exp(np.cumsum(moves))))


def test_no_text_reaches_past_its_state_and_a_planted_one_from_the_future_is_left_out(
    tiny: Path, tmp_path: Path
) -> None:
    model = load_model(OLMoEIntegrationConfig(model_path=tiny, device="cpu"))
    planted = ("2015-06-15T15:00:00Z", "as was seen on 2015-07-20 the great quokka crash came")
    files = [texts(tmp_path / "texts.csv", planted), walk(tmp_path / "walk.csv")]
    data = prepare(files, Stage1Config(context_tokens=256), model)
    assert data.about["text"]["dropped"]["names a later date than its own"] == 1
    rows = [
        *data.language,
        *data.supervised,
        *data.language_validation,
        *data.supervised_validation,
    ]
    assert not any("quokka" in model.tokenizer.decode(list(row.tokens)) for row in rows)
    told = [each for each in data.validation_samples if each.state.news]
    assert len(told) > 20
    assert all(line.time <= each.state.as_of for each in told for line in each.state.news)
    # Nothing that is trained on lies after the cut-off, and validation begins after it.
    assert data.training_cutoff < min(each.state.as_of for each in data.validation_samples).date()
    assert {each["kind"] for each in data.about["files"]} == {"text", "prices"}
    assert all(len(each["sha256"]) == 64 for each in data.about["files"])
    assert data.about["text"]["train"]["licences"].keys() == {"CC0-1.0"}


def test_a_control_deals_the_same_answers_out_anew(tiny: Path, tmp_path: Path) -> None:
    model = load_model(OLMoEIntegrationConfig(model_path=tiny, device="cpu"))
    files = [texts(tmp_path / "texts.csv"), walk(tmp_path / "walk.csv")]
    settings = Stage1Config(context_tokens=128)
    real = prepare(files, settings, model)
    control = prepare(files, settings.model_copy(update={"shuffled_answers": True}), model)

    def asked(data: Stage1Data) -> list[tuple[int, ...]]:
        return [row.tokens[: row.first_loss] for row in data.supervised]

    def answers(data: Stage1Data) -> list[tuple[int, ...]]:
        return [row.tokens[row.first_loss :] for row in data.supervised]

    assert asked(control) == asked(real)
    assert answers(control) != answers(real)
    assert sorted(answers(control)) == sorted(answers(real))
    assert control.climatology == real.climatology
    assert control.about["supervised"]["shuffled_answers"]
    assert not real.about["supervised"]["shuffled_answers"]


def test_resume_takes_no_other_options(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "train", "stage1", "--resume", "last", "--steps", "3"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "give it alone" in done.stderr


def test_the_configuration_is_one() -> None:
    assert AthenaConfig().training.stage1 == Stage1Config()
