"""Filings from EDGAR's interfaces, against a server on this machine in the SEC's shapes."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from tests.training.data.edgar import WORDS, Company, submissions
from tests.training.data.server import Answer, Server, jsonned, text
from training.data.scrapers.base import Scrape, collect
from training.data.scrapers.filings import FilingsScraper
from training.data.scrapers.http import PoliteClient

if find_spec("httpx") is None:
    pytest.skip("the extra scrape is not installed", allow_module_level=True)


def scraped(sec: Server, *symbols: str, cache_dir: Path | None = None, **more: Any) -> Scrape:
    async def ask() -> Scrape:
        async with PoliteClient(
            wait_seconds=0.0, requests_per_second=1000.0, attempts=3, cache_dir=cache_dir
        ) as client:
            options = {"contact": "me@example.com", "base_url": sec.url, "data_url": sec.url} | more
            return await collect(FilingsScraper(symbols, client, **options))

    return asyncio.run(ask())


def test_a_filing_is_public_from_its_acceptance_in_eastern_time(sec: Server, acme: Company) -> None:
    found = scraped(sec, acme.symbol)
    # 16:05 in winter is 21:05 UTC, 07:00 in summer 11:00; the list says 21:05 for both.
    assert [(item.time, item.symbol) for item in found.items] == [
        (datetime(2024, 2, 1, 21, 5, tzinfo=UTC), acme.symbol),
        (datetime(2024, 7, 1, 11, 0, tzinfo=UTC), acme.symbol),
    ]
    assert [item.text for item in found.items] == [f"ACME CORP 8-K. {words}" for words in WORDS]
    assert found.items[0].source == "SEC EDGAR"
    assert found.items[0].url.endswith(f"/{acme.numbers[0].replace('-', '')}/acme.htm")


@pytest.mark.parametrize("written", ["acme.b", "ACME/B", "CIK1234501"])
def test_a_company_is_found_however_its_symbol_is_written(
    sec: Server, acme: Company, written: str
) -> None:
    assert [item.symbol for item in scraped(sec, written).items] == [written] * 2


def test_an_unknown_symbol_and_an_empty_list_are_values(sec: Server, acme: Company) -> None:
    found = scraped(sec, "NOSUCH", acme.symbol, forms=("10-K",))
    assert found.items == ()
    assert found.skipped == {"symbol unknown to the SEC": 1}


def test_the_limit_takes_the_first_of_the_list(sec: Server, acme: Company) -> None:
    assert [WORDS[0] in item.text for item in scraped(sec, acme.symbol, limit=1).items] == [True]
    assert sec.times(acme.path(1)) == 0


def test_days_and_forms_choose_and_amendments_come_with_their_form(
    sec: Server, acme: Company
) -> None:
    answer = submissions(acme.cik, acme.numbers)
    answer["filings"]["recent"]["filingDate"] = ["2024-07-01", "2024-02-01"]
    answer["filings"]["recent"]["form"] = ["10-K/A", "10-KT"]
    sec.answers[acme.list_path] = jsonned(answer)
    assert len(scraped(sec, acme.symbol, forms=("10-K",)).items) == 1
    both = {"forms": ("10-K", "10-KT")}
    assert len(scraped(sec, acme.symbol, **both).items) == 2
    assert len(scraped(sec, acme.symbol, start=date(2024, 7, 1), **both).items) == 1
    assert len(scraped(sec, acme.symbol, end=date(2024, 1, 31), **both).items) == 0


def test_older_pages_are_asked_for_only_as_needed(sec: Server, acme: Company) -> None:
    answer = submissions(acme.cik, acme.numbers[:1])
    name = f"CIK{acme.cik:010d}-submissions-001.json"
    older = submissions(acme.cik, acme.numbers[1:])["filings"]["recent"]
    answer["filings"]["files"] = [
        {"name": name, "filingCount": 1, "filingFrom": "2020-01-01", "filingTo": "2024-02-01"}
    ]
    sec.answers[acme.list_path] = jsonned(answer)
    sec.answers[f"/submissions/{name}"] = jsonned(older)
    assert len(scraped(sec, acme.symbol, limit=1).items) == 1
    assert len(scraped(sec, acme.symbol, start=date(2024, 2, 2)).items) == 0
    assert sec.times(f"/submissions/{name}") == 0
    assert len(scraped(sec, acme.symbol).items) == 2


def test_the_main_document_is_the_first_and_hidden_figures_are_no_text(
    sec: Server, acme: Company
) -> None:
    hidden = "<div><ix:header><ix:hidden>0001234501 --12-31</ix:hidden></ix:header></div>"
    exhibit = "<DOCUMENT>\n<TYPE>EX-99\n<TEXT>\nan exhibit\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>"
    whole = acme.filing(0).replace("<body>", f"<body>{hidden}")
    sec.answers[acme.path(0)] = text(whole.replace("</SEC-DOCUMENT>", exhibit))
    assert scraped(sec, acme.symbol, limit=1).items[0].text == f"ACME CORP 8-K. {WORDS[0]}"


def test_a_picture_is_no_text(sec: Server, acme: Company) -> None:
    packed = re.sub("<html>.*</html>", "<PDF>\nbegin 644 a.pdf\nM)5!$\n</PDF>", acme.filing(0))
    sec.answers[acme.path(0)] = text(packed)
    found = scraped(sec, acme.symbol, limit=1)
    assert (found.items, found.skipped) == ((), {"no text": 1})


@pytest.mark.parametrize(
    ("status", "said"), [(429, "limits"), (500, "fails"), (403, "HTTP 403"), (404, "HTTP 404")]
)
def test_an_sec_that_does_not_answer_is_an_error(
    sec: Server, acme: Company, status: int, said: str
) -> None:
    sec.answers[acme.list_path] = text("no", status=status)
    with pytest.raises(DataError, match=said):
        scraped(sec, acme.symbol)


def test_a_busy_sec_is_asked_again(sec: Server, acme: Company) -> None:
    whole = jsonned(submissions(acme.cik, acme.numbers))
    sec.answers[acme.list_path] = [text("no", status=503), whole]
    assert len(scraped(sec, acme.symbol).items) == 2


@pytest.mark.parametrize("body", ["", "{", "[]", '{"cik": "1"}', '{"name": "A", "filings": 1}'])
def test_another_shape_is_an_error(sec: Server, acme: Company, body: str) -> None:
    sec.answers[acme.list_path] = text(body)
    with pytest.raises(DataError, match="another shape"):
        scraped(sec, acme.symbol)


def test_columns_of_two_lengths_and_a_strange_number_are_errors(sec: Server, acme: Company) -> None:
    for name, value in (("form", ["8-K"]), ("accessionNumber", ["../../x", "y"])):
        answer = submissions(acme.cik, acme.numbers)
        answer["filings"]["recent"][name] = value
        sec.answers[acme.list_path] = jsonned(answer)
        with pytest.raises(DataError, match="another shape"):
            scraped(sec, acme.symbol)


def test_a_filing_of_another_number_is_an_error(sec: Server, acme: Company) -> None:
    sec.answers[acme.path(0)] = text(acme.filing(1))
    with pytest.raises(DataError, match="without its header"):
        scraped(sec, acme.symbol)


@pytest.mark.parametrize("missing", [10, 90, 200])
@pytest.mark.parametrize("announced", [True, False])
def test_a_filing_cut_short_is_never_taken_from_the_cache_for_whole(
    sec: Server, acme: Company, tmp_path: Path, missing: int, announced: bool
) -> None:
    whole = acme.filing(0).encode()
    cut = len(whole) - missing
    sec.answers[acme.path(0)] = Answer(whole, cut=cut) if announced else Answer(whole[:cut])
    for _ in range(2):
        with pytest.raises(DataError):
            scraped(sec, acme.symbol, limit=1, cache_dir=tmp_path)
    sec.answers[acme.path(0)] = Answer(whole)
    found = scraped(sec, acme.symbol, limit=1, cache_dir=tmp_path)
    assert [WORDS[0] in item.text for item in found.items] == [True]
    asked = sec.times(acme.path(0))
    assert scraped(sec, acme.symbol, limit=1, cache_dir=tmp_path).items == found.items
    assert sec.times(acme.path(0)) == asked


def test_the_sec_is_told_who_asks_and_wants_to_know(sec: Server, acme: Company) -> None:
    with pytest.raises(DataError, match="e-mail") as caught:
        scraped(sec, acme.symbol, contact=None)
    assert "data.contact" in caught.value.cure
    assert sec.asked == []
