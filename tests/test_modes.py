"""The modes as a user runs them: what they say, what they leave behind, and how they stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from main import cli
from tests.conftest import ROOT, Athena
from tests.market_files import QUICK_AGENTS, made_market, quick_config, write_market

RECORD_KEYS = [
    "step", "as_of", "inputs_hash", "views", "targets", "verdict", "reasons", "orders", "fills",
    "unfilled", "positions", "cash_usd", "equity_usd", "borrow_usd", "forecasts", "memory", "messages",
]  # fmt: skip
ORDER_KEYS = [
    "id", "symbol", "side", "quantity", "value_usd", "type", "limit_price", "stop_price", "tif", "tag",
]  # fmt: skip
ESTIMATES = [
    "estimated_quantity", "estimated_value_usd", "estimated_commission_usd", "estimated_spread_usd",
    "estimated_impact_usd", "estimated_cost_usd",
]  # fmt: skip
FILL_KEYS = [
    "order_id", "symbol", "quantity", "price", "commission_usd", "spread_usd", "impact_usd",
]  # fmt: skip
METRICS = {
    "total_return_frac", "annual_return_frac", "volatility_frac", "sharpe", "sortino", "calmar",
    "max_drawdown_frac", "max_drawdown_days", "turnover_frac_per_year", "exposure_frac",
    "hit_rate_frac", "profit_factor", "var_95_frac", "expected_shortfall_95_frac",
}  # fmt: skip
OUTPUTS = {
    "manifest.json", "steps.jsonl", "summary.json", "trades.csv", "trades.parquet", "equity.parquet",
    "equity.png", "report.html",
}  # fmt: skip

TINY = """date,symbol,open,high,low,close,volume
2020-01-02,A,100,100,100,100,1000000
2020-01-02,B,50,50,50,50,1000000
2020-01-03,A,100,110,100,110,1000000
2020-01-03,B,50,50,40,40,1000000
2020-01-06,A,110,121,110,121,1000000
2020-01-06,B,40,40,40,40,1000000
2020-01-06,C,10,10,10,10,1000000
2020-01-07,A,121,121,121,121,1000000
2020-01-07,B,40,60,40,60,1000000
2020-01-07,C,10,20,10,20,1000000
"""
HALF = """
class Half:
    warmup = 2
    def decide(self, history, state):
        return {"A": 0.5}
