"""Runs a case's own script as a user would: another process, with `athena` on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"
ROOT = Path(__file__).resolve().parents[2]


def check(case: str, folder: Path) -> str:
    """The last line that a case's one script prints; `folder` is for the command that it calls."""
    (script,) = (DATA / case).glob("*.py")
    shim = folder / "bin" / "athena"
    shim.parent.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "main.py"}" "$@"\n')
    shim.chmod(0o755)
    path = os.pathsep.join((str(shim.parent), os.environ.get("PATH", "")))
    python_path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": python_path, "ATHENA": str(shim)}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else done.stderr
