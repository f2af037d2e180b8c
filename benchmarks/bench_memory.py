"""What one memory operation costs, beside the bare parts it is made of, in the same run.

    python benchmarks/bench_memory.py [--sizes 1000,10000,100000] [--neo4j SIZES] [--mem0-python PYTHON]

Vectors are given (an embedder that looks them up), so no model's time is in any figure. Bare parts: a
durable one-row insert into a WAL file with synchronous=FULL; a float32 scan with the ten best; our own
BM25 alone. Neo4j is measured where NEO4J_URI is set, mem0 where `--mem0-python` names a Python that has it
(local Qdrant, the same vectors, no language model, or a fake one for its normal mode; in turns with ours).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DIMENSION = 384


class GivenVectors:
    """A unit vector for each text, fixed by the text, drawn before anything is timed."""

    model_id = "given-384"
    dimension = DIMENSION

    def __init__(self, texts: Sequence[str], seed: int = 0) -> None:
        vectors = np.random.default_rng(seed).normal(size=(len(texts), DIMENSION))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors = vectors.astype(np.float32)
        self._rows = {text: row for row, text in enumerate(texts)}

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.vectors[[self._rows[text] for text in texts]]


def sentences(count: int, seed: int) -> list[str]:
    """Notes of 8 to 24 words with the word frequencies of natural text (Zipf, exponent 1.1)."""
    generator = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(30_000)]
    weights = 1.0 / np.arange(1, len(words) + 1) ** 1.1
    lengths = generator.integers(8, 25, count)
    drawn = generator.choice(len(words), int(lengths.sum()), p=weights / weights.sum())
    places = np.concatenate([[0], np.cumsum(lengths)])
    return [
        f"note-{seed}-{n} " + " ".join(words[i] for i in drawn[places[n] : places[n + 1]])
        for n in range(count)
    ]


def figures(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and 10th in milliseconds; a busy machine moves the last one least."""
    p50, p99, p10 = np.quantile(seconds, (0.5, 0.99, 0.1)) * 1e3
    return float(p50), float(p99), float(p10)


async def timed(calls: Sequence[Callable[[], Awaitable[object]]]) -> list[float]:
    taken = []
    for call in calls:
        started = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - started)
    return taken


class Table:
    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(
        self,
        store: str,
        what: str,
        size: int,
        seconds: Sequence[float],
        *,
        bare: float | None = None,
        limit: float | None = None,
    ) -> float:
        p50, p99, p10 = figures(seconds)
        verdict = "" if limit is None else ("within" if p50 <= limit else "MISSED")
        self.rows.append(
            {"store": store, "what": what, "entries": size, "p50_ms": round(p50, 4),
             "p99_ms": round(p99, 4), "p10_ms": round(p10, 4), "bare_ms": bare and round(bare, 4),
             "limit_ms": limit and round(limit, 4), "verdict": verdict}
        )  # fmt: skip
        cells = [f"{store:7}", f"{what:34}", f"{size:>8,}"]
        cells += [f"{value:9.3f}" for value in (p50, p99, p10)]
        cells += [f"{value:9.3f}" if value is not None else " " * 9 for value in (bare, limit)]
        sys.stdout.write("  ".join([*cells, verdict]) + "\n")
        sys.stdout.flush()
        return p50


def bare_add(folder: Path, texts: Sequence[str]) -> list[float]:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")
    blob = bytes(4 * DIMENSION)
    taken = []
    for text in texts:
        started = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes(text, vector) VALUES (?, ?)", (text, blob))
        connection.execute("COMMIT")
        taken.append(time.perf_counter() - started)
    connection.close()
    return taken


def bare_scan(matrix: np.ndarray, queries: np.ndarray) -> list[float]:
    taken = []
    for query in queries:
        started = time.perf_counter()
        scores = matrix @ query
        best = np.argpartition(scores, len(scores) - 10)[-10:]
        best[np.argsort(-scores[best])]
        taken.append(time.perf_counter() - started)
    return taken