"""


RULES = ["--agents", "rules"]
"""Where it does not matter who decides: quicker than with a language model."""
HALF_OF_TINY = ["--data", "tiny.csv", "--strategy", "half.py:Half", "--no-risk"]


def config_file(folder: Path, **changes: Any) -> list[str]:
    quick_config(**changes).save_yaml(folder / "quick.yaml")
    return ["-c", "quick.yaml"]


def ask(athena: Athena, *words: str, **more: Any) -> dict[str, Any]:
    """The one JSON object of a command that went well."""
    done = athena(*words, "--json", **more)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refuse(athena: Athena, *words: str, code: int = 2, **more: Any) -> dict[str, str]:
    """The error of a command that went wrong, told on stderr in two lines and as JSON."""
    done = athena(*words, "--json", **more)
    assert done.returncode == code, done.stderr
    error: dict[str, str] = json.loads(done.stdout)["error"]
    assert error.keys() == {"kind", "message", "cure"}
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert error["message"] in done.stderr
    assert "Traceback" not in done.stderr
    return error


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Athena:
    """The same command line in this process: quicker, for what does not depend on a process."""

    def run(*words: str) -> Any:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as left:
            cli.main(list(words))
        told = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(str(left.value.code)), told.out, told.err)

    return run


def steps_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "steps.jsonl").read_text().splitlines()]


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.csv").write_text(TINY)
    (tmp_path / "half.py").write_text(HALF)
    return HALF_OF_TINY


# --- backtest


def test_a_backtest_prints_exactly_the_promised_keys_and_what_is_added(
    athena: Athena, tmp_path: Path, tiny: list[str]
) -> None:
    summary = ask(athena, "backtest", *tiny)
    promised = {
        "run_dir", "mode", "data", "seed", "config_hash", "final_equity_usd", "metrics", "costs",
        "benchmark", "orders", "fills", "trades", "evidence", "seconds",
    }  # fmt: skip
    added = {
        "status", "decided_by", "command", "bars_per_year", "initial_cash_usd", "drawdowns", "years",
        "limits", "training_cutoff", "bars_inside_cutoff", "notes", "curve", "news", "open_orders",
        "open_positions", "orders_unfilled", "delistings", "margin_calls",
    }  # fmt: skip
    assert summary.keys() == promised | added
    assert summary["data"].keys() >= {
        "name",
        "mock",
        "symbols",
        "start",
        "end",
        "steps",
        "currency",
    }
    assert summary["metrics"].keys() == METRICS
    assert summary["costs"].keys() >= {
        "commission_usd", "spread_usd", "impact_usd", "borrow_usd", "total_usd",
    }  # fmt: skip
    assert summary["benchmark"].keys() >= {"name", "final_equity_usd", "metrics"}
    assert summary["benchmark"]["metrics"].keys() == METRICS
    assert isinstance(summary["orders"], int)
    assert isinstance(summary["fills"], int)
    assert isinstance(summary["trades"], int)
    run_dir = tmp_path / summary["run_dir"]
    assert {path.name for path in run_dir.iterdir()} == OUTPUTS
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["status"] == summary["status"] == "done"
    assert set(manifest["data"]["inputs"]) == {"strategy"}


def test_the_benchmark_is_bought_at_the_first_record_and_held(
    here: Athena, tiny: list[str]
) -> None:
    free = ["commission_bps=0", "half_spread_bps=0", "impact_coefficient=0"]
    sets = [word for each in free for word in ("--set", f"trading.{each}")]
    summary = ask(here, "backtest", *tiny, *sets)
    # Warm-up 2: the first decision is at the close of 01-03, when A and B are listed and C is not.
    # 50,000 of each at the next open: A at 110, B at 40; marked on the 7th at 121 and 60:
    # 50,000 x 121 / 110 + 50,000 x 60 / 40 = 55,000 + 75,000.
    assert summary["data"]["start"] == "2020-01-03T21:00:00Z"
    assert summary["data"]["steps"] == 3
    assert summary["data"]["symbols"] == ["A", "B", "C"]
    assert summary["benchmark"]["final_equity_usd"] == pytest.approx(130_000.0, abs=0.01)
    assert summary["benchmark"]["metrics"]["total_return_frac"] == pytest.approx(0.3)
    # Ours: half of 100,000 in A at 110, trimmed at each open to half of the equity at the close
    # before: 01-06 close 121: 454.5454 x 121 + 50,000 = 105,000, so 52,500 of A at 121 on the 7th.
    assert summary["final_equity_usd"] == pytest.approx(105_000.0, abs=0.01)
    costly = ask(here, "backtest", *tiny, "--set", "trading.commission_bps=100")
    # The benchmark pays the same costs: 1 % commission and 2 bps of half spread on what it buys.
    assert costly["benchmark"]["final_equity_usd"] == pytest.approx(130_000 / 1.0102, rel=1e-3)


def test_records_have_their_keys_and_events_in_their_order(
    athena: Athena, tmp_path: Path, tiny: list[str]
) -> None:
    steps = steps_of(tmp_path / ask(athena, "backtest", *tiny)["run_dir"])
    assert [step["as_of"][:10] for step in steps] == ["2020-01-03", "2020-01-06", "2020-01-07"]
    assert [step["step"] for step in steps] == [0, 1, 2]
    for step in steps:
        assert list(step) == RECORD_KEYS
        for order in step["orders"]:
            assert list(order) == ORDER_KEYS
        for fill in step["fills"]:
            assert list(fill) == FILL_KEYS
    first, second, last = steps
    # Decided at close t, filled in t + 1 at its open, then marked at its close, then decided anew.
    assert (first["fills"], first["positions"], first["equity_usd"]) == ([], {}, 100_000.0)
    [order] = first["orders"]
    assert (order["value_usd"], order["quantity"]) == (50_000.0, None)
    [fill] = second["fills"]
    assert (fill["order_id"], fill["price"]) == (order["id"], 110.0)
    held = second["positions"]["A"]
    assert second["equity_usd"] == pytest.approx(second["cash_usd"] + held * 121.0, abs=0.005)
    # The last bar still fills what was sent, and sends what it decides.
    assert last["fills"]
    assert last["orders"]


def test_start_and_end_are_inclusive_and_bars_before_start_are_history(
    here: Athena, tmp_path: Path, tiny: list[str]
) -> None:
    looks = "class Looks:\n    def decide(self, history, state):\n        return {'A': len(history) / 10}\n"
    (tmp_path / "looks.py").write_text(looks)
    words = ["--data", "tiny.csv", "--strategy", "looks.py:Looks", "--no-risk"]
    summary = ask(here, "backtest", *words, "--start", "2020-01-03", "--end", "2020-01-06")
    assert summary["data"]["start"][:10] == "2020-01-03"
    assert summary["data"]["end"][:10] == "2020-01-06"
    steps = steps_of(tmp_path / summary["run_dir"])
    assert [step["targets"]["A"] for step in steps] == [0.2, 0.3]
    later = ask(here, "backtest", *words, "--start", "2020-01-03T21:00:01Z")
    assert later["data"]["start"][:10] == "2020-01-06"


@pytest.mark.parametrize(
    ("words", "kind", "part"),
    [
        (["--start", "2020-13-01"], "DataError", "--start 2020-13-01 is no date."),
        (["--end", "yesterday"], "DataError", "--end yesterday is no date."),
        (["--start", "2020-01-08"], "DataError", "lies after the last bar (2020-01-07T21:00:00Z)"),
        (["--end", "2019-01-01"], "DataError", "no bar up to 2019-01-01"),
        (["--end", "2020-01-02"], "DataError", "first decision needs 2 bars and the data have 1"),
        (
            ["--start", "2020-01-07", "--end", "2020-01-03"],
            "DataError",
            "--start 2020-01-07 lies after --end 2020-01-03.",
        ),
        (["--symbols", "A,NOPE"], "DataError", "tiny.csv has no NOPE"),
        (["--symbols", ","], "UsageError", "names no symbol"),
        (["--universe", "empty.csv"], "DataError", "the universe empty.csv is empty."),
        (["--universe", "past.csv"], "DataError", "no member of the universe has a bar"),
        (["--weights", "weights.csv"], "UsageError", "--strategy and --weights both decide."),
        (["--views", "views.csv"], "UsageError", "--views feeds the agents"),
        (["--data", "absent.csv"], "DataError", "absent.csv"),
        (["--runs-dir", "tiny.csv"], "RunFolderError", "cannot be made"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_a_mistake_is_told_in_two_lines_and_leaves_no_run(
    here: Athena, tmp_path: Path, words: list[str], kind: str, part: str
) -> None:
    (tmp_path / "empty.csv").write_text("symbol\n")
    (tmp_path / "past.csv").write_text("symbol,from\nA,2021-01-01\n")
    error = refuse(here, "backtest", *HALF_OF_TINY, *words)
    assert error["kind"] == kind
    assert part in error["message"]
    assert not (tmp_path / "runs").exists()


# --- stopping


SLOW = """
import pathlib, time
class Slow:
    def decide(self, history, state):
        time.sleep(0.02)
        if len(history) == 20:
            pathlib.Path("twenty").touch()
        return {symbol: 0.1 * (len(history) % 2) for symbol in history.symbols}
