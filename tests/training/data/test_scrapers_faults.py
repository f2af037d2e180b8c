"""Every source with every fault: it is asked again where that helps, and no item is ever made up."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.clock import ReplayClock
from core.errors import DataError
from tests.training.data.server import Answer, Server, jsonned, serving, text
from tests.training.data.test_scrapers import ATOM, fred, post
from training.data.scrapers.base import Scraper, collect
from training.data.scrapers.filings import FilingsScraper
from training.data.scrapers.http import PoliteClient
from training.data.scrapers.market import MacroScraper, MarketScraper
from training.data.scrapers.news import Feed, NewsScraper
from training.data.scrapers.social import SocialScraper

if any(find_spec(name) is None for name in ("feedparser", "httpx", "yfinance")):
    pytest.skip("the extras scrape and live are not installed", allow_module_level=True)

from tests.trading.test_sources_yahoo import DAYS, cache_dir, chart
from tests.training.data.edgar import Company

__all__ = ["cache_dir"]

pytestmark = [
    # yfinance 1.7 still says inplace, which pandas 3.1 deprecates.
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning"),
]

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)
LATE_SECONDS, TIME_OUT_SECONDS = 30.0, 0.3


@dataclass(frozen=True)
class Source:
    """One scraper, the path that it asks, a good answer, and how many items that has."""

    server: Server
    scraper: Scraper
    path: str
    good: Answer
    items: int


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[PoliteClient]:
    async with PoliteClient(
        wait_seconds=0.0, requests_per_second=1000.0, timeout_seconds=TIME_OUT_SECONDS, attempts=3
    ) as found:
        yield found


@pytest.fixture(params=["news", "social", "macro", "market", "filings"])
def source(
    request: pytest.FixtureRequest, server: Server, client: PoliteClient, cache_dir: Path
) -> Source:
    if request.param == "news":
        feed = Feed(f"{server.url}/feed", "ACME")
        scraper: Scraper = NewsScraper([feed], client, clock=ReplayClock(NOW))
        return Source(server, scraper, "/feed", text(ATOM), 1)
    if request.param == "social":
        scraper = SocialScraper(["ACME"], client, server=server.url, limit=2)
        answer = jsonned([post(2), post(1)])
        return Source(server, scraper, "/api/v1/timelines/tag/ACME", answer, 2)
    if request.param == "macro":
        scraper = MacroScraper(["UNRATE"], client, api_key="k", base_url=server.url)
        row = {"realtime_start": "2024-02-01", "date": "2024-01-01", "value": "3.7"}
        return Source(server, scraper, "/fred/series/observations", fred([row]), 1)
    if request.param == "market":
        scraper = MarketScraper(
            ["A"], clock=ReplayClock(NOW), base_url=server.url, wait_seconds=0.0, attempts=3,
            timeout_seconds=TIME_OUT_SECONDS, cache_dir=cache_dir,
        )  # fmt: skip
        # Yahoo's cookie and crumb, which its library may ask for on the way.
        server.answers["/v1/test/getcrumb"] = server.answers["/"] = text("crumb")
        return Source(server, scraper, "/v8/finance/chart/A", text(chart("A", DAYS)), len(DAYS))
    company: Company = request.getfixturevalue("acme")
    edgar: Server = request.getfixturevalue("sec")
    scraper = FilingsScraper(
        [company.symbol], client, contact="me@example.com", base_url=edgar.url, data_url=edgar.url
    )
    answer = edgar.answers[company.list_path]
    assert isinstance(answer, Answer)
    return Source(edgar, scraper, company.list_path, answer, 2)


FAULTS: dict[str, Any] = {
    "429": lambda good: text("slow down", status=429),
    "500": lambda good: text("broken", status=500),
    "time-out": lambda good: replace(good, wait_seconds=LATE_SECONDS),
    "cut short": lambda good: replace(good, cut=len(good.body) // 2),
    "malformed": lambda good: replace(good, body=good.body[: len(good.body) // 2]),
    "a page": lambda good: text("<html><body>Please sign in</body></html>"),
}


async def test_a_good_answer_gives_its_items(source: Source) -> None:
    source.server.answers[source.path] = source.good
    found = await collect(source.scraper)
    assert len(found.items) == source.items
    for item in found.items:
        assert item.time.utcoffset() is not None
        assert item.licence
        assert item.robots in ("allowed", "interface")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_stays_is_an_error_without_any_item(source: Source, fault: str) -> None:
    source.server.answers[source.path] = FAULTS[fault](source.good)
    with pytest.raises(DataError) as caught:
        async for item in source.scraper.fetch():
            pytest.fail(f"{item} was made of a broken answer")
    assert caught.value.cure


@pytest.mark.parametrize("fault", ["500", "time-out", "cut short"])
async def test_a_fault_that_goes_is_asked_over(source: Source, fault: str) -> None:
    """Yahoo's library asks twice in an attempt; the third question of anyone is answered."""
    bad = FAULTS[fault](source.good)
    source.server.answers[source.path] = [bad, source.good]
    assert len((await collect(source.scraper)).items) == source.items
    assert source.server.times(source.path) >= 2


async def test_nobody_there_is_said_as_offline(client: PoliteClient, cache_dir: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    scrapers: list[Scraper] = [
        NewsScraper([Feed(f"{nowhere}/feed")], client),
        SocialScraper(["ACME"], client, server=nowhere),
        MacroScraper(["UNRATE"], client, api_key="k", base_url=nowhere),
        FilingsScraper(["ACME"], client, contact="c", base_url=nowhere, data_url=nowhere),
        MarketScraper(["A"], base_url=nowhere, wait_seconds=0.0, attempts=1, cache_dir=cache_dir),
    ]
    for scraper in scrapers:
        with pytest.raises(DataError) as caught:
            await collect(scraper)
        assert "offline" in caught.value.cure
