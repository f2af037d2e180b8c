"""`athena memory ...`: parse, read the config, one call, render. No logic.

Everything heavier than click is imported when a command runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.commandline import HELP_NAMES, AthenaGroup, Common, Decorated, common_of, show

if TYPE_CHECKING:
    from rich.console import Console

    from memory.commands import Json, Which

FILE = click.Path(path_type=Path)
EmbedderOf = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Group:
    """What the group itself was told."""

    run: str | None
    runs_dir: Path | None


_entry: list[tuple[EmbedderOf, Callable[[], Mapping[str, str]]]] = []


def memory_group(
    embedder_of: EmbedderOf, environment: Callable[[], Mapping[str, str]]
) -> AthenaGroup:
    """The group as the entry binds it: `embedder_of` makes the embedder that the configuration names,
    `environment` holds the address and password of Neo4j."""
    _entry[:] = [(embedder_of, environment)]
    return memory_commands


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    pairs = tuple(tuple(text.split("=", 1)) for text in value)
    for pair, text in zip(pairs, value, strict=True):
        if len(pair) != 2 or not pair[0]:
            raise click.BadParameter(f"{text!r} is not of the form key=value.", ctx, param)
    return pairs


@click.group("memory", cls=AthenaGroup, context_settings=HELP_NAMES)
@click.option("--run", metavar="RUN", help="The memory that a run wrote: a path, a name, `last`.")
@click.option("--runs-dir", type=FILE, metavar="DIR", help="Where run folders are.")
@click.pass_context
def memory_commands(ctx: click.Context, run: str | None, runs_dir: Path | None) -> None:
    """What Athena remembers, and what it knew when."""
    ctx.meta["athena.memory"] = _Group(run, runs_dir)


def _command(name: str) -> Callable[[Decorated], Decorated]:
    """A command of the group, with `--namespace`."""

    def decorate(function: Decorated) -> Decorated:
        option = click.option(
            "--namespace", default="default", show_default=True, metavar="N", help="Which memory."
        )
        return memory_commands.command(name)(option(click.pass_context(function)))  # type: ignore[return-value]

    return decorate


AS_OF = click.option("--as-of", metavar="T", help="As it was known at this time. [default: now]")
SYMBOL = click.option("--symbol", metavar="S", help="Only entries of this symbol.")
WHERE = click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_pairs,
    help="Only entries with this metadata; repeatable.",
)


def _which(ctx: click.Context, namespace: str) -> Which:
    group: _Group = ctx.meta["athena.memory"]
    config = common_of(ctx).config(runs_dir=group.runs_dir)
    from memory.commands import Which

    embedder_of, environment = _entry[0]
    return Which(config, embedder_of, environment(), namespace, group.run)


def _show(
    ctx: click.Context,
    work: Coroutine[Any, Any, Json],
    render: Callable[[Mapping[str, Any], Console], None],
) -> Json:
    value = asyncio.run(work)
    common: Common = common_of(ctx)
    show(common, value, render)
    return value


@_command("add")
@click.argument("text")
@click.option("--symbol", metavar="S", help="The symbol it is about.")
@click.option("--kind", metavar="K", help="What kind of memory it is: lesson, fact, ...")
@click.option("--source", metavar="NAME", help="Where it comes from. [default: user]")
@click.option("--valid-from", metavar="T", help="From when on it holds. [default: now]")
@click.option("--outcome-at", metavar="T", help="When the outcome it speaks of is known.")
@click.option("--key", metavar="K", help="The same key again does not write again.")
def add(ctx: click.Context, namespace: str, text: str, **options: Any) -> None:
    """Remember TEXT."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.add(which, text, **options), render.receipt)


@_command("update")
@click.argument("entry_id", metavar="ID")
@click.argument("text")
def update(ctx: click.Context, namespace: str, entry_id: str, text: str) -> None:
    """Give an entry a new version."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.update(which, entry_id, text), render.receipt)


@_command("delete")
@click.argument("entry_id", metavar="ID")
def delete(ctx: click.Context, namespace: str, entry_id: str) -> None:
    """Close an entry; its past stays, and `undo` brings it back."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.delete(which, entry_id), render.receipt)


