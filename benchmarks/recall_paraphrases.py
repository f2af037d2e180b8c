"""Which embedder finds a meaning said in other words? Two dictionaries define the same thing.

    python benchmarks/recall_paraphrases.py WORDNET_FOLDER GCIDE.dict.dz [--notes 2000] [--queries 500]

The notes are WordNet's glosses (`data.noun`, `index.noun`), a query is what Webster's dictionary of 1913
says of the same noun (GCIDE; entries that GCIDE took from WordNet are left out); the noun itself, and words
that begin like it, are taken out of both. Right is that noun's gloss: recall at 1 and at 10. Only nouns with
one sense in either are taken. "Far" are the pairs that share no word of four letters or more. Debian has
both dictionaries: `wordnet-base`, `dict-gcide`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import re
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recall_memory import all_embedders

from core.protocols import Embedder
from memory.agemem import AgeMem
from memory.embedders import HashedNgramEmbedder
from memory.operations import Add
from memory.retrieval import RankingSettings

ENTRY = re.compile(r"\n\n(?=[A-Z])")
HEAD = re.compile(r"([A-Z][a-z]+) \\[^\\]*\\, n\.(.*)", re.DOTALL)
ASIDE = re.compile(r"\[[^\]]*\]|\([^)]*\)|\"[^\"]*\"|--\s*[A-Z][\w .]*|[{}\\`*]")
ELSEWHERE = re.compile(r"\n   1\. |\bSee\b|Same as|WordNet|PJC|\bsame as\b")


@dataclass(frozen=True)
class Pair:
    noun: str
    gloss: str
    webster: str

    @property
    def far(self) -> bool:
        return not _long_words(self.gloss) & _long_words(self.webster)


def _long_words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) >= 4}


def without(noun: str, text: str) -> str:
    """The text without the noun and the words that begin like it (all but its last two letters)."""
    stem = noun[: max(4, len(noun) - 2)]
    return " ".join(re.sub(rf"\b{stem}\w*", " ", text, flags=re.IGNORECASE).split())


def glosses(folder: Path) -> dict[str, str]:
    """The gloss of every noun of one word and one sense, examples left out."""
    by_offset = {}
    for line in (folder / "data.noun").read_text("utf-8").splitlines():
        if not line.startswith(" "):
            by_offset[line[:8]] = line.partition(" | ")[2].split('; "')[0].strip()
    found = {}
    for line in (folder / "index.noun").read_text("utf-8").splitlines():
        fields = line.split()
        if not line.startswith(" ") and fields[2] == "1" and fields[0].isalpha():
            found[fields[0]] = by_offset[fields[-1]]
    return found


def pairs(wordnet: Path, gcide: Path) -> list[Pair]:
    by_noun = glosses(wordnet)
    text = gzip.decompress(gcide.read_bytes()).decode("utf-8", "replace")
    entries: dict[str, list[str]] = {}
    for entry in ENTRY.split(text):
        if match := HEAD.match(entry):
            entries.setdefault(match[1].lower(), []).append(match[2])
    found = []
    for noun, bodies in sorted(entries.items()):
        if noun not in by_noun or len(bodies) != 1 or ELSEWHERE.search(bodies[0]):
            continue
        first = ASIDE.sub(" ", bodies[0].split("\n\n")[0]).partition("; as,")[0]
        pair = Pair(noun, without(noun, by_noun[noun]), without(noun, first))
        if min(len(pair.gloss.split()), len(pair.webster.split())) >= 6:
            found.append(pair)
    return found


async def measure(
    name: str, embedder: Embedder | None, notes: list[Pair], asked: list[Pair]
) -> None:
    far = np.array([pair.far for pair in asked])
    with tempfile.TemporaryDirectory() as folder:
        memory = AgeMem(store=Path(folder) / "m.db", embedder=embedder or HashedNgramEmbedder())
        started = time.process_time()
        for start in range(0, len(notes), 500):
            part = notes[start : start + 500]
            await memory.apply([Add(pair.gloss, {"noun": pair.noun}) for pair in part])
        built = time.process_time() - started
        settings = RankingSettings(recency_half_life_days=None, use_graph=False)
        ways = {"text": replace(settings, use_vector=False)}
        if embedder is not None:
            ways = {"vector": replace(settings, use_text=False), "hybrid": settings}
        for way, ranking in ways.items():
            handle = memory._handle(_ranking=ranking)
            answers = await handle.retrieve_many([pair.webster for pair in asked], 10)
            places = np.array([
                next((n for n, hit in enumerate(a.data) if hit.metadata["noun"] == pair.noun), 99)
                for pair, a in zip(asked, answers, strict=True)
            ])  # fmt: skip
            cells = [
                f"{label}@1 {np.mean(chosen == 0):.3f}  {label}@10 {np.mean(chosen < 10):.3f}"
                for label, chosen in (("all", places), ("far", places[far]))
            ]
            sys.stdout.write(f"{name:7} {way:7} {'  '.join(cells)}  built in {built:.1f} s CPU\n")
            sys.stdout.flush()
        await memory.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("gcide", type=Path)
    parser.add_argument("--notes", type=int, default=2_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--show", type=int, default=0, help="pairs to print and look at")
    options = parser.parse_args()
    found = pairs(options.wordnet, options.gcide)
    draw = np.random.default_rng(0)
    notes = [found[i] for i in draw.permutation(len(found))[: options.notes]]
    asked = notes[: options.queries]
    far = sum(pair.far for pair in asked)
    sys.stdout.write(f"{len(found)} pairs; {len(notes)} notes, {len(asked)} asked, {far} far\n")
    for pair in asked[: options.show]:
        sys.stdout.write(f"  {pair.noun}: {pair.gloss} || {pair.webster}\n")
    for name, embedder in all_embedders().items():
        asyncio.run(measure(name, embedder, notes, asked))


if __name__ == "__main__":
    main()
