"""The default store: one SQLite file, many readers and one writer across processes.

WAL with synchronous=FULL: an acknowledged write survives a power cut. Every write transaction starts with
BEGIN IMMEDIATE, so two writers queue and never deadlock. Calls run on the caller's thread: a durable write
takes a fraction of a millisecond, less than a hop to a thread and back saves.

Known weakness: a write that has to wait for another process's transaction blocks the event loop meanwhile,
for at most `busy_seconds`. Use a store from the thread that opened it.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing as closing_cursor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import orjson

from core.errors import EntryNotFound, MemoryRefused, MemoryStoreError
from core.formats import MEMORY
from core.memories import (
    ROOT_BRANCH,
    Branch,
    Closing,
    Derived,
    Edge,
    Lineage,
    OperationRecord,
    StoredVector,
    Version,
)
from core.protocols import MemoryTransaction
from memory.codec import (
    canonical,
    log_digest,
    metadata_of,
    payload,
    purged_key,
    record_of,
    scrub,
    vector_digest,
)
from memory.stores.copies import copy_of
from memory.stores.migrations import APPLICATION_ID, MIGRATIONS, PAGE_BYTES
from memory.verify import entry_problems, log_problems

log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
Boundary = Callable[[str], None]

_OPERATION_COLUMNS = "sequence, branch, number, kind, namespace, key, request, recorded_at, body"
_VERSION_COLUMNS = (
    "version_id, entry_id, number, namespace, content, metadata, source, recorded_from, "
    "valid_from, outcome_at, copy_of, branch, sequence"
)
_OF_ENTRY = "version_id >= ? AND version_id < ?"
_EDGE_COLUMNS = (
    "edge_id, from_entry, to_entry, relation, namespace, recorded_from, branch, sequence"
)
_CLOSING_COLUMNS = "target, recorded_to, hidden_from, branch, sequence"
_VECTOR_COLUMNS = "v.version_id, e.model_id, e.dimension, e.vector"
_VECTOR_ROWS = "FROM embeddings e JOIN versions v ON v.row = e.row"
_VECTOR_INTO = " INTO embeddings(row, model_id, dimension, vector, digest) VALUES (?, ?, ?, ?, ?)"
# Not OR REPLACE: that opens a statement journal, at which FTS5 writes out what it has, once a vector.
_NEW_VECTOR = f"INSERT{_VECTOR_INTO}"
_ADD_TIMINGS = """INSERT INTO timings VALUES (?, ?, ?)
                  ON CONFLICT DO UPDATE SET calls = calls + excluded.calls"""
_TIMINGS_WAIT = 0.25  # seconds


class SqliteStore:
    """The log and its indexes in one file; `:memory:` keeps them in this process.

    `seed` fixes the ids of a new file (random without one). `boundary` is called with a name before every
    statement of a write and around its commit: crash tests kill the process there. `read_only` never
    writes, makes no file (a missing one reads as an empty memory) and asks for no lock. A file of an older
    schema is copied, then brought up to date; `copies` is False for one that is a copy itself.
    """

    name = "sqlite"

    def __init__(
        self,
        path: str | Path,
        *,
        seed: str | None = None,
        busy_seconds: float = 30.0,
        boundary: Boundary | None = None,
        read_only: bool = False,
        copies: bool = True,
    ) -> None:
        self._path = str(path)
        self._read_only = read_only
        self._copies = copies
        self._erasing = False
        self._seed = seed
        self._busy_seconds = busy_seconds
        self._boundary = boundary
        self._connection: sqlite3.Connection | None = None
        self._branches: dict[str, Branch] = {}
        self._lineages: dict[str, Lineage] = {}

    @property
    def path(self) -> str:
        return self._path

    async def open(self) -> None:
        if self._connection is not None:
            return
        with self._guard():
            if self._read_only and (reading := _reader(self._path, self._busy_seconds)) is not None:
                self._seed = _same_seed(reading, self._path, self._seed)
                self._connection = reading
                return
            if self._path != ":memory:" and not self._read_only:
                try:
                    Path(self._path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with suppress(FileExistsError, IsADirectoryError):
                        # Its owner's alone; the files that SQLite lays beside it get the same rights.
                        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                except OSError as error:
                    raise MemoryStoreError(
                        f"the folder of {self._path} cannot be made: {error.strerror}.",
                        "Choose another memory.path.",
                    ) from error
            connection = sqlite3.connect(
                ":memory:" if self._read_only else self._path,
                timeout=self._busy_seconds,
                isolation_level=None,
            )
            try:
                self._prepare(connection)
                if self._read_only:
                    connection.execute("PRAGMA query_only = ON")
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _identify(connection, self._path)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
        _set_wal(connection, self._busy_seconds)
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        if _user_version(connection) < len(MIGRATIONS):
            connection.execute("BEGIN IMMEDIATE")
            with _rolled_back_on_error(connection):
                # Asked again: another process may have done it while this one waited.
                if self._copies and 0 < (version := _user_version(connection)) < len(MIGRATIONS):
                    kept = copy_of(Path(self._path), version)
                    log.warning("%s is brought up to date; %s is as it was", self._path, kept.name)
                self._migrate(connection)
                connection.execute("COMMIT")
        self._seed = _same_seed(connection, self._path, self._seed)
        erasing = connection.execute("SELECT value FROM meta WHERE name = 'erasing'").fetchone()
        self._erasing = erasing == ("1",) and not _wal_truncated(connection, 0.0)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        for number in range(_user_version(connection), len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            if number == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(
                    "INSERT INTO meta VALUES ('seed', ?), ('epoch', '0')",
                    (self._seed or secrets.token_hex(16),),
                )
                connection.execute("INSERT INTO branches VALUES (?, NULL, 0, 0)", (ROOT_BRANCH,))
            if number == 1:
                _seal(connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn the engine's failures into MemoryStoreError with a cure."""
        try:
            yield
        except sqlite3.Error as error:
            raise MemoryStoreError(
                f"the memory file {self._path} failed: {error}.", _cure(error)
            ) from error

    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise MemoryStoreError("the memory is not open.", "Await `open()` first.")
        return self._connection

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._guard():
            return self._db().execute(sql, parameters).fetchall()

    async def seed(self) -> str:
        self._db()
        assert self._seed is not None
        return self._seed

    async def branches(self) -> Mapping[str, Branch]:
        for row in self._rows("SELECT name, parent, fork_sequence, created_at FROM branches"):
            self._branches[row[0]] = Branch(*row)
        return MappingProxyType(self._branches)

    async def _lineage(self, name: str) -> Lineage:
        if name not in self._lineages:
            if name not in self._branches:
                await self.branches()
            if name not in self._branches:
                raise EntryNotFound(f"no branch {name!r}.", "Fork one first.")
            self._lineages[name] = Lineage.of(name, self._branches)
        return self._lineages[name]

    async def fork(self, parent: str, at_sequence: int | None, created_at: int) -> Branch:
        await self._lineage(parent)

        async def work(transaction: _SqliteTransaction) -> Branch:
            latest, _ = await transaction.position()
            count = len(self._branches)  # names are counted on; others may have forked since
            while transaction.run(
                "SELECT 1 FROM branches WHERE name = ?", (f"b{count}",)
            ).fetchone():
                count += 1
            limit = latest - 1 if at_sequence is None else min(at_sequence, latest - 1)
            branch = Branch(f"b{count}", parent, limit, created_at)
            transaction.run(
                "INSERT INTO branches VALUES (?, ?, ?, ?)",
                (branch.name, parent, limit, created_at),
            )
            return branch

        branch = await self._write(parent, work)
        self._branches[branch.name] = branch
        return branch

    async def write(
        self, branch: str, work: Callable[[MemoryTransaction], Awaitable[ResultT]]
    ) -> ResultT:
        return await self._write(branch, work)

    async def _write(
        self, branch: str, work: Callable[[_SqliteTransaction], Awaitable[ResultT]]
    ) -> ResultT:
        lineage = await self._lineage(branch)
        db = self._db()
        with self._guard():
            self._at("begin")
            db.execute("BEGIN IMMEDIATE")
            with _rolled_back_on_error(db):
                transaction = _SqliteTransaction(
                    db, branch, lineage, self._seed or "", self._boundary
                )
                result = await work(transaction)
                self._at("commit")
                db.execute("COMMIT")
            self._at("committed")
            if transaction.erased:
                self._erasing = not _wal_truncated(db, min(self._busy_seconds, 1.0))
            elif self._erasing:
                self._erasing = not _wal_truncated(db, 0.0)
        return result

    async def erasure_pending(self) -> str:
        if not self._erasing:
            return ""
        return f"{self._path}-wal keeps the text until no other process reads; the next write looks"

    def _at(self, name: str) -> None:
        if self._boundary is not None:
            self._boundary(name)

    async def state(self) -> tuple[int, int]:
        row = self._rows(
            """SELECT (SELECT value FROM meta WHERE name = 'epoch'),
                      (SELECT max(sequence) FROM operations)"""
        )[0]
        return int(row[0]), row[1] or 0

    async def operations(self, after: int = 0) -> Sequence[OperationRecord]:
        rows = self._rows(
            f"SELECT {_OPERATION_COLUMNS} FROM operations WHERE sequence > ? ORDER BY sequence",
            (after,),
        )
        return [record_of(*row) for row in rows]

    async def vectors(self, after: int = 0) -> Sequence[StoredVector]:
        # Rows and sequences rise together: look for the last old row from the end, not through all.
        rows = self._rows(
            f"""SELECT {_VECTOR_COLUMNS} {_VECTOR_ROWS}
                WHERE e.row > coalesce((SELECT row FROM versions WHERE sequence <= ?
                                        ORDER BY row DESC LIMIT 1), 0) ORDER BY e.row""",
            (after,),
        )
        return [StoredVector(*row) for row in rows]

    async def versions(self, branch: str, entry_id: str) -> Sequence[Version]:
        lineage = await self._lineage(branch)
        with self._guard():
            return _versions(self._db(), lineage, entry_id)

    async def closings(self, branch: str, targets: Sequence[str]) -> Sequence[Closing]:
        lineage = await self._lineage(branch)
        with self._guard():
            return _closings(self._db(), lineage, targets)

    async def derived(self) -> Derived:
        versions = self._rows(f"SELECT {_VERSION_COLUMNS} FROM versions ORDER BY sequence, row")
        closings = self._rows(f"SELECT {_CLOSING_COLUMNS} FROM closings ORDER BY sequence, target")
        edges = self._rows(f"SELECT {_EDGE_COLUMNS} FROM edges ORDER BY sequence, edge_id")
        models = self._rows(
            """SELECT v.version_id, e.model_id, length(e.vector) = 4 * e.dimension
               FROM embeddings e LEFT JOIN versions v ON v.row = e.row"""
        )
        problems = [row[0] for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [
            f"foreign key broken in {row[0]}" for row in self._rows("PRAGMA foreign_key_check")
        ]
        problems += [f"the vector of {row[0]} has the wrong size" for row in models if not row[2]]
        with self._guard():
            problems += _text_index_problems(self._db())
            problems += _sealed_problems(self._db(), self._seed or "")
        entries = self._rows("SELECT entry_id, namespace, purged FROM entries")
        problems += entry_problems(
            await self.operations(), {row[0]: (row[1], bool(row[2])) for row in entries}
        )
        return Derived(
            versions=tuple(_version(row) for row in versions),
            closings=tuple(Closing(*row) for row in closings),
            edges=tuple(Edge(*row) for row in edges),
            vector_models={row[0]: row[1] for row in models},
            index_problems=tuple(problems),
        )

    async def rebuild(self, vectors: Sequence[StoredVector], at_sequence: int) -> bool:
        async def work(transaction: _SqliteTransaction) -> bool:
            run = transaction.run
            following, _ = await transaction.position()
            if following != at_sequence + 1:
                return False
            records = await self.operations()
            purged = {entry_id for record in records for entry_id in record.purged}
            for table in ("embeddings", "closings", "edges", "versions", "entries"):
                run(f"DELETE FROM {table}")
            run("INSERT INTO text_index(text_index) VALUES ('delete-all')")
            for record in records:
                transaction.apply(record)
            for entry_id in purged:
                run("UPDATE entries SET purged = 1 WHERE entry_id = ?", (entry_id,))
            transaction.put_vectors(vectors)
            transaction.next_epoch()
            return True

        return await self._write(ROOT_BRANCH, work)

    async def load(
        self,
        branches: Sequence[Branch],
        operations: Sequence[OperationRecord],
        vectors: Sequence[StoredVector],
        seed: str,
    ) -> None:
        async def work(transaction: _SqliteTransaction) -> None:
            run = transaction.run
            used = run("SELECT count(*) FROM operations").fetchone()[0]
            if used or run("SELECT count(*) FROM branches").fetchone()[0] > 1:
                raise MemoryRefused(
                    f"{self._path} has {used} operations already.",
                    "Import a whole export into a new file; bare lines go anywhere.",
                )
            run("UPDATE meta SET value = ? WHERE name = 'seed'", (seed,))
            transaction.seed = seed
            for b in branches:
                run(
                    "INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?)",
                    (b.name, b.parent, b.fork_sequence, b.created_at),
                )
            for record in operations:
                transaction.log(record)
                transaction.apply(record)
                for entry_id in record.purged:
                    run("UPDATE entries SET purged = 1 WHERE entry_id = ?", (entry_id,))
            transaction.put_vectors(vectors)
            transaction.next_epoch()

        await self._write(ROOT_BRANCH, work)
        self._seed = seed
        self._branches.clear()
        self._lineages.clear()

    async def add_timings(self, timings: Mapping[tuple[str, int], int]) -> None:
        """Best effort, on a connection of its own: a locked or write-protected file keeps no timings."""
        rows = [(name, bucket, calls) for (name, bucket), calls in timings.items()]
        if self._path == ":memory:":
            self._db().executemany(_ADD_TIMINGS, rows)
            return
        with suppress(sqlite3.OperationalError):
            address = f"{Path(self._path).absolute().as_uri()}?mode=rw"
            db = sqlite3.connect(address, timeout=_TIMINGS_WAIT, isolation_level=None, uri=True)
            with closing_cursor(db), _rolled_back_on_error(db):
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_ADD_TIMINGS, rows)
                db.execute("COMMIT")

    async def timings(self) -> Mapping[tuple[str, int], int]:
        rows = self._rows("SELECT operation, bucket, calls FROM timings")
        return {(name, bucket): calls for name, bucket, calls in rows}


