"""Athena's side of the comparison, as a script that answers like the peers' do.

    python ours.py oracle SAMPLE.csv
    python ours.py sma BARS.npz [--record full|summary] [--risk] [--naive]
    python ours.py agents --symbols N --days T [--warmup W]

`oracle` runs a whole backtest from the file to the run folder; it prints symbol -> {final_equity_usd, fills}.
The others time the engine in a process of its own and print one line of JSON. Included in their `seconds`:
opening the account, the agents' indicators, every step, the records written to a file, and the metrics.
Excluded, as with the peers: imports and building the panel; also the benchmark account and the report,
which the peers do not have.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
import synthetic
from peers.sma import Bars, Timing, Traded, answer, read_bars, read_sample, report, sma_long
from strategies import PrecomputedSmaCross, SmaCross

from agents.assemble import RunOptions, backtest, build_deciders
from core.config import AthenaConfig, TradingConfig
from core.version import VERSION
from trading.engine import Account
from trading.metrics import compute_metrics
from trading.panel import Panel, build_panel
from trading.run import (
    booked_column,
    curve_times,
    equity_column,
    exposure_column,
    find_span,
    open_account,
    replay,
)

COSTS = {
    "commission_bps": 10.0,
    "half_spread_bps": 0.0,
    "impact_coefficient": 0.0,
    "participation_frac": None,
}
"""0.1 % commission and nothing else."""

LATE_FRAC = 0.05
"""The share of steps at the end in which there must still be orders."""

BARS_PER_YEAR = 252.0


def comparison_config() -> AthenaConfig:
    """The shipped settings with the costs of the comparison."""
    return AthenaConfig(trading=TradingConfig(**COSTS))


@dataclass(frozen=True, slots=True)
class EngineRun:
    """One timed run of the engine. `loop_cpu_seconds` is the steps alone."""

    account: Account
    seconds: float
    cpu_seconds: float
    loop_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class AgentsTiming:
    """One timed run of all five agents.

    `memory_bytes` is the peak of resident memory during the call less what was resident before it.
    `late_orders` are those of the last 5 % of steps.
    """

    symbols: int
    steps: int
    seconds: float
    cpu_seconds: float
    loop_cpu_seconds: float
    record_bytes: int
    memory_bytes: int
    orders: int
    late_orders: int
    final_equity_usd: float


def panel_of(bars: list[Bars], interval: str) -> Panel:
    """A panel of unadjusted bars. Prices are rounded as the readers of files round them."""
    lines = {}
    for each in bars:
        times = np.array([t.removesuffix("Z") for t in each.times], dtype="datetime64[ns]")
        values = np.stack([each.open, each.high, each.low, each.close, each.volume])
        lines[each.symbol] = (times, np.concatenate([values, values]))
    return build_panel(lines, name="synthetic", interval=interval, calendar="24/7")


def run_engine(
    panel: Panel, config: AthenaConfig, options: RunOptions, records: Path | None
) -> EngineRun:
    """Make the agents, open an account, run it over the panel and compute the metrics.

    `records` None is sweep mode.
    """
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    stream = records.open("wb", buffering=1 << 20) if records is not None else None
    try:
        write = None if stream is None else lambda line: stream.write(line + b"\n")
        deciders = build_deciders(config, options, panel)
        account = open_account(panel, deciders.agents, config.trading, write)
        loop = time.process_time()
        asyncio.run(replay(account, find_span(panel, deciders.warmup)))
        loop_cpu_seconds = time.process_time() - loop
    finally:
        if stream is not None:
            stream.close()
    curve = account.curve
    compute_metrics(
        equity_column(curve),
        curve_times(panel, curve),
        exposure_frac=exposure_column(curve),
        traded_usd=booked_column(curve, "traded_usd"),
        round_trip_pnl_usd=np.array(
            [trip.pnl_usd for trip in account.portfolio.trips], dtype=float
        ),
        bars_per_year=BARS_PER_YEAR,
    )
    return EngineRun(
        account, time.perf_counter() - wall, time.process_time() - cpu, loop_cpu_seconds
    )


def run_sma(
    bars: Bars, record: str = "full", risk: bool = False, naive: bool = False
) -> tuple[float, float, int, float]:
    """(seconds, CPU seconds, fills, final equity in dollars) of SMA 10/30 on one symbol.

    The signal is precomputed outside of the timing, as for the peers, or with `naive` two means a bar.
    """
    panel = panel_of([bars], interval="1m")
    strategy = SmaCross() if naive else PrecomputedSmaCross(bars.symbol, sma_long(bars.close))
    with tempfile.TemporaryDirectory() as folder:
        run = run_engine(
            panel,
            comparison_config(),
            RunOptions(strategy=strategy, no_risk=not risk),
            Path(folder) / "steps.jsonl" if record == "full" else None,
        )
    account = run.account
    return run.seconds, run.cpu_seconds, account.broker.fills, account.curve.equity_usd[-1]


def run_agents(symbols: int, days: int, warmup_bars: int) -> AgentsTiming:
    """All five agents over a synthetic universe, with full records and the shipped costs."""
    names, times, prices = synthetic.universe(symbols, days)
    stamps = np.datetime_as_string(times).tolist()
    panel = panel_of(
        [Bars(name, stamps, *rows) for name, rows in zip(names, prices, strict=True)], "1d"
    )
    del prices
    config = AthenaConfig(trading=TradingConfig(warmup_bars=warmup_bars))
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "steps.jsonl"
        before = forget_peak()
        run = run_engine(panel, config, RunOptions(), records)
        memory_bytes = resident_bytes("VmHWM") - before
        with records.open("rb") as lines:
            orders = [len(orjson.loads(line)["orders"]) for line in lines]
        record_bytes = records.stat().st_size
    late = max(1, int(len(orders) * LATE_FRAC))
    return AgentsTiming(
        symbols=symbols,
        steps=len(orders),
        seconds=run.seconds,
        cpu_seconds=run.cpu_seconds,
        loop_cpu_seconds=run.loop_cpu_seconds,
        record_bytes=record_bytes,
        memory_bytes=memory_bytes,
        orders=sum(orders),
        late_orders=sum(orders[-late:]),
        final_equity_usd=run.account.curve.equity_usd[-1],
    )


def forget_peak() -> int:
    """Let the kernel count the peak of memory anew; returns what is resident now, in bytes.

    Linux only. Where the kernel refuses, the peak is that of the whole process: an upper bound.
    """
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        sys.stderr.write("The peak of memory could not be reset: it includes building the panel.\n")
    return resident_bytes("VmRSS")


def resident_bytes(line: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak) of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{line}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def oracle(sample: Path) -> dict[str, Traded]:
    """The strategy on each symbol alone, read back from the records."""
    traded = {}
    with tempfile.TemporaryDirectory() as runs_dir:
        for bars in read_sample(sample):
            options = RunOptions(
                data=sample,
                symbols=(bars.symbol,),
                strategy=SmaCross(),
                no_risk=True,
                runs_dir=Path(runs_dir),
            )
            folder = Path(backtest(comparison_config(), options).path)
            fills, equity_usd = [], float("nan")
            for line in (folder / "steps.jsonl").read_bytes().splitlines():
                record = orjson.loads(line)
                equity_usd = record["equity_usd"]
                fills += [
                    {
                        "time": record["as_of"][:10],
                        "quantity": fill["quantity"],
                        "price": fill["price"],
                    }
                    for fill in record["fills"]
                ]
            traded[bars.symbol] = Traded(equity_usd, fills)
    return traded


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("oracle")
    command.add_argument("sample", type=Path)
    command = commands.add_parser("sma")
    command.add_argument("bars", type=Path)
    command.add_argument("--record", choices=("full", "summary"), default="full")
    command.add_argument("--risk", action="store_true")
    command.add_argument("--naive", action="store_true")
    command = commands.add_parser("agents")
    command.add_argument("--symbols", type=int, required=True)
    command.add_argument("--days", type=int, required=True)
    command.add_argument("--warmup", type=int, default=TradingConfig().warmup_bars)
    given = parser.parse_args()

    if given.command == "oracle":
        answer(oracle(given.sample))
    elif given.command == "sma":
        bars = read_bars(given.bars)
        run_sma(bars.head(500), given.record, given.risk, given.naive)
        seconds, cpu_seconds, fills, equity_usd = run_sma(
            bars, given.record, given.risk, given.naive
        )
        report(Timing("athena", VERSION, len(bars), seconds, cpu_seconds, fills, equity_usd))
    else:
        run_agents(2, given.warmup + 20, given.warmup)
        timing = run_agents(given.symbols, given.days, given.warmup)
        sys.stdout.write(json.dumps(asdict(timing)) + "\n")


if __name__ == "__main__":
    main()
