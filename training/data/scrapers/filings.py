"""Company filings from SEC EDGAR: its JSON lists, and each filing as it was submitted.

Owns what a filing becomes: its main document as text, public from the moment that its own header calls
its acceptance (Eastern time; the SEC's JSON lists are hours off for some filers). Filings are public
documents. A filing is taken whole or not at all: one without its last line is asked for once more, past
the cache, and is an error then.

Source: the SEC's "EDGAR Application Programming Interfaces" (submissions) and "Accessing EDGAR Data"
(company_tickers.json, paths under Archives, ten requests a second at most, and who asks must be named).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from core.errors import DataError
from training.data.scrapers.base import ScrapedItem, plain_text

if TYPE_CHECKING:
    from training.data.scrapers.http import PoliteClient

EASTERN = ZoneInfo("America/New_York")
FORMS = ("10-K", "10-Q", "8-K")
LICENCE = "public document (SEC EDGAR)"
SEC = "https://www.sec.gov"
SEC_DATA = "https://data.sec.gov"
_END = re.compile("</(SEC|IMS)-DOCUMENT>")
"""The last line of a filing's text, but for the seal of very old ones."""
_ACCEPTED = re.compile(r"<ACCEPTANCE-DATETIME>\s*(\d{14})")
_BODY = re.compile(r"<TEXT>(.*?)</TEXT>", re.DOTALL)
_HIDDEN = re.compile(r"<ix:header\b.*?</ix:header\s*>", re.DOTALL | re.IGNORECASE)
"""Figures for machines within an inline XBRL document; no reader sees them."""
_ENCODED = re.compile(r"\s*<(PDF|XLS|ZIP)>|\s*begin \d{3} ", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a company's list."""

    company: str
    cik: int
    number: str
    form: str
    filed: date
    document: str

    @property
    def folder(self) -> str:
        return f"Archives/edgar/data/{self.cik}/{self.number.replace('-', '')}"


class FilingsScraper:
    """The newest filings of each symbol, at most `limit` a symbol, the newest first.

    `contact` is the e-mail address that the SEC wants to know of every program that asks. `forms` take
    their amendments with them. A symbol may also be written as `CIK` and the company's number.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        client: PoliteClient,
        *,
        contact: str | None,
        forms: Sequence[str] = FORMS,
        limit: int = 10,
        start: date | None = None,
        end: date | None = None,
        base_url: str = SEC,
        data_url: str = SEC_DATA,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._symbols = list(dict.fromkeys(symbols))
        self._client = client
        self._contact = contact
        self._forms = {form.upper().removesuffix("/A") for form in forms}
        self._limit = limit
        self._start = start or date.min
        self._end = end or date.max
        self._base_url = base_url.rstrip("/")
        self._data_url = data_url.rstrip("/")
        self._ciks: dict[str, int] | None = None

    async def fetch(self) -> AsyncIterator[ScrapedItem]:
        """Raises: DataError without a contact, or when EDGAR cannot be asked."""
        if not self._contact:
            raise DataError(
                "the SEC wants an e-mail address of who asks, and none is set.",
                "Set data.contact: --set data.contact=you@example.com.",
            )
        for symbol in self._symbols:
            cik = await self._cik(symbol)
            if cik is None:
                self.skipped["symbol unknown to the SEC"] += 1
                continue
            for listed in await self._list(cik):
                item = await self._item(symbol, listed)
                if item is not None:
                    yield item

    async def _cik(self, symbol: str) -> int | None:
        """The company's number; the SEC writes a class of shares with a hyphen (BRK-B)."""
        name = symbol.strip().upper()
        if re.fullmatch(r"CIK\d{1,10}", name):
            return int(name[3:])
        if self._ciks is None:
            url = f"{self._base_url}/files/company_tickers.json"
            table = await self._json(url)
            try:
                self._ciks = {
                    str(row["ticker"]).upper(): int(row["cik_str"]) for row in table.values()
                }
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _shape(url, error) from error
        return self._ciks.get(re.sub("[./ ]", "-", name))

    async def _list(self, cik: int) -> list[Listed]:
        """The filings wanted, the newest first; pages of older ones are asked for only as needed."""
        url = f"{self._data_url}/submissions/CIK{cik:010d}.json"
        answer = await self._json(url)
        try:
            company = str(answer["name"])
            found = self._wanted(company, cik, answer["filings"]["recent"])
            pages = [
                (str(page["name"]), _day(page["filingFrom"]), _day(page["filingTo"]))
                for page in answer["filings"].get("files") or ()
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _shape(url, error) from error
        for name, first, last in pages:
            if len(found) >= self._limit:
                break
            if last < self._start or first > self._end:
                continue
            if not re.fullmatch(r"[\w-]+\.json", name):
                raise _shape(url, ValueError(f"a page of the name {name!r}"))
            page_url = f"{self._data_url}/submissions/{name}"
            page = await self._json(page_url)
            try:
                found += self._wanted(company, cik, page)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _shape(page_url, error) from error
        return found[: self._limit]

    def _wanted(self, company: str, cik: int, columns: dict[str, list[str]]) -> list[Listed]:
        names = ("accessionNumber", "form", "filingDate", "primaryDocument")
        found = []
        for number, form, filed, document in zip(*(columns[name] for name in names), strict=True):
            day = _day(filed)
            if not re.fullmatch(r"\d{10}-\d{2}-\d{6}", number):
                raise ValueError(f"a filing of the number {number!r}")
            if form.upper().removesuffix("/A") in self._forms and self._start <= day <= self._end:
                found.append(Listed(company, cik, number, form, day, document))
        return found

    async def _item(self, symbol: str, listed: Listed) -> ScrapedItem | None:
        url = f"{self._base_url}/{listed.folder}/{listed.number}.txt"
        text = await self._text(url)
        if not _END.search(text[-200:]):
            text = await self._text(url, fresh=True)
        accepted = _ACCEPTED.search(text[:20_000])
        if not _END.search(text[-200:]) or accepted is None or listed.number not in text[:20_000]:
            raise DataError(
                f"{url} gave filing {listed.number} without its "
                f"{'header' if _END.search(text[-200:]) else 'end'}.",
                "Try again later.",
            )
        words = _words(text)
        if not words:
            self.skipped["no text"] += 1
            return None
        try:
            moment = datetime.strptime(accepted[1], "%Y%m%d%H%M%S").replace(tzinfo=EASTERN)
        except ValueError as error:
            raise _shape(url, error) from error
        shown = f"{self._base_url}/{listed.folder}/{listed.document}" if listed.document else url
        head = f"{listed.company} {listed.form}"
        return ScrapedItem(
            moment.astimezone(UTC),
            symbol,
            f"{head}. {words}",
            "SEC EDGAR",
            LICENCE,
            "interface",
            shown,
        )

    async def _text(self, url: str, *, fresh: bool = False) -> str:
        body = await self._client.get(url, robots=False, fresh=fresh)
        assert body is not None
        try:
            return body.decode()
        except UnicodeDecodeError:
            return body.decode("cp1252", errors="replace")

    async def _json(self, url: str) -> Any:
        """An answer, asked for once more past the cache where it is broken."""
        body = await self._client.get(url, robots=False)
        try:
            return json.loads(body or b"")
        except ValueError:
            pass
        body = await self._client.get(url, robots=False, fresh=True)
        try:
            return json.loads(body or b"")
        except ValueError as error:
            raise _shape(url, error) from error


def _words(submission: str) -> str:
    """The main document, which is the first of a submission, as one line; "" where it is no text."""
    body = _BODY.search(submission)
    if body is None or _ENCODED.match(body[1]):
        return ""
    return plain_text(_HIDDEN.sub(" ", body[1]))


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _shape(url: str, error: Exception) -> DataError:
    return DataError(
        f"EDGAR gave an answer of another shape at {url} ({type(error).__name__}: {error}).",
        "Try again later.",
    )
