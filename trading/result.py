"""A finished run: what it hands over, what its folder holds, and how to read that again.

Owns the summary (`summary.json`, the JSON of `athena backtest`) and the tables beside it. Refuses
to know how the run was made; `steps.jsonl` and `manifest.json` are written elsewhere while the run
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from trading.metrics import Metrics, compute_metrics, drawdowns, finite, iso, yearly_returns

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

Status = Literal["finished", "interrupted"]

CURVE_POINTS = 160
"""Points of the curve inside the summary: two for each column of an 80-column terminal."""


class RoundTripLike(Protocol):
    """A closed round trip: the fields of `trades.csv`. Times are ISO 8601 (UTC) or datetime64."""

    @property
    def symbol(self) -> str: ...
    @property
    def entry_time(self) -> object: ...
    @property
    def exit_time(self) -> object: ...
    @property
    def entry_price(self) -> float: ...
    @property
    def exit_price(self) -> float: ...
    @property
    def quantity(self) -> float: ...
    @property
    def pnl_usd(self) -> float: ...
    @property
    def costs_usd(self) -> float: ...
    @property
    def tag(self) -> str | None: ...


TRADE_COLUMNS = (
    "symbol",
    "entry_time",
    "exit_time",
    "entry_price",
    "exit_price",
    "quantity",
    "pnl_usd",
    "costs_usd",
    "tag",
)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Where a run's prices came from. `start` and `end` are the first and last record, ISO 8601
    (UTC); `steps` is the number of lines in `steps.jsonl`; `notes` are sentences for the user."""

    name: str
    mock: bool
    symbols: tuple[str, ...]
    start: str | None
    end: str | None
    steps: int
    currency: str = "USD"
    interval: str = "1d"
    has_volume: bool = True
    sha256: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CostColumns:
    """Costs paid in each record's fills, in dollars, [S] each."""

    commission_usd: FloatArray
    spread_usd: FloatArray
    impact_usd: FloatArray
    borrow_usd: FloatArray

    @property
    def total_usd(self) -> FloatArray:
        """[S]"""
        total: FloatArray = (
            self.commission_usd + self.spread_usd + self.impact_usd + self.borrow_usd
        )
        return total


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkOutcome:
    """The benchmark's curve at the same records, after the same costs.

    Shapes: all arrays [S]; `exposure_frac` is gross, `traded_usd` and `costs_usd` those of its
    fills.
    """

    name: str
    equity_usd: FloatArray
    exposure_frac: FloatArray
    traded_usd: FloatArray
    costs_usd: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RunOutcome:
    """All that a run knows at its end, finished or interrupted.

    Shapes: S records. `times` [S] datetime64[ns] UTC; `equity_usd`, `cash_usd`, gross
    `exposure_frac` and `traded_usd` (sum of |quantity x price| of the record's fills) [S].
    `round_trips` are the closed ones. `reason_counts` counts, for every reason code, the verdicts
    in which it stood. `command` reproduces the run.
    Units: `bars_per_year` is the explicit annualisation (252 for daily XNYS). `seconds` is wall
    time.
    """

    run_dir: str
    mode: str
    data: DataFacts
    seed: int
    config_hash: str
    bars_per_year: float
    initial_cash_usd: float
    times: TimeArray
    equity_usd: FloatArray
    cash_usd: FloatArray
    exposure_frac: FloatArray
    traded_usd: FloatArray
    costs: CostColumns
    benchmark: BenchmarkOutcome
    round_trips: Sequence[RoundTripLike]
    orders: int
    fills: int
    seconds: float
    decided_by: str = "agents"
    status: Status = "finished"
    reason_counts: Mapping[str, int] = field(default_factory=dict)
    command: str = ""
    training_cutoff: str | None = None
    bars_inside_cutoff: int | None = None

    def __post_init__(self) -> None:
        steps = len(self.times)
        columns = {
            "equity_usd": self.equity_usd,
            "cash_usd": self.cash_usd,
            "exposure_frac": self.exposure_frac,
            "traded_usd": self.traded_usd,
            "costs": self.costs.total_usd,
            "benchmark.equity_usd": self.benchmark.equity_usd,
            "benchmark.exposure_frac": self.benchmark.exposure_frac,
            "benchmark.traded_usd": self.benchmark.traded_usd,
            "benchmark.costs_usd": self.benchmark.costs_usd,
        }
        for name, values in columns.items():
            if values.shape != (steps,):
                raise ValueError(
                    f"{name} has shape {values.shape}, {steps} records need ({steps},)"
                )

    def metrics(self) -> Metrics:
        return compute_metrics(
            self.equity_usd,
            self.times,
            exposure_frac=self.exposure_frac,
            traded_usd=self.traded_usd,
            round_trip_pnl_usd=np.array([trip.pnl_usd for trip in self.round_trips], dtype=float),
            bars_per_year=self.bars_per_year,
        )

    def benchmark_metrics(self) -> Metrics:
        """As `metrics`; the benchmark holds to the end, so that it has no closed round trips."""
        return compute_metrics(
            self.benchmark.equity_usd,
            self.times,
            exposure_frac=self.benchmark.exposure_frac,
            traded_usd=self.benchmark.traded_usd,
            round_trip_pnl_usd=np.empty(0),
            bars_per_year=self.bars_per_year,
        )


