"""Company filings from SEC EDGAR, through edgartools.

Owns what a filing becomes: its main document as text, public from the moment that its own header calls
its acceptance (Eastern time; the SEC's JSON lists are hours off for some filers). edgartools keeps to the
SEC's ten requests a second, repeats what fails, and keeps documents in its own cache. Filings are public
documents. Another server is named by edgartools' variables EDGAR_BASE_URL and EDGAR_DATA_URL, which it reads
when it is imported.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

from core.errors import DataError
from training.data.scrapers.base import ScrapedItem, missing_extra

log = logging.getLogger(__name__)

EASTERN = ZoneInfo("America/New_York")
FORMS = ("10-K", "10-Q", "8-K")
ATTEMPTS = 3
LICENCE = "public document (SEC EDGAR)"
_END = re.compile("</(SEC|IMS)-DOCUMENT>")
"""The last line of a filing's text, but for the seal of very old ones."""


class FilingsScraper:
    """The newest filings of each symbol, at most `limit` a symbol, the newest first.

    `contact` is the e-mail address that the SEC wants to know of every program that asks. `timeout_seconds`
    None is edgartools' own, 30 s; one that is given holds for the whole process.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        contact: str | None,
        forms: Sequence[str] = FORMS,
        limit: int = 10,
        start: date | None = None,
        end: date | None = None,
        wait_seconds: float = 1.0,
        timeout_seconds: float | None = None,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._symbols = list(dict.fromkeys(symbols))
        self._contact = contact
        self._forms = list(forms)
        self._limit = limit
        self._start = start
        self._end = end
        self._wait_seconds = wait_seconds
        self._timeout_seconds = timeout_seconds

    async def fetch(self) -> AsyncIterator[ScrapedItem]:
        """Raises: DataError without a contact, or when EDGAR cannot be asked."""
        if not self._contact:
            raise DataError(
                "the SEC wants an e-mail address of who asks, and none is set.",
                "Set data.contact: --set data.contact=you@example.com.",
            )
        if self._timeout_seconds is not None:
            _set_timeout(self._timeout_seconds)
        for symbol in self._symbols:
            for filing in await asyncio.to_thread(self._asked, self._list, symbol):
                item = await asyncio.to_thread(self._asked, self._item, symbol, filing)
                if item is not None:
                    yield item

    def _asked(self, ask: Any, *words: Any) -> Any:
        """A call to edgartools with its errors as ours."""
        try:
            import edgar
            import tenacity
            from edgar import exceptions
        except ImportError as error:
            raise missing_extra(error) from error
        edgar.set_identity(self._contact or "")
        lost = _transport_errors()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(lost),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=self._wait_seconds),
            reraise=True,
        )
        try:
            try:
                return retrying(ask, edgar, *words)
            except (json.JSONDecodeError, _CutShort) as error:
                log.info("a broken answer (%s); asking again without the cache", error)
                with _without_cache():
                    return retrying(ask, edgar, *words)
        except exceptions.CompanyNotFoundError:
            self.skipped["symbol unknown to the SEC"] += 1
            return []
        except exceptions.TooManyRequestsError as error:
            raise DataError(
                "the SEC limits how often it answers (HTTP 429).",
                "Wait ten minutes, and ask for fewer filings at once.",
            ) from error
        except (exceptions.TransportError, OSError) as error:
            raise self._unreachable(words[0], error) from error
        except lost as error:
            raise self._unreachable(words[0], error) from error
        except (exceptions.EdgarError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"EDGAR gave an answer of another shape for {words[0]} "
                f"({type(error).__name__}: {_first_line(error)}).",
                "Try again later, or update edgartools.",
            ) from error

    def _unreachable(self, symbol: str, error: Exception) -> DataError:
        return DataError(
            f"EDGAR cannot be read for {symbol}: {_first_line(error)}.",
            "Are you offline? Check the connection and try again.",
        )

    def _list(self, edgar: Any, symbol: str) -> list[Any]:
        span = None
        if self._start or self._end:
            span = f"{self._start or ''}:{self._end or ''}"
        company = edgar.Company(symbol)
        if company.not_found:
            raise ValueError("a company without a record")
        filings = company.get_filings(form=self._forms, filing_date=span, amendments=True)
        return [] if filings is None else list(filings.head(self._limit))

    def _item(self, edgar: Any, symbol: str, filing: Any) -> ScrapedItem | None:
        # One of its own each time: edgartools keeps what it parsed, broken or not, at the filing.
        filing = edgar.Filing(
            cik=filing.cik, company=filing.company, form=filing.form,
            filing_date=filing.filing_date, accession_no=filing.accession_no,
        )  # fmt: skip
        if not _END.search(filing.full_text_submission()[-200:]):
            raise _CutShort(f"filing {filing.accession_no} without its end")
        accepted = filing.header.acceptance_datetime
        text = " ".join((filing.text() or "").split())
        if not isinstance(accepted, datetime):
            # edgartools goes on without the header when it could not read the document.
            raise _CutShort(f"filing {filing.accession_no} without its header")
        if not text:
            self.skipped["no text"] += 1
            return None
        moment = accepted.replace(tzinfo=EASTERN).astimezone(UTC)
        head = f"{filing.company} {filing.form}"
        return ScrapedItem(
            moment,
            symbol,
            f"{head}. {text}",
            "SEC EDGAR",
            LICENCE,
            "interface",
            str(filing.filing_url),
        )


class _CutShort(ValueError):
    """A filing that was not read whole."""


@contextmanager
def _without_cache() -> Iterator[None]:
    """edgartools' cache keeps an answer that was cut short, a filing's for ever: this asks past it."""
    from edgar import httpclient

    cached = httpclient.HTTP_MGR
    httpclient.HTTP_MGR = httpclient.get_http_mgr(cache_enabled=False)
    httpclient.HTTP_MGR.httpx_params = dict(cached.httpx_params)
    try:
        yield
    finally:
        httpclient.HTTP_MGR.close()
        httpclient.HTTP_MGR = cached


def _transport_errors() -> tuple[type[Exception], ...]:
    """What edgartools lets through: its cache prefers httpx2, whose errors it neither repeats nor knows."""
    found: list[type[Exception]] = []
    for name in ("httpx", "httpx2"):
        try:
            found.append(import_module(name).HTTPError)
        except ImportError:
            continue
    return tuple(found)


def _set_timeout(seconds: float) -> None:
    try:
        from edgar.httpclient import configure_http
    except ImportError as error:
        raise missing_extra(error) from error
    configure_http(timeout=seconds)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
