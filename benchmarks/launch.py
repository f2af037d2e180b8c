"""Starts each engine in a process and an environment of its own, and reads its one line of JSON.

Knows where the peers' environments lie; knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / "peers"
SAMPLE = ROOT / "trading" / "sample" / "wiki_us5_daily_2000_2013.csv.gz"


class LaunchError(Exception):
    """A peer that is not installed, or a script that failed; the message says which and what to do."""


def peers_folder() -> Path:
    """Where `peers/setup.sh` put the environments."""
    return Path(os.environ.get("ATHENA_PEERS") or HERE / ".peers")


def peer_python(peer: str) -> Path:
    """The interpreter of a peer's environment. Raises: LaunchError when there is none."""
    python = peers_folder() / peer / "bin" / "python"
    if not python.exists():
        raise LaunchError(
            f"{peer} is not installed in {peers_folder()}: run benchmarks/peers/setup.sh, "
            "or set ATHENA_PEERS to the folder that it filled."
        )
    return python


def run_peer(peer: str, script: str, *arguments: str) -> Any:
    """The answer of a script of `peers/` in its own environment."""
    return _answer([str(peer_python(peer)), str(PEERS / script), *arguments], {})


def run_reference(*arguments: str) -> Any:
    """The answer of the plain loop, which needs numpy alone."""
    return _answer([sys.executable, str(PEERS / "reference_sma.py"), *arguments], {})


def run_ours(*arguments: str) -> Any:
    """The answer of `ours.py`, with the packages of this checkout first on the path."""
    return _answer([sys.executable, str(HERE / "ours.py"), *arguments], {"PYTHONPATH": str(ROOT)})


def _answer(command: list[str], extra: dict[str, str]) -> Any:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, env=inherited | extra, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        tail = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise LaunchError(f"{Path(command[1]).name} failed ({done.returncode}):\n{tail}")
    return json.loads(lines[-1])
