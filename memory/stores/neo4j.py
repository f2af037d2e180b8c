"""The store for production: Neo4j through the official async driver.

Several runs share one database: every node carries its run's name. One managed transaction per batch of
operations takes the run node's lock first, so writers of a run queue and sequences have no gaps. Text
travels as parameters only. Native vector and full-text indexes serve the user's own Cypher (they rank by
global statistics); `retrieve` never uses them.

A write whose connection is lost is tried again for `retry_seconds`: each carries a random attempt number,
so a commit whose answer was lost is recognised and not doubled.

Known weakness: `load` and `rebuild` are one transaction and hold it in the server's heap.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from core.errors import EntryNotFound, MemoryRefused, MemoryStoreError
from core.formats import GRAPH
from core.memories import (
    ROOT_BRANCH,
    Branch,
    Closing,
    Derived,
    Edge,
    Lineage,
    OperationRecord,
    StoredVector,
    Version,
)
from core.protocols import MemoryTransaction
from core.redact import bare_url, without_secrets
from memory.codec import (
    canonical,
    log_digest,
    metadata_of,
    payload,
    purged_key,
    record_of,
    scrub,
    vector_digest,
)
from memory.stores import decisions
from memory.verify import entry_problems, log_problems

if TYPE_CHECKING:
    from neo4j import AsyncDriver, AsyncManagedTransaction

ResultT = TypeVar("ResultT")
Boundary = Callable[[str], None]

VECTOR_INDEX: Final = "athena_version_vectors"
TEXT_INDEX: Final = "athena_version_text"
OLDEST_SERVER: Final = (5, 23)
_CHUNK: Final = 500
_SCHEMES: Final = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")

_SCHEMA: Final = (
    "CREATE CONSTRAINT athena_run IF NOT EXISTS FOR (r:AthenaRun) REQUIRE r.run IS UNIQUE",
    """CREATE CONSTRAINT athena_branch IF NOT EXISTS
       FOR (b:AthenaBranch) REQUIRE (b.run, b.name) IS UNIQUE""",
    """CREATE CONSTRAINT athena_operation IF NOT EXISTS
       FOR (o:AthenaOperation) REQUIRE (o.run, o.sequence) IS UNIQUE""",
    """CREATE CONSTRAINT athena_operation_number IF NOT EXISTS
       FOR (o:AthenaOperation) REQUIRE (o.run, o.branch, o.number) IS UNIQUE""",
    """CREATE CONSTRAINT athena_operation_key IF NOT EXISTS
       FOR (o:AthenaOperation) REQUIRE (o.run, o.branch, o.key) IS UNIQUE""",
    """CREATE CONSTRAINT athena_entry IF NOT EXISTS
       FOR (e:AthenaEntry) REQUIRE (e.run, e.entry_id) IS UNIQUE""",
    """CREATE CONSTRAINT athena_version IF NOT EXISTS
       FOR (v:AthenaVersion) REQUIRE (v.run, v.version_id) IS UNIQUE""",
    """CREATE CONSTRAINT athena_closing IF NOT EXISTS
       FOR (c:AthenaClosing) REQUIRE (c.run, c.target, c.branch) IS UNIQUE""",
    """CREATE CONSTRAINT athena_timing IF NOT EXISTS
       FOR (t:AthenaTiming) REQUIRE (t.run, t.operation, t.bucket) IS UNIQUE""",
    "CREATE INDEX athena_attempt IF NOT EXISTS FOR (o:AthenaOperation) ON (o.run, o.attempt)",
    "CREATE INDEX athena_undo IF NOT EXISTS FOR (o:AthenaOperation) ON (o.run, o.undoes)",
    "CREATE INDEX athena_version_entry IF NOT EXISTS FOR (v:AthenaVersion) ON (v.run, v.entry_id)",
    "CREATE INDEX athena_version_place IF NOT EXISTS FOR (v:AthenaVersion) ON (v.run, v.sequence)",
    f"""CREATE VECTOR INDEX {VECTOR_INDEX} IF NOT EXISTS FOR (v:AthenaVersion) ON (v.embedding)
        OPTIONS {{indexConfig: {{`vector.similarity_function`: 'cosine'}}}}""",
    f"""CREATE FULLTEXT INDEX {TEXT_INDEX} IF NOT EXISTS
        FOR (v:AthenaVersion) ON EACH [v.content]""",
    *decisions.SCHEMA,
)


async def _make(transaction: AsyncManagedTransaction, statement: str) -> None:
    await (await transaction.run(statement)).consume()


# A constraint's index bears its name.
_INDEXES: Final = tuple(re.findall(r"(athena_\w+) IF NOT EXISTS", " ".join(_SCHEMA)))

_OPERATION = (
    "o.sequence, o.branch, o.number, o.kind, o.namespace, o.key, o.request, o.recorded_at, o.body"
)
_VERSION = (
    "v.version_id, v.entry_id, v.number, v.namespace, v.content, v.metadata, v.source, "
    "v.recorded_from, v.valid_from, v.outcome_at, v.copy_of, v.branch, v.sequence"
)
_CLOSING = "c.target, c.recorded_to, c.hidden_from, c.branch, c.sequence"
_EDGE = (
    "l.edge_id, a.entry_id, b.entry_id, l.relation, l.namespace, l.recorded_from, l.branch, "
    "l.sequence"
)
_LUCENE = re.compile(r'([+\-!(){}\[\]^"~*?:\\/&|<>=])')


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between servers: the statements' prefix and the user's nearest-neighbour query."""

    prefix: str
    nearest: str

    @staticmethod
    def of(version: tuple[int, ...]) -> Dialect:
        """The newest dialect that a server of this version speaks."""
        return next(each for since, each in reversed(DIALECTS) if since <= version)


