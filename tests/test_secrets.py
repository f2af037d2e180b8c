"""A canary in every place that a secret can come from is found in nothing that is written or said."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.conftest import Athena
from tests.models.conftest import make_tiny
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


PRIVATE = {"kept": 0o700, "kept/m.db": 0o600, "m.jsonl": 0o600, "log.txt": 0o600}


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["stage2", "--steps", "1", "--stage", "single", *(
            f"--set=training.stage2.{each}"
            for each in (
                "batch_episodes=1", "rollouts=2", "eval_steps=1", "eval_episodes=1", "head_width=4",
                "final_episodes=0",
            )
        )],
        ["stage1", "--steps", "1", "--set=olmoe.model_path=tiny", "--set=olmoe.device=cpu", *(
            f"--set=training.stage1.{each}"
            for each in ("eval_steps=1", "batch_rows=1", "context_tokens=128", "lora_rank=1")
        )],
    ],
    ids=["stage2", "stage1"],
)  # fmt: skip
def test_trainings_and_the_report_after_them_hold_no_secret(
    athena: Athena, tmp_path: Path, words: list[str]
) -> None:
    make_tiny(tmp_path / "tiny")
    env = SECRETS | {
        "OMP_NUM_THREADS": "1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "NEO4J_URI": f"bolt://me:{CANARY}@127.0.0.1:1",
        "HTTPS_PROXY": f"http://me:{CANARY}@127.0.0.1:1",
    }
    log = ["-vv", "--log-file", "log.txt"]
    done = [athena(*log, "train", *words, "--json", env=env, timeout=300)]
    assert done[0].returncode == 0, done[0].stderr[-2000:]
    run = tmp_path / json.loads(done[0].stdout)["run_dir"]
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "log.txt").stat().st_mode) == 0o600
    address = f"https://me:{CANARY}@example.org/a.csv?api_key={CANARY}"
    done.append(athena("train", words[0], "--resume", "last", *log, "--data", address, env=env))
    nothing = ["--bundle", "report.json", "--yes", "--set=olmoe.model_path=nowhere"]
    done.append(athena(*log, "dry-run", *nothing, env=env))
    assert done[-1].returncode == 0, done[-1].stderr
    assert all(CANARY not in each.stdout + each.stderr for each in done)
    assert found_in(tmp_path) == []


def test_a_memory_its_export_and_a_log_are_the_users_alone(athena: Athena, tmp_path: Path) -> None:
    memory = ["memory", "--set=memory.path=kept/m.db"]
    athena("--log-file", "log.txt", *memory, "add", "one")
    athena(*memory, "export", "m.jsonl")
    found = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in PRIVATE}
    assert found == PRIVATE


def test_imported_data_is_the_users_alone(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date,symbol,close\n2020-01-02,A,1\n2020-01-03,A,2\n")
    assert athena("data", "import", "a.csv").returncode == 0
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_run_folders_and_caches_are_the_users_alone(athena: Athena, tmp_path: Path) -> None:
    done = athena("backtest", "--agents", "rules", "--end", "2001-03-30", "--json")
    run = tmp_path / json.loads(done.stdout)["run_dir"]
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
