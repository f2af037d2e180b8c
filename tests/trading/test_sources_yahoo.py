"""Fetching, against a real server on this machine that answers in the shapes Yahoo does."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from core.errors import DataError
from trading import datasets
from trading.sources import DataFaults, load_panel
from trading.sources.yahoo import fetch_bars

pytest.importorskip("yfinance", reason="the extra live is not installed")

# yfinance 1.7 still says inplace, which pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")

Answer = Callable[[dict[str, list[str]]], tuple[int, str]]

NEW_YORK = -5 * 3600
DAYS = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]


def opening(day: str) -> int:
    """Yahoo stamps a daily bar with the session's open: 09:30 in New York is 14:30 UTC in winter."""
    return int(datetime.fromisoformat(f"{day}T14:30:00+00:00").timestamp())


def chart(symbol: str, days: list[str], **columns: list[float | None]) -> str:
    close: list[float | None] = [100.0 + at for at in range(len(days))]
    quote: dict[str, list[float | None]] = {
        "open": [99.5 + at for at in range(len(days))],
        "high": [101.0 + at for at in range(len(days))],
        "low": [99.0 + at for at in range(len(days))],
        "close": close,
        "volume": [1000.0 * (at + 1) for at in range(len(days))],
    }
    adjusted = columns.pop("adjclose", [None if price is None else price / 2 for price in close])
    quote.update(columns)
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": opening(days[0]) if days else None,
        "regularMarketTime": opening(days[-1]) if days else None,
        "gmtoffset": NEW_YORK,
        "timezone": "EST",
        "exchangeTimezoneName": "America/New_York",
        "regularMarketPrice": 103.0,
        "chartPreviousClose": 99.0,
        "priceHint": 2,
        "currentTradingPeriod": {
            kind: {"timezone": "EST", "start": 0, "end": 1, "gmtoffset": NEW_YORK}
            for kind in ("pre", "regular", "post")
        },
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "1y", "max"],
    }
    result = {
        "meta": meta,
        "timestamp": [opening(day) for day in days],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": adjusted}]},
    }
    return json.dumps({"chart": {"result": [result], "error": None}})


def error(code: str, description: str) -> str:
    return json.dumps(
        {"chart": {"result": None, "error": {"code": code, "description": description}}}
    )


NOT_FOUND = (404, error("Not Found", "No data found, symbol may be delisted"))


class Yahoo:
    """A server with an answer per symbol, and a count of the questions that asked for bars."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                status, body = 200, "crumb"
                if url.path.startswith("/v8/finance/chart/"):
                    symbol = url.path.rsplit("/", 1)[1]
                    outer.asked.append(symbol)
                    answer = outer.answers.get(symbol)
                    status, body = answer(parse_qs(url.query)) if answer else NOT_FOUND
                content = body.encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yfinance opens its cache of time zones once a process."""
    return tmp_path_factory.mktemp("yahoo-cache")


@pytest.fixture
def yahoo() -> Iterator[Yahoo]:
    server = Yahoo()
    yield server
    server.close()


@pytest.fixture
def quick(yahoo: Yahoo, cache_dir: Path) -> dict[str, Any]:
    return {
        "base_url": yahoo.url,
        "wait_seconds": 0.0,
        "timeout_seconds": 5.0,
        "cache_dir": cache_dir,
    }


SPAN = {"start": date(2024, 1, 2), "end": date(2024, 1, 5)}