_NEAREST_FETCHED = 200  # of all runs; the graph behind the index is searched as widely

DIALECTS = (
    (
        (0,),
        Dialect(
            prefix="CYPHER 5 ",
            nearest=f"""CALL db.index.vector.queryNodes('{VECTOR_INDEX}', $fetch, $vector)
                        YIELD node AS v, score WHERE v.run = $run
                        RETURN v.version_id, score ORDER BY score DESC LIMIT $limit""",
        ),
    ),
)
"""By the first server version that speaks it. Servers of 2026 still take `CYPHER 5` and the procedure; a
dialect with their SEARCH clause goes behind this one."""


def check_online(states: Mapping[str, str]) -> None:
    """Raises: MemoryStoreError unless every index is there and online."""
    for name in _INDEXES:
        state = states.get(name, "missing")
        if state != "ONLINE":
            raise MemoryStoreError(
                f"the index {name} is {state}, not online.",
                "Wait until Neo4j has built it, or drop it and try again.",
            )


def escape_lucene(text: str) -> str:
    """The text as plain words for a full-text query: no operator, field or wildcard is left in it."""
    escaped = _LUCENE.sub(r"\\\1", text)
    return re.sub(r"\b(AND|OR|NOT|TO)\b", lambda match: match[0].lower(), escaped)


def server_version(agent: str) -> tuple[int, ...]:
    """`Neo4j/5.26.0` or `Neo4j/2026.01.2` as numbers. Raises: MemoryStoreError for another server."""
    match = re.match(r"Neo4j/(\d+)\.(\d+)", agent)
    if match is None:
        raise MemoryStoreError(f"the server calls itself {agent!r}.", "Use Neo4j 5.23 or newer.")
    return int(match[1]), int(match[2])


