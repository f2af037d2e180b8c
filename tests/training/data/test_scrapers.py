"""Every scraper against answers in the shape its source gives, whole and broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.clock import ReplayClock
from core.errors import DataError
from tests.conftest import ROOT
from tests.training.data.server import Answer, Query, Server, jsonned, serving, text
from training.data.scrapers.base import Scrape, ScrapedItem, collect, write_items
from training.data.scrapers.http import PoliteClient
from training.data.scrapers.market import (
    MacroScraper,
    _stable_hash,
    offline_macro_table,
    scrape_macro_indicators,
)
from training.data.scrapers.news import Feed, NewsScraper
from training.data.scrapers.social import SocialScraper

pytest.importorskip("feedparser", reason="the extra scrape is not installed")

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>Wire</title><copyright>Wire Ltd, no reuse</copyright>
<item><title>Acme &amp; Co raises guidance</title><link>https://wire.example/1</link>
<description>&lt;p&gt;Acme &lt;b&gt;raised&lt;/b&gt; its guidance.&lt;/p&gt;</description>
<pubDate>Mon, 03 Jun 2024 09:30:00 -0400</pubDate></item>
<item><title>Second</title><pubDate>Sun, 02 Jun 2024 10:00:00 GMT</pubDate></item>
<item><title>Without a time</title></item>
<item><title></title><pubDate>Sun, 02 Jun 2024 11:00:00 GMT</pubDate></item>
<item><title>From tomorrow</title><pubDate>Tue, 04 Jun 2024 12:00:00 GMT</pubDate></item>
</channel></rss>"""

ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>A</title>
<entry><title>Corrected headline</title><published>2024-06-01T08:00:00Z</published>
<updated>2024-06-02T08:00:00Z</updated></entry></feed>"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[PoliteClient]:
    async with PoliteClient(
        wait_seconds=0.0, requests_per_second=1000.0, timeout_seconds=2.0, attempts=2
    ) as found:
        yield found


def utc(words: str) -> datetime:
    return datetime.fromisoformat(words).replace(tzinfo=UTC)


# --- news


async def news(server: Server, client: PoliteClient, body: str) -> Scrape:
    server.answers["/feed"] = text(body)
    feeds = [Feed(f"{server.url}/feed", "ACME")]
    return await collect(NewsScraper(feeds, client, clock=ReplayClock(NOW)))


async def test_news_have_their_publication_time_symbol_and_rights(
    server: Server, client: PoliteClient
) -> None:
    later = ReplayClock(utc("2024-06-03 14:00"))
    server.answers["/feed"] = text(RSS)
    scraper = NewsScraper([Feed(f"{server.url}/feed", "ACME")], client, clock=later)
    found = await collect(scraper)
    assert [(item.time, item.symbol, item.text) for item in found.items] == [
        (utc("2024-06-02 10:00"), "ACME", "Second"),
        (utc("2024-06-03 13:30"), "ACME", "Acme & Co raises guidance. Acme raised its guidance."),
    ]
    assert {item.licence for item in found.items} == {"Wire Ltd, no reuse"}
    assert found.skipped == {
        "no publication time": 1, "no text": 1, "publication time in the future": 1,
    }  # fmt: skip


async def test_a_changed_entry_counts_from_its_change(server: Server, client: PoliteClient) -> None:
    found = await news(server, client, ATOM)
    assert [item.time for item in found.items] == [utc("2024-06-02 08:00")]
    assert "no rights" in found.items[0].licence


@pytest.mark.parametrize(
    "body", [RSS[:600], "<html><body>Sign in</body></html>", '{"items": []}', ""]
)
async def test_a_broken_feed_is_an_error_and_not_a_quiet_day(
    server: Server, client: PoliteClient, body: str
) -> None:
    with pytest.raises(DataError):
        await news(server, client, body)


async def test_an_empty_feed_is_no_news(server: Server, client: PoliteClient) -> None:
    empty = '<?xml version="1.0"?><rss version="2.0"><channel><title>W</title></channel></rss>'
    assert (await news(server, client, empty)).items == ()


# --- social


def post(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "created_at": f"2024-06-01T10:00:{number:02d}.000Z",
        "edited_at": None,
        "visibility": "public",
        "content": f"<p>post {number} on #ACME</p>",
        "url": f"https://m.example/{number}",
    } | more


async def test_posts_are_read_page_by_page(server: Server, client: PoliteClient) -> None:
    def pages(query: Query) -> Answer:
        before = int(query.get("max_id", ["99"])[0])
        return jsonned([post(at) for at in range(50, 0, -1) if at < before][:40])

    server.answers["/api/v1/timelines/tag/ACME"] = pages
    found = await collect(SocialScraper(["ACME"], client, server=server.url))
    assert [item.text for item in found.items] == [f"post {at} on #ACME" for at in range(1, 51)]
    assert found.items[0].time == utc("2024-06-01 10:00:01")


async def test_an_edited_post_counts_from_the_edit_and_private_ones_are_left_out(
    server: Server, client: PoliteClient
) -> None:
    posts = [post(2, edited_at="2024-06-02T10:00:00.000Z"), post(1, visibility="private")]
    server.answers["/api/v1/timelines/tag/ACME"] = [jsonned(posts), jsonned([])]
    found = await collect(SocialScraper(["ACME"], client, server=server.url))
    assert [item.time for item in found.items] == [utc("2024-06-02 10:00")]
    assert found.skipped == {"not public": 1}


