"""Texts of others act nowhere: not on a terminal, not in a spreadsheet, not in JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import commandline
from core.jsontext import json_bytes
from core.printable import cell, printable, uncell
from tests.conftest import Athena

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\x9b31mc\x08\rd\u202ee\x00"


def test_what_acts_is_written_out_and_the_rest_stays() -> None:
    assert printable(HOSTILE) == "a\\x1b[2J\\x1b]0;owned\\x07b\\x9b31mc\\x08\\x0dd\\u202ee\\x00"
    for text in ("plain", "two\nlines\tand a tab", "Ünïcödé 漢字 🙂", ""):
        assert printable(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"])
def test_a_text_that_looks_like_a_formula_is_marked(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert uncell(cell(text)) == text


@pytest.mark.parametrize("value", ["AAPL", "a=b", "'quoted", "", -1.5, -3, True, None])
def test_every_other_value_stays(value: object) -> None:
    assert cell(value) is value
    assert uncell(cell(value)) is value


def test_tables_for_people_act_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "200")
    table = Table("name")
    table.add_row(HOSTILE)
    commandline.console().print(table)
    commandline.console().print(HOSTILE)
    assert not set("\x1b\x07\x9b\x08\r\u202e\x00") & set(shown.getvalue())
    assert shown.getvalue().count("\\x1b[2J") == 2


def test_the_log_acts_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    handler = commandline._StderrHandler()
    handler.emit(logging.LogRecord("core", logging.WARNING, "", 0, "took %s", (HOSTILE,), None))
    assert "\\x1b[2J" in (said := capsys.readouterr().err)
    assert "\x1b" not in said


def test_json_keeps_the_text_and_acts_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    commandline.emit_json({"text": HOSTILE})
    said = capsys.readouterr().out
    assert json.loads(said) == {"text": HOSTILE}
    assert not set("\x1b\x07\x9b\x08\r\x00") & set(said)
    assert json_bytes({"a\udcff": ["b\udcff", Path("c\udcff")]}) == (
        b'{"a\\\\udcff":["b\\\\udcff","c\\\\udcff"]}'
    )


@pytest.mark.parametrize(
    "words",
    [
        ["backtest", "--data", HOSTILE.replace("\x00", "")],
        ["nosuch\x1b[2J"],
        ["backtest", "--set", "data.x\x1b[2J=1"],
        ["backtest", "--agents", "\x1b[2J"],
        ["runs", "show", "\x1b[2J"],
        ["why", "last\x1b[2J"],
        ["data", "check", "no\x1b[2J.csv"],
        ["-v", "data", "check", "no\x1b[2J.csv"],
        ["memory", "history", "\x1b[2J"],
        ["-c", "no\x1b[2J.yaml", "dry-run"],
        ["--log-file", "no\x1b[2J/x", "dry-run"],
    ],
)
def test_error_messages_act_nowhere(athena: Athena, words: list[str]) -> None:
    done = athena(*words)
    assert done.returncode != 0
    assert not set("\x1b\x07\x9b\x08\r\u202e") & set(done.stdout + done.stderr)


def run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    athena = f"{sys.executable} {ROOT / 'main.py'}"
    return subprocess.run(
        ["bash", "-c", script.replace("athena", athena)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


@pytest.mark.parametrize(
    "script",
    [
        "athena config schema | head -1; exit ${PIPESTATUS[0]}",
        "athena --help | head -0; exit ${PIPESTATUS[0]}",
        "athena dry-run --json | head -c 1; exit ${PIPESTATUS[0]}",
        "athena config show >&-",
        "athena config show >&- 2>&-",
        "athena config show --json >&-",
    ],
)
def test_nobody_reading_is_no_error(tmp_path: Path, script: str) -> None:
    done = run(tmp_path, script)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize(
    "script",
    [
        r"athena backtest --data $'a\xff.csv'",
        r"athena backtest --data $'a\xff.csv' --json",
        r"mkdir $'d\xff'; cd $'d\xff'; athena dry-run",
        r"athena memory add $'\xff\xfe' --symbol A --source x",
    ],
)
def test_what_is_no_utf_8_gets_a_message(tmp_path: Path, script: str) -> None:
    done = run(tmp_path, script)
    assert done.returncode == 2
    assert b"is not UTF-8 text" in done.stderr
    assert b"\\xff" in done.stderr
    assert b"Traceback" not in done.stderr
