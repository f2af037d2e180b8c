"""The one ranking, pure: visible rows and a query in, ordered hits with their component ranks out.

Exact cosine, BM25 and graph neighbours are fused by reciprocal rank, then weighted by recency and by a
known outcome. Point in time: the caller passes only the rows visible at `as_of`; every count, length, rank
and tie here comes from those rows alone, so nothing that was planted later can move a hit.

Scores do not depend on the matrix's shape: a fast float32 scan only picks candidates (with a margin wider
than its rounding), and each candidate's cosine is then summed in float64, row by row.

Refuses to know stores, text of entries and clocks.
Source: BM25 as in Robertson and Zaragoza 2009; reciprocal rank fusion, Cormack et al. 2009; maximal
marginal relevance, Carbonell and Goldstein 1998.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]
    Int32Array = npt.NDArray[np.int32]
    FloatArray = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    Posting = tuple[npt.ArrayLike, npt.ArrayLike]

BM25_K1: Final = 1.2
BM25_B: Final = 0.75
SCAN_MARGIN: Final = (
    2e-5  # float32 rounding of a 4,096-term inner product of unit vectors is below 1e-5
)
FEW: Final = 32  # up to this many visible rows, plain loops beat array operations over all rows
_GROUP = 16  # scores to a group when a floor of the best is looked for
PRUNE_FROM: Final = 20_000  # postings from this length on are worth looking for a way round
DAY_MICROS: Final = 86_400_000_000

_TOKEN = re.compile(r"\w+(?:[-./]\w+)*")
_JOINING = re.compile(r"[-./]\w")
_PART = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
    """Lower-case words; a compound (BRK.B, ord-17) counts as itself and as its parts.

    Known weakness: scripts without spaces between words give one long token.
    """
    lower = text.lower()
    whole: list[str] = _TOKEN.findall(lower)
    if not _JOINING.search(lower):
        return whole
    found = []
    for token in whole:
        found.append(token)
        if not token.isalnum():
            parts = _PART.findall(token)
            if len(parts) > 1:
                found += parts
    return found


@lru_cache(maxsize=1_024)
def term_counts(text: str) -> tuple[Mapping[str, int], int]:
    """The terms of a text, how often each, and how many in all; kept for the texts of late."""
    words = tokens(text)
    return Counter(words), len(words)


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """How components are fused and weighted.

    `pool` is the depth to which each component ranks. Recency multiplies by at least
    `recency_floor_frac`; a known outcome multiplies by 1 + `outcome_weight_frac`. `diversity_frac` 0
    switches maximal marginal relevance off.
    """

    fusion_constant: int = 60
    pool: int = 64
    recency_half_life_days: float | None = 180.0
    recency_floor_frac: float = 0.5
    outcome_weight_frac: float = 0.1
    diversity_frac: float = 0.0
    graph_seeds: int = 5
    use_vector: bool = True
    use_text: bool = True
    use_graph: bool = True

    def __post_init__(self) -> None:
        if self.pool < 1 or self.graph_seeds < 0 or self.fusion_constant < 1:
            raise ValueError("pool and fusion_constant are at least 1, graph_seeds at least 0")
        if not 0.0 <= self.diversity_frac <= 1.0 or not 0.0 <= self.recency_floor_frac <= 1.0:
            raise ValueError("diversity_frac and recency_floor_frac lie between 0 and 1")
        if self.recency_half_life_days is not None and self.recency_half_life_days <= 0.0:
            raise ValueError("recency_half_life_days is positive, or None for no recency")


@dataclass(frozen=True, eq=False)
class Corpus:
    """What one search may see.

    Shapes: `rows` [V] the visible rows, ascending, of `total` R; `matrix` [R, D] unit vectors of all
    rows; `lengths`, `visible_from` and `outcome_known` [R]. `seen` [R] is true exactly at `rows`; `whole`
    says V == R. `postings(term)` gives all rows that have a term, ascending, and how often;
    `words(row)` the terms of a row, how often each, and how many in all; `neighbours(row)` the visible
    rows that a visible edge joins to a row. `lengths` and `postings` serve more than `FEW` visible rows.
    `scan` gives the product of the whole matrix with each of some vectors, [R] each, for a caller who
    remembers what was asked before.
    """

    as_of: int
    rows: IntArray
    total: int
    matrix: Float32Array
    lengths: IntArray
    visible_from: IntArray
    outcome_known: IntArray
    postings: Callable[[str], Posting]
    words: Callable[[int], tuple[Mapping[str, int], int]]
    neighbours: Callable[[int], Sequence[int]]
    average_length: float
    scan: Callable[[Sequence[Float32Array]], Sequence[Float32Array]] | None = None
    _terms: dict[str, VisibleTerm] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.rows) == self.total

    @cached_property
    def seen(self) -> BoolArray:
        seen = np.full(self.total, self.whole)
        seen[self.rows] = True
        return seen

    @cached_property
    def damping(self) -> FloatArray:
        """What BM25 adds to the number of times that a term stands in a row, for its length, [R]."""
        length = self.lengths / self.average_length
        result: FloatArray = BM25_K1 * (1.0 - BM25_B + BM25_B * length)
        return result

    def term(self, term: str) -> VisibleTerm:
        """Where a term stands in the visible rows; looked up once for all queries."""
        found = self._terms.get(term)
        if found is None:
            all_rows, all_counts = self.postings(term)
            # Copies: an array that grows must not be looked into.
            rows, counts = np.array(all_rows, np.int32), np.array(all_counts, np.int32)
            if not self.whole:
                kept = self.seen[rows]
                rows, counts = rows[kept], counts[kept]
            found = self._terms[term] = VisibleTerm(self, rows, counts)
        return found


@dataclass(frozen=True, eq=False)
class VisibleTerm:
    """The visible rows with a term, ascending, and how often it stands in each."""

    corpus: Corpus
    rows: Int32Array
    counts: Int32Array

    @cached_property
    def parts(self) -> FloatArray:
        """What the term gives to each of its rows, but for its weight."""
        return self.parts_of(self.rows, self.counts)

    def parts_of(self, rows: Int32Array, counts: Int32Array) -> FloatArray:
        """The same for some of them."""
        times = counts.astype(np.float64)
        result: FloatArray = times * (BM25_K1 + 1.0) / (times + self.corpus.damping[rows])
        return result


@dataclass(frozen=True, slots=True)
class Ranked:
    """One hit: a row, its score and its place in each component (from 1)."""

    row: int
    score: float
    vector: int | None
    text: int | None
    graph: int | None


def rank(
    corpus: Corpus,
    queries: Sequence[tuple[str, Float32Array]],
    top_k: int,
    settings: RankingSettings,
) -> list[list[Ranked]]:
    """Rank the visible rows for each query (its text and its unit vector), all in one scan."""
    if not len(corpus.rows) or not queries:
        return [[] for _ in queries]
    pool = max(settings.pool, top_k)
    by_vector: list[list[int]] = [[] for _ in queries]
    if settings.use_vector:
        by_vector = rank_by_vector(corpus, [vector for _, vector in queries], pool)
    hits = []
    for (text, _), near in zip(queries, by_vector, strict=True):
        worded = rank_by_text(corpus, text, pool) if settings.use_text else []
        linked = _rank_by_graph(corpus, near, worded, settings) if settings.use_graph else []
        diverse = settings.diversity_frac > 0.0
        most = pool if diverse else top_k
        fused = _fuse(corpus, near, worded, linked, settings=settings, most=most)
        if diverse:
            fused = _diversify(corpus, fused, top_k, settings.diversity_frac)
        hits.append(fused)
    return hits


def rank_by_vector(corpus: Corpus, vectors: Sequence[Float32Array], pool: int) -> list[list[int]]:
    """Rows by exact cosine, best first; rows at or below zero are no hits. Ties keep the older row first."""
    if not any(vector.any() for vector in vectors):
        return [[] for _ in vectors]
    if len(corpus.rows) <= min(pool, FEW):  # all are candidates
        return [
            _best(corpus.rows, exact_cosine(corpus.matrix, corpus.rows, vector), pool)
            for vector in vectors
        ]
    ranked = []
    for approximate, vector in zip(_scanned(corpus, vectors), vectors, strict=True):
        candidates = corpus.rows[_candidates(approximate, pool)]
        exact = exact_cosine(corpus.matrix, candidates, vector)
        ranked.append(_best(candidates, exact, pool))
    return ranked


def _candidates(scores: Float32Array, pool: int) -> IntArray:
    """Places of all scores that may belong to the `pool` best above zero, ascending.

    The `pool`-th best maximum of groups of scores is a floor that at least `pool` scores reach, and is
    found faster than the `pool`-th best score. Where it lets many pass, these are looked at more closely.
    """
    floor, width = 0.0, len(scores) // _GROUP
    if width > 2 * pool:
        floor = _nth_best(scores[: _GROUP * width].reshape(_GROUP, width).max(axis=0), pool)
    elif len(scores) > pool:
        floor = _nth_best(scores, pool)
    found = np.flatnonzero(scores >= max(floor, 0.0) - SCAN_MARGIN)
    if len(found) > 2 * pool:
        among = scores[found]
        found = found[among >= max(_nth_best(among, pool), 0.0) - SCAN_MARGIN]
    return found


def _nth_best(scores: Float32Array, n: int) -> float:
    place = len(scores) - n
    return float(np.partition(scores, place)[place])


def _scanned(corpus: Corpus, vectors: Sequence[Float32Array]) -> Sequence[Float32Array]:
    """The float32 cosines of the visible rows for each vector, [V] each: to pick candidates by."""
    if 2 * len(corpus.rows) < corpus.total:
        return products(corpus.matrix[corpus.rows], vectors)
    scan = corpus.scan or (lambda asked: products(corpus.matrix[: corpus.total], asked))
    found = scan(vectors)
    return found if corpus.whole else [each[corpus.rows] for each in found]


def products(matrix: Float32Array, vectors: Sequence[Float32Array]) -> Sequence[Float32Array]:
    """A matrix [R, D] times each vector, [R] each, in one pass over it."""
    if len(vectors) == 1:
        return [matrix @ vectors[0]]
    return list(np.ascontiguousarray((matrix @ np.stack(vectors, axis=1)).T))


def exact_cosine(matrix: Float32Array, rows: IntArray, vector: Float32Array) -> FloatArray:
    """Inner products in float64, each row summed by itself: independent of what else is in the matrix."""
    products: FloatArray = np.multiply(matrix[rows], vector, dtype=np.float64)
    summed: FloatArray = products.sum(axis=1)
    return summed


def _best(rows: IntArray, scores: FloatArray, pool: int) -> list[int]:
    if len(rows) <= FEW:
        paired = zip(scores.tolist(), rows.tolist(), strict=True)
        ordered = sorted((-score, row) for score, row in paired if score > 0.0)
        return [row for _, row in ordered[:pool]]
    positive = scores > 0.0
    rows, scores = rows[positive], scores[positive]
    order = np.lexsort((rows, -scores))[:pool]
    best: list[int] = rows[order].tolist()
    return best


def rank_by_text(corpus: Corpus, text: str, pool: int) -> list[int]:
    """Rows by BM25 whose document frequencies and lengths count the visible rows alone.

    Rare terms come first. Once the `pool` best so far are beyond what the other terms can add, only rows
    that can still get there are scored further: the answer is the same, common words cost little.
    """
    if len(corpus.rows) <= FEW:
        return _rank_few_by_text(corpus, text, pool)
    terms = _weighted_terms(corpus, text)
    if not terms:
        return []
    scores = np.zeros(corpus.total)
    candidates: IntArray | None = None
    left = sum(weight for weight, _ in terms) * (BM25_K1 + 1.0)
    for weight, term in terms:
        rows = term.rows
        if len(rows) > PRUNE_FROM:
            candidates = _still_able(scores, candidates, left, pool)
        left -= weight * (BM25_K1 + 1.0)
        if candidates is None:
            scores[rows] += weight * term.parts
        else:
            wanted = candidates.astype(rows.dtype)
            places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
            places = places[rows[places] == wanted]
            rows = rows[places]
            scores[rows] += weight * term.parts_of(rows, term.counts[places])
    found = np.flatnonzero(scores > 0.0) if candidates is None else candidates
    best = scores[found]
    if len(found) > pool:
        kept = best >= np.partition(best, len(best) - pool)[len(best) - pool]
        found, best = found[kept], best[kept]
    return _best(found, best, pool)


def _rank_few_by_text(corpus: Corpus, text: str, pool: int) -> list[int]:
    """The same sums in the same order, touching the visible rows alone."""
    bags = []
    for row in corpus.rows.tolist():
        bag, size = corpus.words(row)
        length = size / corpus.average_length
        bags.append((row, bag, BM25_K1 * (1.0 - BM25_B + BM25_B * length)))
    terms = []
    for term, repeats in term_counts(text)[0].items():
        found = [(row, bag[term], damping) for row, bag, damping in bags if term in bag]
        if found:
            terms.append((-_term_weight(repeats, len(found), len(bags)), term, found))
    terms.sort(key=lambda item: item[:2])
    scores: dict[int, float] = {}
    for weight, _, found in terms:
        for row, times, damping in found:
            part = -weight * (times * (BM25_K1 + 1.0) / (times + damping))
            scores[row] = scores.get(row, 0.0) + part
    ordered = sorted((-score, row) for row, score in scores.items() if score > 0.0)
    return [row for _, row in ordered[:pool]]


def _term_weight(repeats: int, frequency: int, documents: int) -> float:
    return repeats * math.log(1.0 + (documents - frequency + 0.5) / (frequency + 0.5))


def _weighted_terms(corpus: Corpus, text: str) -> list[tuple[float, VisibleTerm]]:
    """The query's terms that visible rows have, with their weight, the weightiest first."""
    documents = len(corpus.rows)
    found = []
    for term, repeats in term_counts(text)[0].items():
        visible = corpus.term(term)
        frequency = len(visible.rows)
        if frequency:
            found.append((-_term_weight(repeats, frequency, documents), term, visible))
    found.sort(key=lambda item: item[:2])
    return [(-weight, visible) for weight, _, visible in found]


