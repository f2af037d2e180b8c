"""A small run's outcome for the tests of results and reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trading.metrics import iso
from trading.portfolio import RoundTrip
from trading.result import BenchmarkOutcome, CostColumns, DataFacts, RunOutcome


def small_outcome(steps: int = 4, mock: bool = False, **changes: Any) -> RunOutcome:
    """Equity 100,000 -> 110,000 -> 99,000 -> 108,900, then unchanged; one purchase in record 1.

    The purchase of $50,000 cost $5 commission, $10 spread and $2.50 impact; the benchmark gained 1 %
    a step and paid $20.
    """
    times = np.datetime64("2020-12-30T21:00:00", "ns") + np.arange(steps) * np.timedelta64(1, "D")
    known = np.array([100_000.0, 110_000.0, 99_000.0, 108_900.0])
    equity = known[np.minimum(np.arange(steps), 3)]
    once = np.where(np.arange(steps) == 1, 1.0, 0.0)
    bought = 1.0 - np.where(np.arange(steps) == 0, 1.0, 0.0)
    days = [iso(moment) for moment in times]
    trips = (
        [
            RoundTrip("AAPL", *days[1:3], 100.0, 90.0, 10.0, -103.0, 3.0, "momentum"),
            RoundTrip("MSFT", *days[1:4:2], 50.0, 60.0, 20.5, 204.0, 1.0, None),
        ]
        if steps >= 4
        else []
    )
    outcome = RunOutcome(
        run_dir="runs/20260101T000000Z-backtest-0123abcd",
        mode="backtest",
        data=DataFacts(
            name="mock" if mock else "sample",
            mock=mock,
            symbols=("AAPL", "MSFT"),
            start=days[0] if steps else None,
            end=days[-1] if steps else None,
            steps=steps,
            sha256="ab12",
        ),
        seed=7,
        config_hash="0123abcd",
        bars_per_year=252.0,
        initial_cash_usd=100_000.0,
        times=times,
        equity_usd=equity,
        cash_usd=equity - 50_000.0 * bought,
        exposure_frac=0.5 * bought,
        traded_usd=50_000.0 * once,
        costs=CostColumns(5.0 * once, 10.0 * once, 2.5 * once, 0.0 * once),
        benchmark=BenchmarkOutcome(
            "equal weight, held",
            100_000.0 * 1.01 ** np.arange(steps),
            bought,
            1e5 * once,
            20.0 * once,
        ),
        round_trips=trips,
        orders=3,
        fills=2,
        seconds=1.23456,
        reason_counts={"gross": 2, "position": 5},
        command="athena backtest --seed 7",
    )
    return replace(outcome, **changes)


RECORDS = (
    b'{"step":0,"as_of":"2020-12-30T21:00:00Z","targets":{"AAPL":0.5},"orders":[{"symbol":"AAPL","type":"market"}],'
    b'"fills":[],"positions":{}}\n'
    b'{"step":1,"as_of":"2020-12-31T21:00:00Z","targets":{},"orders":[],"fills":[],'
    b'"positions":{"AAPL":10.0}}\n'
    b'{"step":2,"as_of":"2021-01-01T21:00:00Z","targets":{"MSFT":0.25},'
    b'"orders":[{"symbol":"AAPL","type":"market"},{"symbol":"MSFT","type":"market"}],"fills":[],"positions":{"AAPL":10.0}}\n'
    b'{"step":3,"as_of":"2021-01-02T21:00:00Z","targets":{"MSFT":0.25},"orders":[],"fills":[],'
    b'"positions":{"MSFT":20.5}}\n'
)
"""Four records: buy AAPL; hold; sell it for MSFT; keep that."""
