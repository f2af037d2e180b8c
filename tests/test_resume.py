"""A killed run goes on: every record, and all that was learned, as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.assemble import RunOptions, backtest, paper_trade
from agents.verify import verify_files
from core.errors import RunFolderError
from core.locks import is_locked
from core.runlog import STEPS, read_manifest, run_status
from memory.agemem import AgeMem
from memory.stores.sqlite import SqliteStore
from tests.conftest import ROOT, Athena
from tests.market_files import made_market, write_market
from tests.test_full_agents import config_of, news_file, some_news

COMMANDS = {"backtest": backtest, "paper-trade": paper_trade}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An uninterrupted run of the full agents, and the words of the command that makes it."""
    folder = tmp_path_factory.mktemp("whole")
    frame = made_market()
    market, news = write_market(folder, frame), news_file(folder, some_news(frame))
    config = config_of(runs_dir=str(folder / "runs"))
    config.save_yaml(folder / "full.yaml")
    options = RunOptions(data=str(market), agents="full", news=news)
    run = backtest(config, options)
    return {
        "config": config, "options": options, "run": run.path, "metrics": run.to_dict()["metrics"],
        "words": ["-c", str(folder / "full.yaml"), "--agents", "full", "--data", str(market),
                  "--news", str(news)],
    }  # fmt: skip


def killed(mode: str, words: list[str], runs: Path, lines: int) -> Path:
    """Start a run and kill it with SIGKILL once it has written so many records; its folder."""
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), mode, *words, "--runs-dir", str(runs)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300.0
    try:
        while time.monotonic() < deadline:
            assert child.poll() is None, "it came to its end before it was killed"
            found = list(runs.glob(f"*/{STEPS}"))
            if found and found[0].read_bytes().count(b"\n") >= lines:
                return found[0].parent
            time.sleep(0.005)
        raise AssertionError("it wrote too little in five minutes")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


async def remembered(run: Path) -> list[tuple[Any, ...]]:
    """Every open entry of a run's memory, credit and tallies in its metadata."""
    async with AgeMem(store=SqliteStore(run / "memory.db", read_only=True)) as memory:
        return [(e.id, e.version, e.text, e.metadata, e.recorded_from) for e in await memory.list()]


@pytest.mark.parametrize("mode", COMMANDS)
def test_a_killed_run_goes_on_to_the_byte(whole: dict[str, Any], tmp_path: Path, mode: str) -> None:
    words = [*whole["words"], *(["--speed", "30"] if mode == "paper-trade" else [])]
    expected = (whole["run"] / STEPS).read_bytes()
    run = killed(mode, words, tmp_path / "runs", 20)
    before = (run / STEPS).read_bytes()
    assert run_status(run, read_manifest(run)) == "died"
    assert before == expected[: len(before)]
    assert 20 <= before.count(b"\n") < expected.count(b"\n")
    with (run / STEPS).open("ab") as file:
        file.write(b'{"step":')  # what a power cut may leave of a line
    config = config_of(runs_dir=str(tmp_path / "runs"))
    done = COMMANDS[mode](config, RunOptions(resume="last", speed=0.0))
    assert done.path == run
    assert (run / STEPS).read_bytes() == expected
    assert asyncio.run(remembered(run)) == asyncio.run(remembered(whole["run"]))
    assert done.to_dict()["metrics"] == whole["metrics"]
    assert read_manifest(run)["status"] == "done"


def test_of_two_resumes_at_once_one_is_refused_and_nothing_is_doubled(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    run = copied(whole, tmp_path, 20)
    words = [sys.executable, str(ROOT / "main.py"), "backtest", "--resume", "last", "--json"]
    both = [
        subprocess.Popen(
            [*words, "--runs-dir", str(tmp_path / "runs")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300) for process in both]
    codes = [process.returncode for process in both]
    expected = (whole["run"] / STEPS).read_bytes()
    assert (run / STEPS).read_bytes() == expected
    # The later one is refused while the first writes, or finds it done.
    assert sorted(codes) == [0, 2], told
    refused = told[codes.index(2)][1]
    assert "is being written by process" in refused or "is done" in refused
    assert asyncio.run(remembered(run)) == asyncio.run(remembered(whole["run"]))


def copied(whole: dict[str, Any], folder: Path, lines: int, status: str = "interrupted") -> Path:
    """The uninterrupted run as if it had stopped after so many records."""
    run = folder / "runs" / whole["run"].name
    run.mkdir(parents=True)
    kept = (whole["run"] / STEPS).read_bytes().splitlines(keepends=True)[:lines]
    (run / STEPS).write_bytes(b"".join(kept))
    manifest = read_manifest(whole["run"]) | {"status": status}
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


def test_what_cannot_go_on_is_refused_in_words(whole: dict[str, Any], tmp_path: Path) -> None:
    config = config_of(runs_dir=str(tmp_path / "runs"))
    again = RunOptions(resume="last")
    run = copied(whole, tmp_path, 9, "done")
    with pytest.raises(RunFolderError, match="is done"):
        backtest(config, again)
    with pytest.raises(RunFolderError, match="is a backtest"):
        paper_trade(config, again)
    manifest = (run / "manifest.json").read_text().replace('"status": "done"', '"status": "failed"')
    (run / "manifest.json").write_text(manifest)
    lines = (run / STEPS).read_bytes()
    (run / STEPS).write_bytes(lines.replace(b'"step":5', b'"step":6'))
    with pytest.raises(RunFolderError, match=r"line 6 of .* is not what comes now"):
        backtest(config, again)
    assert (run / STEPS).read_bytes().count(b"\n") == 9  # nothing was added to records that differ
    (run / "manifest.json").write_text(manifest.replace('"bars": "', '"bars": "0'))
    with pytest.raises(RunFolderError, match="the bars of the run"):
        backtest(config, again)


def test_resume_is_given_alone(athena: Athena) -> None:
    done = athena("backtest", "--resume", "last", "--agents", "full")
    assert done.returncode == 2
    assert "give it alone" in done.stderr


def test_a_run_begun_with_objects_says_so(whole: dict[str, Any], tmp_path: Path) -> None:
    frame = made_market(days=80)
    config = config_of(runs_dir=str(tmp_path / "runs"))
    run = backtest(config, replace(RunOptions(), data=frame))
    manifest = read_manifest(run.path)
    assert manifest["not_stored"][0]["option"] == "--data"
    assert read_manifest(whole["run"])["asked"]["agents"] == "full"
    (run.path / "manifest.json").write_text(
        (run.path / "manifest.json").read_text().replace('"done"', '"failed"')
    )
    with pytest.raises(RunFolderError, match="objects of a Python program"):
        backtest(config, RunOptions(resume="last"))


SLOW = """
import os, time
class Slow:
    warmup = 1
    def decide(self, history, state):
        time.sleep(float(os.environ.get("SLOW_SECONDS", 0.0)))
        return {"%s": 0.1 + 0.01 * (len(history) %% 7)}
"""


@pytest.fixture
def paper(tmp_path: Path, athena: Athena) -> Path:
    """A paper run that ended cleanly after 40 of 120 steps."""
    frame = made_market(days=121)
    market = write_market(tmp_path, frame)
    (tmp_path / "slow.py").write_text(SLOW % frame["symbol"].iloc[0])
    words = ["--data", str(market), "--strategy", "slow.py:Slow", "--speed", "0", "--steps", "40"]
    done = athena("paper-trade", *words, "--json")
    assert done.returncode == 0, done.stderr
    run: Path = tmp_path / json.loads(done.stdout)["run_dir"]
    return run


def files_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.iterdir())}


