"""The same run with its memory in Neo4j: the same bytes, and the chain of each order in the graph."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.assemble import RunOptions, backtest
from agents.decision_graph import note_orders, orders_of
from agents.why import explain
from core.errors import MemoryStoreError
from memory.commands import neo4j_store
from memory.stores.neo4j import Neo4jStore
from tests.market_files import made_market, write_market
from tests.memory.support import NO_SERVER
from tests.test_full_agents import config_of

EXAMPLE = """
    MATCH (o:AthenaOrder {run: $run})-[:SEEKS]->(t:AthenaTarget)-[:RESTS_ON]->(w:AthenaView),
          (w)-[r:RECALLED]->(v:AthenaVersion)<-[:WROTE]-(p:AthenaOperation)
    WHERE o.order_id = $order
    RETURN t.target_frac, w.agent, v.entry_id, v.number, r.weight, p.branch + ':' + p.number
    ORDER BY r.weight DESC, v.entry_id"""
"""The query that docs/memory.md shows."""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A short run, its memory once in a file and once in Neo4j."""
    if "NEO4J_URI" not in os.environ:
        pytest.skip(NO_SERVER)
    folder = tmp_path_factory.mktemp("graph")
    frame = made_market(days=88)
    market = write_market(folder, frame[frame["symbol"].isin(["STEADY", "HOLEY", "SPLIT"])])
    options = RunOptions(agents="full", data=str(market), environment=os.environ)
    runs = {}
    for store in ("sqlite", "neo4j"):
        config = config_of(
            runs_dir=str(folder / store), memory={"store": store, "policy": "heuristic"}
        )
        runs[store] = backtest(config, options).path
    lines = (runs["sqlite"] / "steps.jsonl").read_bytes().splitlines()
    yield {"runs": runs, "config": config, "options": options, "lines": lines}
    asyncio.run(erased(opened_store(runs["neo4j"])))


def opened_store(run: Path) -> Neo4jStore:
    return neo4j_store(None, os.environ, run.name)


async def erased(store: Neo4jStore) -> None:
    await store.open()
    await store.erase_run()


async def counts(store: Neo4jStore) -> list[list[Any]]:
    """How many nodes and relations of a run there are, by label and type."""
    nodes = await store._read("MATCH (n {run: $run}) RETURN labels(n)[0], count(*)")
    links = await store._read("MATCH ({run: $run})-[r]->() RETURN type(r), count(*)")
    return sorted(nodes + links)


def test_the_store_changes_no_byte_of_the_records(lived: dict[str, Any]) -> None:
    ours, theirs = (lived["runs"][store] / "steps.jsonl" for store in ("neo4j", "sqlite"))
    assert ours.read_bytes() == theirs.read_bytes()
    steps = [orjson.loads(line) for line in lived["lines"]]
    assert sum(len(step["memory"]["operations"]) for step in steps) > 30
    assert any(order["symbol"] in s["memory"]["recalled"] for s in steps for order in s["orders"])


async def test_every_order_leads_back_in_the_graph_as_in_the_records(lived: dict[str, Any]) -> None:
    run = lived["runs"]["neo4j"]
    asked = [orders_of(orjson.loads(line)) for line in lived["lines"]]
    orders = [order for each in asked for order in each]
    chained = [order for order in orders if order.recalled]
    assert len(chained) > 3
    store = opened_store(run)
    await store.open()
    try:
        known = await store._read(
            "MATCH (o:AthenaOrder {run: $run})-[:SEEKS]->()-[:DECIDED_AT]->(s:AthenaStep) "
            "RETURN o.order_id, s.step ORDER BY s.step, o.order_id"
        )
        assert sorted(known) == sorted([order.order_id, order.step] for order in orders)
        order = chained[-1]
        rows = await store._read(EXAMPLE, order=order.order_id)
        told = await explain(run, order=order.order_id, store=opened_store(run))
        by_entry = {(each["entry"], each["version"]): each["id"] for each in told["operations"]}
        assert len(rows) == len(told["recalled"]) == len(order.recalled)
        for target, agent, entry, version, weight, operation in rows:
            assert target == order.target_frac == (told["target"] or 0.0)
            assert agent == "learned"
            assert by_entry[entry, version] == operation
            assert weight in [each["weight"] for each in told["recalled"] if each["id"] == entry]
        # `why` says the same of both stores.
        assert told == await explain(lived["runs"]["sqlite"], order=order.order_id)
    finally:
        await store.close()


async def test_writing_the_chain_again_changes_nothing_and_a_rebuild_keeps_it(
    lived: dict[str, Any],
) -> None:
    run, store = lived["runs"]["neo4j"], opened_store(lived["runs"]["neo4j"])
    await store.open()
    try:
        before = await counts(store)
        assert await note_orders(store, run) == 0
        await store.put_orders([], -1)  # as if nothing had been noted
        assert await note_orders(store, run) > 3
        assert await counts(store) == before
        _, last = await store.state()
        assert await store.rebuild(await store.vectors(), last)
        assert await counts(store) == before
    finally:
        await store.close()


async def test_another_run_of_the_same_name_is_refused(lived: dict[str, Any]) -> None:
    from agents.assemble import build_deciders, load_data
    from trading.run import open_account

    config, options = lived["config"], lived["options"]
    panel = load_data(config, options)
    deciders = build_deciders(config, options, panel)
    account = open_account(panel, deciders.agents, config.trading, None)
    with pytest.raises(MemoryStoreError, match="has a memory of the run"):
        async with deciders.remembering(account, lived["runs"]["neo4j"], os.environ):
            pass


def test_a_run_of_another_name_shares_no_node(lived: dict[str, Any]) -> None:
    async def look() -> list[list[Any]]:
        store = neo4j_store(None, os.environ, f"{lived['runs']['neo4j'].name}-other")
        await store.open()
        try:
            return await store._read("MATCH (o:AthenaOrder {run: $run}) RETURN o.order_id")
        finally:
            await store.erase_run()

    assert asyncio.run(look()) == []
