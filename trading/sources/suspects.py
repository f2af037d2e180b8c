"""Finds prices that are no fault by themselves and yet hardly what the market paid.

Owns the kinds of gross price errors and how each is told from a real move. Refuses to mend anything and
to stop anybody: warnings are for people (`data check`, notes of a run, the refusal of `decide`); no
decision of a backtest reads them.

    jump             a bar off by a factor that its neighbours do not share, there and back at once
    unit_change      a stretch of bars off by one factor, or a step of 100 or more that stays
    suspected_split  a step at a usual ratio of a split, overnight, between calm bars, that stays
    stale            a symbol whose bars end sessions before the last session of the others
    no_volume        bars with volume 0

What is judged are the prices that are traded: adjusted, where there is an adjusted close. Real crashes
differ from errors in three ways: the price does not come back by the same factor at once; the bar of the
crash and those after it range widely; far more shares are traded than a split would multiply them by.
Every threshold grows with the symbol's own deviation near the bar, so the same rules serve minutes and
months, bonds and coins.

Known weaknesses: a slip of less than 2.5 times, a 5:4 or 4:3 split and a change between currencies near
par look like moves; a split on the day of a panic is taken for a part of it. Closes alone have neither range
nor volume: there a crash within 3 % of a usual ratio, between calm days, looks like a split, and a split of
a symbol whose bars move by a 25th of it looks like a move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp, log, log10

import numpy as np
import numpy.typing as npt

from trading.calendar import sessions_between
from trading.intervals import parse_interval
from trading.panel import RAW_OPEN, RAW_VOLUME, iso_times
from trading.price_warnings import KINDS, PriceWarning
from trading.sources.file import Series

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]

STEP = 0.33
"""A close this far from the one before, as a logarithm (1.39 times), is looked at: a 3:2 split is 0.405."""
LEAST_JUMP, SURE_JUMP = log(2.5), log(50.0)
"""Between these lies the least jump told, at `DEVIATIONS` of the symbol's own."""
DEVIATIONS = 12.0
CALM_STEP_DEVIATIONS, BLIND_STEP_DEVIATIONS = 10.0, 25.0
"""The least step of a split with volume, and without."""
SHORT_STRETCH_BARS = 20
"""A longer stretch that is off by less than `MANY_FOLD` can be a boom and its bust."""
BACK_FRAC = 0.2
"""The way back is the way there to this share of it."""
NEAR_BARS = 50
"""A deviation is judged from so many bars on either side."""
VOLUME_BARS = 20
LEAST_TICKS = 15
"""A move of fewer of the smallest steps that the price takes is rounding, as 0.0001 to 0.0008."""
FEW, MANY_FOLD = log(1.9), log(8.0)
"""Below the one a ratio must be exact and the volume known; from the other on no
market opens calmly."""
RISE = log(4.5)
"""Good news lifts a share fourfold; without volume no smaller rise is taken for a reverse split."""
LONG_BREAK_DAYS = 10
"""After a longer break a step of less than 8 times can be news."""
STALE_SESSIONS = 2

RATIOS = np.array(
    [1.5, *range(2, 13), 15, 18, *range(20, 101, 5), *range(110, 501, 10), *range(550, 10_001, 50)]
)
"""Usual ratios of splits; large ones are round numbers."""


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: str
    cause: str
    cure: str


JUMP = _Kind(
    "jump",
    "a slip of the decimal point, another unit, or a print that was cancelled",
    "compare with another source; correct the row, or empty its prices (a missing bar)",
)
UNIT = _Kind(
    "unit_change",
    "another unit or currency (pence for pounds, a change of the quotation)",
    "bring all rows of the symbol to one unit",
)
MIXED_CAUSE = "rows adjusted for a split otherwise than the rest, or in another unit or currency"
MIXED_CURE = "take all rows of the symbol from one source, adjusted alike"
SPLIT = _Kind(
    "suspected_split",
    "a {} that the prices are not adjusted for",
    "give an adjusted close (column adj_close), or divide the prices on the one side by the ratio",
)
STALE = _Kind(
    "stale",
    "delisted, halted, renamed, or an update that failed",
    "bring the symbol up to date, or give a universe file with the day it left",
)
FLAT = _Kind(
    "no_volume",
    "no trade in these bars, or prices that were filled in",
    "nothing, if that is so; else give the volume, or leave the cell empty",
)
MOVED = replace(FLAT, cause="the vendor has no volume there (indices, currencies, funds, old rows)")


