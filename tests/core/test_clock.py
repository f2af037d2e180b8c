from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.clock import ReplayClock, SystemClock, wait_or_stop

NOON = datetime(2012, 5, 18, 12, tzinfo=UTC)


def test_system_clock_knows_its_zone() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert abs((now - datetime.now(UTC)).total_seconds()) < 5.0


async def test_a_stop_ends_a_wait_at_once() -> None:
    stop = asyncio.Event()
    clock = SystemClock(stop)
    asyncio.get_running_loop().call_later(0.01, stop.set)
    began = time.monotonic()
    await clock.sleep(60.0)
    assert time.monotonic() - began < 5.0


async def test_without_a_stop_the_wait_is_as_long_as_asked() -> None:
    began = time.monotonic()
    await wait_or_stop(0.02, asyncio.Event())
    await SystemClock().sleep(0.02)
    assert time.monotonic() - began >= 0.039


async def test_replay_moves_only_when_told_and_only_forward() -> None:
    clock = ReplayClock(NOON)
    await clock.sleep(0.0)
    assert clock.now() == NOON
    clock.move_to(NOON + timedelta(days=1))
    assert clock.now() == NOON + timedelta(days=1)
    with pytest.raises(ValueError, match="back"):
        clock.move_to(NOON)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        ReplayClock(datetime(2012, 5, 18))