class _SqliteTransaction:
    """Reads and writes inside one BEGIN IMMEDIATE ... COMMIT."""

    def __init__(
        self,
        db: sqlite3.Connection,
        branch: str,
        lineage: Lineage,
        seed: str,
        boundary: Boundary | None,
    ) -> None:
        self._db = db
        self._boundary = boundary
        self._next: tuple[int, int] | None = None
        self.branch = branch
        self.lineage = lineage
        self.seed = seed
        self.erased = False

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._boundary is not None:
            self._boundary(sql)
        return self._db.execute(sql, parameters)

    async def position(self) -> tuple[int, int]:
        if self._next is None:
            row = self._db.execute(
                """SELECT (SELECT coalesce(max(sequence), 0) FROM operations),
                          (SELECT coalesce(max(number), 0) FROM operations WHERE branch = ?)""",
                (self.branch,),
            ).fetchone()
            self._next = (row[0] + 1, row[1] + 1)
        return self._next

    async def operation_by_key(self, key: str) -> OperationRecord | None:
        row = self._db.execute(
            f"SELECT {_OPERATION_COLUMNS} FROM operations WHERE branch = ? AND key IN (?, ?)",
            (self.branch, key, purged_key(self.seed, key)),
        ).fetchone()
        return None if row is None else record_of(*row)

    async def operation(self, operation_id: str) -> OperationRecord | None:
        branch, _, number = operation_id.rpartition(":")
        if not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        row = self._db.execute(
            f"SELECT {_OPERATION_COLUMNS} FROM operations WHERE branch = ? AND number = ?",
            (branch, int(number)),
        ).fetchone()
        if row is None or not self.lineage.sees(branch, row[0]):
            return None
        return record_of(*row)

    async def is_undone(self, operation_id: str) -> bool:
        rows = self._db.execute(
            "SELECT branch, sequence FROM operations WHERE undoes = ?", (operation_id,)
        )
        return any(self.lineage.sees(*row) for row in rows)

    async def versions(self, entry_id: str) -> Sequence[Version]:
        return _versions(self._db, self.lineage, entry_id)

    async def closings(self, targets: Sequence[str]) -> Sequence[Closing]:
        return _closings(self._db, self.lineage, targets)

    async def live(self, namespace: str) -> Sequence[Version]:
        limits = orjson.dumps(list(self.lineage.limits.items())).decode()
        rows = self._db.execute(
            f"""WITH lineage(branch, top) AS MATERIALIZED (
                    SELECT value ->> 0, value ->> 1 FROM json_each(?))
                SELECT {_VERSION_COLUMNS} FROM lineage l
                JOIN versions v USING (branch)
                WHERE v.namespace = ? AND v.sequence <= l.top AND v.content <> ''
                  AND NOT EXISTS (
                    SELECT 1 FROM closings c JOIN lineage m ON m.branch = c.branch
                    WHERE c.target = v.version_id AND c.sequence <= m.top)
                ORDER BY v.sequence""",
            (limits, namespace),
        )
        return [_version(row) for row in rows]

    async def append(self, record: OperationRecord, vectors: Sequence[StoredVector]) -> None:
        self.log(record)
        rows = self.apply(record)
        for vector in vectors:
            self._put_vector(_NEW_VECTOR, rows[vector.version_id], vector)
        self._next = (record.sequence + 1, record.number + 1)

    def log(self, record: OperationRecord) -> None:
        columns = _columns(record)
        self.run(
            f"""INSERT INTO operations({_OPERATION_COLUMNS}, undoes, digest)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*columns, record.undoes, log_digest(self.seed, *columns)),
        )

    def apply(self, record: OperationRecord) -> dict[str, int]:
        """Write what follows from a logged operation, but for the embeddings of new texts. Returns the
        rows of the versions it opened."""
        rows: dict[str, int] = {}
        for v in record.opened:
            if v.number == 1:
                self.run(
                    "INSERT INTO entries(entry_id, namespace) VALUES (?, ?)",
                    (v.entry_id, v.namespace),
                )
            written = self.run(
                f"""INSERT INTO versions({_VERSION_COLUMNS})
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    v.version_id, v.entry_id, v.number, v.namespace, v.content,
                    canonical(dict(v.metadata)).decode(), v.source, v.recorded_from, v.valid_from,
                    v.outcome_at, v.copy_of, v.branch, v.sequence,
                ),
            )  # fmt: skip
            assert written.lastrowid is not None
            row = rows[v.version_id] = written.lastrowid
            self.run("INSERT INTO text_index(rowid, content) VALUES (?, ?)", (row, v.content))
            if v.copy_of is not None:
                copied = self._db.execute(
                    """SELECT e.model_id, e.dimension, e.vector
                       FROM embeddings e JOIN versions v ON v.row = e.row
                       WHERE v.version_id = ?""",
                    (v.copy_of,),
                ).fetchall()
                for columns in copied:
                    self._put_vector(_NEW_VECTOR, row, StoredVector(v.version_id, *columns))
        for e in record.linked:
            self.run(
                f"INSERT INTO edges({_EDGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    e.edge_id, e.from_entry, e.to_entry, e.relation, e.namespace,
                    e.recorded_from, e.branch, e.sequence,
                ),
            )  # fmt: skip
        for c in record.closed:
            self.run(
                f"INSERT INTO closings({_CLOSING_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                (c.target, c.recorded_to, c.hidden_from, c.branch, c.sequence),
            )
        return rows

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        for vector in vectors:
            found = self._db.execute(
                "SELECT row FROM versions WHERE version_id = ?", (vector.version_id,)
            ).fetchone()
            if found is not None:
                self._put_vector(f"INSERT OR REPLACE{_VECTOR_INTO}", found[0], vector)

    def _put_vector(self, sql: str, row: int, vector: StoredVector) -> None:
        self.run(
            sql,
            (
                row, vector.model_id, vector.dimension, vector.data,
                vector_digest(self.seed, vector),
            ),
        )  # fmt: skip

    def next_epoch(self) -> None:
        self.run("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")

    async def erase(self, entry_id: str) -> None:
        rows = self.run(
            f"SELECT row, content, sequence FROM versions WHERE {_OF_ENTRY}", _ids_of(entry_id)
        ).fetchall()
        for row, content, _ in rows:
            self.run(
                "INSERT INTO text_index(text_index, rowid, content) VALUES ('delete', ?, ?)",
                (row, content),
            )
            self.run("INSERT INTO text_index(rowid, content) VALUES (?, '')", (row,))
            self.run("DELETE FROM embeddings WHERE row = ?", (row,))
        self.run(
            f"""UPDATE versions SET content = '', metadata = '{{}}', source = 'purged'
                WHERE {_OF_ENTRY}""",
            _ids_of(entry_id),
        )
        self.run("UPDATE entries SET purged = 1 WHERE entry_id = ?", (entry_id,))
        for sequence in sorted({row[2] for row in rows}):
            columns = self.run(
                f"SELECT {_OPERATION_COLUMNS} FROM operations WHERE sequence = ?", (sequence,)
            ).fetchone()
            record = scrub(record_of(*columns), entry_id, self.seed)
            self.run(
                "UPDATE operations SET body = ?, request = ?, key = ?, digest = ? WHERE sequence = ?",
                (
                    payload(record), record.request, record.key,
                    log_digest(self.seed, *_columns(record)), sequence,
                ),
            )  # fmt: skip
        # Deleted terms stay inside older segments of the text index until these are merged into one.
        self.run("INSERT INTO text_index(text_index) VALUES ('optimize')")
        self.next_epoch()
        self.run("INSERT OR REPLACE INTO meta VALUES ('erasing', '1')")
        self.erased = True


