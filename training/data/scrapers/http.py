"""Polite reading over HTTP: a limit per host, retries, an on-disk cache, robots.txt.

Owns how a source is asked; httpx, tenacity, aiolimiter, hishel and urllib.robotparser do the work. Only
reads (GET) are made, so every request may be repeated. Refuses to know what an answer means.

    429, 5xx, time-outs, bodies cut short   tried again, later each time; Retry-After is kept
    other errors                            an error at once
    robots.txt                              5xx or unreachable: nothing is read (RFC 9309); 4xx allows all
"""

from __future__ import annotations

import logging
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from core.errors import DataError
from core.files import storage_errors
from core.version import VERSION
from training.data.scrapers.base import missing_extra

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from urllib.robotparser import RobotFileParser

    import httpx
    import tenacity

log = logging.getLogger(__name__)

AGENT = "athena"
"""The name that robots.txt rules are looked up for."""
LONGEST_WAIT_SECONDS = 120.0
MAX_BYTES = 64 * 1024 * 1024


class PoliteClient:
    """GETs with manners. Use it in an `async with` block.

    Units: `cache_seconds` is how long an answer is taken from disk (0: no cache); `wait_seconds` is the
    first wait before a repetition, doubled each time.
    """

    def __init__(
        self,
        *,
        cache_dir: Path | None = None,
        cache_seconds: float = 900.0,
        requests_per_second: float = 2.0,
        timeout_seconds: float = 20.0,
        attempts: int = 4,
        wait_seconds: float = 1.0,
        contact: str | None = None,
    ) -> None:
        self.user_agent = f"{AGENT}/{VERSION}" + (f" (contact: {contact})" if contact else "")
        self._cache_dir = cache_dir if cache_seconds > 0 else None
        self._cache_seconds = cache_seconds
        self._rate = requests_per_second
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._wait_seconds = wait_seconds
        self._robots: dict[str, RobotFileParser] = {}
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        try:
            import aiolimiter  # noqa: F401 - needed below; missing, it is named here
            import httpx
            import tenacity  # noqa: F401 - likewise
        except ImportError as error:
            raise missing_extra(error) from error
        transport: httpx.AsyncBaseTransport = _limited_transport(self._rate)
        if self._cache_dir is not None:
            transport = _cached_transport(transport, self._cache_dir, self._cache_seconds)
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=self._timeout_seconds,
            follow_redirects=True,
            headers={"User-Agent": self.user_agent},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        robots: bool = True,
        missing_ok: bool = False,
    ) -> bytes | None:
        """The body of a URL. With `missing_ok`, None where the server says that there is none (404, 410).

        `robots=False` is for interfaces made for programs, whose terms stand in their documentation.
        Raises: DataError when robots.txt forbids it, or it could not be had; the message says whether a
        connection was there at all. Parameters (a key may be among them) stand in no message.
        """
        if robots and not await self._allowed(url):
            raise DataError(
                f"robots.txt of {urlsplit(url).netloc} forbids {url} to programs.",
                "Use another source, or ask its owner.",
            )
        response = await self._ask(url, params)
        if missing_ok and response.status_code in (404, 410):
            return None
        if response.status_code >= 400:
            raise DataError(
                f"{url} answered HTTP {response.status_code}.",
                "Check the address, and whether the source wants a key or an account.",
            )
        return response.content

    async def _ask(self, url: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        import httpx
        import tenacity

        if self._client is None:
            raise RuntimeError("PoliteClient is used outside its `async with` block.")
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(
                (httpx.TransportError, httpx.DecodingError, _Busy)
            ),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=self._wait,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return await retrying(self._once, url, params)
        except _Busy as error:
            limited = error.status == 429
            raise DataError(
                f"{urlsplit(url).netloc} "
                f"{'limits how often it answers' if limited else 'fails'}"
                f" (HTTP {error.status}, {self._attempts} times) for {url}.",
                "Wait some minutes and try again; ask for less at once." if limited
                else "It is the source's fault: try again later.",
            ) from error  # fmt: skip
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise DataError(
                f"{url} cannot be read ({self._attempts} attempts): {_reason(error)}.",
                "Are you offline? Check the connection and try again.",
            ) from error
        except (httpx.InvalidURL, httpx.TooManyRedirects, httpx.UnsupportedProtocol) as error:
            raise DataError(f"{url} cannot be read: {error}.", "Check the address.") from error

    async def _once(self, url: str, params: Mapping[str, str] | None) -> httpx.Response:
        assert self._client is not None
        response = await self._client.get(url, params=params)
        if response.status_code == 429 or response.status_code >= 500:
            raise _Busy(response.status_code, response.headers.get("Retry-After"))
        if len(response.content) > MAX_BYTES:
            raise DataError(
                f"{url} has {len(response.content)} bytes; at most {MAX_BYTES} are read.",
                "Ask for less at once.",
            )
        return response

    def _wait(self, state: tenacity.RetryCallState) -> float:
        wait = self._wait_seconds * 2.0 ** (state.attempt_number - 1)
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, _Busy) and error.retry_after is not None:
            wait = max(wait, _seconds(error.retry_after))
        return min(wait, LONGEST_WAIT_SECONDS)

    async def _allowed(self, url: str) -> bool:
        from urllib.robotparser import RobotFileParser

        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            response = await self._ask(f"{site}/robots.txt")
            rules = RobotFileParser()
            rules.parse(response.text.splitlines() if response.status_code < 400 else [])
            self._robots[site] = rules
        return self._robots[site].can_fetch(AGENT, url)


class _Busy(Exception):
    """The server answered that it cannot answer now."""

    def __init__(self, status: int, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.info("attempt %d failed (%s); trying again", state.attempt_number, error)


def _seconds(retry_after: str, now: datetime | None = None) -> float:
    """Retry-After is a number of seconds or a date; anything else is 0."""
    from datetime import UTC
    from datetime import datetime as clock

    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or clock.now(UTC))).total_seconds())


def _limited_transport(requests_per_second: float) -> httpx.AsyncBaseTransport:
    """Sends at most so many requests a second to each host; what the cache answers is not counted."""
    import httpx
    from aiolimiter import AsyncLimiter

    class Limited(httpx.AsyncHTTPTransport):
        def __init__(self) -> None:
            super().__init__()
            self._limits: dict[str, AsyncLimiter] = {}

        async def handle_async_request(self, request: Any) -> Any:
            host = request.url.netloc.decode()
            limit = self._limits.setdefault(host, AsyncLimiter(1, 1.0 / requests_per_second))
            async with limit:
                return await super().handle_async_request(request)

    return Limited()


def _cached_transport(
    transport: httpx.AsyncBaseTransport, cache_dir: Path, seconds: float
) -> httpx.AsyncBaseTransport:
    """Successful answers are kept in `cache_dir/http.db` and given again for so many seconds."""
    with storage_errors(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
    try:
        from hishel import AsyncSqliteStorage
        from hishel.httpx import AsyncCacheTransport

        storage = AsyncSqliteStorage(database_path=cache_dir / "http.db", default_ttl=seconds)
    except ImportError as error:
        raise missing_extra(error) from error
    return AsyncCacheTransport(transport, storage)
