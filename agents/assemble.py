"""Builds a run from a configuration: data, agents, broker, run folder, and binds them to the one path.

Owns the wiring of `backtest`, `paper_trade` and `dry_run`; `agents/decide.py` has `decide`. Refuses to
know how anything is decided, filled or drawn.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from agents.again import asked, began_with, check_code, not_stored, remember_code
from agents.execution import ExecutionAgent
from agents.identity import run_identity
from agents.inputs import (
    ViewsTable,
    WeightsStrategy,
    check_known,
    read_views,
    read_weights,
)
from agents.risk_manager import RiskManager
from agents.user_strategy import StrategyAgents, check_strategy, load_strategy
from core.clock import SystemClock
from core.config import AthenaConfig, RiskConfig
from core.config import config_hash as hash_of_settings
from core.errors import DataError, RunFolderError, UsageError
from core.jsontext import json_bytes
from core.locks import held_by_another
from core.protocols import Agents, Strategy
from core.runlog import BOOK, RunFolder, find_run, read_manifest, run_status
from trading.calendar import bars_per_year
from trading.engine import Account
from trading.holdings import account_notes, benchmark_notes, end_of
from trading.panel import NEVER, Panel
from trading.paper import (
    finish_first,
    give_up,
    handling_signals,
    saved_book,
    stopping_on_signals,
    trade_rows,
)
from trading.price_warnings import known_warnings, warnings_note
from trading.result import DataFacts, LimitsSeen, Run, RunOutcome, write_outputs
from trading.run import (
    Progress,
    Span,
    annual_bars,
    benchmark_outcome,
    booked_column,
    cash_column,
    cost_columns,
    curve_times,
    equity_column,
    exposure_column,
    find_span,
    moment_of,
    open_account,
    replay,
    run_benchmark,
)

if TYPE_CHECKING:
    import pandas as pd

    from agents.learned import LearnedParts, SharedModel
    from agents.news import NewsCounts, NewsFeed
    from trading.market_data import MarketDataFeed
    from trading.sources.frames import Given

T = TypeVar("T")

log = logging.getLogger(__name__)

MANY_TIMES_EQUITY = 2.0
"""Above this sum of weights a user may have meant percent."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line, or a notebook, asks of one run, beside the configuration.

    `data`, `strategy`, `weights` and `news` may also be a frame, an object with `decide`, a frame, and lines
    read already. `model` is a language model that is loaded already. `resume` names a run to go on with, in
    its own settings and with its own options; of these, `speed` and `steps` may be given anew, and
    `strategy` again, which says that the user knows its code; `trust` says so without naming it, this once.
    """

    data: str | Path | Given | Panel | None = None
    symbols: tuple[str, ...] | None = None
    universe: Path | None = None
    start: str | None = None
    end: str | None = None
    agents: Literal["full", "rules"] = "rules"  # the commands ask for `full`
    news: Path | NewsFeed | None = None
    memory: Path | None = None
    model: SharedModel | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    strategy: str | Strategy | None = None
    params: tuple[tuple[str, str], ...] = ()
    weights: Path | pd.DataFrame | None = None
    views: Path | None = None
    risk: bool = False
    no_risk: bool = False
    runs_dir: Path | None = None
    seed: int | None = None
    speed: float | None = None
    steps: int | None = None
    holdings: Path | None = None
    as_of: str | None = None
    accept_warnings: bool = False
    resume: str | None = None
    trust: bool = False


AGENTS = ("full", "rules")
"""Who may decide: with the language model, memory and learning, or by the rules alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Deciders:
    """Who decides in a run, and how many bars they want first. `inputs` are files by hash; `learned` are the
    learned parts of the full agents; `limits`: whether the risk limits are in force; `idle_limits`: which
    of them were set and do not act."""

    agents: Agents
    risk: RiskManager | None
    warmup: int
    name: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    learned: LearnedParts | None = None
    limits: bool = True
    idle_limits: tuple[str, ...] = ()
    views: ViewsTable | None = None

    def notes(self) -> list[str]:
        """What of the settings does not act."""
        if not self.idle_limits:
            return []
        cure = "leave out --no-risk" if self.name == "agents" else "give --risk"
        verb = "does" if len(self.idle_limits) == 1 else "do"
        return [
            f"{', '.join(self.idle_limits)} {verb} not act: this run has no risk limits "
            f"({cure} to have them)."
        ]

    def news(self, panel: Panel, first: int, last: int) -> NewsCounts | None:
        """What became of the lines of `--news` in a run over these rows; None without such a file."""
        if self.learned is None or self.learned.news is None:
            return None
        return self.learned.news.counts(panel, first, last)

    @asynccontextmanager
    async def remembering(
        self,
        account: Account,
        folder: Path | None,
        environment: Mapping[str, str],
        *,
        again: bool = False,
    ) -> AsyncIterator[None]:
        """Within the block the account's memory is open, if these agents have one; `again` begins it anew,
        whatever a killed process left of it."""
        if self.learned is None:
            yield
            return
        from agents.coordinator import Coordinator

        assert isinstance(self.agents, Coordinator)
        async with self.learned.remembering(
            self.agents, folder, environment, again=again
        ) as open_memory:
            account.remembering = open_memory
            yield


