"""The image without a Docker daemon: what is sent to it, as whom it runs, and its steps in a fresh folder."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NOBODY = 65534


@pytest.fixture(scope="module")
def context() -> ModuleType:
    spec = importlib.util.spec_from_file_location("context", ROOT / ".ci" / "context.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_as_a_user_with_the_tested_versions_and_no_test_packages() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\w+)", last, re.MULTILINE) == ["athena"]
    assert last.index("\nUSER ") < last.index("\nCMD ")
    assert "test]" not in DOCKERFILE
    installs = re.findall(r"pip install (?!--no-cache-dir uv &&).*", DOCKERFILE)
    assert len(installs) == 2
    assert all("-c constraints.txt" in line for line in installs)


def test_secrets_data_and_runs_are_not_sent_and_our_packages_are(
    context: ModuleType, tmp_path: Path
) -> None:
    kept = [
        "main.py", "athena.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt",
        "memory/agemem.py", "memory/store/sqlite.py", "training/data/corpus.py", "core/runlog.py",
        "docs/data.md",
    ]  # fmt: skip
    left_out = [
        ".git/config", ".env", ".env.local", "core/.env", "data/prices.csv", "checkpoints/a/b.bin",
        "memory.db", "memory.db-wal", "runs/x/manifest.json", "tests/test_a.py", ".venv/bin/python",
        "core/__pycache__/a.pyc", "athena_trading_agent.egg-info/PKG-INFO", "build/lib/x.py", "k.pem",
        "dist/a.whl", ".ci/run", "benchmarks/a.py", ".mypy_cache/x", "tests/.pytest_cache/x",
    ]  # fmt: skip
    (tmp_path / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    for name in kept + left_out:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    sent = {path.as_posix() for path in context.context(tmp_path)}
    assert sent - {".dockerignore"} == set(kept)


def test_every_file_that_the_package_needs_is_sent(context: ModuleType) -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    packages = ("core", "trading", "agents", "models", "memory", "training", "configs")
    needed = {name for name in tracked if name.split("/")[0] in packages}
    assert needed
    assert needed - {path.as_posix() for path in context.context()} == set()


def _another_user(folder: Path) -> int | None:
    """Somebody without rights, where we are root and this Python is open to others."""
    if os.getuid() != 0:
        return None
    asked = [sys.executable, "-c", "import numpy, torch"]
    try:
        usable = (
            subprocess.run(asked, user=NOBODY, capture_output=True, check=False).returncode == 0
        )
    except PermissionError:
        usable = False
    if not usable:
        return None
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    os.chown(folder / "work", NOBODY, -1)
    return NOBODY


@pytest.mark.slow  # builds a wheel
def test_its_steps_give_an_athena_that_works_for_a_user_without_rights(tmp_path: Path) -> None:
    """As in the Dockerfile: the context, a wheel from it, the wheel alone, another user's folder."""
    for name in ("source", "wheels", "site", "work"):
        (tmp_path / name).mkdir()
    run = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([sys.executable, ROOT / ".ci" / "context.py", tmp_path / "source"], check=True)
    subprocess.run(
        [*run, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "wheels", "."],
        cwd=tmp_path / "source",
        check=True,
    )
    wheels = list((tmp_path / "wheels").glob("*.whl"))
    assert len(wheels) == 1
    subprocess.run(
        [*run, "install", "--no-deps", "--target", tmp_path / "site", *wheels], check=True
    )
    assert not (tmp_path / "site" / "tests").exists()
    work = tmp_path / "work"
    done = subprocess.run(
        [sys.executable, "-m", "main", "backtest", "--agents", "rules", "--end", "2001-06-29"],
        cwd=work,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site"), "HOME": str(work)},
        capture_output=True,
        text=True,
        check=False,
        user=_another_user(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert (work / "runs").is_dir()
