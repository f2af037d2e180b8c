"""What holds for the whole command line, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.version import VERSION
from tests.conftest import ROOT, Athena


def test_help_answers_in_under_a_third_of_a_second(athena: Athena) -> None:
    """In processor time, which a crowded machine does not change; the best of three."""
    athena("--help")
    seconds = []
    for _ in range(3):
        before = os.times()
        assert athena("--help").returncode == 0
        after = os.times()
        spent = after.children_user - before.children_user
        seconds.append(spent + after.children_system - before.children_system)
    assert min(seconds) < 0.3


def test_version_is_told(athena: Athena) -> None:
    assert athena("-V").stdout == f"athena {VERSION}\n"
    assert athena("--version").stdout == f"athena {VERSION}\n"
    assert json.loads(athena("--json", "-V").stdout) == {"version": VERSION}


@pytest.mark.parametrize(
    "command",
    [
        ["backtest"], ["paper-trade"], ["decide"], ["dry-run"], ["runs", "list"], ["runs", "show"],
        ["config", "show"], ["config", "schema"], ["data", "check"], ["data", "import"],
        ["data", "list"], ["data", "fetch"], ["completion"],
    ],
)  # fmt: skip
def test_every_command_has_help_with_the_global_options(athena: Athena, command: list[str]) -> None:
    shown = athena(*command, "--help")
    assert shown.returncode == 0
    for option in ("--config", "--set", "--json", "--verbose", "--log-file"):
        assert option in shown.stdout


def test_what_comes_later_is_refused_by_name(athena: Athena) -> None:
    done = athena("config", "show", "--set", "evolution.enabled=true", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "ConfigError"
    assert "evolution.enabled" in error["message"]
    assert "not built yet" in error["message"]


def test_a_wrong_mode_names_the_modes(athena: Athena) -> None:
    done = athena("--mode", "yolo")
    assert done.returncode == 2
    assert "backtest, paper-trade, dry-run" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(athena: Athena, shell: str) -> None:
    assert "_ATHENA_COMPLETE" in athena("completion", shell).stdout


def test_completion_completes(athena: Athena) -> None:
    env = {"_ATHENA_COMPLETE": "bash_complete", "COMP_WORDS": "athena back", "COMP_CWORD": "1"}
    assert athena(env=env).stdout.strip() == "plain,backtest"


def test_an_unknown_variable_is_an_error_everywhere(athena: Athena) -> None:
    done = athena("config", "show", env={"ATHENA_SEDE": "1"})
    assert done.returncode == 2
    assert "ATHENA_SEDE" in done.stderr
    assert "ATHENA_SEED" in done.stderr


def test_no_colour_reaches_a_pipe(athena: Athena) -> None:
    for words in (["config", "show"], ["config", "show", "--set", "x=1"], ["--help"]):
        done = athena(*words)
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
def test_a_terminal_gets_colour_unless_told_not_to(no_color: str, coloured: bool) -> None:
    pty = pytest.importorskip("pty")
    told, terminal = pty.openpty()
    env = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    command = [sys.executable, str(ROOT / "main.py"), "nonsense"]
    subprocess.run(command, env=env, stderr=terminal, check=False)
    os.close(terminal)
    text = os.read(told, 10_000).decode()
    os.close(told)
    assert "no such command 'nonsense'" in text
    assert ("\x1b" in text) == coloured


def test_a_log_file_that_cannot_be_written_is_the_users_mistake(
    athena: Athena, tmp_path: Path
) -> None:
    done = athena("config", "show", "--log-file", str(tmp_path / "absent" / "log"))
    assert done.returncode == 2
    assert "--log-file" in done.stderr
