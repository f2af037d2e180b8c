"""Filings through edgartools, against a server on this machine in the SEC's shapes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest

from core.errors import DataError
from tests.training.data.server import Answer, Server, jsonned, serving, text
from training.data.scrapers.base import Scrape, collect
from training.data.scrapers.filings import FilingsScraper

if find_spec("edgar") is None:
    pytest.skip("the extra scrape is not installed", allow_module_level=True)

# edgartools 5.62 hands a timeout of httpx to its cache, which prefers httpx2.
pytestmark = pytest.mark.filterwarnings("ignore:.*migrate to httpx2:DeprecationWarning")


def submission(cik: int, number: str, accepted: str, words: str) -> str:
    return f"""<SEC-DOCUMENT>{number}.txt : 20240201
<SEC-HEADER>{number}.hdr.sgml : 20240201
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t{number}
CONFORMED SUBMISSION TYPE:\t8-K
PUBLIC DOCUMENT COUNT:\t\t1
CONFORMED PERIOD OF REPORT:\t20240201
FILED AS OF DATE:\t\t20240201

FILER:

\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tACME CORP
\t\tCENTRAL INDEX KEY:\t\t\t000{cik}
</SEC-HEADER>
<DOCUMENT>
<TYPE>8-K
<SEQUENCE>1
<FILENAME>acme.htm
<DESCRIPTION>8-K
<TEXT>
<html><body><p>{words}</p></body></html>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""


def submissions(cik: int, numbers: Sequence[str]) -> dict[str, Any]:
    count = len(numbers)
    recent = {
        "accessionNumber": list(numbers),
        "filingDate": ["2024-02-01"] * count,
        "reportDate": ["2024-02-01"] * count,
        "acceptanceDateTime": ["2024-02-01T21:05:00.000Z"] * count,
        "act": ["34"] * count,
        "form": ["8-K"] * count,
        "fileNumber": ["001-1"] * count,
        "filmNumber": ["1"] * count,
        "items": ["2.02"] * count,
        "size": [1000] * count,
        "isXBRL": [0] * count,
        "isInlineXBRL": [0] * count,
        "isXBRLNumeric": [0] * count,
        "core_type": ["8-K"] * count,
        "primaryDocument": ["acme.htm"] * count,
        "primaryDocDescription": ["8-K"] * count,
    }
    return {
        "cik": f"{cik:010d}", "entityType": "operating", "sic": "3571", "sicDescription": "Electronics",
        "insiderTransactionForOwnerExists": 0, "insiderTransactionForIssuerExists": 1,
        "name": "ACME CORP", "tickers": ["ACME"], "exchanges": ["NYSE"], "ein": "1", "description": "",
        "website": "", "investorWebsite": "", "category": "", "fiscalYearEnd": "1231",
        "stateOfIncorporation": "DE", "stateOfIncorporationDescription": "DE",
        "addresses": {
            kind: {"street1": "1 Road", "street2": None, "city": "X", "stateOrCountry": "NY",
                   "zipCode": "1", "stateOrCountryDescription": "NY"}
            for kind in ("mailing", "business")
        },
        "phone": "1", "flags": "", "formerNames": [],
        "filings": {"recent": recent, "files": []},
    }  # fmt: skip


ACCEPTED = ("20240201160500", "20240701070000")
WORDS = ("Acme reports record results.", "Acme names a chairman.")


@dataclass(frozen=True)
class Company:
    """One company of the server's; edgartools remembers answers, so every test takes another."""

    symbol: str
    cik: int

    @property
    def numbers(self) -> tuple[str, str]:
        return f"000{self.cik}-24-000001", f"000{self.cik}-24-000002"

    @property
    def list_path(self) -> str:
        return f"/submissions/CIK{self.cik:010d}.json"

    def path(self, at: int) -> str:
        number = self.numbers[at]
        return f"/Archives/edgar/data/{self.cik}/{number.replace('-', '')}/{number}.txt"

    def filing(self, at: int) -> str:
        return submission(self.cik, self.numbers[at], ACCEPTED[at], WORDS[at])


COMPANIES = [Company(f"ACME{at}", 1_234_500 + at) for at in range(40)]


