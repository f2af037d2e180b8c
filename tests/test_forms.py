"""Whatever form the data come in, the same options give the same run, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import athena
from core.errors import AthenaError, DataError
from tests.market_files import quick_config
from trading.panel import FIELDS, NEVER, Panel

CLOSES_ONLY = (
    "csv",
    "parquet",
    "long",
    "indexed",
    "wide",
    "dict",
    "dict of Series",
    "levels",
    "panel",
)
"""Every form that holds closes alone; the market has nothing else, so that all can be compared."""


def wide_market(days: int = 120) -> pd.DataFrame:
    """Closes of three symbols: LATE comes on the 30th day, GAP has no bar on every seventh."""
    rng = np.random.default_rng(3)
    dates = pd.bdate_range("2020-01-02", periods=days)
    closes = {
        name: (50.0 * np.exp(np.cumsum(rng.normal(0.0005, 0.015, days)))).round(4)
        for name in ("OLD", "GAP", "LATE")
    }
    wide = pd.DataFrame(closes, index=pd.DatetimeIndex(dates, name="date"))
    wide.loc[wide.index[6::7], "GAP"] = np.nan
    wide.loc[wide.index[:30], "LATE"] = np.nan
    return wide


def long_of(wide: pd.DataFrame) -> pd.DataFrame:
    rows = wide.reset_index().melt("date", var_name="symbol", value_name="close").dropna()
    return rows.assign(open=rows["close"], high=rows["close"], low=rows["close"])


def make(form: str, wide: pd.DataFrame, folder: Path) -> Any:
    """The same market in one of its forms."""
    long = long_of(wide)
    if form == "csv":
        long.to_csv(folder / "market.csv", index=False)
        return folder / "market.csv"
    if form == "parquet":
        long.to_parquet(folder / "market.parquet")
        return str(folder / "market.parquet")
    if form == "levels":
        parts = {name: long[long["symbol"] == name].set_index("date") for name in wide}
        fields = ("open", "high", "low", "close")
        return pd.concat(
            {name: part[list(fields)] for name, part in parts.items()}, axis=1
        ).sort_index()
    return {
        "long": lambda: long,
        "indexed": lambda: long.set_index("date"),
        "wide": lambda: wide,
        "dict": lambda: {
            str(name): part.drop(columns="symbol") for name, part in long.groupby("symbol")
        },
        "dict of Series": lambda: {str(name): wide[name].dropna() for name in wide},
        "panel": lambda: athena.load_panel(long),
    }[form]()


class Tilted:
    """Weights that follow what the columns and rows are, so that another cut shows."""

    warmup = 5

    def decide(self, history: Any, state: Any) -> dict[str, float]:
        turn = history.row % 10
        count = len(history.symbols)
        return {name: (turn + at) / 40 / count for at, name in enumerate(history.symbols)}


OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "none": lambda _: {},
    "symbols": lambda _: {"symbols": ["LATE", "GAP"]},
    "symbols as text": lambda _: {"symbols": "LATE,OLD"},
    "end": lambda _: {"end": "2020-04-15"},
    "end in time": lambda _: {"end": "2020-04-15T12:00:00Z"},
    "start": lambda _: {"start": "2020-03-02"},
    "universe": lambda folder: {"universe": folder / "universe.csv"},
    "seed": lambda _: {"seed": 7},
    "costs": lambda _: {"config": {"trading": {"commission_bps": 9.0}}},
    "risk": lambda _: {"risk": True},
    "agents": lambda _: {"strategy": None, "agents": "rules", "config": quick_config()},
    "agents, no limits": lambda _: {
        "strategy": None, "agents": "rules", "config": quick_config(), "no_risk": True,
    },
    "weights": lambda folder: {"strategy": None, "weights": folder / "weights.csv"},
    "all": lambda folder: {
        "symbols": "GAP,LATE", "universe": folder / "universe.csv", "start": "2020-03-10",
        "end": "2020-05-29", "seed": 2, "risk": True,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    (folder / "universe.csv").write_text(
        "symbol,from,to\nGAP,2020-02-03,\nLATE,,2020-05-01\nOLD,2020-01-10,2020-04-30\n"
    )
    (folder / "weights.csv").write_text(
        "time,symbol,weight\n2020-02-03,OLD,0.5\n2020-03-03,GAP,0.4\n2020-04-03,LATE,0.2\n"
    )
    return folder


@pytest.fixture(scope="module")
def expected(place: Path) -> dict[str, tuple[bytes, str, str]]:
    """What the file gives, by option."""
    market = make("csv", wide_market(), place)
    return {name: outcome(market, name, place) for name in OPTIONS}


def outcome(data: Any, option: str, place: Path) -> tuple[bytes, str, str]:
    """(records, config hash, the folder's hash)."""
    asked = {"strategy": Tilted(), **OPTIONS[option](place)}
    run = athena.backtest(data, runs_dir=place / "runs", **asked)
    records = (run.path / "steps.jsonl").read_bytes()
    return records, run.summary["config_hash"], run.path.name[26:34]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("form", CLOSES_ONLY[1:])
def test_every_form_gives_the_same_run(
    form: str, option: str, place: Path, expected: dict[str, tuple[bytes, str, str]]
) -> None:
    assert outcome(make(form, wide_market(), place), option, place) == expected[option]


def test_the_options_make_different_runs(expected: dict[str, tuple[bytes, str, str]]) -> None:
    """So that agreement above means that the options were obeyed."""
    records = {name: records for name, (records, _, _) in expected.items()}
    alike = (
        "seed",
        "risk",
    )  # nothing is drawn, and no limit binds: the records are those of "none"
    assert {records[name] for name in alike} == {records["none"]}
    assert len(set(records.values())) == len(OPTIONS) - len(alike)
    assert len({name for _, name, _ in expected.values()}) == len(OPTIONS)
    assert len({name for _, _, name in expected.values()}) == len(OPTIONS)


def test_a_series_of_closes_is_its_file(tmp_path: Path) -> None:
    one = wide_market()["OLD"]
    long = long_of(one.to_frame())
    long.to_csv(tmp_path / "OLD.csv", index=False)
    for asked in ({}, {"end": "2020-04-15"}, {"start": "2020-03-02", "seed": 4}):
        runs = {
            (run.path / "steps.jsonl").read_bytes() + run.summary["config_hash"].encode()
            for data in (one, tmp_path / "OLD.csv", long, athena.load_panel(one))
            for run in [
                athena.backtest(data, strategy=Tilted(), runs_dir=tmp_path / "runs", **asked)
            ]
        }
        assert len(runs) == 1


# --- a panel that is cut is the panel that its source would have given


def same_panel(one: Panel, other: Panel) -> None:
    assert one.symbols == other.symbols
    assert one.as_of == other.as_of
    assert one.times.tolist() == other.times.tolist()
    for at, name in enumerate(FIELDS):
        np.testing.assert_array_equal(one.stack[at], other.stack[at], err_msg=name)
    assert one.listed_at.tolist() == other.listed_at.tolist()
    assert one.leaves_at.tolist() == other.leaves_at.tolist()
    assert one.days is not None
    assert other.days is not None
    assert one.days.tolist() == other.days.tolist()
    for name in ("name", "interval", "calendar", "has_volume", "sha256", "notes", "mock"):
        assert getattr(one, name) == getattr(other, name), name


CUTS: dict[str, dict[str, Any]] = {
    "symbols": {"symbols": "LATE,GAP"},
    "one symbol": {"symbols": ["LATE"]},
    "end": {"end": "2020-02-20"},
    "end in time": {"end": "2020-02-20T20:59:59Z"},
    "universe": {"universe": "universe.csv"},
    "all": {"symbols": "GAP,OLD", "universe": "universe.csv", "end": "2020-04-01"},
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("twice", [False, True])
def test_a_cut_panel_is_what_its_source_gives(cut: str, twice: bool, place: Path) -> None:
    market = make("csv", wide_market(), place)
    asked = dict(CUTS[cut])
    if "universe" in asked:
        asked["universe"] = place / asked["universe"]
    directly = athena.load_panel(market, **asked)
    if not twice:
        same_panel(athena.load_panel(athena.load_panel(market), **asked), directly)
        return
    panel: Any = market
    for name in ("universe", "symbols", "end"):
        if name in asked:
            panel = athena.load_panel(panel, **{name: asked[name]})
    same_panel(panel, directly)


def test_who_never_became_a_member_leaves_its_rows_in_both(tmp_path: Path) -> None:
    """GAP alone trades on the last day; its membership begins after it, and the row stays all the same."""
    wide = wide_market(40)[["OLD", "GAP"]]
    wide.loc[wide.index[-1]] = [np.nan, 50.0]
    (tmp_path / "u.csv").write_text("symbol,from\nOLD,\nGAP,2030-01-01\n")
    directly = athena.load_panel(wide, universe=tmp_path / "u.csv", end="2021-01-01")
    assert directly.symbols == ("OLD",)
    assert directly.rows == 40
    same_panel(athena.load_panel(athena.load_panel(wide), universe=tmp_path / "u.csv"), directly)
    panel = athena.load_panel(wide, universe=tmp_path / "u.csv")
    same_panel(athena.load_panel(panel, end="2021-01-01"), directly)


def test_bars_before_membership_become_visible_with_it(place: Path) -> None:
    panel = athena.load_panel(wide_market(), universe=place / "universe.csv")
    # LATE's first bar is the 31st of business days, 2020-02-13; GAP's the first on or after 2020-02-03.
    assert panel.symbols == ("OLD", "GAP", "LATE")
    assert [panel.as_of[row][:10] for row in panel.listed_at] == [
        "2020-01-10", "2020-02-03", "2020-02-13",
    ]  # fmt: skip
    assert not np.isnan(panel.field("close")[0, 1])
    assert [panel.as_of[row - 1][:10] for row in panel.leaves_at if row != NEVER] == [
        "2020-04-30", "2020-05-01",
    ]  # fmt: skip


def test_a_panel_of_another_exchange_keeps_its_calendar(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=60)
    closes = pd.Series(100.0 + np.sin(np.arange(60)), index=days, name="COIN")
    settings = {"data": {"calendar": "24/7"}}
    panel = athena.load_panel(closes, config=settings)
    runs_dir = tmp_path / "runs"
    runs = [
        athena.backtest(
            closes, strategy=Tilted(), config=settings, runs_dir=runs_dir, end="2020-02-10"
        ),
        athena.backtest(panel, strategy=Tilted(), runs_dir=runs_dir, end="2020-02-10"),
        athena.backtest(
            panel, strategy=Tilted(), config=settings, runs_dir=runs_dir, end="2020-02-10"
        ),
    ]
    assert len({(run.path / "steps.jsonl").read_bytes() for run in runs}) == 1
    assert len({run.summary["config_hash"] for run in runs}) == 1
    assert {run.summary["bars_per_year"] for run in runs} == {365.0}


# --- what a panel refuses


def test_settings_other_than_the_panels_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = athena.load_panel(wide_market())
    for config in ({"data": {"calendar": "XLON"}}, {"data": {"bar_label": "close"}}):
        [(name, value)] = config["data"].items()
        with pytest.raises(DataError, match=rf"data\.{name} is '{value}'.* was read with"):
            athena.backtest(panel, strategy=Tilted(), config=config)
    london = athena.load_panel(wide_market(), config={"data": {"calendar": "XLON"}})
    with pytest.raises(
        DataError, match=r"data\.calendar is 'XNYS'.* read with data\.calendar 'XLON'"
    ):
        athena.backtest(london, strategy=Tilted(), config={"data": {"calendar": "XNYS"}})
    monkeypatch.setenv("ATHENA_DATA__CALENDAR", "24/7")
    with pytest.raises(DataError, match=r"data\.calendar is '24/7'"):
        athena.load_panel(panel)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["symbols", "universe"])
def test_an_unknown_symbol_is_refused_in_every_form(option: str, tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("symbol\nOLD\nNOPE\n")
    asked: Any = (
        {"symbols": "OLD,NOPE"} if option == "symbols" else {"universe": tmp_path / "u.csv"}
    )
    for form in CLOSES_ONLY:
        data = make(form, wide_market(40), tmp_path)
        with pytest.raises(AthenaError, match="has no NOPE"):
            athena.backtest(data, strategy=Tilted(), **asked)
        with pytest.raises(AthenaError, match="has no NOPE"):
            athena.load_panel(data, **asked)


def test_an_end_before_the_first_bar_is_refused_in_every_form(tmp_path: Path) -> None:
    for form in CLOSES_ONLY:
        data = make(form, wide_market(40), tmp_path)
        with pytest.raises(DataError, match="there is no bar up to 2019-12-31"):
            athena.backtest(data, strategy=Tilted(), end="2019-12-31")
        with pytest.raises(DataError, match="lies after --end"):
            athena.backtest(data, strategy=Tilted(), start="2020-02-02", end="2020-02-01")


def test_mock_walks_as_a_panel_are_the_mock_walks(tmp_path: Path) -> None:
    config = {"data": {"mock_bars": 60, "mock_symbols": 3}}
    for asked in ({}, {"symbols": "MOCK3,MOCK1"}, {"end": "2016-02-15"}):
        panel = athena.load_panel("mock", config=config, seed=5)
        one = athena.backtest(
            "mock", strategy=Tilted(), config=config, seed=5, runs_dir=tmp_path / "runs", **asked
        )
        two = athena.backtest(panel, strategy=Tilted(), seed=5, runs_dir=tmp_path / "runs", **asked)
        assert (one.path / "steps.jsonl").read_bytes() == (two.path / "steps.jsonl").read_bytes()
        assert one.summary["config_hash"] == two.summary["config_hash"]
    with pytest.raises(DataError, match="mock walks were made with seed 5"):
        athena.backtest(panel, strategy=Tilted(), seed=6)


def test_another_universe_than_the_panels_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("symbol\nOLD\n")
    panel = athena.load_panel(wide_market(), universe=place / "universe.csv")
    again = athena.load_panel(panel, universe=place / "universe.csv")
    same_panel(again, panel)
    with pytest.raises(DataError, match="another universe"):
        athena.backtest(panel, strategy=Tilted(), universe=tmp_path / "other.csv")
