"""Prices as sentences, through yfinance, against a server on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.clock import ReplayClock
from core.errors import DataError
from tests.trading.test_sources_yahoo import DAYS, Yahoo, cache_dir, chart, yahoo
from training.data.scrapers.base import collect
from training.data.scrapers.market import MarketScraper

pytest.importorskip("yfinance", reason="the extra live is not installed")

# yfinance 1.7 still says inplace, which pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")

__all__ = ["cache_dir", "yahoo"]

NOON_OF_THE_LAST_DAY = datetime(2024, 1, 5, 17, tzinfo=UTC)


def scraper(server: Yahoo, folder: Path, *symbols: str) -> MarketScraper:
    return MarketScraper(
        symbols, clock=ReplayClock(NOON_OF_THE_LAST_DAY), base_url=server.url,
        wait_seconds=0.0, timeout_seconds=5.0, cache_dir=folder, attempts=2,
    )  # fmt: skip


async def test_a_price_is_public_at_its_session_s_close(yahoo: Yahoo, cache_dir: Path) -> None:
    yahoo.answers["A"] = lambda _: (200, chart("A", DAYS))
    found = await collect(scraper(yahoo, cache_dir, "A", "NOSUCH"))
    # New York closes at 16:00, 21:00 UTC in winter; the last session is still open at noon.
    assert [item.time for item in found.items] == [
        datetime(2024, 1, day, 21, tzinfo=UTC) for day in (2, 3, 4)
    ]
    assert found.items[0].text == (
        "A closed at 100.00 on 2024-01-02, after 99.00 to 101.00, open 99.50, volume 1000."
    )
    assert [item.value for item in found.items] == [100.0, 101.0, 102.0]
    assert found.skipped == {"session not closed": 1, "symbol without bars": 1}


async def test_a_price_that_cannot_be_had_is_never_made_up(yahoo: Yahoo, cache_dir: Path) -> None:
    yahoo.answers["A"] = lambda _: (500, "broken")
    with pytest.raises(DataError):
        await collect(scraper(yahoo, cache_dir, "A"))
