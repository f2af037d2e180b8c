"""A finished run: what it hands over, what its folder holds, and how to read that again.

Owns the summary (`summary.json`, the JSON of `athena backtest`) and the tables beside it. Refuses
to know how the run was made; `steps.jsonl` and `manifest.json` are written elsewhere while the run
goes on.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from core.errors import RunFolderError
from core.files import replacing, write_atomic
from core.jsontext import json_bytes
from core.printable import cell
from core.records import read_records
from core.runlog import (
    EQUITY_PARQUET,
    EQUITY_PICTURE,
    REPORT,
    SUMMARY,
    TRADES_CSV,
    TRADES_PARQUET,
    read_summary,
)
from core.seals import integrity, sentences
from trading.holdings import AccountEnd
from trading.metrics import (
    SHORTEST_YEAR_PART_DAYS,
    Metrics,
    compute_metrics,
    drawdowns,
    finite,
    iso,
    spans_annual_figures,
    yearly_returns,
)
from trading.panel import NO_VOLUME
from trading.portfolio import RoundTrip
from trading.report.curves import Curves
from trading.report.words import limits_sentence

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

Status = Literal["done", "interrupted"]

CURVE_POINTS = 160
"""Points of the curve inside the summary: two for each column of an 80-column terminal."""


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
    end: AccountEnd = field(default_factory=AccountEnd)


@dataclass(frozen=True, slots=True)
class LimitsSeen:
    """What the risk limits did to a run: in how many decisions something was cut, and the mean gross weight
    that was asked for, None where nobody counted."""

    in_force: bool = False
    cut: int = 0
    wanted_exposure_frac: float | None = None


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
    round_trips: Sequence[RoundTrip]
    orders: int
    fills: int
    seconds: float
    decided_by: str = "agents"
    status: Status = "done"
    reason_counts: Mapping[str, int] = field(default_factory=dict)
    limits: LimitsSeen = LimitsSeen()
    end: AccountEnd = field(default_factory=AccountEnd)
    command: str = ""
    training_cutoff: str | None = None
    bars_inside_cutoff: int | None = None
    news: Mapping[str, Any] | None = None

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
    `limits` (`_limits`), what `trading/holdings.py` tells, `notes[]` and `curve` (at most
    `CURVE_POINTS` points, for drawing only).
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
            "delistings": outcome.benchmark.end.to_dict()["delistings"],
        },
        "orders": outcome.orders,
        "fills": outcome.fills,
        "trades": len(outcome.round_trips),
        **outcome.end.to_dict(),
        "drawdowns": [each.to_dict() for each in drawdowns(outcome.equity_usd, outcome.times)],
        "years": _years(outcome),
        "limits": _limits(outcome),
        "training_cutoff": outcome.training_cutoff,
        "bars_inside_cutoff": outcome.bars_inside_cutoff,
        "news": outcome.news,
        "notes": notes(outcome),
        "curve": _curve(outcome),
        "evidence": None,
        "seconds": round(outcome.seconds, 3),
    }


def _limits(outcome: RunOutcome) -> dict[str, Any]:
    """What the limits did: `cut` of `decisions`, so that `exposure_frac` (mean gross exposure held) stands
    instead of `wanted_exposure_frac` (the mean gross weight asked for); `reasons` counts, for every code,
    the verdicts in which it stood, those of the account included; `sentence` says it, or is null."""
    seen = outcome.limits
    limits: dict[str, Any] = {
        "in_force": seen.in_force,
        "decisions": len(outcome.times),
        "cut": seen.cut,
        "exposure_frac": finite(float(np.mean(outcome.exposure_frac)))
        if len(outcome.times)
        else None,
        "wanted_exposure_frac": seen.wanted_exposure_frac,
        "reasons": dict(
            sorted(outcome.reason_counts.items(), key=lambda item: (-item[1], item[0]))
        ),
    }
    return {**limits, "sentence": limits_sentence(limits)}


def notes(outcome: RunOutcome) -> list[str]:
    """What a reader of the figures must know, one sentence each."""
    found = []
    if outcome.data.mock:
        found.append("The prices are mock data: seeded random walks, not a market.")
    if outcome.status == "interrupted":
        found.append(f"Interrupted: the figures cover the {len(outcome.times)} steps taken.")
    if not outcome.data.has_volume:
        found.append(NO_VOLUME)
    if outcome.bars_inside_cutoff:
        found.append(
            f"{outcome.bars_inside_cutoff} of {len(outcome.times)} bars lie inside the model's "
            f"training cut-off ({outcome.training_cutoff})."
        )
    if len(outcome.times) > 1 and not spans_annual_figures(outcome.times):
        found.append(
            f"The records span {(outcome.times[-1] - outcome.times[0]) / np.timedelta64(1, 'D'):.3g} days: "
            f"no annual figures from fewer than {SHORTEST_YEAR_PART_DAYS:g}."
        )
    if np.any(outcome.equity_usd <= 0.0):
        found.append("Bankrupt: equity fell to zero or below; returns end there.")
    if np.any(outcome.equity_usd < 0.0):
        found.append(
            f"Equity was negative at {np.count_nonzero(outcome.equity_usd < 0.0):,} closes, down to "
            f"{np.min(outcome.equity_usd):,.2f}: the account lost more than all its money."
        )
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


def curves_of(outcome: RunOutcome) -> Curves:
    """What the charts of a run draw."""
    return Curves(
        title=_title(outcome.run_dir, outcome.mode),
        times=outcome.times,
        equity_usd=outcome.equity_usd,
        benchmark_usd=outcome.benchmark.equity_usd,
        exposure_frac=outcome.exposure_frac,
        symbols=outcome.data.symbols,
        benchmark_name=outcome.benchmark.name,
        currency=outcome.data.currency,
        mock=outcome.data.mock,
    )


def _title(run_dir: str, mode: str) -> str:
    return f"Athena {mode}, {Path(run_dir).name}"


def write_outputs(folder: Path, outcome: RunOutcome) -> dict[str, Any]:
    """Write what a run leaves behind beside its records, and return the summary.

    `equity.parquet`, `trades.parquet`, `trades.csv`, `summary.json`, then `equity.png` and `report.html`:
    the tables first, so that a disk that fills up costs pictures before figures. Every file is whole
    or absent. Tables made from mock data have one more column, `mock`.
    Raises: StorageError.
    """
    from trading.report.html import report_html
    from trading.report.picture import equity_png

    summary = summarise(outcome)
    _write_parquet(folder / EQUITY_PARQUET, _equity_columns(outcome))
    _write_parquet(folder / TRADES_PARQUET, _trade_columns(outcome))
    write_atomic(folder / TRADES_CSV, _trades_csv(outcome))
    write_atomic(folder / SUMMARY, json_bytes(summary, pretty=True) + b"\n")
    curves = curves_of(outcome)
    write_atomic(folder / EQUITY_PICTURE, equity_png(curves))
    write_atomic(folder / REPORT, report_html(summary, curves, outcome.round_trips).encode("utf-8"))
    return summary


def _equity_columns(outcome: RunOutcome) -> dict[str, pa.Array]:
    import pyarrow as pa

    columns = {
        "time": pa.array(outcome.times.astype("datetime64[ns]"), pa.timestamp("ns", tz="UTC")),
        "equity_usd": pa.array(outcome.equity_usd),
        "cash_usd": pa.array(outcome.cash_usd),
        "benchmark_usd": pa.array(outcome.benchmark.equity_usd),
        "exposure_frac": pa.array(outcome.exposure_frac),
        "traded_usd": pa.array(outcome.traded_usd),
        "costs_usd": pa.array(outcome.costs.total_usd),
    }
    return columns | _mock_column(outcome, len(outcome.times))


def _trade_columns(outcome: RunOutcome) -> dict[str, pa.Array]:
    import pyarrow as pa

    text = {name: pa.string() for name in ("symbol", "entry_time", "exit_time", "tag")}
    columns = {}
    for name in TRADE_COLUMNS:
        values = [getattr(trip, name) for trip in outcome.round_trips]
        columns[name] = pa.array(values, text.get(name, pa.float64()))
    for name in ("entry_time", "exit_time"):
        moments = np.array(
            [time.removesuffix("Z") for time in columns[name].to_pylist()], dtype="datetime64[ns]"
        )
        columns[name] = pa.array(moments, pa.timestamp("ns", tz="UTC"))
    return columns | _mock_column(outcome, len(outcome.round_trips))


def _mock_column(outcome: RunOutcome, rows: int) -> dict[str, pa.Array]:
    import pyarrow as pa

    return {"mock": pa.array([True] * rows, pa.bool_())} if outcome.data.mock else {}


def _write_parquet(path: Path, columns: dict[str, pa.Array]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _trades_csv(outcome: RunOutcome) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    mock = outcome.data.mock
    writer.writerow((*TRADE_COLUMNS, "mock") if mock else TRADE_COLUMNS)
    for trip in outcome.round_trips:
        row = [getattr(trip, name) for name in TRADE_COLUMNS]
        cells = [cell(each) for each in row]
        writer.writerow([*cells, True] if mock else cells)
    return text.getvalue().encode("utf-8")


class Run:
    """A run read from its folder: tables as pandas, the charts, the summary. Nothing is cached on disk.

    Raises: RunFolderError when the run did not get as far as its summary.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.summary: dict[str, Any] = read_summary(self.path)

    def __repr__(self) -> str:
        mock = ", mock data" if self._data["mock"] else ""
        return f"Run({str(self.path)!r}, final_equity_usd={self.summary['final_equity_usd']}{mock})"

    def to_dict(self) -> dict[str, Any]:
        """The summary: the JSON of the command that made the run."""
        return self.summary

    def steps(self) -> Iterator[dict[str, Any]]:
        """The records, one at a time, as `docs/interface.md` describes them."""
        return read_records(self.path)

    @cached_property
    def curve(self) -> pd.DataFrame:
        """`equity.parquet`, indexed by time (UTC): equity, cash, benchmark, exposure, traded, costs."""
        return self._table(EQUITY_PARQUET).set_index("time")

    @property
    def equity(self) -> pd.Series[float]:
        """Equity at every record, in dollars."""
        return self.curve["equity_usd"]

    @property
    def benchmark(self) -> pd.Series[float]:
        """The benchmark's equity at the same records."""
        return self.curve["benchmark_usd"]

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The closed round trips, with the columns of `trades.csv`."""
        return self._table(TRADES_PARQUET)

    @cached_property
    def weights(self) -> pd.DataFrame:
        """The weights decided on at each record, [S, N]: time by symbol, fractions of equity.

        These are the accepted `targets`, what the book was steered to, not marked weights: records hold
        no prices. A symbol that is held without a target and without a market order is being held (a
        protective stop may be working), so that its last weight stands; one without a position, a target or
        an order is 0.
        """
        import pandas as pd

        columns = {symbol: column for column, symbol in enumerate(self._data["symbols"])}
        rows: list[dict[int, float]] = []
        times: list[str] = []
        for record in self.steps():
            times.append(record["as_of"])
            row: dict[int, float] = {}
            ordered = {order["symbol"] for order in record["orders"] if order["type"] == "market"}
            for symbol in record["positions"]:
                column = columns.setdefault(symbol, len(columns))
                if symbol not in ordered and rows:
                    row[column] = rows[-1].get(column, 0.0)
            for symbol, weight in record["targets"].items():
                row[columns.setdefault(symbol, len(columns))] = weight
            rows.append(row)
        weights = np.zeros((len(rows), len(columns)))
        for step, row in enumerate(rows):
            weights[step, list(row)] = list(row.values())
        index = pd.DatetimeIndex(pd.to_datetime(times, utc=True), name="time").as_unit("ns")
        return pd.DataFrame(weights, index=index, columns=list(columns))

    @property
    def metrics(self) -> pd.Series[float]:
        """The figures of the run; NaN (pandas' null) where one does not exist."""
        import pandas as pd

        return pd.Series(self.summary["metrics"], dtype=float, name=self.path.name)

    @cached_property
    def positions(self) -> pd.Series[float]:
        """Signed quantities held at the last record."""
        import pandas as pd

        last = deque(self.steps(), maxlen=1)
        return pd.Series(last[0]["positions"] if last else {}, dtype=float, name="quantity")

    def plot(self) -> Figure:
        """The equity-and-drawdown picture as a matplotlib Figure, without pyplot."""
        from trading.report.picture import equity_figure

        return equity_figure(self._curves())

    def _repr_html_(self) -> str:
        from trading.report.html import notebook_html

        return notebook_html(self.summary, self._curves(), self._warnings())

    def report_html(self) -> str:
        """The page of the run, made anew from its folder. It says above everything what of the folder is not
        as it was recorded (`core/seals.py`); when all is, it is `report.html` to the byte.

        Raises: RunFolderError for a table that is missing or damaged.
        """
        from trading.report.html import report_html

        return report_html(self.summary, self._curves(), self._round_trips(), self._warnings())

    def _warnings(self) -> list[str]:
        return sentences(integrity(self.path).to_dict())

    def _round_trips(self) -> list[RoundTrip]:
        trades = self.trades
        columns: dict[str, list[Any]] = {}
        for name in TRADE_COLUMNS:
            if name in ("entry_time", "exit_time"):
                moments = trades[name].to_numpy(dtype="datetime64[ns]")
                columns[name] = [iso(moment) for moment in moments]
            else:
                columns[name] = trades[name].tolist()
        columns["tag"] = [tag if isinstance(tag, str) else None for tag in columns["tag"]]
        return [
            RoundTrip(*row) for row in zip(*(columns[n] for n in RoundTrip.__slots__), strict=True)
        ]

    def _curves(self) -> Curves:
        curve = self.curve
        return Curves(
            title=_title(str(self.path), self.summary["mode"]),
            times=curve.index.to_numpy(dtype="datetime64[ns]"),
            equity_usd=curve["equity_usd"].to_numpy(dtype=float),
            benchmark_usd=curve["benchmark_usd"].to_numpy(dtype=float),
            exposure_frac=curve["exposure_frac"].to_numpy(dtype=float),
            symbols=tuple(self._data["symbols"]),
            benchmark_name=self.summary["benchmark"]["name"],
            currency=self._data["currency"],
            mock=self._data["mock"],
        )

    @property
    def _data(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.summary["data"]
        return facts

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa

        path = self._file(name)
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunFolderError(
                f"{path} cannot be read: {error}.",
                "`athena runs verify` says what of the folder is not as it was recorded.",
            ) from error

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise RunFolderError(
                f"there is no {name} in {self.path}.", "The run folder is damaged: run it again."
            )
        return path