def going_on(
    config: AthenaConfig, options: RunOptions, mode: str
) -> tuple[AthenaConfig, RunOptions, Path | None]:
    """(settings, options, the run's folder) of a run; with `resume` those with which it began.

    Going on means living through it again: every step taken must give the same record, to the byte, and
    so everything that was learned is there again. Nothing has to be kept that could be torn.
    Raises: RunNotFound; RunFolderError for a run that is done, alive, of another mode or made in Python.
    """
    if options.resume is None:
        return resolve(config, options), options, None
    path = find_run(options.resume, Path(config.runs_dir))
    manifest = read_manifest(path)
    status = run_status(path, manifest)
    if manifest.get("mode") != mode:
        raise RunFolderError(
            f"the run {path.name} is a {manifest.get('mode')}.",
            f"Go on with it by `athena {manifest.get('mode')} --resume`.",
        )
    if status == "running":
        raise held_by_another(path)
    if status == "done" and mode == "backtest":
        raise RunFolderError(
            f"the run {path.name} is {status}.", "Only a run that came to no end can go on."
        )
    if manifest.get("not_stored"):
        raise RunFolderError(
            f"the run {path.name} was begun with objects of a Python program.",
            "Begin it anew there.",
        )
    again, kept = began_with(manifest, path.name, config, options)
    for name in ("speed", "steps", "strategy"):
        if getattr(options, name) is not None:
            kept = replace(kept, **{name: getattr(options, name)})
    if isinstance(kept.strategy, str):
        check_code(
            manifest,
            path.name,
            kept.strategy,
            options.environment,
            vouched=options.trust or options.strategy is not None,
            cure="Put the old file back, or begin anew.",
        )
    return again, kept, path


def run_folder(  # noqa: PLR0917
    path: Path | None,
    mode: str,
    config: AthenaConfig,
    options: RunOptions,
    data: Mapping[str, Any],
    identity: Mapping[str, Any],
) -> RunFolder:
    """A new run folder, or the one of a run that is gone on with."""
    if path is not None:
        return RunFolder.reopen(path, config=config, data=data, identity=identity)
    return RunFolder.create(
        Path(config.runs_dir),
        mode=mode,
        config=config,
        seed=config.seed,
        data=data,
        asked=asked(options),
        not_stored=not_stored(options),
        identity=identity,
    )


def resolve(config: AthenaConfig, options: RunOptions) -> AthenaConfig:
    """The configuration with the options that are also settings laid over it; with the `data.*` of a panel,
    where the data are one. Raises: DataError for other settings of these."""
    changes: dict[str, Any] = {}
    if isinstance(options.data, Panel):
        from trading.sources.cut import settings_of

        changes["data"] = settings_of(options.data, config.data)
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.runs_dir is not None:
        changes["runs_dir"] = options.runs_dir
    return config.model_copy(update=changes) if changes else config


