"""News from RSS and Atom feeds, read by feedparser.

Owns what an entry becomes. An entry that was changed after publication counts from its last change on,
for only then did its wording exist; one without any time is left out. A feed that is broken anywhere is an
error: half a feed looks like a quiet day.
"""

from __future__ import annotations

import io
from calendar import timegm
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from core.clock import SystemClock
from core.errors import DataError
from core.protocols import Clock
from core.redact import bare_url
from training.data.scrapers.base import ScrapedItem, missing_extra, plain_text
from training.data.scrapers.http import PoliteClient

YAHOO = "https://feeds.finance.yahoo.com/rss/2.0/headline?s={symbol}&region=US&lang=en-US"
"""Headlines about one symbol. Yahoo's terms allow personal use, not redistribution."""
PUBLISHERS = "the publisher's terms (the feed states no rights)"
STAMPS = ("published_parsed", "updated_parsed")
CLOCK_DIFFERENCE = timedelta(minutes=10)
"""How far ahead of ours a server's clock may be."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed's address and the symbol its entries are about ("" for none)."""

    url: str
    symbol: str = ""

    @classmethod
    def of(cls, template: str, symbol: str) -> Feed:
        """From an address in which `{symbol}` stands for the symbol."""
        return cls(template.replace("{symbol}", quote(symbol, safe="")), symbol)


class NewsScraper:
    """The entries of feeds, one after the other."""

    def __init__(
        self, feeds: Sequence[Feed], client: PoliteClient, *, clock: Clock | None = None
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._feeds = feeds
        self._client = client
        self._clock = clock or SystemClock()

    async def fetch(self) -> AsyncIterator[ScrapedItem]:
        """Raises: DataError when a feed cannot be read, or is no whole feed."""
        for feed in self._feeds:
            body = await self._client.get(feed.url)
            assert body is not None
            for item in self._items(feed, body):
                yield item

    def _items(self, feed: Feed, body: bytes) -> list[ScrapedItem]:
        parsed = _parse(bare_url(feed.url), body)
        rights = plain_text(parsed.feed.get("rights", "")) or PUBLISHERS
        source = urlsplit(bare_url(feed.url)).netloc
        found = []
        for entry in parsed.entries:
            stamps = [entry[name] for name in STAMPS if name in entry]
            moments = [datetime.fromtimestamp(timegm(stamp), UTC) for stamp in stamps if stamp]
            title = plain_text(entry.get("title", ""))
            summary = plain_text(entry.get("summary", ""))
            text = _joined(title, summary)
            if not moments:
                self.skipped["no publication time"] += 1
            elif not text:
                self.skipped["no text"] += 1
            elif max(moments) > self._clock.now() + CLOCK_DIFFERENCE:
                self.skipped["publication time in the future"] += 1
            else:
                found.append(
                    ScrapedItem(
                        max(moments),
                        feed.symbol,
                        text,
                        source,
                        rights,
                        "allowed",
                        bare_url(entry.get("link", "")),
                    )
                )
        return found


def _joined(title: str, summary: str) -> str:
    """Title and summary as one text; a summary that begins with the title tells it already."""
    if not title or summary.startswith(title):
        return summary
    return f"{title}. {summary}" if summary else title


def _parse(url: str, body: bytes) -> Any:
    try:
        import feedparser
    except ImportError as error:
        raise missing_extra(error) from error
    parsed = feedparser.parse(io.BytesIO(body))
    harmless = (feedparser.NonXMLContentType, feedparser.CharacterEncodingOverride)
    fault = parsed.get("bozo_exception") if parsed.bozo else None
    if fault is not None and not isinstance(fault, harmless):
        raise DataError(
            f"{url} gave a broken feed: {fault}.", "Try again later, or check the address."
        )
    if not parsed.get("version"):
        raise DataError(f"{url} gave no RSS or Atom feed.", "Check the address.")
    return parsed
