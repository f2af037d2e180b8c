"""The Python interface, as a notebook uses it."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

import athena
from agents import assemble
from agents.assemble import RunOptions, run_sync
from core.config import AthenaConfig
from core.errors import ConfigError, DataError, RunNotFound, StrategyError, UsageError
from tests.market_files import made_market, quick_config, write_market
from trading.datasets import import_files


class Half:
    """Half of the equity in OLD, a quarter in LATE once it is there."""

    def decide(self, history: athena.History, state: athena.State) -> dict[str, float]:
        return {"OLD": 0.5, **({"LATE": 0.25} if "LATE" in history.symbols else {})}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return made_market()


def steps_in(run: Any) -> bytes:
    path: Path = run.path / "steps.jsonl"
    return path.read_bytes()


def acts_in(run: Any) -> list[dict[str, Any]]:
    """The records without the reasons: weights say their row, a strategy what it likes."""
    return [
        {key: value for key, value in orjson.loads(line).items() if key != "reasons"}
        for line in steps_in(run).splitlines()
    ]


def test_a_frame_a_path_and_a_text_path_are_the_same_data(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    market = write_market(tmp_path, frame)
    indexed = frame.set_index("date")
    found = {
        steps_in(athena.backtest(data, strategy=Half()))
        for data in (frame, indexed, market, str(market))
    }
    assert len(found) == 1


def test_a_wide_frame_of_closes_is_data() -> None:
    days = pd.bdate_range("2020-03-02", periods=4)
    wide = pd.DataFrame({"OLD": [10.0, 11.0, 12.0, 12.0], "B": [5.0, 5.0, 5.0, 6.0]}, index=days)
    run = athena.backtest(wide, strategy=Half(), no_risk=True, config={"trading": {
        "commission_bps": 0.0, "half_spread_bps": 0.0, "impact_coefficient": 0.0,
    }})  # fmt: skip
    # 50,000 at 11, then 12: 50,000 + 50,000 x 12 / 11; trimmed back to half at an unchanged 12.
    assert run.equity.iloc[-1] == pytest.approx(50_000 + 50_000 * 12 / 11, abs=0.01)
    assert sum("volume" in note for note in run.summary["notes"]) == 1


def test_the_tables_of_a_run_agree_with_its_records(frame: pd.DataFrame) -> None:
    run = athena.backtest(frame, agents="rules", config=quick_config())
    steps = list(run.steps())
    assert run.equity.tolist() == [step["equity_usd"] for step in steps]
    assert [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in run.equity.index] == [
        step["as_of"] for step in steps
    ]
    assert run.equity.index.equals(run.weights.index)
    assert set(run.weights.columns) == set(frame["symbol"])
    for step, (_, row) in zip(steps, run.weights.iterrows(), strict=True):
        for symbol, weight in step["targets"].items():
            assert row[symbol] == weight
    assert len(run.trades) == run.summary["trades"] > 3
    assert run.metrics["total_return_frac"] == pytest.approx(run.equity.iloc[-1] / 100_000 - 1)
    assert run.metrics.keys().tolist() == list(run.summary["metrics"])
    figure = run.plot()
    assert figure.get_size_inches()[0] > 3
    page = run._repr_html_()
    assert "<img" in page
    assert "MOCK" not in page


def test_the_last_run_a_name_and_a_path_open_the_same_run(frame: pd.DataFrame) -> None:
    run = athena.backtest(frame, strategy=Half(), seed=5)
    for name in ("last", run.path.name, run.path, str(run.path)):
        opened = athena.open_run(name)
        assert opened.summary == run.summary
    assert opened.summary["seed"] == 5
    assert athena.open_run("last", runs_dir=run.path.parent).path == run.path
    with pytest.raises(RunNotFound):
        athena.open_run("last", runs_dir="elsewhere")


def test_the_panel_of_a_frame_and_of_the_sample_can_be_looked_at(frame: pd.DataFrame) -> None:
    panel = athena.load_panel(frame)
    assert panel.symbols[-1] == "LATER"
    assert panel.rows == frame["date"].nunique()
    assert athena.load_panel().symbols == ("AAPL", "IBM", "MSFT", "GOOG", "FB")


@pytest.mark.parametrize("form", ["nested", "yaml", "json", "object"])
def test_a_configuration_comes_in_any_form(frame: pd.DataFrame, tmp_path: Path, form: str) -> None:
    config = quick_config(trading={"initial_cash_usd": 5_000.0})
    config.save_yaml(tmp_path / "quick.yaml")
    (tmp_path / "quick.json").write_text(config.model_dump_json())
    given: Any = {
        "nested": config.to_dict(),
        "yaml": tmp_path / "quick.yaml",
        "json": str(tmp_path / "quick.json"),
        "object": config,
    }[form]
    run = athena.backtest(frame, strategy=Half(), config=given)
    assert run.summary["initial_cash_usd"] == 5_000.0
    assert run.equity.iloc[0] == 5_000.0


def test_weights_as_a_frame_and_as_a_file_are_the_strategy_in_code(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    dates = sorted(frame["date"].unique())

    class Monthly:
        def decide(self, history: Any, state: Any) -> Any:
            if history.row % 20 or history.row > 100:
                return None
            return {"OLD": 0.3, "SPLIT": round(0.01 * (history.row // 20 + 1), 2)}

    rows = {
        dates[row]: {"OLD": 0.3, "SPLIT": round(0.01 * (row // 20 + 1), 2)}
        for row in range(0, 101, 20)
    }
    wide = pd.DataFrame.from_dict(rows, orient="index")
    wide.index = pd.to_datetime(wide.index)
    long = (
        wide.rename_axis("time").reset_index().melt("time", var_name="symbol", value_name="weight")
    )
    long.to_csv(tmp_path / "weights.csv", index=False)
    long.to_parquet(tmp_path / "weights.parquet")
    expected = acts_in(athena.backtest(frame, strategy=Monthly()))
    found = set()
    for weights in (wide, long, "weights.csv", tmp_path / "weights.parquet"):
        run = athena.backtest(frame, weights=weights)
        assert acts_in(run) == expected
        found.add(steps_in(run))
        assert run.summary["decided_by"] == "weights"
    assert len(found) == 1


def test_the_same_seed_gives_the_same_bytes_and_mock_walks_follow_it() -> None:
    config = quick_config(data={"mock_bars": 80, "mock_symbols": 2})
    one, two, other = (
        athena.backtest("mock", agents="rules", config=config, seed=seed) for seed in (3, 3, 4)
    )
    assert steps_in(one) == steps_in(two)
    assert steps_in(one) != steps_in(other)
    assert "mock" in repr(one)
    assert "MOCK DATA" in one._repr_html_()


# --- inside a running event loop


def test_it_works_inside_a_running_event_loop(frame: pd.DataFrame) -> None:
    async def cell() -> Any:
        return athena.backtest(frame, strategy=Half())

    inside = asyncio.run(cell())
    assert steps_in(inside) == steps_in(athena.backtest(frame, strategy=Half()))


def test_errors_come_through_a_running_event_loop(frame: pd.DataFrame) -> None:
    class Broken:
        def decide(self, history: Any, state: Any) -> Any:
            raise ZeroDivisionError("by design")

    async def cell() -> Any:
        return athena.backtest(frame, strategy=Broken())

    with pytest.raises(StrategyError, match=r"test_athena\.py, line \d+.*by design"):
        asyncio.run(cell())


@pytest.fixture
def _as_in_a_notebook() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in the main thread, event loop or not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_as_in_a_notebook")
def test_ctrl_c_in_a_notebook_stops_the_run_and_saves_the_steps_taken(frame: pd.DataFrame) -> None:
    class Stops:
        def decide(self, history: Any, state: Any) -> Any:
            if history.row == 30:
                os.kill(os.getpid(), signal.SIGINT)
            if history.row >= 30:
                time.sleep(0.12)  # slow enough for the main thread to be told
            return {"OLD": 0.5}

    async def cell() -> Any:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return athena.backtest(frame, strategy=Stops())

    with pytest.raises(KeyboardInterrupt, match="steps are saved in"):
        asyncio.run(cell())
    run = athena.open_run("last")
    assert run.summary["status"] == "interrupted"
    assert 31 <= run.summary["data"]["steps"] < 60


@pytest.mark.usefixtures("_as_in_a_notebook")
def test_an_interrupted_wait_raises_when_the_work_has_no_answer() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)

    async def cell() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_sync(work())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())


# --- faults


def test_contradictions_and_wrong_values_are_told(frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="both decide"):
        athena.backtest(frame, strategy=Half(), weights=pd.DataFrame())
    with pytest.raises(StrategyError, match=r"Give an object of it: Half\(\)\."):
        athena.backtest(frame, strategy=Half)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="initial_cash"):
        athena.backtest(frame, config={"trading": {"initial_cash": 5}})
    with pytest.raises(DataError, match="there is no file"):
        athena.backtest("absent.csv")
    with pytest.raises(UsageError, match="no agents 'ful'"):
        athena.backtest(frame, agents="ful")
    with pytest.raises(DataError, match="has no NOPE"):
        athena.backtest(frame, symbols=["NOPE"])
    with pytest.raises(DataError):
        athena.backtest(frame.assign(close=-1.0), strategy=Half())
    assert not Path("runs").exists()


def test_a_strategy_that_fails_in_the_middle_leaves_the_records_before_it(
    frame: pd.DataFrame,
) -> None:
    class Fails:
        def decide(self, history: Any, state: Any) -> Any:
            return {"OLD": 0.5 if history.row < 40 else math.nan}

    with pytest.raises(StrategyError) as caught:
        athena.backtest(frame, strategy=Fails())
    [run_dir] = Path("runs").iterdir()
    assert (run_dir / "steps.jsonl").read_bytes().count(b"\n") == 40
    assert '"failed"' in (run_dir / "manifest.json").read_text()
    assert "Saved: 40 records" in caught.value.__notes__[0]


def test_a_paper_run_stopped_before_its_first_step_has_a_book_and_a_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stopped(*args: Any, **more: Any) -> int:
        return 0

    monkeypatch.setattr(assemble, "trade_rows", stopped)
    run = assemble.paper_trade(AthenaConfig(), RunOptions(speed=0.0))
    assert run.summary["data"]["steps"] == 0
    assert run.summary["final_equity_usd"] is None
    assert run.summary["metrics"]["total_return_frac"] is None
    assert (run.path / "book.json").is_file()
    assert len(run.equity) == 0


def test_news_and_a_memory_reach_the_full_agents(frame: pd.DataFrame, tmp_path: Path) -> None:
    config = quick_config(model={"enabled": False}, memory={"policy": "heuristic"})
    (tmp_path / "news.csv").write_text("time,symbol,text\n2020-03-02T15:00:00Z,NOBODY,unheard\n")
    run = athena.backtest(
        frame, news=tmp_path / "news.csv", config=config, symbols=["OLD", "STEADY"],
        end="2020-08-31",
    )  # fmt: skip
    assert any("NOBODY (1)" in note for note in run.summary["notes"])
    assert any(step["forecasts"] for step in run.steps())
    with pytest.raises(DataError, match=r"absent\.db cannot be read"):
        athena.backtest(frame, memory="absent.db", config=config)


def test_every_name_of_the_interface_is_there() -> None:
    assert {name for name in athena.__all__ if hasattr(athena, name)} == set(athena.__all__)
    assert isinstance(Half(), athena.Strategy)
    assert np.isclose(athena.Target(0.5).weight, 0.5)


# --- settings from the environment


def test_variables_count_as_they_do_for_the_command(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATHENA_RUNS_DIR", "elsewhere")
    monkeypatch.setenv("ATHENA_TRADING__COMMISSION_BPS", "7")
    run = athena.backtest(frame, strategy=Half())
    assert run.path.parent == Path("elsewhere")
    assert athena.open_run("last").path == run.path
    assert run.summary["costs"]["commission_bps"] == pytest.approx(7.0)
    (tmp_path / "settings.yaml").write_text("trading: {commission_bps: 3}\n")
    filed = athena.backtest(frame, strategy=Half(), config="settings.yaml")
    assert filed.summary["costs"]["commission_bps"] == pytest.approx(7.0)
    # What is written in the code wins over a variable; a whole configuration is taken as it is.
    said = athena.backtest(frame, strategy=Half(), config={"trading": {"commission_bps": 4.0}})
    assert said.summary["costs"]["commission_bps"] == pytest.approx(4.0)
    whole = athena.backtest(frame, strategy=Half(), config=AthenaConfig())
    assert whole.path.parent == Path("runs")
    monkeypatch.setenv("ATHENA_TRADING__COMISSION_BPS", "7")
    with pytest.raises(ConfigError, match="is no setting"):
        athena.backtest(frame, strategy=Half())


def test_load_panel_finds_imported_datasets_by_name(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATHENA_DATA_DIR", "kept")
    import_files([write_market(tmp_path, frame)], Path("kept"), name="mine")
    assert athena.load_panel("mine").symbols == athena.load_panel(frame).symbols


def test_params_reach_the_constructor_of_a_named_strategy(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "part.py").write_text(
        "class Part:\n"
        "    def __init__(self, symbol='OLD', weight=0.1):\n"
        "        self.weights = {symbol: weight}\n"
        "    def decide(self, history, state):\n"
        "        return self.weights\n"
    )
    params = {"symbol": "STEADY", "weight": 0.5}
    run = athena.backtest(frame, strategy="part.py:Part", params=params)
    assert next(run.steps())["targets"] == {"STEADY": 0.5}
    with pytest.raises(UsageError, match="--param"):
        athena.backtest(frame, strategy=Half(), params=params)


def test_rows_of_weights_that_were_not_traded_are_counted(frame: pd.DataFrame) -> None:
    # LATE lists on the 60th business day of 2020 (2020-03-25) only; the last bar is of August 2020.
    weights = pd.DataFrame(
        [
            ("2020-01-10", "OLD", 0.2),
            ("2020-01-10", "LATE", 0.2),
            ("2020-01-10", "LATER", 0.0),
            ("2020-02-10", "LATE", 0.3),
            ("2020-12-31", "OLD", 0.0),
        ],
        columns=["time", "symbol", "weight"],
    )
    notes = athena.backtest(frame, weights=weights).summary["notes"]
    lost = "2 rows of the weights were passed over, for the symbol had no bar yet: LATE (2)."
    assert lost in notes
    assert "1 row of the weights was not reached by the last bar." in notes


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("universe", pd.DataFrame({"symbol": ["OLD"]}), "universe is a DataFrame. Give the path"),
        ("views", pd.DataFrame({"symbol": ["OLD"]}), "views is a DataFrame. Give the path"),
        ("news", ["a line"], r"news is \['a line'\], a list. Give the path"),
        ("memory", 5, "memory is 5, an int. Give the path"),
        ("runs_dir", 5, "runs_dir is 5, an int. Give the path"),
        ("start", 20240103, "start is 20240103, an int. Give text such as"),
        ("end", pd.NaT, "end is NaT, a NaTType. Give text such as"),
        ("end", np.datetime64("NaT"), "end is .*NaT.*, a datetime64. Give text such as"),
        ("symbols", 50, r"symbols is 50, an int. Give symbols as text: \['AAPL', '0050'\]"),
        ("symbols", b"OLD", "symbols is b'OLD', a bytes. Give symbols as text"),
        ("seed", "x", "seed is 'x', a str. Give a whole number"),
        ("seed", -1, "seed is -1, an int. Give a whole number"),
        ("seed", 1.5, "seed is 1.5, a float. Give a whole number"),
        ("seed", True, "seed is True, a bool. Give a whole number"),
        ("risk", "no", "risk is 'no', a str. Give True or False"),
        ("no_risk", 0, "no_risk is 0, an int. Give True or False"),
        ("weights", {"OLD": 1.0}, r"weights is .*, a dict. Give a DataFrame"),
        ("params", [1], r"params is \[1\], a list. Give a dictionary"),
        ("params", {"n": {1}}, r"params\['n'\] is \{1\}, a set. Give what JSON can hold"),
        ("config", [1], r"config is \[1\], a list. Give nested dictionaries"),
    ],
)
def test_an_argument_of_a_wrong_kind_is_named(name: str, value: Any, found: str) -> None:
    with pytest.raises(UsageError) as told:
        athena.backtest(**{"strategy": "x.py:X", name: value})
    assert re.search(found, f"{told.value.message} {told.value.cure}")
    if name in ("universe", "end", "symbols", "seed", "config"):
        with pytest.raises(UsageError):
            athena.load_panel(**{name: value})
    assert not Path("runs").exists()


def test_a_midnight_without_a_zone_is_that_day_and_other_moments_are_moments(
    frame: pd.DataFrame,
) -> None:
    """A frame's own dates are midnights: with `end=frame.date[k]` that day's bar counts."""
    panel = athena.load_panel(frame)
    day = str(panel.times[40])[:10]
    last = athena.load_panel(frame, end=day).times[-1]
    assert str(last)[:10] == day
    stamp = pd.Timestamp(day)
    for end in (stamp, stamp.date(), stamp.to_pydatetime(), np.datetime64(day), last):
        assert athena.load_panel(frame, end=end).times[-1] == last
        assert athena.load_panel(panel, end=end).times[-1] == last
    zoned = pd.Timestamp(last, tz="UTC")
    assert athena.load_panel(frame, end=zoned.tz_convert("Asia/Tokyo")).times[-1] == last
    for before in (
        stamp.tz_localize("UTC"),
        zoned - pd.Timedelta("1s"),
        last - np.timedelta64(1, "s"),
    ):
        assert athena.load_panel(frame, end=before).times[-1] < last


def test_numbers_of_numpy_are_parameters(frame: pd.DataFrame) -> None:
    Path("own.py").write_text(
        "class Own:\n"
        "    def __init__(self, share, bars): self.share, self.warmup = share, bars\n"
        "    def decide(self, history, state): return {'OLD': self.share}\n"
    )
    runs = [
        athena.backtest(frame, strategy="own.py:Own", params={"share": share, "bars": bars})
        for share, bars in ((0.5, 3), (np.float32(0.5), np.int64(3)))
    ]
    assert len({steps_in(run) for run in runs}) == 1
