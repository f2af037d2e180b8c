"""What every command shares: global options, the outer edge where errors become exit codes, output.

Owns the promises of `docs/interface.md`, "Everywhere". Refuses to know any single command. Nothing heavier
than click is imported before a command runs, so that `athena --help` answers at once.
"""

from __future__ import annotations

import difflib
import errno
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from core import errors, last_error
from core.errors import AthenaError, Interrupted, StorageError, UsageError
from core.files import private_opener
from core.printable import printable
from core.redact import without_secrets
from core.unpack import set_limit

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from core.config import AthenaConfig, LoadedConfig

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
ProgressCall = Callable[[int, "int | None", str], None]

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Without a file's name these come from standard output: whoever writes a file raises StorageError."""
OUR_LOGGERS = ("agents", "core", "memory", "models", "trading", "training")
"""The packages that -v, -vv and `log_level` speak of."""
_LEVELS = {0: None, 1: logging.INFO}


@dataclass
class Common:
    """The global options, gathered from before and after the command's name."""

    json: bool = False
    verbosity: int = 0
    config_files: list[Path] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)
    log_file: Path | None = None
    mode: str | None = None

    def load(self, **options: Any) -> LoadedConfig:
        """Read the configuration in its layers, `options` last, and set up logging by it.

        `options` are values of top-level keys given by options of their own; None is not given.
        """
        from core.config import AthenaConfig, load
        from core.layers import foreign_variables

        given = {key: value for key, value in options.items() if value is not None}
        loaded = load(self.config_files, os.environ, self.sets, given)
        self._set_up_logging(loaded.config)
        for name in foreign_variables(AthenaConfig, os.environ):
            logging.getLogger(__name__).info("the variable %s is no setting and is ignored", name)
        set_limit(loaded.config.max_unpacked_bytes)
        return loaded

    def config(self, **options: Any) -> AthenaConfig:
        return self.load(**options).config

    def _set_up_logging(self, config: AthenaConfig) -> None:
        chosen = _LEVELS.get(self.verbosity, logging.DEBUG)
        level = chosen or logging.getLevelNamesMapping()[config.log_level.upper()]
        handlers: list[logging.Handler] = [_StderrHandler()]
        if self.log_file is not None:
            try:
                handlers.append(_FileHandler(self.log_file, encoding="utf-8"))
            except OSError as error:
                raise UsageError(
                    f"the log file {self.log_file} cannot be written: {error.strerror}.",
                    "Give another with --log-file.",
                ) from error
        layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        # A library's own chatter never shows; its warnings do.
        quiet = max(level, logging.WARNING)
        for handler in handlers:
            handler.setLevel(level)
        handlers.append(last_error.tail)
        logging.basicConfig(level=quiet, handlers=handlers, format=layout, force=True)
        for name in OUR_LOGGERS:
            # The tail is kept down to info, whatever is shown.
            logging.getLogger(name).setLevel(min(level, logging.INFO))
        logging.captureWarnings(True)


class _StderrHandler(logging.StreamHandler[IO[str]]):
    """Writes to what standard error is now: a progress bar takes its place while it is shown."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)))


class _FileHandler(logging.FileHandler):
    """Writes a file that is its owner's alone, without secrets."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=private_opener)

    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)))


# --- parsing


class _GlobalOptions:
    """Gives a click command the global options; each adds to the one `Common` of the call."""

    params: list[click.Parameter]

    def add_global_options(self) -> None:
        self.params += [
            click.Option(
                ["-c", "--config"],
                multiple=True,
                metavar="FILE",
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_merge,
                help="Read this config file over the default; repeatable, later wins.",
            ),
            click.Option(
                ["--set"],
                multiple=True,
                metavar="SECTION.KEY=VALUE",
                expose_value=False,
                callback=_merge,
                help="Set one config value; repeatable.",
            ),
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_merge,
                help="Print exactly one JSON object on stdout.",
            ),
            click.Option(
                ["-v", "--verbose"],
                count=True,
                expose_value=False,
                callback=_merge,
                help="Log more, and show tracebacks; -vv logs everything.",
            ),
            click.Option(
                ["--log-file"],
                metavar="FILE",
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_merge,
                help="Write the log to this file too.",
            ),
        ]

    def help_in_json(self, option: click.Option | None) -> click.Option | None:
        """The help option, which with `--json` prints an object too."""
        if option is not None:
            option.callback = _help
        return option

    def refuse_extra(self, ctx: click.Context) -> None:
        if ctx.args and not ctx.resilient_parsing:
            mode = common_of(ctx).mode
            extra = f"unexpected argument {ctx.args[0]!r}."
            if mode is not None:
                extra = f"--mode {mode} already names the command, found {ctx.args[0]!r} besides."
            raise click.UsageError(extra, ctx)


def common_of(ctx: click.Context) -> Common:
    return ctx.find_root().ensure_object(Common)


