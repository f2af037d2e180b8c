"""Public posts about symbols, from the tag timelines of a Mastodon server.

Owns what a post becomes. The tag of AAPL is #AAPL. Posts belong to their authors: keep them for your own
research and do not pass them on. A post edited later counts from the edit on.

Source: the Mastodon API, `GET /api/v1/timelines/tag/:tag` (public, no key on most servers).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from core.errors import DataError
from core.redact import bare_url
from training.data.scrapers.base import ScrapedItem, plain_text
from training.data.scrapers.http import PoliteClient

SERVER = "https://mastodon.social"
PAGE = 40
"""Posts a page; the most that the API gives."""


class SocialScraper:
    """The newest posts about each symbol, at most `limit` a symbol."""

    def __init__(
        self,
        symbols: Sequence[str],
        client: PoliteClient,
        *,
        server: str = SERVER,
        limit: int = 200,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._symbols = symbols
        self._client = client
        self._server = server.rstrip("/")
        self._limit = limit

    async def fetch(self) -> AsyncIterator[ScrapedItem]:
        """Raises: DataError when the server cannot be read or its answer is no list of posts."""
        for symbol in self._symbols:
            tag = re.sub(r"[^A-Za-z0-9_]", "_", symbol)
            url = f"{self._server}/api/v1/timelines/tag/{tag}"
            before: str | None = None
            left = self._limit
            while left > 0:
                page = {"limit": str(min(PAGE, left))} | ({"max_id": before} if before else {})
                posts = _posts(url, await self._client.get(url, page, robots=False))
                for post in posts[:left]:
                    item = self._item(symbol, url, post)
                    if item is not None:
                        yield item
                left -= len(posts)
                following = str(posts[-1].get("id")) if posts else None
                if not posts or following == before:
                    break
                before = following

    def _item(self, symbol: str, url: str, post: dict[str, Any]) -> ScrapedItem | None:
        server = urlsplit(bare_url(self._server)).netloc
        try:
            written = datetime.fromisoformat(post["created_at"])
            edited = post.get("edited_at")
            moment = max(written, datetime.fromisoformat(edited)) if edited else written
            text = plain_text(post["content"])
            link = bare_url(str(post.get("url") or ""))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{bare_url(url)} gave a post of another shape ({type(error).__name__}: {error}).",
                "Is it a Mastodon server? Name another with --server.",
            ) from error
        reason = (
            "not public" if post.get("visibility", "public") != "public"
            else "no text" if not text
            else "a time without a zone" if moment.utcoffset() is None
            else None
        )  # fmt: skip
        if reason is not None:
            self.skipped[reason] += 1
            return None
        licence = f"its author's; terms of {server}"
        return ScrapedItem(moment, symbol, text, f"mastodon:{server}", licence, "interface", link)


def _posts(url: str, body: bytes | None) -> list[dict[str, Any]]:
    try:
        posts = json.loads(body or b"")
    except ValueError as error:
        raise DataError(f"{bare_url(url)} gave no JSON: {error}.", "Try again later.") from error
    if not isinstance(posts, list) or not all(isinstance(post, dict) for post in posts):
        raise DataError(f"{bare_url(url)} gave no list of posts.", "Is it a Mastodon server?")
    return posts
