"""Polite reading over HTTP: a limit per host, retries, an on-disk cache, robots.txt.

Owns how a source is asked; httpx, tenacity, aiolimiter and urllib.robotparser do the work. Only reads (GET)
are made, so every request may be repeated. Refuses to know what an answer means.

    429, 5xx, time-outs, bodies cut short   tried again, later each time; Retry-After is kept
    other errors                            an error at once
    robots.txt                              5xx or unreachable: nothing is read (RFC 9309); 4xx allows all
    a redirect to another host              that host's robots.txt is asked; a private address is refused
    a body over the limit, or endless       an error while it is read: it is never unpacked whole first
    a name and password in an address       sent to that host alone; in no message, file or record
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from core.errors import DataError
from core.redact import bare_url, without_secrets
from core.version import VERSION
from training.data.scrapers.addresses import public_address
from training.data.scrapers.base import missing_extra
from training.data.scrapers.cache import DiskCache

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
MAX_BYTES = 2 * 1024**3
MAX_REDIRECTS = 10
ROBOTS_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that was read whole: its status, headers and unpacked body."""

    status: int
    location: str | None
    body: bytes


class PoliteClient:
    """GETs with manners. Use it in an `async with` block.

    Units: `cache_seconds` is how long an answer is taken from disk (0: no cache); `wait_seconds` is the
    first wait before a repetition, doubled each time; `timeout_seconds` is the longest wait for the next
    bytes, `total_seconds` for the whole of one answer; `max_bytes` is the most that one is unpacked to.
    """

    def __init__(
        self,
        *,
        cache_dir: Path | None = None,
        cache_seconds: float = 900.0,
        requests_per_second: float = 2.0,
        timeout_seconds: float = 20.0,
        total_seconds: float = 300.0,
        attempts: int = 4,
        wait_seconds: float = 1.0,
        max_bytes: int = MAX_BYTES,
        contact: str | None = None,
    ) -> None:
        self.user_agent = f"{AGENT}/{VERSION}" + (f" (contact: {contact})" if contact else "")
        self._cache_dir = cache_dir if cache_seconds > 0 else None
        self._cache_seconds = cache_seconds
        self._rate = requests_per_second
        self._timeout_seconds = timeout_seconds
        self._total_seconds = total_seconds
        self._attempts = attempts
        self._wait_seconds = wait_seconds
        self._max_bytes = max_bytes
        self._robots: dict[str, RobotFileParser] = {}
        self._named: frozenset[str] = frozenset()
        self._cache: DiskCache | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        try:
            import aiolimiter  # noqa: F401 - needed below; missing, it is named here
            import httpx
            import tenacity  # noqa: F401 - likewise
        except ImportError as error:
            raise missing_extra(error) from error
        for name in ("httpx", "httpcore"):
            # They log whole addresses, keys among the parameters.
            logging.getLogger(name).setLevel(logging.WARNING)
        if self._cache_dir is not None:
            self._cache = DiskCache(self._cache_dir, self._cache_seconds)
        self._client = httpx.AsyncClient(
            transport=_limited_transport(self._rate),
            timeout=self._timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": self.user_agent, "Accept-Encoding": "gzip, deflate"},
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
        fresh: bool = False,
    ) -> bytes | None:
        """The body of a URL. With `missing_ok`, None where the server says that there is none (404, 410).

        `robots=False` is for interfaces made for programs, whose terms stand in their documentation; other
        hosts that these send on to are asked all the same. `fresh` asks past the cache.
        Raises: DataError when robots.txt forbids it, or it could not be had; the message says whether a
        connection was there at all. Parameters (a key may be among them) stand in no message.
        """
        self._named |= {_host(url)}
        shown = bare_url(url)
        page = await self._follow(url, params, robots=robots, fresh=fresh, limit=self._max_bytes)
        if missing_ok and page.status in (404, 410):
            return None
        if page.status >= 300:
            raise DataError(
                f"{shown} answered HTTP {page.status}.",
                "Check the address, and whether the source wants a key or an account.",
            )
        return page.body

    async def _follow(
        self,
        url: str,
        params: Mapping[str, str] | None,
        *,
        robots: bool | None,
        fresh: bool,
        limit: int,
        address: str | None = None,
    ) -> Page:
        """The answer at the end of all redirects; `robots` None asks no host (for robots.txt itself)."""
        if self._cache is not None and not fresh:
            kept = self._cache.get(url, params)
            if kept is not None:
                return Page(200, None, kept)
        at, sent = url, params
        for _ in range(MAX_REDIRECTS + 1):
            foreign = _site(at) != _site(url)
            if robots is not None and (robots or foreign) and not await self._allowed(at, address):
                raise DataError(
                    f"robots.txt of {_netloc(at)} forbids {bare_url(at)} to programs.",
                    "Use another source, or ask its owner.",
                )
            page = await self._ask(at, sent, address, limit)
            if page.location is None:
                if self._cache is not None and page.status == 200:
                    self._cache.put(url, params, page.body)
                return page
            via = bare_url(at)
            at, sent = _next(at, page.location), None
            if _site(at) != _site(url):
                address = await public_address(_host(at), _port(at), self._named, via)
            else:
                address = None
        raise DataError(f"{bare_url(url)} sends on and on ({MAX_REDIRECTS} times).", "Check it.")

    async def _ask(
        self, url: str, params: Mapping[str, str] | None, address: str | None, limit: int
    ) -> Page:
        import httpx
        import tenacity

        if self._client is None:
            raise RuntimeError("PoliteClient is used outside its `async with` block.")
        shown = bare_url(url)
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
            return await retrying(self._once, url, params, address, limit)
        except _Busy as error:
            limited = error.status == 429
            raise DataError(
                f"{_netloc(url)} "
                f"{'limits how often it answers' if limited else 'fails'}"
                f" (HTTP {error.status}, {self._attempts} times) for {shown}.",
                "Wait some minutes and try again; ask for less at once." if limited
                else "It is the source's fault: try again later.",
            ) from error  # fmt: skip
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise DataError(
                f"{shown} cannot be read: {_reason(error)}.", "Check the address."
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise DataError(
                f"{shown} cannot be read ({self._attempts} attempts): {_reason(error)}.",
                "Are you offline? Check the connection and try again.",
            ) from error

    async def _once(
        self, url: str, params: Mapping[str, str] | None, address: str | None, limit: int
    ) -> Page:
        import httpx

        assert self._client is not None
        target, auth = _without_user(url)
        options: dict[str, Any] = {}
        if address is not None:
            # The connection goes to the address that was judged; names and certificates stay the host's.
            parts = httpx.URL(target)
            options = {
                "headers": {"Host": parts.netloc.decode()},
                "extensions": {"sni_hostname": parts.host},
            }
            target = str(parts.copy_with(host=address))
        try:
            async with asyncio.timeout(self._total_seconds), AsyncExitStack() as stack:
                response = await stack.enter_async_context(
                    self._client.stream("GET", target, params=params, auth=auth, **options)
                )
                if response.status_code == 429 or response.status_code >= 500:
                    raise _Busy(response.status_code, response.headers.get("Retry-After"))
                location = response.headers.get("Location") if response.is_redirect else None
                body = b"" if location is not None else await _body(response, bare_url(url), limit)
                return Page(response.status_code, location, body)
        except TimeoutError as error:
            raise DataError(
                f"{bare_url(url)} took longer than {self._total_seconds:g} seconds to answer.",
                "The source sends too slowly: try again later, or ask for less at once.",
            ) from error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        wait = self._wait_seconds * 2.0 ** (state.attempt_number - 1)
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, _Busy) and error.retry_after is not None:
            wait = max(wait, _seconds(error.retry_after))
        return min(wait, LONGEST_WAIT_SECONDS)

    async def _allowed(self, url: str, address: str | None) -> bool:
        from urllib.robotparser import RobotFileParser

        site = _site(url)
        if site not in self._robots:
            where = f"{site}/robots.txt"
            page = await self._follow(
                where, None, robots=None, fresh=False, limit=ROBOTS_BYTES, address=address
            )
            rules = RobotFileParser()
            lines = page.body.decode(errors="replace").splitlines() if page.status < 300 else []
            rules.parse(lines)
            self._robots[site] = rules
        return self._robots[site].can_fetch(AGENT, _without_user(url)[0])


