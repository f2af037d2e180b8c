"""How fast is the backtest: one strategy against three peers, and five agents over growing universes.

    python benchmarks/bench_backtest.py [--part race|agents|memory]... [--rounds N] [--json]

Race: SMA 10/30 on one symbol, every engine in a process of its own, in turns (and in the opposite order
every second round), so that a busy machine slows all of them alike. A ratio is taken within a round;
the table has medians. Every engine's fills and final equity must be those of the plain loop.
Agents: all five with full records at 5, 50 and 500 symbols. Memory: the same panel, few steps and many.
Exit 1 when a limit is missed, an engine disagrees, or trading does not go on to the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import synthetic
from launch import LaunchError, run_ours, run_peer, run_reference
from peers.sma import write_bars

EQUITY_TOLERANCE_FRAC = 1e-6

FULL_RECORDS_TIMES = 3.0
"""Full records: at least so many times the bars a second of nautilus_trader and of backtrader."""

SWEEP_TIMES = 1.0
"""Sweep mode: more than so many times the bars a second of backtesting.py."""

UNIVERSES = (5, 50, 500)
SYMBOL_BARS_PER_SECOND = 300_000.0
"""At the largest universe, with full records."""

COST_GROWTH_SHARE = 0.1
"""The cost of a step may grow at most by this share of the universe's growth."""

FLAT_BYTES_A_STEP = 1_024.0
"""A step may leave behind the figures of the equity curve and its share of closed round trips. A record
kept in memory would be several times as large."""

MEMORY_SYMBOLS, MEMORY_DAYS = 5, 20_000
MEMORY_WARMUPS = (15_000, 252)
"""Few steps and many over one panel, so that prices and indicators take the same memory in both."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One engine in one setting. Athena's risk manager may change what is traded, so that arm need not
    agree with the plain loop."""

    name: str
    start: Callable[[str], Any]
    must_agree: bool = True


ARMS = (
    Arm("athena, full records", lambda bars: run_ours("sma", bars, "--record", "full")),
    Arm("nautilus_trader", lambda bars: run_peer("nautilus", "nautilus_sma.py", bars)),
    Arm("backtrader", lambda bars: run_peer("backtrader", "backtrader_sma.py", bars)),
    Arm("athena, sweep", lambda bars: run_ours("sma", bars, "--record", "summary")),
    Arm("backtesting", lambda bars: run_peer("backtesting", "backtesting_sma.py", bars)),
    Arm(
        "athena, sweep, naive",
        lambda bars: run_ours("sma", bars, "--record", "summary", "--naive"),
    ),
    Arm(
        "backtesting, naive",
        lambda bars: run_peer("backtesting", "backtesting_sma.py", bars, "--naive"),
    ),
    Arm(
        "athena, full, risk manager",
        lambda bars: run_ours("sma", bars, "--record", "full", "--risk"),
        must_agree=False,
    ),
)

