"""One of several processes that work on one memory at once; prints what it did as JSON."""

from __future__ import annotations

import asyncio
import json
import random
import sys

from core.protocols import MemoryStore
from memory.agemem import AgeMem
from memory.operations import Add
from memory.stores.sqlite import SqliteStore
from tests.memory.support import neo4j_store


def store_at(place: str) -> MemoryStore:
    """`neo4j:RUN`, or the path of a file."""
    kind, _, run = place.partition(":")
    return neo4j_store(run) if kind == "neo4j" else SqliteStore(place)


async def main(place: str, worker: int, operations: int) -> None:
    choose = random.Random(worker)
    acknowledged, refused = [], 0
    async with AgeMem(store=store_at(place)) as memory:
        names: list[str] = []
        for number in range(operations):
            key = f"{worker}-{number}"
            kind = choose.choice(["add", "pair", "update", "shared", "delete", "read"])
            if kind == "add" or not names:
                result = await memory.add(f"text {key}", idempotency_key=key)
                names.append(result.id)
            elif kind == "pair":
                pair = [Add(f"pair {key} {n}", {"pair": key}, key=f"{key}/{n}") for n in range(2)]
                first, result = await memory.apply(pair)
                acknowledged.append([f"{key}/0", first.operation_id])
                key = f"{key}/1"
            elif kind == "update":
                result = await memory.update(choose.choice(names), key, idempotency_key=key)
            elif kind == "shared":
                entry = (await memory.list(filter={"shared": True}))[0]
                result = await memory.update(
                    entry.id, f"count {key}", idempotency_key=key, expected_version=entry.version
                )
            elif kind == "delete":
                result = await memory.delete(
                    names.pop(choose.randrange(len(names))), idempotency_key=key
                )
            else:
                found = await memory.list()
                pairs: dict[str, int] = {}
                for entry in found:
                    if name := entry.metadata.get("pair"):
                        pairs[name] = pairs.get(name, 0) + 1
                assert all(count == 2 for count in pairs.values()), "half a batch was seen"
                continue
            if result.success:
                acknowledged.append([key, result.operation_id])
            else:
                refused += 1
    sys.stdout.write(json.dumps({"acknowledged": acknowledged, "refused": refused}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
