"""What a strategy of one's own is, by content: its files, its parameters, its state as it begins.

Owns which files count as a strategy's code, and how the state of an object becomes plain values that are
equal where the objects would decide alike. Runs none of that code; refuses to know runs and manifests.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, Final

import numpy as np

from core.errors import StrategyError

_OUR_ROOT: Final = Path(__file__).resolve().parent.parent
_OURS: Final = frozenset(
    {"agents", "athena", "configs", "core", "main.py", "memory", "models", "trading", "training"}
)
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})
_DEEPEST: Final = 30
_SCALARS: Final = (bool, int, float, str, bytes, type(None))
_NOTEBOOK_GLOBALS: Final = (FunctionType, type, list, dict, tuple, set, np.ndarray)
"""Kinds of global values that count where no file has the code."""
_AS_TEXT: Final = (datetime, date, time, timedelta, Decimal, Fraction, PurePath, complex)
_NAMES_IN_DICT: Final = frozenset({"__dict__", "__weakref__", "__doc__", "__module__"})


def digest(value: Any) -> str:
    """SHA-256 of plain values as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --- files


def code_files(path: Path) -> dict[str, str]:
    """SHA-256 of a code file and of the modules beside it that it imports, by name; the file itself is "".

    Raises: StrategyError for a file that cannot be read.
    """
    start = path.resolve()
    roots = _roots(start.parent)
    named = {}
    for file, sha256 in code_paths(start).items():
        root = next((root for root in roots if file.is_relative_to(root)), file.parent)
        named["" if file == start else file.relative_to(root).as_posix()] = sha256
    return dict(sorted(named.items()))


def code_paths(path: Path) -> dict[Path, str]:
    """The same by path, resolved.

    Followed are imports of modules in its folder, and of those in its package where the folder is one;
    installed libraries are not, and Athena's own modules neither. Nothing is run.
    """
    roots = _roots(path.resolve().parent)
    found: dict[Path, str] = {}
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        try:
            source = file.read_bytes()
        except OSError as error:
            raise StrategyError(
                f"{file} cannot be read: {error.strerror or error}.", "Check its permissions."
            ) from error
        found[file] = hashlib.sha256(source).hexdigest()
        waiting += [each for each in _imported(source, file, roots) if each not in found]
    return found


def _roots(folder: Path) -> tuple[Path, ...]:
    """Where imported modules are looked for: the folder, and where its topmost package lies."""
    top = folder
    while (top / "__init__.py").is_file() and top.parent != top:
        top = top.parent
    return (folder,) if top == folder else (folder, top)


def _imported(source: bytes, file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """The files that a source's imports name, wherever in it they stand."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [(roots, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            where: Sequence[Path] = roots
            if node.level:
                where = (file.parents[min(node.level, len(file.parents)) - 1],)
            base = [node.module] if node.module else []
            wanted = [(where, ".".join([*base, alias.name])) for alias in node.names]
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            given = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            wanted = [(roots, name) for name in given[:1] if isinstance(name, str)]
        else:
            continue
        for places, name in wanted:
            for place in places:
                yield from _module_files(place, name, roots)


def _called(node: ast.Call) -> str:
    function = node.func
    return getattr(function, "id", "") or getattr(function, "attr", "")


def _module_files(place: Path, name: str, roots: Sequence[Path]) -> Iterator[Path]:
    """The files of a dotted name below a place: each package on the way, and the module."""
    parts = [part for part in name.split(".") if part and part != "*"]
    if len(roots) > 1 and place == roots[-1] and parts:
        package = roots[0].relative_to(place).parts[0]
        if parts[0] != package:
            return
    at = place
    candidates = [place / "__init__.py"] if not parts else []
    for part in parts:
        at /= part
        candidates += [at.with_suffix(".py"), at / "__init__.py"]
    for candidate in candidates:
        if not candidate.is_file():
            continue
        resolved = candidate.resolve()
        if any(resolved.is_relative_to(root) for root in roots) and not _is_ours(resolved):
            yield resolved


def _is_ours(file: Path) -> bool:
    return file.is_relative_to(_OUR_ROOT) and file.relative_to(_OUR_ROOT).parts[0] in _OURS


def source_file(strategy: object) -> Path | None:
    """The file in which an object's class stands; None where there is none (a notebook's cell)."""
    kind = type(strategy)
    functions = [_function_of(value) for value in vars(kind).values()]
    written = {Path(each.__code__.co_filename).resolve() for each in functions if each is not None}
    try:
        name = inspect.getsourcefile(kind)
    except (OSError, TypeError):  # its module may have been read anew since
        name = str(next(iter(written))) if len(written) == 1 else None
    if not name or not Path(name).is_file():
        return None
    path = Path(name).resolve()
    return path if not written or path in written else None


# --- objects


def strategy_facts(
    strategy: object, params: Mapping[str, object], file: Path | None
) -> dict[str, Any]:
    """What a strategy is, before it decides for the first time.

    `file` is the one that was named; of an object it is found. A parameter that the object keeps under its
    own name is part of the state, so that `Mine(k=1)` and `--param k=1` are the same.
    """
    own = file or source_file(strategy)
    plain = _Plain(with_code=own is None)
    state = {name: plain.of(value) for name, value in sorted(_state(strategy).items())}
    hidden = {
        name: plain.of(value)
        for name, value in params.items()
        if state.get(name, state.get(f"_{name}", _state)) != plain.of(value)
    }
    return {
        "class": type(strategy).__name__,
        "code": code_files(own) if own is not None else plain.class_code(type(strategy)),
        "params": hidden,
        "state": state,
        "class_state": plain.class_state(type(strategy)),
        "opaque": sorted(plain.opaque),
    }


def _state(value: object) -> dict[str, Any]:
    """An object's own attributes, of slots too."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in _NAMES_IN_DICT and hasattr(value, name):
                found[name] = getattr(value, name)
    return found | dict(getattr(value, "__dict__", {}))