def load_data(config: AthenaConfig, options: RunOptions) -> Panel:
    """The panel that the options name. Raises: DataError, also for dates the wrong way round."""
    from trading.sources.load import load_panel

    if isinstance(options.data, Panel):
        _check_seed(options.data, config.seed)
    if options.end is not None:
        end, _ = moment_of(options.end, "--end")
        if options.start is not None and moment_of(options.start, "--start")[0] > end:
            raise DataError(
                f"--start {options.start} lies after --end {options.end}.", "Exchange them."
            )
    return load_panel(
        options.data,
        config=config.data,
        symbols=options.symbols,
        universe=options.universe,
        end=options.end,
        seed=config.seed,
        data_dir=Path(config.data_dir),
        now=datetime.now(UTC),
    )


def _check_seed(panel: Panel, seed: int) -> None:
    """Raises: DataError for mock walks of another seed than the run's, by which `mock` is made."""
    made = None if panel.origin is None else panel.origin.mock_seed
    if made is not None and made != seed:
        raise DataError(
            f"the panel's mock walks were made with seed {made}, and the run has seed {seed}.",
            f"Give seed={made}, or read the panel with seed={seed}.",
        )


def build_deciders(
    config: AthenaConfig, options: RunOptions, panel: Panel, *, streaming: bool = False
) -> Deciders:
    """Who decides: the five agents, or a user's strategy or weights in the place of two of them.

    `streaming` computes indicators bar by bar from the growing history instead of from the panel; the
    values are the same to the last bit.
    Raises: UsageError when options contradict each other.
    """
    chosen = [
        name
        for name, value in (("--strategy", options.strategy), ("--weights", options.weights))
        if value is not None
    ]
    if len(chosen) > 1:
        raise UsageError("--strategy and --weights both decide.", "Give one of them.")
    if chosen and options.views is not None:
        raise UsageError(
            f"--views feeds the agents, and {chosen[0]} decides in their place.",
            "Give one of them.",
        )
    if options.params and not isinstance(options.strategy, str):
        raise UsageError("--param needs --strategy.", "Name the strategy they are for.")
    if options.agents not in AGENTS:
        raise UsageError(
            f"there are no agents {options.agents!r}.", f"Choose {' or '.join(AGENTS)}."
        )
    full = options.agents == "full"
    for name, value in (("--news", options.news), ("--memory", options.memory)):
        if value is None:
            continue
        if chosen:
            raise UsageError(
                f"{name} feeds the agents, and {chosen[0]} decides in their place.",
                "Give one of them.",
            )
        if not full:
            raise UsageError(f"{name} needs --agents full.", "The rules read neither.")
    limited = limits_in_force(options)
    idle = () if limited else limits_set(config)
    allow_short = config.trading.allow_short
    inputs: dict[str, str] = {}
    if options.universe is not None:
        inputs["universe"] = _sha256(options.universe)
    strategy: Strategy | None = None
    warmup, name = config.trading.warmup_bars, "agents"
    if isinstance(options.weights, WeightsStrategy):
        strategy, warmup, name = options.weights, 0, "weights"
    elif options.weights is not None:
        strategy = weights = read_weights(options.weights)
        check_known(weights.symbols, panel.symbols, "--weights")
        warmup, name = 0, "weights"
        if isinstance(options.weights, Path):
            inputs["weights"] = _sha256(options.weights)
    elif options.strategy is not None:
        if isinstance(options.strategy, str):
            strategy = load_strategy(options.strategy, options.params)
            if options.resume is None and not options.trust:
                remember_code(options.strategy, options.environment)
            inputs["strategy"] = _sha256(Path(options.strategy.rpartition(":")[0]))
        else:
            strategy = check_strategy(options.strategy)
        warmup, name = int(getattr(strategy, "warmup", 0)), type(strategy).__name__
    execution = ExecutionAgent(config.agents.execution, config.trading.participation_frac)
    if strategy is not None:
        risk = RiskManager(config.agents.risk, allow_short) if limited else None
        agents: Agents = StrategyAgents(
            strategy,
            execution,
            risk,
            allow_short=allow_short,
            one_symbol=len(panel.symbols) == 1 and int(panel.leaves_at[0]) == NEVER,
        )
        return Deciders(agents, risk, warmup, name, inputs, limits=limited, idle_limits=idle)

    from agents.coordinator import Coordinator
    from agents.indicators import PanelIndicators, StreamIndicators
    from agents.market_analyst import MarketAnalyst
    from agents.strategy import StrategyAgent

    views: ViewsTable | None = None
    if options.views is not None:
        views = read_views(options.views)
        check_known(views.symbols, panel.symbols, "--views")
        inputs["views"] = _sha256(options.views)
    limits = config.agents.risk if limited else _no_limits()
    risk = RiskManager(limits, allow_short)
    indicators = (
        StreamIndicators(config.agents) if streaming else PanelIndicators(panel, config.agents)
    )
    learned: LearnedParts | None = None
    if full:
        from agents.learned import build_learned, file_hash
        from agents.news import read_news

        news = None
        if isinstance(options.news, Path):
            news = read_news(options.news, panel.symbols)
            inputs["news"] = _sha256(options.news)
        elif options.news is not None:
            news = options.news
        if options.memory is not None:
            inputs["memory"] = _sha256(options.memory) and file_hash(options.memory)
        learned = build_learned(config, news=news, snapshot=options.memory, model=options.model)
    coordinator = Coordinator(
        indicators=indicators,
        analyst=MarketAnalyst(config.agents.analyst, external_views=views),
        strategy=StrategyAgent(
            config.agents.strategy,
            allow_short=allow_short,
            # By the calendar that the settings name and the interval of the first bars: nothing later.
            bars_per_year=bars_per_year(panel.calendar, panel.interval),
        ),
        risk=risk,
        execution=execution,
        mind=None if learned is None else learned.mind,
        count_tokens=None if learned is None else learned.count_tokens,
    )
    return Deciders(coordinator, risk, warmup, name, inputs, learned, limited, idle, views)


