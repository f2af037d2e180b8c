"""The outer edge, tried on a small command line of its own."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from core.commandline import Common, RootGroup, emit_json, not_built_option, progress
from core.errors import DataError, LookAhead, StorageError

pytestmark = pytest.mark.filterwarnings("default:a library's warning")

ROOT = Path(__file__).resolve().parents[2]


class SubtleDataError(DataError):
    """A subclass that `core/errors.py` does not name."""


FAILURES: dict[str, BaseException] = {
    "data": DataError("row 3 is bad.", "Correct it."),
    "ahead": LookAhead("too far."),
    "subtle": SubtleDataError("hm."),
    "disk": StorageError("writing x failed.", "Free space."),
    "defect": ZeroDivisionError("division\nby zero"),
    "system": OSError(errno.ENOSPC, "No space left on device", "somewhere"),
    "ctrl-c": KeyboardInterrupt("7 steps are saved in runs/x"),
}


@click.group(cls=RootGroup, modes=("work",), not_built=("later",))
def toy() -> None:
    """A command line."""


@toy.command()
@click.argument("name")
def fail(name: str) -> None:
    raise FAILURES[name]


@toy.command()
@not_built_option("--news", metavar="FILE")
@not_built_option("--deep", is_flag=True)
@click.option("--number", type=int)
@click.pass_obj
def work(common: Common, number: int | None) -> None:
    config = common.config(seed=number)
    logging.getLogger("trading.toy").debug("detailed")
    logging.getLogger("trading.toy").info("informed")
    logging.getLogger("library").info("chattered")
    logging.getLogger("toy").warning("warned")
    warnings.warn("a library's warning", stacklevel=1)
    emit_json(
        {"seed": config.seed, "commission_bps": config.trading.commission_bps, "nan": float("nan")}
    )


@toy.command()
def chatter() -> None:
    print("printed by a library")  # noqa: T201
    emit_json({"answer": 42})
    print("and once more", flush=True)  # noqa: T201


@toy.group()
def inner() -> None:
    """A group."""


@inner.command()
@click.pass_obj
def deep(common: Common) -> None:
    click.echo(str(common))


def run(*words: str) -> Result:
    return CliRunner().invoke(toy, words)


@pytest.mark.parametrize(
    ("name", "code", "kind", "message"),
    [
        ("data", 2, "DataError", "row 3 is bad."),
        ("ahead", 2, "LookAhead", "too far."),
        ("subtle", 2, "DataError", "hm."),
        ("disk", 1, "StorageError", "writing x failed."),
        ("defect", 1, "AthenaError", "internal error: ZeroDivisionError: division by zero"),
        ("system", 1, "StorageError", "No space left on device (somewhere)"),
        ("ctrl-c", 130, "Interrupted", "interrupted before the work was done."),
    ],
)
def test_an_error_has_its_code_its_kind_and_at_most_two_lines(
    name: str, code: int, kind: str, message: str
) -> None:
    plain, as_json = run("fail", name), run("fail", name, "--json")
    assert plain.exit_code == as_json.exit_code == code
    assert plain.stdout == ""
    lines = plain.stderr.strip().splitlines()
    assert len(lines) <= 2
    assert message in plain.stderr
    assert "Traceback" not in plain.stderr
    told = json.loads(as_json.stdout)["error"]
    assert set(told) == {"kind", "message", "cure"}
    assert told["kind"] == kind
    assert message in told["message"]
    assert message in as_json.stderr


def test_an_interrupt_says_what_was_saved() -> None:
    assert "7 steps are saved in runs/x" in run("fail", "ctrl-c").stderr


@pytest.mark.parametrize("name", ["data", "defect"])
def test_a_traceback_is_shown_only_when_asked(name: str) -> None:
    assert "Traceback" in run("-v", "fail", name).stderr
    assert "Traceback" in run("fail", name, "-v").stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["wrok"], ["no such command 'wrok'", "Did you mean 'work'"]),
        (["inner", "dep"], ["no such command 'dep'", "'deep'"]),
        (["work", "--numbre", "3"], ["--numbre", "--number"]),
        (["work", "--number", "x"], ["--number", "'x'"]),
        (["work", "extra"], ["'extra'"]),
        (["work", "--number"], ["--number"]),
        (["later", "--any", "thing"], ["later", "not built yet"]),
        (["work", "--news", "f.csv"], ["--news", "not built yet"]),
        (["work", "--news", ""], ["--news", "not built yet"]),
        (["work", "--deep"], ["--deep", "not built yet"]),
        (["--mode", "play"], ["--mode", "'play'", "allowed are work"]),
        (["--mode"], ["--mode", "allowed are work"]),
        (["--mode", "work", "--mode=work"], ["--mode", "twice"]),
        (["--mode", "work", "inner"], ["--mode work", "'inner'"]),
        (["inner", "deep", "--mode", "work"], ["--mode work", "'inner'"]),
        (["work", "--set", "x"], ["--set x"]),
    ],
)
def test_mistakes_in_arguments_exit_2_and_name_what_is_wrong(
    words: list[str], parts: list[str]
) -> None:
    plain, as_json = run(*words), run("--json", *words)
    assert plain.exit_code == as_json.exit_code == 2
    error = json.loads(as_json.stdout)["error"]
    assert error["kind"] == ("ConfigError" if "--set" in words else "UsageError")
    for part in parts:
        assert part in plain.stderr
        assert part in error["message"]


def test_a_missing_command_shows_the_help_and_exits_2() -> None:
    assert run().exit_code == 2
    assert "Commands:" in run().stderr
    assert json.loads(run("--json").stdout)["error"]["kind"] == "UsageError"


def test_global_options_merge_from_both_sides_of_the_command() -> None:
    shown = run(
        "-v", "--set", "a=1", "-c", "x", "inner", "--set", "b=2", "deep", "-c", "y", "-v", "--json"
    )
    common = shown.stderr  # with --json, whatever is no answer
    assert "verbosity=2" in common
    assert "sets=['a=1', 'b=2']" in common
    assert "PosixPath('x'), PosixPath('y')" in common
    assert "json=True" in common


def test_mode_runs_the_command_of_that_name() -> None:
    expected = json.loads(run("work", "--number", "4").stdout)
    assert json.loads(run("--mode", "work", "--number", "4").stdout) == expected
    assert json.loads(run("--number", "4", "--mode=work").stdout) == expected
    assert json.loads(run("--json", "--mode", "work", "--number", "4").stdout) == expected


def test_the_last_of_two_values_wins_wherever_it_stands() -> None:
    shown = run("--set", "trading.commission_bps=2", "work", "--set", "trading.commission_bps=3")
    assert json.loads(shown.stdout)["commission_bps"] == 3.0


def test_an_option_of_its_own_wins_over_set_and_is_named_in_errors() -> None:
    assert json.loads(run("work", "--set", "seed=3", "--number", "4").stdout)["seed"] == 4
    assert "--seed" in run("work", "--number", "-4").stderr


def test_nan_is_null() -> None:
    assert json.loads(run("work", "--json").stdout)["nan"] is None


def test_the_log_goes_to_stderr_by_level_and_to_a_file(tmp_path: Path) -> None:
    quiet, talkative = run("work"), run("work", "-v", "--log-file", str(tmp_path / "log"))
    assert "warned" in quiet.stderr
    assert "a library's warning" in quiet.stderr
    assert "informed" not in quiet.stderr
    assert "informed" in talkative.stderr
    assert "informed" in (tmp_path / "log").read_text()
    assert "informed" in run("work", "--set", "log_level=info").stderr
    assert "detailed" not in talkative.stderr
    assert run("work", "--log-file", str(tmp_path)).exit_code == 2


def test_a_library_shows_warnings_only_however_much_is_asked_for() -> None:
    everything = run("work", "-vv").stderr
    assert "detailed" in everything
    assert "chattered" not in everything
    assert "warned" in everything


def test_with_json_whatever_anybody_prints_goes_to_stderr() -> None:
    done = run("chatter", "--json")
    assert json.loads(done.stdout) == {"answer": 42}
    assert done.stderr == "printed by a library\nand once more\n"
    assert run("chatter").stdout.startswith("printed by a library\n")


@pytest.mark.parametrize("words", [["--help"], ["work", "--help"], ["inner", "--help"]])
def test_help_is_an_object_with_json(words: list[str]) -> None:
    plain = run(*words).stdout
    assert plain.startswith("Usage: ")
    assert json.loads(run("--json", *words).stdout) == {"help": plain.rstrip("\n")}
    assert json.loads(run(*words, "--json").stdout) == {"help": plain.rstrip("\n")}


def test_no_progress_bar_without_a_terminal() -> None:
    with progress("work") as advance:
        assert advance is None


PIPE = """
import sys
sys.path.insert(0, {root!r})
import click
from core.commandline import RootGroup, emit_json
from core.errors import DataError
@click.group(cls=RootGroup)
def toy(): pass
@toy.command()
def flood():
    for _ in range(100_000):
        click.echo("x" * 100)
@toy.command()
def drop():
    click.echo("x")
@toy.command()
def answer():
    emit_json({{"much": ["x" * 100] * 1000}})
@toy.command()
def fail():
    raise DataError("row 3 is bad.", "Correct it.")
toy()
"""


@pytest.fixture
def flood(tmp_path: Path) -> list[str]:
    script = tmp_path / "toy.py"
    script.write_text(PIPE.format(root=str(ROOT)))
    return [sys.executable, str(script)]


def test_a_reader_that_goes_away_ends_it_quietly(flood: list[str]) -> None:
    process = subprocess.Popen([*flood, "flood"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("command", ["flood", "drop", "answer", "answer --json"])
def test_output_to_a_full_disk_fails_in_words(flood: list[str], command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*flood, *command.split()], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_an_error_with_nowhere_to_write_its_json_is_told_on_stderr(flood: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*flood, "--json", "fail"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "row 3 is bad." in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
