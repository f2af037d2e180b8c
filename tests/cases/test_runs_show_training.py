"""`runs show` tells what a training came to, with its counts as whole numbers."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from core.config import AthenaConfig
from core.runlog import RunFolder
from tests.cases.conftest import Desk

SUMMARY = {
    "checkpoint": "x/policy",
    "steps": 6,
    "operations": {"add": 6.0, "delete": 1.25},
    "stages": [{"stage": "single", "accuracy_frac": 0.5}],
    "evaluation": None,
}


def test_a_training_is_shown(desk: Callable[[str], Desk]) -> None:
    case = desk("")
    with RunFolder.create(
        case.path / "runs", mode="train-stage2", config=AthenaConfig(), seed=0, data={}
    ) as folder:
        (folder.path / "summary.json").write_bytes(orjson.dumps(SUMMARY))
        folder.finish(None, "done")
    told = case.run("runs", "show", "last")
    assert told.code == 0, told.err
    lines = [line.split() for line in told.out.splitlines()]
    for row in (["operations.add", "6"], ["operations.delete", "1.25"], ["steps", "6"],
                ["stages[0].accuracy_frac", "0.5"], ["evaluation", "-"]):  # fmt: skip
        assert row in lines
    assert case.ask("runs", "show", "last")["steps"] == 6
    for option in ("--trades", "--forecasts"):
        told = case.run("runs", "show", "last", option)
        assert told.code == 2
        assert "is a training" in told.err
