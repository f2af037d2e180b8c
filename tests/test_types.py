"""A user's own mypy finds types behind `import athena`, in every package that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

GOOD = """
import pandas as pd

import athena
from trading.result import Run


class Half:
    warmup = 3

    def decide(self, history: athena.History, state: athena.State) -> dict[str, float]:
        return {history.symbols[0]: 0.5}


def trade(frame: pd.DataFrame) -> Run:
    strategy: athena.Strategy = Half()
    return athena.backtest(frame, strategy=strategy, end="2020-12-31")
"""
WRONG = """
import athena

athena.backtest("prices.csv", seed="five")
athena.backtest("prices.csv", agents="both")
reveal_type(athena.backtest("prices.csv"))
"""
# Nothing in these two files needs the types of libraries this large, which would take minutes to follow.
SETTINGS = """
[mypy]
strict = True
[mypy-torch.*,transformers.*,peft.*,accelerate.*,huggingface_hub.*,IPython.*,matplotlib.*]
follow_imports = skip
"""


def packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    return [name.rstrip("*") for name in include]


@pytest.mark.parametrize("package", packages())
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert (ROOT / package / "__init__.py").is_file()


@pytest.mark.slow
def test_a_users_mypy_sees_types(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mypy.ini").write_text(SETTINGS)

    # mypy reads PYTHONPATH as it reads an installed package: only what ships a py.typed has types. (It
    # follows no editable install whose packages are found by an import hook, as setuptools makes them.)
    installed = {**os.environ, "PYTHONPATH": str(ROOT)}

    def mypy(name: str) -> tuple[int, str]:
        words = [sys.executable, "-m", "mypy", "--cache-dir", "cache", name]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=False, env=installed
        )
        return done.returncode, done.stdout

    assert mypy("good.py") == (0, "Success: no issues found in 1 source file\n")
    code, told = mypy("wrong.py")
    assert code == 1
    assert 'wrong.py:4: error: Argument "seed"' in told
    assert 'wrong.py:5: error: Argument "agents"' in told
    assert 'Revealed type is "trading.result.Run"' in told
