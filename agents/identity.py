"""What makes a run the run that it is: everything that its records follow from, and nothing else.

Owns what counts and what does not; its hash is the run's `config_hash`. Counted are the bars as they were
read (so that file, frame and panel agree), the settings that the deciders read, and what decides, each by
its content. Not counted are names, paths, addresses, pace, settings of trainings, and versions of
libraries, which the manifest lists beside it. Refuses to know how a run goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml

from agents.fingerprint import digest, strategy_facts
from agents.inputs import WeightsStrategy
from agents.user_strategy import StrategyAgents
from trading.panel import BAR_FIELDS, FIELDS, NEVER, Panel

if TYPE_CHECKING:
    from agents.assemble import Deciders, RunOptions
    from agents.learned import LearnedParts
    from core.config import AthenaConfig

_RAW: Final = FIELDS.index("raw_open")
_NOT_FULL: Final = {
    "olmoe": frozenset({"model_path", "adapter_path"}),
    "memory": frozenset({"path", "neo4j_uri", "policy_path"}),
    "learning": frozenset({"rehearsal_bars", "exploration_coefficient"}),
}
"""Places, addresses, and what is read by `decide` and by trainings alone."""


def run_identity(
    config: AthenaConfig,
    options: RunOptions,
    panel: Panel,
    deciders: Deciders,
    first_row: int,
) -> dict[str, Any]:
    """Plain values that two runs share where their records must agree. Call it before the first decision: an
    object's state counts as it is then.

    Raises: StrategyError for code that cannot be read.
    """
    return {
        "bars": bars_hash(panel),
        "start": panel.as_of[first_row] if first_row < panel.rows else f"row {first_row}",
        "decided_by": _decided_by(options),
        "limits": deciders.limits,
        "settings": settings_read(config, options, deciders),
        **_inputs(options, deciders),
    }


def _decided_by(options: RunOptions) -> str:
    if options.weights is not None:
        return "weights"
    return options.agents if options.strategy is None else "strategy"


def bars_hash(panel: Panel) -> str:
    """SHA-256 of the bars as they were read, with their times, and of who is visible when.

    Raw prices that are the adjusted ones are not read again.
    """
    found = hashlib.sha256()
    about = [
        list(panel.symbols), panel.interval, panel.calendar, panel.currency, bool(panel.has_volume),
        panel.listed_at.tolist(), np.where(panel.leaves_at == NEVER, -1, panel.leaves_at).tolist(),
    ]  # fmt: skip
    found.update(digest(about).encode())
    found.update(panel.times.astype("datetime64[ns]").astype("<i8").tobytes())
    for at in range(BAR_FIELDS):
        values = panel.stack[at]
        if at >= _RAW and np.array_equal(values, panel.stack[at - _RAW], equal_nan=True):
            found.update(b"as adjusted")
            continue
        same = values + 0.0  # no -0.0
        same[np.isnan(same)] = np.nan  # one NaN
        found.update(np.ascontiguousarray(same, dtype="<f8").data)
    return found.hexdigest()


def settings_read(config: AthenaConfig, options: RunOptions, deciders: Deciders) -> dict[str, Any]:
    """The settings that this run's deciders and its broker read."""
    whole = config.to_dict()
    trading = {name: value for name, value in whole["trading"].items() if name != "poll_seconds"}
    agents = dict(whole["agents"])
    if not deciders.limits:
        del agents["risk"]
    found: dict[str, Any] = {"seed": whole["seed"], "trading": trading, "agents": agents}
    if options.strategy is not None or options.weights is not None:
        del trading["warmup_bars"]
        found["agents"] = {
            name: value for name, value in agents.items() if name in ("execution", "risk")
        }
    elif options.agents == "full":
        for section in ("model", "olmoe", "memory", "learning", "communication"):
            left_out = _NOT_FULL.get(section, frozenset())
            found[section] = {
                name: value for name, value in whole[section].items() if name not in left_out
            }
    return found


def _inputs(options: RunOptions, deciders: Deciders) -> dict[str, Any]:
    """What decides, and what it is given, each by its content."""
    agents, learned = deciders.agents, deciders.learned
    found: dict[str, Any] = {}
    if isinstance(agents, StrategyAgents):
        if isinstance(agents.strategy, WeightsStrategy):
            found["weights"] = digest(agents.strategy.content())
        else:
            found["strategy"] = _strategy(options, agents.strategy)
    if deciders.views is not None:
        found["views"] = digest(deciders.views.content())
    if learned is not None:
        found |= _learned(learned)
    return found


def _strategy(options: RunOptions, strategy: object) -> dict[str, Any]:
    params = {name: yaml.safe_load(value) for name, value in options.params}
    named = options.strategy
    file = Path(named.rpartition(":")[0]) if isinstance(named, str) else None
    return strategy_facts(strategy, params, file)


def _learned(learned: LearnedParts) -> dict[str, Any]:
    """The learned parts: weights by the hash of their files, news and memory by what they say."""
    from agents.learned import file_hash

    config = learned.config
    found: dict[str, Any] = {}
    if learned.model is not None:
        model = learned.model.model
        found["model"] = {"weights": model.backbone_hash, "tokenizer": model.tokenizer_hash}
        if config.olmoe.adapter_path is not None:
            found["adapter"] = _adapter(config.olmoe.adapter_path)
    if config.memory.policy == "trained":
        from models.policy_folder import read_policy, shipped_policy

        policy = read_policy(config.memory.policy_path or shipped_policy())
        found["memory_policy"] = {"weights": policy.sha256, "backbone": policy.backbone_hash}
    if learned.news is not None:
        found["news"] = digest(learned.news.content())
    if learned.snapshot is not None:
        found["memory"] = file_hash(learned.snapshot)
    return found


def _adapter(folder: Path) -> str:
    from models.adapters import read_manifest

    return read_manifest(folder).sha256


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted name, value then, value now) of every part in which two identities, or any two mappings of
    plain values, differ; None stands for what one of them lacks."""
    found: list[tuple[str, Any, Any]] = []
    for name in [*then, *(name for name in now if name not in then)]:
        one, other = then.get(name), now.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += [(f"{name}.{more}", a, b) for more, a, b in differences(one, other)]
        elif one != other:
            found.append((name, one, other))
    return found
