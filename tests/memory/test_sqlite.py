"""What only the SQLite file has: migrations, locks, damage, erasure down to the bytes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from core.errors import MemoryStoreError
from memory.agemem import AgeMem
from memory.stores.migrations import MIGRATIONS
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
    with pytest.raises(MemoryStoreError, match="schema 99") as caught:
        await AgeMem(store=tmp_path / "m.db").list()
    assert "Upgrade" in caught.value.cure
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
