"""Clocks: the system's, and one that follows replayed bars. Both wait so that a stop ends the wait.

Refuses to know bars, feeds and signals: who sets the stop event is the caller's business.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


async def wait_or_stop(seconds: float, stop: asyncio.Event | None) -> None:
    """Wait, at most until `stop` is set. Zero seconds let other tasks and signals have their turn."""
    if stop is None or seconds <= 0.0:
        await asyncio.sleep(max(seconds, 0.0))
        return
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return


class SystemClock:
    """The machine's clock, in UTC. It never goes back: while the machine's is set back, it stands still."""

    def __init__(self, stop: asyncio.Event | None = None) -> None:
        self._stop = stop
        self._latest = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        self._latest = max(self._latest, datetime.now(UTC))
        return self._latest

    async def sleep(self, seconds: float) -> None:
        """Really waits; returns early when stopped."""
        await wait_or_stop(seconds, self._stop)


class ReplayClock:
    """The time of the bar that is being replayed; it only moves forward, and only when told.

    Point in time: `now` is the moment the replayed bar became known, never the machine's time.
    """

    def __init__(self, start: datetime, stop: asyncio.Event | None = None) -> None:
        self._now = _aware(start)
        self._stop = stop

    def now(self) -> datetime:
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Set the present. Raises: ValueError when it would run backwards."""
        if _aware(moment) < self._now:
            raise ValueError(f"a replay cannot go back from {self._now} to {moment}")
        self._now = moment

    async def sleep(self, seconds: float) -> None:
        """Really waits (this paces the replay) without moving `now`; returns early when stopped."""
        await wait_or_stop(seconds, self._stop)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; times are UTC")
    return moment
