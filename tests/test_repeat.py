"""A run made again: whether the bytes agree, what differs, what is missing, and whose code is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import athena
from agents.assemble import RunOptions, backtest, paper_trade
from agents.repeat import repeat
from core.config import AthenaConfig, load
from core.errors import RunFolderError
from core.runlog import STEPS, read_manifest
from main import cli

STRATEGY = """\
from helper import SHARE


class Half:
    def __init__(self, k=1):
        self.k = k

    def decide(self, history, state):
        return {name: SHARE / self.k for name in history.symbols}
"""


def closes(days: int = 30) -> pd.DataFrame:
    walk = 50.0 + np.sin(np.arange(days))
    dates = pd.bdate_range("2020-01-02", periods=days)
    return pd.DataFrame({"ONE": walk}, index=pd.DatetimeIndex(dates, name="date")).round(4)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, a strategy and its helper, in which nothing was run yet, and an own list."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "helper.py").write_text("SHARE = 0.5\n")
    (tmp_path / "mine.py").write_text(STRATEGY)
    closes().to_csv(tmp_path / "closes.csv")
    return tmp_path


def settings(place: Path) -> AthenaConfig:
    return load(tree={"runs_dir": str(place / "runs")}).config


def environment(place: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(place / "state")}


def began(place: Path, **asked: Any) -> Path:
    named = {"data": "closes.csv", "strategy": "mine.py:Half", "environment": environment(place)}
    return backtest(settings(place), RunOptions(**{**named, **asked})).path


def again(place: Path, run: Path, **supplied: Any) -> dict[str, Any]:
    supplied = {"environment": environment(place), **supplied}
    return repeat(settings(place), str(run), RunOptions(**supplied)).to_dict()


def files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


def forget(place: Path) -> None:
    (place / "state" / "athena" / "trusted-code").unlink(missing_ok=True)


def test_the_same_again(place: Path) -> None:
    run = began(place, params=(("k", "2"),), start="2020-01-10", risk=True)
    before = files(run)
    report = again(place, run)
    assert report["identical"]
    assert report["first_difference"] is None
    assert report["differences"] == []
    assert files(run) == before
    made = Path(report["repeated_dir"])
    assert made != run
    assert made.name[26:34] == run.name[26:34]
    assert read_manifest(made)["identity"] == read_manifest(run)["identity"]
    assert again(place, made)["identical"]  # a repeat can be repeated


def test_a_paper_trade_is_repeated_for_as_many_steps(place: Path) -> None:
    options = RunOptions(
        data="closes.csv", strategy="mine.py:Half", speed=1e6, steps=7,
        environment=environment(place),
    )  # fmt: skip
    run = paper_trade(settings(place), options).path
    report = again(place, run)
    assert report["identical"]
    assert (Path(report["repeated_dir"]) / STEPS).read_bytes().count(b"\n") == 7


def test_changed_data_are_named_with_the_first_line(place: Path) -> None:
    run = began(place)
    changed = closes()
    changed.iloc[20] *= 1.01
    changed.to_csv(place / "closes.csv")
    report = again(place, run)
    assert not report["identical"]
    # Records begin at the first bar: its 21st is line 21.
    assert report["first_difference"] == {"line": 21, "as_of": "2020-01-30T21:00:00Z"}
    what = {each["what"]: each for each in report["differences"]}
    assert {"identity.bars", "data.sha256"} <= what.keys()
    assert what["identity.bars"]["then"] == read_manifest(run)["identity"]["bars"]


def test_changed_code_is_refused_before_it_is_run(place: Path) -> None:
    run = began(place)
    for name in ("mine.py", "helper.py"):
        whole = (place / name).read_text()
        (place / name).write_text(f"open('ran', 'w').close()\n{whole}")
        with pytest.raises(RunFolderError, match=f"{name} is not what it was"):
            again(place, run)
        with pytest.raises(RunFolderError, match=f"{name} is not what it was"):
            again(place, run, trust=True)  # which is about who wrote it, not about what it was
        assert not (place / "ran").exists()
        (place / name).write_text(whole)
    (place / "helper.py").write_text("SHARE = 0.25\n")
    report = again(place, run, strategy="mine.py:Half")  # named by the user
    assert not report["identical"]
    assert {each["what"]: each["now"] for each in report["differences"]}.keys() == {
        "identity.strategy.code.helper.py", "identity.strategy.class_state.decide().SHARE",
    }  # fmt: skip


def test_a_folder_s_word_for_code_is_none(place: Path) -> None:
    run = began(place)
    forget(place)
    without_list: dict[str, Any] = {"environment": {}}
    for supplied in ({}, without_list):
        with pytest.raises(RunFolderError, match=r"not run yourself yet: .*mine.py.*--trust"):
            again(place, run, **supplied)
    assert again(place, run, trust=True)["identical"]
    with pytest.raises(RunFolderError, match="not run yourself yet"):
        again(place, run)  # trusted that once
    assert again(place, run, strategy="mine.py:Half")["identical"]
    assert again(place, run)["identical"]


@pytest.mark.parametrize("knows", [{"trust": True}, {"strategy": "mine.py:Half"}])
def test_a_resume_asks_the_same(place: Path, knows: dict[str, Any]) -> None:
    run = paper_trade(
        settings(place),
        RunOptions(data="closes.csv", strategy="mine.py:Half", speed=0.0, steps=5,
                   environment=environment(place)),
    ).path  # fmt: skip
    forget(place)
    resume: dict[str, Any] = {
        "resume": str(run), "speed": 0.0, "steps": 9, "environment": environment(place)
    }  # fmt: skip
    before = files(run)
    with pytest.raises(RunFolderError, match="not run yourself yet"):
        paper_trade(settings(place), RunOptions(**resume))
    assert files(run) == before
    paper_trade(settings(place), RunOptions(**resume, **knows))
    assert (run / STEPS).read_bytes().count(b"\n") == 9
    (place / "mine.py").write_text("open('ran', 'w').close()\n" + STRATEGY)
    with pytest.raises(RunFolderError, match=r"mine.py is not what it was"):
        paper_trade(settings(place), RunOptions(**{**resume, "steps": 11}, **knows))
    assert not (place / "ran").exists()


def test_what_a_program_gave_is_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(place))
    for name in ("mine", "helper"):  # another test's
        monkeypatch.delitem(sys.modules, name, raising=False)
    import mine  # type: ignore[import-not-found]

    run = athena.backtest(closes(), strategy=mine.Half(k=2), runs_dir=place / "runs").path
    manifest = read_manifest(run)
    assert manifest["not_stored"] == [
        {"option": "--data", "what": "DataFrame of 30 x 1"},
        {"option": "--strategy", "what": "an object of Half"},
    ]
    assert manifest["asked"]["start"] is None
    assert manifest["asked"]["strategy"] is None
    with pytest.raises(RunFolderError, match=r"Give --data FILE, --strategy FILE.py:Class\."):
        again(place, run)
    with pytest.raises(RunFolderError, match=r"Give --strategy FILE.py:Class\."):
        again(place, run, data="closes.csv")
    asked: dict[str, Any] = {"data": "closes.csv", "strategy": "mine.py:Half"}
    report = again(place, run, **asked, params=(("k", "2"),))
    assert report["identical"]
    assert not [each for each in report["differences"] if each["what"].startswith("identity")]
    assert not again(place, run, **asked)["identical"]  # k=1
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace('"status": "done"', '"status": "failed"'))
    with pytest.raises(RunFolderError, match="objects of a Python program"):
        backtest(settings(place), RunOptions(resume=str(run)))


def test_what_is_gone_is_asked_for(place: Path) -> None:
    run = began(place)
    (place / "closes.csv").rename(place / "moved.csv")
    with pytest.raises(RunFolderError, match=r"closes.csv, which is not there.* Give --data FILE"):
        again(place, run)
    assert again(place, run, data="moved.csv")["identical"]


def test_the_address_of_the_memory_is_the_user_s_own(place: Path) -> None:
    from agents.again import began_with

    run = began(place)
    manifest = read_manifest(run)
    manifest["config"]["memory"]["neo4j_uri"] = "bolt://elsewhere:7687"
    config, _ = began_with(manifest, run.name, settings(place), RunOptions())
    assert config.memory.neo4j_uri is None


def test_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = began(place)

    def command(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["runs", "repeat", run.name, "--runs-dir", "runs", *words])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    code, said = command("--json")
    report = json.loads(said)
    assert code == 0
    assert report.keys() == {
        "run_dir", "repeated_dir", "identical", "differences", "first_difference",
    }  # fmt: skip
    code, said = command()
    assert code == 0
    assert "every byte of the records agrees" in said
    closes().mul(1.5).to_csv(place / "closes.csv")
    code, said = command()
    assert code == 1
    assert "the records differ from line 1 on" in said
    forget(place)
    code, said = command()
    assert code == 2
    assert "--trust" in said