@_command("undo")
@click.argument("operation_id")
def undo(ctx: click.Context, namespace: str, operation_id: str) -> None:
    """Take an operation back, as one more operation."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.undo(which, operation_id), render.receipt)


@_command("purge")
@click.argument("entry_id", metavar="ID")
def purge(ctx: click.Context, namespace: str, entry_id: str) -> None:
    """Erase an entry's text for good, from the past too."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.purge(which, entry_id), render.receipt)


@_command("link")
@click.argument("a")
@click.argument("b")
@click.option("--relation", required=True, metavar="R", help="What A is to B: causes, follows, ...")
def link(ctx: click.Context, namespace: str, a: str, b: str, relation: str) -> None:
    """Join entry A to entry B."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.link(which, a, b, relation), render.receipt)


@_command("search")
@click.argument("query")
@AS_OF
@click.option("--top-k", type=int, default=3, show_default=True, metavar="N", help="How many.")
@SYMBOL
@WHERE
def search(
    ctx: click.Context, namespace: str, query: str, *, where: Any, symbol: str | None, **more: Any
) -> None:
    """The best entries for QUERY, by meaning, words and links together."""
    which = _which(ctx, namespace)
    from memory import commands, render

    wanted = commands.conditions(where, symbol)
    _show(ctx, commands.search(which, query, where=wanted, **more), render.hits)


@_command("list")
@AS_OF
@SYMBOL
@WHERE
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
def list_entries(
    ctx: click.Context, namespace: str, *, where: Any, symbol: str | None, **more: Any
) -> None:
    """The entries, oldest first."""
    which = _which(ctx, namespace)
    from memory import commands, render

    wanted = commands.conditions(where, symbol)
    _show(ctx, commands.entries(which, where=wanted, **more), render.entries)


@_command("show")
@click.argument("entry_id", metavar="ID")
@AS_OF
def show_entry(ctx: click.Context, namespace: str, entry_id: str, as_of: str | None) -> None:
    """One entry, whole."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.show(which, entry_id, as_of), render.entry)


@_command("history")
@click.argument("entry_id", metavar="ID")
@AS_OF
def history(ctx: click.Context, namespace: str, entry_id: str, as_of: str | None) -> None:
    """Every version of an entry, and the operations that opened and closed them."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.history(which, entry_id, as_of), render.versions)


@_command("stats")
def stats(ctx: click.Context, namespace: str) -> None:
    """Counts by operation, and how long calls took."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.stats(which), render.stats)


@_command("check")
def check(ctx: click.Context, namespace: str) -> None:
    """Hold the store against its operation log; exit 1 with problems."""
    which = _which(ctx, namespace)
    from memory import commands, render

    ctx.exit(0 if _show(ctx, commands.check(which), render.problems)["ok"] else 1)


@_command("rebuild")
def rebuild(ctx: click.Context, namespace: str) -> None:
    """Make every table and index anew from the operation log."""
    which = _which(ctx, namespace)
    from memory import commands, render

    ctx.exit(0 if _show(ctx, commands.rebuild(which), render.problems)["ok"] else 1)


@_command("export")
@click.argument("file", type=FILE)
def export(ctx: click.Context, namespace: str, file: Path) -> None:
    """Write the whole store to FILE, as JSON lines."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.export(which, file), render.transferred)


@_command("import")
@click.argument("file", type=FILE)
def import_(ctx: click.Context, namespace: str, file: Path) -> None:
    """Read an export into an empty store, or bare lines {text, symbol, recorded_from}."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.import_(which, file), render.transferred)


@_command("graph")
@click.argument("entry_id", metavar="ID")
@AS_OF
@click.option("--out", type=FILE, metavar="FILE", help="The page. [default: memory-ID.html]")
def graph(
    ctx: click.Context, namespace: str, entry_id: str, as_of: str | None, out: Path | None
) -> None:
    """Draw an entry's neighbourhood as an HTML page."""
    which = _which(ctx, namespace)
    from memory import commands, render

    _show(ctx, commands.graph(which, entry_id, as_of, out), render.path)