class Neo4jStore:
    """The log and its graph in one Neo4j database, under one run's name.

    `seed` fixes the ids of a new run. `boundary` is called before every statement of a write and around
    its commit: crash tests kill the process there.
    """

    name = "neo4j"

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        *,
        run: str = "athena",
        database: str = "neo4j",
        seed: str | None = None,
        retry_seconds: float = 30.0,
        boundary: Boundary | None = None,
    ) -> None:
        self._uri = uri
        self._auth = (username, password)
        self._run = run
        self._database = database
        self._seed = seed
        self._retry_seconds = retry_seconds
        self._boundary = boundary
        self._driver: AsyncDriver | None = None
        self._branches: dict[str, Branch] = {}
        self._lineages: dict[str, Lineage] = {}
        self.dialect = Dialect.of(OLDEST_SERVER)

    async def open(self) -> None:
        if self._driver is not None:
            return
        from neo4j import AsyncGraphDatabase, NotificationMinimumSeverity

        if self._uri.partition("://")[0] not in _SCHEMES:
            raise MemoryStoreError(
                f"the Neo4j address {bare_url(self._uri)!r} is none that the driver serves.",
                "Give one like bolt://host:7687 or neo4j+s://host.",
            )
        with self._guard():
            try:
                driver = AsyncGraphDatabase.driver(
                    self._uri,
                    auth=self._auth,
                    connection_timeout=5.0,
                    max_transaction_retry_time=self._retry_seconds,
                    notifications_min_severity=NotificationMinimumSeverity.OFF,
                    user_agent="athena",
                )
            except ValueError as error:
                raise MemoryStoreError(
                    f"the Neo4j address {bare_url(self._uri)!r} cannot be read: "
                    f"{without_secrets(str(error))}.",
                    "Give one like bolt://host:7687 or neo4j+s://host.",
                ) from error
            try:
                await self._prepare(driver)
            except BaseException:
                await driver.close()
                raise
            self._driver = driver

    async def _prepare(self, driver: AsyncDriver) -> None:
        info = await driver.get_server_info()
        version = server_version(info.agent)
        if version < OLDEST_SERVER:
            raise MemoryStoreError(
                f"the server at {self._uri} is {info.agent}.", "Use Neo4j 5.23 or newer."
            )
        self.dialect = Dialect.of(version)
        prefix = self.dialect.prefix
        async with driver.session(database=self._database) as session:

            async def states() -> dict[str, str]:
                result = await session.run(
                    f"""{prefix}SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'athena_'
                        RETURN name, state"""
                )
                return dict(await result.values())

            found = await states()
            if any(found.get(name) != "ONLINE" for name in _INDEXES):
                for statement in _SCHEMA:
                    # Managed: two that open a new server at once deadlock, and one is tried again.
                    await session.execute_write(_make, prefix + statement)
                await (await session.run(f"{prefix}CALL db.awaitIndexes(60)")).consume()
                found = await states()
            check_online(found)

            async def create(tx: AsyncManagedTransaction) -> str:
                result = await tx.run(
                    f"""{prefix}MERGE (r:AthenaRun {{run: $run}})
                        ON CREATE SET r.seed = $seed, r.epoch = 0, r.sequence = 0, r.format = $format
                        MERGE (b:AthenaBranch {{run: $run, name: $root}})
                        ON CREATE SET b.fork_sequence = 0, b.created_at = 0, b.number = 0
                        RETURN r.seed, r.format""",
                    run=self._run,
                    root=ROOT_BRANCH,
                    seed=self._seed or secrets.token_hex(16),
                    format=GRAPH.version,
                )
                record = await result.single(strict=True)
                GRAPH.check(record[1], f"the run {self._run!r} at {self._uri}")
                return str(record[0])

            seed = await session.execute_write(create)
        if self._seed is not None and seed != self._seed:
            raise MemoryStoreError(
                f"the run {self._run!r} was made with another seed than {self._seed!r}.",
                "Open it without a seed, or choose another run name.",
            )
        self._seed = seed

    async def close(self) -> None:
        if self._driver is not None:
            await self._driver.close()
            self._driver = None

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn the driver's failures into MemoryStoreError with a cure."""
        from neo4j.exceptions import DriverError, Neo4jError

        try:
            yield
        except (Neo4jError, DriverError) as error:
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MemoryStoreError(
                f"Neo4j at {self._uri} failed: {message}", _cure(error)
            ) from error

    def _open_driver(self) -> AsyncDriver:
        if self._driver is None:
            raise MemoryStoreError("the memory is not open.", "Await `open()` first.")
        return self._driver

    async def _read(self, statement: str, **parameters: Any) -> list[list[Any]]:
        text = self.dialect.prefix + statement

        async def work(tx: AsyncManagedTransaction) -> list[list[Any]]:
            result = await tx.run(text, run=self._run, **parameters)
            return await result.values()

        with self._guard():
            async with self._open_driver().session(database=self._database) as session:
                return await session.execute_read(work)

    async def seed(self) -> str:
        self._open_driver()
        assert self._seed is not None
        return self._seed

    async def branches(self) -> Mapping[str, Branch]:
        rows = await self._read(
            """MATCH (b:AthenaBranch {run: $run})
               RETURN b.name, b.parent, b.fork_sequence, b.created_at"""
        )
        for row in rows:
            self._branches[row[0]] = Branch(*row)
        return MappingProxyType(self._branches)

    async def _lineage(self, name: str) -> Lineage:
        if name not in self._lineages:
            if name not in self._branches:
                await self.branches()
            if name not in self._branches:
                raise EntryNotFound(f"no branch {name!r}.", "Fork one first.")
            self._lineages[name] = Lineage.of(name, self._branches)
        return self._lineages[name]

    async def fork(self, parent: str, at_sequence: int | None, created_at: int) -> Branch:
        await self._lineage(parent)

        async def work(transaction: _Neo4jTransaction) -> Branch:
            latest, _ = await transaction.position()
            limit = latest - 1 if at_sequence is None else min(at_sequence, latest - 1)
            rows = await transaction.run(
                """MATCH (b:AthenaBranch {run: $run}) WITH count(b) AS branches
                   CREATE (n:AthenaBranch {run: $run, name: 'b' + branches, parent: $parent,
                       fork_sequence: $limit, created_at: $created_at, number: 0,
                       attempt: $attempt})
                   RETURN n.name""",
                parent=parent,
                limit=limit,
                created_at=created_at,
                attempt=transaction.attempt,
            )
            return Branch(rows[0][0], parent, limit, created_at)

        branch = await self._write(parent, work)
        self._branches[branch.name] = branch
        return branch

    async def write(
        self, branch: str, work: Callable[[MemoryTransaction], Awaitable[ResultT]]
    ) -> ResultT:
        return await self._write(branch, work)

    async def _write(
        self, branch: str, work: Callable[[_Neo4jTransaction], Awaitable[ResultT]]
    ) -> ResultT:
        from neo4j.exceptions import IncompleteCommit

        lineage = await self._lineage(branch)
        attempt = uuid.uuid4().hex
        outcome: list[ResultT] = []
        deadline = time.monotonic() + self._retry_seconds

        async def run(tx: AsyncManagedTransaction) -> ResultT:
            transaction = _Neo4jTransaction(
                tx,
                prefix=self.dialect.prefix,
                run_name=self._run,
                branch=branch,
                lineage=lineage,
                seed=self._seed or "",
                attempt=attempt,
                boundary=self._boundary,
            )
            self._at("begin")
            await transaction.begin()
            if outcome and await transaction.was_committed():
                return outcome[-1]
            outcome.append(await work(transaction))
            self._at("commit")
            return outcome[-1]

        with self._guard():
            while True:
                try:
                    async with self._open_driver().session(database=self._database) as session:
                        result = await session.execute_write(run)
                    break
                except IncompleteCommit:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.2)
        self._at("committed")
        return result

    def _at(self, name: str) -> None:
        if self._boundary is not None:
            self._boundary(name)

    async def state(self) -> tuple[int, int]:
        rows = await self._read("MATCH (r:AthenaRun {run: $run}) RETURN r.epoch, r.sequence")
        return int(rows[0][0]), int(rows[0][1])

    async def operations(self, after: int = 0) -> Sequence[OperationRecord]:
        rows = await self._read(
            f"""MATCH (o:AthenaOperation {{run: $run}}) WHERE o.sequence > $after
                RETURN {_OPERATION} ORDER BY o.sequence""",
            after=after,
        )
        return [_record(row) for row in rows]

    async def vectors(self, after: int = 0) -> Sequence[StoredVector]:
        rows = await self._read(
            """MATCH (v:AthenaVersion {run: $run})
               WHERE v.sequence > $after AND v.vector IS NOT NULL
               RETURN v.version_id, v.model_id, v.dimension, v.vector
               ORDER BY v.sequence, v.version_id""",
            after=after,
        )
        return [StoredVector(row[0], row[1], row[2], bytes(row[3])) for row in rows]

    async def versions(self, branch: str, entry_id: str) -> Sequence[Version]:
        lineage = await self._lineage(branch)
        rows = await self._read(
            f"""MATCH (v:AthenaVersion {{run: $run, entry_id: $entry_id}})
                RETURN {_VERSION} ORDER BY v.sequence""",
            entry_id=entry_id,
        )
        return [_version(row) for row in rows if lineage.sees(row[11], row[12])]

    async def closings(self, branch: str, targets: Sequence[str]) -> Sequence[Closing]:
        lineage = await self._lineage(branch)
        rows = await self._read(
            f"""UNWIND $targets AS target MATCH (c:AthenaClosing {{run: $run, target: target}})
                RETURN {_CLOSING} ORDER BY c.sequence""",
            targets=list(targets),
        )
        return [Closing(*row) for row in rows if lineage.sees(row[3], row[4])]

    async def derived(self) -> Derived:
        versions = await self._read(
            f"MATCH (v:AthenaVersion {{run: $run}}) RETURN {_VERSION} ORDER BY v.sequence"
        )
        closings = await self._read(
            f"MATCH (c:AthenaClosing {{run: $run}}) RETURN {_CLOSING} ORDER BY c.sequence"
        )
        edges = await self._read(
            f"""MATCH (a:AthenaEntry {{run: $run}})-[l:ATHENA_LINK]->(b:AthenaEntry)
                RETURN {_EDGE} ORDER BY l.sequence"""
        )
        models = await self._read(
            """MATCH (v:AthenaVersion {run: $run}) WHERE v.vector IS NOT NULL
               RETURN v.version_id, v.model_id,
                      size(v.embedding) = v.dimension OR v.zero_vector"""
        )
        problems = [f"the vector of {row[0]} has the wrong size" for row in models if not row[2]]
        orphans = await self._read(
            """MATCH (v:AthenaVersion {run: $run})
               WHERE NOT EXISTS { (v)-[:VERSION_OF]->(:AthenaEntry {run: $run}) }
               RETURN v.version_id"""
        )
        problems += [f"version {row[0]} belongs to no entry" for row in orphans]
        counters = await self._read(
            """MATCH (r:AthenaRun {run: $run})
               OPTIONAL MATCH (o:AthenaOperation {run: $run})
               RETURN r.sequence, count(o)"""
        )
        if counters[0][0] != counters[0][1]:
            problems.append(f"the run counts {counters[0][0]} operations, {counters[0][1]} stand")
        states = await self._read(
            """SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'athena_'
               RETURN name, state"""
        )
        problems += [f"the index {name} is {state}" for name, state in states if state != "ONLINE"]
        entries = await self._read(
            "MATCH (e:AthenaEntry {run: $run}) RETURN e.entry_id, e.namespace, e.purged"
        )
        problems += entry_problems(
            await self.operations(), {row[0]: (row[1], bool(row[2])) for row in entries}
        )
        problems += await self._sealed_problems()
        return Derived(
            versions=tuple(_version(row) for row in versions),
            closings=tuple(Closing(*row) for row in closings),
            edges=tuple(Edge(*row) for row in edges),
            vector_models={row[0]: row[1] for row in models},
            index_problems=tuple(problems),
        )

    async def erasure_pending(self) -> str:
        return "the server's transaction logs keep the text until it rotates and prunes them"

    async def _sealed_problems(self) -> list[str]:
        """Records and vectors that are not as they were written; runs older than the seals have none."""
        seed = await self._read("MATCH (r:AthenaRun {run: $run}) RETURN r.seed")
        problems = (
            [] if seed == [[self._seed]] else ["the run has another seed than at its opening"]
        )
        sealed = await self._read(
            "MATCH (o:AthenaOperation {run: $run}) RETURN count(o.digest) > 0"
        )
        if not sealed[0][0]:
            return problems
        log = await self._read(
            f"MATCH (o:AthenaOperation {{run: $run}}) RETURN o.undoes, o.digest, {_OPERATION}"
        )
        problems += log_problems(self._seed or "", ((row[2:], row[0], row[1]) for row in log))
        for start in range(0, len(log), _CHUNK):
            rows = await self._read(
                """MATCH (v:AthenaVersion {run: $run})
                   WHERE $start < v.sequence <= $end AND v.vector IS NOT NULL
                   RETURN v.version_id, v.model_id, v.dimension, v.vector, v.vector_digest,
                          v.embedding""",
                start=start,
                end=start + _CHUNK,
            )
            for row in rows:
                vector = StoredVector(row[0], row[1], row[2], bytes(row[3]))
                values = np.frombuffer(vector.data, "<f4")
                embedding = np.zeros(len(values)) if row[5] is None else np.asarray(row[5])
                if row[4] != vector_digest(self._seed or "", vector) or not np.array_equal(
                    embedding, values
                ):
                    problems.append(f"the vector of {vector.version_id} is not as it was written")
        return problems

    async def rebuild(self, vectors: Sequence[StoredVector], at_sequence: int) -> bool:
        records = await self.operations()

        async def work(transaction: _Neo4jTransaction) -> bool:
            following, _ = await transaction.position()
            if following != at_sequence + 1 or len(records) != at_sequence:
                return False
            links = await decisions.joined(transaction)
            for label in ("AthenaVersion", "AthenaClosing", "AthenaEntry"):
                await transaction.run(f"MATCH (n:{label} {{run: $run}}) DETACH DELETE n")
            for record in records:
                await transaction.apply(record)
            await decisions.join(transaction, links)
            await transaction.put_vectors(vectors)
            await transaction.mark_purged(records)
            await transaction.next_epoch()
            return True

        return await self._write(ROOT_BRANCH, work)

    async def load(
        self,
        branches: Sequence[Branch],
        operations: Sequence[OperationRecord],
        vectors: Sequence[StoredVector],
        seed: str,
    ) -> None:
        async def work(transaction: _Neo4jTransaction) -> None:
            used, _ = await transaction.position()
            forks = await transaction.run("MATCH (b:AthenaBranch {run: $run}) RETURN count(b)")
            if used > 1 or forks[0][0] > 1:
                raise MemoryRefused(
                    f"the run {self._run!r} has {used - 1} operations already.",
                    "Import a whole export into a new run; bare lines go anywhere.",
                )
            await transaction.run("MATCH (r:AthenaRun {run: $run}) SET r.seed = $seed", seed=seed)
            transaction.seed = seed
            for branch in branches:
                await transaction.run(
                    """MERGE (b:AthenaBranch {run: $run, name: $name})
                       SET b.parent = $parent, b.fork_sequence = $fork_sequence,
                           b.created_at = $created_at, b.number = 0""",
                    name=branch.name,
                    parent=branch.parent,
                    fork_sequence=branch.fork_sequence,
                    created_at=branch.created_at,
                )
            for record in operations:
                await transaction.log(record)
                await transaction.apply(record)
            await transaction.put_vectors(vectors)
            await transaction.mark_purged(operations)
            await transaction.next_epoch()

        await self._write(ROOT_BRANCH, work)
        self._seed = seed
        self._branches.clear()
        self._lineages.clear()

    async def add_timings(self, timings: Mapping[tuple[str, int], int]) -> None:
        rows = [[name, bucket, calls] for (name, bucket), calls in timings.items()]

        async def work(transaction: _Neo4jTransaction) -> None:
            await transaction.run(
                """UNWIND $rows AS row
                   MERGE (t:AthenaTiming {run: $run, operation: row[0], bucket: row[1]})
                   ON CREATE SET t.calls = row[2] ON MATCH SET t.calls = t.calls + row[2]""",
                rows=rows,
            )

        await self._write(ROOT_BRANCH, work)

    async def timings(self) -> Mapping[tuple[str, int], int]:
        rows = await self._read(
            "MATCH (t:AthenaTiming {run: $run}) RETURN t.operation, t.bucket, t.calls"
        )
        return {(name, bucket): calls for name, bucket, calls in rows}

    async def decided_step(self) -> int:
        """The last step whose orders `put_orders` has written; -1 before any."""
        rows = await self._read("MATCH (r:AthenaRun {run: $run}) RETURN r.decided_step")
        return -1 if rows[0][0] is None else int(rows[0][0])

    async def put_orders(self, orders: Sequence[decisions.DecidedOrder], through_step: int) -> None:
        """Join orders of the run to its memory, in one transaction that may be done again.

        Raises: MemoryStoreError, also for a recalled version that is not there.
        """

        async def work(transaction: _Neo4jTransaction) -> None:
            await decisions.write_orders(transaction, orders, through_step)

        await self._write(ROOT_BRANCH, work)

    async def erase_run(self) -> None:
        """Delete everything under this run's name; the store is then empty and closed."""
        # What names the run goes last: until then it can be erased again.
        for label in (
            "AthenaVersion|AthenaClosing|AthenaEntry|AthenaOperation|AthenaTiming|AthenaBranch",
            "|".join(decisions.LABELS),
            "AthenaRun",
        ):
            with self._guard():
                async with self._open_driver().session(database=self._database) as session:
                    result = await session.run(
                        f"""{self.dialect.prefix}MATCH (n:{label} {{run: $run}})
                            CALL (n) {{ DETACH DELETE n }} IN TRANSACTIONS OF 2000 ROWS""",
                        run=self._run,
                    )
                    await result.consume()
        await self.close()

    async def native_text(self, text: str, limit: int = 10) -> list[str]:
        """Version ids by Neo4j's own full-text index: global statistics, no as-of. For looking around."""
        rows = await self._read(
            f"""CALL db.index.fulltext.queryNodes('{TEXT_INDEX}', $text) YIELD node AS v, score
                WHERE v.run = $run RETURN v.version_id, score ORDER BY score DESC LIMIT $limit""",
            text=escape_lucene(text),
            limit=limit,
        )
        return [row[0] for row in rows]

    async def native_nearest(self, vector: Sequence[float], limit: int = 10) -> list[str]:
        """Version ids by Neo4j's own vector index: approximate, over all runs, no as-of.

        The index cannot be asked for one run alone: enough are fetched that other runs rarely crowd it out.
        """
        fetch = max(_NEAREST_FETCHED, 10 * limit)
        rows = await self._read(self.dialect.nearest, vector=list(vector), fetch=fetch, limit=limit)
        return [row[0] for row in rows]


