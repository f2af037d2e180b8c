"""The Python interface for scripts and notebooks: re-exports, and two functions with friendly arguments.

import athena
run = athena.backtest("prices.csv", strategy=MyStrategy())
run.equity, run.trades, run.weights, run.metrics
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.protocols import History, State, Strategy
from core.types import Target
from core.version import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from core.config import AthenaConfig
    from trading.panel import Panel
    from trading.result import Run

__version__ = VERSION

__all__ = [
    "History",
    "State",
    "Strategy",
    "Target",
    "__version__",
    "backtest",
    "load_panel",
    "open_run",
]


def backtest(
    data: str | Path | pd.DataFrame | Panel | None = None,
    *,
    strategy: Strategy | str | None = None,
    weights: str | Path | pd.DataFrame | None = None,
    config: AthenaConfig | Mapping[str, Any] | str | Path | None = None,
    seed: int | None = None,
    symbols: Sequence[str] | str | None = None,
    universe: str | Path | None = None,
    views: str | Path | None = None,
    start: str | None = None,
    end: str | None = None,
    no_risk: bool = False,
    runs_dir: str | Path | None = None,
) -> Run:
    """A backtest as `athena backtest` runs it; works inside a running event loop.

    `data`: a path, a frame (long or wide), a panel, "mock", or None for the shipped sample. `strategy`: an
    object with `decide`, or "FILE.py:Class". `weights`: a frame (long or times x symbols) or a path. `config`:
    a configuration, nested mappings, or the path of a YAML or JSON file.
    Raises: as the command; every error is a `core.errors.AthenaError`.
    """
    from agents.assemble import RunOptions
    from agents.assemble import backtest as run_backtest

    options = RunOptions(
        data=str(data) if isinstance(data, Path) else data,
        symbols=_names(symbols),
        universe=None if universe is None else Path(universe),
        views=None if views is None else Path(views),
        start=start,
        end=end,
        strategy=strategy,
        weights=Path(weights) if isinstance(weights, str) else weights,
        no_risk=no_risk,
        runs_dir=None if runs_dir is None else Path(runs_dir),
        seed=seed,
    )
    return run_backtest(_config(config), options)


def open_run(run: str | Path = "last", runs_dir: str | Path | None = None) -> Run:
    """An earlier run: a path, a name, the beginning of one, or "last"."""
    from core.config import AthenaConfig
    from core.runlog import find_run
    from trading.result import Run

    where = Path(AthenaConfig().runs_dir) if runs_dir is None else Path(runs_dir)
    return Run(find_run(str(run), where))


def load_panel(data: str | Path | pd.DataFrame | None = None) -> Panel:
    """The bars of a file, a folder, a frame or the shipped sample as a panel.

    Raises: DataError with every fault of the data.
    """
    from core.config import AthenaConfig
    from trading.sources.load import load_panel as load

    return load(data, config=AthenaConfig().data)


def _names(symbols: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if symbols is None:
        return None
    return tuple(symbols.split(",")) if isinstance(symbols, str) else tuple(symbols)


def _config(config: AthenaConfig | Mapping[str, Any] | str | Path | None) -> AthenaConfig:
    from core.config import AthenaConfig

    if config is None:
        return AthenaConfig()
    if isinstance(config, AthenaConfig):
        return config
    if isinstance(config, Mapping):
        return AthenaConfig._from_dict(config)
    return (
        AthenaConfig.from_json(config)
        if str(config).endswith(".json")
        else AthenaConfig.from_yaml(config)
    )
