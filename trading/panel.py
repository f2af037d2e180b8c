"""The panel: bars of many symbols as arrays, in the order in which symbols first appeared.

Owns the layout and the rule of who is visible when. Refuses to know files, vendors and fault lists
(`trading/sources`), and money. The whole panel is known to whoever holds it: strategies and agents are
given a `trading.history.History` instead, into which rows are copied one by one.

Layout: `stack` is float64 [F, T, N], F the fields of `FIELDS`. NaN marks a missing bar in the price
and volume fields; `mark` is the last known close and `stale` how many of its own bars a symbol has missed by
the calendar since its last one (`trading/delisting.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.config import DataConfig
from trading.delisting import stale_bars
from trading.intervals import is_intraday

if TYPE_CHECKING:
    from trading.price_warnings import PriceWarning

FloatArray = npt.NDArray[np.float64]

FIELDS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "raw_open",
    "raw_high",
    "raw_low",
    "raw_close",
    "raw_volume",
    "mark",
    "stale",
)
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
RAW_OPEN, RAW_HIGH, RAW_LOW, RAW_CLOSE, RAW_VOLUME = range(5, 10)
MARK, STALE = 10, 11
NO_VOLUME = "The data have no volume: no participation cap and no market impact."
"""The note of a panel without volume, and of a run on it: said once."""
BAR_FIELDS = 10
"""The first ten fields are a bar as it came in; `mark` and `stale` follow from them."""

NEVER = np.iinfo(np.int64).max
"""A row index after every row: a symbol that stays a member of the universe."""


Members = Mapping[str, tuple[np.datetime64 | None, np.datetime64 | None]]


@dataclass(frozen=True, slots=True)
class PanelOrigin:
    """What a panel was read with, for those who cut it (`trading/sources/cut.py`).

    `members` is the universe that it was read with; `unlisted` are the times [K] and dates [K] of the bars of
    those who never became visible, which are rows all the same; `places` are the stamps [K] and lines [K] of
    each symbol's bars in the input; `mock_seed` and `mock_names` are what its walks were made of.
    """

    config: DataConfig
    members: Members | None = None
    unlisted: Mapping[str, tuple[npt.NDArray[np.datetime64], npt.NDArray[np.int64]]] = field(
        default_factory=dict
    )
    places: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(
        default_factory=dict
    )
    mock_seed: int | None = None
    mock_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Bars of N symbols over T rows.

    Shapes: `stack` [F, T, N]; `times` [T] datetime64[ns], UTC, the moment each row became known;
    `as_of` T strings of the same moments, ISO 8601; `listed_at` [N] the row from which a symbol is
    visible (ascending, ties by name: the visible symbols of any row are a prefix); `leaves_at` [N] the
    first row at which it is no longer a member of the universe (`NEVER` if it stays); `days` [T] the date of
    each row's bars (days since 1970), None where only the times tell it.
    Units: prices in `currency`, adjusted and rounded to 10 significant digits; `volume` is raw volume x
    raw close / adjusted close, so that price x volume is the dollars that really changed hands.
    `warnings` is what is doubtful in the prices, found in all rows: for people, never for a decision.
    """

    symbols: tuple[str, ...]
    times: npt.NDArray[np.datetime64]
    as_of: tuple[str, ...]
    stack: FloatArray
    listed_at: npt.NDArray[np.int64]
    leaves_at: npt.NDArray[np.int64]
    name: str
    mock: bool = False
    interval: str = "1d"
    calendar: str = "XNYS"
    currency: str = "USD"
    has_volume: bool = True
    sha256: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[PriceWarning, ...] = ()
    days: npt.NDArray[np.int64] | None = None
    origin: PanelOrigin | None = None

    def __repr__(self) -> str:
        return (
            f"Panel({self.name}: {', '.join(self.symbols[:8])}"
            f"{f' and {len(self.symbols) - 8} more' if len(self.symbols) > 8 else ''}, {self.rows} rows of "
            f"{self.interval}, {self.as_of[0]} to {self.as_of[-1]})"
        )

    @property
    def rows(self) -> int:
        return len(self.as_of)

    @property
    def intraday(self) -> bool:
        """Whether a bar is shorter than a day, so that several belong to one session."""
        return is_intraday(self.interval)

    def field(self, name: str) -> FloatArray:
        """One field, [T, N]."""
        view: FloatArray = self.stack[FIELDS.index(name)]
        return view

    def visible(self, row: int) -> int:
        """How many symbols (a prefix of `symbols`) are visible at a row."""
        return int(np.searchsorted(self.listed_at, row, side="right"))


