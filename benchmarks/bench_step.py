"""How long a step of the full agents takes, and where: `python benchmarks/bench_step.py`.

Mock walks of 5 and 50 symbols, the shipped language model, and a memory that holds 10,000 entries before the
first step. CPU seconds of this process (not wall time: the machine may be shared), by stage: the memory
stage, the sources of forecasts, all agents. `--entries`, `--steps` and `--symbols` change the sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
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


class Stopwatch:
    """CPU seconds by name; awaitables are timed while nothing else runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            answer = work(*args, **kwargs)
            self._add(name, began)
            return answer

        return timed

    def wrap_async(self, name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            answer = await work(*args, **kwargs)
            self._add(name, began)
            return answer

        return timed

    def _add(self, name: str, began: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began


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


async def measure(symbols: int, steps: int, snapshot: Path) -> tuple[float, dict[str, float]]:
    """(CPU seconds a step, the same by stage), after five steps that are not counted."""
    config = AthenaConfig._from_dict(
        {"data": {"mock_symbols": symbols, "mock_bars": 260 + steps + 5}}
    )
    options = RunOptions(data="mock", agents="full", memory=snapshot)
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    assert deciders.learned is not None
    watch = Stopwatch()
    learned, coordinator = deciders.learned, deciders.agents
    for source in learned.mind.sources:
        source.tell = watch.wrap(f"source: {source.name}", source.tell)  # type: ignore[method-assign]
    for agent in ("_analyst", "_strategy", "risk", "_execution"):
        part = getattr(coordinator, agent)
        for half in ("think", "act"):
            setattr(part, half, watch.wrap_async(f"agent: {agent.strip('_')}", getattr(part, half)))
    learned.mind.judge = watch.wrap("mind.judge", learned.mind.judge)  # type: ignore[method-assign]
    learned.mind.learn = watch.wrap("mind.learn", learned.mind.learn)  # type: ignore[method-assign]
    account = open_account(panel, coordinator, config.trading, lambda line: None)
    first = find_span(panel, deciders.warmup).first
    for row in range(first):
        skip_row(account, row)
    async with deciders.remembering(account, None, {}):
        opened = account.remembering
        assert opened is not None
        stage, agents = opened.stage, opened.agents
        stage.remember = watch.wrap_async("memory stage", stage.remember)  # type: ignore[method-assign]
        agents.decide_remembering = watch.wrap_async("all agents", agents.decide_remembering)  # type: ignore[method-assign]
        account.remembering = replace(opened, stage=stage, agents=agents)
        for row in range(first, first + 5):
            await run_step(account, row)
        watch.seconds.clear()
        began = time.process_time()
        for row in range(first + 5, first + 5 + steps):
            await run_step(account, row)
        total = (time.process_time() - began) / steps
    return total, {name: seconds / steps for name, seconds in watch.seconds.items()}


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
            total, parts = asyncio.run(measure(symbols, chosen.steps, snapshot))
            inside = ("mind.judge", "mind.learn", "agent: ")
            used = sum(seconds for name, seconds in parts.items() if name.startswith(inside))
            own = parts["all agents"] - used
            lines = [f"{symbols} symbols, {chosen.entries:,} entries: {1e3 * total:.1f} ms a step"]
            lines += [f"  {name:28} {1e3 * seconds:8.2f} ms" for name, seconds in parts.items()]
            lines.append(f"  {'the coordinator itself':28} {1e3 * own:8.2f} ms, {own / total:.1%}")
            limit = LIMITS_SECONDS.get(symbols)
            if (limit is not None and total > limit) or own / total > COORDINATOR_LIMIT_FRAC:
                missed += 1
                lines.append("  A LIMIT IS MISSED")
            sys.stdout.write("\n".join(lines) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
