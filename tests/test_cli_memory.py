"""`athena memory ...` as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from memory.agemem import AgeMem
from tests.conftest import Athena
from tests.memory.support import NO_SERVER, neo4j_store


def as_json(athena: Athena, *words: str, code: int = 0, **more: Any) -> Any:
    done = athena("memory", *words, "--json", **more)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_a_memory_from_first_note_to_last(athena: Athena, tmp_path: Path) -> None:
    added = as_json(
        athena, "add", "AAPL beat [bold]estimates[/bold]", "--symbol", "AAPL", "--kind", "fact",
        "--source", "10-Q", "--key", "k1",
    )  # fmt: skip
    assert set(added) >= {"id", "version", "operation_id", "superseded"}
    again = as_json(athena, "add", "AAPL beat [bold]estimates[/bold]", "--symbol", "AAPL",
                    "--kind", "fact", "--source", "10-Q", "--key", "k1")  # fmt: skip
    assert (again["id"], again["replayed"]) == (added["id"], True)
    other = as_json(athena, "add", "order ORD-17 was halted")
    updated = as_json(athena, "update", added["id"], "AAPL beat estimates twice")
    assert (updated["version"], updated["superseded"]) == (2, [f"{added['id']}@1"])
    linked = as_json(athena, "link", added["id"], other["id"], "--relation", "before")
    hits = as_json(athena, "search", "estimates AAPL", "--where", "kind=fact", "--top-k", "2")
    (hit,) = hits["hits"]
    assert set(hit) >= {"id", "version", "text", "score", "ranks", "valid_from", "recorded_from",
                        "outcome_at"}  # fmt: skip
    assert set(hit["ranks"]) == {"vector", "text", "graph"}
    assert as_json(athena, "search", "estimates", "--as-of", "2001-01-01")["hits"] == []
    listed = as_json(athena, "list", "--symbol", "AAPL")["entries"]
    assert [entry["text"] for entry in listed] == ["AAPL beat estimates twice"]
    versions = as_json(athena, "history", added["id"])["versions"]
    assert [v["opened_by"] for v in versions] == [added["operation_id"], updated["operation_id"]]
    as_json(athena, "delete", added["id"])
    assert as_json(athena, "show", added["id"])["closed"]
    as_json(athena, "undo", "main:5")
    page = Path(as_json(athena, "graph", added["id"], "--out", "g.html")["path"])
    drawn = (tmp_path / page).read_text()
    assert "before" in drawn
    assert "ORD-17" in drawn
    assert "<script" not in drawn
    stats = as_json(athena, "stats")
    assert stats["operations_by_kind"]["add"] == 2
    assert stats["calls"]["add"]["calls"] == 3
    assert as_json(athena, "check") == {"ok": True, "problems": []}
    exported = as_json(athena, "export", "all.jsonl")
    assert (exported["entries"], exported["operations"]) == (2, 6)
    imported = as_json(athena, "import", "all.jsonl", "--set", "memory.path=copy.db")
    assert imported["operations"] == 6
    as_json(athena, "undo", linked["operation_id"])
    as_json(athena, "purge", other["id"])
    assert as_json(athena, "rebuild")["ok"]
    assert as_json(athena, "list", "--namespace", "empty")["entries"] == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["show", "m-none"], "EntryNotFound"),
        (["delete", "m-none"], "EntryNotFound"),
        (["undo", "main:1"], "EntryNotFound"),
        (["add", ""], "ContentRefused"),
        (["search", "x", "--top-k", "0"], "ContentRefused"),
        (["search", "x", "--as-of", "noon"], "UsageError"),
        (["import", "absent.jsonl"], "ContentRefused"),
        (["add", "x", "--set", "memory.store=neo4j"], "ConfigError"),
        (["add", "x", "--set", "memory.policy=learned"], "ConfigError"),
    ],
)
def test_mistakes_are_told_and_exit_with_2(athena: Athena, words: list[str], kind: str) -> None:
    env = {"NEO4J_URI": "", "NEO4J_PASSWORD": ""}
    error = as_json(athena, *words, code=2, env=env)["error"]
    assert error["kind"] == kind
    assert error["message"]


def test_conflicts_and_closed_entries_have_their_own_kinds(athena: Athena) -> None:
    entry = as_json(athena, "add", "one", "--key", "k")["id"]
    conflict = as_json(athena, "add", "two", "--key", "k", code=2)
    assert conflict["error"]["kind"] == "KeyConflict"
    as_json(athena, "delete", entry)
    assert as_json(athena, "update", entry, "x", code=2)["error"]["kind"] == "EntryClosed"


def test_tables_show_texts_as_they_are(athena: Athena) -> None:
    athena("memory", "add", "plain [red]brackets[/red] ünïcode")
    for command in (["list"], ["search", "brackets"], ["stats"], ["check"]):
        done = athena("memory", *command)
        assert (done.returncode, done.stderr) == (0, "")
    assert "[red]brackets[/red]" in athena("memory", "list").stdout.replace("\n", "")


def test_a_broken_store_exits_with_1_and_a_cure(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_bytes(b"not a database at all, but long enough to look at" * 40)
    error = as_json(athena, "list", code=1)["error"]
    assert error["kind"] == "MemoryStoreError"
    assert error["cure"]


def test_a_store_that_disagrees_with_its_log_exits_with_1(athena: Athena, tmp_path: Path) -> None:
    import sqlite3

    as_json(athena, "add", "one")
    connection = sqlite3.connect(tmp_path / "memory.db")
    with connection:
        connection.execute("UPDATE versions SET content = 'forged'")
    connection.close()
    checked = as_json(athena, "check", code=1)
    assert not checked["ok"]
    assert "differs from the log" in " ".join(checked["problems"])
    assert as_json(athena, "rebuild")["ok"]
    assert as_json(athena, "list")["entries"][0]["text"] == "one"


def test_the_commands_serve_neo4j(athena: Athena) -> None:
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    place = ["--set", "memory.store=neo4j", "--namespace", f"cli-{os.getpid()}"]
    entry = as_json(athena, "add", "kept in a graph", *place)["id"]
    try:
        assert as_json(athena, "search", "graph", *place)["hits"][0]["id"] == entry
        wrong = as_json(athena, "list", *place, code=1, env={"NEO4J_PASSWORD": "wrong"})
        assert wrong["error"]["kind"] == "MemoryStoreError"
        assert "NEO4J_PASSWORD" in wrong["error"]["cure"]
        away = as_json(athena, "list", *place, "--set", "memory.neo4j_uri=bolt://127.0.0.1:9",
                       code=1)  # fmt: skip
        assert "Start the server" in away["error"]["cure"]
    finally:
        as_json(athena, "purge", entry, *place)
    assert neo4j_store("athena", seed=None).name == "neo4j"


def test_the_memory_of_a_run_is_read_by_the_runs_name(athena: Athena, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20200101T000000Z-backtest-abc"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    missing = athena("memory", "--run", str(folder), "list", "--json")
    assert missing.returncode == 2
    assert json.loads(missing.stdout)["error"]["kind"] == "RunNotFound"
    as_json(athena, "add", "kept by a run", "--set", f"memory.path={folder / 'memory.db'}")
    found = athena("memory", "--run", str(folder), "search", "kept", "--json")
    assert [hit["text"] for hit in json.loads(found.stdout)["hits"]] == ["kept by a run"]


def test_a_read_makes_no_file_and_does_not_wait_for_a_writer(
    athena: Athena, tmp_path: Path
) -> None:
    assert as_json(athena, "list", "--set", "memory.path=none.db")["entries"] == []
    assert as_json(athena, "check", "--set", "memory.path=none.db")["ok"]
    assert not list(tmp_path.glob("none.db*"))
    as_json(athena, "add", "one bond", "--set", "memory.path=m.db")
    other = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert len(as_json(athena, "search", "bond", "--set", "memory.path=m.db")["hits"]) == 1
    assert as_json(athena, "check", "--set", "memory.path=m.db")["ok"]
    other.close()


def test_a_refused_call_is_counted(athena: Athena) -> None:
    as_json(athena, "add", "one")
    as_json(athena, "delete", "m-none", code=2)
    calls = as_json(athena, "stats")["calls"]["delete"]
    assert (calls["calls"], calls["failures"]) == (1, 1)


def test_history_names_only_what_its_branch_has_seen(athena: Athena, tmp_path: Path) -> None:
    path = tmp_path / "memory.db"

    async def made() -> str:
        async with AgeMem(store=path) as memory:
            entry = await memory.add("stands in main")
            fork = await memory.fork()
            await fork.delete(entry.id)
            return entry.id

    entry_id = asyncio.run(made())
    shown = athena("--json", "--set", f"memory.path={path}", "memory", "history", entry_id)
    (version,) = json.loads(shown.stdout)["versions"]
    assert (version["closed"], version["closed_by"]) == (False, None)