def find_warnings(
    series: Mapping[str, Series], *, interval: str, calendar: str, left: Collection[str] = ()
) -> tuple[PriceWarning, ...]:
    """Everything that is doubtful in these bars, by symbol and row.

    `interval` is the bars', as `Panel` names it; `left` are symbols that are known to have left the
    universe: these are never `stale`.
    Point in time: the whole of `series` is looked at; give what was known.
    """
    found: list[PriceWarning] = []
    behind = _sessions_behind(series, interval, calendar)
    for name, bars in series.items():
        symbol = _Symbol(name, bars, interval)
        own = [*_price_warnings(symbol), *_volume_warnings(symbol)]
        if behind[name] >= STALE_SESSIONS and name not in left:
            own.append(_stale(symbol, behind[name]))
        found += sorted(own, key=lambda warning: (warning.row, KINDS.index(warning.kind)))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Symbol:
    """One symbol's bars, and the words for a warning about some of them."""

    name: str
    bars: Series
    interval: str

    def warn(
        self, kind: _Kind, at: int, found: str, *, count: int = 1, last: int | None = None
    ) -> PriceWarning:
        """A warning about the bars from `at` to `last` (default: `count` bars in a row)."""
        end = min(at + count, len(self.bars.days)) - 1 if last is None else last
        first, until = iso_times(self.bars.known[[at, end]])
        line = int(self.bars.lines[at])
        return PriceWarning(
            kind.kind, line, self.name, found, kind.cause, kind.cure, count,
            self.time(at), first, until,
        )  # fmt: skip

    def time(self, at: int) -> str:
        """The bar's date, for intraday bars its stamp."""
        if not parse_interval(self.interval).is_intraday:
            return str(self.bars.stamps[at].view("datetime64[ns]").astype("datetime64[D]"))
        return iso_times(self.bars.stamps[[at]].view("datetime64[ns]"))[0]


def _is_long(interval: str) -> bool:
    return interval != "1d" and not parse_interval(interval).is_intraday


def _price(value: float) -> str:
    return f"{value:.6g}"


@dataclass(frozen=True, slots=True, eq=False)
class _Prices:
    """One symbol's bars as logarithms [K]. `step[i]` leads from close i-1 to close i, `gap[i]` to open i."""

    symbol: _Symbol
    bars: Series
    step: FloatArray
    gap: FloatArray
    tick: float
    has_range: bool

    def close(self, at: int) -> float:
        return float(self.bars.values[3, at])

    def as_read(self, at: int) -> tuple[FloatArray, str]:
        """(the prices [4, K] to show of a step to `at`, a word before them): as they stand in the input where
        they make the same step, else the adjusted ones."""
        raw = self.bars.values[RAW_OPEN:RAW_VOLUME]
        step = log(float(raw[3, at]) / float(raw[3, at - 1])) if at else 0.0
        if abs(step - float(self.step[at])) < STEP:
            return raw, ""
        return self.bars.values[:4], "adjusted "

    def deviation(self, at: int) -> float:
        """The deviation of the bars near `at`, steps that are looked at left out."""
        near = np.abs(self.step[max(1, at - NEAR_BARS) : at + NEAR_BARS + 1])
        calm = near[near < STEP]
        return 1.4826 * float(np.median(calm)) if len(calm) else STEP

    def least_jump(self, at: int) -> float:
        return min(max(DEVIATIONS * self.deviation(at), LEAST_JUMP), SURE_JUMP)

    def is_coarse(self, before: float, after: float) -> bool:
        return abs(after - before) < LEAST_TICKS * self.tick


