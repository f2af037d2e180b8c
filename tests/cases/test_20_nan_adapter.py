"""Case 20: an adapter of NaN would abstain at every step, and nobody would be told."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import CheckpointError
from models.adapters import ADAPTER, MANIFEST
from models.olmoe import OLMoEModel
from tests.cases.conftest import Desk


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the shipped model as it is before any training: a no-op, and finite."""
    model = OLMoEModel().load()
    model.add_lora(rank=2, experts=False)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_lora(folder)
    (folder / "stage1.json").write_text('{"training_cutoff": "2007-12-31"}')
    return folder


def spoilt(sound: Path, folder: Path, part: str, value: float, count: int | None) -> Path:
    """A copy with `count` numbers (None: all) of the matrices called so set to a value, its hash right."""
    shutil.copytree(sound, folder)
    matrices = load_file(folder / ADAPTER)
    for name, matrix in matrices.items():
        if part in name:
            matrix.view(-1)[: matrix.numel() if count is None else count] = value
            if count is not None:
                break
    save_file(matrices, folder / ADAPTER)
    about = json.loads((folder / MANIFEST).read_text())
    about["sha256"] = hashlib.sha256((folder / ADAPTER).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    ("part", "value", "count"),
    [("lora_B", float("nan"), None), ("lora_A", float("nan"), 1), ("lora_B", float("inf"), 1)],
    ids=["all of B", "one number of A", "an infinity"],
)
def test_a_backtest_refuses_it_by_name(
    desk: Callable[[str], Desk], sound: Path, part: str, value: float, count: int | None
) -> None:
    at = desk("")
    spoilt(sound, at.path / "nan", part, value, count)
    told = at.run(
        "backtest", "--symbols", "AAPL,IBM", "--start", "2012-11-01", "--end", "2012-11-07",
        "--set", "olmoe.adapter_path=nan", "--json",
    )  # fmt: skip
    assert told.code == 1
    assert told.answer["error"]["kind"] == "CheckpointError"
    assert str(Path("nan") / ADAPTER) in told.answer["error"]["message"]
    assert "NaN or infinite" in told.answer["error"]["message"]


def test_a_sound_adapter_is_taken(sound: Path) -> None:
    model = OLMoEModel().load()
    model.load_lora(sound)
    assert any("lora_B" in name for name, _ in model.backbone.named_parameters())


def test_a_training_that_diverged_leaves_no_adapter(tmp_path: Path) -> None:
    model = OLMoEModel().load()
    model.add_lora(rank=2, experts=False)
    with torch.no_grad():
        next(each for name, each in model.backbone.named_parameters() if "lora_B" in name).fill_(
            float("nan")
        )
    with pytest.raises(CheckpointError, match="diverged"):
        model.save_lora(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / ADAPTER).exists()


@pytest.mark.slow
def test_the_case_as_it_is_written(desk: Callable[[str], Desk]) -> None:
    import runpy
    import sys

    at = desk("20-nan-adapter")
    made = at.run("--version")  # moves into the folder
    assert made.code == 0
    runpy.run_path(str(at.path / "mk.py"))
    with (at.path / "posts.csv").open() as file:
        assert len(list(csv.reader(file))) == 161
    trained = at.ask(
        "train", "stage1", "--data", "posts.csv", "--set", "training.stage1.language_frac=1.0",
        "--steps", "2",
    )  # fmt: skip
    words, sys.argv = sys.argv, ["mkad.py", trained["checkpoint"]]
    try:
        runpy.run_path(str(at.path / "mkad.py"))
    finally:
        sys.argv = words
    told = at.run(
        "backtest", "--symbols", "AAPL,IBM", "--start", "2012-11-01", "--end", "2012-11-07",
        "--set", "olmoe.adapter_path=nan", "--json",
    )  # fmt: skip
    assert told.code == 1
    assert "nan" in told.answer["error"]["message"]