"""


@contextmanager
def running(folder: Path, *words: str, strategy: str = SLOW) -> Iterator[subprocess.Popen[str]]:
    """A command that is in its twentieth step or later; killed at the end if it still runs."""
    (folder / "slow.py").write_text(strategy)
    command = [
        sys.executable,
        str(ROOT / "main.py"),
        *words,
        "--strategy",
        "slow.py:Slow",
        "--json",
    ]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not (folder / "twenty").exists() and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            (folder / "twenty").unlink()
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def only_run(folder: Path) -> Path:
    [run_dir] = (folder / "runs").iterdir()
    return run_dir


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_backtest_leaves_a_folder_complete_for_the_steps_taken(
    athena: Athena, tmp_path: Path, stop: signal.Signals
) -> None:
    with running(tmp_path, "backtest") as process:
        process.send_signal(stop)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    run_dir = only_run(tmp_path)
    steps = steps_of(run_dir)
    # Soon after the twentieth: a slow strategy's steps are not waited for by the hundred.
    assert len(steps) < 120
    assert json.loads(stdout)["error"]["cure"].startswith(f"{len(steps)} steps are saved in")
    assert {path.name for path in run_dir.iterdir()} == OUTPUTS
    assert json.loads((run_dir / "manifest.json").read_text())["status"] == "interrupted"
    summary = ask(athena, "runs", "show", "last")
    assert summary["status"] == "interrupted"
    assert f"the figures cover the {len(steps)} steps taken" in " ".join(summary["notes"])
    assert summary["data"]["steps"] == len(steps)
    assert summary["final_equity_usd"] == steps[-1]["equity_usd"]
    curve = pd.read_parquet(run_dir / "equity.parquet")
    assert curve["equity_usd"].tolist() == [step["equity_usd"] for step in steps]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_paper_trading_stopped_by_a_signal_is_done_with_its_book_saved(
    tmp_path: Path, stop: signal.Signals
) -> None:
    with running(tmp_path, "paper-trade", "--risk", "--speed", "0") as process:
        process.send_signal(stop)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    run_dir = only_run(tmp_path)
    steps, summary = steps_of(run_dir), json.loads(stdout)
    book = json.loads((run_dir / "book.json").read_text())
    assert book["as_of"] == steps[-1]["as_of"]
    assert book["cash_usd"] == steps[-1]["cash_usd"]
    assert book["positions"] == steps[-1]["positions"]
    assert book["equity_usd"] == summary["final_equity_usd"] == steps[-1]["equity_usd"]
    sent = {order["id"] for order in steps[-1]["orders"]}
    assert {order["id"] for order in book["working_orders"]} == sent
    assert book["risk"]["mode"] == "active"
    assert {path.name for path in run_dir.iterdir()} == {*OUTPUTS, "book.json"}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["backtest"], ["paper-trade", "--speed", "0"]])
def test_a_signal_that_comes_again_and_again_loses_nothing(
    tmp_path: Path, words: list[str], stop: signal.Signals
) -> None:
    with running(tmp_path, *words) as process:
        for _ in range(4):
            process.send_signal(stop)
            time.sleep(0.05)
        stdout, stderr = process.communicate(timeout=60)
    paper = words[0] == "paper-trade"
    assert process.returncode == (0 if paper else 130), stderr
    assert "error" in json.loads(stdout) or paper
    run_dir = only_run(tmp_path)
    assert {path.name for path in run_dir.iterdir()} == OUTPUTS | (
        {"book.json"} if paper else set()
    )
    status = json.loads((run_dir / "manifest.json").read_text())["status"]
    assert status == ("done" if paper else "interrupted")


def test_a_strategy_that_hangs_is_left_at_the_second_ctrl_c(tmp_path: Path) -> None:
    hung = SLOW.replace(".touch()", ".touch()\n            while True: pass")
    with running(tmp_path, "paper-trade", "--speed", "0", strategy=hung) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(2.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["error"]["cure"].startswith("Saved: 19 records in")
    assert len(steps_of(only_run(tmp_path))) == 19


def test_paper_trading_waits_for_its_pace_and_a_stop_ends_the_wait(tmp_path: Path) -> None:
    (tmp_path / "now.py").write_text(
        "import pathlib\nclass Now:\n    def decide(self, history, state):\n"
        "        pathlib.Path('began').touch()\n        return None\n"
    )
    command = [
        sys.executable, str(ROOT / "main.py"), "paper-trade", "--strategy", "now.py:Now", "--json",
        "--set", "trading.poll_seconds=3600",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["data"]["steps"] == 1


@pytest.mark.parametrize("words", [["paper-trade", "--speed", "0"], ["backtest"]])
def test_a_killed_run_leaves_whole_records_and_runs_list_says_so(
    athena: Athena, tmp_path: Path, words: list[str]
) -> None:
    with running(tmp_path, *words) as process:
        [listed] = ask(athena, "runs", "list")["runs"]
        assert listed["status"] == "running"
        process.kill()
        process.communicate(timeout=60)
    run_dir = only_run(tmp_path)
    text = (run_dir / "steps.jsonl").read_bytes()
    assert text.endswith(b"\n")
    assert [json.loads(line)["step"] for line in text.splitlines()] == list(
        range(text.count(b"\n"))
    )
    # A backtest hands its records over at every breath, a tenth of a second or ten slow steps apart.
    assert text.count(b"\n") >= (18 if words[0] == "paper-trade" else 10)
    [listed] = ask(athena, "runs", "list")["runs"]
    assert listed["status"] == "died"
    assert listed["final_equity_usd"] is None
    error = refuse(athena, "runs", "show", "last")
    assert error["kind"] == "RunFolderError"
    assert "'died'" in error["cure"]


def test_a_second_run_at_the_same_time_has_a_folder_of_its_own(
    athena: Athena, tmp_path: Path
) -> None:
    with running(tmp_path, "paper-trade", "--speed", "0", "--steps", "60") as first:
        other = ask(
            athena, "paper-trade", "--speed", "0", "--steps", "5", "--strategy", "slow.py:Slow"
        )
        stdout, stderr = first.communicate(timeout=60)
    assert first.returncode == 0, stderr
    ours = json.loads(stdout)
    assert ours["run_dir"] != other["run_dir"]
    assert len(steps_of(tmp_path / ours["run_dir"])) == 60
    assert len(steps_of(tmp_path / other["run_dir"])) == 5
    lines = [(tmp_path / each["run_dir"] / "steps.jsonl").read_bytes() for each in (ours, other)]
    assert lines[0].startswith(lines[1])


def test_a_full_disk_fails_with_what_is_saved(athena: Athena, tmp_path: Path) -> None:
    """A file system of 256 kB, where one can be mounted; test_cli_runs.py has a limit on file size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        error = refuse(athena, "backtest", *RULES, "--runs-dir", str(disk), code=1)
        assert error["kind"] == "StorageError"
        assert "No space left on device" in error["message"]
        [run_dir] = disk.iterdir()
        steps = steps_of(run_dir)
        assert f"{len(steps)} whole records are saved" in error["message"]
        assert len(steps) > 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- decide


