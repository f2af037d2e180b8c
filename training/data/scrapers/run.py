"""`athena data scrape`: build the scraper that was asked for, run it, write its items.

Owns the name of the file and the result that the command prints. Refuses to know the command line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from core.clock import SystemClock
from core.config import AthenaConfig
from core.errors import UsageError
from core.files import storage_errors
from core.protocols import Clock
from core.redact import bare_url
from training.data.scrapers.base import Scrape, Scraper, collect, write_items
from training.data.scrapers.filings import FORMS, SEC, SEC_DATA, FilingsScraper
from training.data.scrapers.http import PoliteClient
from training.data.scrapers.market import FRED, MacroScraper, MarketScraper
from training.data.scrapers.news import YAHOO, Feed, NewsScraper
from training.data.scrapers.social import SERVER, SocialScraper

log = logging.getLogger(__name__)

Kind = Literal["news", "filings", "market", "social"]
FOLDER = "scraped"


@dataclass(frozen=True, slots=True)
class ScrapeOptions:
    """The options of `athena data scrape KIND`; those of other kinds stay at their defaults."""

    kind: Kind
    symbols: tuple[str, ...] = ()
    out: Path | None = None
    start: date | None = None
    end: date | None = None
    feeds: tuple[str, ...] = ()
    forms: tuple[str, ...] = FORMS
    limit: int | None = None
    macro: tuple[str, ...] = ()
    offline_table: bool = False
    server: str | None = None
    fred_url: str = FRED
    fred_key: str | None = None
    sec_url: str | None = None
    sec_data_url: str | None = None
    cache_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class ScrapeReport:
    """What `athena data scrape` says. `skipped` counts what was left out, `reasons` says why."""

    path: str
    items: int
    skipped: int
    reasons: dict[str, int]
    licences: dict[str, int]
    start: str | None
    end: str | None
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def scrape(
    options: ScrapeOptions, config: AthenaConfig, *, clock: Clock | None = None
) -> ScrapeReport:
    """Ask the source and write what it gave; a source that cannot be asked leaves no file.

    Raises: UsageError, DataError, StorageError.
    """
    clock = clock or SystemClock()
    with storage_errors(config.data_dir):
        for folder in (config.data_dir, config.data_dir / FOLDER):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = asyncio.run(_scrape(options, config, clock))
    path = options.out or (
        config.data_dir / FOLDER / f"{options.kind}-{clock.now():%Y%m%dT%H%M%SZ}.parquet"
    )
    digest = write_items(path, found.items, kind=options.kind)
    licences: dict[str, int] = {}
    for item in found.items:
        licences[item.licence] = licences.get(item.licence, 0) + 1
    times = [item.time.isoformat().replace("+00:00", "Z") for item in found.items]
    return ScrapeReport(
        str(path),
        len(found.items),
        sum(found.skipped.values()),
        found.skipped,
        licences,
        times[0] if times else None,
        times[-1] if times else None,
        digest,
    )


async def _scrape(options: ScrapeOptions, config: AthenaConfig, clock: Clock) -> Scrape:
    async with AsyncExitStack() as stack:
        client: PoliteClient | None = None
        if options.kind in ("news", "social", "filings") or (
            options.macro and not options.offline_table
        ):
            client = await stack.enter_async_context(
                PoliteClient(
                    cache_dir=config.data_dir / FOLDER / ".http-cache",
                    cache_seconds=options.cache_seconds,
                    max_bytes=config.max_unpacked_bytes,
                    contact=config.data.contact,
                )
            )
        return await collect(_scraper(options, config, client, clock))


def _scraper(
    options: ScrapeOptions, config: AthenaConfig, client: PoliteClient | None, clock: Clock
) -> Scraper:
    symbols = options.symbols
    span: dict[str, Any] = {"start": options.start, "end": options.end}
    more: dict[str, Any] = {} if options.limit is None else {"limit": options.limit}
    if options.kind == "news":
        assert client is not None
        return NewsScraper(_feeds(symbols, options.feeds), client, clock=clock)
    if options.kind == "social":
        assert client is not None
        return SocialScraper(_named(symbols), client, server=options.server or SERVER, **more)
    if options.kind == "filings":
        assert client is not None
        return FilingsScraper(
            _named(symbols),
            client,
            contact=config.data.contact,
            forms=options.forms,
            base_url=options.sec_url or SEC,
            data_url=options.sec_data_url or SEC_DATA,
            **span,
            **more,
        )
    if options.macro or options.offline_table:
        if symbols:
            raise UsageError(
                f"symbols ({', '.join(symbols)}) and macro series are two scrapes.",
                "Ask for one of them at a time.",
            )
        return MacroScraper(
            options.macro,
            client,
            api_key=options.fred_key,
            offline_table=options.offline_table,
            base_url=options.fred_url,
            **span,
        )
    return MarketScraper(
        _named(symbols),
        calendar=config.data.calendar,
        cache_dir=config.data_dir,
        clock=clock,
        **span,
    )


def _feeds(symbols: Sequence[str], templates: Sequence[str]) -> list[Feed]:
    """Every address for every symbol; without symbols each address once, without addresses Yahoo's."""
    if not symbols and not templates:
        raise UsageError("no symbol and no feed.", "Name symbols, or addresses with --feed.")
    feeds = []
    for template in templates or (YAHOO,):
        if not symbols and "{symbol}" in template:
            raise UsageError(
                f"--feed {bare_url(template)} wants symbols.", "Name one or more symbols."
            )
        feeds += [Feed.of(template, symbol) for symbol in symbols] or [Feed(template)]
    return feeds


def _named(symbols: Sequence[str]) -> Sequence[str]:
    if not symbols:
        raise UsageError("no symbol is named.", "Name one or more symbols.")
    return symbols