RATIOS = (
    ("athena, full records", "nautilus_trader", FULL_RECORDS_TIMES),
    ("athena, full records", "backtrader", FULL_RECORDS_TIMES),
    ("athena, sweep", "backtesting", SWEEP_TIMES),
    ("athena, sweep, naive", "backtesting, naive", None),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One limit and whether it was kept; `limit` in words."""

    name: str
    value: float
    limit: str
    kept: bool


@dataclass(slots=True)
class Report:
    """All that was measured, ready for JSON and for the table."""

    machine: dict[str, object] = field(default_factory=dict)
    race: list[dict[str, object]] = field(default_factory=list)
    ratios: list[dict[str, object]] = field(default_factory=list)
    agents: list[dict[str, object]] = field(default_factory=list)
    memory: list[dict[str, object]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def race(report: Report, bars: int, rounds: int, arms: tuple[Arm, ...]) -> None:
    """Part (a): every arm in every round, medians, ratios within a round, and the agreement."""
    taken: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.npz"
        write_bars(path, *synthetic.long_series(bars))
        (expected,) = run_reference(str(path)).values()
        for number in range(rounds):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                progress(f"race {number + 1}/{rounds}: {arm.name}")
                taken[arm.name].append(arm.start(str(path)))

    for arm in arms:
        timings = taken[arm.name]
        equity = timings[0]["final_equity_usd"]
        gap = abs(equity / expected["final_equity_usd"] - 1.0)
        report.race.append(
            {
                "engine": arm.name,
                "version": timings[0]["version"],
                "bars_per_second": median(bars / each["seconds"] for each in timings),
                "seconds": median(each["seconds"] for each in timings),
                "cpu_seconds": median(each["cpu_seconds"] for each in timings),
                "fills": timings[0]["fills"],
                "final_equity_usd": equity,
                "difference_frac": gap,
                "parts_seconds": {
                    name: median(each["parts_seconds"][name] for each in timings)
                    for name in timings[0]["parts_seconds"]
                },
            }
        )
        if arm.must_agree:
            agrees = gap <= EQUITY_TOLERANCE_FRAC and timings[0]["fills"] == len(expected["fills"])
            limit = f"<= {EQUITY_TOLERANCE_FRAC:g}, {len(expected['fills'])} fills"
            report.checks.append(Check(f"equity: {arm.name}", gap, limit, agrees))

    for ours, theirs, limit_times in RATIOS:
        if ours not in taken or theirs not in taken:
            continue
        pairs = list(zip(taken[ours], taken[theirs], strict=True))
        wall = median(their["seconds"] / our["seconds"] for our, their in pairs)
        cpu = median(their["cpu_seconds"] / our["cpu_seconds"] for our, their in pairs)
        report.ratios.append({"ours": ours, "theirs": theirs, "times": wall, "cpu_times": cpu})
        if limit_times is not None:
            limit = f"> {limit_times:g}" if limit_times == SWEEP_TIMES else f">= {limit_times:g}"
            kept = wall > limit_times if limit_times == SWEEP_TIMES else wall >= limit_times
            report.checks.append(Check(f"times: {ours} / {theirs}", wall, limit, kept))


def agents(report: Report, days: int, rounds: int, universes: tuple[int, ...]) -> None:
    """Part (b): five agents, full records, growing universes."""
    taken: dict[int, list[dict[str, Any]]] = {symbols: [] for symbols in universes}
    for number in range(rounds):
        for symbols in universes if number % 2 == 0 else universes[::-1]:
            progress(f"agents {number + 1}/{rounds}: {symbols} symbols")
            taken[symbols].append(
                run_ours("agents", "--symbols", str(symbols), "--days", str(days))
            )

    for symbols, timings in taken.items():
        first = timings[0]
        steps = first["steps"]
        seconds = median(each["seconds"] for each in timings)
        row = {
            "symbols": symbols,
            "steps": steps,
            "seconds": seconds,
            "cpu_seconds": median(each["cpu_seconds"] for each in timings),
            "loop_cpu_seconds": median(each["loop_cpu_seconds"] for each in timings),
            "steps_per_second": steps / seconds,
            "symbol_bars_per_second": steps * symbols / seconds,
            "symbol_bars_per_cpu_second": steps
            * symbols
            / median(each["cpu_seconds"] for each in timings),
            "bytes_per_step": first["record_bytes"] / steps,
            "orders": first["orders"],
            "late_orders": first["late_orders"],
            "final_equity_usd": first["final_equity_usd"],
        }
        report.agents.append(row)
        report.checks.append(
            Check(
                f"orders in the last 5 % of steps, {symbols} symbols",
                first["late_orders"],
                "> 0",
                first["late_orders"] > 0,
            )
        )
        if symbols == max(UNIVERSES):
            # By CPU time: the machine is shared, and waiting for it is no work.
            rate = row["symbol_bars_per_cpu_second"]
            report.checks.append(
                Check(
                    f"symbol-bars a CPU second, {symbols} symbols",
                    rate,
                    f">= {SYMBOL_BARS_PER_SECOND:,.0f}",
                    rate >= SYMBOL_BARS_PER_SECOND,
                )
            )
    small, large = min(universes), max(universes)
    if small < large:
        # The loop alone: what a run costs once would flatter the growth of a step.
        growth = median(
            (big["loop_cpu_seconds"] / big["steps"])
            / (little["loop_cpu_seconds"] / little["steps"])
            for big, little in zip(taken[large], taken[small], strict=True)
        )
        limit = COST_GROWTH_SHARE * large / small
        report.checks.append(
            Check(
                f"cost of a step, {large} against {small} symbols",
                growth,
                f"< {limit:g}",
                growth < limit,
            )
        )


def memory(report: Report, rounds: int) -> None:
    """Peak memory of few and of many steps over one panel, and the difference per step."""
    growths = []
    for number in range(rounds):
        taken = []
        for warmup in MEMORY_WARMUPS:
            progress(f"memory {number + 1}/{rounds}: first decision at bar {warmup}")
            taken.append(
                run_ours(
                    "agents",
                    "--symbols",
                    str(MEMORY_SYMBOLS),
                    "--days",
                    str(MEMORY_DAYS),
                    "--warmup",
                    str(warmup),
                )
            )
        few, many = taken
        growths.append(
            (many["memory_bytes"] - few["memory_bytes"]) / (many["steps"] - few["steps"])
        )
        if number == 0:
            report.memory = [
                {"steps": each["steps"], "memory_bytes": each["memory_bytes"]} for each in taken
            ]
    growth = median(growths)
    report.checks.append(
        Check(
            "bytes of memory a step",
            growth,
            f"< {FLAT_BYTES_A_STEP:,.0f}",
            growth < FLAT_BYTES_A_STEP,
        )
    )


def render(report: Report) -> str:
    """The plain tables."""
    lines = []
    if report.race:
        lines.append(
            f"{'SMA 10/30, one symbol':<28}{'bars/s':>12}{'seconds':>9}{'CPU s':>8}{'fills':>7}"
            f"{'final equity':>16}{'difference':>12}"
        )
        for row in report.race:
            lines.append(
                f"{row['engine']:<28}{row['bars_per_second']:>12,.0f}{row['seconds']:>9.3f}"
                f"{row['cpu_seconds']:>8.3f}{row['fills']:>7}{row['final_equity_usd']:>16,.4f}"
                f"{row['difference_frac']:>12.1e}"
            )
            lines.extend(
                f"    {name}: {seconds:.3f} s" for name, seconds in row["parts_seconds"].items()
            )
        lines.append("")
        lines += [
            f"{ratio['ours']} / {ratio['theirs']}: {ratio['times']:.2f} times"
            f" ({ratio['cpu_times']:.2f} by CPU time)"
            for ratio in report.ratios
        ]
        lines.append("")
    if report.agents:
        lines.append(
            f"{'Five agents, symbols':<22}{'steps':>7}{'steps/s':>10}{'symbol-bars/s':>15}"
            f"{'by CPU':>10}{'seconds':>9}{'CPU s':>8}{'loop':>8}{'bytes/step':>12}{'orders':>9}{'late':>7}"
        )
        lines += [
            f"{row['symbols']:<22}{row['steps']:>7}{row['steps_per_second']:>10,.0f}"
            f"{row['symbol_bars_per_second']:>15,.0f}{row['symbol_bars_per_cpu_second']:>10,.0f}"
            f"{row['seconds']:>9.3f}"
            f"{row['cpu_seconds']:>8.3f}{row['loop_cpu_seconds']:>8.3f}"
            f"{row['bytes_per_step']:>12,.0f}{row['orders']:>9}{row['late_orders']:>7}"
            for row in report.agents
        ]
        lines.append("")
    if report.memory:
        lines += [
            f"{row['steps']:>7} steps: {row['memory_bytes'] / 2**20:,.1f} MiB at the peak"
            for row in report.memory
        ]
        lines.append("")
    for check in report.checks:
        word = "ok  " if check.kept else "MISS"
        value = f"{check.value:.2e}" if 0.0 < abs(check.value) < 1e-3 else f"{check.value:,.2f}"
        lines.append(f"{word}  {check.name}: {value} ({check.limit})")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=("race", "agents", "memory"))
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of the race (others: 3 at most)"
    )
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=2_500)
    parser.add_argument(
        "--peers-only", action="store_true", help="the race without Athena; checks agreement only"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    report = Report(
        machine={
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        }
    )
    arms = tuple(arm for arm in ARMS if not (given.peers_only and arm.name.startswith("athena")))
    parts = {
        "race": partial(race, report, given.bars, given.rounds, arms),
        "agents": partial(agents, report, given.days, min(given.rounds, 3), UNIVERSES),
        "memory": partial(memory, report, min(given.rounds, 3)),
    }
    chosen = given.part or (["race"] if given.peers_only else list(parts))
    try:
        for name in chosen:
            parts[name]()
    except LaunchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    text = json.dumps(asdict(report)) if given.json else render(report)
    sys.stdout.write(f"{text}\n")
    return 0 if all(check.kept for check in report.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
