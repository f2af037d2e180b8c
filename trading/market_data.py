"""The feed: bars one moment at a time, over a panel that is a file's or the mock walks'.

Owns the cursor between history and what comes next. Refuses to know formats and vendors
(`trading/sources`), orders and money.

The cursor is a row of the panel. Rows before it are history; the row at it is the next to come.

* `get_historical_data` shows bars before the cursor and never moves it.
* `get_realtime_data` gives the bar right after the history that has been shown for its symbol: after
  a call that ended early (`end=`), the bar after that end; otherwise the first bar at or after the cursor. It
  does not move the cursor: asked twice, it gives the same bar, and no bar is ever skipped.
* `stream` and `rows` give the row at the cursor and move it by one. What they gave is history from then on.

So history and stream together are exactly the panel, each bar once. At the start the cursor stands at
`history_bars`; by default at the last row of a file (the newest bar is the realtime bar, the rest
history), and after `data.mock_bars` rows of the mock walks, which go on to the last session of 2199.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.config import DataConfig
from core.errors import DataError
from core.protocols import Clock
from trading.intervals import parse_interval
from trading.panel import BAR_FIELDS, CLOSE, FIELDS, RAW_VOLUME, VOLUME, Panel
from trading.sources.load import MOCK, end_moment, load_panel, mock_panel, parse_moment
from trading.sources.mock import most_mock_bars
from trading.universe import require_symbols

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
Moment = datetime | date | str
NO_END_NEAR = 10_000
"""So many mock bars fit into any calendar; how many more do is asked only beyond, for it takes a second."""
Callback = Callable[["tuple[OHLCV, ...]"], Awaitable[None] | None]


class MarketDataMode(Enum):
    """Where a feed's bars come from."""

    MOCK = "mock"
    FILE = "file"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class OHLCV:
    """One bar of one symbol.

    Units: `open high low close` are adjusted prices, `volume` is raw volume x raw close / adjusted close
    (price x volume is dollars traded), `raw_*` are as traded; a volume is None where the data has none.
    Point in time: `time` is the moment the bar became known, UTC.
    `source` names the data; a bar of the mock walks has `mock` set and the word in `source`.
    """

    symbol: str
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    raw_open: float
    raw_high: float
    raw_low: float
    raw_close: float
    raw_volume: float | None
    source: str = ""
    mock: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FeedRow:
    """All bars that became known at one moment. `values` [10, N] in the order of `panel.FIELDS` and of the
    panel's symbols, NaN where a symbol has no bar; `row` is the panel's."""

    row: int
    time: np.datetime64
    as_of: str
    symbols: tuple[str, ...]
    values: FloatArray


def bar_at(panel: Panel, row: int, column: int) -> OHLCV | None:
    """The bar of one symbol at one row; None where it has none."""
    values = panel.stack[:BAR_FIELDS, row, column].tolist()
    if values[CLOSE] != values[CLOSE]:
        return None
    for at in (VOLUME, RAW_VOLUME):
        if values[at] != values[at]:
            values[at] = None
    return OHLCV(
        panel.symbols[column],
        utc_datetime(panel.times[row]),
        **dict(zip(FIELDS[:BAR_FIELDS], values, strict=True)),
        source=panel.name,
        mock=panel.mock,
    )


def utc_datetime(moment: np.datetime64) -> datetime:
    """An aware datetime, to the microsecond."""
    naive: datetime = moment.astype("datetime64[us]").item()
    return naive.replace(tzinfo=UTC)