def limits_in_force(options: RunOptions) -> bool:
    """Agents have the risk limits unless `no_risk`; a strategy or weights of one's own with `risk` alone.

    Raises: UsageError where both are asked for.
    """
    if options.risk and options.no_risk:
        raise UsageError("--risk and --no-risk contradict each other.", "Give one of them.")
    if options.strategy is not None or options.weights is not None:
        return options.risk
    return not options.no_risk


def limits_set(config: AthenaConfig) -> tuple[str, ...]:
    """The settings of `agents.risk` that are not the defaults, `agents.risk.max_var_frac=0.01`."""
    risk, default = config.agents.risk, RiskConfig()
    return tuple(
        f"agents.risk.{name}={getattr(risk, name)}"
        for name in RiskConfig.model_fields
        if getattr(risk, name) != getattr(default, name)
    )


def _limits_seen(deciders: Deciders) -> LimitsSeen:
    if deciders.risk is None or not deciders.limits:
        return LimitsSeen(in_force=False)
    tally = deciders.risk.tally
    asked = tally.asked_frac / tally.reviews if tally.reviews else None
    return LimitsSeen(True, tally.cut, asked)


def _no_limits() -> RiskConfig:
    off = {
        name: None
        for name, info in RiskConfig.model_fields.items()
        if type(None) in getattr(info.annotation, "__args__", ())
    }
    return RiskConfig.model_validate(off)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error