class _Neo4jTransaction:
    """Reads and writes inside one managed transaction that holds the run's lock."""

    def __init__(
        self,
        tx: AsyncManagedTransaction,
        *,
        prefix: str,
        run_name: str,
        branch: str,
        lineage: Lineage,
        seed: str,
        attempt: str,
        boundary: Boundary | None,
    ) -> None:
        self._tx = tx
        self._prefix = prefix
        self._run_name = run_name
        self._boundary = boundary
        self._next = (1, 1)
        self.branch = branch
        self.lineage = lineage
        self.seed = seed
        self.attempt = attempt

    async def run(self, statement: str, **parameters: Any) -> list[list[Any]]:
        if self._boundary is not None:
            self._boundary(statement)
        text = self._prefix + statement
        result = await self._tx.run(text, run=self._run_name, **parameters)
        return await result.values()

    async def begin(self) -> None:
        """Take the run's lock, then read where the log stands."""
        await self.run(
            "MATCH (r:AthenaRun {run: $run}) SET r.attempt = $attempt", attempt=self.attempt
        )
        rows = await self.run(
            """MATCH (r:AthenaRun {run: $run}), (b:AthenaBranch {run: $run, name: $branch})
               RETURN r.sequence, b.number""",
            branch=self.branch,
        )
        self._next = (rows[0][0] + 1, rows[0][1] + 1)

    async def was_committed(self) -> bool:
        """Did an earlier try of this very transaction come through?"""
        rows = await self.run(
            """OPTIONAL MATCH (o:AthenaOperation {run: $run, attempt: $attempt})
               WITH count(o) AS operations
               OPTIONAL MATCH (b:AthenaBranch {run: $run}) WHERE b.attempt = $attempt
               WITH operations, count(b) AS branches
               RETURN operations + branches""",
            attempt=self.attempt,
        )
        return bool(rows[0][0])

    async def position(self) -> tuple[int, int]:
        return self._next

    async def operation_by_key(self, key: str) -> OperationRecord | None:
        rows = await self.run(
            f"""UNWIND $keys AS key
                MATCH (o:AthenaOperation {{run: $run, branch: $branch, key: key}})
                RETURN {_OPERATION}""",
            branch=self.branch,
            keys=[key, purged_key(self.seed, key)],
        )
        return _record(rows[0]) if rows else None

    async def operation(self, operation_id: str) -> OperationRecord | None:
        place = _place(operation_id)
        if place is None:
            return None
        rows = await self.run(
            f"""MATCH (o:AthenaOperation {{run: $run, branch: $branch, number: $number}})
                RETURN {_OPERATION}""",
            branch=place[0],
            number=place[1],
        )
        if not rows or not self.lineage.sees(rows[0][1], rows[0][0]):
            return None
        return _record(rows[0])

    async def is_undone(self, operation_id: str) -> bool:
        rows = await self.run(
            """MATCH (o:AthenaOperation {run: $run, undoes: $operation_id})
               RETURN o.branch, o.sequence""",
            operation_id=operation_id,
        )
        return any(self.lineage.sees(*row) for row in rows)

    async def versions(self, entry_id: str) -> Sequence[Version]:
        rows = await self.run(
            f"""MATCH (v:AthenaVersion {{run: $run, entry_id: $entry_id}})
                RETURN {_VERSION} ORDER BY v.sequence""",
            entry_id=entry_id,
        )
        return [_version(row) for row in rows if self.lineage.sees(row[11], row[12])]

    async def closings(self, targets: Sequence[str]) -> Sequence[Closing]:
        if not targets:
            return []
        rows = await self.run(
            f"""UNWIND $targets AS target MATCH (c:AthenaClosing {{run: $run, target: target}})
                RETURN {_CLOSING} ORDER BY c.sequence""",
            targets=list(targets),
        )
        return [Closing(*row) for row in rows if self.lineage.sees(row[3], row[4])]

    async def live(self, namespace: str) -> Sequence[Version]:
        rows = await self.run(
            f"""UNWIND $lineage AS seen
                MATCH (v:AthenaVersion {{run: $run, branch: seen[0], namespace: $namespace}})
                WHERE v.sequence <= seen[1] AND v.content <> ''
                OPTIONAL MATCH (c:AthenaClosing {{run: $run, target: v.version_id}})
                WHERE any(other IN $lineage WHERE other[0] = c.branch AND c.sequence <= other[1])
                WITH v, count(c) AS closings WHERE closings = 0
                RETURN {_VERSION} ORDER BY v.sequence""",
            lineage=[list(item) for item in self.lineage.limits.items()],
            namespace=namespace,
        )
        return [_version(row) for row in rows]

    async def append(self, record: OperationRecord, vectors: Sequence[StoredVector]) -> None:
        await self.log(record)
        await self.apply(record)
        await self.put_vectors(vectors)
        self._next = (record.sequence + 1, record.number + 1)

    async def log(self, record: OperationRecord) -> None:
        columns = _columns(record)
        await self.run(
            """MATCH (r:AthenaRun {run: $run}), (b:AthenaBranch {run: $run, name: $branch})
               SET r.sequence = $sequence, b.number = $number
               CREATE (o:AthenaOperation {run: $run, sequence: $sequence, branch: $branch,
                   number: $number, kind: $kind, namespace: $namespace, key: $key,
                   request: $request, recorded_at: $recorded_at, undoes: $undoes, body: $body,
                   digest: $digest, attempt: $attempt})""",
            **columns,
            undoes=record.undoes,
            digest=log_digest(self.seed, *columns.values()),
            attempt=self.attempt,
        )

    async def apply(self, record: OperationRecord) -> None:
        """Write what follows from a logged operation, embeddings excepted."""
        if record.opened:
            await self.run(
                """UNWIND $versions AS fields
                   MERGE (e:AthenaEntry {run: $run, entry_id: fields.entry_id})
                   ON CREATE SET e.namespace = fields.namespace, e.purged = false
                   CREATE (v:AthenaVersion)-[:VERSION_OF]->(e)
                   SET v = fields, v.run = $run
                """,
                versions=[_fields(version) for version in record.opened],
            )
        copies = {v.version_id: v.copy_of for v in record.opened if v.copy_of is not None}
        if copies:
            rows = await self.run(
                """UNWIND keys($copies) AS name
                   MATCH (old:AthenaVersion {run: $run, version_id: $copies[name]})
                   WHERE old.vector IS NOT NULL
                   RETURN name, old.model_id, old.dimension, old.vector""",
                copies=copies,
            )
            await self.put_vectors(
                [StoredVector(row[0], row[1], row[2], bytes(row[3])) for row in rows]
            )
        if record.linked:
            await self.run(
                """UNWIND $edges AS edge
                   MATCH (a:AthenaEntry {run: $run, entry_id: edge.from_entry}),
                         (b:AthenaEntry {run: $run, entry_id: edge.to_entry})
                   CREATE (a)-[l:ATHENA_LINK {edge_id: edge.edge_id, relation: edge.relation,
                       namespace: edge.namespace, recorded_from: edge.recorded_from,
                       branch: edge.branch, sequence: edge.sequence}]->(b)""",
                edges=[
                    {
                        "edge_id": e.edge_id,
                        "from_entry": e.from_entry,
                        "to_entry": e.to_entry,
                        "relation": e.relation,
                        "namespace": e.namespace,
                        "recorded_from": e.recorded_from,
                        "branch": e.branch,
                        "sequence": e.sequence,
                    }
                    for e in record.linked
                ],
            )
        if record.closed:
            await self.run(
                """UNWIND $closings AS closing
                   CREATE (c:AthenaClosing) SET c = closing, c.run = $run""",
                closings=[
                    {
                        "target": c.target,
                        "recorded_to": c.recorded_to,
                        "hidden_from": c.hidden_from,
                        "branch": c.branch,
                        "sequence": c.sequence,
                    }
                    for c in record.closed
                ],
            )

    async def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        for start in range(0, len(vectors), _CHUNK):
            await self.run(
                """UNWIND $vectors AS row
                   MATCH (v:AthenaVersion {run: $run, version_id: row.version_id})
                   SET v.embedding = row.embedding, v.vector = row.data,
                       v.zero_vector = row.embedding IS NULL,
                       v.model_id = row.model_id, v.dimension = row.dimension,
                       v.vector_digest = row.digest""",
                vectors=[
                    _vector_fields(vector) | {"digest": vector_digest(self.seed, vector)}
                    for vector in vectors[start : start + _CHUNK]
                ],
            )

    async def mark_purged(self, records: Sequence[OperationRecord]) -> None:
        await self.run(
            """UNWIND $ids AS entry_id MATCH (e:AthenaEntry {run: $run, entry_id: entry_id})
               SET e.purged = true""",
            ids=[entry_id for record in records for entry_id in record.purged],
        )

    async def next_epoch(self) -> None:
        await self.run("MATCH (r:AthenaRun {run: $run}) SET r.epoch = r.epoch + 1")

    async def erase(self, entry_id: str) -> None:
        rows = await self.run(
            f"""MATCH (v:AthenaVersion {{run: $run, entry_id: $entry_id}})
                MATCH (o:AthenaOperation {{run: $run, sequence: v.sequence}})
                RETURN DISTINCT {_OPERATION}""",
            entry_id=entry_id,
        )
        for row in rows:
            record = scrub(_record(row), entry_id, self.seed)
            await self.run(
                """MATCH (o:AthenaOperation {run: $run, sequence: $sequence})
                   SET o.body = $body, o.request = $request, o.key = $key, o.digest = $digest""",
                sequence=record.sequence,
                body=payload(record),
                request=record.request,
                key=record.key,
                digest=log_digest(self.seed, *_columns(record).values()),
            )
        await self.run(
            """MATCH (e:AthenaEntry {run: $run, entry_id: $entry_id}) SET e.purged = true
               WITH e MATCH (v:AthenaVersion {run: $run, entry_id: $entry_id})
               SET v.content = '', v.metadata = '{}', v.source = 'purged'
               REMOVE v.embedding, v.vector, v.zero_vector, v.model_id, v.dimension,
                      v.vector_digest, v.symbol, v.kind""",
            entry_id=entry_id,
        )
        await self.next_epoch()


