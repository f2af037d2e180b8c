"""Runs over a panel: where they begin, the loop, the benchmark beside them, and what they hand over.

Owns the span of a run and its benchmark. Refuses to know who decides (`core.protocols.Agents`) and what
is drawn from the outcome (`trading.result`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.config import TradingConfig
from core.errors import DataError
from core.protocols import Agents, History, Remembering, State
from core.types import Decision, OrderIntent
from trading.broker import SimulatedBroker
from trading.calendar import bars_per_year
from trading.costs import CostModel
from trading.delisting import delisting_bars
from trading.engine import NO_DECISION, Account, Curve, run_step, skip_row
from trading.history import Tape
from trading.holdings import end_of
from trading.intervals import parse_interval
from trading.margin import MarginRule
from trading.panel import Panel
from trading.portfolio import Portfolio
from trading.result import BenchmarkOutcome, CostColumns

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int, int | None, str], None]
Write = Callable[[bytes], object]

MOST_STEPS_BETWEEN_BREATHS = 256
SECONDS_BETWEEN_BREATHS = 0.1
"""How often a replay lets Ctrl-C in and shows progress: so many steps at most, fewer where steps are slow
(a user's strategy may think for seconds)."""

ALWAYS_OPEN = "24/7"
BENCHMARK_NAME = "buy and hold, equal weight"


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of a run: records are written for `first` to `last`, rows before are history."""

    first: int
    last: int

    @property
    def steps(self) -> int:
        return self.last - self.first + 1


def session_days(panel: Panel) -> npt.NDArray[np.datetime64]:
    """The day that each row belongs to, [T]: a bar known at midnight belongs to the day before."""
    return (panel.times - np.timedelta64(1, "ns")).astype("datetime64[D]")


def find_span(panel: Panel, warmup: int, start: str | None = None) -> Span:
    """Where a run begins: when max(warm-up, 1) rows are visible, and not before `start` (inclusive).

    Raises: DataError when that leaves no row.
    """
    first = max(warmup, 1) - 1
    if start is not None:
        moment, is_date = moment_of(start, "--start")
        after = (session_days(panel) if is_date else panel.times) >= moment
        if not after.any():
            raise DataError(
                f"--start {start} lies after the last bar ({panel.as_of[-1]}).",
                f"The data run from {panel.as_of[0]} to {panel.as_of[-1]}.",
            )
        first = max(first, int(np.argmax(after)))
    if first >= panel.rows:
        raise DataError(
            f"The first decision needs {max(warmup, 1)} bars and the data have {panel.rows}.",
            "Give more data, or lower the warm-up (trading.warmup_bars, or the strategy's `warmup`).",
        )
    return Span(first, panel.rows - 1)


def moment_of(text: str, option: str) -> tuple[np.datetime64, bool]:
    """(the moment in UTC, whether it is a date alone). Raises: DataError that names the option."""
    from trading.sources.load import parse_moment

    try:
        return parse_moment(text)
    except DataError:
        raise DataError(
            f"{option} {text} is no date.", "Write it as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ."
        ) from None


def annual_bars(panel: Panel, span: Span) -> tuple[float, str | None]:
    """Bars a year for annualising the figures of a span, and a note where the calendar does not fit.

    The figures follow the data: with bars on Saturdays and Sundays a year has 365 days, whatever
    `data.calendar` says; bars longer than a day count weeks and months, of which every year has as many. No
    decision reads this.
    """
    expected = bars_per_year(panel.calendar, panel.interval)
    if parse_interval(panel.interval).is_long:
        return expected, None
    days = np.unique(session_days(panel)[span.first : span.last + 1])
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    if len(days) < 20:
        return expected, None
    saturdays, sundays = float(np.mean(weekday == 5)), float(np.mean(weekday == 6))
    if panel.calendar != ALWAYS_OPEN and min(saturdays, sundays) > 0.08:
        return bars_per_year(ALWAYS_OPEN, panel.interval), (
            f"The data have bars on weekends, which {panel.calendar} has not: annual figures count 365 days. "
            "For times and decisions too, set data.calendar=24/7."
        )
    if panel.calendar == ALWAYS_OPEN and saturdays == sundays == 0.0:
        return expected, (
            "The data have no bars on weekends, and data.calendar=24/7 counts 365 days a year: annual "
            "figures are too high."
        )
    return expected, None


def cost_model(trading: TradingConfig) -> CostModel:
    """The cost rates of the settings."""
    return CostModel(
        commission_bps=trading.commission_bps,
        commission_per_share_usd=trading.commission_per_share_usd,
        commission_min_usd=trading.commission_min_usd,
        half_spread_bps=trading.half_spread_bps,
        impact_coefficient=trading.impact_coefficient,
        borrow_bps_per_year=trading.borrow_bps_per_year if trading.allow_short else 0.0,
    )


def open_account(
    panel: Panel,
    agents: Agents,
    trading: TradingConfig,
    write: Write | None,
    remembering: Remembering[Any] | None = None,
) -> Account:
    """A fresh account over a panel, before its first row. `write` is None in sweep mode."""
    missed = delisting_bars(trading.delisting_sessions, panel.calendar, panel.interval)
    tape = Tape(panel, missed)
    portfolio = Portfolio(trading.initial_cash_usd, len(panel.symbols))
    broker = SimulatedBroker(
        tape,
        portfolio,
        cost_model(trading),
        participation_frac=trading.participation_frac,
        min_order_usd=trading.min_order_usd,
        allow_fractional=trading.allow_fractional,
        allow_short=trading.allow_short,
        impact_volatility_bars=trading.impact_volatility_bars,
        delisting_bars=missed,
        delisting_return_frac=trading.delisting_return_frac,
        intraday=panel.intraday,
    )
    return Account(
        tape,
        portfolio,
        broker,
        agents,
        write,
        charges_borrow=trading.allow_short,
        margin=MarginRule(trading.maintenance_long_frac, trading.maintenance_short_frac),
        remembering=remembering,
    )


async def replay(
    account: Account,
    span: Span,
    progress: Progress | None = None,
    flush: Callable[[], object] | None = None,
) -> None:
    """Run every row of a span. Cancelling it stops between two steps; what was done stays.

    `flush` is called at every breath, so that a killed process leaves the records up to its last one.
    """
    for row in range(account.tape.row + 1, span.first):
        skip_row(account, row)
    done, pace, breath, told = 0, 1, 1, 0
    began = time.monotonic()
    for row in range(span.first, span.last + 1):
        await run_step(account, row)
        done += 1
        if done == breath:
            if flush is not None:
                flush()
                told = log_delisted(account, told)
            await asyncio.sleep(0)
            if progress is not None:
                progress(done, span.steps, "trading")
            now = time.monotonic()
            slow = now - began > SECONDS_BETWEEN_BREATHS
            pace = 1 if slow else min(pace * 2, MOST_STEPS_BETWEEN_BREATHS)
            began, breath = now, done + pace
    if flush is not None:
        log_delisted(account, told)
    if progress is not None:
        progress(done, span.steps, "trading")


def log_delisted(account: Account, told: int) -> int:
    """Log the delistings from number `told` on; returns how many there are."""
    delisted = account.broker.delisted
    for each in delisted[told:]:
        log.info("%s: %s closed as delisted", account.tape.panel.as_of[each.row], each.symbol)
    return len(delisted)


class EqualWeightHold:
    """The benchmark: equal weights of the symbols listed at the first close, bought once, then held.

    The orders work until they are filled (the participation cap spreads large ones over bars).
    """

    def __init__(self) -> None:
        self._bought = False

    async def decide(self, history: History, state: State) -> Decision:
        if self._bought:
            return NO_DECISION
        self._bought = True
        barred = history.barred
        columns = [
            column
            for column in range(len(history.symbols))
            if barred is None or not bool(barred[column])
        ]
        value = round(state.equity_usd / max(len(columns), 1), 6)
        return Decision(
            intents=tuple(
                OrderIntent(
                    column=column,
                    symbol=history.symbols[column],
                    side="buy",
                    value_usd=value,
                    tif="gtc",
                    tag="benchmark",
                )
                for column in columns
            )
        )


async def run_benchmark(panel: Panel, trading: TradingConfig, span: Span) -> Account:
    """The benchmark's account over the same rows, with the same costs, caps and fills."""
    account = open_account(panel, EqualWeightHold(), trading, None)
    await replay(account, span)
    return account


def curve_times(panel: Panel, curve: Curve) -> npt.NDArray[np.datetime64]:
    """The moments of a curve's records, [S]."""
    return panel.times[curve.first_row : curve.first_row + len(curve.equity_usd)]


def equity_column(curve: Curve) -> FloatArray:
    """[S]"""
    return np.array(curve.equity_usd, dtype=np.float64)


def exposure_column(curve: Curve) -> FloatArray:
    """Gross value over equity, [S]; 0 for a book without equity."""
    equity, gross = equity_column(curve), np.array(curve.gross_usd, dtype=np.float64)
    solvent = equity > 0.0
    return np.where(solvent, gross / np.where(solvent, equity, 1.0), 0.0)


def booked_column(curve: Curve, name: str) -> FloatArray:
    """One field of `Booked` over all steps, [S]; 0 where nothing was booked."""
    values = np.zeros(len(curve.equity_usd))
    for booked in curve.booked:
        values[booked.step] = getattr(booked, name)
    return values


def cash_column(curve: Curve) -> FloatArray:
    """[S]; cash moves only where something was booked."""
    steps = [0, *(booked.step for booked in curve.booked), len(curve.equity_usd)]
    cash = [curve.initial_cash_usd, *(booked.cash_usd for booked in curve.booked)]
    return np.repeat(np.array(cash), np.diff(steps))


def cost_columns(curve: Curve) -> CostColumns:
    return CostColumns(
        commission_usd=booked_column(curve, "commission_usd"),
        spread_usd=booked_column(curve, "spread_usd"),
        impact_usd=booked_column(curve, "impact_usd"),
        borrow_usd=booked_column(curve, "borrow_usd"),
    )


def benchmark_outcome(account: Account) -> BenchmarkOutcome:
    curve = account.curve
    return BenchmarkOutcome(
        name=BENCHMARK_NAME,
        equity_usd=equity_column(curve),
        exposure_frac=exposure_column(curve),
        traded_usd=booked_column(curve, "traded_usd"),
        costs_usd=cost_columns(curve).total_usd,
        end=end_of(account),
    )
