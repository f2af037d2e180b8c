"""Paper trading: the same `run_step`, paced by a clock, on rows that arrive one by one.

Owns the pacing, the clean stop on SIGINT and SIGTERM, and the saved book. Replayed over history it gives
the records of the backtest to the byte. Refuses to know who decides. A killed process leaves the records up
to its last step; `--resume` lives through these again, without pauses, and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from core.protocols import Clock
from core.types import StepRecord
from trading.engine import Account, run_step, skip_row
from trading.market_data import MarketDataFeed
from trading.run import Progress, log_delisted

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""How long a step may take to its end once a signal has asked for a stop."""


async def trade_rows(
    account: Account,
    feed: MarketDataFeed,
    *,
    first: int,
    steps: int | None,
    pause_seconds: float,
    clock: Clock,
    stop: asyncio.Event,
    flush: Callable[[], object],
    progress: Progress | None = None,
    known: int = 0,
) -> int:
    """Trade a feed's rows as they come, from row `first` on; returns the number of steps taken.

    Rows before `first` are history, and the first `known` steps were taken by a process that is gone:
    neither are waited for. Every record is handed to the operating
    system before the next row is waited for. Ends with the feed, after `steps`, or when `stop` is set.
    """
    done = told = 0
    async for feed_row in feed.rows():
        if stop.is_set():
            break
        row = feed_row.row
        if feed.panel is not account.tape.panel:
            account.tape.extend(feed.panel)
        if row < first:
            skip_row(account, row)
            continue
        if done and done >= known:
            await clock.sleep(pause_seconds)
            if stop.is_set():
                break
        if done < known:
            await asyncio.sleep(
                0
            )  # a step that is lived through again waits for nobody: let Ctrl-C in
            if stop.is_set():
                break
        record = await run_step(account, row)
        flush()
        done += 1
        told = log_delisted(account, told)
        if record is not None:
            _log_step(record)
        if progress is not None:
            equity, fills = account.curve.equity_usd[-1], account.broker.fills
            as_of = account.tape.panel.as_of[row]
            progress(done, steps, f"{as_of}, equity {equity:,.2f} USD, {fills:,} fills")
        if done == steps:
            break
    return done


def _log_step(record: StepRecord) -> None:
    log.info(
        "%s: %d orders, %d fills, equity %.2f USD",
        record["as_of"],
        len(record["orders"]),
        len(record["fills"]),
        record["equity_usd"],
    )
    if log.isEnabledFor(logging.DEBUG):
        for verdict in record["verdict"]:
            log.debug(
                "%s: %s wanted %g, allowed %g: %s",
                record["as_of"],
                verdict.symbol,
                verdict.wanted_frac,
                verdict.allowed_frac,
                ", ".join(verdict.reasons),
            )


@contextmanager
def stopping_on_signals(
    stop: Callable[[], object],
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[None]:
    """Within the block, these signals call `stop` in the running loop instead of ending the process.

    One that comes again at once is the same wish. One that comes after `PATIENCE_SECONDS` finds a step that
    does not end (a user's strategy may hang) and raises KeyboardInterrupt there.
    Outside the main thread, where signals cannot be caught, nothing is changed.
    """
    loop = asyncio.get_running_loop()
    told: list[float] = []

    def hear(number: int, frame: object) -> None:
        if told and time.monotonic() - told[0] > PATIENCE_SECONDS:
            raise KeyboardInterrupt
        told.append(time.monotonic())
        loop.call_soon_threadsafe(stop)

    with handling_signals(hear, numbers):
        yield


@contextmanager
def handling_signals(
    handler: Callable[[int, Any], object],
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[None]:
    """Within the block, these signals go to `handler`; outside the main thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None is a handler that was not set from Python and cannot be set again.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def finish_first(number: int, frame: object) -> None:
    """The handler while a run's folder is being written: the steps are done, and it takes a moment."""
    log.warning("%s: writing the run folder first.", signal.Signals(number).name)


def give_up(number: int, frame: object) -> None:
    """The handler of SIGTERM before the first step and after the folder: as Ctrl-C."""
    raise KeyboardInterrupt


def saved_book(account: Account, risk_state: dict[str, Any] | None) -> dict[str, Any]:
    """What `book.json` holds: the book, the working orders and the risk manager's state."""
    tape = account.tape
    return {
        "as_of": tape.panel.as_of[tape.row] if tape.row >= 0 else None,
        "mock": tape.panel.mock,
        **account.portfolio.to_dict(tape.symbols),
        "equity_usd": account.curve.equity_usd[-1] if account.step else None,
        "working_orders": [
            {
                **{name: getattr(working.order, name) for name in working.order.__slots__},
                "left": working.left,
                "triggered": working.triggered,
            }
            for _, working in sorted(account.broker.working.items())
        ],
        "risk": risk_state,
    }
