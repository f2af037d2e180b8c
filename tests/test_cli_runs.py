"""Running and looking at runs, as a user does it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Athena

EQUAL = """
class Equal:
    def decide(self, history, state):
        return {symbol: 0.1 for symbol in state.weights}
"""
SLOW = """
import pathlib, time
class Slow:
    def decide(self, history, state):
        time.sleep(0.01)
        if len(history) == 20:
            pathlib.Path("twenty").touch()
        return {symbol: 0.1 * (len(history) % 2) for symbol in state.weights}
"""


@pytest.fixture
def short(tmp_path: Path) -> list[str]:
    (tmp_path / "equal.py").write_text(EQUAL)
    return ["--strategy", "equal.py:Equal", "--start", "2012-06-01", "--end", "2012-06-29"]


def test_backtest_prints_one_object_with_the_promised_keys(
    athena: Athena, short: list[str]
) -> None:
    done = athena("backtest", *short, "--json", "--seed", "3")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary.keys() >= {
        "run_dir", "mode", "data", "seed", "config_hash", "final_equity_usd", "metrics", "costs",
        "benchmark", "orders", "fills", "trades", "evidence", "seconds",
    }  # fmt: skip
    assert summary["mode"] == "backtest"
    assert summary["seed"] == 3
    assert summary["evidence"] is None
    # 21 sessions in June 2012.
    assert summary["data"]["steps"] == 21
    assert done.stderr == ""


def test_runs_are_listed_and_shown(athena: Athena, short: list[str], tmp_path: Path) -> None:
    summary = json.loads(athena("--mode", "backtest", *short, "--json").stdout)
    name = Path(summary["run_dir"]).name
    listed = json.loads(athena("runs", "list", "--json").stdout)["runs"]
    assert [run["run_dir"] for run in listed] == [summary["run_dir"]]
    assert listed[0]["final_equity_usd"] == summary["final_equity_usd"]
    assert listed[0]["mode"] == "backtest"
    for run in ("last", name, name[:12], summary["run_dir"], str(tmp_path / summary["run_dir"])):
        shown = json.loads(athena("runs", "show", run, "--json").stdout)
        assert shown.pop("integrity")["state"] == "as recorded"
        assert shown == summary
    shown = json.loads(athena("--json", "runs", "show", "last", "--trades").stdout)
    assert len(shown["round_trips"]) == shown["trades"] == summary["trades"]
    assert name in athena("runs", "list").stdout
    assert summary["run_dir"] in athena("runs", "show", "last", "--trades").stdout
    manifest = json.loads((tmp_path / summary["run_dir"] / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert len(manifest["data"]["sha256"]) == 64


def test_runs_that_are_not_there_are_the_users_mistake(athena: Athena) -> None:
    assert json.loads(athena("runs", "list", "--json").stdout) == {"runs": []}
    done = athena("runs", "show", "last", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "RunNotFound"


def test_an_unwritable_run_folder_is_told(athena: Athena, short: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = athena("backtest", *short, "--runs-dir", "taken", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "RunFolderError"


def test_a_disk_that_fills_up_is_told_and_keeps_what_was_written(
    athena: Athena, short: list[str]
) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))

    # The records of two years are longer than that, the manifest is not.
    long = [*short[:2], "--start", "2010-06-01", "--end", "2012-06-29"]
    done = athena("backtest", *long, "--json", preexec_fn=limited)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "StorageError"
    assert "whole records are saved" in error["message"]
    assert len(done.stderr.strip().splitlines()) <= 2
    assert "interrupted" not in done.stderr


def start_slow(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *words, "--strategy", "slow.py:Slow", "--json"],
        cwd=tmp_path,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "twenty").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def records_of(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = next((tmp_path / "runs").iterdir())
    lines = (folder / "steps.jsonl").read_text().splitlines()
    return json.loads((folder / "manifest.json").read_text()), [json.loads(line) for line in lines]


def test_ctrl_c_saves_the_steps_taken_and_exits_130(tmp_path: Path) -> None:
    process = start_slow(tmp_path, "backtest")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    manifest, records = records_of(tmp_path)
    assert manifest["status"] == "interrupted"
    assert len(records) >= 19
    error = json.loads(stdout)["error"]
    assert error["kind"] == "Interrupted"
    assert f"{len(records)} steps" in error["cure"]
    assert "Traceback" not in stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_paper_trade_stops_cleanly_with_its_book_saved(
    tmp_path: Path, stop: signal.Signals
) -> None:
    process = start_slow(tmp_path, "paper-trade", "--speed", "0")
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    summary = json.loads(stdout)
    manifest, records = records_of(tmp_path)
    assert summary["mode"] == "paper-trade"
    assert summary["data"]["steps"] == len(records)
    assert manifest["status"] == "done"


def test_dry_run_says_what_is_real_and_sends_no_orders(athena: Athena, tmp_path: Path) -> None:
    done = athena("--mode", "dry-run", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["ok"] is True
    assert {part["state"] for part in report["parts"]} <= {"real", "mock", "off"}
    assert any("paper-trade" in note for note in report["notes"])
    assert not (tmp_path / "runs").exists()


def test_decide_places_nothing(athena: Athena, tmp_path: Path) -> None:
    done = athena("decide", "--agents", "rules", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() >= {"as_of", "orders", "targets", "views", "limits"}
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--start", "2012-13-01"], "2012-13-01"),
        (["--symbols", "AAPL,NOPE"], "NOPE"),
        (["--data", "absent.csv"], "absent.csv"),
        (["--start", "2013-01-01", "--end", "2012-01-01"], "2013-01-01"),
        (["--strategy", "absent.py:X"], "absent.py"),
        (["--param", "k=v"], "--param"),
        (["--universe", "absent.csv"], "absent.csv"),
        (["--weights", "absent.csv"], "absent.csv"),
    ],
)
def test_mistakes_exit_2_name_the_value_and_leave_no_run(
    athena: Athena, tmp_path: Path, words: list[str], part: str
) -> None:
    done = athena("backtest", *words)
    assert done.returncode == 2, done.stderr
    assert part in done.stderr
    assert "internal error" not in done.stderr
    assert not (tmp_path / "runs").exists()
