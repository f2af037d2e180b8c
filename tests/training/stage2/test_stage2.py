"""`athena train stage2`, `eval` and `episodes` as a user runs them, at a small size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.errors import CheckpointError
from tests.conftest import ROOT
from training.stage2_agemem.checkpoint import (
    last_complete,
    read_metrics,
    read_trainer,
    require_safe_torch,
    set_aside_damaged,
    write_checkpoint,
)

SMALL = {
    "steps": 6, "batch_episodes": 2, "rollouts": 2, "eval_steps": 2, "eval_episodes": 4, "head_width": 8,
    "final_episodes": 0, "single_frac": 0.34, "multi_frac": 0.34, "patience": 50,
}  # fmt: skip
TIMES = ("operations_per_second", "seconds", "learning_seconds")


def command(folder: Path, *words: str, **settings: Any) -> list[str]:
    sets = [f"--set=training.stage2.{name}={value}" for name, value in (SMALL | settings).items()]
    return [
        sys.executable, str(ROOT / "main.py"), *sets, f"--set=checkpoint_dir={folder}", *words, "--json",
    ]  # fmt: skip


def run(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def without_times(run_dir: str) -> list[dict[str, Any]]:
    lines = read_metrics(Path(run_dir))
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(command(tmp_path_factory.mktemp("whole"), "train", "stage2", "--seed", "3"))


@pytest.mark.slow
def test_a_training_leaves_policies_curves_and_a_card(whole: dict[str, Any]) -> None:
    folder = Path(whole["run_dir"])
    assert [stage["stage"] for stage in whole["stages"]] == ["single", "multi", "unified"]
    assert whole["steps"] == 6
    for name in ("policy", "single", "multi", "unified"):
        about = json.loads((folder / name / "policy.json").read_text())
        assert about["seed"] == 3
    assert (folder / "curves.png").stat().st_size > 10_000
    assert "Validation accuracy" in (folder / "policy" / "MODEL_CARD.md").read_text()
    lines = read_metrics(folder)
    assert [line["update"] for line in lines] == list(range(6))
    for name in ("reward", "accuracy_frac", "kl", "entropy", "clip_frac", "skipped_groups"):
        assert name in lines[-1]
    assert set(lines[0]["actions_frac"]) == {
        "add", "update", "delete", "retrieve", "summary", "filter", "none",
    }  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_weights_and_curve(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    words = command(tmp_path, "train", "stage2", "--seed", "3")
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("*/checkpoints/update-0000004")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_dir = next(tmp_path.iterdir())
    with (run_dir / "metrics.jsonl").open("ab") as file:
        file.write(b'{"update": 99, "half a li')
    resumed = run([*command(tmp_path, "train", "stage2", "--resume", run_dir.name)])
    assert without_times(resumed["run_dir"]) == without_times(whole["run_dir"])
    for name in ("policy", "single", "multi", "unified"):
        weights = [
            json.loads((Path(each["run_dir"]) / name / "policy.json").read_text())["sha256"]
            for each in (whole, resumed)
        ]
        assert weights[0] == weights[1], name


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["lora", "all"])
@pytest.mark.parametrize("credit", ["evidence", "return_to_go"])
def test_other_weights_and_credits_train(tmp_path: Path, weights: str, credit: str) -> None:
    words = ["train", "stage2", "--stage", "multi", "--policy-weights", weights, "--credit", credit]
    found = run(command(tmp_path, *words, steps=2, lora_rank=2))
    about = json.loads((Path(found["checkpoint"]) / "policy.json").read_text())
    assert about["trained"] == weights
    assert [stage["stage"] for stage in found["stages"]] == ["multi"]


@pytest.mark.slow
def test_a_stage_ends_where_validation_stops_rising(tmp_path: Path) -> None:
    """Validated after every update, one without a better one is enough."""
    found = run(
        command(tmp_path, "train", "stage2", steps=6, eval_steps=1, patience=1, single_frac=0.9)
    )
    single = found["stages"][0]
    assert single["stage"] == "single"
    assert single["updates"] < 5  # its share of the six


def test_exploration_needs_a_credit_that_takes_it(tmp_path: Path) -> None:
    words = [
        "--set=learning.exploration_coefficient=0.1",
        "train",
        "stage2",
        "--credit",
        "evidence",
    ]
    done = subprocess.run(
        command(tmp_path, *words), capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "exploration_coefficient is 0.1" in done.stderr


@pytest.mark.slow
def test_exploration_trains(tmp_path: Path) -> None:
    words = ["--set=learning.exploration_coefficient=0.1", "train", "stage2", "--stage", "multi"]
    assert run(command(tmp_path, *words, steps=2))["steps"] == 2


@pytest.mark.slow
def test_the_evaluation_has_every_row_with_its_figures(whole: dict[str, Any]) -> None:
    words = ["train", "eval", "--checkpoint", whole["checkpoint"], "--episodes", "6"]
    found = run(command(Path(whole["run_dir"]).parent, *words))
    assert [row["policy"] for row in found["rows"]] == [
        "none", "keep_all", "recency", "random", "heuristic", "fitted", "untrained", "single", "multi",
        "unified", "trained", "attainable", "oracle",
    ]  # fmt: skip
    rows = {row["policy"]: row for row in found["rows"]}
    assert rows["none"]["operations"]["none"] == 26.0
    assert rows["keep_all"]["operations"]["add"] == 26.0
    assert rows["oracle"]["accuracy_frac"] >= 0.9
    for each in found["differences"]:
        trained, other = rows["trained"]["accuracy_frac"], rows[each["baseline"]]["accuracy_frac"]
        assert each["difference"] == pytest.approx(trained - other)
        assert each["interval"][0] <= each["difference"] <= each["interval"][1]
    gap = (rows["trained"]["accuracy_frac"] - rows["random"]["accuracy_frac"]) / (
        rows["attainable"]["accuracy_frac"] - rows["random"]["accuracy_frac"]
    )
    assert found["gap_closed_frac"] == pytest.approx(gap)


def test_episodes_are_shown_as_json(athena: Any) -> None:
    done = athena("train", "episodes", "--show", "2", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)["episodes"]
    assert len(shown) == 2
    assert {"id", "symbol", "facts", "distractors", "query", "answer"} <= shown[0].keys()
    assert (len(shown[0]["facts"]), len(shown[0]["distractors"])) == (20, 6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "eval", "--cap", "some"], "--cap is 'some'"),
        (
            ["train", "eval", "--checkpoint", "nowhere", "--episodes", "2"],
            "'nowhere' does not exist",
        ),
        (["train", "stage2", "--resume", "nothing-there"], "there are no runs in checkpoints"),
        (["train", "stage2", "--resume", "x", "--steps", "3"], "give it alone"),
        (["train", "episodes", "--data", "absent.csv"], "absent.csv"),
    ],
)
def test_slips_are_told(athena: Any, words: list[str], said: str) -> None:
    done = athena(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_checkpoint_counts_only_when_it_is_whole(tmp_path: Path) -> None:
    import torch

    first = write_checkpoint(tmp_path, 2, {"a": torch.ones(3)}, {"update": 2})
    second = write_checkpoint(tmp_path, 4, {"a": torch.ones(3)}, {"update": 4})
    assert last_complete(tmp_path) == second
    (second / "trainer.pt").write_bytes(b"short")
    assert last_complete(tmp_path) == first
    assert read_trainer(first)["a"].tolist() == [1.0, 1.0, 1.0]


def test_a_damaged_checkpoint_is_set_aside_and_never_removed(tmp_path: Path) -> None:
    import torch

    first = write_checkpoint(tmp_path, 2, {"a": torch.ones(3)}, {"update": 2})
    second = write_checkpoint(tmp_path, 4, {"a": torch.ones(3)}, {"update": 4})
    (second / "trainer.pt").write_bytes(b"altered")
    (aside,) = set_aside_damaged(tmp_path)
    assert aside.name == "set-aside-update-0000004"
    assert (aside / "trainer.pt").read_bytes() == b"altered"
    assert last_complete(tmp_path) == first
    # It comes again, is damaged again, and neither writing nor keeping the last two touches what lies aside.
    for update in (4, 6, 8):
        write_checkpoint(tmp_path, update, {"a": torch.ones(3)}, {"update": update})
    (tmp_path / "update-0000008" / "complete.json").write_text("{}")
    assert [path.name for path in set_aside_damaged(tmp_path)] == ["set-aside-update-0000008"]
    assert (aside / "trainer.pt").read_bytes() == b"altered"


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"a": Path("code")}, tmp_path / "trainer.pt")
    with pytest.raises(CheckpointError, match="plain tensors"):
        read_trainer(tmp_path)
    with pytest.raises(CheckpointError, match=r"torch 1\.13"):
        require_safe_torch("1.13.1")


def test_half_a_line_of_the_curve_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(orjson.dumps({"update": 0}) + b'\n{"upd')
    assert read_metrics(tmp_path) == [{"update": 0}]
