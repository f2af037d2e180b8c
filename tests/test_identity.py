"""A run's hash: never shared by runs whose records can differ, always by the same run in another form."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import athena
from agents.fingerprint import code_files, strategy_facts
from tests.market_files import quick_config
from trading.result import Run

HELPER = "SHARE = 0.5\n"
STRATEGY = """\
import helper
from core.types import Target


class Half:
    def __init__(self, k=1, scale=None):
        self.k = k
        total = (scale or 0) / 10
        self.share = lambda: min(helper.SHARE + total, 1.0)

    def decide(self, history, state):
        weight = self.share() / len(history.symbols)
        return {name: weight if history.row % 9 > self.k else 0.0 for name in history.symbols}
"""


def closes(days: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    dates = pd.bdate_range("2020-01-02", periods=days)
    walks = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (days, 2)), axis=0))
    index = pd.DatetimeIndex(dates, name="date")
    return pd.DataFrame(walks.round(4), index=index, columns=["ONE", "TWO"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "mine.py").write_text(STRATEGY)
    (tmp_path / "unused.py").write_text("raise SystemExit\n")
    closes().to_csv(tmp_path / "closes.csv")
    (tmp_path / "universe.csv").write_text("symbol,from\nONE,\nTWO,2020-02-03\n")
    (tmp_path / "weights.csv").write_text(
        "time,symbol,weight\n2020-01-06,ONE,0.5\n2020-01-20,TWO,0.25\n"
    )
    (tmp_path / "views.csv").write_text(
        "time,symbol,expected_return_frac,confidence\n2020-01-06,ONE,0.05,0.8\n"
    )
    return tmp_path


@pytest.fixture
def hashed(place: Path) -> Callable[..., str]:
    """The hash of a run; without other options it is `mine.py:Half` on the closes of `place`."""

    def run(data: Any = None, **asked: Any) -> str:
        if not {"strategy", "weights", "agents"} & asked.keys():
            asked["strategy"] = f"{place / 'mine.py'}:Half"
        made = made_run(place / "closes.csv" if data is None else data, place, **asked)
        assert made.path.name[26:34] == made.summary["config_hash"][:8]
        return str(made.summary["config_hash"])

    return run


def made_run(data: Any, place: Path, **asked: Any) -> Run:
    return athena.backtest(data, **{"runs_dir": place / "runs", **asked})


def rules() -> dict[str, Any]:
    """Options of the agents by their rules alone, on little history."""
    return {"agents": "rules", "config": quick_config()}


def test_what_can_change_the_records_changes_the_hash(
    place: Path, hashed: Callable[..., str]
) -> None:
    file = f"{place / 'mine.py'}:Half"
    found = {
        "plain": hashed(),
        "k": hashed(strategy=file, params={"k": 2}),
        "scale": hashed(strategy=file, params={"scale": 2}),
        "another scale": hashed(strategy=file, params={"scale": 3}),
        "limits": hashed(risk=True),
        "other limits": hashed(risk=True, config={"agents": {"risk": {"max_position_frac": 0.3}}}),
        "start": hashed(start="2020-02-03"),
        "end": hashed(end="2020-02-14"),
        "symbols": hashed(symbols="ONE"),
        "universe": hashed(universe=place / "universe.csv"),
        "seed": hashed(seed=3),
        "costs": hashed(config={"trading": {"commission_bps": 4.0}}),
        "execution": hashed(config={"agents": {"execution": {"style": "limit"}}}),
        "calendar": hashed(config={"data": {"calendar": "24/7"}}),
        "another close": hashed(closes() * 1.001),
        "rules": hashed(**rules()),
        "rules, no limits": hashed(**rules(), no_risk=True),
        "rules, views": hashed(**rules(), views=place / "views.csv"),
        "weights": hashed(weights=place / "weights.csv"),
    }
    (place / "weights.csv").write_text(
        "time,symbol,weight\n2020-01-06,ONE,0.5\n2020-01-20,TWO,0.2\n"
    )
    (place / "views.csv").write_text(
        "time,symbol,expected_return_frac,confidence\n2020-01-06,ONE,0.05,0.7\n"
    )
    (place / "helper.py").write_text("SHARE = 0.4\n")
    found["other weights"] = hashed(weights=place / "weights.csv")
    found["other views"] = hashed(**rules(), views=place / "views.csv")
    found["helper"] = hashed()
    (place / "mine.py").write_text(STRATEGY.replace("% 9", "% 7"))
    found["file"] = hashed()
    assert len(set(found.values())) == len(found), found


def test_the_same_run_in_another_form_has_the_same_hash(
    place: Path, hashed: Callable[..., str], tmp_path: Path
) -> None:
    plain = hashed()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("helper.py", "closes.csv"):
        shutil.copy(place / name, elsewhere / f"{name}")
    shutil.copy(place / "mine.py", elsewhere / "other_name.py")
    (elsewhere / "closes.csv").rename(elsewhere / "prices.csv")
    other = f"{elsewhere / 'other_name.py'}:Half"
    assert hashed(elsewhere / "prices.csv", strategy=other, runs_dir=tmp_path / "more") == plain
    assert hashed(closes()) == plain
    assert hashed(athena.load_panel(closes())) == plain
    assert hashed(end="2020-12-31") == plain
    assert hashed(symbols="ONE,TWO") == plain
    assert hashed(start="2020-01-02") == plain
    file = f"{place / 'mine.py'}:Half"
    assert hashed(strategy=file, params={"k": 1}) == plain  # the default
    outside = {
        "trading": {"poll_seconds": 1.0, "warmup_bars": 3},
        "training": {"stage1": {"steps": 7}},
        "agents": {"analyst": {"ema_bars": 12}},
        "learning": {"enabled": False},
        "log_level": "error",
        "checkpoint_dir": str(tmp_path / "checkpoints"),
    }
    assert hashed(config=outside) == plain
    frame = pd.read_csv(place / "weights.csv")
    assert hashed(weights=frame) == hashed(weights=place / "weights.csv")


def test_an_object_is_its_file_with_parameters(
    place: Path, hashed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(place))
    for name in ("mine", "helper"):  # another test's
        monkeypatch.delitem(sys.modules, name, raising=False)
    import mine  # type: ignore[import-not-found]

    assert hashed(strategy=mine.Half(k=2)) == hashed(
        strategy=f"{place / 'mine.py'}:Half", params={"k": 2}
    )
    assert hashed(strategy=mine.Half(k=2)) != hashed(strategy=mine.Half(k=3))
    # What a lambda holds of the constructor counts too.
    assert hashed(strategy=mine.Half(scale=2)) != hashed(strategy=mine.Half(scale=3))
    mine.Half.extra = 5
    changed = hashed(strategy=mine.Half())
    mine.Half.extra = 6
    assert hashed(strategy=mine.Half()) != changed


def test_paper_and_backtest_agree_whatever_the_pace(place: Path) -> None:
    from agents.assemble import RunOptions, paper_trade
    from core.config import load

    config = load(tree={"runs_dir": str(place / "runs")}).config
    asked: dict[str, Any] = {
        "data": str(place / "closes.csv"),
        "strategy": f"{place / 'mine.py'}:Half",
    }
    whole = paper_trade(config, RunOptions(**asked, speed=0.0))
    few = paper_trade(config, RunOptions(**asked, speed=1e6, steps=5))
    backtest = made_run(place / "closes.csv", place, strategy=asked["strategy"])
    assert whole.summary["config_hash"] == few.summary["config_hash"]
    assert whole.summary["config_hash"] == backtest.summary["config_hash"]
    assert (whole.path / "steps.jsonl").read_bytes() == (backtest.path / "steps.jsonl").read_bytes()


def test_what_the_full_agents_are_given_counts(place: Path) -> None:
    from agents.assemble import RunOptions, build_deciders, load_data
    from agents.identity import run_identity
    from core.config import short_hash

    def named(text: str, name: str = "news.csv") -> Path:
        (place / name).write_text(f"time,symbol,text\n2020-01-10T15:00:00Z,ONE,{text}\n")
        return place / name

    def identity(config: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
        tree: dict[str, Any] = {"model": {"enabled": False}, "memory": {"policy": "recency"}}
        for section, values in (config or {}).items():
            tree[section] = {**tree.get(section, {}), **values}
        settings = quick_config(**tree)
        options = RunOptions(data=str(place / "closes.csv"), agents="full", **asked)
        panel = load_data(settings, options)
        deciders = build_deciders(settings, options, panel)
        return run_identity(settings, options, panel, deciders, 25)

    (place / "snapshot.jsonl").write_text('{"a": 1}\n')
    plain = identity()
    found = [
        plain,
        identity(news=named("praise")),
        identity(news=named("blame")),
        identity(memory=place / "snapshot.jsonl"),
        identity({"memory": {"policy": "keep_all"}}),
        identity({"memory": {"policy": "none"}}),
        identity({"memory": {"entry_cap": 5}}),
        identity({"learning": {"enabled": False}}),
        identity({"communication": {"enabled": False}}),
    ]
    (place / "snapshot.jsonl").write_text('{"a": 2}\n')
    found.append(identity(memory=place / "snapshot.jsonl"))
    assert len({short_hash(each) for each in found}) == len(found)
    assert identity(news=named("praise", "other.csv")) == found[1]
    outside: dict[str, Any] = {
        "memory": {"path": "elsewhere.db", "neo4j_uri": "bolt://elsewhere:7687"},
        "learning": {"rehearsal_bars": 9, "exploration_coefficient": 0.5},
    }
    assert identity(outside) == plain


# --- the code of a strategy


def test_code_is_the_file_and_what_it_imports_beside_it(place: Path) -> None:
    assert list(code_files(place / "mine.py")) == ["", "helper.py"]
    package = place / "pack"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import base\n")
    (package / "base.py").write_text("import numpy\n")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text("from ..base import numpy\nimport pack.inner\n")
    (place / "user.py").write_text(
        "def later():\n    from pack.inner.deep import numpy\n"
        "import importlib\nhelper = importlib.import_module('helper')\n"
    )
    assert sorted(code_files(place / "user.py")) == [
        "", "helper.py", "pack/__init__.py", "pack/base.py", "pack/inner/__init__.py",
        "pack/inner/deep.py",
    ]  # fmt: skip
    assert sorted(code_files(package / "inner" / "deep.py")) == [
        "", "__init__.py", "pack/__init__.py", "pack/base.py",
    ]  # fmt: skip


def test_state_is_told_by_its_content() -> None:
    class Keeps:
        def __init__(self, **kept: Any) -> None:
            self.__dict__.update(kept)

        def decide(self, history: Any, state: Any) -> None:
            return None

    def facts(**kept: Any) -> Any:
        return strategy_facts(Keeps(**kept), {}, None)

    frame = pd.DataFrame({"a": [1.0, 2.0]})
    for one, same, other in (
        (1, 1, 2),
        ([1, 2], (1, 2), [2, 1]),
        (np.arange(3.0), np.arange(3.0), np.arange(1.0, 4.0)),
        (frame, frame.copy(), frame + 1.0),
        ({"a": {1, 2}}, {"a": {2, 1}}, {"a": {3}}),
        (np.random.default_rng(1), np.random.default_rng(1), np.random.default_rng(2)),
        (Keeps(x=1), Keeps(x=1), Keeps(x=2)),
        (float("nan"), float("nan"), 0.0),
    ):
        assert facts(it=one) == facts(it=same)
        assert facts(it=one) != facts(it=other)
    itself: list[Any] = []
    itself.append(itself)
    assert facts(it=itself) == facts(it=itself)
    assert facts(it=(each for each in "a"))["opaque"] == ["builtins.generator"]


def test_a_class_without_a_file_is_told_by_what_it_does() -> None:
    def cell(code: str) -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(code, names)  # as a notebook runs a cell
        return strategy_facts(names["S"](), {}, None)

    code = "K = 3\ndef much():\n    return K\nclass S:\n    def decide(self, h, s):\n        return much()\n"
    assert cell(code) == cell("\n\n" + code)
    assert cell(code) != cell(code.replace("K = 3", "K = 4"))
    assert cell(code) != cell(code.replace("return K", "return K + 1"))
    assert cell(code) != cell(code.replace("return much()", "return -much()"))
