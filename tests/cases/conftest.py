"""A case is a small made-up input of a public kind of fault, with its right answer in `case.md`.

Each test works in a copy of the case's folder and calls the command line in this process, as a user would.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from main import cli

DATA = Path(__file__).resolve().parent / "data"

FREE = tuple(
    word
    for setting in (
        "commission_bps=0", "half_spread_bps=0", "impact_coefficient=0", "participation_frac=null",
    )
    for word in ("--set", f"trading.{setting}")
)  # fmt: skip
"""No costs and no cap: right values are exact to the cent."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a command ended: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder to work in, and the command line."""

    path: Path
    _call: Callable[..., Told]

    def run(self, *words: str) -> Told:
        """`athena WORDS...`, started in the folder."""
        return self._call(*words)

    def ask(self, *words: str) -> dict[str, Any]:
        """The JSON of a command that went well."""
        told = self.run(*words, "--json")
        assert told.code == 0, told.err + told.out
        return told.answer

    def run_dir(self, answer: dict[str, Any]) -> Path:
        return self.path / answer["run_dir"]

    def steps(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """The records of the run that a command answered with."""
        lines = (self.run_dir(answer) / "steps.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Desk]:
    """`desk("05-order-on-the-last-bar")`: the case's files in a folder of their own; "" for an empty one."""

    def call(*words: str) -> Told:
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main(list(words))
        told = capsys.readouterr()
        return Told(int(str(left.value.code or 0)), told.out, told.err)

    def open_case(name: str) -> Desk:
        if name:
            shutil.copytree(DATA / name, tmp_path, dirs_exist_ok=True)
        return Desk(tmp_path, call)

    return open_case
