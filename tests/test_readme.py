"""README names every module, and its commands and strategy are those that work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_module_stands_in_the_file_map() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("core", "trading", "agents", "memory", "models", "training")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert len(modules) > 40
    assert [name for name in modules if f"`{name}`" not in README] == []


def test_every_module_in_the_file_map_exists() -> None:
    named = re.findall(r"^\| `([\w./]+)` \|", README, flags=re.MULTILINE)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_strategy_gives_the_output_shown(tmp_path: Path) -> None:
    code = re.search(r"```python\n# strongest.py\n(.*?)```", README, flags=re.DOTALL)
    shown = re.search(r"strongest.py:Strongest --no-risk\n```\n\n```\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert shown is not None
    (tmp_path / "strongest.py").write_text(code[1], encoding="utf-8")
    answer = subprocess.run(
        [
            sys.executable,
            str(ROOT / "main.py"),
            "backtest",
            "--strategy",
            "strongest.py:Strongest",
            "--no-risk",
        ],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    printed = [line.split() for line in answer.stdout.splitlines()]
    lines = [line for line in shown[1].splitlines() if line.strip()]
    assert len(lines) >= 5
    assert [line for line in lines if line.split() not in printed] == []


@pytest.mark.slow  # thirteen years with the language model: minutes
def test_the_main_job_prints_what_is_shown(tmp_path: Path) -> None:
    shown = re.search(r"```\n(backtest: AAPL.*?)\n```", README, flags=re.DOTALL)
    assert shown is not None
    answer = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "backtest"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "COLUMNS": "84"},
    )
    printed = [_read(line) for line in answer.stdout.splitlines()]
    lines = [line for line in shown[1].splitlines() if line.strip()]
    assert len(lines) > 30
    assert [line for line in lines if not any(_agree(_read(line), each) for each in printed)] == []


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def _read(line: str) -> tuple[str, list[str]]:
    """(the words of a line, its numbers as they are written)"""
    return " ".join(NUMBER.sub("#", line).split()), NUMBER.findall(line)


def _agree(one: tuple[str, list[str]], other: tuple[str, list[str]]) -> bool:
    """The same words, and numbers that differ by one in their last digit at most: what is promised between
    kinds of machine (docs/interface.md, "Record t")."""
    if one[0] != other[0]:
        return False
    for here, there in zip(one[1], other[1], strict=True):
        digits = len(here.partition(".")[2])
        apart = abs(float(here.replace(",", "")) - float(there.replace(",", "")))
        if apart > 1.01 * 10.0**-digits:
            return False
    return True


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = "python3 -m pytest tests/ -q"
    assert f"\n{command}\n" in README
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
