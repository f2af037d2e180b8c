"""Small builders that tests share: panels from rows, scripted agents, a broker's desk, random paths.

Nothing here is random without a seed, and bars made for more rows begin with those made for fewer only
where a docstring says so.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from core.config import TradingConfig
from core.protocols import History, State
from core.types import Decision, Fill, Order, OrderIntent, OrderType, TimeInForce
from trading.broker import SimulatedBroker
from trading.costs import CostModel
from trading.engine import Account
from trading.history import Tape
from trading.panel import Panel, build_panel
from trading.portfolio import Portfolio
from trading.run import Span, find_span, open_account, replay

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]
Bars = dict[str, tuple[TimeArray, FloatArray]]
"""By symbol: (times [K], values [10, K]), what `build_panel` takes."""

Row = tuple[float, float, float, float, float]
"""Open, high, low, close, volume."""

FREE = TradingConfig(
    commission_bps=0.0,
    half_spread_bps=0.0,
    impact_coefficient=0.0,
    borrow_bps_per_year=0.0,
    participation_frac=None,
    warmup_bars=0,
)
"""No cost of any kind and no cap."""


# --- panels


def days(count: int, first: str = "2020-01-01T21:00") -> TimeArray:
    """`count` calendar days at 21:00 UTC."""
    return np.datetime64(first, "ns") + np.arange(count) * np.timedelta64(1, "D")


def sessions(count: int) -> TimeArray:
    """Up to five sessions of New York in a row, Monday to Friday, at their closes."""
    return days(count, "2020-01-06T21:00")


def flat(price: float, volume: float = math.nan) -> Row:
    """A bar that never leaves its price."""
    return (price, price, price, price, volume)


def bars_of(
    rows: Mapping[str, Sequence[Row | None]],
    *,
    times: TimeArray | None = None,
    adjusted_per_raw: float = 1.0,
) -> Bars:
    """Bars from rows that read like a table; None is a missing bar. Raw prices are adjusted ones
    divided by `adjusted_per_raw`."""
    length = max(len(each) for each in rows.values())
    known = days(length) if times is None else times
    bars: Bars = {}
    for symbol, each in rows.items():
        here = [place for place, row in enumerate(each) if row is not None]
        values = np.array([each[place] for place in here], dtype=np.float64).T
        scale = np.array([1.0, 1.0, 1.0, 1.0, adjusted_per_raw * adjusted_per_raw])[:, None]
        bars[symbol] = (
            known[here],
            np.concatenate([values, values / adjusted_per_raw * scale]),
        )
    return bars


def make_panel(rows: Mapping[str, Sequence[Row | None]], **about: Any) -> Panel:
    """A panel from rows (see `bars_of`); `about` goes to `build_panel`."""
    times, ratio = about.pop("times", None), about.pop("adjusted_per_raw", 1.0)
    return build_panel(bars_of(rows, times=times, adjusted_per_raw=ratio), name="test", **about)


def random_bars(seed: int, symbols: int, rows: int, *, volume: float = 2_000.0) -> Bars:
    """Wild, well-formed bars: symbols that list late and end early, gaps, missing bars, days without
    volume, a split in the raw prices. The first symbol has every bar."""
    draw = np.random.default_rng(seed)
    times = days(rows)
    bars: Bars = {}
    for number in range(symbols):
        steps = draw.normal(0.0, 0.04, (4, rows))
        close = np.round(50.0 * np.exp(np.cumsum(steps[0])), 4)
        open_ = np.round(np.roll(close, 1) * np.exp(steps[1]), 4)
        open_[0] = close[0]
        high = np.round(np.maximum(open_, close) * np.exp(np.abs(steps[2]) / 2), 4)
        low = np.round(np.minimum(open_, close) * np.exp(-np.abs(steps[3]) / 2), 4)
        traded = np.round(volume * draw.lognormal(0.0, 0.8, rows))
        traded[draw.random(rows) < 0.05] = 0.0
        ratio = np.where(np.arange(rows) < draw.integers(rows), 0.5, 1.0)
        values = np.array([open_, high, low, close, traded])
        raw = np.array([*(values[:4] / ratio), traded * ratio])
        keep = draw.random(rows) > 0.08
        keep[: int(draw.integers(rows // 2)) if number % 3 == 1 else 0] = False
        keep[rows - (int(draw.integers(rows // 2)) if number % 3 == 2 else 0) :] = False
        if number == 0 or not keep.any():
            keep[:] = True
        # Names against the order of listing, so that columns are not in the order of names.
        bars[f"{'ZYXWVUTS'[number % 8]}{number}"] = (
            times[keep],
            np.concatenate([values, raw])[:, keep],
        )
    return bars


def cut_bars(bars: Bars, last: np.datetime64) -> Bars:
    """What was known at a moment: later bars, and symbols that had none yet, are gone."""
    kept = {
        symbol: (times[times <= last], values[:, times <= last])
        for symbol, (times, values) in bars.items()
    }
    return {symbol: each for symbol, each in kept.items() if len(each[0])}


def martingale_bars(
    paths: int,
    rows: int,
    *,
    seed: int,
    sigma_frac: float = 0.02,
    trend_frac: float = 0.0,
    regime_rows: int = 60,
) -> Bars:
    """Independent log-normal price paths, one symbol each, P000 and so on.

    With `trend_frac` 0 every price is a martingale: each of a day's two moves (overnight, then to the
    close) has variance s^2 = sigma^2 / 2 and log drift -s^2 / 2, so that E[exp(move)] = 1. Otherwise the
    drift of a day is + or - `trend_frac`, drawn anew every `regime_rows` rows: a trend that can be
    found. Volume is 1e9 shares a day.
    """
    draw = np.random.default_rng(seed)
    times, half = days(rows), sigma_frac / math.sqrt(2.0)
    regimes = draw.choice([-trend_frac, trend_frac], (paths, rows // regime_rows + 1))
    drift = np.repeat(regimes, regime_rows, axis=1)[:, :rows]
    moves = draw.normal(-0.5 * half * half, half, (2, paths, rows)) + 0.5 * drift
    log_close = np.cumsum(moves[0] + moves[1], axis=1)
    close = 100.0 * np.exp(log_close)
    open_ = 100.0 * np.exp(log_close - moves[1])
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    bars: Bars = {}
    for path in range(paths):
        prices = np.round([open_[path], high[path], low[path], close[path]], 6)
        values = np.vstack([prices, np.full(rows, 1e9)])
        bars[f"P{path:03d}"] = (times, np.concatenate([values, values]))
    return bars


# --- orders and who gives them


def market(
    column: int, symbol: str, value_usd: float, held_usd: float = 0.0, **more: Any
) -> OrderIntent:
    """A market order towards a target value, by someone who holds `held_usd` now."""
    side = "buy" if value_usd > held_usd else "sell"
    return OrderIntent(column, symbol, side, "market", value_usd, **more)  # type: ignore[arg-type]


def fixed(
    column: int,
    symbol: str,
    quantity: float,
    *,
    limit: float | None = None,
    stop: float | None = None,
    tif: TimeInForce = "day",
    tag: str | None = None,
) -> OrderIntent:
    """A limit, stop or stop-limit order (or a market order, without prices) of a signed quantity."""
    kind: OrderType = "market"
    if limit is not None:
        kind = "limit" if stop is None else "stop_limit"
    elif stop is not None:
        kind = "stop"
    return OrderIntent(
        column,
        symbol,
        "buy" if quantity > 0.0 else "sell",
        kind,
        None,
        quantity,
        limit_price=limit,
        stop_price=stop,
        tif=tif,
        tag=tag,
    )


class ScriptedAgents:
    """`core.protocols.Agents` that do what a function (or a table by row) says."""

    def __init__(
        self, script: Callable[[History, State], Decision | None] | Mapping[int, Decision]
    ) -> None:
        self._script = script

    async def decide(self, history: History, state: State) -> Decision:
        if isinstance(self._script, Mapping):
            return self._script.get(history.row, Decision())
        return self._script(history, state) or Decision()


class BusyAgents:
    """Trades a lot, in every order type, from a generator seeded by (seed, row); reads nothing later."""

    def __init__(self, seed: int, *, allow_short: bool = False, busy_frac: float = 0.5) -> None:
        self._seed = seed
        self._allow_short = allow_short
        self._busy_frac = busy_frac

    async def decide(self, history: History, state: State) -> Decision:
        draw = np.random.default_rng((self._seed, history.row))
        symbols, closes = history.symbols, history.mark[-1]
        held, equity = state.position_array, state.equity_usd
        intents: list[OrderIntent] = []
        ending: list[int] = []
        for column, symbol in enumerate(symbols):
            choice, weight, near, far, kind = draw.random(5).tolist()
            if choice > self._busy_frac:
                if choice > 0.95:
                    ending.append(column)
                continue
            weight = (weight - 0.4) if self._allow_short else max(weight - 0.3, 0.0)
            close = float(closes[column])
            quantity = round(weight * equity / close - float(held[column]), 8)
            if quantity == 0.0:
                continue
            tif: TimeInForce = "gtc" if near > 0.5 else "day"
            sign = 1.0 if quantity > 0.0 else -1.0
            limit = round(close * (1.0 + 0.06 * (far - 0.5)), 4)
            stop = round(close * (1.0 + sign * 0.03 * near), 4)
            tag = f"t{history.row}"
            if kind < 0.4:
                value = round(weight * equity, 6)
                side = "buy" if quantity > 0.0 else "sell"
                intents.append(OrderIntent(column, symbol, side, "market", value, tif=tif, tag=tag))  # type: ignore[arg-type]
            elif kind < 0.65:
                intents.append(fixed(column, symbol, quantity, limit=limit, tif=tif, tag=tag))
            elif kind < 0.8:
                intents.append(fixed(column, symbol, quantity, stop=stop, tif=tif, tag=tag))
            else:
                intents.append(
                    fixed(column, symbol, quantity, limit=limit, stop=stop, tif=tif, tag=tag)
                )
        weights = {order.symbol: 1.0 for order in intents}
        return Decision(targets=weights, intents=tuple(intents), cancel_columns=tuple(ending))


# --- running


class Desk:
    """A broker at a panel, bar by bar: `bar()` makes one more row known and returns its fills."""

    def __init__(
        self,
        panel: Panel,
        *,
        cash_usd: float = 1_000.0,
        costs: CostModel | None = None,
        **rules: Any,
    ) -> None:
        self.panel = panel
        self.tape = Tape(panel, rules.get("delisting_bars", 10))
        self.book = Portfolio(cash_usd, len(panel.symbols))
        self.broker = SimulatedBroker(self.tape, self.book, costs or CostModel(), **rules)
        self.tape.reveal(0)

    def send(self, *intents: OrderIntent) -> list[Order]:
        return [self.broker.submit(intent) for intent in intents]

    def bar(self) -> list[Fill]:
        self.tape.reveal(self.tape.row + 1)
        return self.broker.fill_bar()


def run_lines(
    panel: Panel, agents: Any, trading: TradingConfig = FREE, span: Span | None = None
) -> tuple[Account, list[bytes]]:
    """A whole run and its JSON lines."""
    lines: list[bytes] = []
    account = open_account(panel, agents, trading, lines.append)
    asyncio.run(replay(account, span or find_span(panel, trading.warmup_bars)))
    return account, lines


def records(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in lines]