def _columns(record: OperationRecord) -> dict[str, Any]:
    """What `_OPERATION` returns."""
    return {
        "sequence": record.sequence,
        "branch": record.branch,
        "number": record.number,
        "kind": record.kind,
        "namespace": record.namespace,
        "key": record.key,
        "request": record.request,
        "recorded_at": record.recorded_at,
        "body": payload(record),
    }


def _record(row: Sequence[Any]) -> OperationRecord:
    return record_of(*row)


def _version(row: Sequence[Any]) -> Version:
    columns = list(row)
    columns[5] = metadata_of(row[0], row[5])
    return Version(*columns)


def _fields(version: Version) -> dict[str, Any]:
    """A version's properties; symbol and kind stand beside the metadata for the user's own Cypher."""
    fields: dict[str, Any] = {
        "version_id": version.version_id,
        "entry_id": version.entry_id,
        "number": version.number,
        "namespace": version.namespace,
        "content": version.content,
        "metadata": canonical(dict(version.metadata)).decode(),
        "source": version.source,
        "recorded_from": version.recorded_from,
        "valid_from": version.valid_from,
        "outcome_at": version.outcome_at,
        "copy_of": version.copy_of,
        "branch": version.branch,
        "sequence": version.sequence,
    }
    for name in ("symbol", "kind"):
        if isinstance(version.metadata.get(name), str):
            fields[name] = version.metadata[name]
    return fields


