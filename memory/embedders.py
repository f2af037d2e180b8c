"""Hashed n-grams: vectors without a model, a download or a dependency. The default of the tests.

Refuses to know stores and language models; those bring embedders of their own (`models/embedder.py`).
Known weakness: it knows spelling, not meaning; synonyms are strangers to it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from core.protocols import Embedder, Float32Array

_WORD = re.compile(r"\w+")


class HashedNgramEmbedder:
    """Words and the character trigrams inside them, hashed with signs into a fixed number of columns.

    The vectors of the latest few thousand texts are kept: what is searched for is often noted next.
    Source: feature hashing, Weinberger et al. 2009 (signed hashes keep inner products unbiased).
    """

    def __init__(self, dimension: int = 384) -> None:
        if dimension < 8:
            raise ValueError(f"dimension is {dimension}; use at least 8")
        self.dimension = dimension
        self.model_id = f"hashed-ngrams-v1-{dimension}"

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = _vector(text, self.dimension)
        return vectors


@lru_cache(maxsize=4_096)
def _vector(text: str, dimension: int) -> Float32Array:
    features = Counter(chain.from_iterable(map(_features, _WORD.findall(text.lower()))))
    vector = np.zeros(dimension, np.float64)
    if features:
        places = [_place(feature) for feature in features]
        columns = [column % dimension for column, _ in places]
        signs = np.array([sign for _, sign in places])
        weights = signs * np.sqrt(list(features.values()))
        vector += np.bincount(columns, weights, minlength=dimension)
        vector /= np.linalg.norm(vector[None], axis=1) or 1.0
    return vector.astype(np.float32)


@lru_cache(maxsize=20_000)
def _features(word: str) -> tuple[str, ...]:
    """The whole word counts twice, beside its pieces."""
    padded = f" {word} "
    return (padded, padded, *(padded[i : i + 3] for i in range(len(padded) - 2)))


@lru_cache(maxsize=200_000)
def _place(feature: str) -> tuple[int, float]:
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    value = int.from_bytes(digest, "little")
    return value >> 1, 1.0 if value & 1 else -1.0


async def unit_vectors(embedder: Embedder, texts: Sequence[str]) -> Float32Array:
    """An embedder's vectors, held to what cosine needs: the shape promised, finite, unit length or zero.

    Raises: ValueError for a wrong shape or a number that is not finite.
    """
    vectors: Float32Array = await embedder.embed(texts)
    if vectors.shape != (len(texts), embedder.dimension):
        raise ValueError(
            f"{embedder.model_id} gave vectors of shape {vectors.shape} for {len(texts)} texts"
        )
    if len(texts) == 1 and abs(float(np.vdot(vectors, vectors)) - 1.0) < 1e-5:
        return vectors
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise ValueError(f"{embedder.model_id} gave a vector that is not finite")
    if (np.abs(norms - 1.0)[norms > 0.0] > 1e-4).any():
        scaled: Float32Array = (vectors / np.where(norms > 0.0, norms, 1.0)).astype(np.float32)
        return scaled
    return vectors
