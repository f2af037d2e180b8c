"""What only the SQLite file has: migrations, locks, damage, erasure down to the bytes."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from core.errors import MemoryStoreError
from memory.agemem import AgeMem
from memory.stores.migrations import APPLICATION_ID, MIGRATIONS
from memory.stores.sqlite import SqliteStore
from tests.memory.support import HandClock


async def test_the_file_is_wal_full_and_numbered(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "deep" / "m.db")
    await store.open()
    db = store._db()
    values = [
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
    ]
    assert values == ["wal", 2, 1, len(MIGRATIONS)]
    await store.close()
    with pytest.raises(MemoryStoreError, match="not open"):
        await store.operations()


async def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    async with AgeMem(store=tmp_path / "m.db") as memory:
        await memory.add("one")
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(MemoryStoreError, match="of version 99") as caught:
        await AgeMem(store=tmp_path / "m.db").list()
    assert "newer Athena" in caught.value.cure
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE accounts (id)")
    connection.close()
    with pytest.raises(MemoryStoreError, match="not a memory of Athena"):
        await AgeMem(store=tmp_path / "other.db").list()


async def test_a_folder_or_read_only_place_is_an_error_with_a_cure(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/proc/none/m.db")):
        with pytest.raises(MemoryStoreError) as caught:
            await AgeMem(store=path).list()
        assert caught.value.cure


async def test_a_file_locked_by_another_process_is_told_after_the_wait(tmp_path: Path) -> None:
    async with AgeMem(store=tmp_path / "m.db") as memory:
        await memory.add("one")
        other = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        impatient = AgeMem(store=SqliteStore(tmp_path / "m.db", busy_seconds=0.1))
        assert len(await impatient.list()) == 1  # readers do not wait for the writer
        with pytest.raises(MemoryStoreError, match="locked"):
            await impatient.add("two")
        other.execute("ROLLBACK")
        assert (await impatient.add("two")).success
        await impatient.close()
        other.close()


async def test_purged_text_is_gone_from_the_bytes_of_the_file(tmp_path: Path) -> None:
    async with AgeMem(store=tmp_path / "m.db", clock=HandClock()) as memory:
        for number in range(50):
            await memory.add(f"ordinary note {number}")
        entry = (await memory.add("zyxwvut secret", {"note": "qponmlk"})).id
        await memory.update(entry, "zyxwvut secret again")
        for number in range(50):
            await memory.add(f"more ordinary notes {number}")
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"zyxwvut" in content
        await memory.purge(entry)
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"zyxwvut" not in content
        assert b"qponmlk" not in content
        assert await memory.check() == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE versions SET metadata = '{\"a\":1}' WHERE row = 1", "differs from the log"),
        ("DELETE FROM closings", "in the log but not stored"),
        ("DELETE FROM embeddings WHERE row = 2", "has no vector"),
        ("UPDATE embeddings SET vector = x'00' WHERE row = 2", "wrong size"),
        ("INSERT INTO text_index(text_index) VALUES ('delete-all')", "text index"),
        ("DELETE FROM edges", "edge"),
    ],
)
async def test_check_finds_damage_and_rebuild_repairs_it(
    tmp_path: Path, damage: str, said: str
) -> None:
    async with AgeMem(store=tmp_path / "m.db", clock=HandClock()) as memory:
        first = await memory.add("one bond")
        second = await memory.add("two bonds")
        await memory.update(first.id, "one bond, changed")
        await memory.link(first.id, second.id, "near")
        before = (await memory.retrieve("bond", 5)).data
    connection = sqlite3.connect(tmp_path / "m.db")
    with connection:
        connection.execute(damage)
    connection.close()
    async with AgeMem(store=tmp_path / "m.db", clock=HandClock()) as memory:
        assert said in " ".join(await memory.check())
        await memory.rebuild()
        assert await memory.check() == ()
        assert (await memory.retrieve("bond", 5)).data == before


async def test_a_store_of_another_seed_is_refused(tmp_path: Path) -> None:
    await SqliteStore(tmp_path / "m.db", seed="a").open()
    with pytest.raises(MemoryStoreError, match="seed"):
        await SqliteStore(tmp_path / "m.db", seed="b").open()


async def test_a_reader_needs_no_lock_and_check_none_either(tmp_path: Path) -> None:
    async with AgeMem(store=tmp_path / "m.db") as memory:
        await memory.add("one bond")
    other = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for store in (
        SqliteStore(tmp_path / "m.db", busy_seconds=0.1, read_only=True),
        SqliteStore(tmp_path / "m.db", busy_seconds=0.1),
    ):
        memory = AgeMem(store=store)
        assert len((await memory.retrieve("bond")).data) == 1
        assert await memory.check() == ()
        await memory.close(keep_timings=True)  # locked: the timings are dropped
    other.execute("ROLLBACK")
    assert other.execute("SELECT count(*) FROM timings").fetchone() == (0,)
    other.close()
    memory = AgeMem(store=SqliteStore(tmp_path / "m.db", read_only=True))
    await memory.retrieve("bond")
    await memory.close(keep_timings=True)
    memory = AgeMem(store=SqliteStore(tmp_path / "m.db", read_only=True))
    assert (await memory.get_stats()).calls["retrieve"].calls == 1
    with pytest.raises(MemoryStoreError, match="readonly"):
        await memory.add("two")
    await memory.close()


async def test_reading_a_missing_path_makes_no_file(tmp_path: Path) -> None:
    memory = AgeMem(store=SqliteStore(tmp_path / "deep" / "m.db", read_only=True))
    assert await memory.list() == ()
    assert (await memory.retrieve("bond")).data == ()
    with pytest.raises(MemoryStoreError, match="readonly"):
        await memory.add("two")
    await memory.close(keep_timings=True)
    assert list(tmp_path.iterdir()) == []


async def test_a_read_only_folder_can_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.db"
        async with AgeMem(store=path) as memory:
            await memory.add("one bond")
            await memory.retrieve("bond")
        assert [entry.name for entry in Path(folder).iterdir()] == ["m.db"]
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        root = os.getuid() == 0  # who may write everywhere
        if root:
            os.seteuid(65_534)
        try:
            memory = AgeMem(store=SqliteStore(path, read_only=True))
            assert len((await memory.retrieve("bond")).data) == 1
            assert await memory.check() == ()
            await memory.close(keep_timings=True)
        finally:
            if root:
                os.seteuid(0)
            Path(folder).chmod(0o755)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE row = 1",
        "UPDATE embeddings SET model_id = 'other' WHERE row = 1",
        "UPDATE entries SET purged = 1",
        "UPDATE entries SET namespace = 'other'",
        "UPDATE operations SET undoes = NULL",
        "UPDATE operations SET request = '00' WHERE sequence = 1",
        "UPDATE operations SET key = 'other' WHERE sequence = 1",
        "UPDATE operations SET recorded_at = 5 WHERE sequence = 1",
        "UPDATE operations SET kind = 'delete' WHERE sequence = 1",
        "UPDATE operations SET body = 'garbage' WHERE sequence = 1",
        "UPDATE operations SET body = '[]' WHERE sequence = 1",
        "UPDATE operations SET digest = NULL WHERE sequence = 1",
        "UPDATE versions SET metadata = 'garbage' WHERE row = 1",
        "UPDATE meta SET value = 'x' WHERE name = 'seed'",
        "UPDATE branches SET fork_sequence = 99 WHERE name = 'b1'",
        "UPDATE branches SET fork_sequence = 0 WHERE name = 'b1'",
    ],
)
async def test_check_finds_every_kind_of_tampering(tmp_path: Path, damage: str) -> None:
    async with AgeMem(store=tmp_path / "m.db", clock=HandClock()) as memory:
        first = await memory.add("one bond", idempotency_key="k")
        deleted = await memory.delete(first.id)
        await memory.undo(deleted.operation_id or "")
        await (await memory.fork()).update(first.id, "another bond")
        assert await memory.check() == ()
    connection = sqlite3.connect(tmp_path / "m.db")
    with connection:
        assert connection.execute(damage).rowcount > 0
    connection.close()
    async with AgeMem(store=tmp_path / "m.db") as memory:
        assert await memory.check()


async def test_a_file_from_before_the_seals_is_sealed_as_it_is_opened(tmp_path: Path) -> None:
    async with AgeMem(store=tmp_path / "m.db", clock=HandClock()) as memory:
        first = await memory.add("one bond", idempotency_key="k")
        await memory.undo(first.operation_id or "")
    connection = sqlite3.connect(tmp_path / "m.db")
    with connection:
        for table in ("operations", "embeddings"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN digest")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    memory = AgeMem(store=SqliteStore(tmp_path / "m.db", read_only=True))
    assert await memory.check() == ()
    await memory.close()


def made_by_schema_2(path: Path, newer: Path) -> None:
    """The rows of a file in the tables, indexes and pages that a file of schema 2 had."""
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    for statement in (*MIGRATIONS[0], *MIGRATIONS[1]):
        old.execute(statement)
    old.execute("ATTACH ? AS newer", (str(newer),))
    tables = ("meta", "branches", "operations", "entries", "versions", "closings", "edges")
    for table in (*tables, "embeddings", "timings"):
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA newer.table_info({table})"))
        old.execute(f"INSERT INTO {table}({columns}) SELECT {columns} FROM newer.{table}")
    old.execute("INSERT INTO text_index(text_index) VALUES ('rebuild')")
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute("PRAGMA user_version = 2")
    old.close()


async def test_a_file_of_schema_2_opens_and_answers_as_before(tmp_path: Path) -> None:
    clock = HandClock()
    async with AgeMem(store=tmp_path / "new.db", clock=clock) as memory:
        first = await memory.add("one bond", {"symbol": "IBM"}, idempotency_key="k")
        second = await memory.add("two bonds")
        purged = await memory.add("zyxwvut secret")
        await memory.update(first.id, "one bond, changed")
        await memory.link(first.id, second.id, "near")
        await memory.purge(purged.id)
        hits = (await memory.retrieve("bond", 5)).data
        history = await memory.history(first.id)
    made_by_schema_2(tmp_path / "old.db", tmp_path / "new.db")
    reader = AgeMem(store=SqliteStore(tmp_path / "old.db", read_only=True), clock=clock)
    assert (await reader.retrieve("bond", 5)).data == hits
    await reader.close()
    async with AgeMem(store=tmp_path / "old.db", clock=clock) as memory:
        assert await memory.check() == ()
        assert await memory.history(first.id) == history
        again = await memory.add("one bond", {"symbol": "IBM"}, idempotency_key="k")
        assert again.replayed
        assert again.ids == first.ids
        third = await memory.add("three bonds")
        assert third.id in (await memory.retrieve("three bonds")).ids
        assert await memory.check() == ()
    connection = sqlite3.connect(tmp_path / "old.db")
    found = connection.execute("SELECT rowid FROM text_index WHERE text_index MATCH 'bonds'")
    assert found.fetchall() == [(2,), (5,)]
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert names & {"version_entries", "text_index_docsize"} == set()
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_a_purge_while_somebody_reads_is_pending_and_finished_by_the_next_write(
    tmp_path: Path,
) -> None:
    async with AgeMem(store=SqliteStore(tmp_path / "m.db", busy_seconds=0.1)) as memory:
        entry = (await memory.add("zyxwvut secret", idempotency_key="zyxwvut-1")).id
        reader = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM versions").fetchall()
        receipt = await memory.purge(entry)
        assert receipt.success
        assert "m.db-wal" in receipt.pending
        assert b"zyxwvut" in _bytes(tmp_path)
        reader.close()
        await memory.add("another")
        assert b"zyxwvut" not in _bytes(tmp_path)
        later = (await memory.add("a second one")).id
        assert (await memory.purge(later)).pending == ""


async def test_a_purge_killed_before_its_checkpoint_is_finished_at_the_next_opening(
    tmp_path: Path,
) -> None:
    def killed(name: str) -> None:
        if name == "committed" and purging:
            raise KeyboardInterrupt

    purging = False
    store = SqliteStore(tmp_path / "m.db", boundary=killed)
    memory = AgeMem(store=store)
    entry = (await memory.add("zyxwvut secret")).id
    purging = True
    with pytest.raises(KeyboardInterrupt):
        await memory.purge(entry)
    assert b"zyxwvut" in _bytes(tmp_path)
    async with AgeMem(store=tmp_path / "m.db") as again:
        await again.store()
        assert b"zyxwvut" not in _bytes(tmp_path)
    await store.close()
