"""The feed: history and stream together are the panel, each bar once."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from core.config import DataConfig
from core.errors import DataError
from trading.market_data import OHLCV, MarketDataFeed, MarketDataMode, bar_at
from trading.panel import BAR_FIELDS
from trading.sources import load_panel
from trading.sources.mock import most_mock_bars

FILE, MOCK = MarketDataMode.FILE, MarketDataMode.MOCK

# BBB lists on the third day and has no bar on the fifth.
CLOSES = """date,AAA,BBB
2024-01-02,1,
2024-01-03,2,
2024-01-04,3,30
2024-01-05,4,40
2024-01-08,5,
2024-01-09,6,60
"""


@pytest.fixture
def closes(tmp_path: Path) -> Path:
    (tmp_path / "closes.csv").write_text(CLOSES)
    return tmp_path / "closes.csv"


def prices(bars: list[OHLCV] | tuple[OHLCV, ...]) -> list[float]:
    return [bar.close for bar in bars]


async def streamed(feed: MarketDataFeed) -> list[list[tuple[str, float]]]:
    return [[(bar.symbol, bar.close) for bar in bars] async for bars in feed.stream()]


async def test_history_and_the_realtime_bar_after_it(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes)
    assert prices(await feed.get_historical_data("AAA")) == [1, 2, 3, 4, 5]
    bar = await feed.get_realtime_data("AAA")
    assert bar is not None
    assert (bar.close, bar.time) == (6, datetime(2024, 1, 9, 21, tzinfo=UTC))
    assert await feed.get_realtime_data("AAA") == bar


@pytest.mark.parametrize(
    ("bounds", "following"),
    [
        ({"end": "2023-12-29"}, 1),  # before the first bar
        ({"end": "2024-01-07"}, 5),
        ({"start": "2024-01-06", "end": "2024-01-07"}, 5),  # a weekend: nothing was shown
    ],
)
async def test_the_realtime_bar_follows_the_end_that_was_asked_for(
    closes: Path, bounds: dict[str, str], following: float
) -> None:
    feed = MarketDataFeed(FILE, data=closes)
    await feed.get_historical_data("AAA", **bounds)  # type: ignore[arg-type]
    bar = await feed.get_realtime_data("AAA")
    assert bar is not None
    assert bar.close == following


async def test_the_realtime_bar_follows_the_history_that_was_shown(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=4)
    shown = await feed.get_historical_data("AAA", end="2024-01-03")
    bar = await feed.get_realtime_data("AAA")
    assert bar is not None
    assert prices([*shown, bar]) == [1, 2, 3]
    # Nothing of BBB was shown: its next bar is the first from the cursor (row 4) on.
    other = await feed.get_realtime_data("BBB")
    assert other is not None
    assert other.close == 60


async def test_history_then_stream_is_the_panel(closes: Path) -> None:
    panel = load_panel(closes)
    for history_bars in range(panel.rows + 1):
        feed = MarketDataFeed(FILE, data=closes, history_bars=history_bars)
        found = {symbol: prices(await feed.get_historical_data(symbol)) for symbol in panel.symbols}
        async for bars in feed.stream():
            for bar in bars:
                found[bar.symbol].append(bar.close)
        assert found == {"AAA": [1, 2, 3, 4, 5, 6], "BBB": [30, 40, 60]}


async def test_rows_are_the_panels_rows(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=0)
    rows = [row async for row in feed.rows()]
    assert [row.row for row in rows] == list(range(6))
    assert tuple(row.as_of for row in rows) == feed.panel.as_of
    values = np.stack([row.values for row in rows], axis=1)
    assert values.tobytes() == feed.panel.stack[:BAR_FIELDS].tobytes()


async def test_one_moment_at_a_time_in_panel_order(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=2)
    assert await streamed(feed) == [
        [("AAA", 3), ("BBB", 30)],
        [("AAA", 4), ("BBB", 40)],
        [("AAA", 5)],
        [("AAA", 6), ("BBB", 60)],
    ]
    assert await feed.get_realtime_data("AAA") is None
    assert prices(await feed.get_historical_data("BBB")) == [30, 40, 60]


async def test_what_was_streamed_is_history(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=1)
    stream = feed.stream()
    await anext(stream)
    assert prices(await feed.get_historical_data("AAA")) == [1, 2]
    bar = await feed.get_realtime_data("AAA")
    assert bar is not None
    assert bar.close == 3
    assert [bar.close for bar in await anext(stream)] == [3, 30]
    await stream.aclose()


async def test_subscription_limits_the_stream_and_calls_back(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=0)
    plain: list[float] = []
    other: list[float] = []

    async def remember(bars: tuple[OHLCV, ...]) -> None:
        other.extend(prices(bars))

    await feed.subscribe(["BBB"], lambda bars: plain.extend(prices(bars)))
    await feed.subscribe("BBB", remember)
    assert await streamed(feed) == [[("BBB", 30)], [("BBB", 40)], [("BBB", 60)]]
    assert plain == other == [30, 40, 60]
    with pytest.raises(DataError, match="has no CCC"):
        await feed.subscribe(["CCC"])


async def test_after_unsubscribing_all_symbols_stream_again(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=4)
    await feed.subscribe(["BBB"])
    await feed.unsubscribe(["BBB"])
    assert [len(bars) for bars in await streamed(feed)] == [1, 2]


async def test_spans_of_history(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes, history_bars=6)
    assert prices(
        await feed.get_historical_data("AAA", start=date(2024, 1, 4), end="2024-01-05")
    ) == [
        3,
        4,
    ]
    assert prices(await feed.get_historical_data("AAA", days=2)) == [5, 6]
    assert prices(await feed.get_historical_data("AAA", end="2024-01-08T20:59:00Z", days=1)) == [4]
    assert await feed.get_historical_data("BBB", end="2024-01-03") == []


async def test_questions_that_make_no_sense(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=closes)
    with pytest.raises(DataError, match="bars of 1d, not 5m"):
        await feed.get_historical_data("AAA", interval="5m")
    with pytest.raises(DataError, match="lies after end"):
        await feed.get_historical_data("AAA", start="2024-02-01", end="2024-01-01")
    with pytest.raises(DataError, match="days is 0"):
        await feed.get_historical_data("AAA", days=0)
    with pytest.raises(DataError, match="both start and days"):
        await feed.get_historical_data("AAA", start="2024-01-01", days=3)
    with pytest.raises(DataError, match=r"has no ABA \(nearest: AAA\)"):
        await feed.get_realtime_data("ABA")


def test_live_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="LIVE feed is not built yet") as caught:
        MarketDataFeed(MarketDataMode.LIVE)
    assert "MarketDataMode.FILE" in caught.value.cure
    with pytest.raises(DataError, match="no market data mode 'fax'"):
        MarketDataFeed("fax")


def test_a_mode_and_its_data_fit_together(closes: Path) -> None:
    with pytest.raises(DataError, match="MOCK feed takes no data"):
        MarketDataFeed(MOCK, data=closes)
    with pytest.raises(DataError, match="FILE feed cannot read mock"):
        MarketDataFeed(FILE, data="mock")
    with pytest.raises(DataError, match="history_bars is -1"):
        MarketDataFeed(FILE, data=closes, history_bars=-1)


async def test_a_mock_feed_is_one_walk_from_history_into_the_stream() -> None:
    config = DataConfig(mock_symbols=2, mock_bars=10)
    feed = MarketDataFeed(MOCK, config=config, seed=5)
    whole = load_panel("mock", config=DataConfig(mock_symbols=2, mock_bars=35), seed=5)
    history = await feed.get_historical_data("MOCK2")
    next_bar = await feed.get_realtime_data("MOCK2")
    later = []
    async for bars in feed.stream():
        later.append(bars[1])
        if len(later) == 25:
            break
    assert len(history) == 10
    assert next_bar == later[0]
    assert history + later == [bar_at(whole, row, 1) for row in range(35)]
    assert all(bar.mock and "mock" in bar.source for bar in history)


async def test_a_mock_feed_ends_at_its_limit() -> None:
    feed = MarketDataFeed(MOCK, config=DataConfig(mock_bars=5), limit=12)
    assert [row.row async for row in feed.rows()] == [5, 6, 7, 8, 9, 10, 11]
    assert await feed.get_realtime_data("MOCK1") is None


async def test_a_mock_feed_knows_any_symbol_unless_some_are_named() -> None:
    feed = MarketDataFeed(MOCK, config=DataConfig(mock_bars=20))
    history = await feed.get_historical_data("AAPL", days=7)
    bar = await feed.get_realtime_data("AAPL")
    walk = load_panel("mock", symbols=["AAPL"], config=DataConfig(mock_bars=21))
    assert [*history, bar] == [bar_at(walk, row, 0) for row in range(13, 21)]
    named = MarketDataFeed(MOCK, symbols=["AAPL"], config=DataConfig(mock_bars=20))
    with pytest.raises(DataError, match="has no MSFT"):
        await named.get_realtime_data("MSFT")


def test_extend_grows_the_walks_without_changing_them() -> None:
    feed = MarketDataFeed(MOCK, config=DataConfig(mock_bars=10), history_bars=10)
    before = feed.panel
    after = feed.extend(30)
    assert after.rows >= 40
    assert feed.cursor == 10
    assert np.ascontiguousarray(after.stack[:, :10]).tobytes() == before.stack.tobytes()


async def test_the_pause_between_bars_is_slept_on_the_clock(closes: Path) -> None:
    class Clock:
        def __init__(self) -> None:
            self.slept: list[float] = []

        def now(self) -> datetime:
            return datetime(2024, 1, 1, tzinfo=UTC)

        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)

    clock = Clock()
    feed = MarketDataFeed(FILE, data=closes, history_bars=3, poll_seconds=60.0, clock=clock)
    assert len(await streamed(feed)) == 3
    assert clock.slept == [60.0, 60.0]


async def test_without_volume_a_bar_has_none(closes: Path) -> None:
    feed = MarketDataFeed(FILE, data=load_panel(closes))
    bar = (await feed.get_historical_data("AAA"))[0]
    assert (bar.volume, bar.raw_volume, bar.source) == (None, None, "closes.csv")
    assert feed.get_symbols() == ("AAA", "BBB")


async def test_the_mock_walks_end_with_the_calendar_and_not_with_an_error() -> None:
    most = most_mock_bars("XNYS")
    assert most > 50_000
    # Half of that many are made; twice as many would pass the calendar's end.
    feed = MarketDataFeed(MarketDataMode.MOCK, symbols=("A",), history_bars=most // 2 + 1)
    assert feed.extend(most - feed.cursor).rows == most
    feed = MarketDataFeed(MarketDataMode.MOCK, symbols=("A",), history_bars=most - 2)
    moments = [row.as_of async for row in feed.rows()]
    assert moments == ["2199-12-30T21:00:00Z", "2199-12-31T21:00:00Z"]