def test_fetched_bars_are_those_of_the_answer(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    yahoo.answers["OKAY"] = lambda _: (200, chart("OKAY", DAYS))
    bars = fetch_bars(["OKAY"], **SPAN, **quick)["OKAY"]
    assert [str(day.date()) for day in bars.index] == DAYS
    assert bars["Close"].tolist() == [100.0, 101.0, 102.0, 103.0]
    assert bars["Adj Close"].tolist() == [50.0, 50.5, 51.0, 51.5]


def test_both_dates_are_inclusive_in_the_question(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    asked: list[dict[str, list[str]]] = []

    def answer(query: dict[str, list[str]]) -> tuple[int, str]:
        asked.append(query)
        return 200, chart("SPAN", DAYS)

    yahoo.answers["SPAN"] = answer
    fetch_bars(["SPAN"], **SPAN, **quick)
    # Midnight in New York is 05:00 UTC; the end is the midnight after 2024-01-05.
    assert asked[-1]["period1"] == [str(opening("2024-01-02") - 34200)]
    assert asked[-1]["period2"] == [str(opening("2024-01-06") - 34200)]


def test_a_rate_limit_is_waited_out(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    def answer(_: dict[str, list[str]]) -> tuple[int, str]:
        # Each attempt asks twice, with another cookie the second time; the third attempt goes through.
        return (429, "Too Many Requests") if len(yahoo.asked) <= 4 else (200, chart("SLOW", DAYS))

    yahoo.answers["SLOW"] = answer
    assert len(fetch_bars(["SLOW"], **SPAN, **quick)["SLOW"]) == 4


def test_a_rate_limit_that_stays_is_an_error_with_a_cure(
    yahoo: Yahoo, quick: dict[str, Any]
) -> None:
    yahoo.answers["BUSY"] = lambda _: (429, "Too Many Requests")
    with pytest.raises(DataError, match=r"429.*BUSY") as caught:
        fetch_bars(["BUSY"], **SPAN, **quick, attempts=2)
    assert "athena data import FILE" in caught.value.cure


def test_a_server_that_does_not_answer_is_an_error_after_all_attempts(
    yahoo: Yahoo, quick: dict[str, Any]
) -> None:
    def answer(_: dict[str, list[str]]) -> tuple[int, str]:
        time.sleep(0.4)
        return 200, chart("MUTE", DAYS)

    yahoo.answers["MUTE"] = answer
    with pytest.raises(DataError, match="cannot be reached for MUTE"):
        fetch_bars(["MUTE"], **SPAN, **{**quick, "timeout_seconds": 0.1}, attempts=2)
    assert len(yahoo.asked) >= 2


def test_a_server_that_fails_once_is_asked_again(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    def answer(_: dict[str, list[str]]) -> tuple[int, str]:
        failing = len(yahoo.asked) <= 2
        return (503, error("Internal", "down")) if failing else (200, chart("ONCE", DAYS))

    yahoo.answers["ONCE"] = answer
    assert len(fetch_bars(["ONCE"], **SPAN, **quick)["ONCE"]) == 4


def test_a_failing_server_is_no_empty_answer(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    yahoo.answers["DOWN"] = lambda _: (500, error("Internal Server Error", "down"))
    with pytest.raises(DataError, match=r"no usable answer for DOWN: HTTP 500"):
        fetch_bars(["DOWN"], **SPAN, **quick, attempts=1)


def test_a_page_in_place_of_bars_is_an_error(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    yahoo.answers["PAGE"] = lambda _: (200, "<html>Please accept our cookies</html>")
    with pytest.raises(DataError, match="no usable answer for PAGE"):
        fetch_bars(["PAGE"], **SPAN, **quick, attempts=1)


def test_nobody_listening_says_offline_and_what_to_do(cache_dir: Path) -> None:
    with pytest.raises(DataError, match="cannot be reached") as caught:
        fetch_bars(["GONE"], **SPAN, base_url="http://127.0.0.1:9", attempts=1, cache_dir=cache_dir)
    assert "offline" in caught.value.cure
    assert "athena data import FILE" in caught.value.cure


def test_a_symbol_without_data_is_left_out(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    yahoo.answers["HERE"] = lambda _: (200, chart("HERE", DAYS))
    void = json.loads(chart("VOID", []))
    void["chart"]["result"][0]["indicators"] = {"quote": [{}], "adjclose": [{}]}
    del void["chart"]["result"][0]["timestamp"]
    yahoo.answers["VOID"] = lambda _: (200, json.dumps(void))
    assert list(fetch_bars(["HERE", "NONE", "VOID"], **SPAN, **quick)) == ["HERE"]


def test_an_answer_with_neither_bars_nor_a_reason_is_an_error(
    yahoo: Yahoo, quick: dict[str, Any]
) -> None:
    yahoo.answers["NULL"] = lambda _: (200, json.dumps({"chart": {"result": None, "error": None}}))
    with pytest.raises(DataError, match="no usable answer for NULL"):
        fetch_bars(["NULL"], **SPAN, **quick, attempts=1)


def test_a_fetched_dataset_loads_by_its_name_without_the_growing_bar(
    yahoo: Yahoo, quick: dict[str, Any], cache_dir: Path
) -> None:
    yahoo.answers["FULL"] = lambda _: (200, chart("FULL", DAYS))
    dataset = datasets.fetch(
        ["FULL", "NONE"],
        cache_dir,
        **SPAN,
        # The session of 2024-01-05 closes at 21:00 UTC.
        now=datetime(2024, 1, 5, 20, 59, tzinfo=UTC),
        **{name: value for name, value in quick.items() if name != "cache_dir"},
    )
    assert (dataset.name, dataset.rows, dataset.symbols) == ("yahoo-FULL-NONE", 3, ("FULL",))
    assert dataset.missing == ("NONE",)
    panel = load_panel("yahoo-FULL-NONE", data_dir=cache_dir)
    assert panel.as_of[-1] == "2024-01-04T21:00:00Z"
    # adj_close is half of close, so that volume doubles: 3 x 1000 shares become 6000.
    assert panel.field("close")[-1, 0] == 51.0
    assert panel.field("volume")[-1, 0] == 6000.0


def test_a_partial_bar_is_a_fault_and_leaves_no_dataset(
    yahoo: Yahoo, quick: dict[str, Any], cache_dir: Path
) -> None:
    yahoo.answers["PART"] = lambda _: (200, chart("PART", DAYS, high=[101.0, None, 103.0, 104.0]))
    with pytest.raises(DataFaults, match="high") as caught:
        datasets.fetch(
            ["PART"],
            cache_dir,
            **SPAN,
            **{name: value for name, value in quick.items() if name != "cache_dir"},
        )
    assert [fault.row for fault in caught.value.faults] == [2]
    assert not (cache_dir / "yahoo-PART.parquet").exists()


def test_a_day_without_any_price_is_a_missing_bar(yahoo: Yahoo, quick: dict[str, Any]) -> None:
    hole: list[float | None] = [1.0, None, 1.0, 1.0]
    columns = dict.fromkeys(("open", "high", "low", "close", "adjclose"), hole)
    yahoo.answers["HOLE"] = lambda _: (200, chart("HOLE", DAYS, **columns))
    frame = fetch_bars(["HOLE"], **SPAN, **quick)["HOLE"]
    panel = load_panel(frame.rename_axis("Date"))
    assert panel.rows == 3
    assert not np.isnan(panel.field("close")).any()


def test_no_data_for_any_symbol_is_an_error(
    yahoo: Yahoo, quick: dict[str, Any], cache_dir: Path
) -> None:
    options = {name: value for name, value in quick.items() if name != "cache_dir"}
    with pytest.raises(DataError, match="no daily bars of NONE"):
        datasets.fetch(["NONE"], cache_dir, **SPAN, **options)


def test_a_span_that_runs_backwards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies after --end"):
        datasets.fetch(["ANY"], tmp_path, start=date(2024, 2, 1), end=date(2024, 1, 1))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(DataError) as caught:
        fetch_bars(["ANY"])
    assert "pip install 'athena-trading-agent[live]'" in caught.value.cure