def data_manifest(panel: Panel, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says about the inputs, hashes among it."""
    return {
        "name": panel.name,
        "mock": panel.mock,
        "sha256": panel.sha256,
        "symbols": list(panel.symbols),
        "interval": panel.interval,
        "calendar": panel.calendar,
        "currency": panel.currency,
        "rows": panel.rows,
        "first": panel.as_of[0],
        "last": panel.as_of[-1],
        "notes": list(panel.notes),
        "inputs": dict(inputs),
    }


def run_notes(account: Account, deciders: Deciders) -> list[str]:
    """What happened in a run that its figures do not show by themselves."""
    panel = account.tape.panel
    notes = [
        *warnings_note(known_warnings(panel, account.tape.row)),
        *deciders.notes(),
        *account_notes(account),
    ]
    agents = deciders.agents
    if isinstance(agents, StrategyAgents):
        if agents.most_asked_frac > MANY_TIMES_EQUITY:
            notes.append(
                f"Weights of up to {agents.most_asked_frac:,.6g} in sum were asked for; 1 is all of the "
                "equity."
            )
        if isinstance(agents.strategy, WeightsStrategy):
            notes += _weights_notes(agents.strategy)
    return notes


def _some(counts: Mapping[str, int]) -> str:
    """The first ten names with their counts, and how many more there are."""
    named = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:10])
    return named + (f" and {len(counts) - 10} more" if len(counts) > 10 else "")


def _weights_notes(weights: WeightsStrategy) -> list[str]:
    """Rows of `--weights` that the figures do not hold."""
    if not weights.applied:
        return ["No row of the weights was visible by the last bar: nothing was traded."]
    notes = []
    lost = weights.passed_over
    if lost:
        count = sum(lost.values())
        notes.append(
            f"{_rows_were(count)} passed over, for the symbol had no bar yet: {_some(lost)}."
        )
    if weights.rows_not_reached:
        notes.append(f"{_rows_were(weights.rows_not_reached)} not reached by the last bar.")
    return notes


def _rows_were(count: int) -> str:
    return f"{count:,} rows of the weights were" if count > 1 else "1 row of the weights was"


def outcome_of(
    account: Account,
    benchmark: Account,
    *,
    config: AthenaConfig,
    config_hash: str,
    mode: str,
    run_dir: Path,
    deciders: Deciders,
    seconds: float,
    interrupted: bool,
) -> RunOutcome:
    """What a run knows at its end; both accounts must have gone over the same rows."""
    panel, curve = account.tape.panel, account.curve
    times = curve_times(panel, curve)
    steps = len(curve.equity_usd)
    last = curve.first_row + steps - 1
    per_year, calendar_note = annual_bars(panel, Span(curve.first_row, last))
    cutoff = None if deciders.learned is None else deciders.learned.training_cutoff
    news = deciders.news(panel, curve.first_row, last)
    notes = [
        *panel.notes,
        *run_notes(account, deciders),
        *benchmark_notes(end_of(benchmark)),
        *([] if news is None else news.notes()),
    ]
    if calendar_note is not None:
        notes.append(calendar_note)
    return RunOutcome(
        run_dir=str(run_dir),
        mode=mode,
        data=DataFacts(
            name=panel.name,
            mock=panel.mock,
            symbols=account.tape.symbols,
            start=panel.as_of[curve.first_row] if steps else None,
            end=panel.as_of[last] if steps else None,
            steps=steps,
            currency=panel.currency,
            interval=panel.interval,
            has_volume=panel.has_volume,
            sha256=panel.sha256,
            notes=tuple(notes),
        ),
        seed=config.seed,
        config_hash=config_hash,
        bars_per_year=per_year,
        initial_cash_usd=config.trading.initial_cash_usd,
        times=times,
        equity_usd=equity_column(curve),
        cash_usd=cash_column(curve),
        exposure_frac=exposure_column(curve),
        traded_usd=booked_column(curve, "traded_usd"),
        costs=cost_columns(curve),
        benchmark=benchmark_outcome(benchmark),
        round_trips=account.portfolio.trips,
        orders=account.broker.orders,
        fills=account.broker.fills,
        seconds=seconds,
        decided_by=deciders.name,
        status="interrupted" if interrupted else "done",
        reason_counts=account.bound,
        news=None if news is None else news.to_dict(),
        limits=_limits_seen(deciders),
        end=end_of(account),
        training_cutoff=cutoff,
        bars_inside_cutoff=None
        if cutoff is None
        else int(np.count_nonzero(times < np.datetime64(cutoff) + np.timedelta64(1, "D"))),
        command=shlex.join(["athena", *sys.argv[1:]])
        if sys.argv[0].endswith(("athena", "main.py"))
        else "",
    )


@handling_signals(give_up, [signal.SIGTERM])
def backtest(config: AthenaConfig, options: RunOptions, progress: Progress | None = None) -> Run:
    """A backtest, its run folder written. Ctrl-C and SIGTERM leave it complete for the steps taken.

    Raises: DataError, UsageError, StrategyError, LookAhead, RunFolderError, StorageError;
    KeyboardInterrupt after the steps taken were saved.
    """
    config, options, path = going_on(config, options, "backtest")
    began = time.monotonic()
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    span = find_span(panel, deciders.warmup, options.start)
    facts = data_manifest(panel, deciders.inputs)
    identity = run_identity(config, options, panel, deciders, span.first)
    with run_folder(path, "backtest", config, options, facts, identity) as folder:
        if deciders.learned is not None:
            folder.note(**deciders.learned.facts())
        log_start("backtest", panel, deciders, config, (span.first, span.last))
        account = open_account(panel, deciders.agents, config.trading, folder.steps.write)

        async def go() -> bool:
            """True when it was cut short."""
            task = asyncio.current_task()
            assert task is not None
            try:
                with stopping_on_signals(task.cancel):
                    async with deciders.remembering(
                        account, folder.path, options.environment, again=path is not None
                    ):
                        await replay(account, span, progress, folder.steps.flush)
            except asyncio.CancelledError:
                return True
            return False

        interrupted = run_sync(go())
        folder.steps.flush()
        _require_caught_up(folder)
        _finish(
            folder,
            account,
            config,
            mode="backtest",
            deciders=deciders,
            began=began,
            interrupted=interrupted,
            environment=options.environment,
        )
    if interrupted:
        raise KeyboardInterrupt(f"{account.step} steps are saved in {folder.path}")
    return Run(folder.path)


def _require_caught_up(folder: RunFolder) -> None:
    """Raises: KeyboardInterrupt for a resumed run that was stopped before it came to where it had been; its
    folder is given back as it was."""
    if not folder.caught_up:
        lived, known = folder.steps.lines_saved, folder.steps.known
        folder.leave_as_it_was()
        raise KeyboardInterrupt(
            f"{lived} of {known} steps were lived through again; {folder.path} is as it was"
        )


def _finish(
    folder: RunFolder,
    account: Account,
    config: AthenaConfig,
    *,
    mode: str,
    deciders: Deciders,
    began: float,
    interrupted: bool,
    environment: Mapping[str, str],
) -> None:
    """Write everything that follows from the steps taken; SIGINT and SIGTERM wait for it."""
    with handling_signals(finish_first):
        _write_all(
            folder, account, config,
            mode=mode, deciders=deciders, began=began, interrupted=interrupted,
            environment=environment,
        )  # fmt: skip


def _write_all(
    folder: RunFolder,
    account: Account,
    config: AthenaConfig,
    *,
    mode: str,
    deciders: Deciders,
    began: float,
    interrupted: bool,
    environment: Mapping[str, str],
) -> None:
    panel, curve = account.tape.panel, account.curve
    span = Span(curve.first_row, curve.first_row + account.step - 1)
    benchmark = run_sync(run_benchmark(panel, config.trading, span))
    outcome = outcome_of(
        account,
        benchmark,
        config=config,
        config_hash=folder.config_hash,
        mode=mode,
        run_dir=folder.path,
        deciders=deciders,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
    )
    write_outputs(folder.path, outcome)
    if deciders.learned is not None:
        run_sync(deciders.learned.note_orders(folder.path, environment))
    folder.finish(None, "interrupted" if interrupted else "done")
    log.info(
        "%s %s after %d steps and %.1f s: %d orders, %d fills, equity %.2f USD; it lies in %s",
        mode,
        outcome.status,
        account.step,
        outcome.seconds,
        outcome.orders,
        outcome.fills,
        curve.equity_usd[-1] if account.step else curve.initial_cash_usd,
        folder.path,
    )


def log_start(
    mode: str,
    panel: Panel,
    deciders: Deciders,
    config: AthenaConfig,
    span: tuple[int, int | None],
) -> None:
    """`span` are the first and the last row; the last is None for a feed without end."""
    first, last = span
    log.info(
        "%s of %s: %d symbols (%s), from %s to %s, decided by %s, seed %d",
        mode,
        panel.name,
        len(panel.symbols),
        ", ".join(panel.symbols[:10]) + (", ..." if len(panel.symbols) > 10 else ""),
        panel.as_of[first] if first < panel.rows else "the first decision",
        "no end" if last is None else panel.as_of[last],
        deciders.name,
        config.seed,
    )


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also from inside a running event loop (a notebook), then in a thread.

    Ctrl-C cancels it, in both cases, and waits until it has ended.
    Raises: KeyboardInterrupt when the coroutine did not make an answer of its cancellation.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    answers: list[T] = []
    errors: list[BaseException] = []
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    ended = threading.Event()

    async def told() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.append((asyncio.get_running_loop(), task))
        return await work

    def body() -> None:
        try:
            answers.append(asyncio.run(told()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=body, name="athena-run")
    thread.start()
    interrupted = False
    while not ended.is_set():  # Thread.join takes a thread for dead once Ctrl-C has interrupted it
        try:
            ended.wait()
        except KeyboardInterrupt:
            interrupted = True
            for loop, task in started:
                with suppress(RuntimeError):  # the loop may have closed in this moment
                    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    if errors:
        if interrupted and isinstance(errors[0], asyncio.CancelledError):
            raise KeyboardInterrupt from errors[0]
        raise errors[0]
    return answers[0]


def plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def open_feed(config: AthenaConfig, options: RunOptions) -> tuple[MarketDataFeed, bool]:
    """The feed of a paper run, at its first row, and whether it goes on without end (mock)."""
    from trading.market_data import MarketDataFeed, MarketDataMode

    if options.data == "mock":
        if options.universe is not None:
            raise UsageError("--universe does not go with endless mock data.", "Use --symbols.")
        feed = MarketDataFeed(
            MarketDataMode.MOCK,
            symbols=options.symbols,
            config=config.data,
            seed=config.seed,
            history_bars=0,
        )
        feed.extend(config.data.mock_bars)
        return feed, True
    panel = load_data(config, options)
    return MarketDataFeed(
        MarketDataMode.FILE, data=panel, config=config.data, history_bars=0
    ), False


@handling_signals(give_up, [signal.SIGTERM])
def paper_trade(config: AthenaConfig, options: RunOptions, progress: Progress | None = None) -> Run:
    """Trade a feed without money until it ends, `--steps` are done, or SIGINT or SIGTERM come.

    A stop by signal is a normal end: the book (`book.json`) and all figures are saved.
    Raises: as `backtest`, without KeyboardInterrupt.
    """
    config, options, path = going_on(config, options, "paper-trade")
    began = time.monotonic()
    feed, endless = open_feed(config, options)
    panel = feed.panel
    deciders = build_deciders(config, options, panel, streaming=True)
    first = max(deciders.warmup, 1) - 1
    if not endless:
        first = find_span(panel, deciders.warmup).first
    speed = options.speed
    pause = config.trading.poll_seconds if speed is None else (1.0 / speed if speed else 0.0)
    facts = data_manifest(panel, deciders.inputs)
    identity = run_identity(config, options, panel, deciders, first)
    with run_folder(path, "paper-trade", config, options, facts, identity) as folder:
        if deciders.learned is not None:
            folder.note(**deciders.learned.facts())
        if options.steps is not None and options.steps < folder.steps.known:
            known = folder.steps.known
            folder.leave_as_it_was()
            raise UsageError(
                f"--steps {options.steps} is less than the {known} steps that {folder.name} has.",
                "Give as many or more; a resumed run never gets shorter.",
            )
        last = None if endless else panel.rows - 1
        log_start("paper-trade", panel, deciders, config, (first, last))
        account = open_account(panel, deciders.agents, config.trading, folder.steps.write)

        def state() -> bytes:
            risk = None if deciders.risk is None else deciders.risk.state_dict()
            return json_bytes(saved_book(account, risk), pretty=True) + b"\n"

        def keep() -> None:
            """The step's record, and the book that follows from it."""
            folder.steps.flush()
            if folder.caught_up:
                folder.write_unforced(BOOK, state())

        async def go() -> None:
            stop = asyncio.Event()
            with stopping_on_signals(stop.set):
                async with deciders.remembering(
                    account, folder.path, options.environment, again=path is not None
                ):
                    await trade_rows(
                        account,
                        feed,
                        first=first,
                        known=folder.steps.known,
                        steps=options.steps,
                        pause_seconds=pause,
                        clock=SystemClock(stop),
                        stop=stop,
                        flush=keep,
                        progress=progress,
                    )

        run_sync(go())
        _require_caught_up(folder)
        with handling_signals(finish_first):
            folder.write_bytes(BOOK, state())
            _finish(
                folder,
                account,
                config,
                mode="paper-trade",
                deciders=deciders,
                began=began,
                interrupted=False,
                environment=options.environment,
            )
    return Run(folder.path)


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the dry run: what a part of the system is."""

    name: str
    state: Literal["real", "mock", "off"]
    detail: str


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What stands where; `faults` are reasons for failing."""

    parts: tuple[Part, ...]
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `athena dry-run`."""
        return {
            "ok": not self.faults,
            "parts": [plain(part) for part in self.parts],
            "faults": list(self.faults),
            "sends_orders": False,
            "notes": [
                *self.faults,
                "No orders are sent. To trade without money, bar by bar: athena paper-trade.",
            ],
        }


def dry_run(config: AthenaConfig, environment: Mapping[str, str]) -> DryRunReport:
    """Build everything, run one cycle (decide, then fill at the next bar) on the shipped sample.

    The memory lasts as long as the cycle. `environment` has Neo4j's password.
    Raises: whatever a part raises while it is built; nothing is hidden.
    """
    options = RunOptions(agents="full", environment=environment)
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    span = find_span(panel, deciders.warmup)
    records: list[bytes] = []
    account = open_account(panel, deciders.agents, config.trading, records.append)
    last = min(span.first + 1, span.last)

    async def cycle() -> None:
        assert deciders.learned is not None
        await deciders.learned.try_server(environment)
        async with deciders.remembering(account, None, environment):
            await replay(account, Span(span.first, last))

    run_sync(cycle())
    names = ("market analyst", "strategy", "risk manager", "execution", "coordinator")
    sent, filled = account.broker.orders, account.broker.fills
    parts = [
        Part("configuration", "real", f"hash {hash_of_settings(config)}, seed {config.seed}"),
        Part(
            "data", "mock" if panel.mock else "real", f"{panel.name}, {len(panel.symbols)} symbols"
        ),
        Part("calendar", "real", f"{panel.calendar}, {panel.interval} bars"),
        *(Part(f"agent: {name}", "real", "full") for name in names),
        Part(
            "broker",
            "mock",
            f"simulated; one cycle decided at {panel.as_of[span.first]} made {sent} orders "
            f"and {filled} fills in memory",
        ),
        Part("live feed", "off", "not built yet"),
        *_learned_parts(config),
    ]
    return DryRunReport(tuple(parts), tuple(taken_names()))


def _learned_parts(config: AthenaConfig) -> list[Part]:
    """What a run of the full agents has beside the rules."""
    full = "not with --agents rules"
    model = config.olmoe.model_path or "the shipped small model"
    memory = config.memory
    return [
        Part("model", "real" if config.model.enabled else "off", f"{model}; {full}"),
        Part(
            "memory",
            "off" if memory.policy == "none" else "real",
            f"{memory.store}, policy {memory.policy}; {full}",
        ),
        Part("learning", "real" if config.learning.enabled else "off", full),
        Part("communication", "real" if config.communication.enabled else "off", full),
    ]


OUR_NAMES = (
    "agents",
    "athena",
    "core",
    "main",
    "memory",
    "models",
    "trading",
    "training",
    "configs",
)
OUR_DISTRIBUTION = "athena-trading-agent"


def taken_names() -> list[str]:
    """Which of our top-level names another installed distribution also brings, as sentences."""
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    found = []
    for name in OUR_NAMES:
        others = sorted(
            {d for d in owners.get(name, []) if d.lower().replace("_", "-") != OUR_DISTRIBUTION}
        )
        if others:
            found.append(
                f"The name `{name}` is also a package of {', '.join(others)}: install Athena in an "
                "environment of its own."
            )
    return found
