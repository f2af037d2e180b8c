"""Who may import whom, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "configs": set(),
    "core": {"configs"},
    "models": {"core"},
    "memory": {"core"},
    "trading": {"core"},
    "agents": {"core", "models", "memory", "trading"},
    "training": {"core", "models", "memory", "trading", "agents"},
    "main": {"core", "models", "memory", "trading", "agents", "training"},
    "athena": {"core", "models", "memory", "trading", "agents", "training"},
}
"""core <- models, memory, trading <- agents <- training <- main, athena."""

HEAVY = ("torch", "transformers", "plotly", "matplotlib", "yfinance", "neo4j", "rich")
"""Libraries that no module of ours may import when it is itself imported."""

NOT_FOR_HELP = (
    *HEAVY,
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "yaml",
    "orjson",
    "jinja2",
    "talib",
)


TORCH_MODULES = {
    "models.action_head",
    "training.stage1_finetune.trainer",
    "training.stage2_agemem.checkpoint",
    "training.stage2_agemem.exploration",
    "training.stage2_agemem.grpo",
    "training.stage2_agemem.trainer",
}
"""Modules that define torch classes or compute with it all over: only functions import them."""


def sources() -> Iterator[tuple[str, Path]]:
    for package in MAY_IMPORT:
        if (ROOT / f"{package}.py").is_file():
            yield package, ROOT / f"{package}.py"
        for path in sorted((ROOT / package).rglob("*.py")):
            yield package, path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    ("package", "path"), list(sources()), ids=lambda value: str(value).removeprefix(f"{ROOT}/")
)
def test_imports_point_one_way(package: str, path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imported(path)
        if name in MAY_IMPORT and name != package and name not in MAY_IMPORT[package]
    ]
    assert not wrong


PROBE = """
import os, sys, logging, threading
sys.path.insert(0, {root!r})
class Environment(type(os.environ)):
    pass
before = list(logging.getLogger().handlers), logging.getLogger().level
import importlib
for name in {modules!r}:
    importlib.import_module(name)
assert (list(logging.getLogger().handlers), logging.getLogger().level) == before, "logging was set up"
assert threading.active_count() == 1, "a thread was started"
print(*sorted(set(sys.modules) & set({heavy!r})))
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_importing_every_module_does_nothing_heavy(tmp_path: Path) -> None:
    modules = [module_name(path) for _, path in sources()]
    modules = [name for name in modules if name not in TORCH_MODULES]
    probe = PROBE.format(root=str(ROOT), modules=modules, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_they_do_not_need(option: str) -> None:
    probe = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['athena', {option!r}]\n"
        "import atexit, main\n"
        f"atexit.register(lambda: print('loaded', sorted(set(sys.modules) & set({NOT_FOR_HELP!r}))))\n"
        "main.cli()"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_reading_the_environment_is_left_to_the_entries() -> None:
    """The command line and the Python interface; everything behind them is given its settings."""
    allowed = {"core/commandline.py", "main.py", "athena/__init__.py"}
    readers = {
        str(path.relative_to(ROOT))
        for _, path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers <= allowed
