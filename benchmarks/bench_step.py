"""How long a step of the full agents takes, and where: `python benchmarks/bench_step.py`.

Mock walks of 5 and 50 symbols, the shipped language model, and a memory that holds 10,000 entries before the
first step, in files of its own. Processor time of this process beside the time of the clock, by stage: what
the memory stage does, the sources of forecasts, the agents, the coordinator itself, and the rest of the step
(fills, the book, the record). The limits are asked of the processor time, which a busy machine changes less;
on a quiet machine the two are alike. `--entries`, `--steps` and `--symbols` change the sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.assemble import RunOptions, build_deciders, load_data
from core.clock import ReplayClock
from core.config import AthenaConfig
from memory.agemem import AgeMem
from memory.operations import Add
from memory.stores.sqlite import SqliteStore
from trading.engine import run_step, skip_row
from trading.run import find_span, open_account

LIMITS_SECONDS = {5: 0.060, 50: 0.500}
COORDINATOR_LIMIT_FRAC = 0.05


@dataclass(slots=True)
class Taken:
    """Seconds of the processor and of the clock."""

    cpu: float = 0.0
    wall: float = 0.0

    @classmethod
    def now(cls) -> Taken:
        return cls(time.process_time(), time.perf_counter())

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: Taken) -> Taken:
        return Taken(self.cpu - other.cpu, self.wall - other.wall)

    def __truediv__(self, steps: int) -> Taken:
        return Taken(self.cpu / steps, self.wall / steps)


class Stopwatch:
    """Time by name; awaitables are timed while nothing else runs."""

    def __init__(self) -> None:
        self.taken: dict[str, Taken] = {}

    def wrap(self, part: Any, method: str, name: str) -> None:
        """Time a method of an object under a name."""
        work: Callable[..., Any] = getattr(part, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = Taken.now()
            answer = work(*args, **kwargs)
            self._add(name, began)
            return answer

        setattr(part, method, timed)

    def wrap_async(self, part: Any, method: str, name: str) -> None:
        """Time an async method of an object under a name."""
        work: Callable[..., Awaitable[Any]] = getattr(part, method)

        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = Taken.now()
            answer = await work(*args, **kwargs)
            self._add(name, began)
            return answer

        setattr(part, method, timed)

    def _add(self, name: str, began: Taken) -> None:
        self.taken[name] = self.taken.get(name, Taken()) + (Taken.now() - began)


async def filled(path: Path, entries: int) -> None:
    """A memory of cases as a run writes them, recorded before any bar."""
    words = ("calm", "even", "wild")
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    async with AgeMem(store=SqliteStore(path, seed="bench"), clock=clock) as memory:
        for start in range(0, entries, 1_000):
            await memory.apply(
                [
                    Add(
                        f"state: week-{words[n % 3]} quarter-{words[n // 3 % 3]} trend-level | M{n} "
                        f"1989-01-02: then rise (+{n % 90 / 10:.1f} percent in five bars)",
                        {"kind": "outcome", "symbol": f"M{n}", "topic": f"t{n}",
                         "counts": [0.0, 0.0, 0.0, 1.0, 0.0], "numbers": [0.1 * (n % 9)] * 5},
                    )
                    for n in range(start, min(start + 1_000, entries))
                ]
            )  # fmt: skip


MEMORY, AGENTS = "the memory stage", "all agents"
INSIDE_MEMORY = (
    ("_memory", "apply", "memory: write"),
    ("_memory", "retrieve_many", "memory: recall"),
)


async def measure(
    symbols: int, steps: int, snapshot: Path, folder: Path
) -> tuple[Taken, dict[str, Taken]]:
    """(time a step, the same by stage), after five steps that are not counted."""
    config = AthenaConfig._from_dict(
        {"data": {"mock_symbols": symbols, "mock_bars": 260 + steps + 5}}
    )
    options = RunOptions(data="mock", agents="full", memory=snapshot)
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    assert deciders.learned is not None
    watch = Stopwatch()
    mind, coordinator = deciders.learned.mind, deciders.agents
    for source in mind.sources:
        watch.wrap(source, "tell", f"source: {source.name}")
    for agent in ("_analyst", "_strategy", "risk", "_execution"):
        for half in ("think", "act"):
            watch.wrap_async(getattr(coordinator, agent), half, f"agent: {agent.strip('_')}")
    watch.wrap(mind, "judge", "mind: judge")
    watch.wrap(mind, "learn", "mind: learn")
    account = open_account(panel, coordinator, config.trading, lambda line: None)
    first = find_span(panel, deciders.warmup).first
    for row in range(first):
        skip_row(account, row)
    async with deciders.remembering(account, folder, {}):
        opened = account.remembering
        assert opened is not None
        for owner, method, name in INSIDE_MEMORY:
            watch.wrap_async(getattr(opened.stage, owner), method, name)
        watch.wrap_async(opened.stage, "remember", MEMORY)
        watch.wrap_async(opened.agents, "decide_remembering", AGENTS)
        for row in range(first, first + 5):
            await run_step(account, row)
        watch.taken.clear()
        began = Taken.now()
        for row in range(first + 5, first + 5 + steps):
            await run_step(account, row)
        total = (Taken.now() - began) / steps
    return total, {name: taken / steps for name, taken in watch.taken.items()}


def told(symbols: int, entries: int, total: Taken, parts: dict[str, Taken]) -> tuple[str, bool]:
    """(the table, whether every limit is kept)."""
    inside = ("mind: ", "agent: ")
    own = parts[AGENTS]
    for name, taken in parts.items():
        own = own - taken if name.startswith(inside) else own
    rows = dict(parts)
    rows["the coordinator itself"] = own
    rows["fills, book and record"] = total - parts[MEMORY] - parts[AGENTS]
    lines = [
        f"{symbols} symbols, {entries:,} entries: {1e3 * total.cpu:.1f} ms a step of the processor, "
        f"{1e3 * total.wall:.1f} by the clock"
    ]
    lines += [
        f"  {name:28} {1e3 * taken.cpu:8.2f} ms {1e3 * taken.wall:8.2f}  {taken.cpu / total.cpu:6.1%}"
        for name, taken in rows.items()
    ]
    limit = LIMITS_SECONDS.get(symbols)
    kept = own.cpu / total.cpu <= COORDINATOR_LIMIT_FRAC
    if limit is not None:
        kept = kept and total.cpu <= limit
        lines.append(f"  limit {1e3 * limit:.0f} ms, the coordinator {COORDINATOR_LIMIT_FRAC:.0%}")
    if not kept:
        lines.append("  A LIMIT IS MISSED")
    return "\n".join(lines) + "\n", kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--symbols", type=int, nargs="*", default=[5, 50])
    chosen = parser.parse_args()
    missed = 0
    with TemporaryDirectory() as folder:
        snapshot = Path(folder) / "memory.db"
        asyncio.run(filled(snapshot, chosen.entries))
        for symbols in chosen.symbols:
            own = Path(folder) / f"run-{symbols}"
            own.mkdir()
            total, parts = asyncio.run(measure(symbols, chosen.steps, snapshot, own))
            table, kept = told(symbols, chosen.entries, total, parts)
            missed += not kept
            sys.stdout.write(table)
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
