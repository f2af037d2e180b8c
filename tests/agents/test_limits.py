"""Who has the risk limits, which of them do not act, and that every view says what they cut."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

import athena as interface
from core.errors import UsageError
from tests.conftest import Athena
from trading.result import Run

ALL = """class All:
    def decide(self, history, state):
        return {"AAA": 1.0}
"""
COUNT = 12
SET = ("--set", "agents.risk.max_position_frac=0.25")
OWN = ("--data", "bars.csv", "--strategy", "all.py:All")
COMMANDS = (
    ("backtest", *OWN),
    ("paper-trade", *OWN, "--speed", "0"),
    ("decide", *OWN),
)


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    days = [f"2020-03-{day:02d}" for day in (2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16, 17)]
    rows = [f"{day},AAA,10,10,10,10" for day in days]
    Path("bars.csv").write_text("\n".join(["date,symbol,open,high,low,close", *rows]) + "\n")
    Path("all.py").write_text(ALL)


def notes_of(athena: Athena, *words: str) -> list[str]:
    done = athena(*words, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return [note for note in json.loads(done.stdout)["notes"] if "agents.risk" in note]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_both_options_contradict_each_other(command: tuple[str, ...], athena: Athena) -> None:
    done = athena(*command, "--risk", "--no-risk")
    assert done.returncode == 2
    assert "--risk and --no-risk contradict each other" in done.stderr
    assert not Path("runs").exists()


def test_both_arguments_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        interface.backtest("bars.csv", strategy="all.py:All", risk=True, no_risk=True)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_limit_that_does_not_act_is_said(command: tuple[str, ...], athena: Athena) -> None:
    (note,) = notes_of(athena, *command, *SET)
    assert note == (
        "agents.risk.max_position_frac=0.25 does not act: this run has no risk limits "
        "(give --risk to have them)."
    )
    (note,) = notes_of(athena, *command, *SET, "--set", "agents.risk.sectors={AAA: tech}")
    assert "max_position_frac=0.25, agents.risk.sectors={'AAA': 'tech'} do not act" in note
    assert notes_of(athena, *command, *SET, "--risk") == []
    assert notes_of(athena, *command) == []
    assert notes_of(athena, *command, "--no-risk") == []


def test_agents_have_the_limits_unless_they_are_told_not_to(athena: Athena) -> None:
    rules = ("backtest", "--data", "bars.csv", "--agents", "rules", *SET)
    rules = (*rules, "--set", "trading.warmup_bars=3")
    assert notes_of(athena, *rules) == []
    (note,) = notes_of(athena, *rules, "--no-risk")
    assert note.endswith("(leave out --no-risk to have them).")


def test_every_view_says_what_the_limits_cut(athena: Athena) -> None:
    """AAA never moves and nothing costs: 25 % are bought at the second close, none stands at the first.

    Held on average: 11 of 12 bars x 25 % = 22.9 %; wanted: 100 % in each of 12 decisions.
    """
    free = [f"trading.{name}=0" for name in ("commission_bps", "half_spread_bps")]
    words = ["backtest", *OWN, *SET, "--risk", *(w for each in free for w in ("--set", each))]
    sentence = "imits cut 12 of 12 decisions: exposure 23 % instead of 100 %"
    shown = athena(*words)
    assert shown.returncode == 0, shown.stderr
    assert f"L{sentence}" in shown.stdout.splitlines()[2]
    run = Run(sorted(Path("runs").iterdir())[-1])
    limits: dict[str, Any] = run.summary["limits"]
    assert limits["sentence"] == f"l{sentence}"
    assert (limits["in_force"], limits["decisions"], limits["cut"]) == (True, COUNT, COUNT)
    assert limits["exposure_frac"] == pytest.approx(0.25 * 11 / 12)
    assert limits["wanted_exposure_frac"] == 1.0
    assert orjson.loads((run.path / "summary.json").read_bytes())["limits"] == limits
    for page in (run._repr_html_(), (run.path / "report.html").read_text(encoding="utf-8")):
        assert re.search(f"[lL]{sentence}", page)


def test_no_view_speaks_of_limits_that_are_not_in_force(athena: Athena) -> None:
    shown = athena("backtest", *OWN)
    assert "imits cut" not in shown.stdout
    run = Run(sorted(Path("runs").iterdir())[-1])
    assert run.summary["limits"]["in_force"] is False
    assert run.summary["limits"]["sentence"] is None
    assert "imits cut" not in run._repr_html_()
    assert "Limits: not in force." in athena("decide", *OWN).stdout
    assert "Limits: none bound." not in athena("decide", *OWN, "--risk").stdout
    assert json.loads(athena("decide", *OWN, "--json").stdout)["limits_in_force"] is False
