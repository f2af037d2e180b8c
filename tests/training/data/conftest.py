"""A server on this machine in the SEC's place, and one company on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.data.edgar import ACME, Company, submissions
from tests.training.data.server import Server, jsonned, serving, text


@pytest.fixture
def sec() -> Iterator[Server]:
    with serving() as server:
        server.answers["/files/company_tickers.json"] = jsonned(
            {"0": {"cik_str": ACME.cik, "ticker": ACME.symbol, "title": "ACME CORP"}}
        )
        yield server


@pytest.fixture
def acme(sec: Server) -> Company:
    sec.answers[ACME.list_path] = jsonned(submissions(ACME.cik, ACME.numbers))
    for at in range(2):
        sec.answers[ACME.path(at)] = text(ACME.filing(at))
    return ACME
