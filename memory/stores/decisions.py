"""A run's orders in Neo4j, joined to the memory that they rest on.

Owns the nodes and relations of the chain order -> target -> views -> recalled versions -> operations; every
node carries its run's name, every text travels as a parameter, and everything is merged, so that writing the
same again changes nothing. Refuses to know where orders come from (`agents/decision_graph.py`) and how a
transaction is held (`neo4j.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import MemoryStoreError
from core.memories import ROOT_BRANCH
from memory.ledger import version_id

if TYPE_CHECKING:
    from collections.abc import Awaitable

LABELS: Final = ("AthenaOrder", "AthenaView", "AthenaTarget", "AthenaStep")
SCHEMA: Final = (
    """CREATE CONSTRAINT athena_order IF NOT EXISTS
       FOR (o:AthenaOrder) REQUIRE (o.run, o.order_id) IS UNIQUE""",
    """CREATE CONSTRAINT athena_target IF NOT EXISTS
       FOR (t:AthenaTarget) REQUIRE (t.run, t.step, t.symbol) IS UNIQUE""",
    """CREATE CONSTRAINT athena_view IF NOT EXISTS
       FOR (w:AthenaView) REQUIRE (w.run, w.step, w.symbol, w.agent) IS UNIQUE""",
    """CREATE CONSTRAINT athena_step IF NOT EXISTS
       FOR (s:AthenaStep) REQUIRE (s.run, s.step) IS UNIQUE""",
)
RECALLS: Final = "learned"
"""The agent in whose view recalled entries are heard."""

_ORDERS = """UNWIND $rows AS row
    MERGE (s:AthenaStep {run: $run, step: row.step}) SET s += row.step_facts
    MERGE (t:AthenaTarget {run: $run, step: row.step, symbol: row.symbol}) SET t += row.target
    MERGE (o:AthenaOrder {run: $run, order_id: row.order_id}) SET o += row.order
    MERGE (o)-[:SEEKS]->(t)
    MERGE (t)-[:DECIDED_AT]->(s)"""
_VIEWS = """UNWIND $rows AS row
    MATCH (t:AthenaTarget {run: $run, step: row.step, symbol: row.symbol})
    MERGE (w:AthenaView {run: $run, step: row.step, symbol: row.symbol, agent: row.agent})
    SET w += row.view
    MERGE (t)-[:RESTS_ON]->(w)"""
_RECALLED = """UNWIND $rows AS row
    MATCH (w:AthenaView {run: $run, step: row.step, symbol: row.symbol, agent: row.agent})
    MATCH (v:AthenaVersion {run: $run, version_id: row.version_id})
    MATCH (p:AthenaOperation {run: $run, sequence: v.sequence})
    MERGE (w)-[r:RECALLED]->(v) SET r.weight = row.weight
    MERGE (p)-[:WROTE]->(v)
    RETURN count(*)"""


@dataclass(frozen=True, slots=True)
class DecidedView:
    """What one agent held of a symbol."""

    agent: str
    expected_return_frac: float
    confidence_frac: float


@dataclass(frozen=True, slots=True)
class RecalledVersion:
    """An entry that a forecast rested on."""

    entry_id: str
    version: int
    weight: float


@dataclass(frozen=True, slots=True)
class DecidedOrder:
    """An order with what it goes back to. `wanted_frac` and `reasons` are of the limits that bound;
    `target_frac` is what was accepted."""

    order_id: str
    step: int
    as_of: str
    equity_usd: float
    symbol: str
    side: str
    type: str
    value_usd: float | None
    quantity: float | None
    tag: str | None
    target_frac: float
    wanted_frac: float
    reasons: tuple[str, ...]
    views: tuple[DecidedView, ...]
    recalled: tuple[RecalledVersion, ...]


class Statements(Protocol):
    """The part of a transaction that is used."""

    def run(self, statement: str, **parameters: Any) -> Awaitable[list[list[Any]]]: ...


async def write_orders(
    transaction: Statements, orders: Sequence[DecidedOrder], through_step: int
) -> None:
    """Merge some orders, and note that all steps up to one are there.

    Raises: MemoryStoreError for a recalled version that the run's memory does not have.
    """
    await transaction.run(_ORDERS, rows=[_order(each) for each in orders])
    await transaction.run(_VIEWS, rows=[row for each in orders for row in _views(each)])
    await join(transaction, [row for each in orders for row in _recalled(each)])
    await transaction.run(
        "MATCH (r:AthenaRun {run: $run}) SET r.decided_step = $step", step=through_step
    )


async def join(transaction: Statements, links: Sequence[dict[str, Any]]) -> None:
    """Relate views to the versions that were recalled, and these to what wrote them."""
    if not links:
        return
    ((joined,),) = await transaction.run(_RECALLED, rows=list(links))
    if joined != len(links):
        raise MemoryStoreError(
            f"{len(links) - joined} of {len(links)} recalled versions are not in the run's memory.",
            "Run it again: its records and its memory do not belong together.",
        )


async def joined(transaction: Statements) -> list[dict[str, Any]]:
    """What `join` was given, read back."""
    rows = await transaction.run(
        """MATCH (w:AthenaView {run: $run})-[r:RECALLED]->(v:AthenaVersion)
           RETURN w.step, w.symbol, w.agent, v.version_id, r.weight"""
    )
    names = ("step", "symbol", "agent", "version_id", "weight")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _order(order: DecidedOrder) -> dict[str, Any]:
    return {
        "step": order.step,
        "symbol": order.symbol,
        "order_id": order.order_id,
        "step_facts": {"as_of": order.as_of, "equity_usd": order.equity_usd},
        "target": {
            "target_frac": order.target_frac,
            "wanted_frac": order.wanted_frac,
            "reasons": list(order.reasons),
        },
        "order": {
            "symbol": order.symbol,
            "side": order.side,
            "type": order.type,
            "value_usd": order.value_usd,
            "quantity": order.quantity,
            "tag": order.tag,
        },
    }


def _views(order: DecidedOrder) -> list[dict[str, Any]]:
    views = list(order.views)
    if order.recalled and all(view.agent != RECALLS for view in views):
        views.append(DecidedView(RECALLS, 0.0, 0.0))  # records leave zeros out
    return [
        {
            "step": order.step,
            "symbol": order.symbol,
            "agent": view.agent,
            "view": {
                "expected_return_frac": view.expected_return_frac,
                "confidence_frac": view.confidence_frac,
            },
        }
        for view in views
    ]


def _recalled(order: DecidedOrder) -> list[dict[str, Any]]:
    return [
        {
            "step": order.step,
            "symbol": order.symbol,
            "agent": RECALLS,
            "version_id": version_id(each.entry_id, each.version, ROOT_BRANCH),
            "weight": each.weight,
        }
        for each in order.recalled
    ]
