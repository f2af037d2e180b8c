"""Where processor time goes: named stages around functions, without a profiler's cost per call.

Time belongs to the innermost stage. Knows nothing of what is measured. One thread, and coroutines that run
one after another; calls that overlap would be charged to each other.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

REST = "the rest"


class Stages:
    """`seconds` and `calls` by stage since `clear`; what is in no stage is `REST`."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._open = [REST]
        self._sealed = False
        self._since = time.process_time()
        self._undo: list[Callable[[], None]] = []

    def clear(self) -> None:
        self.seconds.clear()
        self.calls.clear()
        self._since = time.process_time()

    def totals(self) -> dict[str, float]:
        """Processor seconds by stage up to now."""
        self._charge()
        return dict(self.seconds)

    @contextmanager
    def stage(self, name: str, whole: bool = False) -> Iterator[None]:
        """What is done within is `name`'s, but for stages within it; with `whole`, theirs too."""
        if self._sealed:
            yield
            return
        self._charge()
        self.calls[name] += 1
        self._open.append(name)
        self._sealed = whole
        try:
            yield
        finally:
            self._charge()
            self._open.pop()
            self._sealed = False

    def around(self, owner: Any, name: str, stage: str, whole: bool = False) -> None:
        """Make the function `name` of a class or module a stage, until `remove`."""
        original = getattr(owner, name)
        own = name in vars(owner)

        @functools.wraps(original)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(stage, whole):
                return original(*arguments, **named)

        @functools.wraps(original)
        async def timed_coroutine(*arguments: Any, **named: Any) -> Any:
            with self.stage(stage, whole):
                return await original(*arguments, **named)

        setattr(owner, name, timed_coroutine if inspect.iscoroutinefunction(original) else timed)
        self._undo.append(lambda: setattr(owner, name, original) if own else delattr(owner, name))

    def remove(self) -> None:
        """Put every function back."""
        while self._undo:
            self._undo.pop()()

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now