async def measure(store_name: str, store: object, size: int, folder: Path, table: Table) -> None:
    from dataclasses import replace

    from core.memories import FOREVER
    from memory.agemem import AgeMem
    from memory.operations import Add
    from memory.retrieval import RankingSettings, rank_by_text

    local = store_name == "sqlite"
    adds = 300 if local else 100
    texts, fresh, queries = sentences(size, 1), sentences(adds, 2), sentences(168, 3)
    embedder = GivenVectors([*texts, *fresh, *queries])
    memory = AgeMem(store=store, embedder=embedder)  # type: ignore[arg-type]
    for start in range(0, size, 1_000):
        await memory.apply([Add(text) for text in texts[start : start + 1_000]])

    bare_write = figures(bare_add(folder, fresh))[0] if local else None
    taken = await timed([lambda text=text: memory.add(text) for text in fresh])  # type: ignore[misc]
    table.add(store_name, "durable add", size, taken, bare=bare_write, limit=1.0 if local else None)

    query_vectors = await embedder.embed(queries)
    await memory.retrieve(queries[0], 10)
    index = await memory._index(with_vectors=True)
    matrix = index._matrix[: len(index.versions)]
    vector_only = memory._handle(
        _ranking=replace(RankingSettings(), use_text=False, use_graph=False)
    )
    # Interleaved, so that both meet the same caches and neighbours.
    bare, vector, hybrid, text_only = [], [], [], []
    # A question asked again is answered from a kept scan: each kind of search has questions of its own.
    for query, query_vector, other in zip(
        queries[:60], query_vectors[:60], queries[60:120], strict=True
    ):
        bare += bare_scan(matrix, query_vector[None])
        vector += await timed([lambda q=query: vector_only.retrieve(q, 10)])  # type: ignore[misc]
        hybrid += await timed([lambda q=other: memory.retrieve(q, 10)])  # type: ignore[misc]
        corpus = index.corpus("main", "default", await memory._branches(), FOREVER - 1)
        started = time.perf_counter()
        rank_by_text(corpus, query, 64)
        text_only.append(time.perf_counter() - started)
    scan = figures(bare)[0]
    table.add(store_name, "bare numpy scan, ten best", size, bare)
    table.add(store_name, "  of it: BM25 alone", size, text_only)
    table.add(
        store_name,
        "top 10 by vector",
        size,
        vector,
        bare=scan,
        limit=1.2 * scan + 0.3 if local else None,
    )
    extra = 2.0 if size <= 10_000 else 5.0
    limit = 1.2 * scan + extra if local else None
    table.add(store_name, "hybrid retrieve, top 10", size, hybrid, bare=scan, limit=limit)
    eights = [queries[start : start + 8] for start in range(120, 168, 8)]
    batch = await timed([lambda q=q: memory.retrieve_many(q, 10) for q in eights])  # type: ignore[misc]
    table.add(store_name, "hybrid, 8 queries in one batch", size, batch)
    forks = await timed([memory.fork for _ in range(50)])
    table.add(store_name, "fork", size, forks, limit=1.0 if local else None)
    await memory.close()


async def reopened(path: Path, size: int, table: Table) -> None:
    """What a new process pays before its first answer: reading the log, the vectors and the words."""
    from memory.agemem import AgeMem

    queries = sentences(1, 3)
    embedder = GivenVectors(queries)
    memory = AgeMem(store=path, embedder=embedder)
    taken = await timed([lambda: memory.retrieve(queries[0], 10)])
    table.add("sqlite", "first retrieve of a new process", size, taken)
    await memory.close()


