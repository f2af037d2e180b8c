"""The ranking by hand: BM25, fusion, recency, outcome, diversity."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.memories import FOREVER, ROOT_BRANCH, Branch, OperationRecord, Version
from memory import retrieval
from memory.embedders import HashedNgramEmbedder
from memory.index import MemoryIndex
from memory.retrieval import (
    DAY_MICROS,
    Corpus,
    RankingSettings,
    exact_cosine,
    explain,
    rank,
    rank_by_text,
    rank_by_vector,
    tokens,
)


def corpus(
    texts: list[str],
    *,
    visible: list[int] | None = None,
    vectors: np.ndarray | None = None,
    ages_days: list[float] | None = None,
    outcomes: list[int] | None = None,
    edges: dict[int, list[int]] | None = None,
) -> Corpus:
    total = len(texts)
    rows = np.array(range(total) if visible is None else visible, np.int64)
    seen = np.zeros(total, np.bool_)
    seen[rows] = True
    bags = [tokens(text) for text in texts]
    lengths = np.array([len(bag) for bag in bags], np.int64)

    def postings(term: str) -> tuple[np.ndarray, np.ndarray]:
        found = [(row, bag.count(term)) for row, bag in enumerate(bags) if term in bag]
        return np.array([r for r, _ in found], np.int64), np.array([c for _, c in found], np.int64)

    return Corpus(
        as_of=1_000 * DAY_MICROS,
        rows=rows,
        total=total,
        matrix=np.zeros((total, 4), np.float32) if vectors is None else vectors,
        lengths=lengths,
        visible_from=np.array(
            [int((1_000 - age) * DAY_MICROS) for age in (ages_days or [0.0] * total)]
        ),
        outcome_known=np.array(outcomes or [0] * total),
        postings=postings,
        words=lambda row: (Counter(bags[row]), len(bags[row])),
        neighbours=lambda row: [r for r in (edges or {}).get(row, []) if seen[r]],
        average_length=float(lengths[rows].mean()),
    )


def test_tokens_keep_tickers_and_order_ids_whole_and_in_parts() -> None:
    assert tokens("BRK.B: order ORD-17!") == ["brk.b", "brk", "b", "order", "ord-17", "ord", "17"]


def test_bm25_counts_visible_rows_only() -> None:
    texts = ["halt", "halt halt calm", "calm", "halt noise", "halt noise"]
    # Rows 0 to 2 are visible: N = 3, df(halt) = 2, lengths 1, 3, 1, mean 5/3.
    # idf = ln(1 + (3 - 2 + 0.5) / (2 + 0.5)) = ln 1.6
    # row 0: tf 1, 1 + 1.2 * (0.25 + 0.75 * 1 / (5/3)) = 1 + 0.84 = 1.84 -> 2.2 / 1.84
    # row 1: tf 2, 2 + 1.2 * (0.25 + 0.75 * 3 / (5/3)) = 2 + 1.92 = 3.92 -> 4.4 / 3.92
    first, second = math.log(1.6) * 2.2 / 1.84, math.log(1.6) * 4.4 / 3.92
    assert first > second
    assert rank_by_text(corpus(texts, visible=[0, 1, 2]), "halt", 10) == [0, 1]
    assert rank_by_text(corpus(texts, visible=[1, 2]), "halt calm", 10) == [1, 2]
    assert rank_by_text(corpus(texts), "absent", 10) == []


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 2]]
    found = corpus(["x", "halt", "calm"], vectors=vectors)
    query = np.array([0.9, 0.1, 0.0, 0.0], np.float32)
    (hits,) = rank(found, [("halt", query)], 5, RankingSettings(recency_half_life_days=None))
    # Row 1 is second by vector and first by text: 1/62 + 1/61; row 0 first by vector: 1/61.
    assert [(hit.row, hit.vector, hit.text) for hit in hits] == [(1, 2, 1), (0, 1, None)]
    assert hits[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert hits[1].score == pytest.approx(1 / 61)
    assert explain(hits[0]) == "vector rank 2, text rank 1"


def test_a_keyword_only_hit_survives() -> None:
    vectors = np.tile(np.array([1, 0, 0, 0], np.float32), (30, 1))
    vectors[29] = [0, 1, 0, 0]
    texts = ["calm seas"] * 29 + ["ORD-17 rejected"]
    query = np.array([1, 0, 0, 0], np.float32)
    (hits,) = rank(corpus(texts, vectors=vectors), [("why ORD-17", query)], 3, RankingSettings())
    assert hits[0].row == 29 or 29 in [hit.row for hit in hits]
    assert next(hit for hit in hits if hit.row == 29).vector is None


@pytest.mark.parametrize("arrangement", ["random", "one_group", "all_alike", "mostly_below_zero"])
@pytest.mark.parametrize("size", [65, 2_064, 3_001])
def test_the_nearest_are_those_of_a_plain_sort(arrangement: str, size: int) -> None:
    """Also where the best all stand in one group of scores, and where thousands are alike."""
    generator = np.random.default_rng(size)
    cosines = generator.uniform(0.0, 0.9, size)
    if arrangement == "one_group":  # rows a sixteenth of the size apart are a group
        cosines[:: size // 16] = 0.95
        cosines[3 :: size // 16] = 0.94
    elif arrangement == "all_alike":
        cosines[:] = 0.5
    elif arrangement == "mostly_below_zero":
        cosines[10:] -= 1.0
    vectors = np.zeros((size, 4), np.float32)
    vectors[:, 0], vectors[:, 1] = cosines, np.sqrt(1.0 - cosines**2)
    query = np.array([1, 0, 0, 0], np.float32)
    exact = vectors[:, 0].astype(np.float64)
    ordered = sorted((row for row in range(size) if exact[row] > 0), key=lambda r: (-exact[r], r))
    found = corpus(["x"] * size, vectors=vectors)
    assert rank_by_vector(found, [query], 64) == [ordered[:64]]
    assert rank_by_vector(found, [query, -query], 64)[0] == ordered[:64]


def test_recency_and_outcome_weigh_the_fused_score() -> None:
    found = corpus(["halt", "halt"], ages_days=[180.0, 0.0], outcomes=[0, 1])
    settings_ = RankingSettings(recency_half_life_days=180.0, use_vector=False)
    (hits,) = rank(found, [("halt", np.zeros(4, np.float32))], 5, settings_)
    # Row 0 is the older: 1/61 * (0.5 + 0.5 * 0.5) = 0.75/61; row 1: 1/62 * 1.1.
    assert [hit.row for hit in hits] == [1, 0]
    assert hits[0].score == pytest.approx(1.1 / 62)
    assert hits[1].score == pytest.approx(0.75 / 61)


def test_graph_neighbours_of_the_best_hits_come_in() -> None:
    found = corpus(["halt", "calm", "noise"], visible=[0, 1], edges={0: [1, 2]})
    (hits,) = rank(found, [("halt", np.zeros(4, np.float32))], 5, RankingSettings())
    assert [(hit.row, hit.graph) for hit in hits] == [(0, None), (1, 1)]


def test_diversity_prefers_an_unlike_hit() -> None:
    vectors = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0.6, 0.8, 0, 0]], np.float32)
    found = corpus(["a", "b", "c"], vectors=vectors)
    query = np.array([1, 0, 0, 0], np.float32)
    plain = RankingSettings(recency_half_life_days=None)
    mixed = RankingSettings(recency_half_life_days=None, diversity_frac=0.5)
    assert [h.row for h in rank(found, [("q", query)], 2, plain)[0]] == [0, 1]
    assert [h.row for h in rank(found, [("q", query)], 2, mixed)[0]] == [0, 2]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_vector_ranking_is_exact_whatever_else_is_in_the_matrix(
    visible: int, pool: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(700, 48)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    query = matrix[3]
    rows = np.sort(generator.choice(700, visible, replace=False))
    found = corpus(["x"] * 700, visible=rows.tolist(), vectors=matrix)
    (ranked,) = rank_by_vector(found, [query], pool)
    exact = exact_cosine(matrix, rows, query)
    expected = [int(rows[i]) for i in np.lexsort((rows, -exact)) if exact[i] > 0][:pool]
    assert ranked == expected
    alone = corpus(["x"] * visible, vectors=np.ascontiguousarray(matrix[rows]))
    assert [int(rows[i]) for i in rank_by_vector(alone, [query], pool)[0]] == expected


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 6))
def test_skipping_common_words_gives_the_same_answer(seed: int, pool: int, words: int) -> None:
    generator = np.random.default_rng(seed)
    texts = [
        " ".join(f"w{word}" for word in np.minimum(generator.geometric(0.3, 6), 12))
        for _ in range(400)
    ]
    query = " ".join(f"w{word}" for word in generator.integers(1, 13, words))
    found = corpus(texts, visible=sorted(generator.choice(400, 350, replace=False).tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "PRUNE_FROM", 10**9)
        expected = rank_by_text(found, query, pool)
        patch.setattr(retrieval, "PRUNE_FROM", 0)
        assert rank_by_text(found, query, pool) == expected


async def test_hashed_vectors_are_unit_deterministic_and_near_for_like_spelling() -> None:
    embedder = HashedNgramEmbedder(256)
    a, b, c, empty = await embedder.embed(
        ["rate cut expected", "rate cuts expected", "oil spill in Alaska", "!!!"]
    )
    assert np.linalg.norm(a) == pytest.approx(1.0, abs=1e-6)
    assert a @ b > 0.7
    assert a @ c < 0.3
    assert not empty.any()
    assert MemoryIndex(embedder.model_id, 256).model_id == "hashed-ngrams-v1-256"


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"pool": 0}, {"diversity_frac": 2.0}, {"recency_half_life_days": 0.0}):
        with pytest.raises(ValueError, match=r"pool|half_life|diversity"):
            RankingSettings(**wrong)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_few_rows_are_ranked_as_many_are(seed: int) -> None:
    draw = np.random.default_rng(seed)
    words = ["halt", "calm", "bond", "cut-off", "brk.b", "raised"]
    texts = [" ".join(draw.choice(words, int(draw.integers(1, 7)))) for _ in range(40)]
    vectors = draw.normal(size=(40, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    visible = sorted(draw.choice(40, int(draw.integers(1, retrieval.FEW + 1)), replace=False))
    queries = [(" ".join(draw.choice(words, 3)), vectors[int(draw.integers(40))]) for _ in range(2)]
    ages = draw.uniform(0, 900, 40).tolist()
    found = corpus(texts, visible=visible, vectors=vectors, ages_days=ages, edges={0: [1, 2, 3]})
    plain = rank(found, queries, 5, RankingSettings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "FEW", 0)
        assert rank(found, queries, 5, RankingSettings()) == plain


def test_words_taken_in_at_once_are_those_taken_in_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two large parts of a log and a small one, against an index that was asked after every tenth text."""
    monkeypatch.setattr("memory.index._MANY", 200)
    draw = np.random.default_rng(5)
    words = [
        *(f"w{n}" for n in range(60)),
        "cut-off",
        "brk.b",
        "brk",
        "Raised",
        "a/b",
        "été-1",
    ]
    texts = [" ".join(draw.choice(words, int(draw.integers(1, 9)))) for _ in range(470)]
    main = {ROOT_BRANCH: Branch(ROOT_BRANCH, None, 0, 0)}

    def asked(*ends: int) -> MemoryIndex:
        index = MemoryIndex("m", 4)
        for end in ends:
            index.take(record(number, texts[number - 1]) for number in range(1, end + 1))
            index.corpus(ROOT_BRANCH, "default", main, FOREVER - 1)
        return index

    at_once, one_by_one = asked(210, 450, 470), asked(*range(40, 471, 10))
    assert (len(at_once._bulks), len(one_by_one._bulks)) == (2, 0)
    assert at_once._lengths.values.tolist() == one_by_one._lengths.values.tolist()
    for word in {*tokens(" ".join(words)), "absent"}:
        found, expected = at_once.postings(word), one_by_one.postings(word)
        assert [list(part) for part in found] == [list(part) for part in expected]
        assert (len(found[0]) > 0) is (word != "absent")


def record(number: int, text: str) -> OperationRecord:
    version = Version(
        f"m{number}@1", f"m{number}", 1, "default", text, {}, "user", 0, 0, None, sequence=number
    )
    return OperationRecord(
        number, ROOT_BRANCH, number, "add", "default", None, None, 0, opened=(version,)
    )
