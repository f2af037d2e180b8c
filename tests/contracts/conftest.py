"""Every contract test runs on every store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.memory.support import NO_SERVER, HandClock, Place


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["sqlite", "neo4j"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "neo4j" and "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    found = Place(request.param, tmp_path)
    yield found
    await found.clear()