def holdings(folder: Path, *lines: str) -> list[str]:
    (folder / "book.csv").write_text("\n".join(["symbol,quantity", *lines]) + "\n")
    return ["--holdings", "book.csv"]


def test_decide_marks_a_book_in_the_shares_and_prices_of_the_day(
    athena: Athena, tmp_path: Path
) -> None:
    # AAPL closed at 546.075 on 2012-05-21 before its later 7:1 split: real shares, real price.
    book = holdings(tmp_path, "AAPL,10", "IBM,5", "CASH,1000")
    sample = pd.read_csv(ROOT / "trading" / "sample" / "wiki_us5_daily_2000_2013.csv.gz")
    for date in ("2005-02-25", "2012-05-21"):
        raw = sample[sample["date"] == date].set_index("symbol")["close"]
        report = ask(athena, "decide", *RULES, *book, "--as-of", date)
        assert report["as_of"][:10] == date
        equity = 10 * raw["AAPL"] + 5 * raw["IBM"] + 1_000
        assert report["equity_usd"] == pytest.approx(equity, abs=0.005)
        assert report["weights"]["AAPL"] == pytest.approx(10 * raw["AAPL"] / equity)
        assert report["positions"] == {"AAPL": 10.0, "IBM": 5.0}
        assert report.keys() >= {"as_of", "orders", "targets", "views", "limits", "notes"}
        keys = [*ORDER_KEYS, *ESTIMATES, "reason"]
        assert [list(order) for order in report["orders"]] == [keys] * len(report["orders"])
        for order in report["orders"]:
            held = report["positions"].get(order["symbol"], 0.0)
            shares = order["value_usd"] / raw[order["symbol"]] - held
            assert order["estimated_quantity"] == pytest.approx(shares, abs=1e-4)
            assert (shares > 0.0) == (order["side"] == "buy")
    assert not (tmp_path / "runs").exists()


