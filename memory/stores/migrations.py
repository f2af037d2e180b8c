"""The SQLite schema, as numbered steps; a file's `user_version` is the number of the last one applied.

Steps are only ever added. Every table but `operations`, `branches`, `meta` and `timings` can be made anew
from the log.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x41676D31  # "Agm1", so that another program's file is recognised as such

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE branches (
            name TEXT PRIMARY KEY, parent TEXT REFERENCES branches(name),
            fork_sequence INTEGER NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE operations (
            sequence INTEGER PRIMARY KEY, branch TEXT NOT NULL REFERENCES branches(name),
            number INTEGER NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL,
            key TEXT, request TEXT, recorded_at INTEGER NOT NULL, undoes TEXT, body TEXT NOT NULL,
            UNIQUE (branch, number))""",
        "CREATE UNIQUE INDEX operation_keys ON operations(branch, key) WHERE key IS NOT NULL",
        "CREATE INDEX operation_undos ON operations(undoes) WHERE undoes IS NOT NULL",
        """CREATE TABLE entries (
            entry_id TEXT PRIMARY KEY, namespace TEXT NOT NULL,
            purged INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID""",
        """CREATE TABLE versions (
            row INTEGER PRIMARY KEY, version_id TEXT NOT NULL UNIQUE,
            entry_id TEXT NOT NULL REFERENCES entries(entry_id), number INTEGER NOT NULL,
            namespace TEXT NOT NULL, content TEXT NOT NULL, metadata TEXT NOT NULL,
            source TEXT NOT NULL, recorded_from INTEGER NOT NULL, valid_from INTEGER NOT NULL,
            outcome_at INTEGER, copy_of TEXT, branch TEXT NOT NULL,
            sequence INTEGER NOT NULL REFERENCES operations(sequence))""",
        "CREATE INDEX version_entries ON versions(entry_id)",
        "CREATE INDEX version_places ON versions(branch, namespace, sequence)",
        """CREATE TABLE closings (
            target TEXT NOT NULL, branch TEXT NOT NULL, recorded_to INTEGER NOT NULL,
            hidden_from INTEGER NOT NULL,
            sequence INTEGER NOT NULL REFERENCES operations(sequence),
            PRIMARY KEY (target, branch)) WITHOUT ROWID""",
        """CREATE TABLE edges (
            edge_id TEXT PRIMARY KEY, from_entry TEXT NOT NULL REFERENCES entries(entry_id),
            to_entry TEXT NOT NULL REFERENCES entries(entry_id), relation TEXT NOT NULL,
            namespace TEXT NOT NULL, recorded_from INTEGER NOT NULL, branch TEXT NOT NULL,
            sequence INTEGER NOT NULL REFERENCES operations(sequence)) WITHOUT ROWID""",
        "CREATE INDEX edge_from ON edges(from_entry)",
        "CREATE INDEX edge_to ON edges(to_entry)",
        """CREATE TABLE embeddings (
            row INTEGER PRIMARY KEY REFERENCES versions(row), model_id TEXT NOT NULL,
            dimension INTEGER NOT NULL, vector BLOB NOT NULL)""",
        """CREATE VIRTUAL TABLE text_index USING fts5(
            content, content='versions', content_rowid='row', tokenize='unicode61')""",
        """CREATE TABLE timings (
            operation TEXT NOT NULL, bucket INTEGER NOT NULL, calls INTEGER NOT NULL,
            PRIMARY KEY (operation, bucket)) WITHOUT ROWID""",
    ),
    (  # seals, which the store fills in for the rows that stand already
        "ALTER TABLE operations ADD COLUMN digest TEXT",
        "ALTER TABLE embeddings ADD COLUMN digest TEXT",
    ),
    (  # what a write need not keep: entries are found by the beginning of their versions' ids
        "DROP INDEX IF EXISTS version_entries",
        "DROP TABLE text_index",
        """CREATE VIRTUAL TABLE text_index USING fts5(
            content, content='versions', content_rowid='row', tokenize='unicode61', columnsize=0)""",
        # Sixteen texts are merged at once rather than four: each is written out less often.
        "INSERT INTO text_index(text_index, rank) VALUES ('automerge', 16)",
        "INSERT INTO text_index(text_index) VALUES ('rebuild')",
    ),
)

# Half the places that a write touches hold a few bytes of it: small pages write less of what has not changed.
PAGE_BYTES: Final = 1024
