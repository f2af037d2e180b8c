from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import AthenaConfig
from core.errors import CheckpointError, UsageError
from models.olmoe import OLMoEModel
from training.nano import pretrain as loop
from training.nano.build import build, build_preset
from training.nano.preset import NANO, Finish, Preset
from training.nano.pretrain import Rows, olmoe_config, pack, pretrain, rate_frac

TINY = replace(
    NANO,
    name="tiny",
    hidden_size=16,
    intermediate_size=8,
    layers=1,
    heads=2,
    experts=4,
    context_tokens=32,
    batch_rows=4,
)


def rows(count: int = 48) -> Rows:
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 40, (count, 33)).astype(np.uint16)
    tokens[:, 10], tokens[:, 11] = 7, 5
    return Rows(tokens, answers=(5, 6), colon=7)


def train(
    folder: Path, made: Rows, preset: Preset = TINY, seed: int = 0
) -> dict[str, torch.Tensor]:
    model = pretrain(preset, made, olmoe_config(preset, 0, 1), seed=seed, folder=folder)
    return dict(model.state_dict())


def test_rows_hold_every_token_after_its_end_of_text() -> None:
    packed = pack([[5, 6], [7, 8, 9]], end_of_text=0, context_tokens=3)
    # the stream is 0 5 6 0 7 8 9: rows of 4 that overlap by one
    assert packed.tolist() == [[0, 5, 6, 0], [0, 7, 8, 9]]


def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [rate_frac(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9] == pytest.approx(1.0)
    assert rates[-1] < 0.03
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_a_resumed_build_ends_like_one_that_ran_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_STEPS", 5)
    whole = train(tmp_path / "whole", rows())

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(loop, "LOG_EVERY_STEPS", 7)
    monkeypatch.setattr(loop, "_log", stop)
    with pytest.raises(Stopped):
        train(tmp_path / "part", rows())
    monkeypatch.undo()
    resumed = train(tmp_path / "part", rows())
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first = train(tmp_path / "a", rows(400))
    again = train(tmp_path / "b", rows(400))
    other = train(tmp_path / "c", rows(400), seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.norm.weight"], other["model.norm.weight"])
    lines = (tmp_path / "a" / "loss.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < losses[0] < np.log(2048)


def test_another_builds_checkpoint_is_refused(tmp_path: Path) -> None:
    train(tmp_path, rows())
    with pytest.raises(CheckpointError, match="seed 0; this one has 12 and 1"):
        train(tmp_path, rows(), seed=1)


def test_an_unknown_preset_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no preset 'huge'.*nano"):
        build("huge", tmp_path, AthenaConfig())


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file cannot be made: Not a directory.*--out"):
        build("nano", tmp_path / "file", AthenaConfig())


@pytest.mark.slow
def test_a_build_makes_a_folder_that_loads(tmp_path: Path) -> None:
    preset = replace(
        TINY,
        context_tokens=128,
        simulated_paths=4,
        real_copies=1,
        prose_epochs=1,
        batch_rows=64,
        finish=Finish(paths=2, bars=90, draws=20, batch_rows=256),
    )
    manifest = build_preset(preset, tmp_path / "made", seed=3)
    model = OLMoEModel().load(manifest.parent)
    assert model.name == "tiny"
    assert str(model.training_cutoff) == "2007-12-31"
    log = json.loads((manifest.parent / "training-log.json").read_text())
    assert log["corpus"]["narratives"] > 3000
    assert log["loss"][-1]["loss"] < log["loss"][0]["loss"]
    assert log["finish"][-1]["step"] == 20
    assert not (manifest.parent / ".build").exists()