def test_decide_sees_nothing_after_as_of(here: Athena, tmp_path: Path) -> None:
    frame = made_market()
    dates = sorted(frame["date"].unique())
    write_market(tmp_path, frame, "whole.csv")
    write_market(tmp_path, frame[frame["date"] <= dates[100]], "cut.csv")
    book = [*config_file(tmp_path), *holdings(tmp_path, "OLD,100", "SPLIT,7", "CASH,90000")]
    whole = ask(here, "decide", *RULES, *book, "--data", "whole.csv", "--as-of", dates[100])
    cut = ask(here, "decide", *RULES, *book, "--data", "cut.csv")
    assert whole.pop("data")["name"] == "whole.csv"
    assert cut.pop("data")["name"] == "cut.csv"
    del whole["notes"], cut["notes"]  # on how many bars lie on holidays, of the whole file
    assert whole == cut
    assert whole["orders"]


@pytest.mark.parametrize(
    ("lines", "kind", "part"),
    [
        (["AAPL,ten", "CASH,1"], "DataError", "--holdings book.csv, row 2: quantity is 'ten'."),
        (["NOPE,1", "CASH,0"], "DataError", "2013-03-01T21:00:00Z, without NOPE (no price)."),
        (["AAPL,-100", "CASH,1"], "DataError", "The book is worth -43,046.00 USD at 2013-03-01"),
        (["CASH,0"], "DataError", "The book is worth 0.00 USD"),
    ],
)
def test_decide_refuses_a_book_that_cannot_be(
    here: Athena, tmp_path: Path, lines: list[str], kind: str, part: str
) -> None:
    error = refuse(here, "decide", *RULES, *holdings(tmp_path, *lines))
    assert error["kind"] == kind
    assert part in error["message"]


def test_decide_says_when_the_book_has_no_cash_line(here: Athena, tmp_path: Path) -> None:
    report = ask(here, "decide", *RULES, *holdings(tmp_path, "AAPL,10"))
    assert report["cash_usd"] == 0.0
    assert report["notes"][0] == "The holdings have no CASH line: cash is taken to be 0."


HOLDS = """
from athena import Target
class Own:
    def decide(self, history, state):
        return {"A": Target(None, reason="A pays a dividend on Monday"), "C": Target(0.25, reason="cheap!")}
"""


