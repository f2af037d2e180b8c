"""`athena dry-run --bundle`: the last error without secrets, shown before it is written."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.last_error import LINES, LogTail, keep, last_error, redacted
from tests.conftest import ROOT, Athena

CANARY = "c4n4ry5ecret"
SECRETS = {"FRED_API_KEY": CANARY, "NEO4J_PASSWORD": CANARY, "HF_TOKEN": CANARY}
NO_MODEL = "--set=olmoe.model_path=nowhere"
"""A dry run that fails at once."""


def test_a_report_has_the_last_error_and_no_secret(athena: Athena, tmp_path: Path) -> None:
    state = tmp_path / "state"
    env = SECRETS | {
        "XDG_STATE_HOME": str(state),
        "NEO4J_URI": f"bolt://me:{CANARY}@127.0.0.1:1",
        "HOME": str(tmp_path),
    }
    before = ["-v", "backtest", "--data", f"https://me:{CANARY}@example.org/a.csv?api_key={CANARY}"]
    failed = athena(*before, f"--set=data.contact=token={CANARY}", env=env)
    assert failed.returncode == 2
    done = athena("dry-run", "--bundle", "report.json", "--yes", NO_MODEL, env=env)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "report.json"
    assert done.stdout == path.read_text(), "it is shown as it is written"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    report = json.loads(path.read_text())
    assert report["last_error"]["kind"] == "DataError"
    assert report["last_error"]["command"][:3] == before[:3]
    assert report["last_error"]["trace"][0].startswith("Traceback")
    assert report["dry_run"]["error"]["kind"] == "ModelError"
    assert report["versions"]["athena"]
    assert report["settings"]["seed"] == 0
    assert report["settings_changed"]["olmoe.model_path"]["from"] == "--set"
    assert "NEO4J_URI" in report["variables"]
    assert str(tmp_path) not in path.read_text().replace(str(ROOT), "")
    for file in (path, state / "athena" / "last-error.json"):
        assert CANARY not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert CANARY not in done.stdout + done.stderr + failed.stdout + failed.stderr


def test_without_a_terminal_it_is_not_written_unasked(athena: Athena, tmp_path: Path) -> None:
    done = athena("dry-run", "--bundle", "report.json", NO_MODEL, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    (tmp_path / "there.json").write_text("mine")
    done = athena("dry-run", "--bundle", "there.json", "--yes", NO_MODEL)
    assert (done.returncode, (tmp_path / "there.json").read_text()) == (2, "mine")
    assert "exists already" in done.stderr
    assert not (tmp_path / "report.json").exists()


def test_with_json_stdout_is_one_object_and_stderr_shows_it(athena: Athena, tmp_path: Path) -> None:
    done = athena("dry-run", "--bundle", "report.json", "--yes", "--json", NO_MODEL)
    assert json.loads(done.stdout)["bundle"] == "report.json"
    assert (tmp_path / "report.json").read_text() in done.stderr


@pytest.mark.parametrize(("answer", "written"), [(b"n\n", False), (b"y\n", True)])
def test_on_a_terminal_it_asks_after_it_was_shown(
    answer: bytes, written: bool, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    words = [str(ROOT / "main.py"), "dry-run", "--bundle", "report.json", NO_MODEL]
    with subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        asked = b""
        while b"sent nowhere. [y/N]" not in asked:
            asked += os.read(ours, 4096)
        assert not (tmp_path / "report.json").exists()
        os.write(ours, answer)
        assert process.stdout is not None
        shown = process.stdout.read()
    os.close(ours)
    assert process.returncode == (0 if written else 130)
    assert (tmp_path / "report.json").exists() == written
    assert json.loads(shown)["versions"]


def test_secrets_are_hidden_wherever_they_stand() -> None:
    environment = {"HF_TOKEN": CANARY, "HOME": "/home/me", "SHORT_KEY": "a"}
    told = [
        f"Authorization: Bearer {CANARY}2",
        f"{{'x-api-key': '{CANARY}3', 'accept': 'json'}}",
        f"--set fred.api_key={CANARY}4 --seed 7",
        f"the value {CANARY} alone, /home/me/runs",
        f"https://me:{CANARY}5@host/x?token={CANARY}6&a=b",
    ]
    found = redacted(told, environment)
    assert found == [
        "Authorization: ***",
        "{'x-api-key': ***', 'accept': 'json'}",
        "--set fred.api_key=*** --seed 7",
        "the value *** alone, ~/runs",
        "https://host/x?token=***&a=b",
    ]


def test_what_is_kept_is_small_and_never_in_the_way(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
    told = {"kind": "DataError", "message": "m", "cure": "c"}
    assert last_error(environment) is None
    keep(told, "line\n" * 10_000, ["backtest"], environment)
    kept = last_error(environment)
    assert kept is not None
    assert (kept["kind"], len(kept["trace"])) == ("DataError", LINES)
    (tmp_path / "state" / "athena" / "last-error.json").write_text("{torn")
    assert last_error(environment) is None
    keep(told, "", [], {})
    keep(told, "", [], {"XDG_STATE_HOME": "/proc/none"})
    assert LogTail().lines.maxlen == LINES
