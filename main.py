"""The command line: parse, read the config, one call, render.

Every command imports what it calls when it runs, so that `athena --help` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from core.commandline import (
    HELP_NAMES,
    Common,
    Decorated,
    RootGroup,
    common_of,
    console,
    emit_json,
    progress,
    show,
)
from core.errors import AthenaError, DataError
from core.printable import printable
from core.version import VERSION
from memory.cli import memory_group

if TYPE_CHECKING:
    from rich.console import Console

    from core.config import LoadedConfig

FILE = click.Path(path_type=Path)
DATE = click.DateTime(["%Y-%m-%d"])


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        if ctx.ensure_object(Common).json:
            emit_json({"version": VERSION})
        else:
            click.echo(f"athena {VERSION}")
        ctx.exit()


def _symbols(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if not names:
        raise click.BadParameter("it names no symbol; give for example AAPL,MSFT.", ctx, param)
    return names


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    pairs = tuple(tuple(text.split("=", 1)) for text in value)
    for pair, text in zip(pairs, value, strict=True):
        if len(pair) != 2 or not pair[0]:
            raise click.BadParameter(f"{text!r} is not of the form name=value.", ctx, param)
    return pairs


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of bars per second.", ctx, param)
    return value


def run_options(command: Decorated) -> Decorated:
    """The options that backtest, paper-trade and decide share."""
    options: list[Callable[[Decorated], Decorated]] = [
        click.option(
            "--data",
            metavar="FILE|DIR|mock",
            help="Bars to trade: a file or folder that `athena data check` accepts, or the "
            "seeded mock walks. [default: the shipped sample]",
        ),
        click.option("--symbols", metavar="A,B", callback=_symbols, help="Only these symbols."),
        click.option(
            "--universe",
            type=FILE,
            metavar="FILE",
            help="Membership by date: columns symbol and optional from, to.",
        ),
        click.option(
            "--agents",
            type=click.Choice(["full", "rules"]),
            default="full",
            show_default=True,
            help="Which agents decide: with model, memory and learning, or the rules alone.",
        ),
        click.option("--strategy", metavar="FILE.py:Class", help="Your own strategy decides."),
        click.option(
            "--param",
            "params",
            multiple=True,
            metavar="K=V",
            callback=_pairs,
            help="An argument for the strategy's constructor; repeatable.",
        ),
        click.option(
            "--weights",
            type=FILE,
            metavar="FILE",
            help="Target weights decide: columns time, symbol, weight.",
        ),
        click.option(
            "--views",
            type=FILE,
            metavar="FILE",
            help="Views for the agents: columns time, symbol, expected_return_frac, confidence.",
        ),
        click.option(
            "--news",
            type=FILE,
            metavar="FILE",
            help="News for the full agents: columns time (with a zone), symbol, text.",
        ),
        click.option(
            "--memory",
            type=FILE,
            metavar="SNAPSHOT",
            help="What the full agents remember as they begin: a memory.db or an export. [default: nothing]",
        ),
        click.option(
            "--risk",
            is_flag=True,
            help="The risk limits for a strategy or weights of your own, which have none without it.",
        ),
        click.option(
            "--no-risk",
            is_flag=True,
            help="No risk limits for the agents, which have them without it.",
        ),
        runs_dir_option,
        click.option(
            "--seed", type=int, metavar="N", help="Seed of everything random. [default: seed]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def trust_option(command: Decorated) -> Decorated:
    """`--trust`, where a run's folder names code."""
    return click.option(
        "--trust",
        is_flag=True,
        help="Run the strategy that the run's folder names, although you have not run it yourself yet.",
    )(command)


def resume_option(command: Decorated) -> Decorated:
    """`--resume` and `--trust`, of the commands that write a run's folder."""
    return click.option(
        "--resume",
        metavar="RUN",
        help="Go on with a run that was killed, in its own settings; give it alone, "
        "or with --runs-dir, --speed, --steps, and --strategy or --trust for its code.",
    )(trust_option(command))


def runs_dir_option(command: Decorated) -> Decorated:
    """`--runs-dir`, a layer of the configuration of its own."""
    return click.option(
        "--runs-dir", type=FILE, metavar="DIR", help="Where run folders are. [default: runs_dir]"
    )(command)


