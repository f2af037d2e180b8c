"""Daily bars from Yahoo Finance, through yfinance (extra `live`).

Owns the fetching: retries, what counts as no data, and errors with a cure. Refuses to invent, to adjust
and to check bars (`validate`). Yahoo's open, high, low and close are adjusted for splits, its adjusted
close for dividends too. Yahoo's terms allow personal use.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from core.errors import DataError
from core.files import storage_errors

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

EXTRA = "pip install 'athena-trading-agent[live]' (in a checkout: pip install '.[live]')"
INSTEAD = "Or import a file of prices: athena data import FILE."
CHART = "/v8/finance/chart/"
NO_DATA = 404
RATE_LIMIT = 429


class BadAnswer(OSError):
    """The server answered, but not with bars; asking again may help."""


def fetch_bars(
    symbols: Sequence[str],
    *,
    start: date | None = None,
    end: date | None = None,
    cache_dir: Path | None = None,
    base_url: str | None = None,
    timeout_seconds: float = 20.0,
    attempts: int = 4,
    wait_seconds: float = 2.0,
) -> dict[str, pd.DataFrame]:
    """Daily bars by symbol (Open, High, Low, Close, Adj Close, Volume by date); one without any is left out.

    `start` and `end` are inclusive; without `start` all there is. `base_url` sends every request to
    another server. Rate limits, time-outs and lost connections are tried again, after `wait_seconds` and
    twice as long each time.
    Raises: DataError when Yahoo could not be asked about every symbol; then nothing is returned.
    """
    try:
        import tenacity
        import yfinance
        from curl_cffi.requests.exceptions import DNSError, RequestException
    except ImportError as error:
        raise DataError(f"fetching needs {error.name}.", f"Run: {EXTRA}. {INSTEAD}") from error

    if cache_dir is not None:
        with storage_errors(cache_dir):
            cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        yfinance.set_tz_cache_location(str(cache_dir / ".yahoo"))
    session = _session(base_url)
    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: (
                isinstance(
                    error, yfinance.exceptions.YFRateLimitError | RequestException | BadAnswer
                )
                and not isinstance(error, DNSError)  # offline: waiting does not help
            )
        ),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=wait_seconds),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    )
    bars: dict[str, pd.DataFrame] = {}
    with _errors_raised():
        for symbol in symbols:
            try:
                frame = retry(_history, symbol, start, end, session, timeout_seconds)
            except yfinance.exceptions.YFRateLimitError as error:
                raise DataError(
                    f"Yahoo limits how often it answers (HTTP {RATE_LIMIT}, {attempts} times) for {symbol}.",
                    f"Wait some minutes and fetch fewer symbols at once. {INSTEAD}",
                ) from error
            except RequestException as error:
                raise DataError(
                    f"Yahoo cannot be reached for {symbol}: {str(error).split('. See', maxsplit=1)[0]}.",
                    f"Are you offline? Check the connection and try again. {INSTEAD}",
                ) from error
            except (BadAnswer, yfinance.exceptions.YFException) as error:
                raise DataError(
                    f"Yahoo gave no usable answer for {symbol}: {error}.",
                    f"Try again later, or update yfinance. {INSTEAD}",
                ) from error
            if len(frame):
                bars[symbol] = frame
            log.info("%s: %d bars", symbol, len(frame))
    return bars


def _history(
    symbol: str, start: date | None, end: date | None, session: Any, timeout_seconds: float
) -> pd.DataFrame:
    """One symbol's bars; an empty table when Yahoo says that it has none."""
    import pandas as pd
    import yfinance
    from yfinance.data import YfData

    YfData.cache_get.cache_clear()  # it would give a failed answer again
    span: dict[str, Any] = {"period": "max"} if start is None else {"start": start.isoformat()}
    if end is not None:
        span["end"] = (end + timedelta(days=1)).isoformat()
    session.chart_status = None
    try:
        frame: pd.DataFrame = yfinance.Ticker(symbol, session=session).history(
            **span, interval="1d", auto_adjust=False, actions=False, timeout=timeout_seconds
        )
    except yfinance.exceptions.YFTickerMissingError:
        frame = pd.DataFrame()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        # yfinance went on with an answer of another shape, or asked elsewhere for a zone.
        if session.chart_status == NO_DATA:
            return pd.DataFrame()
        if isinstance(error, OSError) and session.chart_status in (None, 200):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise BadAnswer(f"HTTP {session.chart_status}, {reason}") from error
    if session.chart_status not in (None, 200, NO_DATA):
        raise BadAnswer(f"HTTP {session.chart_status}")
    if isinstance(frame.index, pd.DatetimeIndex) and frame.index.tz is not None:
        frame.index = frame.index.tz_localize(None)
    return frame


def _session(base_url: str | None) -> Any:
    """A session that keeps the status of the last chart, and asks `base_url` instead of Yahoo."""
    from curl_cffi import requests

    class ChartSession(requests.Session):  # type: ignore[type-arg]
        chart_status: int | None = None

        def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
            if base_url is not None:
                here = urlsplit(base_url)
                url = urlunsplit(urlsplit(url)._replace(scheme=here.scheme, netloc=here.netloc))
            response = super().request(method, url, *args, **options)
            if CHART in url:
                self.chart_status = response.status_code
            return response

    return ChartSession(impersonate="chrome")


@contextmanager
def _errors_raised() -> Iterator[None]:
    """yfinance logs its errors and returns empty tables; here it raises them and is quiet."""
    import yfinance

    debug, logger = yfinance.config.debug, logging.getLogger("yfinance")
    before, level = debug.hide_exceptions, logger.level
    debug.hide_exceptions = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        debug.hide_exceptions = before
        logger.setLevel(level)
