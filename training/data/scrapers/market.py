"""Figures as sentences: daily prices by yfinance, macro indicators by FRED with their vintages.

Owns the wording and the moment each figure became public. A price is public at its session's close; a macro
figure when the day of its release ends in New York (FRED gives days), and a revision is an item of its own.
The offline table is made up, says so in every item, and is given only when it is asked for by name.

Source: FRED API, `fred/series/observations` with real-time periods (ALFRED).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from core.clock import SystemClock
from core.errors import DataError
from core.protocols import Clock
from training.data.scrapers.base import ScrapedItem
from training.data.scrapers.http import PoliteClient

YAHOO_LICENCE = "Yahoo's terms: personal use"
FRED = "https://api.stlouisfed.org"
FRED_LICENCE = "FRED terms of use; the series' owner may hold rights"
OFFLINE_SOURCE = "offline table (made up, not data)"
OFFLINE_LICENCE = "CC0-1.0"
NEW_YORK = ZoneInfo("America/New_York")
PAGE = 100_000
"""Observations a page; the most that FRED gives."""

MACRO_SERIES: dict[str, tuple[str, float, float]] = {
    "CPIAUCSL": ("consumer price index", 250.0, 30.0),
    "UNRATE": ("unemployment rate, percent", 5.5, 2.5),
    "FEDFUNDS": ("federal funds rate, percent", 2.5, 2.5),
    "GS10": ("10-year treasury yield, percent", 3.0, 1.5),
    "PAYEMS": ("nonfarm payrolls, thousands", 145_000.0, 10_000.0),
    "INDPRO": ("industrial production index", 100.0, 8.0),
}
"""Series asked for when none are named: what each is, and the middle and reach of its made-up values."""


class MarketScraper:
    """Daily bars of symbols, one sentence a bar. `options` go to `trading.sources.yahoo.fetch_bars`."""

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        start: date | None = None,
        end: date | None = None,
        calendar: str = "XNYS",
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._symbols = list(dict.fromkeys(symbols))
        self._span: dict[str, Any] = {"start": start, "end": end}
        self._calendar = calendar
        self._clock = clock or SystemClock()
        self._options = options

    async def fetch(self) -> AsyncIterator[ScrapedItem]:
        """Raises: DataError when Yahoo cannot be asked, DataFaults for bars that cannot be true."""
        from trading.sources.faults import DataFaults
        from trading.sources.file import check_source
        from trading.sources.source import Source
        from trading.sources.table import frame_table
        from trading.sources.yahoo import fetch_bars

        frames = await asyncio.to_thread(fetch_bars, self._symbols, **self._span, **self._options)
        self.skipped["symbol without bars"] += len(self._symbols) - len(frames)
        self.skipped += Counter()  # zero counts go
        if not frames:
            return
        tables = tuple(frame_table(frame, symbol) for symbol, frame in frames.items())
        checked = check_source(Source("Yahoo", tables, ""), calendar=self._calendar)
        if checked.faults:
            raise DataFaults(checked.faults)
        now = np.datetime64(self._clock.now().astimezone(UTC).replace(tzinfo=None), "ns")
        for symbol, series in checked.series.items():
            self.skipped["session not closed"] += int((series.known > now).sum())
            self.skipped += Counter()
            for at in np.flatnonzero(series.known <= now).tolist():
                moment = _utc(series.known[at])
                open_, high, low, close, volume = (float(row[at]) for row in series.raw[:5])
                yield ScrapedItem(
                    moment,
                    symbol,
                    f"{symbol} closed at {close:.2f} on {np.datetime64(int(series.days[at]), 'D')}, after "
                    f"{low:.2f} to {high:.2f}, open {open_:.2f}"
                    + (f", volume {volume:.0f}." if math.isfinite(volume) else "."),
                    "Yahoo Finance",
                    YAHOO_LICENCE,
                    "interface",
                    value=close,
                )


class MacroScraper:
    """Macro indicators, every release and revision; or the made-up table with `offline_table`."""

    def __init__(
        self,
        series: Sequence[str] = (),
        client: PoliteClient | None = None,
        *,
        api_key: str | None = None,
        start: date | None = None,
        end: date | None = None,
        offline_table: bool = False,
        base_url: str = FRED,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._arguments: dict[str, Any] = {
            "series": series, "client": client, "api_key": api_key, "start": start, "end": end,
            "offline_table": offline_table, "base_url": base_url, "skipped": self.skipped,
        }  # fmt: skip

    def fetch(self) -> AsyncIterator[ScrapedItem]:
        """As `scrape_macro_indicators`."""
        return scrape_macro_indicators(**self._arguments)


async def scrape_macro_indicators(
    series: Sequence[str] = (),
    client: PoliteClient | None = None,
    *,
    api_key: str | None = None,
    start: date | None = None,
    end: date | None = None,
    offline_table: bool = False,
    base_url: str = FRED,
    skipped: Counter[str] | None = None,
) -> AsyncIterator[ScrapedItem]:
    """Every vintage of macro series, of the months from `start` to `end` (inclusive).

    With `offline_table` the items come from no source: they are made up, the same in every process, and
    labelled so in `source` and `text`; they are for trying things out.
    Raises: DataError without a key, offline, and for an answer of another shape. Nothing is made up then.
    """
    names = list(dict.fromkeys(series or MACRO_SERIES))
    if offline_table:
        for item in offline_macro_table(
            names, start or date(2010, 1, 1), end or date(2019, 12, 31)
        ):
            yield item
        return
    if not api_key or client is None:
        raise DataError(
            "FRED wants a key, and none is set.",
            "Set the variable FRED_API_KEY (free of charge from FRED), or ask for the made-up "
            "--offline-table.",
        )
    url = f"{base_url.rstrip('/')}/fred/series/observations"
    for name in names:
        done = 0
        while True:
            params = {
                "series_id": name, "api_key": api_key, "file_type": "json", "limit": str(PAGE),
                "offset": str(done), "realtime_start": "1776-07-04", "realtime_end": "9999-12-31",
                "observation_start": (start or date(1776, 7, 4)).isoformat(),
                "observation_end": (end or date(9999, 12, 31)).isoformat(),
            }  # fmt: skip
            rows, total = _observations(name, await client.get(url, params, robots=False))
            for row in rows:
                vintage = _vintage(name, row)
                if vintage is not None:
                    yield vintage
                elif skipped is not None:
                    skipped["no value"] += 1
            done += len(rows)
            if not rows or done >= total:
                break


def offline_macro_table(series: Sequence[str], start: date, end: date) -> list[ScrapedItem]:
    """A made-up value for every month and series, public on the 15th of the next month. The same anywhere."""
    items = []
    for name in series:
        what, middle, reach = MACRO_SERIES.get(name, (name, 100.0, 10.0))
        month = date(start.year, start.month, 1)
        while month <= end:
            share = _stable_hash(f"{name}:{month:%Y-%m}") % 10_001 / 10_000
            value = round(middle + reach * (2.0 * share - 1.0), 2)
            following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
            items.append(
                ScrapedItem(
                    datetime.combine(following + timedelta(days=14), time(13, 30), UTC),
                    "",
                    f"Made up, not data: {what} ({name}) of {month:%Y-%m} is {value}.",
                    OFFLINE_SOURCE,
                    OFFLINE_LICENCE,
                    "none",
                    value=value,
                )
            )
            month = following
    return items


def _stable_hash(text: str) -> int:
    """64 bits of SHA-256: the same in every process, which Python's own `hash` of text is not."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _observations(name: str, body: bytes | None) -> tuple[list[dict[str, Any]], int]:
    try:
        answer = json.loads(body or b"")
        return list(answer["observations"]), int(answer.get("count", 0))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"FRED gave no observations of {name} ({type(error).__name__}: {error}).",
            "Try again later.",
        ) from error


def _vintage(name: str, row: dict[str, Any]) -> ScrapedItem | None:
    """One release of one month's value; None where FRED writes that there is none (".")."""
    try:
        if row["value"] == ".":
            return None
        value = float(row["value"])
        month, released = date.fromisoformat(row["date"]), date.fromisoformat(row["realtime_start"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"FRED gave an observation of {name} of another shape ({type(error).__name__}: {error}).",
            "Try again later.",
        ) from error
    what = MACRO_SERIES.get(name, (name, 0.0, 0.0))[0]
    public = datetime.combine(released + timedelta(days=1), time(), NEW_YORK).astimezone(UTC)
    text = f"{what} ({name}) of {month:%Y-%m} is {row['value']}, released {released}."
    url = f"https://fred.stlouisfed.org/series/{name}"
    return ScrapedItem(public, "", text, "FRED", FRED_LICENCE, "interface", url, value)


def _utc(moment: np.datetime64) -> datetime:
    seconds = int(moment.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC)