def build_panel(
    bars: Mapping[str, tuple[npt.NDArray[np.datetime64], FloatArray]],
    *,
    name: str,
    members: Members | None = None,
    **about: Any,
) -> Panel:
    """Line up each symbol's own bars on the union of their times.

    Shapes: `bars[symbol]` is (known times [K], ascending and unique; values [10, K] in the order of
    `FIELDS`). `members[symbol]` is (from, to), both inclusive, None for open ends. `about` goes to `Panel`.
    Point in time: a symbol is visible from its first bar on or after `from`; the bars before that
    become visible with it. Nothing here depends on a row's later rows.
    """
    members = members or {}
    times = np.unique(np.concatenate([known for known, _ in bars.values()]))
    rows = len(times)
    listed: dict[str, int] = {}
    leaves: dict[str, int] = {}
    for symbol, (known, _) in bars.items():
        start, end = members.get(symbol, (None, None))
        eligible = known if start is None else known[known >= start]
        if len(eligible) == 0:
            continue
        listed[symbol] = int(np.searchsorted(times, eligible[0]))
        leaves[symbol] = NEVER if end is None else int(np.searchsorted(times, end, side="right"))
    symbols = tuple(sorted(listed, key=lambda symbol: (listed[symbol], symbol)))
    stack = np.full((len(FIELDS), rows, len(symbols)), np.nan)
    for column, symbol in enumerate(symbols):
        known, values = bars[symbol]
        stack[:BAR_FIELDS, np.searchsorted(times, known), column] = values
    stack[MARK] = marks(stack[CLOSE])
    calendar, interval = about.get("calendar", "XNYS"), about.get("interval", "1d")
    stack[STALE] = stale_bars(stack[CLOSE], times, calendar, interval)
    return Panel(
        symbols=symbols,
        times=times,
        as_of=iso_times(times),
        stack=stack,
        listed_at=np.array([listed[symbol] for symbol in symbols], dtype=np.int64),
        leaves_at=np.array([leaves[symbol] for symbol in symbols], dtype=np.int64),
        name=name,
        **about,
    )


def as_traded_at(panel: Panel, row: int) -> Panel:
    """The same panel with each symbol's adjusted prices scaled so that they equal its raw prices at its
    last bar up to a row: quantities and limit prices are then real shares and real prices.

    Returns are unchanged. Point in time: only rows up to `row` choose the scale.
    """
    from trading.sources.adjust import round_significant

    stack = panel.stack.copy()
    for column in range(len(panel.symbols)):
        bars = np.flatnonzero(~np.isnan(stack[CLOSE, : row + 1, column]))
        if len(bars) == 0:
            continue
        last = bars[-1]
        scale = stack[RAW_CLOSE, last, column] / stack[CLOSE, last, column]
        if scale != 1.0:
            prices = stack[[OPEN, HIGH, LOW, CLOSE, MARK], :, column] * scale
            stack[[OPEN, HIGH, LOW, CLOSE, MARK], :, column] = round_significant(prices)
            stack[VOLUME, :, column] = round_significant(stack[VOLUME, :, column] / scale)
    return replace(panel, stack=stack)


def marks(close: FloatArray) -> FloatArray:
    """The last known close, [T, N], from closes [T, N] with NaN; NaN before the first."""
    here = ~np.isnan(close)
    row = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(here, row, -1), axis=0)
    return np.take_along_axis(close, np.maximum(last, 0), axis=0)


def iso_times(times: npt.NDArray[np.datetime64]) -> tuple[str, ...]:
    """ISO 8601 strings in UTC, seconds, `2012-05-18T20:00:00Z`."""
    text = np.datetime_as_string(times.astype("datetime64[s]"), unit="s")
    return tuple(f"{moment}Z" for moment in text.tolist())
