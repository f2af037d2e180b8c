"""Which embedder finds what on real text? Recall of each, by vectors alone and in the whole ranking.

    python benchmarks/recall_memory.py POSTS.parquet SYMBOLS.csv [--posts 4000] [--queries 400]

Posts have columns `symbol` and `text`, symbols `symbol` and `company`. Two tasks:
half:    the query is every second word of a post; right is that post (recall at 1 and 10).
company: the query is a company's name, the posts have lost every ticker; right are posts about it
         (precision at 10, over companies with 10 posts and more).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig, MemoryConfig
from core.csvtext import read_csv_table
from core.errors import ModelError
from core.protocols import Embedder
from memory.agemem import AgeMem
from memory.embedders import HashedNgramEmbedder
from memory.operations import Add
from memory.retrieval import RankingSettings
from models.embedder import configured_embedder

NOISE = re.compile(r"https?:\S+|\$[A-Za-z.]+|@\w+|\bRT\b|[^\w\s.,'%-]")
LEGAL = re.compile(
    r"\b(Inc|Corp|Corporation|Company|Co|Ltd|Limited|plc|PLC|NV|N\.V|SA|S\.A|Group|Holdings|The)\b\.?,?"
)


def cleaned(text: str) -> str:
    return " ".join(NOISE.sub(" ", text).split())


def all_embedders() -> dict[str, Embedder | None]:
    """Each that is installed; None stands for words alone (BM25)."""
    found: dict[str, Embedder | None] = {"bm25": None, "hashed": HashedNgramEmbedder()}
    for name in ("olmoe", "minilm"):
        try:
            config = AthenaConfig(memory=MemoryConfig(embedder=name))
            found[name] = configured_embedder(config)
        except ModelError as error:
            sys.stdout.write(f"{error}\n")
    return found


async def memory_of(
    folder: str, embedder: Embedder, texts: list[str], symbols: list[str]
) -> AgeMem:
    name = f"{embedder.model_id}-{len(texts)}-{abs(hash(texts[0]))}"
    memory = AgeMem(store=Path(folder) / f"{name}.db", embedder=embedder)
    for start in range(0, len(texts), 500):
        part = zip(texts[start : start + 500], symbols[start : start + 500], strict=True)
        await memory.apply([Add(text, {"label": symbol}) for text, symbol in part])
    return memory


async def measure(
    embedder: Embedder | None, name: str, posts: pd.DataFrame, companies: pd.DataFrame, queries: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chosen = embedder or HashedNgramEmbedder()
        texts = posts["clean"].tolist()
        started = time.perf_counter()
        memory = await memory_of(folder, chosen, texts, posts["symbol"].tolist())
        built = time.perf_counter() - started
        settings = RankingSettings(recency_half_life_days=None, use_graph=False)
        if embedder is None:
            ways = {"text": replace(settings, use_vector=False)}
        else:
            ways = {"vector": replace(settings, use_text=False), "hybrid": settings}
        wanted = np.random.default_rng(0).choice(len(texts), queries, replace=False)
        halves = [" ".join(texts[i].split()[::2]) for i in wanted]
        for way, ranking in ways.items():
            handle = memory._handle(_ranking=ranking)
            answers = await handle.retrieve_many(halves, 10)
            places = [
                next((n for n, hit in enumerate(a.data) if hit.text == texts[i]), 99)
                for i, a in zip(wanted, answers, strict=True)
            ]
            names = [LEGAL.sub("", company).strip(" ,.") for company in companies["company"]]
            found = await handle.retrieve_many(names, 10)
            precision = [
                np.mean([hit.metadata["label"] == symbol for hit in a.data]) if a.data else 0.0
                for symbol, a in zip(companies["symbol"], found, strict=True)
            ]
            sys.stdout.write(
                f"{name:10} {way:7} half@1 {np.mean(np.array(places) == 0):.3f}  "
                f"half@10 {np.mean(np.array(places) < 10):.3f}  "
                f"company P@10 {np.mean(precision):.3f}  built in {built:.1f} s\n"
            )
            sys.stdout.flush()
        await memory.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("posts_file")
    parser.add_argument("symbols_file")
    parser.add_argument("--posts", type=int, default=4_000)
    parser.add_argument("--queries", type=int, default=400)
    options = parser.parse_args()
    posts = pd.read_parquet(options.posts_file)
    posts["clean"] = posts["text"].map(cleaned)
    posts = posts[posts["clean"].str.split().str.len() >= 8].drop_duplicates("clean")
    posts = posts.sample(min(options.posts, len(posts)), random_state=0)
    symbols_file = Path(options.symbols_file)
    companies = read_csv_table(symbols_file, symbols_file.name).frame()
    counts = posts["symbol"].value_counts()
    companies = companies[companies["symbol"].map(counts).fillna(0) >= 10]
    sys.stdout.write(f"{len(posts)} posts, {options.queries} halves, {len(companies)} companies\n")
    for name, embedder in all_embedders().items():
        asyncio.run(measure(embedder, name, posts, companies, options.queries))


if __name__ == "__main__":
    main()