def mem0_adds(folder: Path, count: int) -> dict[str, list[float]]:
    """Runs inside an environment that has mem0: adds in raw and in normal mode, and searches."""
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ.setdefault("OPENAI_API_KEY", "none")
    os.environ["MEM0_DIR"] = str(folder)
    from mem0 import Memory

    texts, queries = sentences(count, 2), sentences(30, 3)
    given = GivenVectors([*texts, *queries])

    class Embedding:
        config = type("Config", (), {"embedding_dims": DIMENSION})()

        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            row = given._rows.get(text)
            vector = given.vectors[len(text) % len(given.vectors) if row is None else row]
            return [float(value) for value in vector]

        def embed_batch(
            self, texts: Sequence[str], memory_action: str = "add"
        ) -> list[list[float]]:
            return [self.embed(text) for text in texts]

    class Model:
        text = ""

        def generate_response(self, messages: object, **_: object) -> str:
            return json.dumps({"memory": [{"id": "0", "text": self.text}], "facts": [self.text]})

    memory = Memory.from_config(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": str(folder / "qdrant"), "on_disk": True,
                           "collection_name": "bench", "embedding_model_dims": DIMENSION},
            },
            "history_db_path": str(folder / "history.db"),
        }
    )  # fmt: skip
    memory.embedding_model = Embedding()
    memory.llm = model = Model()
    taken: dict[str, list[float]] = {"raw add": [], "normal add, fake model": [], "search": []}
    for text in texts:
        started = time.perf_counter()
        memory.add(text, user_id="u", infer=False)
        taken["raw add"].append(time.perf_counter() - started)
    for text in texts[: count // 3]:
        model.text = text + " again"
        started = time.perf_counter()
        memory.add(text, user_id="v", infer=True)
        taken["normal add, fake model"].append(time.perf_counter() - started)
    for query in queries:
        started = time.perf_counter()
        memory.search(query, filters={"user_id": "u"}, top_k=10)
        taken["search"].append(time.perf_counter() - started)
    return taken


async def our_adds(path: Path, count: int) -> list[float]:
    from memory.agemem import AgeMem

    texts = sentences(count, 2)
    async with AgeMem(store=path, embedder=GivenVectors(texts)) as memory:
        return await timed([lambda text=text: memory.add(text) for text in texts])  # type: ignore[misc]


async def beside_mem0(python: str, table: Table, count: int, folder: str | None) -> None:
    """Ours and mem0 in turns, on one disk, each time from an empty store: neither gets the quiet minutes."""
    ours: list[float] = []
    theirs: dict[str, list[float]] = {}
    for _ in range(3):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            ours += await our_adds(Path(place) / "m.db", count)
            done = subprocess.run(
                [python, __file__, "--mem0-here", place, "--mem0-count", str(count)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            sys.stdout.write(f"mem0 did not run: {done.stderr.strip().splitlines()[-1:]}\n")
            return
        for what, seconds in json.loads(done.stdout.splitlines()[-1]).items():
            theirs.setdefault(what, []).extend(seconds)
    table.add("sqlite", "durable add, beside mem0", count, ours)
    for what, seconds in theirs.items():
        times = ""
        if "add" in what:
            ratios = np.array(figures(seconds)) / np.array(figures(ours))
            times = f", {ratios[0]:.1f}x at p50, {ratios[2]:.1f}x at p10"
        table.add("mem0", what + times, count, seconds)


async def run(options: argparse.Namespace) -> Table:
    from memory.stores.neo4j import Neo4jStore
    from memory.stores.sqlite import SqliteStore

    table = Table()
    sys.stdout.write(
        f"{'store':7}  {'what':34}  {'entries':>8}  {'p50 ms':>9}  {'p99 ms':>9}  {'p10 ms':>9}"
        f"  {'bare':>9}  {'limit':>9}\n"
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            place = Path(folder)
            await measure("sqlite", SqliteStore(place / "m.db"), size, place, table)
            await reopened(place / "m.db", size, table)
    for size in options.neo4j if "NEO4J_URI" in os.environ else []:
        store = Neo4jStore(
            os.environ["NEO4J_URI"],
            os.environ.get("NEO4J_USERNAME", "neo4j"),
            os.environ.get("NEO4J_PASSWORD", ""),
            run=f"bench-{uuid.uuid4().hex[:8]}",
        )
        with tempfile.TemporaryDirectory() as folder:
            await measure("neo4j", store, size, Path(folder), table)
        await store.open()
        await store.erase_run()
    if options.mem0_python:
        await beside_mem0(options.mem0_python, table, 300, options.folder)
    return table


def main() -> None:
    def sizes(text: str) -> list[int]:
        return [int(part) for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=sizes, default=[1_000, 10_000, 100_000])
    parser.add_argument("--neo4j", type=sizes, default=[1_000, 10_000])
    parser.add_argument("--mem0-python", help="a Python with mem0ai and qdrant-client")
    parser.add_argument("--folder", help="where the files lie: the disk that is measured")
    parser.add_argument("--json", help="write the figures to this file too")
    parser.add_argument("--mem0-here", help=argparse.SUPPRESS)
    parser.add_argument("--mem0-count", type=int, default=300, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mem0_here:
        taken = mem0_adds(Path(options.mem0_here), options.mem0_count)
        sys.stdout.write("\n" + json.dumps(taken) + "\n")
        return
    table = asyncio.run(run(options))
    if options.json:
        Path(options.json).write_text(json.dumps(table.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
