"""A canary in every place that a secret can come from is found in nothing that is written or said."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.conftest import Athena
from tests.training.data.server import jsonned, serving, text

CANARY = "c4n4ry5ecret"
SECRETS = {
    "FRED_API_KEY": CANARY,
    "NEO4J_PASSWORD": CANARY,
    "NEO4J_USERNAME": CANARY,
    "HF_TOKEN": CANARY,
    "ATHENA_SHARED": "",
}
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Wire</title><item><title>Acme</title>
<pubDate>Mon, 03 Jun 2024 09:30:00 GMT</pubDate></item></channel></rss>"""


def found_in(folder: Path) -> list[str]:
    """The files that hold the canary, by name or content."""
    return [
        path.name
        for path in folder.rglob("*")
        if CANARY in path.name or (path.is_file() and CANARY.encode() in path.read_bytes())
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["-vv", "backtest", "--agents", "rules", "--end", "2001-03-30", "--log-file", "log.txt"],
        ["dry-run", "--json"],
        ["config", "show"],
        ["memory", "search", "x", "--set", "memory.store=neo4j"],
        ["--set", f"memory.neo4j_uri=bolt://me:{CANARY}@localhost:1", "memory", "search", "x"],
        ["-v", "backtest", "--data", f"https://me:{CANARY}@example.org/a.csv?api_key={CANARY}"],
    ],
)
def test_what_commands_say_and_write_holds_no_secret(
    athena: Athena, tmp_path: Path, words: list[str]
) -> None:
    uri = {"NEO4J_URI": f"bolt://me:{CANARY}@127.0.0.1:1"}
    done = athena(*words, env=SECRETS | uri)
    assert CANARY not in done.stdout + done.stderr
    assert found_in(tmp_path) == []


def test_a_password_in_the_address_of_neo4j_is_refused(athena: Athena) -> None:
    for address in (f"bolt://me:{CANARY}@127.0.0.1:1", f"nonsense://me:{CANARY}@x", f"{CANARY}@x"):
        words = ["memory", "search", "x", "--set", "memory.store=neo4j", "-v"]
        done = athena(*words, env=SECRETS | {"NEO4J_URI": address})
        assert done.returncode != 0
        assert CANARY not in done.stdout + done.stderr


def test_scrapers_write_no_secret(athena: Athena, tmp_path: Path) -> None:
    with serving() as server:
        server.answers["/feed"] = text(FEED)
        server.answers["/api/v1/timelines/tag/A"] = jsonned([])
        named = server.url.replace("://", f"://me:{CANARY}@")
        for words in (
            ["news", "--feed", f"{named}/feed?apikey={CANARY}"],
            ["news", "--feed", f"{named}/absent?apikey={CANARY}"],
            ["social", "A", "--server", named],
            ["social", "B", "--server", named],
        ):
            done = athena("-vv", "data", "scrape", *words, "--json", env=SECRETS)
            assert CANARY not in done.stdout + done.stderr, words
        assert any(server.authorizations)
    assert found_in(tmp_path) == []


def test_run_folders_and_caches_are_the_users_alone(athena: Athena, tmp_path: Path) -> None:
    done = athena("backtest", "--agents", "rules", "--end", "2001-03-30", "--json")
    run = tmp_path / json.loads(done.stdout)["run_dir"]
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
