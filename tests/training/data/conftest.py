"""One server in the SEC's place for all tests: edgartools reads where the SEC is once a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.data.edgar import COMPANIES, Company, submissions
from tests.training.data.server import Server, jsonned, serving, text


@pytest.fixture(scope="session")
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