def _reader(path: str, seconds: float) -> sqlite3.Connection | None:
    """A connection that takes no lock and writes nothing; None where there is nothing to read yet.

    In a folder that cannot be written the file is read as it lies there, unless a WAL file stands beside
    it whose lock file cannot be made. A file of an older Athena is left as it is: what is read is a copy in
    this process's memory, brought up to date.
    """
    try:
        if path == ":memory:" or Path(path).stat().st_size == 0:
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MemoryStoreError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    address = Path(path).absolute().as_uri()
    wal = Path(f"{path}-wal")
    for mode in ("mode=rw", "immutable=1"):
        connection = sqlite3.connect(
            f"{address}?{mode}", timeout=seconds, isolation_level=None, uri=True
        )
        try:
            _identify(connection, path)
            if _user_version(connection) == len(MIGRATIONS):
                connection.execute("PRAGMA query_only = ON")
                return connection
        except sqlite3.OperationalError as error:
            connection.close()
            still = wal.exists() and wal.stat().st_size
            barred = any(word in str(error) for word in ("unable to open", "readonly"))
            if mode != "mode=rw" or still or not barred:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            break
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with closing_cursor(connection):
            connection.backup(copy)
        SqliteStore(path)._migrate(copy)
        copy.execute("PRAGMA query_only = ON")
    except BaseException:
        copy.close()
        raise
    return copy