def _merge(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    common = common_of(ctx)
    if param.name == "config":
        common.config_files.extend(value)
    elif param.name == "set":
        common.sets.extend(value)
    elif param.name == "json":
        common.json = common.json or value
    elif param.name == "verbose":
        common.verbosity += value
    elif param.name == "log_file" and value is not None:
        common.log_file = value


def _help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        if common_of(ctx).json:
            emit_json({"help": ctx.get_help()})
        else:
            click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


class AthenaCommand(_GlobalOptions, click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allow_extra_args = True
        self.add_global_options()

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return self.help_in_json(super().get_help_option(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        self.refuse_extra(ctx)
        return rest


class AthenaGroup(_GlobalOptions, click.Group):
    """A group with the global options; unknown commands get the nearest name, later ones a refusal."""

    command_class = AthenaCommand

    def __init__(self, *args: Any, not_built: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.not_built = tuple(not_built)
        self.add_global_options()

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return self.help_in_json(super().get_help_option(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.not_built and not ctx.resilient_parsing:
            raise click.UsageError(f"`{ctx.command_path} {name}` is not built yet.", ctx)
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, self.commands, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(self.commands)
            raise click.UsageError(f"no such command {name!r}.{hint} There are: {known}.", ctx)
        return super().resolve_command(ctx, args)


AthenaGroup.group_class = AthenaGroup


class RootGroup(AthenaGroup):
    """The whole command line: reads `--mode`, and is the outer edge where errors become exit codes."""

    def __init__(self, *args: Any, modes: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.modes = tuple(modes)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        extra.setdefault("obj", Common())
        if not extra.get("resilient_parsing"):
            mode, args = self._take_mode(args)
            extra["obj"].mode = mode
        return super().make_context(info_name, args, parent, **extra)

    def _take_mode(self, args: Sequence[str]) -> tuple[str | None, list[str]]:
        """`--mode NAME` anywhere stands for the command NAME before all other arguments."""
        modes: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                rest += [word, *words]
            elif word == "--mode":
                modes.append(next(words, ""))
            elif word.startswith("--mode="):
                modes.append(word.partition("=")[2])
            else:
                rest.append(word)
        allowed = ", ".join(self.modes)
        for mode in modes:
            if mode not in self.modes:
                raise click.UsageError(f"--mode is {mode!r}; allowed are {allowed}.")
        if len(modes) > 1:
            raise click.UsageError("--mode is given twice; give it once.")
        return (modes[0], [modes[0], *rest]) if modes else (None, rest)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and exit: 0, or the code of what went wrong, told in one or two lines."""
        _open_streams()
        words = list(sys.argv[1:] if args is None else args)
        common = Common(json="--json" in words, verbosity=0)
        _never_fail_on_characters()
        try:
            _refuse_bytes(words)
            self._main_shell_completion(extra, "athena", complete_var)
            with (
                _stdout_for_json_alone(common.json),
                self.make_context("athena", words, obj=common, **extra) as ctx,
            ):
                self.invoke(ctx)
            sys.stdout.flush()
            code = 0
        except click.exceptions.Exit as exit_:
            code = exit_.exit_code
        except BrokenPipeError:
            code = _reader_went_away()
        except click.exceptions.NoArgsIsHelpError as error:
            code = _report_usage(error, common) if common.json else _show_help(error)
        except click.ClickException as error:
            code = _report_usage(error, common)
        except AthenaError as error:
            code = _report(error, common, error)
        except (KeyboardInterrupt, EOFError, click.Abort) as error:
            code = _report(_interrupted(error), common, error)
        except _OutputLost as error:
            code = _output_lost(error)
        except OSError as error:
            lost = error.filename is None and error.errno in _DISK_TROUBLE
            code = _output_lost(error) if lost else _report(_system_error(error), common, error)
        except Exception as error:  # noqa: BLE001 - the outer edge: nobody else is left to tell
            code = _report(_internal_error(error), common, error)
        sys.exit(_flushed(code))


def not_built_option(*names: str, **attrs: Any) -> Callable[[Decorated], Decorated]:
    """An option that is promised for later: it is refused by name, never ignored."""

    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            raise click.UsageError(f"{names[0]} is not built yet.", ctx)

    return click.option(*names, callback=refuse, expose_value=False, hidden=True, **attrs)


# --- the outer edge


def _report(error: AthenaError, common: Common, cause: BaseException) -> int:
    """Tell an error on stderr, with `--json` on stdout too; returns the exit code."""
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
    trace = without_secrets("".join(traceback.format_exception(cause)).rstrip())
    if common.verbosity:
        click.echo(printable(trace), err=True)
    if not isinstance(error, UsageError | Interrupted):
        told = {"kind": kind, "message": error.message, "cure": error.cure}
        last_error.keep(told, trace, sys.argv[1:], os.environ)
    _tell(kind, error.message, error.cure, common.json)
    return error.exit_code


def _report_usage(error: click.ClickException, common: Common) -> int:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "athena"
    message = " ".join(error.format_message().split())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        message = "a command is missing."
    _tell("UsageError", message, f"`{path} --help` shows what there is.", common.json)
    return 2


def _tell(kind: str, message: str, cure: str, as_json: bool) -> None:
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    word = "error:" if plain else click.style("error:", fg="red", bold=True)
    message, cure = without_secrets(message), without_secrets(cure)
    click.echo(f"{word} {printable(message)}", err=True)
    if cure:
        click.echo(f"       {printable(cure)}", err=True)
    if as_json:
        # stderr has it already; an output that fails is no reason to fail again.
        with suppress(OSError):
            emit_json({"error": {"kind": kind, "message": message, "cure": cure}})


def _show_help(error: click.exceptions.NoArgsIsHelpError) -> int:
    click.echo(error.format_message(), err=True)
    return 2


def _interrupted(error: BaseException) -> Interrupted:
    notes = _notes(error)
    cure = " ".join(notes) if notes else "Nothing was left half written."
    return Interrupted("interrupted before the work was done.", cure)


def _notes(error: BaseException | None) -> list[str]:
    """What an interrupt and the notes on it, or on what it came from, say; nothing twice."""
    found: list[str] = []
    while error is not None:
        said = [str(error)] if isinstance(error, KeyboardInterrupt) and error.args else []
        said += getattr(error, "__notes__", ())
        found += [note for note in said if note not in found]
        error = error.__cause__ or error.__context__
    return found


def _system_error(error: OSError) -> AthenaError:
    where = f" ({error.filename})" if error.filename else ""
    return StorageError(
        f"the system refused: {error.strerror or error}{where}.", "Run again with -v to see where."
    )


def _internal_error(error: Exception) -> AthenaError:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return AthenaError(
        f"internal error: {text}",
        "This is a defect of Athena: please run again with -v, and report what that prints.",
    )


def _reader_went_away() -> int:
    """The reader of the pipe closed it (`athena ... | head`): end quietly."""
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, stream.fileno())
        except (OSError, ValueError):
            continue
    return 0


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _reader_went_away()
    except OSError as error:
        return _output_lost(error)
    return code


class _OutputLost(OSError):
    """Standard output took no more: there is nobody to report to but stderr."""


def _output_lost(error: OSError) -> int:
    click.echo(f"error: the output cannot be written: {error.strerror}.", err=True)
    _reader_went_away()
    return 1


def _never_fail_on_characters() -> None:
    """A terminal that cannot show a character gets `?` for it, never an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _open_streams() -> None:
    """A stream that was closed before we began (`>&-`) takes what is written and drops it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end


def _refuse_bytes(words: Sequence[str]) -> None:
    """Raises: UsageError for an argument, or a working folder, that is no UTF-8 text."""
    for what, text in (*(("an argument", word) for word in words), ("the folder", os.getcwd())):
        if _HALF.search(text):
            shown = os.fsencode(text).decode("utf-8", "backslashreplace")
            raise UsageError(
                f"{what} is not UTF-8 text: {shown}.",
                "Rename the file or folder, or set the terminal to UTF-8.",
            )


_HALF = re.compile("[\ud800-\udfff]")


# --- output


class _Aside(io.TextIOBase):
    """In the place of standard output with `--json`: what is printed by anybody else (a user's strategy, a
    library) goes to stderr; `answer` is where the one object belongs."""

    def __init__(self, answer: IO[str]) -> None:
        self.answer = answer

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def _stdout_for_json_alone(as_json: bool) -> Iterator[None]:
    if not as_json:
        yield
        return
    answer = sys.stdout
    sys.stdout = _Aside(answer)
    try:
        yield
    finally:
        sys.stdout = answer


def emit_json(value: Any) -> None:
    """The one JSON object of a call with `--json`; NaN becomes null."""
    from core.jsontext import json_bytes

    text = json_bytes(value)
    out = sys.stdout
    try:
        click.echo(
            _EIGHT_BIT.sub(_escaped, text.decode()),
            file=out.answer if isinstance(out, _Aside) else out,
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _OutputLost(error.errno, error.strerror) from error


_EIGHT_BIT = re.compile("[\x7f-\x9f]")
"""Control characters that JSON lets stand in a text, and that some terminals obey."""


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def show(common: Common, value: Mapping[str, Any], render: Callable[[Any, Console], None]) -> None:
    """`value` as JSON, or rendered for people on stdout."""
    if common.json:
        emit_json(value)
    else:
        render(value, console())


def console() -> Console:
    """Standard output for tables: no colour when it is no terminal or NO_COLOR is set."""
    from rich.console import Console

    class PipeConsole(Console):
        """Leaves a reader that went away to the outer edge, which ends quietly with 0."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            """What a text of others would make a terminal do is written out instead."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable(segment.text))

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    return PipeConsole(file=sys.stdout, width=width, highlight=False)


@contextmanager
def progress(unit: str) -> Iterator[ProgressCall | None]:
    """A progress bar on stderr, or None where stderr is no terminal."""
    if not _is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None)

        def advance(done: int, total: int | None, note: str) -> None:
            bar.update(task, completed=done, total=total, description=printable(note) or unit)

        yield advance


def _is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
