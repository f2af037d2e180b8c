"""Case 21: a training that has died says so in its result."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cases.conftest import Desk
from training.stage2_agemem.collapse import collapse_warnings

WORDS = (
    "train", "stage2", "--seed", "3", "--set", "checkpoint_dir=x",
    "--set", "training.stage2.batch_episodes=4", "--set", "training.stage2.eval_episodes=10",
    "--set", "training.stage2.eval_steps=2", "--set", "training.stage2.final_episodes=0",
    "--set", "training.stage2.kl_coefficient=0", "--set", "training.stage2.entropy_coefficient=0",
)  # fmt: skip
WILD = (
    "--set", "training.stage2.learning_rate=1.0", "--set", "training.stage2.gradient_clip=1000",
)  # fmt: skip


@pytest.mark.slow
def test_a_collapsed_policy_is_told_in_json_text_and_summary(desk: Callable[[str], Desk]) -> None:
    at = desk("21-collapsed-policy")
    told = at.run(*WORDS, *WILD, "--steps", "6", "--json")
    assert told.code == 0
    (warning,) = told.answer["warnings"]
    assert "The policy has collapsed" in warning
    assert "last 5 updates (2 to 6)" in warning
    run = at.path / told.answer["run_dir"]
    assert json.loads((run / "summary.json").read_text())["warnings"] == [warning]
    assert "collapsed" in (run / "policy" / "MODEL_CARD.md").read_text()
    words = at.run(*WORDS, *WILD, "--steps", "4")
    assert "The policy has collapsed" in " ".join(words.out.split())


@pytest.mark.slow
def test_a_training_that_learns_has_no_warning(desk: Callable[[str], Desk]) -> None:
    assert desk("").ask(*WORDS, "--steps", "4")["warnings"] == []


def curve(*updates: tuple[float, float] | None) -> list[dict[str, Any]]:
    """(entropy, gradient) of each update; None for one in which no group differed."""
    return [
        {"update": at, "stage": "unified"}
        | ({} if each is None else {"entropy": each[0], "gradient_norm": each[1]})
        for at, each in enumerate(updates)
    ]


ALIVE, DEAD = (1.2, 0.1), (0.0, 0.0)


@pytest.mark.parametrize(
    ("updates", "said"),
    [
        ((ALIVE, DEAD, DEAD, DEAD), "last 3 updates (2 to 4)"),
        ((ALIVE, DEAD, None, DEAD), "last 3 updates (2 to 4)"),
        ((DEAD, None, None), "last 3 updates (1 to 3)"),
        ((ALIVE, DEAD, DEAD), None),  # it may be chance
        ((DEAD, DEAD, DEAD, ALIVE), None),  # it came back
        ((ALIVE, None, None, None), None),  # nothing differed, and nothing says that all is certain
        ((ALIVE, (1.2, 0.0), (1.1, 0.0), (1.0, 0.0)), None),  # no gradient, but choices left open
        ((), None),
    ],
)
def test_what_counts_as_a_collapse(
    updates: tuple[tuple[float, float] | None, ...], said: str | None
) -> None:
    found = collapse_warnings(curve(*updates))
    assert found == [] if said is None else said in found[0]