def _price_warnings(symbol: _Symbol) -> Iterator[PriceWarning]:
    bars = symbol.bars
    close = bars.values[3]
    if len(close) < 2:
        return
    ratio = close[1:] / close[:-1]
    steps = np.flatnonzero((ratio > exp(STEP)) | (ratio < exp(-STEP))) + 1
    wicks = _wick_rows(bars.values)
    if not len(steps) and not len(wicks):
        return
    step, gap = np.zeros(len(close)), np.zeros(len(close))
    np.log(ratio, out=step[1:])
    gap[1:] = np.log(bars.values[0, 1:] / close[:-1])
    moves = np.abs(np.diff(close))
    has_range = bool((bars.values[1] > bars.values[2]).any())
    moves = moves[moves > close[1:] * 1e-7]
    tick = float(moves.min()) if len(moves) else 0.0
    prices = _Prices(symbol, bars, step, gap, tick, has_range)
    told: set[int] = set()
    for warning, rows in _steps(prices, steps.tolist()):
        told.update(rows)
        yield warning
    for at in wicks.tolist():
        if at not in told:
            yield from _wick(prices, at)


def _wick_rows(values: FloatArray) -> INT:
    """The bars whose high or low lies far from their close and the close before."""
    _, high, low, close = values[:4]
    before = np.empty_like(close)
    before[0], before[1:] = close[0], close[:-1]
    factor = exp(LEAST_JUMP)
    up = high > factor * np.maximum(close, before)
    return np.flatnonzero(up | (low * factor < np.minimum(close, before)))


def _wick(prices: _Prices, at: int) -> Iterator[PriceWarning]:
    """A high or low that no close bears out."""
    values = prices.bars.values
    before, close = prices.close(max(at - 1, 0)), prices.close(at)
    reach = np.log(values[1] / values[2])[max(0, at - NEAR_BARS) : at + NEAR_BARS + 1]
    least = min(max(DEVIATIONS * float(np.median(reach)), LEAST_JUMP), SURE_JUMP)
    shown, word = prices.as_read(at)
    opened = float(values[0, at])
    for name, cell, level in (("high", 1, max(before, close)), ("low", 2, min(before, close))):
        price = float(values[cell, at])
        if abs(log(price / level)) < least or (price > level) != (name == "high"):
            continue
        if prices.is_coarse(level, price):
            continue
        what = name
        if abs(log(opened / price)) < STEP:
            what = f"open {_price(shown[0, at])} and {name}"
        found = f"{word}{what} {_price(shown[cell, at])} where the close is {_price(shown[3, at])}"
        if at:
            found += f" and the close before {_price(shown[3, at - 1])}"
        yield prices.symbol.warn(JUMP, at, found)


def _steps(prices: _Prices, steps: list[int]) -> Iterator[tuple[PriceWarning, range]]:
    """(a warning, the bars it explains) of steps from close to close, each looked at once."""
    at = 0
    while at < len(steps):
        row = steps[at]
        back = _way_back(prices, steps[at:])
        if back is not None:
            count = back - row
            yield _stretch(prices, row, count), range(row, back + 1)
            at = steps.index(back, at) + 1
            continue
        warning = _lasting(prices, row)
        if warning is not None:
            yield warning, range(row, row + 1)
        at += 1


def _way_back(prices: _Prices, steps: list[int]) -> int | None:
    """The row at which the level returns from the first of `steps`; None where it does not by one step."""
    row, there = steps[0], float(prices.step[steps[0]])
    if prices.is_coarse(prices.close(row - 1), prices.close(row)):
        return None
    size, deviation = abs(there), prices.deviation(row)
    for back in steps[1:4]:
        rest = abs(there + float(prices.step[back]))
        if rest > BACK_FRAC * size:
            continue
        if back == row + 1:
            return back if size >= prices.least_jump(row) else None
        if size < max(FEW, min(DEVIATIONS * deviation, SURE_JUMP)):
            return None
        if back - row > SHORT_STRETCH_BARS and size < MANY_FOLD:
            return None
        calm = max(0.08, 4.0 * deviation)
        sudden = all(_is_sudden(prices, each, calm) for each in (row, back))
        return back if sudden and rest <= 2 * calm else None
    return None