@pytest.mark.parametrize("body", ['[{"id": "1"}]', '[{"id"', '{"error": "no"}', "<html>"])
async def test_another_shape_of_posts_is_an_error(
    server: Server, client: PoliteClient, body: str
) -> None:
    server.answers["/api/v1/timelines/tag/ACME"] = text(body)
    with pytest.raises(DataError, match="gave"):
        await collect(SocialScraper(["ACME"], client, server=server.url))


# --- macro


def fred(rows: list[dict[str, str]]) -> Answer:
    return jsonned({"count": len(rows), "observations": rows})


async def test_every_vintage_is_public_after_the_day_of_its_release(
    server: Server, client: PoliteClient
) -> None:
    rows = [
        {"realtime_start": "2024-02-01", "realtime_end": "2024-02-28", "date": "2024-01-01", "value": "3.7"},
        {"realtime_start": "2024-02-29", "realtime_end": "9999-12-31", "date": "2024-01-01", "value": "3.8"},
        {"realtime_start": "2024-03-01", "realtime_end": "9999-12-31", "date": "2024-02-01", "value": "."},
    ]  # fmt: skip
    server.answers["/fred/series/observations"] = fred(rows)
    scraper = MacroScraper(["UNRATE"], client, api_key="k", base_url=server.url)
    found = await collect(scraper)
    # Midnight in New York at the end of the day of release is 05:00 UTC in winter.
    assert [(item.time, item.value) for item in found.items] == [
        (utc("2024-02-02 05:00"), 3.7),
        (utc("2024-03-01 05:00"), 3.8),
    ]
    assert found.skipped == {"no value": 1}
    assert {item.source for item in found.items} == {"FRED"}


@pytest.mark.parametrize("body", ["", "{}", '{"observations": [{"value": "x"}]}', "<html>"])
async def test_another_shape_of_observations_is_an_error(
    server: Server, client: PoliteClient, body: str
) -> None:
    server.answers["/fred/series/observations"] = text(body)
    with pytest.raises(DataError, match="FRED gave"):
        await collect(MacroScraper(["UNRATE"], client, api_key="k", base_url=server.url))


async def test_without_a_key_or_a_connection_nothing_is_made_up(client: PoliteClient) -> None:
    with pytest.raises(DataError, match="wants a key"):
        await collect(MacroScraper(["UNRATE"], client))
    unreachable = MacroScraper(["UNRATE"], client, api_key="k", base_url="http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be read"):
        await collect(unreachable)


async def test_the_offline_table_says_that_it_is_made_up() -> None:
    items = [
        item
        async for item in scrape_macro_indicators(
            ["UNRATE"], offline_table=True, start=date(2020, 1, 1), end=date(2020, 12, 31)
        )
    ]
    assert len(items) == 12
    assert all("Made up" in item.text and "made up" in item.source for item in items)
    # January's figure is public in the middle of February, never in January.
    assert items[0].time == utc("2020-02-15 13:30")
    # 5.5 +- 2.5: every value lies between 3 and 8.
    assert all(3.0 <= (item.value or 0.0) <= 8.0 for item in items)


def test_the_stable_hash_is_the_same_in_every_process(tmp_path: Path) -> None:
    # The first 8 bytes of SHA-256 of "CPIAUCSL:2024-01", computed by another tool.
    probe = (
        "from training.data.scrapers.market import _stable_hash, offline_macro_table\n"
        "from datetime import date\n"
        "print(_stable_hash('CPIAUCSL:2024-01'))\n"
        "print(offline_macro_table(['CPIAUCSL'], date(2024, 1, 1), date(2024, 12, 1)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4242")
    }  # fmt: skip
    assert len(outputs) == 1
    assert outputs.pop().splitlines()[0] == str(_stable_hash("CPIAUCSL:2024-01"))


# --- items and their file


def test_an_item_needs_a_zone_a_source_and_a_licence() -> None:
    good: dict[str, Any] = {
        "time": NOW, "symbol": "A", "text": "t", "source": "s", "licence": "l", "robots": "allowed",
    }  # fmt: skip
    ScrapedItem(**good)
    for name, value in {
        "time": datetime(2024, 1, 1),
        "text": " ",
        "source": "",
        "licence": "",
    }.items():
        with pytest.raises(ValueError, match=name):
            ScrapedItem(**(good | {name: value}))


def test_the_table_holds_what_was_scraped(tmp_path: Path) -> None:
    items = offline_macro_table(["UNRATE"], date(2024, 1, 1), date(2024, 2, 1))
    digest = write_items(tmp_path / "new" / "a.parquet", items, kind="market")
    again = write_items(tmp_path / "b.parquet", items, kind="market")
    table = pq.read_table(tmp_path / "new" / "a.parquet")
    assert table.column_names == [
        "time", "symbol", "text", "source", "licence", "robots", "url", "value",
    ]  # fmt: skip
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert table.column("robots").to_pylist() == ["none", "none"]
    assert table.column("time").to_pylist() == [item.time for item in items]
    about = json.loads((table.schema.metadata or {})[b"athena-text"])
    assert about["items"] == 2
    assert about["sha256"] == digest == again
    assert about["licences"] == {"CC0-1.0": 2}
