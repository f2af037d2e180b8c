"""The Python interface for scripts and notebooks: re-exports, and two functions with friendly arguments.

import athena
run = athena.backtest("prices.csv", strategy=MyStrategy())
run.equity, run.trades, run.weights, run.metrics
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.protocols import History, State, Strategy
from core.types import Target
from core.version import VERSION

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from agents.short_term import short_term_memory
    from core.config import AthenaConfig
    from memory.agemem import AgeMem
    from memory.context import ShortTermMemory
    from models.olmoe import OLMoEModel
    from trading.panel import Panel
    from trading.result import Run
    from trading.sources.frames import Given

__version__ = VERSION

__all__ = [
    "AgeMem",
    "History",
    "OLMoEModel",
    "ShortTermMemory",
    "State",
    "Strategy",
    "Target",
    "__version__",
    "backtest",
    "load_panel",
    "open_run",
    "short_term_memory",
]

_LATER = {
    "AgeMem": "memory.agemem",
    "OLMoEModel": "models.olmoe",
    "ShortTermMemory": "memory.context",
    "short_term_memory": "agents.short_term",
}
"""Names that are imported when they are first used, so that `import athena` stays quick."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def backtest(
    data: str | Path | Given | Panel | None = None,
    *,
    strategy: Strategy | str | None = None,
    weights: str | Path | pd.DataFrame | None = None,
    config: AthenaConfig | Mapping[str, Any] | str | Path | None = None,
    seed: int | None = None,
    symbols: Sequence[str] | str | None = None,
    universe: str | Path | None = None,
    agents: Literal["full", "rules"] = "full",
    views: str | Path | None = None,
    news: str | Path | None = None,
    memory: str | Path | None = None,
    start: str | date | None = None,
    end: str | date | None = None,
    risk: bool = False,
    no_risk: bool = False,
    runs_dir: str | Path | None = None,
    params: Mapping[str, Any] | None = None,
) -> Run:
    """A backtest as `athena backtest` runs it; works inside a running event loop.

    `data`: a path, a frame (long, wide, or with two levels of columns), frames or Series of closes by
    symbol, a Series of closes, a panel, "mock", or None for the shipped sample: whatever its form, the same
    options give the same run. A panel keeps the `data.*` settings that it was read with. `strategy`: an
    object with `decide`, or "FILE.py:Class" with `params` for its constructor. `weights`: a frame (long or
    times x symbols) or a path. `agents`: "full", with the language model, `news` and what `memory` has at
    the start, or "rules" alone. `start`, `end`: text as for the command, a date, or a moment; a moment at
    midnight without a zone is that day. `risk`: the limits for a strategy or weights, which have none
    without it; `no_risk`: none for the agents. `config`: a whole configuration, or nested mappings, or the
    path of a YAML or JSON file; but for a whole one, variables `ATHENA_SECTION__KEY` count as they do for the
    command: over a file, under mappings.
    Raises: as the command; every error is a `core.errors.AthenaError`.
    """
    from agents.assemble import RunOptions
    from agents.assemble import backtest as run_backtest
    from athena.arguments import (
        flag_of,
        moment_text,
        names_of,
        params_of,
        path_of,
        seed_of,
        weights_of,
    )

    settings, given = _config(config)
    options = RunOptions(
        data=str(data) if isinstance(data, Path) else data,
        symbols=names_of("symbols", symbols),
        universe=path_of("universe", universe),
        agents=agents,
        views=path_of("views", views),
        news=path_of("news", news),
        memory=path_of("memory", memory),
        start=moment_text("start", start),
        end=moment_text("end", end),
        strategy=strategy,
        params=params_of(params),
        weights=weights_of(weights),
        risk=flag_of("risk", risk),
        no_risk=flag_of("no_risk", no_risk),
        runs_dir=path_of("runs_dir", runs_dir),
        seed=seed_of(seed),
        environment=os.environ,
    )
    return run_backtest(_kept_to(data, settings, given), options)


def open_run(run: str | Path = "last", runs_dir: str | Path | None = None) -> Run:
    """An earlier run: a path, a name, the beginning of one, or "last"; in `runs_dir` of the settings."""
    from core.runlog import find_run
    from trading.result import Run

    where = _config(None)[0].runs_dir if runs_dir is None else Path(runs_dir)
    return Run(find_run(str(run), where))


def load_panel(
    data: str | Path | Given | Panel | None = None,
    *,
    symbols: Sequence[str] | str | None = None,
    universe: str | Path | None = None,
    end: str | date | None = None,
    config: AthenaConfig | Mapping[str, Any] | str | Path | None = None,
    seed: int | None = None,
) -> Panel:
    """The bars of a file, a folder, a dataset, data in any form of Python or the shipped sample as a panel,
    with the options of `backtest`; a panel is cut.

    Raises: DataError with every fault of the data.
    """
    from athena.arguments import moment_text, names_of, path_of, seed_of
    from trading.sources.load import load_panel as load

    settings, given = _config(config)
    settings = _kept_to(data, settings, given)
    return load(
        data,
        config=settings.data,
        symbols=names_of("symbols", symbols),
        universe=path_of("universe", universe),
        end=moment_text("end", end),
        seed=settings.seed if seed is None else seed_of(seed) or 0,
        data_dir=settings.data_dir,
    )


def _kept_to(data: object, config: AthenaConfig, given: Set[str]) -> AthenaConfig:
    """The settings with the `data.*` of a panel, if the data are one.

    Raises: DataError where `given` has others.
    """
    from trading.panel import Panel

    if not isinstance(data, Panel):
        return config
    from trading.sources.cut import settings_of

    return config.model_copy(update={"data": settings_of(data, config.data, given)})


def _config(
    config: AthenaConfig | Mapping[str, Any] | str | Path | None,
) -> tuple[AthenaConfig, frozenset[str]]:
    """The settings, and which of `data.*` were set on purpose."""
    from core.config import AthenaConfig, load
    from core.layers import DEFAULT_ORIGIN
    from core.unpack import set_limit

    if isinstance(config, AthenaConfig):
        set_limit(config.max_unpacked_bytes)
        return config, _changed(config)
    if config is None or isinstance(config, Mapping):
        loaded = load(env=os.environ, tree=config)
    else:
        from athena.arguments import config_path

        loaded = load([config_path(config)], os.environ)
    set_limit(loaded.config.max_unpacked_bytes)
    given = {
        name.partition(".")[2]
        for name, origin in loaded.origins.items()
        if name.startswith("data.") and origin != DEFAULT_ORIGIN
    }
    return loaded.config, frozenset(given)


def _changed(config: AthenaConfig) -> frozenset[str]:
    """Which of `data.*` differ from the defaults: a whole configuration does not say what was set."""
    default = type(config.data)()
    return frozenset(
        name
        for name in type(config.data).model_fields
        if getattr(config.data, name) != getattr(default, name)
    )
