"""The property everything rests on: what comes after t changes nothing in the records up to t.

Every row after a random t is truncated, deleted in part, changed or poisoned with well-formed values, in
the file itself; the file goes through the real loader and the real agents. The records up to t must be
the same bytes, those of another process included, and those of paper trading over the same rows.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import athena as interface
from agents.assemble import RunOptions, backtest, build_deciders, load_data, paper_trade
from core.config import AthenaConfig
from core.types import Target
from tests.conftest import Athena
from tests.fakes import records
from tests.market_files import made_market, quick_config, write_market
from trading.run import find_span, open_account, replay
from trading.sample import SAMPLE_FILE

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
"""What becomes of the rows after t."""

PRICES = ["open", "high", "low", "close", "adj_close"]
EXAMPLES = settings(max_examples=14, deadline=None, derandomize=True, database=None)
FEWER = settings(EXAMPLES, max_examples=8)


# --- what can happen to the future


def truncate(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    return later.iloc[:0]


def delete(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Random rows go, and some symbols for good."""
    symbols = later["symbol"].unique()
    ended = symbols[draw.random(len(symbols)) < 0.4]
    return later[(draw.random(len(later)) < 0.75) & ~later["symbol"].isin(ended)]


def change(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Each symbol goes on from another price, at another volume."""
    factors = {symbol: draw.uniform(0.7, 1.4) for symbol in later["symbol"].unique()}
    return _times(later, later["symbol"].map(factors), draw.choice([0.1, 1.0, 9.0], len(later)))


def poison(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Every row gets a price of its own, up to ten times up or down, and any volume, 0 among them."""
    factor = pd.Series(np.exp(draw.uniform(-2.3, 2.3, len(later))), later.index)
    return _times(later, factor, draw.choice([0.0, 0.01, 1.0, 100.0], len(later)))


def _times(later: pd.DataFrame, price: pd.Series, volume: Any) -> pd.DataFrame:
    """Prices and volumes times factors; those of SPLIT by 1.1, so that its split remains one."""
    later = later.copy()
    price = price.where(later["symbol"] != "SPLIT", 1.1)
    later[PRICES] = later[PRICES].mul(price, axis=0).round(6)
    later["volume"] = (later["volume"] * volume).round()
    return later


def list_more(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Symbols appear that were never heard of, before and after all others by name."""
    some = later[later["symbol"] == later["symbol"].iloc[0]] if len(later) else later
    more: pd.DataFrame = pd.concat([later, some.assign(symbol="AAA0"), some.assign(symbol="ZZZ9")])
    return more


def turn_round(later: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The later bars of each symbol come in the opposite order of time (not SPLIT's: see `_times`)."""
    parts: list[pd.DataFrame] = []
    for symbol, rows in later.groupby("symbol", sort=False):
        turned = rows.iloc[:: 1 if symbol == "SPLIT" else -1].copy()
        turned["date"] = rows["date"].to_numpy()
        parts.append(turned)
    return pd.concat(parts) if parts else later


CHANGES: tuple[Change, ...] = (truncate, delete, change, poison, list_more, turn_round)


def with_other_future(frame: pd.DataFrame, date: str, how: Change, seed: int) -> pd.DataFrame:
    known, later = frame[frame["date"] <= date], frame[frame["date"] > date]
    return pd.concat([known, how(later, np.random.default_rng(seed))]).sort_values(
        ["date", "symbol"], kind="stable"
    )


# --- who decides


class Chaser:
    """Buys the winners of the last days in every order type, and holds on to the first symbol for ever."""

    warmup = 6

    def decide(self, history: Any, state: Any) -> Any:
        marks = history.mark
        moved = marks[-1] / marks[-6] - 1.0
        wishes: dict[str, Any] = {}
        for column, symbol in enumerate(history.symbols):
            move, close = float(moved[column]), float(marks[-1, column])
            if column == 0:
                wishes[symbol] = 0.1 if state.positions[symbol] == 0.0 else None
                continue
            if not move > 0.0:
                continue
            share = 1.0 / len(history.symbols)
            kind = (history.row + column) % 4
            if kind == 0:
                wishes[symbol] = Target(share, limit_price=round(close * 1.01, 4), tif="gtc")
            elif kind == 1:
                wishes[symbol] = Target(share, stop_price=round(close * 1.002, 4), tag="chase")
            elif kind == 2:
                wishes[symbol] = None
            else:
                wishes[symbol] = share
        return wishes if history.row % 3 else None


AGENTS = RunOptions()
CHASER = RunOptions(strategy=Chaser())
FREE_CHASER = RunOptions(strategy=Chaser(), no_risk=True)


def lines_of(path: Path | None, options: RunOptions, config: AthenaConfig) -> list[bytes]:
    """The records of a backtest, without its folder."""
    options = replace(options, data=None if path is None else str(path))
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    lines: list[bytes] = []
    account = open_account(panel, deciders.agents, config.trading, lines.append)
    asyncio.run(replay(account, find_span(panel, deciders.warmup, options.start)))
    return lines


def up_to(lines: list[bytes], date: str) -> list[bytes]:
    return [line for line in lines if line.split(b'"as_of":"')[1][:10].decode() <= date]


class World:
    """A table of prices, the records of the whole of it, and the dates on which there are some."""

    def __init__(self, frame: pd.DataFrame, options: RunOptions, config: AthenaConfig) -> None:
        self.frame, self.options, self.config = frame, options, config
        with tempfile.TemporaryDirectory() as folder:
            self.lines = lines_of(write_market(Path(folder), frame), options, config)
        self.dates = [line.split(b'"as_of":"')[1][:10].decode() for line in self.lines]

    def check(self, place: float, how: Change, seed: int) -> None:
        date = self.dates[int(place * (len(self.dates) - 1))]
        other = with_other_future(self.frame, date, how, seed)
        with tempfile.TemporaryDirectory() as folder:
            lines = lines_of(write_market(Path(folder), other), self.options, self.config)
        known = up_to(self.lines, date)
        assert len(known) >= 1
        assert up_to(lines, date) == known, f"{how.__name__} after {date} (seed {seed})"


@pytest.fixture(scope="module")
def made() -> dict[str, World]:
    frame = made_market()
    shorts = quick_config(trading={"allow_short": True})
    return {
        "agents": World(frame, AGENTS, quick_config()),
        "agents, short": World(frame, AGENTS, shorts),
        "chaser": World(frame, CHASER, quick_config()),
        "chaser, no risk": World(frame, FREE_CHASER, quick_config()),
    }


@pytest.fixture(scope="module")
def real() -> dict[str, World]:
    """The shipped sample's last two years; agents as shipped, with their own windows."""
    frame = pd.read_csv(SAMPLE_FILE)
    frame = frame[frame["date"] >= "2011-03-01"].sort_values(["date", "symbol"], kind="stable")
    return {
        "agents": World(frame, AGENTS, AthenaConfig()),
        "chaser": World(frame, CHASER, AthenaConfig()),
    }


def test_the_worlds_of_these_tests_trade_and_hold_all_that_can_go_wrong(
    made: dict[str, World], real: dict[str, World]
) -> None:
    for world in (*made.values(), *real.values()):
        steps = records(world.lines)
        assert sum(len(step["fills"]) for step in steps) > 30
        assert any(step["positions"] for step in steps[len(steps) // 2 :])
    for name in ("agents", "chaser"):
        traded = {fill["symbol"] for step in records(made[name].lines) for fill in step["fills"]}
        assert traded >= {"LATE", "HOLEY", "SPLIT", "GONE"}, name
    assert any(
        quantity < 0.0
        for step in records(made["agents, short"].lines)
        for quantity in step["positions"].values()
    )
    assert b'"tag":"delisted"' in b"".join(made["chaser"].lines)


PLACES = st.floats(0.0, 1.0)
SEEDS = st.integers(0, 10**6)


@pytest.mark.parametrize("who", ["agents", "agents, short", "chaser", "chaser, no risk"])
@EXAMPLES
@given(place=PLACES, how=st.sampled_from(CHANGES), seed=SEEDS)
def test_nothing_after_t_changes_a_record_up_to_t(
    made: dict[str, World], who: str, place: float, how: Change, seed: int
) -> None:
    made[who].check(place, how, seed)


@pytest.mark.parametrize("who", ["agents", "chaser"])
@FEWER
@given(place=PLACES, how=st.sampled_from(CHANGES), seed=SEEDS)
def test_nothing_after_t_changes_a_record_up_to_t_on_the_shipped_sample(
    real: dict[str, World], who: str, place: float, how: Change, seed: int
) -> None:
    real[who].check(place, how, seed)


def test_a_change_at_t_itself_is_seen_at_t(made: dict[str, World]) -> None:
    """The control: the records do depend on the rows, down to the last one known."""
    world = made["agents"]
    date = world.dates[60]
    before = world.dates[59]
    with tempfile.TemporaryDirectory() as folder:
        other = with_other_future(world.frame, before, change, 1)
        lines = lines_of(write_market(Path(folder), other), world.options, world.config)
    assert up_to(lines, before) == up_to(world.lines, before)
    ours, theirs = records(up_to(world.lines, date))[-1], records(up_to(lines, date))[-1]
    assert ours["inputs_hash"] != theirs["inputs_hash"]
    assert ours["equity_usd"] != theirs["equity_usd"]


# --- the other inputs


def test_rows_after_t_of_universe_weights_and_views_change_nothing_up_to_t(tmp_path: Path) -> None:
    frame, config = made_market(), quick_config()
    market = write_market(tmp_path, frame)
    dates = sorted(frame["date"].unique())
    cut = dates[90]

    def other(name: str, text: str, later: str) -> tuple[Path, Path]:
        """The table as it is, and with its rows after the cut changed."""
        (tmp_path / f"{name}.csv").write_text(text)
        (tmp_path / f"{name}-other.csv").write_text(later)
        return tmp_path / f"{name}.csv", tmp_path / f"{name}-other.csv"

    universe = other(
        "universe",
        f"symbol,from,to\nOLD,,{dates[100]}\nLATE,{dates[70]},\nSPLIT,,\nHOLEY,,{dates[80]}\n"
        f"STEADY,{dates[120]},\nLATER,,\n",
        f"symbol,from,to\nOLD,,{dates[140]}\nLATE,{dates[70]},{dates[95]}\nSPLIT,,\n"
        f"HOLEY,,{dates[80]}\n",
    )
    draw = np.random.default_rng(5)
    rows = [
        (date, symbol, round(float(draw.random()) / 4, 3), round(float(draw.random()), 2))
        for date in dates[::7]
        for symbol in ("OLD", "STEADY", "HOLEY", "SPLIT")
    ]
    later = [(d, s, w, c) if d <= cut else (d, s, 0.01, 1.0) for d, s, w, c in rows]
    weights, views = (
        other(
            name,
            "\n".join([head, *(pattern.format(*row) for row in rows)]),
            "\n".join([head, *(pattern.format(*row) for row in later)]),
        )
        for name, head, pattern in (
            ("weights", "time,symbol,weight", "{0},{1},{2}"),
            ("views", "time,symbol,expected_return_frac,confidence", "{0},{1},{2},{3}"),
        )
    )
    for option, (ours, theirs) in {
        "universe": universe,
        "weights": weights,
        "views": views,
    }.items():
        given: list[Any] = [{option: path} for path in (ours, theirs)]
        first, second = (lines_of(market, replace(AGENTS, **each), config) for each in given)
        assert up_to(first, cut) == up_to(second, cut), option
        assert first != second, option
        assert sum(b'"order_id"' in line for line in up_to(first, cut)) > 5, option


# --- the same bytes everywhere


def steps_in(run_dir: Path) -> bytes:
    return (run_dir / "steps.jsonl").read_bytes()


def test_two_processes_give_the_same_bytes(athena: Athena, tmp_path: Path) -> None:
    write_market(tmp_path, made_market())
    quick_config().save_yaml(tmp_path / "quick.yaml")
    for name, hash_seed in (("one", "1"), ("two", "4242")):
        done = athena(
            "backtest", "--agents", "rules", "-c", "quick.yaml", "--data", "market.csv",
            "--runs-dir", name,
            env={"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (steps_in(next((tmp_path / name).iterdir())) for name in ("one", "two"))
    assert one == two
    assert one.count(b"\n") == 160 - 24
    # And those of this process, without any folder.
    assert one == b"\n".join(lines_of(tmp_path / "market.csv", AGENTS, quick_config())) + b"\n"


@pytest.mark.parametrize("options", [AGENTS, CHASER], ids=["agents", "chaser"])
def test_paper_trading_over_a_file_gives_the_bytes_of_the_backtest(
    tmp_path: Path, options: RunOptions
) -> None:
    market = write_market(tmp_path, made_market())
    config = quick_config(runs_dir=str(tmp_path / "runs"))
    options = replace(options, data=str(market))
    ours = backtest(config, options)
    paper = paper_trade(config, replace(options, speed=0.0))
    assert steps_in(ours.path) == steps_in(paper.path)
    same = ("final_equity_usd", "metrics", "costs", "benchmark", "orders", "fills", "trades")
    assert {key: ours.summary[key] for key in same} == {key: paper.summary[key] for key in same}


def test_paper_trading_on_the_mock_walks_gives_the_bytes_of_the_backtest(tmp_path: Path) -> None:
    # The feed grows from 40 bars to 160 while it is traded; the backtest has 120 from the start.
    short, whole = (
        quick_config(runs_dir=str(tmp_path / "runs"), data={"mock_bars": bars, "mock_symbols": 3})
        for bars in (40, 120)
    )
    options = RunOptions(data="mock")
    ours = backtest(whole, options)
    paper = paper_trade(short, replace(options, speed=0.0, steps=120 - 24))
    assert steps_in(ours.path) == steps_in(paper.path)
    assert ours.summary["fills"] > 10


def test_the_property_holds_through_the_python_interface(tmp_path: Path) -> None:
    frame, config = made_market(), quick_config()
    date = sorted(frame["date"].unique())[80]
    found = []
    for number, how in enumerate((change, poison)):
        path = write_market(tmp_path, with_other_future(frame, date, how, 3), f"{number}.csv")
        run = interface.backtest(
            path, strategy=Chaser(), config=config, runs_dir=tmp_path / "runs", start="2020-02-03"
        )
        found.append(steps_in(run.path).splitlines())
    assert found[0] != found[1]
    assert up_to(found[0], date) == up_to(found[1], date)
    assert b'"step":0,"as_of":"2020-02-03' in found[0][0]
