"""The chain behind each order of a run, from its records into the graph of its memory in Neo4j.

Reads `steps.jsonl` and nothing else, as `agents/why.py` does. Some steps at a time are one transaction that
also notes how far it got, so that a killed writer goes on there and writing again changes nothing. Refuses to
know Cypher (`memory/stores/decisions.py`). Decisions without an order are in the records alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.reasons import limits_of, views_of
from agents.why import recalled_of
from core.records import record_of
from core.runlog import STEPS
from memory.stores.decisions import DecidedOrder, DecidedView, RecalledVersion
from memory.stores.neo4j import Neo4jStore

STEPS_TOGETHER = 64


async def note_orders(store: Neo4jStore, run_dir: Path) -> int:
    """Write the orders of a run that are not in the graph yet; returns how many.

    `store` must be open. Raises: MemoryStoreError.
    """
    reached, written = await store.decided_step(), 0
    orders: list[DecidedOrder] = []
    with (run_dir / STEPS).open("rb") as lines:
        last = reached
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break  # a killed run's last line
            record = record_of(line, number, run_dir / STEPS)
            if record["step"] <= reached:
                continue
            last = record["step"]
            orders += orders_of(record)
            if last % STEPS_TOGETHER == STEPS_TOGETHER - 1:
                await store.put_orders(orders, last)
                written, orders = written + len(orders), []
        await store.put_orders(orders, last)
    return written + len(orders)


def orders_of(record: Mapping[str, Any]) -> list[DecidedOrder]:
    """The orders of one record with what they go back to."""
    found = []
    for order in record["orders"]:
        symbol = order["symbol"]
        limits = limits_of(record, symbol)
        # A target of 0 is left out of a record.
        target = record["targets"].get(symbol, 0.0)
        found.append(
            DecidedOrder(
                order_id=order["id"],
                step=record["step"],
                as_of=record["as_of"],
                equity_usd=record["equity_usd"],
                symbol=symbol,
                side=order["side"],
                type=order["type"],
                value_usd=order["value_usd"],
                quantity=order["quantity"],
                tag=order["tag"],
                target_frac=target,
                wanted_frac=limits[0]["wanted_frac"] if limits else target,
                reasons=tuple(each["reason"] for each in limits),
                views=tuple(DecidedView(**each) for each in views_of(record, symbol)),
                recalled=tuple(
                    RecalledVersion(each["id"], each["version"], each["weight"])
                    for each in recalled_of(record, symbol)
                ),
            )
        )
    return found