def _same_seed(connection: sqlite3.Connection, path: str, expected: str | None) -> str:
    seed = str(connection.execute("SELECT value FROM meta WHERE name = 'seed'").fetchone()[0])
    if expected is not None and seed != expected:
        raise MemoryStoreError(
            f"{path} was made with another seed than {expected!r}.",
            "Open it without a seed, or write to a new file.",
        )
    return seed


def _columns(record: OperationRecord) -> tuple[Any, ...]:
    """What stands in `_OPERATION_COLUMNS`."""
    return (
        record.sequence, record.branch, record.number, record.kind, record.namespace,
        record.key, record.request, record.recorded_at, payload(record),
    )  # fmt: skip


def _seal(db: sqlite3.Connection) -> None:
    """Write the seals of a file that was made before there were any."""
    seed = db.execute("SELECT value FROM meta WHERE name = 'seed'").fetchone()[0]
    for columns in db.execute(f"SELECT {_OPERATION_COLUMNS} FROM operations").fetchall():
        db.execute(
            "UPDATE operations SET digest = ? WHERE sequence = ?",
            (log_digest(seed, *columns), columns[0]),
        )
    rows = db.execute(f"SELECT e.row, {_VECTOR_COLUMNS} {_VECTOR_ROWS}").fetchall()
    for row, *columns in rows:
        seal = vector_digest(seed, StoredVector(*columns))
        db.execute("UPDATE embeddings SET digest = ? WHERE row = ?", (seal, row))