def resuming(run: Path, seconds: float, *words: str) -> subprocess.Popen[str]:
    """The resume of a paper run in a process of its own, each step taking so long."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "paper-trade", "--resume", "last", *words],
        cwd=run.parent.parent,
        env={**os.environ, "SLOW_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120.0
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines_of(run: Path) -> int:
    return (run / STEPS).read_bytes().count(b"\n")


def test_fewer_steps_than_there_are_are_refused_and_change_nothing(
    paper: Path, athena: Athena
) -> None:
    before = files_of(paper)
    done = athena("paper-trade", "--resume", "last", "--steps", "20")
    assert done.returncode == 2
    assert "less than the 40 steps" in done.stderr
    assert files_of(paper) == before
    assert verify_files(paper)["ok"]


@pytest.mark.slow
def test_ctrl_c_is_heard_while_it_catches_up_and_leaves_the_folder_as_it_was(paper: Path) -> None:
    before = files_of(paper)
    process = resuming(paper, 0.2, "--steps", "120")
    wait_until(lambda: is_locked(paper), process)
    time.sleep(1.0)  # some steps of the 40, which take 8 s in all
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - asked < 5.0  # it did not live through the rest first
    assert "is as it was" in told
    assert files_of(paper) == before
    assert verify_files(paper)["ok"]


@pytest.mark.slow
def test_what_followed_from_fewer_records_goes_with_the_first_new_one(
    paper: Path, athena: Athena
) -> None:
    process = resuming(paper, 0.05, "--steps", "120")
    wait_until(lambda: lines_of(paper) >= 60, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run_status(paper, read_manifest(paper)) == "died"
    assert not (paper / "summary.json").exists()
    records = [json.loads(line) for line in (paper / STEPS).read_bytes().splitlines()]
    book = json.loads((paper / "book.json").read_text())
    # The book is saved at every step: it is that of the last record or, killed in between, the one before.
    assert book["as_of"] in {record["as_of"] for record in records[-2:]}
    record = next(each for each in records if each["as_of"] == book["as_of"])
    assert book["positions"] == record["positions"]
    assert book["equity_usd"] == record["equity_usd"]
    shown = athena("runs", "show", "last")
    assert shown.returncode == 2
    assert "'died'" in shown.stderr
    finished = resuming(paper, 0.0, "--steps", "120")
    finished.communicate(timeout=120)
    assert finished.returncode == 0
    assert lines_of(paper) == 120
    assert verify_files(paper)["ok"]


def test_a_strategy_that_fails_leaves_the_book_of_the_last_step(
    tmp_path: Path, athena: Athena
) -> None:
    frame = made_market(days=60)
    market = write_market(tmp_path, frame)
    (tmp_path / "bad.py").write_text(
        "class Bad:\n    warmup = 1\n    def decide(self, history, state):\n"
        f"        return {{'{frame['symbol'].iloc[0]}': 0.5 if len(history) < 31 else 1 / 0}}\n"
    )
    words = ["--data", str(market), "--strategy", "bad.py:Bad", "--speed", "0"]
    assert athena("paper-trade", *words).returncode == 2
    (run,) = (tmp_path / "runs").iterdir()
    assert lines_of(run) == 30
    last = json.loads((run / STEPS).read_bytes().splitlines()[-1])
    assert json.loads((run / "book.json").read_text())["as_of"] == last["as_of"]
    assert read_manifest(run)["status"] == "failed"