@click.group(
    cls=RootGroup,
    modes=("backtest", "paper-trade", "dry-run"),
    context_settings=HELP_NAMES,
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.option(
    "--mode",
    metavar="backtest|paper-trade|dry-run",
    expose_value=False,
    help="Run the command of that name.",
)
def cli() -> None:
    """Athena: five agents trade, and every result can be checked.

    Global options work before and after the command's name.
    """


@cli.command()
@run_options
@resume_option
@click.option("--start", metavar="DATE", help="First day that counts; bars before are history.")
@click.option("--end", metavar="DATE", help="Last day, inclusive.")
@click.pass_obj
def backtest(common: Common, /, **options: Any) -> None:
    """Trade the past, and say what came of it."""
    config = common.config(seed=options["seed"], runs_dir=options["runs_dir"])
    from agents import assemble
    from trading.report.terminal import render_backtest

    with progress("backtest") as advance:
        run = assemble.backtest(config, _run_options(options), advance)
    show(common, run.to_dict(), render_backtest)


@cli.command("paper-trade")
@run_options
@resume_option
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0),
    callback=_finite,
    metavar="S",
    help="Bars per second, 0 unlimited. [default: one bar each trading.poll_seconds]",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Stop after N steps.")
@click.pass_obj
def paper_trade(common: Common, /, **options: Any) -> None:
    """Trade a feed without money.

    Ctrl-C stops it with its book saved."""
    config = common.config(seed=options["seed"], runs_dir=options["runs_dir"])
    from agents import assemble
    from trading.report.terminal import render_backtest

    with progress("paper-trade") as advance:
        run = assemble.paper_trade(config, _run_options(options), advance)
    show(common, run.to_dict(), render_backtest)


@cli.command()
@run_options
@click.option(
    "--holdings",
    type=FILE,
    metavar="FILE",
    help="Your book: lines symbol,quantity and one CASH line. [default: all cash]",
)
@click.option("--as-of", metavar="T", help="The moment to decide at. [default: the last bar]")
@click.option(
    "--accept-warnings",
    is_flag=True,
    help="Decide although prices that it rests on look wrong (see `athena data check`).",
)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="Also a file: .json the whole answer, .csv the decisions.",
)
@click.pass_obj
def decide(common: Common, /, out: Path | None, **options: Any) -> None:
    """Orders for your own book; places nothing.

    What it would order now, and why."""
    config = common.config(seed=options["seed"], runs_dir=options["runs_dir"])
    from agents.decide import check_out, write_decisions
    from agents.decide import decide as decide_now
    from trading.report.terminal import render_decide

    if out is not None:
        check_out(out)
    report = decide_now(config, _run_options(options))
    if out is not None:
        write_decisions(report, out)
    show(common, report.to_dict(), render_decide)


