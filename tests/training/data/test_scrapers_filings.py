"""Filings through edgartools, against a server on this machine in the SEC's shapes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest

from core.errors import DataError
from tests.training.data.edgar import WORDS, Company, submissions
from tests.training.data.server import Answer, Server, jsonned, text
from training.data.scrapers.base import Scrape, collect
from training.data.scrapers.filings import FilingsScraper

if find_spec("edgar") is None:
    pytest.skip("the extra scrape is not installed", allow_module_level=True)

# edgartools 5.62 hands a timeout of httpx to its cache, which prefers httpx2.
pytestmark = pytest.mark.filterwarnings("ignore:.*migrate to httpx2:DeprecationWarning")


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


@pytest.mark.parametrize("missing", [10, 90, 200])
def test_a_filing_cut_short_is_never_taken_from_the_cache_for_whole(
    sec: Server, acme: Company, missing: int
) -> None:
    whole = Answer(acme.filing(0).encode())
    sec.answers[acme.path(0)] = Answer(whole.body, cut=len(whole.body) - missing)
    for _ in range(2):
        with pytest.raises(DataError):
            scraped(acme.symbol, limit=1)
    sec.answers[acme.path(0)] = whole
    found = scraped(acme.symbol, limit=1)
    assert [WORDS[0] in item.text for item in found.items] == [True]


def test_the_sec_wants_to_know_who_asks() -> None:
    with pytest.raises(DataError, match="e-mail") as caught:
        scraped("ACME", contact=None)
    assert "data.contact" in caught.value.cure
