"""A user's strategy in the place of the analyst and the strategy agent; risk and execution stay ours.

Owns loading the class, checking what it returns, and turning its faults into messages that name the file
and the line. The call into the strategy is one of the three borders where every exception is caught.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import math
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from agents.execution import SAME_WEIGHT, ExecutionAgent
from agents.fingerprint import code_files, code_paths
from agents.risk_manager import RiskManager
from core.errors import AthenaError, LookAhead, StrategyError, UsageError
from core.protocols import History, State, Strategy
from core.types import MOST_REASON_CHARACTERS, Decision, Target, Verdict
from core.yamltext import check_yaml
from trading.engine import NO_DECISION

FloatArray = npt.NDArray[np.float64]
WEIGHT_DIGITS = 8
_OUR_ROOT = Path(__file__).resolve().parent.parent
_OURS = (
    *(str(_OUR_ROOT / name) + os.sep for name in ("agents", "athena", "core", "trading")),
    str(_OUR_ROOT / "main.py"),
)
_LIBRARIES = (
    *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    "<frozen ",
)
_PACKAGES = frozenset({"site-packages", "dist-packages"})
"""Where libraries lie, also those of another environment that this one sees."""
_PAST_THE_END = re.compile(r"index (-?\d+) is out of bounds for axis (\d) with size (\d+)")
_MOST = 1e6
"""A weight beyond this is a slip, not a wish."""
_SHOWN_CHARACTERS = 120


def load_strategy(spec: str, params: Sequence[tuple[str, str]] = ()) -> Strategy:
    """The strategy that `FILE.py:Class` names, made with the keyword arguments of `--param k=v`.

    Values are read as YAML scalars (`10`, `0.5`, `true`, `[1, 2]`, text).
    Raises: UsageError for a wrong spec; StrategyError, with file and line, for a fault in the file.
    """
    path_text, colon, name = spec.rpartition(":")
    path = Path(path_text)
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise UsageError(
            f"--strategy {spec} does not name a class.", "Write it as FILE.py:ClassName."
        )
    if not path.is_file():
        raise UsageError(f"--strategy {spec}: there is no file {path}.", "Check the path.")
    module = _load_module(path)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and hasattr(value, "decide")
        ]
        raise StrategyError(
            f"{path} has no class {name}.",
            f"Classes with `decide` there: {', '.join(classes) or 'none'}.",
        )
    arguments = {key: _param(key, value) for key, value in params}
    taken = inspect.signature(found)
    try:
        taken.bind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"--param does not fit {name}: {error}.", f"It is made as {name}{taken}."
        ) from None
    try:
        made = found(**arguments)
    except (Exception, SystemExit) as error:
        raise _strategy_error(error, f"{name}(...)") from error
    return check_strategy(made)


def _param(key: str, value: str) -> object:
    try:
        check_yaml(value, f"--param {key}")
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(
            f"--param {key}={value} is no YAML value.", "Write a number, true, text or [1, 2]."
        ) from None


def check_strategy(strategy: object) -> Strategy:
    """The same object, once it is known to have `decide(history, state)` and a sensible `warmup`."""
    name = type(strategy).__name__
    if inspect.isclass(strategy):
        raise StrategyError(
            f"the strategy is the class {strategy.__name__} itself.",
            f"Give an object of it: {strategy.__name__}().",
        )
    decide = getattr(strategy, "decide", None)
    if not callable(decide):
        raise StrategyError(
            f"{_class_place(strategy)}{name} has no method `decide(self, history, state)`.",
            "It returns target weights by symbol; docs/strategies.md has three examples.",
        )
    if inspect.iscoroutinefunction(decide):
        raise StrategyError(
            f"{_definition(decide)}: {name}.decide is async.", "Write it as a plain method."
        )
    try:
        inspect.signature(decide).bind(None, None)
    except TypeError as error:
        raise StrategyError(
            f"{_definition(decide)}: {name}.decide does not take (history, state): {error}.",
            "Write it as `def decide(self, history, state)`.",
        ) from None
    warmup = getattr(strategy, "warmup", 0)
    if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
        raise StrategyError(
            f"{_class_place(strategy)}{name}.warmup is {_short(repr(warmup))}.",
            "Give the number of bars it wants, 0 or more.",
        )
    return strategy  # type: ignore[return-value]


def _load_module(path: Path) -> ModuleType:
    name = f"athena_user_{path.stem}"
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    _forget_beside(path)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise StrategyError(
            f"{error.filename or path}{where}: {error.msg}.", "Mend that line."
        ) from error
    except (Exception, SystemExit) as error:
        raise _strategy_error(error, f"importing {path.name}") from error
    finally:
        sys.path.remove(folder)
        sys.dont_write_bytecode = writes
    return module


def _forget_beside(path: Path) -> None:
    """Modules beside a strategy, and others of their names, that were imported before in this process are
    read anew: what runs is what the files say, and what the run's identity holds. Libraries stay."""
    beside = {str(file) for file in code_paths(path) if file != path.resolve()}
    names = {name.removesuffix(".py").removesuffix("/__init__") for name in code_files(path)}
    dotted = {name.replace("/", ".") for name in names}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name == "__main__" or not (file in beside or name in dotted):
            continue
        library = file.startswith((*_OURS, *_LIBRARIES)) or name in sys.stdlib_module_names
        if file in beside or not (library or not _PACKAGES.isdisjoint(Path(file).parts)):
            del sys.modules[name]
    importlib.invalidate_caches()


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Reads the source itself, always: a file saved twice within a second is never taken from the bytecode
    of the first, and nothing is written beside it."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _definition(function: Any) -> str:
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}" if code else "compiled code"