class _Plain:
    """Makes values plain. `with_code`: functions count by what they do, for there is no file that has them.
    `opaque` collects the kinds of which only the name could be told."""

    def __init__(self, *, with_code: bool) -> None:
        self._with_code = with_code
        self._open: list[int] = []
        self._done_code: set[int] = set()
        self.opaque: set[str] = set()

    def of(self, value: Any) -> Any:
        """Plain values, equal where the objects are alike."""
        if isinstance(value, float) and not isinstance(value, np.generic):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Enum):
            return {"enum": [type(value).__qualname__, value.name]}
        if isinstance(value, _SCALARS) and not isinstance(value, np.generic):
            return {"bytes": value.hex()} if isinstance(value, bytes) else value
        if isinstance(value, np.datetime64 | np.timedelta64):
            return {"time": str(value)}
        if isinstance(value, np.generic):
            return self.of(value.item())
        if isinstance(value, _AS_TEXT):
            return {"text": [type(value).__name__, str(value)]}
        if id(value) in self._open:
            return {"again": self._open.index(id(value))}
        if len(self._open) >= _DEEPEST:
            return self._only_named(value)
        self._open.append(id(value))
        try:
            return self._container(value)
        finally:
            self._open.pop()

    def _container(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Mapping):
            return {"pairs": [[self.of(key), self.of(each)] for key, each in value.items()]}
        if isinstance(value, list | tuple | deque):
            return [self.of(each) for each in value]
        if isinstance(value, Set):
            return {"set": sorted((self.of(each) for each in value), key=digest)}
        if isinstance(value, range | slice):
            return {"range": repr(value)}
        if isinstance(value, random.Random):
            return {"random": digest(self.of(value.getstate()))}
        if isinstance(value, np.random.Generator):
            return {"random": self.of(value.bit_generator.state)}
        if isinstance(value, functools.partial):
            return {"partial": [self.of(each) for each in (value.func, value.args, value.keywords)]}
        if isinstance(value, SimpleNamespace):
            return {"namespace": self.of(vars(value))}
        if callable(value) and isinstance(
            value, FunctionType | MethodType | BuiltinFunctionType | type
        ):
            return self._callable(value)
        if isinstance(value, ModuleType):
            return {"module": value.__name__}
        return self._object(value)

    def _array(self, value: np.ndarray[Any, Any]) -> Any:
        if value.dtype.hasobject:
            return {
                "array": [list(value.shape), [self.of(each) for each in value.ravel().tolist()]]
            }
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [value.dtype.str, list(value.shape), content]}

    def _object(self, value: Any) -> Any:
        kind = type(value)
        library = kind.__module__.partition(".")[0]
        if library == "pandas":
            frame = getattr(value, "to_frame", lambda: value)()
            columns = [self.of(each) for each in getattr(frame, "columns", ())]
            numbers = getattr(value, "to_numpy", lambda: np.array(str(value)))()
            index = getattr(value, "index", None)
            rows = None if index is None or callable(index) else self.of(index.to_numpy())
            return {"pandas": [kind.__name__, columns, rows, self.of(numbers)]}
        if library == "torch" and hasattr(value, "detach"):
            return {"tensor": self.of(value.detach().cpu().numpy())}
        state = _state(value)
        if library in sys.stdlib_module_names or not (state or dataclasses.is_dataclass(value)):
            return self._only_named(value)
        named = {name: self.of(each) for name, each in sorted(state.items())}
        return {"object": [kind.__qualname__, named]}

    def _only_named(self, value: Any) -> Any:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if type(value) is not object:
            self.opaque.add(name)
        return {"opaque": name}

    # --- code

    def _callable(self, value: Any) -> Any:
        name = getattr(value, "__qualname__", str(value))
        if isinstance(value, MethodType):
            return {"method": [name, self.of(value.__self__)]}
        if isinstance(value, FunctionType):
            cells = self._cells(value)
            return {"function": [name, self._function(value) if self._with_code else None, cells]}
        if isinstance(value, type) and self._with_code and value.__module__ == "__main__":
            return {"class": [name, self.class_code(value)]}
        return {"named": [getattr(value, "__module__", None), name]}

    def _cells(self, function: FunctionType) -> Any:
        """What a function holds of the one that it was made in."""
        names = function.__code__.co_freevars
        found = {}
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if name != "__class__":
                found[name] = self.of(content)
        return found

    def class_state(self, kind: type) -> dict[str, Any]:
        """Plain attributes of a class and its bases, what its methods hold of functions around them, and the
        global numbers and texts that they name: all that may be set after the code was read."""
        found: dict[str, Any] = {}
        for each in reversed(_own_bases(kind)):
            for name, value in sorted(vars(each).items()):
                function = _function_of(value)
                if function is not None:
                    inner = {**self._cells(function), **self._globals(function)}
                    if inner:
                        found[f"{name}()"] = inner
                elif not name.startswith("__") and not _is_descriptor(value):
                    found[name] = self.of(value)
        return found

    def _globals(self, function: FunctionType) -> dict[str, Any]:
        found = {}
        for name in sorted(_names_in(function.__code__)):
            value = function.__globals__.get(name, self)
            scalar = isinstance(value, _SCALARS) and not name.startswith("__")
            if scalar or (self._with_code and isinstance(value, _NOTEBOOK_GLOBALS)):
                found[name] = self.of(value)
        return found

    def class_code(self, kind: type) -> dict[str, str]:
        """What the methods of a class without a file do, by name."""
        found = {}
        for each in reversed(_own_bases(kind)):
            for name, value in sorted(vars(each).items()):
                function = _function_of(value)
                if function is not None:
                    found[f"{each.__qualname__}.{name}"] = digest(self._function(function))
        return found

    def _function(self, function: FunctionType) -> Any:
        if id(function) in self._done_code:
            return "again"
        self._done_code.add(id(function))
        return [
            _code(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            self._globals(function),
        ]


def _own_bases(kind: type) -> list[type]:
    """A class and its bases, without those of Python, of Athena and of installed libraries."""
    return [
        each
        for each in kind.__mro__
        if each.__module__.partition(".")[0] not in sys.stdlib_module_names - {"__main__"}
        and each.__module__.partition(".")[0] not in _OURS
        and _PACKAGES.isdisjoint(_module_path(each).parts)
    ]


def _module_path(kind: type) -> Path:
    """Where a class's module lies; nowhere for what was written in the main one, or in a cell."""
    module = None if kind.__module__ == "__main__" else sys.modules.get(kind.__module__)
    return Path(getattr(module, "__file__", None) or "")


def _function_of(value: Any) -> FunctionType | None:
    """The function behind a method, also a static, class or property one."""
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    inner = inspect.unwrap(inner) if isinstance(inner, Callable) else inner  # type: ignore[arg-type]
    return inner if isinstance(inner, FunctionType) else None


def _is_descriptor(value: Any) -> bool:
    return callable(value) or hasattr(type(value), "__get__")


def _code(code: CodeType) -> Any:
    """What a piece of bytecode does, without where it stood."""
    consts: Iterable[Any] = code.co_consts
    return [
        code.co_code.hex(),
        list(code.co_names),
        list(code.co_varnames),
        [_code(each) if isinstance(each, CodeType) else repr(each) for each in consts],
    ]


def _names_in(code: CodeType) -> set[str]:
    inner = [_names_in(each) for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*inner)