class MarketDataFeed:
    """Bars of a file or of the mock walks, as they become known; the module's docstring has the rules.

    `data`, `symbols`, `universe` and `data_dir` are `load_panel`'s (FILE); `seed` is the walks' (MOCK, where
    any symbol may be asked for unless `symbols` names them). `limit` ends the mock walks after so many
    rows. `poll_seconds` is the pause between two rows of a stream, slept on `clock`.
    Raises: DataError for LIVE, which is not built yet, and whatever `load_panel` raises.
    """

    def __init__(
        self,
        mode: MarketDataMode | str = MarketDataMode.MOCK,
        *,
        data: str | Path | pd.DataFrame | Panel | None = None,
        symbols: Sequence[str] | None = None,
        universe: Path | None = None,
        config: DataConfig | None = None,
        seed: int = 0,
        history_bars: int | None = None,
        limit: int | None = None,
        poll_seconds: float = 0.0,
        clock: Clock | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self.mode = _mode(mode)
        self._config = config or DataConfig()
        self._seed = seed
        self._limit = limit
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._open_ended = self.mode is MarketDataMode.MOCK and symbols is None
        if self.mode is MarketDataMode.MOCK:
            if data is not None and not (isinstance(data, str) and data == MOCK):
                raise DataError("a MOCK feed takes no data.", "Use MarketDataMode.FILE to read it.")
            start = self._config.mock_bars if history_bars is None else history_bars
            first = start if limit is None else min(start, limit)
            self._names = tuple(symbols) if symbols is not None else None
            self._panel = self._walks(self._names, max(first, 1))
        else:
            if isinstance(data, str) and data == MOCK:
                raise DataError("a FILE feed cannot read mock.", "Use MarketDataMode.MOCK.")
            self._panel = (
                data
                if isinstance(data, Panel)
                else load_panel(
                    data,
                    config=self._config,
                    symbols=symbols,
                    universe=universe,
                    data_dir=data_dir,
                )
            )
            first = self._panel.rows - 1 if history_bars is None else history_bars
        if first < 0:
            raise DataError(f"history_bars is {first}.", "Give 0 or more.")
        self._cursor = min(first, self._panel.rows)
        self._side: dict[str, Panel] = {}
        self._shown: dict[str, int] = {}
        self._subscribed: dict[str, list[Callback]] = {}

    @property
    def panel(self) -> Panel:
        """The bars this feed is a view over; for MOCK as far as they have been made (`extend`)."""
        return self._panel

    @property
    def cursor(self) -> int:
        """The row that comes next: the number of rows that are history."""
        return self._cursor

    def extend(self, rows: int) -> Panel:
        """The panel, grown so that `rows` rows lie at and after the cursor, if the walks go on so long."""
        self._ready(self._cursor + rows - 1)
        return self._panel

    def get_symbols(self) -> tuple[str, ...]:
        """The symbols in panel order."""
        return self._panel.symbols

    async def get_historical_data(
        self,
        symbol: str,
        start: Moment | None = None,
        end: Moment | None = None,
        days: int | None = None,
        interval: str | None = None,
    ) -> list[OHLCV]:
        """A symbol's bars that are history, oldest first; none is an empty list.

        `start` and `end` are inclusive and compare with the moment a bar became known; `days` keeps the
        last so many dates that have a bar; `interval` (None: the data's own) may be spelled in other units
        (`60m` for `1h`).
        Raises: DataError for an unknown symbol, an interval the data does not have, `start` after `end`.
        """
        panel = self._panel_of(symbol)
        if interval is not None and parse_interval(interval) != parse_interval(panel.interval):
            raise DataError(
                f"{panel.name} has bars of {panel.interval}, not {interval}.",
                "Ask for its own interval; bars are not resampled.",
            )
        if start is not None and days is not None:
            raise DataError("both start and days are given.", "Give one of them.")
        if days is not None and days < 1:
            raise DataError(f"days is {days}.", "Give 1 or more.")
        column = panel.symbols.index(symbol)
        rows = np.flatnonzero(~np.isnan(panel.stack[CLOSE, : self._cursor, column]))
        times = panel.times[rows]
        after = 0
        if end is not None:
            rows = rows[times <= end_moment(end)]
            after = int(rows[-1]) + 1 if len(rows) else 0
        if start is not None:
            first, _ = parse_moment(start)
            if end is not None and first > end_moment(end):
                raise DataError(f"start {start} lies after end {end}.", "Exchange them.")
            rows = rows[panel.times[rows] >= first]
        if days is not None and len(rows):
            dates = panel.times[rows].astype("datetime64[D]")
            rows = rows[dates >= np.unique(dates)[-days:][0]]
        if len(rows):
            after = int(rows[-1]) + 1
        if len(rows) or end is not None:
            self._shown[symbol] = max(self._shown.get(symbol, 0), after)
        return [bar for row in rows.tolist() if (bar := bar_at(panel, row, column)) is not None]

    async def get_realtime_data(self, symbol: str) -> OHLCV | None:
        """The bar right after the history of this symbol; None where the data ends.

        Asked again it gives the same bar, until more history is shown or the stream moves on.
        """
        row = self._shown.get(symbol, self._cursor)
        while True:
            panel = self._panel_of(symbol)
            column = panel.symbols.index(symbol)
            found = np.flatnonzero(~np.isnan(panel.stack[CLOSE, row:, column]))
            if len(found):
                return bar_at(panel, row + int(found[0]), column)
            if not self._ready(max(row, panel.rows)):
                return None

    async def subscribe(
        self, symbols: Iterable[str] | str, callback: Callback | None = None
    ) -> None:
        """Stream these symbols only; `callback`, plain or async, is given each row's bars of them."""
        for symbol in [symbols] if isinstance(symbols, str) else list(symbols):
            self._panel_of(symbol)
            callbacks = self._subscribed.setdefault(symbol, [])
            if callback is not None and callback not in callbacks:
                callbacks.append(callback)

    async def unsubscribe(self, symbols: Iterable[str] | str | None = None) -> None:
        """Take symbols (None: all) out of the subscription; without any left, the stream gives all again."""
        if symbols is None:
            self._subscribed.clear()
            return
        for symbol in [symbols] if isinstance(symbols, str) else list(symbols):
            self._subscribed.pop(symbol, None)

    async def stream(self) -> AsyncIterator[tuple[OHLCV, ...]]:
        """The bars of one moment after the other, in panel order; a moment without one is passed over."""
        async for row in self.rows():
            bars = tuple(self._bars(row.row))
            if not bars:
                continue
            await self._call_back(bars)
            yield bars

    async def rows(self) -> AsyncIterator[FeedRow]:
        """The panel's rows from the cursor on, all symbols; each moves the cursor past itself."""
        first = True
        while self._ready(self._cursor):
            if not first and self._poll_seconds > 0:
                await self._sleep(self._poll_seconds)
                if not self._ready(self._cursor):
                    return
            first = False
            row = self._cursor
            self._cursor += 1
            self._shown.clear()
            panel = self._panel
            yield FeedRow(
                row,
                panel.times[row],
                panel.as_of[row],
                panel.symbols,
                panel.stack[:BAR_FIELDS, row, :],
            )

    def _bars(self, row: int) -> list[OHLCV]:
        names = [
            name for name in self._panel.symbols if not self._subscribed or name in self._subscribed
        ]
        names += [name for name in self._subscribed if name not in self._panel.symbols]
        bars = []
        for name in names:
            panel = self._panel_of(name)
            bar = bar_at(panel, row, panel.symbols.index(name))
            if bar is not None:
                bars.append(bar)
        return bars

    async def _call_back(self, bars: tuple[OHLCV, ...]) -> None:
        wanted: dict[Callback, list[OHLCV]] = {}
        for bar in bars:
            for callback in self._subscribed.get(bar.symbol, ()):
                wanted.setdefault(callback, []).append(bar)
        for callback, own in wanted.items():
            answer = callback(tuple(own))
            if inspect.isawaitable(answer):
                await answer

    async def _sleep(self, seconds: float) -> None:
        if self._clock is None:
            await asyncio.sleep(seconds)
        else:
            await self._clock.sleep(seconds)

    def _walks(self, names: Sequence[str] | None, rows: int) -> Panel:
        return mock_panel(names, self._config, seed=self._seed, bars=rows)

    def _ready(self, row: int) -> bool:
        """Whether the panel has this row; mock walks are made longer, to twice their length at least, until
        the calendar's last session."""
        if row < self._panel.rows:
            return True
        if self.mode is not MarketDataMode.MOCK:
            return False
        wanted = max(row + 1, 2 * self._panel.rows)
        most = wanted if self._limit is None else self._limit
        if wanted > NO_END_NEAR:
            most = min(most, most_mock_bars(self._config.calendar))
        if row >= most:
            return False
        self._panel = self._walks(self._names, min(wanted, most))
        return True

    def _panel_of(self, symbol: str) -> Panel:
        """The panel that holds a symbol: the feed's, or a mock walk of its own that keeps pace with it."""
        if symbol in self._panel.symbols:
            return self._panel
        if not self._open_ended:
            require_symbols([symbol], self._panel.symbols, self._panel.name)
        side = self._side.get(symbol)
        if side is None or side.rows < self._panel.rows:
            side = self._side[symbol] = self._walks((symbol,), self._panel.rows)
        return side


def _mode(mode: MarketDataMode | str) -> MarketDataMode:
    try:
        known = MarketDataMode(mode.lower() if isinstance(mode, str) else mode)
    except ValueError as error:
        raise DataError(f"there is no market data mode {mode!r}.", "Use mock or file.") from error
    if known is MarketDataMode.LIVE:
        raise DataError(
            "the LIVE feed is not built yet; it comes in a later version.",
            "Fetch bars with `athena data fetch SYMBOL` and read them with MarketDataMode.FILE.",
        )
    return known
