"""How many store operations a second the rollouts of a policy get from a memory on SqliteStore(":memory:").

    python benchmarks/bench_rollout_memory.py [--groups 60] [--report 20] [--cap N] [--profile]

One store for the whole run, so its log grows from group to group. A group: eight notes arrive in a
namespace of their own (six stay live), then eight forks of that state, each with twenty writes (add,
update, delete and now and then a batch of two, by `apply`) and a retrieve before each of them and three
after. Rates are by process CPU time, on one thread, embedder included (hashed n-grams over texts that come
back, as they do in rollouts).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import random
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from memory.agemem import AgeMem

FORKS, WRITES, LAST_RETRIEVES, LIVE = 8, 20, 3, 6
NAMES = ["AAPL", "MSFT", "IBM", "GE", "KO", "BRK.B", "XOM", "JPM"]
FACTS = ["revenue", "guidance", "dividend", "margin", "buyback", "rating", "target", "debt"]


def note(draw: random.Random) -> str:
    return (
        f"{draw.choice(NAMES)} {draw.choice(FACTS)} for quarter {draw.randint(1, 4)} of "
        f"20{draw.randint(10, 16)} is {draw.randint(1, 400) / 4} as the {draw.choice(FACTS)} note says"
    )


class Clock:
    """A second a call: the run's clock, not the machine's."""

    def __init__(self) -> None:
        self.calls = 0

    def now(self):  # type: ignore[no-untyped-def]
        from core.memories import from_micros

        self.calls += 1
        return from_micros(1_400_000_000_000_000 + self.calls * 1_000_000)


async def group(memory: AgeMem, number: int, draw: random.Random, counts: Counter[str]) -> None:
    from memory.operations import Add, Delete, Update

    start = memory.in_namespace(f"episode-{number}")
    results = await start.apply([Add(note(draw), {"kind": "fact"}) for _ in range(LIVE + 2)])
    live = [result.id for result in results]
    await start.apply([Update(live[0], note(draw)), Delete(live[1]), Delete(live[2])])
    counts["write"] += LIVE + 2 + 3
    live = [live[0], *live[3:]]
    snapshot = await start.snapshot()
    forks = [(await start.fork(snapshot), list(live)) for _ in range(FORKS)]
    counts["fork"] += FORKS
    arriving = [note(draw) for _ in range(WRITES)]
    for text in arriving:
        for fork, mine in forks:
            found = await fork.retrieve(text, 3)
            counts["retrieve"] += 1
            chance = draw.random()
            if chance < 0.4 and len(mine) > 1:
                near = found.ids[0] if found.ids else mine[0]
                (done,) = await fork.apply([Update(near, text, {"kind": "fact"})])
                counts["write"] += 1
            elif chance < 0.5 and len(mine) >= LIVE:
                done, added = await fork.apply([Delete(mine.pop(0)), Add(text, {"kind": "fact"})])
                mine.append(added.id)
                counts["write"] += 2
            elif (chance < 0.7 and len(mine) > 1) or len(mine) > LIVE:
                (done,) = await fork.apply([Delete(mine.pop(0))])
                counts["write"] += 1
            else:
                (done,) = await fork.apply([Add(text, {"kind": "fact"})])
                mine.append(done.id)
                counts["write"] += 1
            assert done.success, done.error
    for fork, _ in forks:
        for text in arriving[:LAST_RETRIEVES]:
            assert (await fork.retrieve(text, 3)).success
            counts["retrieve"] += 1


def bare_inserts(count: int = 2_000) -> float:
    """Bare one-row transactions on a database in memory, a second of CPU: the yardstick for this machine."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")
    blob = bytes(1_536)
    started = time.process_time()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes(text, vector) VALUES (?, ?)", ("a short note", blob))
        connection.execute("COMMIT")
    spent = time.process_time() - started
    connection.close()
    return count / spent


async def run(groups: int, report: int, cap: int | None = None) -> None:
    from memory.agemem import AgeMem

    draw = random.Random(0)
    async with AgeMem(store=":memory:", clock=Clock(), entry_cap=cap) as memory:
        counts: Counter[str] = Counter()
        cpu, wall = time.process_time(), time.perf_counter()
        for number in range(1, groups + 1):
            await group(memory, number, draw, counts)
            if number % report == 0:
                spent = time.process_time() - cpu
                total = sum(counts.values())
                by_kind = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
                _, last = await (await memory.store()).state()
                sys.stdout.write(
                    f"groups to {number:5}  log {last:7,}  {total / spent:7,.0f} operations/s of CPU "
                    f"({total / (time.perf_counter() - wall):,.0f} of wall)  {by_kind}; "
                    f"bare inserts {bare_inserts():,.0f}/s\n"
                )
                sys.stdout.flush()
                counts.clear()
                cpu, wall = time.process_time(), time.perf_counter()
        problems = await memory.check()
        assert not problems, problems[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--report", type=int, default=20, help="groups in one line")
    parser.add_argument("--cap", type=int, help="memory.entry_cap, held by the memory itself")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    if not options.profile:
        asyncio.run(run(options.groups, options.report, options.cap))
        return
    with cProfile.Profile() as profile:
        asyncio.run(run(options.groups, options.report, options.cap))
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