def _vector_fields(vector: StoredVector) -> dict[str, Any]:
    """Bytes for exact reading; a list for the native index, which takes no vector of zeros."""
    values = np.frombuffer(vector.data, "<f4")
    return {
        "version_id": vector.version_id,
        "model_id": vector.model_id,
        "dimension": vector.dimension,
        "data": vector.data,
        "embedding": values.tolist() if values.any() else None,
    }


def _place(operation_id: str) -> tuple[str, int] | None:
    branch, _, number = operation_id.rpartition(":")
    if not (number.isascii() and number.isdigit()) or len(number) > 18:
        return None
    return branch, int(number)


def _cure(error: Exception) -> str:
    from neo4j.exceptions import AuthError, ServiceUnavailable, SessionExpired

    code = str(getattr(error, "code", "") or "")
    if isinstance(error, AuthError):
        return "Check NEO4J_USERNAME and NEO4J_PASSWORD."
    if isinstance(error, ServiceUnavailable | SessionExpired):
        return "Start the server, or check memory.neo4j_uri (or NEO4J_URI) and the network."
    if "ReadOnly" in code or "AccessMode" in code or "Forbidden" in code:
        return "The database does not take writes from this user; use a writable one."
    if "DatabaseNotFound" in code:
        return "Name a database that exists."
    return "See the server's log; the write was not done."