def _class_place(strategy: object) -> str:
    """`file, line N: ` of the strategy's class, or nothing where it has no source (a notebook may not)."""
    kind = type(strategy)
    try:
        return f"{inspect.getsourcefile(kind)}, line {inspect.getsourcelines(kind)[1]}: "
    except (OSError, TypeError):
        return ""


def _place(error: BaseException) -> str:
    """`file, line N` of the user's own innermost line in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith((*_OURS, *_LIBRARIES))
        and _PACKAGES.isdisjoint(Path(frame.filename).parts)
    ]
    if not own:
        return "unknown line"
    frame = own[-1]
    code = f": `{frame.line}`" if frame.line else ""
    return f"{frame.filename}, line {frame.lineno}{code}"


def _strategy_error(error: BaseException, doing: str) -> StrategyError:
    said = _short(str(error)).rstrip(".")
    return StrategyError(
        f"{_place(error)}: {doing} raised {type(error).__name__}{f': {said}' if said else ''}.",
        "Mend that line; -v shows the whole traceback.",
    )


def _short(text: str) -> str:
    """One line, not too long: what a user's objects say of themselves can be pages."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 4]} ..."


class StrategyAgents:
    """`core.protocols.Agents` over a user's strategy.

    What it returns is checked, then barred symbols and shorts that the account does not allow are cut
    (always), then the risk manager speaks (unless switched off), then execution makes orders of it.
    `one_symbol` says that the data have one symbol, which never leaves the universe: then, without a risk
    manager, the same answer for a book that is as wanted is the same decision, without another look.
    `most_asked_frac` is the largest gross weight asked for so far.
    """

    def __init__(
        self,
        strategy: Strategy,
        execution: ExecutionAgent,
        risk: RiskManager | None,
        *,
        allow_short: bool,
        one_symbol: bool = False,
    ) -> None:
        self.strategy = strategy
        self._execution = execution
        self.risk = risk
        self._allow_short = allow_short
        self._name = type(strategy).__name__
        self.most_asked_frac = 0.0
        self._repeats = one_symbol and risk is None
        self._last: tuple[str, float, float, Decision] | None = None

    async def decide(self, history: History, state: State) -> Decision:
        """One decision. Raises: StrategyError, LookAhead (both with file and line)."""
        try:
            answer = self.strategy.decide(history, state)
        except LookAhead as error:
            raise LookAhead(f"{_place(error)}: {error.message}", error.cure) from error
        except AthenaError:
            raise
        except IndexError as error:
            raise self._index_error(error, history) from error
        except (Exception, SystemExit) as error:
            raise _strategy_error(error, f"{self._name}.decide") from error
        last = self._last
        if last is not None and type(answer) is dict and len(answer) == 1:
            value = answer.get(last[0])
            if (
                type(value) is float
                and value == last[1]
                and abs(last[2] - state.weight(0)) <= SAME_WEIGHT
            ):
                # Most steps change nothing: the same weight, marked as wanted, is the same decision.
                return last[3]
        symbols = history.symbols
        if len(symbols) == 1:
            return self._decide_one(answer, symbols[0], history, state)
        return self._decide_many(answer, symbols, history, state)

    def _index_error(self, error: IndexError, history: History) -> AthenaError:
        """An index just behind the visible rows is a look into the future; any other is a plain fault."""
        match = _PAST_THE_END.search(str(error))
        if match is None or int(match[3]) != len(history) or int(match[1]) < 0:
            return _strategy_error(error, f"{self._name}.decide")
        if match[2] != "0" and len(history) == len(history.symbols):
            return _strategy_error(error, f"{self._name}.decide")  # it may be a symbol's column
        return LookAhead(
            f"{_place(error)}: row {match[1]} was asked for, and {match[3]} rows are known at "
            f"{history.as_of:%Y-%m-%dT%H:%M:%SZ} (the last is row {int(match[3]) - 1}).",
            "Decide on what has happened: `history.close[-1]` is the present close.",
        )

    def _target(self, symbol: str, value: object) -> Target:
        if isinstance(value, Target):
            return self._checked(symbol, value)
        if not _is_number(value):
            raise self._nonsense(
                f"the weight of {symbol} is {_short(repr(value))}.",
                "Give a number, a Target or None (hold).",
            )
        return Target(self._weight(symbol, value))

    def _checked(self, symbol: str, target: Target) -> Target:
        """The same target with plain numbers."""
        self._check_reason(symbol, target.reason)
        if target.weight is None:
            if not _is_plain(target):
                raise self._nonsense(
                    f"{symbol}'s Target has no weight, and an order's terms.",
                    "Give a weight with them, or hold with a reason only: Target(None, reason=...).",
                )
            return target
        if not _is_number(target.weight):
            raise self._nonsense(
                f"the weight of {symbol}'s Target is {_short(repr(target.weight))}.",
                "Give a number, or None to hold the symbol.",
            )
        prices = (target.limit_price, target.stop_price)
        if any(
            price is not None and not (_is_number(price) and 0.0 < price < 1e15) for price in prices
        ):
            raise self._nonsense(
                f"{symbol} has the limit {_short(repr(prices[0]))} and the stop "
                f"{_short(repr(prices[1]))}.",
                "Prices are positive numbers, or None.",
            )
        if target.tif not in ("day", "gtc"):
            raise self._nonsense(f"{symbol} has tif {target.tif!r}.", "It is 'day' or 'gtc'.")
        if target.tag is not None and not isinstance(target.tag, str):
            raise self._nonsense(f"{symbol} has the tag {target.tag!r}.", "It is text, or None.")
        limit, stop = (None if price is None else float(price) for price in prices)
        weight = self._weight(symbol, target.weight)
        return Target(weight, limit, stop, target.tag, target.tif, target.reason)

    def _check_reason(self, symbol: str, reason: object) -> None:
        if reason is None:
            return
        if not isinstance(reason, str):
            raise self._nonsense(
                f"{symbol} has the reason {_short(repr(reason))}.", "It is text, or None."
            )
        if not reason.strip() or not reason.isprintable() or len(reason) > MOST_REASON_CHARACTERS:
            raise self._nonsense(
                f"{symbol} has the reason {_short(repr(reason))}, of {len(reason):,} characters.",
                f"Give one line of 1 to {MOST_REASON_CHARACTERS} printable characters, or None.",
            )

    def _weight(self, symbol: str, value: Any) -> float:
        if not abs(value) < math.inf:
            raise self._nonsense(
                f"the weight of {symbol} is {float(value)}.",
                "Leave the symbol out (0) or give None (hold) while there is nothing to say.",
            )
        if abs(value) > _MOST:
            raise self._nonsense(
                f"the weight of {symbol} is {_short(repr(value))}.",
                "It is a fraction of equity: 0.5 is half.",
            )
        return float(value)

    def _nonsense(self, found: str, cure: str) -> StrategyError:
        place = _definition(self.strategy.decide)
        return StrategyError(f"{place}: in what {self._name}.decide returned, {found}", cure)

    def _check_mapping(self, answer: object, symbols: tuple[str, ...]) -> Mapping[str, object]:
        if hasattr(answer, "to_dict") and not isinstance(answer, Mapping):
            answer = answer.to_dict()
        if not isinstance(answer, Mapping):
            raise self._nonsense(
                f"there is {_short(repr(answer))}, a {type(answer).__name__}.",
                "Return weights by symbol, {'AAPL': 0.5}, or None to hold everything.",
            )
        unknown = [name for name in answer if name not in symbols]
        if unknown:
            raise self._nonsense(
                f"there is the symbol {unknown[0]!r}, which is not listed at this bar.",
                f"`history.symbols` has {', '.join(symbols[:8])}"
                f"{' ...' if len(symbols) > 8 else ''}.",
            )
        return answer

    def _decide_one(self, answer: object, symbol: str, history: History, state: State) -> Decision:
        """The scalar path of a one-symbol panel: the same rules, without arrays."""
        special: Target | None = None
        reasons: dict[str, str] | None = None
        if answer is None:
            weight = math.nan
        elif type(answer) is dict and len(answer) == 1 and type(answer.get(symbol)) is float:
            weight = round(answer[symbol], WEIGHT_DIGITS)
            if not -_MOST <= weight <= _MOST:
                self._weight(symbol, weight)
        else:
            value = self._check_mapping(answer, (symbol,)).get(symbol, 0.0)
            if value is None:
                weight = math.nan
            else:
                special = self._target(symbol, value)
                weight = _rounded(special)
                if special.reason is not None:
                    reasons = {symbol: special.reason}
                if _is_plain(special):
                    special = None
        wanted = weight
        self.most_asked_frac = max(self.most_asked_frac, abs(weight))
        verdicts: tuple[Verdict, ...] = ()
        if weight != 0.0 and history.barred is not None:
            cut = round(state.weight(0), WEIGHT_DIGITS) if math.isnan(weight) else weight
            if cut:
                verdicts = (Verdict(symbol, cut, 0.0, ("not_tradable",)),)
            weight = 0.0
        if weight < 0.0 and not self._allow_short:
            verdicts = (Verdict(symbol, weight, 0.0, ("short_not_allowed",)),)
            weight = 0.0
        if self.risk is not None:
            weight, changed = self.risk.review_one(weight, history, state)
            verdicts += changed
        intents, ended = self._execution.orders_one(weight, history, state, special)
        if not intents and not verdicts and special is None and reasons is None:
            decision = Decision(targets=_kept(symbol, weight), cancel_columns=ended)
            if self._repeats and type(answer) is dict and type(answer.get(symbol)) is float:
                self._last = (symbol, answer[symbol], wanted, decision)
            return decision
        return Decision(
            targets=_kept(symbol, weight),
            verdict=verdicts,
            intents=intents,
            cancel_columns=ended,
            reasons=reasons,
        )

    def _decide_many(
        self, answer: object, symbols: tuple[str, ...], history: History, state: State
    ) -> Decision:
        count = len(symbols)
        special: dict[int, Target] = {}
        reasons: dict[str, str] = {}
        barred = history.barred
        if answer is None:
            if self.risk is None and barred is None:
                return NO_DECISION
            wanted = np.full(count, np.nan)
        else:
            wanted = np.zeros(count)
            columns = {symbol: column for column, symbol in enumerate(symbols)}
            for symbol, value in self._check_mapping(answer, symbols).items():
                column = columns[symbol]
                if value is None:
                    wanted[column] = np.nan
                    continue
                target = self._target(symbol, value)
                wanted[column] = _rounded(target)
                if target.reason is not None:
                    reasons[symbol] = target.reason
                if not _is_plain(target):
                    special[column] = target
            if len(reasons) > 1:  # the records' bytes do not hang on the order of an answer
                reasons = dict(sorted(reasons.items(), key=lambda each: columns[each[0]]))
            asked = float(np.abs(wanted[~np.isnan(wanted)]).sum())
            self.most_asked_frac = max(self.most_asked_frac, asked)
        verdicts: tuple[Verdict, ...] = ()
        if barred is not None:
            held = np.round(state.weight_array, WEIGHT_DIGITS)
            cut = np.where(np.isnan(wanted), held, wanted)
            verdicts = _cuts(cut, barred & (cut != 0.0), symbols, "not_tradable")
            wanted = np.where(barred, 0.0, wanted)
        if not self._allow_short and np.any(wanted < 0.0):
            verdicts += _cuts(wanted, wanted < 0.0, symbols, "short_not_allowed")
            wanted = np.where(wanted < 0.0, 0.0, wanted)
        accepted = wanted
        if self.risk is not None:
            accepted, more = self.risk.review(wanted, history, state)
            verdicts += more
        intents, ended = self._execution.orders(accepted, history, state, special)
        kept = np.flatnonzero(~np.isnan(accepted) & (accepted != 0.0))
        return Decision(
            targets=dict(
                zip([symbols[c] for c in kept.tolist()], accepted[kept].tolist(), strict=True)
            ),
            verdict=verdicts,
            intents=intents,
            cancel_columns=ended,
            reasons=reasons or None,
        )


def _rounded(target: Target) -> float:
    """The target's weight as records have it; NaN holds."""
    return math.nan if target.weight is None else round(target.weight, WEIGHT_DIGITS)


def _is_plain(target: Target) -> bool:
    """True for a target whose order has no terms of its own."""
    return (
        target.limit_price is None
        and target.stop_price is None
        and target.tag is None
        and target.tif == "day"
    )


def _kept(symbol: str, weight: float) -> dict[str, float]:
    """The accepted weight as a record has it: nothing for 0 and for a hold."""
    return {} if weight == 0.0 or math.isnan(weight) else {symbol: weight}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _cuts(
    weights: FloatArray, mask: npt.NDArray[np.bool_], symbols: tuple[str, ...], reason: str
) -> tuple[Verdict, ...]:
    """A verdict for every weight of a mask, which is set to 0."""
    return tuple(
        Verdict(symbols[c], float(weights[c]), 0.0, (reason,)) for c in np.flatnonzero(mask)
    )
