"""A clock to set by hand, and stores of both kinds for the tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.protocols import MemoryStore
from memory.stores.neo4j import Neo4jStore
from memory.stores.sqlite import SqliteStore

START = datetime(2020, 1, 1, tzinfo=UTC)
NO_SERVER = "NEO4J_URI is not set: no Neo4j server to test against"


def day(number: float) -> datetime:
    """Midnight of the test calendar's day `number`."""
    return START + timedelta(days=number)


class HandClock:
    """Stands still until it is told the time."""

    def __init__(self, number: float = 0.0) -> None:
        self.number = number

    def now(self) -> datetime:
        return day(self.number)

    async def sleep(self, seconds: float) -> None:
        del seconds


class Place:
    """Where a test keeps stores of one kind; the same name is the same store again."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._prefix = f"test-{uuid.uuid4().hex[:12]}"
        self._names: set[str] = set()

    def store(
        self,
        name: str = "one",
        *,
        seed: str | None = "seed",
        boundary: Callable[[str], None] | None = None,
    ) -> MemoryStore:
        if self.kind == "sqlite":
            return SqliteStore(self._folder / f"{name}.db", seed=seed, boundary=boundary)
        self._names.add(name)
        return neo4j_store(f"{self._prefix}-{name}", seed=seed, boundary=boundary)

    async def clear(self) -> None:
        for name in self._names:
            store = neo4j_store(f"{self._prefix}-{name}", seed=None)
            await store.open()
            await store.erase_run()


def neo4j_store(
    run: str,
    *,
    seed: str | None = "seed",
    boundary: Callable[[str], None] | None = None,
    retry_seconds: float = 30.0,
) -> Neo4jStore:
    """A store on the server that NEO4J_URI names; skips the test where there is none."""
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    return Neo4jStore(
        os.environ["NEO4J_URI"],
        os.environ.get("NEO4J_USERNAME", "neo4j"),
        os.environ.get("NEO4J_PASSWORD", ""),
        run=run,
        seed=seed,
        boundary=boundary,
        retry_seconds=retry_seconds,
    )
