"""`athena data scrape`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Athena
from tests.training.data.edgar import ACME, submissions
from tests.training.data.server import jsonned, serving, text

pytest.importorskip("httpx", reason="the extra scrape is not installed")

FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Wire</title>
<item><title>Acme rises</title><pubDate>Mon, 03 Jun 2024 09:30:00 GMT</pubDate></item>
<item><title>No time</title></item></channel></rss>"""


def test_news_are_written_as_a_table(athena: Athena, tmp_path: Path) -> None:
    with serving() as server:
        server.answers["/ACME"] = text(FEED)
        done = athena(
            "data", "scrape", "news", "ACME", "--feed", server.url + "/{symbol}", "--json"
        )
        report = json.loads(done.stdout)
        assert (done.returncode, report["items"], report["skipped"]) == (0, 1, 1)
        assert report["reasons"] == {"no publication time": 1}
        table = pq.read_table(tmp_path / report["path"]).to_pylist()
        assert [(row["symbol"], row["text"]) for row in table] == [("ACME", "Acme rises")]
        again = athena(
            "data", "scrape", "news", "--feed", server.url + "/ACME", "--out", "n.parquet"
        )  # fmt: skip
        assert "1 items in n.parquet" in again.stdout
        assert "no publication time" in again.stdout
        # The second call was answered from disk.
        assert server.times("/ACME") == 1


def test_what_is_scraped_does_not_depend_on_the_hash_seed(athena: Athena, tmp_path: Path) -> None:
    entries = "".join(
        f"<item><title>Acme {at % 7}</title><pubDate>Mon, 03 Jun 2024 09:{at:02}:00 GMT</pubDate></item>"
        for at in range(30)
    )
    with serving() as server:
        server.answers["/A"] = server.answers["/B"] = text(
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>W</title>{entries}</channel></rss>'
        )
        words = ["data", "scrape", "news", "A", "B", "--feed", server.url + "/{symbol}", "--json"]
        found = [
            json.loads(
                athena(*words, "--out", f"{seed}.parquet", env={"PYTHONHASHSEED": seed}).stdout
            )
            for seed in ("0", "77")
        ]
    assert found[0]["items"] == 60
    assert found[0]["sha256"] == found[1]["sha256"]
    tables = [pq.read_table(tmp_path / f"{seed}.parquet") for seed in ("0", "77")]
    assert tables[0].equals(tables[1])
    assert str(tables[0].schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert set(tables[0].column_names) >= {"time", "symbol", "text", "source", "licence"}


def test_a_source_that_fails_leaves_no_file(athena: Athena, tmp_path: Path) -> None:
    done = athena(
        "data",
        "scrape",
        "news",
        "--feed",
        "http://127.0.0.1:9/feed",
        "--out",
        "n.parquet",
        "--json",
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "DataError"
    assert "offline" in done.stderr
    assert not (tmp_path / "n.parquet").exists()


def test_the_offline_table_must_be_asked_for_and_says_what_it_is(
    athena: Athena, tmp_path: Path
) -> None:
    refused = athena("data", "scrape", "market", "--macro", "UNRATE", env={"FRED_API_KEY": ""})
    assert refused.returncode == 2
    assert "FRED_API_KEY" in refused.stderr
    words = ["data", "scrape", "market", "--macro", "UNRATE", "--offline-table", "--json"]
    reports = [
        json.loads(athena(*words, env={"PYTHONHASHSEED": seed}).stdout) for seed in ("0", "77")
    ]
    assert reports[0]["sha256"] == reports[1]["sha256"]
    table = pq.read_table(tmp_path / reports[0]["path"]).to_pylist()
    assert all("made up" in row["source"] for row in table)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["news"], "no symbol and no feed"),
        (["social"], "no symbol is named"),
        (["filings"], "no symbol is named"),
        (["market"], "no symbol is named"),
        (["market", "AAPL", "--macro", "UNRATE"], "two scrapes"),
        (["news", "--feed", "http://x/{symbol}"], "wants symbols"),
        (["filings", "AAPL"], "data.contact"),
        (["rumours"], "rumours"),
    ],
)
def test_what_does_not_fit_is_said(athena: Athena, words: list[str], said: str) -> None:
    done = athena("data", "scrape", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_filings_are_asked_for_where_the_variables_say(athena: Athena, tmp_path: Path) -> None:
    with serving() as server:
        server.answers["/files/company_tickers.json"] = jsonned(
            {"0": {"cik_str": ACME.cik, "ticker": ACME.symbol, "title": "ACME CORP"}}
        )
        server.answers[ACME.list_path] = jsonned(submissions(ACME.cik, ACME.numbers))
        for at in range(2):
            server.answers[ACME.path(at)] = text(ACME.filing(at))
        done = athena(
            "data", "scrape", "filings", ACME.symbol, "NOSUCH", "--json",
            "--set", "data.contact=me@example.com",
            env={"EDGAR_BASE_URL": server.url, "EDGAR_DATA_URL": server.url},
        )  # fmt: skip
        report = json.loads(done.stdout)
        assert (done.returncode, report["items"]) == (0, 2), done.stderr
        assert report["reasons"] == {"symbol unknown to the SEC": 1}
        assert all("me@example.com" in agent for agent in server.agents)


def test_a_name_and_password_in_a_feeds_address_are_written_nowhere(
    athena: Athena, tmp_path: Path
) -> None:
    with serving() as server:
        server.answers["/ACME"] = text(FEED)
        url = server.url.replace("://", "://me:CANARY@")
        words = ["-v", "data", "scrape", "news", "--feed", f"{url}/ACME?token=CANARY", "--json"]
        good = athena(*words)
        bad = athena(*words[:-2], f"{url}/absent?token=CANARY", "--json")
        wants = athena(*words[:-2], f"{url}/{{symbol}}")
    assert (good.returncode, bad.returncode, wants.returncode) == (0, 2, 2)
    for done in (good, bad, wants):
        assert "CANARY" not in done.stdout + done.stderr
    row = pq.read_table(tmp_path / json.loads(good.stdout)["path"]).to_pylist()[0]
    assert row["source"] == server.url.removeprefix("http://")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path