def _sealed_problems(db: sqlite3.Connection, seed: str) -> list[str]:
    """Rows of the log and vectors that are not as they were written."""
    log = db.execute(f"SELECT undoes, digest, {_OPERATION_COLUMNS} FROM operations")
    problems = log_problems(seed, ((row[2:], row[0], row[1]) for row in log))
    for seal, *columns in db.execute(f"SELECT e.digest, {_VECTOR_COLUMNS} {_VECTOR_ROWS}"):
        vector = StoredVector(*columns)
        if seal != vector_digest(seed, vector):
            problems.append(f"the vector of {vector.version_id} is not as it was written")
    return problems


def _text_index_problems(db: sqlite3.Connection) -> list[str]:
    """FTS5 checks itself through an INSERT, which needs the write lock; a copy in memory needs none."""
    with closing_cursor(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        db.backup(copy)
        try:
            copy.execute("INSERT INTO text_index(text_index, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError as error:
            return [f"the text index disagrees with the rows: {error}"]
    return []


def _identify(connection: sqlite3.Connection, path: str) -> None:
    """Raises: MemoryStoreError for another program's file, or one of a newer Athena."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise MemoryStoreError(
            f"{path} is an SQLite file, but not a memory of Athena.", "Choose another memory.path."
        )
    # 0 is an empty file's, which gets the first version when it is written.
    MEMORY.check(_user_version(connection) or None, path)


def _set_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switching to WAL does not wait for other connections by itself, so ask again for a while."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _wal_truncated(db: sqlite3.Connection, seconds: float) -> bool:
    """Empty the WAL file of what was purged; False while another connection reads from it."""
    ((before,),) = db.execute("PRAGMA busy_timeout").fetchall()
    db.execute(f"PRAGMA busy_timeout = {round(1e3 * seconds)}").fetchall()
    try:
        ((busy, *_),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not busy:
            with suppress(sqlite3.OperationalError):  # else the next to open it does so again
                db.execute("DELETE FROM meta WHERE name = 'erasing'")
        return not busy
    except sqlite3.OperationalError:
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}").fetchall()


def _user_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


@contextmanager
def _rolled_back_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _versions(db: sqlite3.Connection, lineage: Lineage, entry_id: str) -> list[Version]:
    rows = db.execute(
        f"SELECT {_VERSION_COLUMNS} FROM versions WHERE {_OF_ENTRY} ORDER BY sequence",
        _ids_of(entry_id),
    )
    return [_version(row) for row in rows if lineage.sees(row[11], row[12])]


def _ids_of(entry_id: str) -> tuple[str, str]:
    """Between these lie the ids of an entry's versions, `ENTRY@NUMBER`: the unique index serves both."""
    return f"{entry_id}@", f"{entry_id}A"


def _version(row: Sequence[Any]) -> Version:
    columns: list[Any] = list(row)
    columns[5] = metadata_of(row[0], row[5])
    return Version(*columns)


def _closings(db: sqlite3.Connection, lineage: Lineage, targets: Sequence[str]) -> list[Closing]:
    found = []
    for target in targets:
        rows = db.execute(
            f"SELECT {_CLOSING_COLUMNS} FROM closings WHERE target = ? ORDER BY sequence", (target,)
        )
        found += [Closing(*row) for row in rows if lineage.sees(row[3], row[4])]
    return found


def _cure(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "Another process holds it; end that process, or try again."
    if "full" in text:
        return "Free some space on the disk."
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return "Check the path and the permissions of the file and its folder."
    if "not a database" in text or "malformed" in text:
        return "The file is damaged; restore a copy, or import an export into a new file."
    return "Check the disk, then run `athena memory check`."
