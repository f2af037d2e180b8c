"""Shared fixtures: an environment without settings of its own, and the command line as a user runs it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.commandline import OUR_LOGGERS

ROOT = Path(__file__).resolve().parent.parent

Athena = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests, unless ATHENA_TESTS=all asks for them or `-m` chooses by itself. Where they
    run, every other module of them stands at the beginning, the others in the middle: two processes that
    begin there and take from each other what is left are not alone with a long one at the end."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    if os.environ.get("ATHENA_TESTS") == "all" or config.option.markexpr:
        modules = list(dict.fromkeys(item.path for item in slow))
        early, late = set(modules[::2]), set(modules[1::2])
        first = [item for item in items if item.path in early]
        second = [item for item in items if item.path in late]
        quick = [item for item in items if item.path not in early | late]
        cut = max(0, len(items) // 2 - len(first))
        items[:] = first + quick[:cut] + second + quick[cut:]
        return
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session", autouse=True)
def _a_list_of_trusted_code_of_their_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """No test reads or writes the user's own list (core/trust.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the width of a terminal, which processes of pytest-xdist are given."""
    monkeypatch.delenv("COLUMNS", raising=False)
    for name in list(os.environ):
        if name.startswith("ATHENA_") and name != "ATHENA_SHARED":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def athena(tmp_path: Path) -> Athena:
    """Runs `main.py` in a process of its own, in an empty directory."""

    def run(*words: str, env: dict[str, str] | None = None, **more: Any) -> Any:
        return subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *words],
            cwd=more.pop("cwd", tmp_path),
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=more.pop("timeout", 120),
            check=False,
            **more,
        )

    return run