@pytest.fixture(scope="module")
def sec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """edgartools reads where the SEC is once, when it is imported; so the server lives as long."""
    patch = pytest.MonkeyPatch()
    with serving() as server:
        patch.setenv("EDGAR_BASE_URL", server.url)
        patch.setenv("EDGAR_DATA_URL", server.url)
        patch.setenv("EDGAR_LOCAL_DATA_DIR", str(tmp_path_factory.mktemp("edgar")))
        import stamina

        stamina.set_testing(True, attempts=3)
        tickers = {
            str(at): {"cik_str": each.cik, "ticker": each.symbol, "title": "ACME CORP"}
            for at, each in enumerate(COMPANIES)
        }
        server.answers["/files/company_tickers.json"] = jsonned(tickers)
        funds = {"fields": ["cik", "seriesId", "classId", "symbol"], "data": []}
        server.answers["/files/company_tickers_mf.json"] = jsonned(funds)
        lines = "".join(f"{each.symbol.lower()}\t{each.cik}\n" for each in COMPANIES)
        server.answers["/include/ticker.txt"] = text(lines)
        yield server
        stamina.set_testing(False)
    patch.undo()


@pytest.fixture
def acme(sec: Server) -> Company:
    company = COMPANIES.pop()
    sec.answers[company.list_path] = jsonned(submissions(company.cik, company.numbers))
    for at in range(2):
        sec.answers[company.path(at)] = text(company.filing(at))
    return company


def scraped(*symbols: str, **more: Any) -> Scrape:
    more = {"contact": "me@example.com", "wait_seconds": 0.0} | more
    return asyncio.run(collect(FilingsScraper(symbols, **more)))


def test_a_filing_is_public_from_its_acceptance_in_eastern_time(acme: Company) -> None:
    found = scraped(acme.symbol)
    # 16:05 in winter is 21:05 UTC, 07:00 in summer 11:00.
    assert [(item.time, item.symbol) for item in found.items] == [
        (datetime(2024, 2, 1, 21, 5, tzinfo=UTC), acme.symbol),
        (datetime(2024, 7, 1, 11, 0, tzinfo=UTC), acme.symbol),
    ]
    assert WORDS[0] in found.items[0].text
    assert found.items[0].source == "SEC EDGAR"


def test_an_unknown_symbol_and_an_empty_list_are_values(acme: Company) -> None:
    found = scraped("NOSUCH", acme.symbol, forms=("10-K",))
    assert found.items == ()
    assert found.skipped == {"symbol unknown to the SEC": 1}


def test_the_limit_takes_the_first_of_the_list(acme: Company) -> None:
    assert len(scraped(acme.symbol, limit=1).items) == 1


@pytest.mark.parametrize(("status", "said"), [(429, "limits"), (500, "cannot be read")])
def test_an_sec_that_does_not_answer_is_an_error(
    sec: Server, acme: Company, status: int, said: str
) -> None:
    sec.answers[acme.list_path] = text("no", status=status)
    with pytest.raises(DataError, match=said):
        scraped(acme.symbol)


def test_a_busy_sec_is_asked_again(sec: Server, acme: Company) -> None:
    whole = jsonned(submissions(acme.cik, acme.numbers))
    sec.answers[acme.list_path] = [text("no", status=503), whole]
    assert len(scraped(acme.symbol).items) == 2


@pytest.mark.parametrize("body", ["", "{", "[]", '{"cik": "1"}'])
def test_another_shape_is_an_error(sec: Server, acme: Company, body: str) -> None:
    sec.answers[acme.list_path] = text(body)
    with pytest.raises(DataError):
        scraped(acme.symbol)


def test_a_filing_cut_short_is_an_error(sec: Server, acme: Company) -> None:
    sec.answers[acme.path(0)] = Answer(acme.filing(0).encode(), cut=300)
    with pytest.raises(DataError):
        scraped(acme.symbol)


def test_the_sec_wants_to_know_who_asks() -> None:
    with pytest.raises(DataError, match="e-mail") as caught:
        scraped("ACME", contact=None)
    assert "data.contact" in caught.value.cure