def _is_sudden(prices: _Prices, row: int, calm: float) -> bool:
    """Whether the step was made overnight, between bars that are calm."""
    step = prices.step
    aside = [abs(float(step[each])) for each in (row - 1, row + 1) if 0 < each < len(step)]
    inside = abs(float(step[row] - prices.gap[row])) if prices.has_range else 0.0
    return inside <= calm and max(aside, default=0.0) <= 1.5 * calm


def _stretch(prices: _Prices, row: int, count: int) -> PriceWarning:
    shown, word = prices.as_read(row)
    before, price, after = (float(shown[3, each]) for each in (row - 1, row, row + count))
    if count == 1:
        found = f"{word}close {_price(price)} between {_price(before)} and {_price(after)}"
        return prices.symbol.warn(JUMP, row, found)
    size = abs(float(prices.step[row]))
    found = (
        f"{count} bars from {word}close {_price(price)}, {_fold(exp(size), price > before)} the close"
        f" before, {_price(before)}; then back to {_price(after)}"
    )
    kind = UNIT if size >= MANY_FOLD else replace(UNIT, cause=MIXED_CAUSE, cure=MIXED_CURE)
    return prices.symbol.warn(kind, row, found, count=count)


def _fold(factor: float, up: bool) -> str:
    return f"{factor:.4g} times" if up else f"1/{factor:.4g} of"


def _lasting(prices: _Prices, row: int) -> PriceWarning | None:
    """A step that stays: of a unit, of a split, or None for a move of the market."""
    before, after = prices.close(row - 1), prices.close(row)
    gap = float(prices.gap[row]) if prices.has_range else float(prices.step[row])
    if prices.is_coarse(before, after) or not _is_calm_step(prices, row, gap):
        return None
    ratio, off = _usual_ratio(abs(gap))
    decimal = abs(gap) >= log(5.0) and abs(log10(exp(abs(gap))) % 1.0 - 0.5) > 0.4
    bars = len(prices.step)
    shown, word = prices.as_read(row)
    if decimal and bars > 2 and row in (1, bars - 1) and abs(gap) >= prices.least_jump(row):
        odd, even, end = (0, 1, "first") if row == 1 else (row, row - 1, "last")
        close = f"{word}close {_price(shown[3, odd])} beside {_price(shown[3, even])}"
        return prices.symbol.warn(JUMP, odd, f"{close} in the {end} bar")
    cell, name = (0, "open") if prices.has_range else (3, "close")
    fold, last = _fold(exp(abs(gap)), gap > 0), _price(shown[3, row - 1])
    found = f"{word}{name} {_price(shown[cell, row])}, {fold} the close before, {last}"
    volume = _volume_ratio(prices.bars.values[4], row)
    if decimal and abs(gap) > log(50.0) and (volume is None or abs(volume) < log(3.0)):
        return _other_unit(prices, row, found)
    if not _is_split(prices, row, gap, off, volume):
        return None
    name = f"{ratio:g}:1" if gap < 0 else f"1:{ratio:g}"
    name = {"1.5:1": "3:2", "1:1.5": "2:3"}.get(name, name)
    kind = replace(
        SPLIT, cause=SPLIT.cause.format(f"{name} {'split' if gap < 0 else 'reverse split'}")
    )
    return prices.symbol.warn(kind, row, f"{found} (ratio {name})")


