"""What each learned part is worth: the same bars with one part changed, compared day by day.

Owns the arms, the runs and the comparison. Each arm lives through the same rows with a memory of its own,
without a run folder; forecasts are compared question by question, daily returns day by day, with intervals by
the circular block bootstrap over days. Refuses to know how anything is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from agents.assemble import RunOptions, build_deciders, load_data, resolve, run_sync
from agents.forecast_scores import read_ledger
from agents.forecasts import WHOLE
from agents.learned import shared_model
from agents.worlds import ROWS, MadeWorld, make_world
from core.config import AthenaConfig
from core.errors import UsageError
from memory.policy import NOTHING, Choice, MemoryPolicy, MemoryState
from models.scores import log_scores, mean_interval
from trading.engine import Account
from trading.metrics import compute_metrics
from trading.run import (
    Progress,
    Span,
    annual_bars,
    booked_column,
    curve_times,
    equity_column,
    exposure_column,
    find_span,
    open_account,
    replay,
)

FloatArray = npt.NDArray[np.float64]
WorldName = Literal["real", "planted", "noise"]

WORLD_CAP = 24
"""Entries that a memory may hold in made worlds: what happens there does not fit."""

CHANGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "full": {},
    "none": {"memory": {"policy": "none"}},
    "random": {"memory": {"policy": "random"}},
    "recency": {"memory": {"policy": "recency"}},
    "keep_all": {"memory": {"policy": "keep_all"}},
    "heuristic": {"memory": {"policy": "heuristic"}},
    "trained": {"memory": {"policy": "trained"}},
    "oracle": {},
    "no_model": {"model": {"enabled": False}},
    "no_analyst": {"learning": {"analyst": False}},
    "no_news": {},
    "no_learning": {"learning": {"enabled": False}},
    "no_communication": {"communication": {"enabled": False}},
}
"""What an arm changes in the configuration; `full` is the configuration as it is."""
MEMORY_ARMS = ("none", "random", "recency", "keep_all", "heuristic", "trained")
DEFAULT_ARMS: Mapping[WorldName, tuple[str, ...]] = {
    "real": ("full", "none", "random", "recency", "no_model", "no_analyst"),
    "planted": ("full", "none", "random", "recency", "oracle", "no_model", "no_analyst", "no_news"),
    "noise": ("full", "none", "random", "recency", "no_model", "no_analyst", "no_news"),
}


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows which news mean something and keeps a tally of their outcomes, and nothing else."""

    setup: str

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        wanted = sorted(self.setup.split())
        return [
            Choice(
                NOTHING
                if sorted(str(state.event.more.get("news", "")).split()) != wanted
                else "add"
                if state.closest is None
                else "update"
            )
            for state in states
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """One arm's life. Shapes: T days, Q questions. `scores` [Q] are log scores of what all sources told
    together, NaN where they abstained; `days` [Q] the record in which each was asked; `returns` [T - 1]."""

    name: str
    metrics: Mapping[str, float | None]
    scores: FloatArray
    days: npt.NDArray[np.int64]
    returns: FloatArray


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` is the arm's figure less the baseline's, a mean over questions or days."""

    arm: str
    baseline: str
    figure: str
    difference: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "arm": self.arm,
            "baseline": self.baseline,
            "figure": self.figure,
            "difference": self.difference,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """All arms and comparisons; `verdict` is what the memory was worth, in a sentence."""

    world: WorldName
    data: str
    seed: int
    arms: Sequence[Arm]
    differences: Sequence[Comparison]
    verdict: str
    notes: Sequence[str] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `athena ablate`."""
        return {
            "world": self.world,
            "data": self.data,
            "seed": self.seed,
            "arms": [
                {
                    "name": arm.name,
                    "metrics": dict(arm.metrics),
                    "log_score": float(np.nanmean(arm.scores)) if len(arm.scores) else None,
                    "forecasts": int(np.count_nonzero(~np.isnan(arm.scores))),
                }
                for arm in self.arms
            ],
            "differences": [each.to_dict() for each in self.differences],
            "verdict": self.verdict,
            "notes": list(self.notes),
        }


def ablate(
    config: AthenaConfig,
    options: RunOptions,
    *,
    world: WorldName = "real",
    arms: Sequence[str] = (),
    rows: int = ROWS,
    progress: Progress | None = None,
) -> Ablation:
    """Run every arm and compare them; `rows` is the length of a made world.

    Raises: UsageError for an arm that there is none of; whatever a run raises.
    """
    config = resolve(config, options)
    names = _arms(world, arms, has_news=options.news is not None)
    made: MadeWorld | None = None
    if world != "real":
        made = make_world(world, config.seed, rows=rows)
        cap = config.memory.entry_cap or WORLD_CAP
        memory = config.memory.model_copy(update={"entry_cap": cap})
        config = config.model_copy(update={"memory": memory})
        options = replace(options, data=made.panel, news=made.news)
    panel = load_data(config, options)
    options = replace(options, agents="full", data=panel)
    if config.model.enabled:
        options = replace(options, model=shared_model(config))
    lives = []
    for number, name in enumerate(names):
        told = None if progress is None else _within(progress, number, len(names), name)
        lives.append(_live(name, config, options, made.setup if made else None, told))
    differences = _compare(lives)
    return Ablation(
        world=world,
        data=panel.name,
        seed=config.seed,
        arms=lives,
        differences=differences,
        verdict=verdict(differences),
        notes=()
        if made is None
        else (f"Memories hold at most {config.memory.entry_cap} entries.",),
    )


def _arms(world: WorldName, asked: Sequence[str], *, has_news: bool) -> tuple[str, ...]:
    if not asked:
        names = DEFAULT_ARMS[world]
        return (*names, "no_news") if world == "real" and has_news else names
    unknown = [name for name in asked if name not in CHANGES]
    if unknown:
        raise UsageError(f"--arms names {', '.join(unknown)}.", f"There are {', '.join(CHANGES)}.")
    if "oracle" in asked and world != "planted":
        raise UsageError(
            "the arm oracle needs --world planted.", "Nobody knows the answer elsewhere."
        )
    return tuple(dict.fromkeys(("full", *asked)))


def _within(progress: Progress, number: int, count: int, name: str) -> Progress:
    def advance(done: int, total: int | None, _: str) -> None:
        steps = total or done
        progress(number * steps + done, count * steps, f"arm {name}")

    return advance


def _live(
    name: str,
    config: AthenaConfig,
    options: RunOptions,
    setup: str | None,
    progress: Progress | None,
) -> Arm:
    changes = {
        section: getattr(config, section).model_copy(update=dict(values))
        for section, values in CHANGES[name].items()
    }
    config = config.model_copy(update=changes)
    options = replace(
        options,
        model=options.model if config.model.enabled else None,
        news=None if name == "no_news" else options.news,
    )
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    assert deciders.learned is not None
    if name == "oracle":
        assert setup is not None
        policy = MemoryPolicy("oracle", Oracle(setup))
        deciders = replace(deciders, learned=replace(deciders.learned, policy=policy))
    lines: list[bytes] = []
    account = open_account(panel, deciders.agents, config.trading, lines.append)
    span = find_span(panel, deciders.warmup, options.start)

    async def go() -> None:
        async with deciders.remembering(account, None, options.environment):
            await replay(account, span, progress)
            await asyncio.sleep(0)

    run_sync(go())
    return _arm(name, account, lines)


def _arm(name: str, account: Account, lines: Sequence[bytes]) -> Arm:
    panel, curve = account.tape.panel, account.curve
    equity = equity_column(curve)
    last = curve.first_row + len(equity) - 1
    per_year, _ = annual_bars(panel, Span(curve.first_row, last))
    metrics = compute_metrics(
        equity,
        curve_times(panel, curve),
        exposure_frac=exposure_column(curve),
        traded_usd=booked_column(curve, "traded_usd"),
        round_trip_pnl_usd=np.array(
            [trip.pnl_usd for trip in account.portfolio.trips], dtype=float
        ),
        bars_per_year=per_year,
    )
    ledger = read_ledger(map(orjson.loads, lines))
    scores = np.full(ledger.questions, np.nan)
    days = np.zeros(ledger.questions, dtype=np.int64)
    if WHOLE in ledger.sources:
        told = ledger.sources[WHOLE]
        scores[told.places] = log_scores(told.chances, told.answers)
        days[told.places] = told.dates
    return Arm(name, metrics.to_dict(), scores, days, equity[1:] / equity[:-1] - 1.0)


def _compare(lives: Sequence[Arm]) -> list[Comparison]:
    """`full` against every other memory, `oracle` and every arm without a part against `full`."""
    by_name = {arm.name: arm for arm in lives}
    full = by_name["full"]
    found = []
    for arm in lives:
        if arm is full:
            continue
        first, second = (full, arm) if arm.name in MEMORY_ARMS else (arm, full)
        found += _pair(first, second)
    return found


def _pair(first: Arm, second: Arm) -> list[Comparison]:
    found = []
    if len(first.scores) == len(second.scores):
        gained = first.scores - second.scores
        both = ~np.isnan(gained)
        if both.any():
            found.append(
                Comparison(
                    first.name,
                    second.name,
                    "log_score",
                    float(gained[both].mean()),
                    mean_interval(gained[both], first.days[both]),
                )
            )
    more = first.returns - second.returns
    if len(more):
        found.append(
            Comparison(
                first.name,
                second.name,
                "daily_return_frac",
                float(more.mean()),
                mean_interval(more, np.arange(len(more))),
            )
        )
    return found


def verdict(differences: Sequence[Comparison]) -> str:
    """What the memory is worth, by the log score against remembering nothing."""
    for each in differences:
        if (each.arm, each.baseline, each.figure) == ("full", "none", "log_score"):
            low, high = each.interval
            between = f"({low:+.4f} to {high:+.4f})"
            if low > 0.0:
                return f"The memory is worth {each.difference:+.4f} nats a forecast {between}."
            if high < 0.0:
                cost = f"The memory costs {-each.difference:.4f} nats a forecast {between}"
                return f"{cost}: no measurable gain."
            return f"No measurable gain from the memory, in nats a forecast {between}."
    return "No arm without a memory was run."


def plot(report: Ablation, path: Any) -> None:
    """All differences with their intervals, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 0.35 * len(report.differences)), layout="constrained")
    titles: tuple[tuple[str, str, Callable[[float], float]], ...] = (
        ("log_score", "log score, nats a forecast", float),
        ("daily_return_frac", "daily return, basis points", lambda value: 1e4 * value),
    )
    axes = figure.subplots(1, 2)
    for axis, (name, title, scaled) in zip(axes, titles, strict=True):
        rows = [each for each in report.differences if each.figure == name]
        for place, each in enumerate(reversed(rows)):
            low, high = (scaled(end) for end in each.interval)
            axis.plot([low, high], [place, place], color="tab:blue")
            axis.plot([scaled(each.difference)], [place], "o", color="tab:blue")
        axis.set_yticks(range(len(rows)), [f"{e.arm} - {e.baseline}" for e in reversed(rows)])
        axis.axvline(0.0, color="grey", linewidth=0.8)
        axis.set_xlabel(title)
    figure.suptitle(f"Ablation, world {report.world}: {report.data}")
    figure.savefig(path, dpi=120, format="png")