def summarise(outcome: RunOutcome) -> dict[str, Any]:
    """The JSON of `athena backtest` and `summary.json`: the promised keys, then additions.

    Additions: `status initial_cash_usd bars_per_year decided_by command`, `costs.traded_usd`,
    `costs.*_bps` (of the value traded by the run), `benchmark.costs_usd`, `drawdowns[]`, `years[]`,
    `limits{reason: count}`, `notes[]` and `curve` (at most `CURVE_POINTS` points, for drawing
    only).
    """
    return {
        "run_dir": outcome.run_dir,
        "mode": outcome.mode,
        "status": outcome.status,
        "data": {
            "name": outcome.data.name,
            "mock": outcome.data.mock,
            "symbols": list(outcome.data.symbols),
            "start": outcome.data.start,
            "end": outcome.data.end,
            "steps": outcome.data.steps,
            "currency": outcome.data.currency,
            "interval": outcome.data.interval,
            "has_volume": outcome.data.has_volume,
            "sha256": outcome.data.sha256,
        },
        "seed": outcome.seed,
        "config_hash": outcome.config_hash,
        "decided_by": outcome.decided_by,
        "command": outcome.command,
        "bars_per_year": outcome.bars_per_year,
        "initial_cash_usd": outcome.initial_cash_usd,
        "final_equity_usd": _last(outcome.equity_usd),
        "metrics": outcome.metrics().to_dict(),
        "costs": _costs(outcome),
        "benchmark": {
            "name": outcome.benchmark.name,
            "final_equity_usd": _last(outcome.benchmark.equity_usd),
            "costs_usd": float(np.sum(outcome.benchmark.costs_usd)),
            "metrics": outcome.benchmark_metrics().to_dict(),
        },
        "orders": outcome.orders,
        "fills": outcome.fills,
        "trades": len(outcome.round_trips),
        "drawdowns": [each.to_dict() for each in drawdowns(outcome.equity_usd, outcome.times)],
        "years": _years(outcome),
        "limits": dict(sorted(outcome.reason_counts.items(), key=lambda item: (-item[1], item[0]))),
        "training_cutoff": outcome.training_cutoff,
        "bars_inside_cutoff": outcome.bars_inside_cutoff,
        "notes": notes(outcome),
        "curve": _curve(outcome),
        "evidence": None,
        "seconds": round(outcome.seconds, 3),
    }


def notes(outcome: RunOutcome) -> list[str]:
    """What a reader of the figures must know, one sentence each."""
    found = []
    if outcome.data.mock:
        found.append("The prices are mock data: seeded random walks, not a market.")
    if outcome.status == "interrupted":
        found.append(f"Interrupted: the figures cover the {len(outcome.times)} steps taken.")
    if not outcome.data.has_volume:
        found.append("The data have no volume: no participation cap and no market impact.")
    if outcome.bars_inside_cutoff:
        found.append(
            f"{outcome.bars_inside_cutoff} of {len(outcome.times)} bars lie inside the model's "
            f"training cut-off ({outcome.training_cutoff})."
        )
    if np.any(outcome.equity_usd <= 0.0):
        found.append("Bankrupt: equity fell to zero or below; returns end there.")
    return [*found, *(note for note in outcome.data.notes if note not in found)]


def _costs(outcome: RunOutcome) -> dict[str, float | None]:
    """Dollars by kind and the same in basis points of the value traded (None without a trade)."""
    traded = float(np.sum(outcome.traded_usd))
    dollars = {
        "commission": float(np.sum(outcome.costs.commission_usd)),
        "spread": float(np.sum(outcome.costs.spread_usd)),
        "impact": float(np.sum(outcome.costs.impact_usd)),
        "borrow": float(np.sum(outcome.costs.borrow_usd)),
    }
    dollars["total"] = sum(dollars.values())
    result: dict[str, float | None] = {f"{name}_usd": value for name, value in dollars.items()}
    result["traded_usd"] = traded
    for name, value in dollars.items():
        result[f"{name}_bps"] = finite(value / traded * 10_000.0) if traded > 0.0 else None
    return result


def _years(outcome: RunOutcome) -> list[dict[str, Any]]:
    ours = yearly_returns(outcome.equity_usd, outcome.times)
    theirs = yearly_returns(outcome.benchmark.equity_usd, outcome.times)
    return [
        {"year": year, "return_frac": value, "benchmark_frac": theirs[year]}
        for year, value in ours.items()
    ]


def _curve(outcome: RunOutcome) -> dict[str, list[Any]]:
    rows = sampled_rows(len(outcome.times), CURVE_POINTS)
    return {
        "times": [iso(moment) for moment in outcome.times[rows]],
        "equity_usd": [round(value, 2) for value in outcome.equity_usd[rows].tolist()],
        "benchmark_usd": [round(value, 2) for value in outcome.benchmark.equity_usd[rows].tolist()],
    }


def sampled_rows(rows: int, points: int) -> npt.NDArray[np.int64]:
    """At most `points` of `rows` row numbers, evenly spread, first and last included."""
    if rows <= points:
        return np.arange(rows)
    return np.linspace(0, rows - 1, points).round().astype(np.int64)


def _last(values: FloatArray) -> float | None:
    return float(values[-1]) if len(values) else None