def test_decide_tells_bought_sold_and_kept_apart(athena: Athena, tmp_path: Path) -> None:
    # At the last close A is 121, B 60, C 20. Equity 10 x 121 + 5 x 60 + 1490 = 3000.
    # C to 25 % is 750 / 20 = 37.5 shares; B is left out, so sold; A is kept at 1210 / 3000.
    (tmp_path / "tiny.csv").write_text(TINY)
    (tmp_path / "own.py").write_text(HOLDS)
    words = ["decide", "--data", "tiny.csv", "--strategy", "own.py:Own", "--no-risk"]
    book = holdings(tmp_path, "a,10", "B,5", "GONE,4", "CASH,1490")
    report = ask(athena, *words, *book, "--out", "told.json")
    told = {each["symbol"]: each for each in report["decisions"]}
    assert [each["symbol"] for each in report["decisions"]] == ["A", "B", "C", "GONE"]
    assert {symbol: each["action"] for symbol, each in told.items()} == {
        "A": "hold", "B": "sell", "C": "buy", "GONE": "hold",
    }  # fmt: skip
    assert told["A"]["present_weight"] == told["A"]["target_weight"] == pytest.approx(1210 / 3000)
    assert told["A"]["reason"].startswith("Own: A pays a dividend on Monday.")
    assert (told["B"]["quantity"], told["B"]["target_weight"]) == (5.0, 0.0)
    assert told["B"]["reason"] == "Own gave no reason. The target is 0 %."
    assert (told["C"]["quantity"], told["C"]["target_weight"]) == (37.5, 0.25)
    assert told["C"]["reason"].startswith("Own: cheap! The target is 25.00 % of the equity.")
    assert (told["GONE"]["present_weight"], told["GONE"]["target_weight"]) == (None, None)
    assert report["positions"]["GONE"] == 4.0
    assert report["equity_usd"] == 3000.0
    assert any("GONE has no price" in note for note in report["notes"])
    # 750 USD: 1 bp commission, 2 bps of half spread; the impact is beside them.
    (buy,) = [order for order in report["orders"] if order["side"] == "buy"]
    assert buy["estimated_commission_usd"] == pytest.approx(0.075)
    assert buy["estimated_spread_usd"] == pytest.approx(0.15)
    assert told["C"]["estimated_cost_usd"] == pytest.approx(0.225 + buy["estimated_impact_usd"])
    assert json.loads((tmp_path / "told.json").read_text()) == report
    shown = athena(*words, *book).stdout
    assert "hold      A            -  40.33 %  40.33 %" in shown
    assert "0.00 %" not in next(line for line in shown.splitlines() if line.startswith("hold"))


def test_decide_in_whole_shares_and_above_the_smallest_order(
    athena: Athena, tmp_path: Path
) -> None:
    (tmp_path / "tiny.csv").write_text(TINY)
    (tmp_path / "own.py").write_text(HOLDS)
    words = ["decide", "--data", "tiny.csv", "--strategy", "own.py:Own", "--no-risk"]
    book = holdings(tmp_path, "A,10", "B,5.5", "CASH,1460")
    whole = ask(athena, *words, *book, "--set", "trading.allow_fractional=false")
    # 37.5 shares of C become 37; all of B goes, its half share too.
    assert [order["estimated_quantity"] for order in whole["orders"]] == [-5.5, 37.0]
    # C's 750 USD are less than 800, B's 330 too: but selling out is always possible.
    large = ask(athena, *words, *book, "--set", "trading.min_order_usd=800")
    assert [order["symbol"] for order in large["orders"]] == ["B"]
    (kept,) = [each for each in large["decisions"] if each["symbol"] == "C"]
    assert (kept["action"], kept["quantity"], kept["target_weight"]) == ("hold", 0.0, 0.25)
    assert "750.00 USD is less than trading.min_order_usd, 800.00." in kept["reason"]
    assert any("1 order was left out as smaller" in note for note in large["notes"])


def test_decide_names_columns_it_did_not_read_and_files_it_does_not_write(
    here: Athena, tmp_path: Path
) -> None:
    (tmp_path / "book.csv").write_text("symbol,quantity,account\nAAPL,1,x\nCASH,1000,\n")
    words = ["decide", *RULES, "--holdings", "book.csv"]
    notes = ask(here, *words)["notes"]
    assert "Columns of the holdings that were not read: account." in notes
    assert "--out is told.txt" in refuse(here, *words, "--out", "told.txt")["message"]
    assert ask(here, *words, "--out", "told.csv")["decisions"]
    table = pd.read_csv(tmp_path / "told.csv")
    assert list(table.columns)[:3] == ["symbol", "action", "quantity"]
    assert sorted(table["symbol"]) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


def test_decide_says_when_its_last_bar_is_old(here: Athena) -> None:
    notes = ask(here, "decide", *RULES)["notes"]
    assert [note for note in notes if note.endswith("orders are for then, not for today.")]
    # 2010-06-01 is a session: its bar is the present one.
    assert ask(here, "decide", *RULES, "--as-of", "2010-06-01")["notes"] == []


