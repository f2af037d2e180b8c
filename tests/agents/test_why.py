"""The chain from an order back to what it rests on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.why import find_decision
from core.errors import UsageError
from tests.conftest import Athena
from tests.market_files import made_market, write_market
from tests.test_full_agents import config_of


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished run of the full agents, without the language model, and its records."""
    from agents.assemble import RunOptions, backtest

    folder = tmp_path_factory.mktemp("lived")
    market = write_market(folder, made_market())
    config = config_of(
        runs_dir=str(folder / "runs"),
        agents={"risk": {"lookback_bars": 30, "min_lookback_bars": 10, "max_position_frac": 0.2}},
    )
    run = backtest(config, RunOptions(agents="full", data=str(market)))
    lines = (run.path / "steps.jsonl").read_bytes().splitlines()
    return {"folder": run.path, "lines": lines, "steps": [orjson.loads(line) for line in lines]}


def ask(athena: Athena, *words: str) -> dict[str, Any]:
    done = athena("why", *words, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def order_with_memory(lived: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last order whose symbol had recalled entries, and its record."""
    return next(
        (order, step)
        for step in reversed(lived["steps"])
        for order in step["orders"]
        if order["symbol"] in step["memory"]["recalled"]
    )


def test_an_order_leads_back_to_entries_and_the_operations_that_wrote_them(
    lived: dict[str, Any], athena: Athena
) -> None:
    order, step = order_with_memory(lived)
    told = ask(athena, str(lived["folder"]), "--order", order["id"])
    assert told["order"] == order
    assert told["as_of"] == step["as_of"]
    assert told["target"] == step["targets"].get(order["symbol"])
    assert {view["agent"] for view in told["views"]} >= {"market_analyst"}
    columns = step["memory"]["recalled"][order["symbol"]]
    assert {each["id"] for each in told["recalled"]} == set(columns["ids"])
    assert [each["weight"] for each in told["recalled"]] == sorted(columns["weights"], reverse=True)
    # Every version was written by an operation, which a record of this run or an earlier line names.
    written = {(each["entry"], each["version"]): each["id"] for each in told["operations"]}
    assert set(written) == {(each["id"], each["version"]) for each in told["recalled"]}
    receipts = {
        (r["entry"], r["version"]): r["id"]
        for each in lived["steps"]
        for r in each["memory"]["operations"]
        if "entry" in r
    }
    assert all(receipts[place] == operation for place, operation in written.items())
    assert all(each["recorded_at"] <= told["as_of"] for each in told["operations"])
    assert all(each["text"] for each in told["recalled"])


def test_a_limit_says_what_was_wanted_and_what_it_gave(
    lived: dict[str, Any], athena: Athena
) -> None:
    step, verdict = next(
        (step, verdict)
        for step in lived["steps"]
        for verdict in step["verdict"]
        if verdict["allowed_frac"] > 0.0
    )
    words = (str(lived["folder"]), "--at", step["as_of"], "--symbol", verdict["symbol"])
    limits, reason = ask(athena, *words)["limits"], verdict["reasons"][-1]
    (limit,) = [each for each in limits if each["reason"] == reason]
    assert limit["wanted_frac"] == verdict["wanted_frac"]
    assert limit["allowed_frac"] == verdict["allowed_frac"]
    shown = athena("why", *words).stdout
    assert f"wanted {100 * verdict['wanted_frac']:.2f} %, {reason} gave" in shown
    assert len(shown.splitlines()) <= 20


def test_a_trade_not_made_has_its_reason(lived: dict[str, Any], athena: Athena) -> None:
    step = lived["steps"][-1]
    ordered = {order["symbol"] for order in step["orders"]}
    quiet = next(s for s in step["forecasts"]["symbols"] if s not in ordered)
    told = ask(athena, str(lived["folder"]), "--at", step["as_of"][:10], "--symbol", quiet)
    assert told["order"] is None
    assert told["why_not"]
    assert told["why_not"] == told["reason"]
    assert (told["fills"], told["unfilled"], told["trade"]) == ([], [], None)


def test_a_symbol_that_the_run_does_not_have_is_refused_with_the_nearest(
    lived: dict[str, Any], athena: Athena
) -> None:
    folder, at = str(lived["folder"]), lived["steps"][-1]["as_of"]
    done = athena("why", folder, "--at", at, "--symbol", "SPLITT", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert "no symbol 'SPLITT'" in error["message"]
    assert "Did you mean SPLIT?" in error["cure"]
    assert ask(athena, folder, "--at", at, "--symbol", "$split")["symbol"] == "SPLIT"


SAYS = """
from athena import Target
class Says:
    def decide(self, history, state):
        day = len(history)
        if day == 1:
            return {"A": Target(0.5, reason="it is cheap"), "B": Target(None, reason="no idea")}
        if day == 2:
            return {"A": Target(0.0, reason="it was sold on Friday")}
        if day == 3:
            return {"A": Target(0.5, limit_price=1.0)}
        return None
"""
BARS = """date,symbol,open,high,low,close
2020-01-02,A,10,10,10,10
2020-01-02,B,10,10,10,10
2020-01-03,A,10,12,10,12
2020-01-03,B,10,10,10,10
2020-01-06,A,15,15,15,15
2020-01-06,B,10,10,10,10
2020-01-07,A,15,15,15,15
2020-01-07,B,10,10,10,10
"""
FREE = ["commission_bps=100", "half_spread_bps=0", "impact_coefficient=0"]


@pytest.fixture
def told(tmp_path: Path, athena: Athena) -> str:
    (tmp_path / "says.py").write_text(SAYS)
    (tmp_path / "bars.csv").write_text(BARS)
    costs = [word for setting in FREE for word in ("--set", f"trading.{setting}")]
    words = ["--data", "bars.csv", "--strategy", "says.py:Says", "--no-risk", *costs]
    done = athena("backtest", *words, "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["run_dir"])


def test_an_order_of_ones_own_strategy_leads_on_to_its_fill_and_its_trade(
    told: str, athena: Athena
) -> None:
    # 100000 x 0.5 / 10 = 5000 shares at 10, commission 1 % = 500; sold at 15 for 75000, commission 750.
    bought = ask(athena, told, "--order", "o1")
    assert bought["reason"] == "Says: it is cheap. The target is 50.00 % of the equity."
    ((fill,), costs) = bought["fills"], bought["costs"]
    assert (fill["as_of"][:10], fill["quantity"], fill["price"]) == ("2020-01-03", 5_000.0, 10.0)
    assert (costs["commission_usd"], costs["total_usd"]) == (500.0, 500.0)
    assert bought["unfilled"] == []
    trade = bought["trade"]
    assert (trade["status"], trade["entry_price"], trade["exit_price"]) == ("closed", 10.0, 15.0)
    assert trade["pnl_usd"] == pytest.approx(25_000.0 - 500.0 - 750.0)
    sold = ask(athena, told, "--order", "o2")
    assert sold["reason"] == "Says: it was sold on Friday. The target is 0 %."
    assert sold["trade"] == trade
    shown = " ".join(athena("why", told, "--order", "o1").stdout.split())
    assert "because Says: it is cheap." in shown
    assert "filled +5,000 at 10, in the bar of 2020-01-03" in shown
    assert "+23,750.00 USD after costs" in shown


def test_what_was_not_filled_has_its_cause_and_what_was_not_said_is_not_told(
    told: str, athena: Athena
) -> None:
    limit = ask(athena, told, "--order", "o3")
    assert limit["fills"] == []
    assert limit["trade"] is None
    assert [each["reason"] for each in limit["unfilled"]] == ["limit"]
    assert limit["reason"] == "Says gave no reason. The target is 50.00 % of the equity."
    assert ": limit, at 2020-01-07" in athena("why", told, "--order", "o3").stdout
    kept = ask(athena, told, "--at", "2020-01-02", "--symbol", "B")["why_not"]
    assert kept == "Says: no idea. Nothing is held, and no target above 0 % came of it."
    never = ask(athena, told, "--at", "2020-01-06", "--symbol", "B")["why_not"]
    assert never == (
        "Says gave no reason. Nothing is held, and the record has no view, target or order of it."
    )


def test_a_question_about_nothing_is_the_askers_mistake(lived: dict[str, Any]) -> None:
    lines = lived["lines"]
    for question, says in (
        ({"order": "o999999", "at": None, "symbol": None}, "no order"),
        ({"order": None, "at": "1999-01-01", "symbol": "OLD"}, "no record up to"),
        ({"order": None, "at": "soon", "symbol": "OLD"}, "--at is 'soon'"),
        ({"order": None, "at": "2020-08-01", "symbol": None}, "neither an order"),
    ):
        with pytest.raises(UsageError, match=says):
            find_decision(lines, **question)  # type: ignore[arg-type]


def test_memory_show_prints_an_entrys_record(lived: dict[str, Any], athena: Athena) -> None:
    credited = next(
        receipt["entry"]
        for step in reversed(lived["steps"])
        for receipt in step["memory"]["operations"]
        if receipt["operation"] == "credit" and "entry" in receipt
    )
    shown = athena("memory", "--run", str(lived["folder"]), "show", credited)
    assert shown.returncode == 0, shown.stderr
    assert "answered forecasts" in shown.stdout
    assert "nats a forecast" in shown.stdout
    assert Path(lived["folder"]).is_dir()


def test_an_order_that_waits_when_the_records_end_says_so(tmp_path: Path, athena: Athena) -> None:
    """Half of A is asked for on the last of three days; no bar comes after it."""
    (tmp_path / "late.py").write_text(
        "class Late:\n"
        "    def decide(self, history, state):\n"
        "        return {'A': 0.5} if history.row == 2 else None\n"
    )
    (tmp_path / "bars.csv").write_text("\n".join(BARS.splitlines()[:7]) + "\n")
    done = athena("backtest", "--data", "bars.csv", "--strategy", "late.py:Late", "--json")
    assert done.returncode == 0, done.stderr
    run = str(json.loads(done.stdout)["run_dir"])
    told = ask(athena, run, "--order", "o1")
    assert (told["fills"], told["unfilled"], told["open_at_end"]) == ([], [], True)
    shown = athena("why", run, "--order", "o1").stdout
    assert "not filled  it still waits where the records end" in shown


def test_an_order_and_another_question_contradict_each_other(told: str, athena: Athena) -> None:
    assert ask(athena, told, "--order", "o1", "--symbol", "a")["open_at_end"] is False
    for words, says in (
        (("--symbol", "B"), "the order o1 is of A, not of B"),
        (("--at", "2020-01-06"), "--order names one decision, and --at another"),
    ):
        done = athena("why", told, "--order", "o1", *words)
        assert (done.returncode, says in done.stderr) == (2, True)