def _still_able(
    scores: FloatArray, candidates: IntArray | None, left: float, pool: int
) -> IntArray | None:
    """Rows that can still be among the `pool` best when at most `left` is added; None for all of them."""
    found = np.flatnonzero(scores > 0.0) if candidates is None else candidates
    if len(found) <= pool:
        return candidates
    reached = scores[found]
    threshold = float(np.partition(reached, len(reached) - pool)[len(reached) - pool])
    if candidates is None and threshold <= left + 1e-9:
        return None
    able: IntArray = found[reached + left + 1e-9 >= threshold]
    return able


def _rank_by_graph(
    corpus: Corpus, near: Sequence[int], worded: Sequence[int], settings: RankingSettings
) -> list[int]:
    """Neighbours of the best hits, by the summed reciprocal ranks of the hits they are joined to."""
    seeds = _reciprocal(settings.fusion_constant, near, worded)
    best = sorted(seeds, key=lambda row: (-seeds[row], row))[: settings.graph_seeds]
    weights: dict[int, float] = {}
    for seed in best:
        for row in corpus.neighbours(seed):
            weights[row] = weights.get(row, 0.0) + seeds[seed]
    return sorted(weights, key=lambda row: (-weights[row], row))[: settings.pool]


def _reciprocal(constant: int, *rankings: Sequence[int]) -> dict[int, float]:
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, row in enumerate(ranking, 1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (constant + place)
    return scores


def _fuse(
    corpus: Corpus,
    near: Sequence[int],
    worded: Sequence[int],
    linked: Sequence[int],
    *,
    settings: RankingSettings,
    most: int,
) -> list[Ranked]:
    scores = _reciprocal(settings.fusion_constant, near, worded, linked)
    vector = {row: place for place, row in enumerate(near, 1)}
    text = {row: place for place, row in enumerate(worded, 1)}
    graph = {row: place for place, row in enumerate(linked, 1)}
    rows = list(scores)
    weights = _weights(corpus, rows, settings)
    weighted = [
        (-score * weight, row) for (row, score), weight in zip(scores.items(), weights, strict=True)
    ]
    weighted.sort()
    return [
        Ranked(row, -score, vector.get(row), text.get(row), graph.get(row))
        for score, row in weighted[:most]
    ]


def _weights(corpus: Corpus, rows: list[int], settings: RankingSettings) -> list[float]:
    """What recency and a known outcome multiply each row's score by."""
    half_life_days, floor = settings.recency_half_life_days, settings.recency_floor_frac
    weights = [1.0] * len(rows)
    if half_life_days is not None:
        shown: list[int] = corpus.visible_from[rows].tolist()
        as_of, rest = corpus.as_of, 1.0 - floor
        weights = [
            floor + rest * 0.5 ** ((as_of - since) / DAY_MICROS / half_life_days) for since in shown
        ]
    known: list[int] = corpus.outcome_known[rows].tolist()
    if any(known):
        more = 1.0 + settings.outcome_weight_frac
        weights = [
            weight * more if outcome else weight
            for weight, outcome in zip(weights, known, strict=True)
        ]
    return weights


def _diversify(
    corpus: Corpus, hits: Sequence[Ranked], top_k: int, diversity_frac: float
) -> list[Ranked]:
    """Take hits one by one, each penalised by its likeness to those taken already."""
    if not hits:
        return []
    rows = np.array([hit.row for hit in hits])
    likeness = np.stack([exact_cosine(corpus.matrix, rows, corpus.matrix[row]) for row in rows])
    relevance = np.array([hit.score for hit in hits]) / hits[0].score
    taken: list[int] = []
    left = list(range(len(hits)))
    while left and len(taken) < top_k:
        worth = [
            (1.0 - diversity_frac) * relevance[i]
            - diversity_frac * (likeness[i, taken].max() if taken else 0.0)
            for i in left
        ]
        taken.append(left.pop(int(np.argmax(worth))))
    return [hits[i] for i in taken]


def explain(hit: Ranked) -> str:
    """Why a hit is there, in words."""
    parts = [
        f"{name} rank {place}"
        for name, place in (("vector", hit.vector), ("text", hit.text), ("graph", hit.graph))
        if place is not None
    ]
    return ", ".join(parts)