def _other_unit(prices: _Prices, row: int, found: str) -> PriceWarning:
    """Of a step that stays: the bars before it where they are few, else those from it on."""
    bars = len(prices.step)
    if row <= min(SHORT_STRETCH_BARS, bars // 2):
        shown, word = prices.as_read(row)
        first, after = float(shown[3, row - 1]), float(shown[3, row])
        fold = _fold(exp(abs(log(first / after))), first > after)
        what = f"{row} bars to {word}close {_price(first)}, {fold} the close after, {_price(after)}"
        return prices.symbol.warn(UNIT, 0, what, count=row)
    return prices.symbol.warn(UNIT, row, f"{found}, and it stays", count=bars - row, last=row)


def _is_calm_step(prices: _Prices, row: int, gap: float) -> bool:
    """Whether the whole step was made overnight and the bars around it are as on any other day."""
    deviation = prices.deviation(row)
    if abs(gap) < max(STEP, CALM_STEP_DEVIATIONS * deviation):
        return False
    if not _is_sudden(prices, row, max(0.08, 4.0 * deviation)):
        return False
    after = np.abs(prices.step[row + 1 : row + 6])
    if len(after) and float(after.mean()) > max(0.02, 3.0 * deviation):
        return False
    high, low = (float(prices.bars.values[cell, row]) for cell in (1, 2))
    return log(high / low) <= max(0.12, 5.0 * deviation)


def _usual_ratio(size: float) -> tuple[float, float]:
    """(the usual ratio nearest to exp(size), how far off as a logarithm)."""
    off = np.abs(np.log(RATIOS) - size)
    near = int(np.argmin(off))
    return float(RATIOS[near]), float(off[near])


def _volume_ratio(volume: FloatArray, row: int) -> float | None:
    """Logarithm of the bar's volume over the middle one of the bars before; None where it is unknown."""
    before = volume[max(0, row - VOLUME_BARS) : row]
    before = before[before > 0]
    if len(before) == 0 or not volume[row] > 0:
        return None
    return log(float(volume[row]) / float(np.median(before)))


def _is_split(prices: _Prices, row: int, gap: float, off: float, volume: float | None) -> bool:
    """Whether a calm step has a split's ratio and volume. A split multiplies the shares traded by the
    ratio, news by far more; a reverse split divides them."""
    size, days = abs(gap), prices.bars.days
    usual = float(np.median(np.diff(days[max(0, row - NEAR_BARS) : row + NEAR_BARS])))
    broken = days[row] - days[row - 1] > max(LONG_BREAK_DAYS, 4 * usual)
    if size < MANY_FOLD and broken:
        return False
    if volume is not None:
        allowed = log(3.0) + max(-gap, 0.0)
        if volume > allowed:
            return False
    if size >= MANY_FOLD:
        return True
    if volume is None and 0.0 < gap < RISE:
        return False
    deviation = prices.deviation(row)
    if volume is None and size < BLIND_STEP_DEVIATIONS * deviation:
        return False
    if size < FEW:
        return volume is not None and off <= 0.025
    return off <= (0.03 if volume is None else max(0.04, min(2.0 * deviation, 0.08)))


def _volume_warnings(symbol: _Symbol) -> Iterator[PriceWarning]:
    """Volume 0, one warning a symbol: it tells in how many of the bars prices moved."""
    bars = symbol.bars
    none = np.flatnonzero(bars.raw[4] == 0.0)
    if len(none) == 0:
        return
    close = bars.values[3]
    before = np.where(none > 0, close[none - 1], close[none])
    moved = int((bars.values[:4, none] != before).any(axis=0).sum())
    flat = len(none) - moved
    found = (
        f"volume 0 in {len(none)} of {len(close)} bars: prices moved in {moved}, {flat} are flat"
    )
    kind = MOVED if moved >= flat else FLAT
    yield symbol.warn(kind, int(none[0]), found, count=len(none), last=int(none[-1]))


def _sessions_behind(series: Mapping[str, Series], interval: str, calendar: str) -> dict[str, int]:
    """How many sessions each symbol ends before the last bar of all; of bars longer than a day, bars."""
    ends = {symbol: int(bars.days[-1]) for symbol, bars in series.items()}
    last = max(ends.values(), default=0)
    first = min(ends.values(), default=0)
    if first == last:
        return dict.fromkeys(ends, 0)
    days = sessions_between(calendar, first, last).days
    if _is_long(interval):
        days = np.unique(np.concatenate([bars.days[bars.days > first] for bars in series.values()]))
    behind = len(days) - np.searchsorted(days, list(ends.values()), side="right")
    return dict(zip(ends, behind.tolist(), strict=True))


def _stale(symbol: _Symbol, behind: int) -> PriceWarning:
    last = len(symbol.bars.days) - 1
    unit = "bars" if _is_long(symbol.interval) else "sessions"
    found = f"the last bar is of {symbol.time(last)}, {behind} {unit} before the others' end"
    return symbol.warn(STALE, last, found, count=behind, last=last)