def _run_options(options: dict[str, Any]) -> Any:
    from agents.assemble import RunOptions

    absent = ("start", "end", "speed", "steps", "holdings", "as_of", "resume")
    if options.get("resume") is not None:
        alone = ("resume", "runs_dir", "speed", "steps", "strategy", "trust")
        context = click.get_current_context()
        given = [
            name
            for name in options
            if name not in alone
            and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(
                "--resume goes on with the run's own options; give it alone, or with --runs-dir, --speed, "
                "--steps, and --strategy or --trust for its code."
            )
    elif options.get("trust"):
        raise click.UsageError("--trust goes with --resume: what you name yourself is trusted.")
    return RunOptions(**{**dict.fromkeys(absent), **options}, environment=os.environ)


@cli.command("dry-run")
@click.option(
    "--bundle",
    type=FILE,
    metavar="FILE",
    help="For a bug report: versions, settings and the last error without secrets, shown, then written "
    "to this file when you agree; sent nowhere.",
)
@click.option("--yes", is_flag=True, help="With --bundle: write it without asking.")
@click.pass_obj
@click.pass_context
def dry_run(ctx: click.Context, common: Common, bundle: Path | None, yes: bool) -> None:
    """Build everything, run one cycle, send nothing.

    The cycle runs on fixed data; then it says what is real, what is mock and what is off."""
    if yes and bundle is None:
        raise click.UsageError("--yes goes with --bundle FILE.")
    loaded = common.load()
    from agents import assemble
    from trading.report.terminal import render_dry_run

    if bundle is not None:
        _write_bundle(common, loaded, bundle, yes=yes)
        return
    report = assemble.dry_run(loaded.config, os.environ).to_dict()
    show(common, report, render_dry_run)
    ctx.exit(0 if report["ok"] else 1)


def _write_bundle(common: Common, loaded: LoadedConfig, path: Path, *, yes: bool) -> None:
    """Show the bug report, ask, write it. A dry run that fails is what it is for: that ends with 0 too."""
    from agents import assemble
    from agents.bug_report import bug_report, check_place, failed, write_report

    asks = sys.stdin.isatty() and sys.stderr.isatty() and not common.json
    if not yes and not asks:
        raise click.UsageError(
            "--bundle asks on a terminal before it writes; without one give --yes."
        )
    check_place(path)
    try:
        report = assemble.dry_run(loaded.config, os.environ).to_dict()
    except AthenaError as error:
        report = failed(error)
    text = bug_report(loaded, report, os.environ)
    click.echo(printable(text), err=common.json, nl=False)
    if not yes:
        click.confirm(f"Write this to {path}? It is sent nowhere.", err=True, abort=True)
    write_report(text, path)
    if common.json:
        emit_json(report | {"bundle": path})
    else:
        click.echo(
            f"Written to {path}, for you alone (0600). Read it before you pass it on.", err=True
        )


# --- runs


@cli.group(context_settings=HELP_NAMES)
def runs() -> None:
    """Earlier runs."""


@runs.command("list")
@runs_dir_option
@click.pass_obj
def runs_list(common: Common, runs_dir: Path | None) -> None:
    """All runs, oldest first."""
    config = common.config(runs_dir=runs_dir)
    from core.runlog import list_runs
    from trading.report.terminal import render_runs

    rows = [asdict(entry) for entry in list_runs(config.runs_dir)]
    show(common, {"runs": rows}, lambda listing, console: render_runs(listing["runs"], console))


@runs.command("show")
@click.argument("run")
@click.option("--trades", is_flag=True, help="Also every closed round trip.")
@click.option(
    "--forecasts", is_flag=True, help="Also what its sealed forecasts were worth, by source."
)
@runs_dir_option
@click.pass_obj
def runs_show(
    common: Common, run: str, trades: bool, forecasts: bool, runs_dir: Path | None
) -> None:
    """The summary of RUN: a path, a name, the beginning of one, or `last`."""
    config = common.config(runs_dir=runs_dir)
    from agents.terminal import render_integrity
    from core.errors import UsageError
    from core.runlog import find_run
    from core.seals import integrity
    from trading.report.terminal import render_backtest, render_trades
    from trading.result import Run

    found = Run(find_run(run, config.runs_dir))
    training = "data" not in found.summary
    if training and (trades or forecasts):
        raise UsageError(
            f"the run {found.path.name} is a training: it has no trades and tells no forecasts.",
            "Leave out --trades and --forecasts.",
        )
    more: dict[str, Any] = {"integrity": integrity(found.path).to_dict()}
    if trades:
        more["round_trips"] = found.trades.to_dict("records")
    if forecasts:
        from agents.forecast_scores import forecast_report

        more["forecasts"] = forecast_report(found.path)
    if common.json:
        emit_json(found.to_dict() | more)
        return
    if training:
        from agents.terminal import render_facts

        render_facts(found.to_dict(), console())
    else:
        render_backtest(found.to_dict(), console(), every_position=trades)
    if trades:
        render_trades(found.trades, console())
    if forecasts:
        from agents.terminal import render_forecasts

        render_forecasts(more["forecasts"], console())
    render_integrity(more["integrity"], console())


@runs.command("verify")
@click.argument("run")
@runs_dir_option
@click.pass_context
def runs_verify(ctx: click.Context, run: str, runs_dir: Path | None) -> None:
    """Whether RUN is as it was recorded; exit 1 with problems.

    Every file is compared with its hash in the manifest, the manifest with its own, and the chain of
    forecast seals is followed. This finds damage, not a forger."""
    common = common_of(ctx)
    config = common.config(runs_dir=runs_dir)
    from agents.terminal import render_verification
    from agents.verify import verify_files
    from core.runlog import find_run

    report = verify_files(find_run(run, config.runs_dir))
    show(common, report, render_verification)
    ctx.exit(0 if report["ok"] else 1)


@runs.command("repeat")
@click.argument("run")
@click.option("--data", metavar="FILE|DIR|mock", help="The bars, where the run's are not there.")
@click.option("--strategy", metavar="FILE.py:Class", help="The strategy, where it was an object.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="K=V",
    callback=_pairs,
    help="An argument for its constructor; repeatable.",
)
@click.option("--weights", type=FILE, metavar="FILE", help="The weights, likewise.")
@click.option("--views", type=FILE, metavar="FILE", help="The views, likewise.")
@click.option("--news", type=FILE, metavar="FILE", help="The news, likewise.")
@click.option("--memory", type=FILE, metavar="SNAPSHOT", help="The memory snapshot, likewise.")
@click.option("--universe", type=FILE, metavar="FILE", help="The universe, likewise.")
@trust_option
@runs_dir_option
@click.pass_context
def runs_repeat(ctx: click.Context, /, run: str, **options: Any) -> None:
    """Make RUN again, into a new folder, and say whether every byte of its records agrees.

    Exit 1 when they differ; what differs in inputs, code and versions is named. What the run's folder
    could not keep (objects and frames of a Python program) is asked for."""
    common = common_of(ctx)
    config = common.config(runs_dir=options["runs_dir"])
    from agents.assemble import RunOptions
    from agents.repeat import repeat
    from agents.terminal import render_repeat

    with progress("repeat") as advance:
        report = repeat(config, run, RunOptions(**options, environment=os.environ), advance)
    show(common, report.to_dict(), render_repeat)
    ctx.exit(0 if report.identical else 1)


@cli.command()
@click.argument("run")
@click.option("--order", metavar="ID", help="The order to explain, as o12.")
@click.option("--at", metavar="TIME", help="The decision at this time or day; with --symbol.")
@click.option("--symbol", metavar="S", help="The symbol it is about, traded or not; with --at.")
@runs_dir_option
@click.pass_obj
def why(common: Common, /, run: str, runs_dir: Path | None, **question: str | None) -> None:
    """Why RUN sent an order, or none.

    From the order back to the target, the views, what was recalled, and the limits that bound."""
    config = common.config(runs_dir=runs_dir)
    import asyncio

    from agents.terminal import render_integrity, render_why
    from agents.why import explain
    from core.runlog import find_run
    from core.seals import integrity
    from memory.commands import neo4j_store

    folder = find_run(run, config.runs_dir)
    memory = config.memory
    store = (
        neo4j_store(memory.neo4j_uri, os.environ, folder.name) if memory.store == "neo4j" else None
    )
    report = asyncio.run(explain(folder, store=store, **question))
    report["integrity"] = integrity(folder).to_dict()

    def render(value: Mapping[str, Any], console: Console) -> None:
        render_why(value, console)
        render_integrity(value["integrity"], console)

    show(common, report, render)


@cli.command("report")
@click.argument("run")
@click.option("--out", type=FILE, metavar="FILE", help="The page. [default: RUN.html, here]")
@runs_dir_option
@click.pass_obj
def report_page(common: Common, run: str, out: Path | None, runs_dir: Path | None) -> None:
    """The page of RUN, made anew from its folder.

    Above everything it says what of the folder is not as it was recorded."""
    config = common.config(runs_dir=runs_dir)
    from agents.terminal import render_integrity
    from core.files import write_atomic
    from core.runlog import find_run
    from core.seals import integrity
    from trading.result import Run

    folder = find_run(run, config.runs_dir)
    path = out or Path(f"{folder.resolve().name}.html")
    write_atomic(path, Run(folder).report_html().encode("utf-8"))

    def render(value: Mapping[str, Any], console: Console) -> None:
        console.print(value["path"], markup=False, highlight=False, soft_wrap=True)
        render_integrity(value["integrity"], console)

    show(common, {"path": str(path), "integrity": integrity(folder).to_dict()}, render)


@cli.command("ablate")
@click.option("--data", metavar="FILE|DIR", help="Bars of the real world. [default: the sample]")
@click.option("--symbols", metavar="A,B", callback=_symbols, help="Only these symbols.")
@click.option("--news", type=FILE, metavar="FILE", help="News of the real world.")
@click.option("--start", metavar="DATE", help="First day that counts.")
@click.option("--end", metavar="DATE", help="Last day, inclusive.")
@click.option(
    "--world",
    type=click.Choice(["real", "planted", "noise"]),
    default="real",
    show_default=True,
    help="Real bars; a made world with one recurring setup that pays; one without.",
)
@click.option("--arms", metavar="A,B", callback=_symbols, help="Which arms beside `full`.")
@click.option("--plot", type=FILE, metavar="FILE", help="Also all differences as a PNG.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random. [default: seed]")
@click.pass_obj
def ablate_command(
    common: Common, /, world: Any, arms: Any, plot: Path | None, **options: Any
) -> None:
    """What each learned part is worth.

    The same bars with one part changed, compared day by day."""
    config = common.config(seed=options["seed"])
    from agents.ablate import ablate
    from agents.ablate import plot as draw
    from agents.assemble import RunOptions
    from agents.terminal import render_ablation

    with progress("ablate") as advance:
        report = ablate(
            config,
            RunOptions(**options, environment=os.environ),
            world=world,
            arms=arms or (),
            progress=advance,
        )
    if plot is not None:
        draw(report, plot)
    show(common, report.to_dict(), render_ablation)


# --- memory


def _embedder(config: Any) -> Any:
    from models.embedder import configured_embedder

    return configured_embedder(config)


cli.add_command(memory_group(_embedder, lambda: os.environ))


# --- config


@cli.group("config", context_settings=HELP_NAMES)
def config_group() -> None:
    """The configuration and where it comes from."""


@config_group.command("show")
@click.pass_obj
def config_show(common: Common) -> None:
    """Every value, and where it came from."""
    loaded = common.load()
    from core.config import config_hash, value_of

    if common.json:
        emit_json(
            {
                "config": loaded.config.to_dict(),
                "origins": loaded.origins,
                "config_hash": config_hash(loaded.config),
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for heading in ("key", "value", "from"):
        table.add_column(heading, overflow="fold")
    for key, origin in loaded.origins.items():
        value = value_of(loaded.config, key)
        table.add_row(key, Text(_yaml_word(value)), Text(origin))
    console().print(table)


def _yaml_word(value: Any) -> str:
    """A value as one would write it in a config file."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


@config_group.command("schema")
def config_schema() -> None:
    """The JSON schema of the configuration: every key, its kind, its limits."""
    from core.config import AthenaConfig

    emit_json(AthenaConfig.model_json_schema())


# --- data


@cli.group("data", context_settings=HELP_NAMES)
def data_group() -> None:
    """Market data: check, import, list, fetch, scrape."""


@data_group.command("check")
@click.argument("file", type=FILE)
@click.pass_obj
@click.pass_context
def data_check(ctx: click.Context, common: Common, /, file: Path) -> None:
    """What FILE (or folder) holds, and everything that is wrong with it."""
    config = common.config()
    from trading.datasets import check_data
    from trading.report.terminal import render_data_check

    report = check_data(file, config=config.data, data_dir=config.data_dir, now=datetime.now(UTC))
    show(common, report.to_dict(), render_data_check)
    ctx.exit(0 if report.ok else DataError.exit_code)


@data_group.command("import")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("--name", metavar="N", help="The dataset's name. [default: the file's]")
@click.pass_obj
def data_import(common: Common, files: tuple[Path, ...], name: str | None) -> None:
    """Check files and keep their bars as one dataset, for --data NAME."""
    config = common.config()
    from trading.datasets import import_files

    dataset = import_files(files, config.data_dir, name=name, config=config.data)
    show(common, dataset.to_dict(), _render_dataset)


@data_group.command("list")
@click.pass_obj
def data_list(common: Common) -> None:
    """The datasets that were imported or fetched."""
    config = common.config()
    from trading.datasets import list_datasets
    from trading.report.terminal import render_datasets

    found = [dataset.to_dict() for dataset in list_datasets(config.data_dir)]
    show(
        common,
        {"datasets": found},
        lambda each, console: render_datasets(each["datasets"], console),
    )


@data_group.command("fetch")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--start", type=DATE, metavar="DATE", help="First day.")
@click.option("--end", type=DATE, metavar="DATE", help="Last day, inclusive.")
@click.option("--name", metavar="N", help="The dataset's name. [default: from the symbols]")
@click.pass_obj
def data_fetch(common: Common, /, symbols: tuple[str, ...], name: str | None, **days: Any) -> None:
    """Fetch free daily prices (extra `live`) and keep them as a dataset."""
    config = common.config()
    from trading.datasets import fetch

    dates = {key: moment and moment.date() for key, moment in days.items()}
    dataset = fetch(symbols, config.data_dir, name=name, config=config.data, **dates)
    show(common, dataset.to_dict(), _render_dataset)


@data_group.command("scrape")
@click.argument("kind", type=click.Choice(["news", "filings", "market", "social"]))
@click.argument("symbols", nargs=-1, metavar="[SYMBOL]...")
@click.option("--out", type=FILE, metavar="FILE", help="The Parquet file. [default: in data_dir]")
@click.option("--start", type=DATE, metavar="DATE", help="First day (filings, market).")
@click.option("--end", type=DATE, metavar="DATE", help="Last day, inclusive (filings, market).")
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    metavar="URL",
    help="news: an RSS or Atom feed; {symbol} in it stands for each symbol; repeatable.",
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    metavar="FORM",
    default=("10-K", "10-Q", "8-K"),
    show_default=True,
    help="filings: which forms; repeatable.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="filings, social: at most so many a symbol.",
)
@click.option(
    "--macro",
    multiple=True,
    metavar="SERIES",
    help="market: a FRED series with its vintages; repeatable; wants FRED_API_KEY.",
)
@click.option(
    "--offline-table",
    is_flag=True,
    help="market: made-up macro figures, labelled as such, the same in every process.",
)
@click.option("--server", metavar="URL", help="social: another Mastodon server.")
@click.option(
    "--cache-seconds",
    type=click.FloatRange(min=0.0),
    default=900.0,
    show_default=True,
    help="How long an answer is taken from disk; 0 always asks.",
)
@click.pass_obj
def data_scrape(common: Common, /, **options: Any) -> None:
    """Public text and figures with the time each became public (extra `scrape`).

    Writes a Parquet table that --news and `train stage1 --data` read."""
    config = common.config()
    from training.data.scrapers.run import ScrapeOptions, scrape

    for edge in ("start", "end"):
        options[edge] = options[edge] and options[edge].date()
    variables = {
        "fred_key": "FRED_API_KEY",
        "sec_url": "EDGAR_BASE_URL",
        "sec_data_url": "EDGAR_DATA_URL",
    }
    options |= {option: os.environ.get(name) for option, name in variables.items()}
    report = scrape(ScrapeOptions(**options), config)
    show(common, report.to_dict(), _render_scrape)


def _render_scrape(report: dict[str, Any], console: Console) -> None:
    console.print(f"{report['items']} items in {report['path']}", soft_wrap=True)
    if report["items"]:
        console.print(f"public from {report['start']} to {report['end']}")
    for name, count in report["licences"].items():
        console.print(f"{count} under: {name}", soft_wrap=True)
    for reason, count in report["reasons"].items():
        console.print(f"left out {count}: {reason}")


def _render_dataset(dataset: dict[str, Any], console: Console) -> None:
    from trading.report.terminal import render_dataset

    render_dataset(dataset, console)


# --- model


@cli.group("model", context_settings=HELP_NAMES)
def model_group() -> None:
    """The language model: what it is, how it is made, how good it is."""


@model_group.command("info")
@click.pass_obj
def model_info(common: Common) -> None:
    """Parameters, memory and training cut-off of the configured model."""
    config = common.config()
    from models.info import model_info as read_info
    from models.terminal import render_info

    show(common, read_info(config.olmoe).to_dict(), render_info)


@model_group.command("download")
@click.argument("model_id", metavar="ID")
@click.option("--out", type=FILE, metavar="DIR", help="Where to. [default: under data_dir]")
@click.pass_obj
def model_download(common: Common, /, model_id: str, out: Path | None) -> None:
    """Fetch an OLMoE from the hub: safetensors alone, no code."""
    config = common.config()
    from models.install import install
    from models.terminal import render_made

    show(common, install(model_id, out, config).to_dict(), render_made)


@model_group.command("build")
@click.option(
    "--preset",
    type=click.Choice(["nano"]),
    default="nano",
    show_default=True,
    help="Which one.",
)
@click.option("--out", type=FILE, metavar="DIR", help="Where to. [default: under checkpoint_dir]")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random. [default: seed]")
@click.pass_obj
def model_build(common: Common, /, preset: str, out: Path | None, seed: int | None) -> None:
    """Train a small model from the shipped texts and prices; goes on where it was interrupted."""
    config = common.config(seed=seed)
    from models.terminal import render_made
    from training.nano.build import build

    with progress("model build") as advance:
        made = build(preset, out, config, advance=advance)
    show(common, made.to_dict(), render_made)


@model_group.command("eval")
@click.option(
    "--data",
    metavar="FILE|DIR|mock",
    help="Bars to forecast. [default: the test split of the sample]",
)
@click.option(
    "--horizon", type=click.IntRange(min=1), default=5, show_default=True, help="Days ahead."
)
@click.option("--seed", type=int, metavar="N", help="Seed of the bootstrap. [default: seed]")
@click.pass_obj
def model_eval(common: Common, /, data: str | None, horizon: int, seed: int | None) -> None:
    """Perplexity and forecasts of the configured model beside baselines, on what it never saw."""
    config = common.config(seed=seed)
    from training.nano.evaluate import evaluate
    from training.nano.terminal import render_evaluation

    with progress("model eval") as advance:
        evaluation = evaluate(config, data=data, horizon=horizon, advance=advance)
    show(common, evaluation.to_dict(), render_evaluation)


# --- training


@cli.group("train", context_settings=HELP_NAMES)
def train_group() -> None:
    """Training: stage1 fine-tunes the language model, stage2 the memory policy."""


@train_group.command("stage1")
@click.option(
    "--data",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="Texts (time, symbol, text) or prices; one or more. [default: the shipped sample]",
)
@click.argument("more_data", nargs=-1, type=FILE, metavar="[FILE]...")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="How many updates.")
@click.option("--resume", metavar="RUN", help="Go on with a run from its last complete checkpoint.")
@click.pass_obj
def train_stage1(
    common: Common,
    /,
    data: tuple[Path, ...],
    more_data: tuple[Path, ...],
    steps: int | None,
    resume: str | None,
) -> None:
    """Fine-tune the language model on market text and on market states with their answers."""
    config = common.config()
    if more_data and not data:
        raise click.UsageError(f"unexpected argument '{more_data[0]}': files come after --data.")
    data += more_data
    if resume is not None and (data or steps is not None):
        raise click.UsageError("--resume goes on with the run's own data and steps; give it alone.")
    from training.stage1_finetune.finetune import stage1_finetune

    with progress("train stage1") as advance:
        result = stage1_finetune(config, data=data, steps=steps, resume=resume, advance=advance)
    if result.main_process:
        show(common, result.to_dict(), _render_stage1)


def _render_stage1(result: dict[str, Any], console: Console) -> None:
    metrics = result["metrics"]
    early = ", stopped early" if result["stopped_early"] else ""
    console.print(f"{result['steps']} steps in {result['seconds']:.0f} s{early}")
    before, after = metrics["perplexity_before"], metrics["perplexity_after"]
    console.print(f"perplexity of the validation text: {before:.2f} before, {after:.2f} after")
    low, high = metrics["log_score_gain_interval"]
    gain = f"{metrics['log_score_gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
    console.print(f"log score over climatology on the validation answers: {gain}")
    console.print(f"training cut-off {result['training_cutoff']}")
    console.print(f"adapter in {result['checkpoint']}", soft_wrap=True)


@train_group.command("stage2")
@click.option(
    "--stage",
    type=click.Choice(["single", "multi", "unified", "all"]),
    default="all",
    show_default=True,
    help="One stage alone, or all three in turn.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Updates over all stages.")
@click.option("--resume", metavar="RUN", help="Go on with a run from its last complete checkpoint.")
@click.option(
    "--credit",
    type=click.Choice(["broadcast", "return_to_go", "evidence"]),
    help="How a rollout's reward reaches its steps. [default: training.stage2.credit]",
)
@click.option(
    "--policy-weights",
    type=click.Choice(["head", "lora", "all"]),
    help="What is trained. [default: training.stage2.policy_weights]",
)
@click.option("--seed", type=int, metavar="N", help="[default: seed]")
@click.pass_obj
def train_stage2(  # noqa: PLR0917
    common: Common,
    /,
    stage: str,
    steps: int | None,
    resume: str | None,
    credit: str | None,
    policy_weights: str | None,
    seed: int | None,
) -> None:
    """Train the memory policy by step-wise GRPO: what to keep, replace, delete or leave."""
    chosen = {"steps": steps, "credit": credit, "policy_weights": policy_weights}
    given = {name: value for name, value in chosen.items() if value is not None}
    config = common.config(seed=seed)
    if resume is not None and (given or seed is not None or stage != "all"):
        raise click.UsageError("--resume goes on with the run's own settings; give it alone.")
    from training.stage2_agemem.stage2 import StageName, stage2_train, with_settings
    from training.stage2_agemem.terminal import render_stage2

    with progress("train stage2") as advance:
        result = stage2_train(
            with_settings(config, given),
            stage=cast("StageName", stage),
            resume=resume,
            advance=advance,
        )
    show(common, result.to_dict(), render_stage2)


@train_group.command("eval")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A policy's folder; repeatable, one per training seed. [default: the shipped one]",
)
@click.option(
    "--episodes", type=click.IntRange(min=2), default=500, show_default=True, help="For each seed."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds of episodes."
)
@click.option("--cap", default="6", show_default=True, metavar="N|none", help="Live entries.")
@click.option("--data", type=FILE, metavar="FILE", help="Make the episodes from these prices.")
@click.pass_obj
def train_eval(  # noqa: PLR0917
    common: Common,
    /,
    checkpoints: tuple[Path, ...],
    episodes: int,
    seeds: int,
    cap: str,
    data: Path | None,
) -> None:
    """The memory policy beside every baseline, on episodes that it never saw."""
    config = common.config()
    if cap != "none" and not (cap.isdecimal() and int(cap) >= 1):
        raise click.UsageError(f"--cap is {cap!r}: give a number from 1, or none.")
    from training.stage2_agemem.evaluate import evaluate
    from training.stage2_agemem.terminal import render_evaluation

    with progress("train eval") as advance:
        evaluation = evaluate(
            config,
            checkpoints=checkpoints,
            episodes=episodes,
            seeds=seeds,
            cap=None if cap == "none" else int(cap),
            data=data,
            advance=advance,
        )
    show(common, evaluation.to_dict(), render_evaluation)


@train_group.command("episodes")
@click.option(
    "--show", "count", type=click.IntRange(min=1), default=3, show_default=True, metavar="N"
)
@click.option("--data", type=FILE, metavar="FILE", help="Make them from these prices.")
@click.option("--seed", type=int, metavar="N", help="[default: seed]")
@click.pass_obj
def train_episodes(common: Common, /, count: int, data: Path | None, seed: int | None) -> None:
    """Show episodes as the policy meets them: notes, distractors, questions and answers."""
    config = common.config(seed=seed)
    from training.stage2_agemem.shown import shown_episodes
    from training.stage2_agemem.terminal import render_episodes

    show(common, shown_episodes(config, count, data), render_episodes)


# --- completion


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def completion(common: Common, shell: str) -> None:
    """The completion script of a shell.

    For bash: eval "$(athena completion bash)"."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    script = complete(cli, {}, "athena", "_ATHENA_COMPLETE").source()
    if common.json:
        emit_json({"shell": shell, "script": script})
    else:
        click.echo(script)


if __name__ == "__main__":
    cli()
