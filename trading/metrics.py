"""Figures of an equity curve: pure functions of arrays.

Owns the definitions; where `empyrical-reloaded` defines the same figure the two agree, and
`tests/trading/test_metrics.py` proves it. Refuses to know runs, files and currencies.

Shapes: S records; the first value of a curve is the equity at the first record, so that S records
make S - 1 simple returns `equity[t] / equity[t-1] - 1`. A figure that does not exist is None, never
NaN.
Bankruptcy: returns end with the first record whose equity is not positive (the return into it
counts); money figures (`total_return_frac`, drawdowns) still use the whole curve and may exceed a
loss of 1.

Known weaknesses: no risk-free rate is subtracted anywhere; scaling by the square root of time
assumes returns without autocorrelation; the tail figures are historical, so they know nothing worse
than the past.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

NO_VOLATILITY = 1e-12
"""Standard deviations per bar up to this are rounding noise of constant returns, hence zero."""

SHORTEST_YEAR_PART_DAYS = 30.0
"""Calendar days that a curve must span for annual figures: scaled up from less they are noise (a gain of
5 % in a week is 1,100 % a year)."""

TAIL_FRAC = 0.05
"""The share of worst returns behind the 95 % value at risk and expected shortfall."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one run under the names of `docs/interface.md`; None where none exists."""

    total_return_frac: float | None
    annual_return_frac: float | None
    volatility_frac: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown_frac: float | None
    max_drawdown_days: float | None
    turnover_frac_per_year: float | None
    exposure_frac: float | None
    hit_rate_frac: float | None
    profit_factor: float | None
    var_95_frac: float | None
    expected_shortfall_95_frac: float | None

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A fall from a peak, until equity stands at the peak again.

    `peak` is the last record at the high, `recovery` the first record back at it (None: not yet).
    Units: `depth_frac` is the loss from peak to trough, positive; `days` are calendar days from the
    peak to the recovery, or to the last record.
    """

    peak: np.datetime64
    trough: np.datetime64
    recovery: np.datetime64 | None
    depth_frac: float
    days: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "peak": iso(self.peak),
            "trough": iso(self.trough),
            "recovery": None if self.recovery is None else iso(self.recovery),
            "depth_frac": self.depth_frac,
            "days": self.days,
        }


def compute_metrics(
    equity_usd: FloatArray,
    times: TimeArray,
    *,
    exposure_frac: FloatArray,
    traded_usd: FloatArray,
    round_trip_pnl_usd: FloatArray,
    bars_per_year: float,
) -> Metrics:
    """Every figure of `Metrics` for one equity curve.

    Annual figures (`annual_return_frac volatility_frac sharpe sortino calmar turnover_frac_per_year`) are
    None where `spans_annual_figures` says that the curve is too short for them.
    Shapes: `equity_usd`, `times`, `exposure_frac` (gross) and `traded_usd` (sum of |quantity x
    price| of the record's fills) [S]; `round_trip_pnl_usd` [R], net of costs, of closed round trips
    only.
    """
    returns = simple_returns(equity_usd)
    long_enough = spans_annual_figures(times)
    annual = annual_return(equity_usd, bars_per_year) if long_enough else None
    worst = max_drawdown(equity_usd)
    return Metrics(
        total_return_frac=total_return(equity_usd),
        annual_return_frac=annual,
        volatility_frac=volatility(returns, bars_per_year) if long_enough else None,
        sharpe=sharpe(returns, bars_per_year) if long_enough else None,
        sortino=sortino(returns, bars_per_year) if long_enough else None,
        calmar=calmar(annual, worst),
        max_drawdown_frac=worst,
        max_drawdown_days=max_drawdown_days(equity_usd, times),
        turnover_frac_per_year=turnover(traded_usd, equity_usd, bars_per_year)
        if long_enough
        else None,
        exposure_frac=mean_exposure(exposure_frac),
        hit_rate_frac=hit_rate(round_trip_pnl_usd),
        profit_factor=profit_factor(round_trip_pnl_usd),
        var_95_frac=value_at_risk(returns),
        expected_shortfall_95_frac=expected_shortfall(returns),
    )


def spans_annual_figures(times: TimeArray) -> bool:
    """Whether a curve's records [S] span the 30 calendar days that annual figures need."""
    return len(times) > 0 and _days(times[-1] - times[0]) >= SHORTEST_YEAR_PART_DAYS


def simple_returns(equity_usd: FloatArray) -> FloatArray:
    """Return per record, [S - 1], shorter after a bankruptcy: see the module's docstring."""
    broke = np.flatnonzero(equity_usd <= 0.0)
    if len(broke):
        equity_usd = equity_usd[: broke[0] + 1]
        if broke[0] == 0:
            return np.empty(0)
    result: FloatArray = equity_usd[1:] / equity_usd[:-1] - 1.0
    return result


def total_return(equity_usd: FloatArray) -> float | None:
    """Last equity over first, minus 1. As `empyrical.cum_returns_final`."""
    if len(equity_usd) == 0 or equity_usd[0] <= 0.0:
        return None
    return finite(float(equity_usd[-1] / equity_usd[0]) - 1.0)


def annual_return(equity_usd: FloatArray, bars_per_year: float) -> float | None:
    """Compound annual growth rate: (last / first) ** (bars_per_year / returns) - 1.

    A curve that ends at or below zero has lost everything: -1. As `empyrical.annual_return`, which
    counts years as returns / bars per year too, not by the calendar.
    """
    if len(equity_usd) < 2 or equity_usd[0] <= 0.0:
        return None
    growth = float(equity_usd[-1] / equity_usd[0])
    if growth <= 0.0:
        return -1.0
    exponent = math.log(growth) * bars_per_year / (len(equity_usd) - 1)
    return math.expm1(exponent) if exponent < 700.0 else None


def volatility(returns: FloatArray, bars_per_year: float) -> float | None:
    """Sample standard deviation of returns (ddof 1) x sqrt(bars per year).

    As `empyrical.annual_volatility`. None with fewer than two returns; constant returns give 0.
    """
    if len(returns) < 2:
        return None
    deviation = float(np.std(returns, ddof=1))
    return 0.0 if deviation <= NO_VOLATILITY else finite(deviation * math.sqrt(bars_per_year))


def sharpe(returns: FloatArray, bars_per_year: float) -> float | None:
    """Mean return / standard deviation (ddof 1) x sqrt(bars per year), no risk-free rate.

    As `empyrical.sharpe_ratio`. None where volatility is None or 0.
    Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21(1), 1994.
    """
    deviation = volatility(returns, bars_per_year)
    if not deviation:
        return None
    return finite(float(np.mean(returns)) * bars_per_year / deviation)


def sortino(returns: FloatArray, bars_per_year: float) -> float | None:
    """Mean return x bars per year / downside risk, required return 0.

    Downside risk is sqrt(mean(min(return, 0) ** 2)) over *all* returns x sqrt(bars per year). As
    `empyrical.sortino_ratio`. None with fewer than two returns or without a loss.
    Source: Sortino and Price, "Performance Measurement in a Downside Risk Framework", 1994.
    """
    if len(returns) < 2:
        return None
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    if downside <= NO_VOLATILITY:
        return None
    return finite(float(np.mean(returns)) / downside * math.sqrt(bars_per_year))


def calmar(annual_return_frac: float | None, max_drawdown_frac: float | None) -> float | None:
    """Annual return / maximum drawdown, over the whole curve. As `empyrical.calmar_ratio`.

    Source: Young, "Calmar Ratio: A Smoother Tool", Futures, 1991 (there over 36 months).
    """
    if annual_return_frac is None or not max_drawdown_frac:
        return None
    return finite(annual_return_frac / max_drawdown_frac)


def underwater(equity_usd: FloatArray) -> FloatArray:
    """Loss from the highest equity so far, [S], positive, 0 at a high."""
    if len(equity_usd) == 0 or equity_usd[0] <= 0.0:
        return np.zeros(len(equity_usd))
    high = np.maximum.accumulate(equity_usd)
    result: FloatArray = (high - equity_usd) / high
    return result


def max_drawdown(equity_usd: FloatArray) -> float | None:
    """Deepest loss from a peak, positive. Minus `empyrical.max_drawdown`."""
    if len(equity_usd) == 0 or equity_usd[0] <= 0.0:
        return None
    return finite(float(np.max(underwater(equity_usd))))


def max_drawdown_days(equity_usd: FloatArray, times: TimeArray) -> float | None:
    """Calendar days of the *longest* drawdown, which need not be the deepest, from its peak to its
    recovery or to the last record; 0 without one."""
    if len(equity_usd) == 0 or equity_usd[0] <= 0.0:
        return None
    peaks, ends = _episodes(equity_usd)
    if len(peaks) == 0:
        return 0.0
    stops = np.minimum(ends, len(equity_usd) - 1)
    return _days(np.max(times[stops] - times[peaks]))


def drawdowns(equity_usd: FloatArray, times: TimeArray, count: int = 5) -> tuple[Drawdown, ...]:
    """The deepest drawdowns, deepest first; equally deep ones in the order of time.

    Episodes do not overlap: each lasts from a record at a high to the first record back at that
    high.
    """
    if len(equity_usd) == 0 or equity_usd[0] <= 0.0:
        return ()
    peaks, ends = _episodes(equity_usd)
    if len(peaks) == 0:
        return ()
    depth = np.maximum.reduceat(underwater(equity_usd), peaks)
    worst = np.argsort(-depth, kind="stable")[:count]
    found = []
    for episode in worst.tolist():
        peak, end = int(peaks[episode]), int(ends[episode])
        trough = peak + int(np.argmin(equity_usd[peak:end]))
        recovered = end < len(equity_usd)
        found.append(
            Drawdown(
                peak=times[peak],
                trough=times[trough],
                recovery=times[end] if recovered else None,
                depth_frac=float(depth[episode]),
                days=_days(times[end if recovered else -1] - times[peak]),
            )
        )
    return tuple(found)


def _episodes(equity_usd: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(peak, end) rows of every drawdown, [E] each; an end of S says that it is not over."""
    below = equity_usd < np.maximum.accumulate(equity_usd)
    edges = np.flatnonzero(np.diff(below.astype(np.int8), append=np.int8(0)))
    return edges[0::2], edges[1::2] + 1


def turnover(traded_usd: FloatArray, equity_usd: FloatArray, bars_per_year: float) -> float | None:
    """One-way turnover per year: half of sum(traded / equity at the record before) / years.

    Selling all and buying another thing is a turnover of 1, as is a purchase with all cash and its
    sale later.
    Unit: fraction of equity per year.
    """
    if len(equity_usd) < 2 or np.any(equity_usd <= 0.0):
        return None
    before = np.concatenate((equity_usd[:1], equity_usd[:-1]))
    years = (len(equity_usd) - 1) / bars_per_year
    return finite(float(np.sum(traded_usd / before)) / 2.0 / years)


def mean_exposure(exposure_frac: FloatArray) -> float | None:
    """Mean over the records of gross exposure: sum |position value| / equity at the close."""
    return finite(float(np.mean(exposure_frac))) if len(exposure_frac) else None


def hit_rate(round_trip_pnl_usd: FloatArray) -> float | None:
    """Share of closed round trips that made money after costs; one that broke even did not."""
    if len(round_trip_pnl_usd) == 0:
        return None
    return float(np.mean(round_trip_pnl_usd > 0.0))


def profit_factor(round_trip_pnl_usd: FloatArray) -> float | None:
    """Dollars won in winning round trips / dollars lost in losing ones; None without a loss."""
    lost = -float(np.sum(np.minimum(round_trip_pnl_usd, 0.0)))
    if lost <= 0.0:
        return None
    return finite(float(np.sum(np.maximum(round_trip_pnl_usd, 0.0))) / lost)


def value_at_risk(returns: FloatArray) -> float | None:
    """Historical 95 % value at risk of one bar: minus the 5th percentile of returns, at least 0.

    The percentile is interpolated linearly. Minus `empyrical.value_at_risk`, except that a
    percentile that is a gain gives 0 here.
    """
    if len(returns) == 0:
        return None
    return finite(max(0.0, -float(np.percentile(returns, 100.0 * TAIL_FRAC))))


def expected_shortfall(returns: FloatArray) -> float | None:
    """Historical 95 % expected shortfall of one bar: minus the mean of the worst returns, at least
    0.

    The worst are the int((n - 1) x 0.05) + 1 lowest. Minus `empyrical.conditional_value_at_risk`,
    except that a mean that is a gain gives 0 here.
    Source: Acerbi and Tasche, "On the coherence of expected shortfall", Journal of Banking and
    Finance 26, 2002.
    """
    if len(returns) == 0:
        return None
    last = int((len(returns) - 1) * TAIL_FRAC)
    return finite(max(0.0, -float(np.mean(np.partition(returns, last)[: last + 1]))))


def yearly_returns(equity_usd: FloatArray, times: TimeArray) -> dict[int, float | None]:
    """Return of each calendar year (UTC): its last equity over that of the year before.

    The first year starts at the first record, so it and the last year may be parts of years.
    """
    returns = _period_returns(equity_usd, times.astype("datetime64[Y]").astype(np.int64))
    return {1970 + year: value for year, value in returns.items()}


def monthly_returns(
    equity_usd: FloatArray, times: TimeArray
) -> dict[tuple[int, int], float | None]:
    """The same for each (year, month)."""
    returns = _period_returns(equity_usd, times.astype("datetime64[M]").astype(np.int64))
    return {(1970 + month // 12, month % 12 + 1): value for month, value in returns.items()}


def _period_returns(
    equity_usd: FloatArray, periods: npt.NDArray[np.int64]
) -> dict[int, float | None]:
    if len(equity_usd) == 0:
        return {}
    last_rows = np.append(np.flatnonzero(np.diff(periods)), len(periods) - 1)
    before = float(equity_usd[0])
    result: dict[int, float | None] = {}
    for row in last_rows.tolist():
        now = float(equity_usd[row])
        result[int(periods[row])] = finite(now / before - 1.0) if before > 0.0 else None
        before = now
    return result


def finite(value: float) -> float | None:
    """The value, or None for NaN and the infinities: the one door to figures that do not exist."""
    return value if math.isfinite(value) else None


def iso(moment: np.datetime64) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{np.datetime_as_string(moment, unit='s')}Z"


def _days(span: np.timedelta64) -> float:
    return float(span / np.timedelta64(1, "D"))