def test_decide_before_the_first_decision_says_how_many_bars_it_needs(here: Athena) -> None:
    error = refuse(here, "decide", *RULES, "--as-of", "2000-06-01")
    assert "the first decision needs 252" in error["message"]
    error = refuse(here, "decide", *RULES, "--as-of", "1999-12-31")
    assert "lies before the first bar (2000-03-01T21:00:00Z)" in error["message"]


# --- what a run says about itself


def test_a_run_says_what_its_figures_do_not_show(here: Athena, tmp_path: Path) -> None:
    # AAA has no bar from 22 January to 2 February, nine sessions, and comes back. BBB trades on weekends.
    days = [np.datetime64("2023-01-02") + day for day in range(60)]
    gap = {str(day) for day in days[20:32]}
    lines = ["symbol,date,open,high,low,close"]
    for day in map(str, days):
        lines.append(f"BBB,{day},10,11,9,10")
        if day not in gap:
            lines.append(f"AAA,{day},20,21,19,20")
    (tmp_path / "gap.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "w.csv").write_text("time,symbol,weight\n2023-01-02,AAA,50\n2023-01-02,BBB,50\n")
    (tmp_path / "late.csv").write_text("time,symbol,weight\n2030-01-02,AAA,1\n")
    soon = ["--set", "trading.delisting_sessions=6"]
    summary = ask(here, "backtest", "--data", "gap.csv", "--weights", "w.csv", "--no-risk", *soon)
    notes = " ".join(summary["notes"])
    # Its last bar, of a Saturday, stands for the session that follows, so that the sixth missed one is that
    # of the 31st; 20 x (1 - 0.3) = 14.
    assert "AAA counts as delisted at 2023-01-31: " in notes
    assert "were closed at 14 (last close 20), which cost" in notes
    assert "It traded again later." in notes
    assert "Weights of up to 100 in sum were asked for" in notes
    assert "annual figures count 365 days" in notes
    assert summary["bars_per_year"] == 365.0
    late = ask(here, "backtest", "--data", "gap.csv", "--weights", "late.csv", "--no-risk")
    assert "No row of the weights was visible by the last bar" in " ".join(late["notes"])
    # The calendar that fits says nothing.
    fits = ["--set", "data.calendar=24/7"]
    fitting = ask(here, "backtest", "--data", "gap.csv", "--weights", "w.csv", "--no-risk", *fits)
    assert "annual figures" not in " ".join(fitting["notes"])


# --- dry run


def test_a_dry_run_names_every_part_and_what_it_is(athena: Athena) -> None:
    report = ask(athena, "dry-run")
    states = {part["name"]: part["state"] for part in report["parts"]}
    assert states == {
        "configuration": "real", "data": "real", "calendar": "real",
        "agent: market analyst": "real", "agent: strategy": "real", "agent: risk manager": "real",
        "agent: execution": "real", "agent: coordinator": "real", "broker": "mock",
        "live feed": "off", "model": "real", "memory": "real", "learning": "real", "communication": "real",
    }  # fmt: skip
    assert all(list(part) == ["name", "state", "detail"] for part in report["parts"])
    assert report["ok"] is True
    assert report["sends_orders"] is False


def test_a_dry_run_builds_the_model(here: Athena) -> None:
    error = refuse(here, "dry-run", "--set", "olmoe.model_path=absent", code=1)
    assert error["kind"] == "ModelError"
    assert "absent" in error["message"]


def test_a_dry_run_opens_the_memorys_server(here: Athena, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--set", "memory.store=neo4j", "--set", "memory.neo4j_uri=bolt://127.0.0.1:1"]
    monkeypatch.delenv("NEO4J_PASSWORD", raising=False)
    assert "NEO4J_PASSWORD" in refuse(here, "dry-run", *words)["message"]
    monkeypatch.setenv("NEO4J_PASSWORD", "unheard")
    assert refuse(here, "dry-run", *words, code=1)["kind"] == "MemoryStoreError"


def test_a_dry_run_fails_when_another_distribution_brings_one_of_our_names(
    athena: Athena, tmp_path: Path
) -> None:
    info = tmp_path / "site" / "rival-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("agents\nrival\n")
    done = athena("dry-run", "--json", env={"PYTHONPATH": str(tmp_path / "site")})
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["ok"] is False
    assert "`agents` is also a package of rival" in report["faults"][0]
    assert "environment of its own" in report["notes"][0]


# --- runs


def test_runs_are_found_by_path_name_prefix_and_last(here: Athena, tiny: list[str]) -> None:
    first, second = (Path(ask(here, "backtest", *tiny, "--seed", seed)["run_dir"]) for seed in "12")
    listed = ask(here, "runs", "list")["runs"]
    assert [run["run_dir"] for run in listed] == [str(first), str(second)]
    assert listed[0].keys() >= {"run_dir", "mode", "started", "final_equity_usd"}
    assert refuse(here, "runs", "show", first.name[:8])["kind"] == "RunNotFound"
    for run, seed in ((str(first), 1), (first.name, 1), (second.name, 2), ("last", 2)):
        assert ask(here, "runs", "show", run)["seed"] == seed
    shown = ask(here, "runs", "show", "last", "--trades")
    assert len(shown["round_trips"]) == shown["trades"]


# --- mock


def test_the_word_mock_stands_on_everything_made_from_mock_data(
    here: Athena, tmp_path: Path
) -> None:
    words = [*config_file(tmp_path), *RULES, "--data", "mock", "--set", "data.mock_bars=150"]
    for command, more in (("backtest", []), ("paper-trade", ["--speed", "0", "--steps", "90"])):
        done = here(command, *words, *more)
        assert done.returncode == 0, done.stderr
        assert "MOCK DATA" in done.stdout
        summary = ask(here, "runs", "show", "last")
        assert summary["data"]["mock"] is True
        assert "mock" in summary["data"]["name"]
        assert [note for note in summary["notes"] if "mock" in note] == [
            "The prices are mock data: seeded random walks, not a market."
        ]
        assert "MOCK DATA" in here("runs", "show", "last").stdout
        run_dir = tmp_path / summary["run_dir"]
        assert "MOCK DATA" in (run_dir / "report.html").read_text()
        header, *rows = (run_dir / "trades.csv").read_text().splitlines()
        assert header.endswith(",mock")
        assert rows
        assert all(row.endswith(",True") for row in rows)
        for name in ("trades.parquet", "equity.parquet"):
            assert pd.read_parquet(run_dir / name)["mock"].all()
        assert json.loads((run_dir / "manifest.json").read_text())["data"]["mock"] is True
    assert json.loads((run_dir / "book.json").read_text())["mock"] is True
    report = ask(here, "decide", *words)
    assert report["data"]["mock"] is True
    assert "MOCK DATA" in here("decide", *words).stdout


# --- the log


def test_a_backtest_logs_its_start_its_delistings_and_its_end(here: Athena, tmp_path: Path) -> None:
    write_market(tmp_path, made_market())
    (tmp_path / "weights.csv").write_text("time,symbol,weight\n2020-01-02,GONE,0.3\n")
    words = ["backtest", "--data", "market.csv", "--weights", "weights.csv"]
    words += ["--set", "trading.delisting_sessions=5"]
    quiet, told = here(*words), here(*words, "-v", "--log-file", "log.txt")
    assert quiet.stderr == ""
    lines = told.stderr.splitlines()
    assert "INFO agents.assemble: backtest of market.csv: 7 symbols" in lines[0]
    assert "decided by weights, seed 0" in lines[0]
    assert "GONE closed as delisted" in told.stderr
    assert "backtest done after 160 steps" in lines[-1]
    assert "it lies in runs/" in lines[-1]
    # Nothing is logged at each step of a backtest.
    assert len(lines) == 2 + told.stderr.count("delisted")
    assert (tmp_path / "log.txt").read_text() == told.stderr
    everything = here(*words, "-vv").stderr
    assert "matplotlib" not in everything
    assert "asyncio" not in everything


def test_paper_trading_logs_each_step_and_its_verdicts_when_asked(
    here: Athena, tmp_path: Path
) -> None:
    write_market(tmp_path, made_market())
    limited = {**QUICK_AGENTS, "risk": {**QUICK_AGENTS["risk"], "max_position_frac": 0.01}}
    words = ["paper-trade", *RULES, "--data", "market.csv", "--steps", "8", "--speed", "0"]
    words += [*config_file(tmp_path, agents=limited), "--set", "log_level=info"]
    told = here(*words)
    assert told.returncode == 0, told.stderr
    steps = [line for line in told.stderr.splitlines() if "INFO trading.paper" in line]
    assert len(steps) == 8
    records = steps_of(only_run(tmp_path))
    for line, record in zip(steps, records, strict=True):
        orders, fills = len(record["orders"]), len(record["fills"])
        assert f"{record['as_of']}: {orders} orders, {fills} fills, equity " in line
    verdicts = [line for line in here(*words, "-vv").stderr.splitlines() if " wanted " in line]
    assert len(verdicts) == sum(len(record["verdict"]) for record in records) > 0


def test_decide_logs_what_it_decided(here: Athena) -> None:
    told = here("decide", *RULES, "-v").stderr
    assert "decide of sample" in told
    assert "nothing placed" in told