async def _body(response: httpx.Response, shown: str, limit: int) -> bytes:
    """The unpacked body, read in pieces. Raises: DataError over the limit or for an unknown packing."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise DataError(f"{shown} sends a body packed as {packing!r}.", "Only gzip is read.")
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            raise DataError(
                f"{shown} sends more than {limit} bytes (unpacked).",
                "Ask for less at once, or raise max_unpacked_bytes.",
            )
    return bytes(body)


def _next(url: str, location: str) -> str:
    """Where a redirect leads. Raises: DataError for what is no web address."""
    at = urljoin(url, location)
    if urlsplit(at).scheme not in ("http", "https") or not urlsplit(at).hostname:
        raise DataError(f"{bare_url(url)} sends on to {bare_url(at)!r}.", "Check the address.")
    target, _ = _without_user(at)
    return target


def _without_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """An address without the name and password in it, and these."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    target = urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))
    return target, (unquote(name), unquote(password))


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError as error:
        raise DataError(
            f"{bare_url(url)} cannot be read: {error}.", "Check the address."
        ) from error


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _site(url: str) -> str:
    return f"{urlsplit(url).scheme}://{_netloc(url)}"


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise DataError(
            f"{bare_url(url)} cannot be read: {error}.", "Check the address."
        ) from error


class _Busy(Exception):
    """The server answered that it cannot answer now."""

    def __init__(self, status: int, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


def _reason(error: Exception) -> str:
    return without_secrets(str(error)) or type(error).__name__


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
