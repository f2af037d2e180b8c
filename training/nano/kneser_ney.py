"""An interpolated, modified Kneser-Ney trigram over token ids: the baseline that a language model must beat.

Refuses to know text. Counts are sorted arrays of packed keys, so that millions of tokens take seconds.
Source: Chen and Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling",
section 3: three discounts per order, continuation counts below the highest order, uniform at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """One order's counts. Shapes: `keys` and `counts` [K], sorted by key; `contexts` [C], sorted, with
    `totals` and `reserved` (the share of each context's mass that the lower order gets) [C]."""

    keys: IntArray
    counts: IntArray
    discounts: FloatArray
    contexts: IntArray
    totals: FloatArray
    reserved: FloatArray

    @classmethod
    def of(cls, keys: IntArray, counts: IntArray, bits: int) -> _Order:
        discounts = _discounts(counts)
        contexts, place = np.unique(keys >> bits, return_inverse=True)
        totals = np.bincount(place, weights=counts)
        taken = np.bincount(place, weights=discounts[np.minimum(counts, 3)])
        return cls(keys, counts, discounts, contexts, totals.astype(np.float64), taken / totals)

    def interpolate(self, keys: IntArray, lower: FloatArray, bits: int) -> FloatArray:
        """Chances [S] of the keys' last tokens, with `lower` [S] from the order below."""
        place = np.minimum(np.searchsorted(self.contexts, keys >> bits), len(self.contexts) - 1)
        seen = self.contexts[place] == keys >> bits
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        counts = np.where(self.keys[at] == keys, self.counts[at], 0)
        kept = np.maximum(counts - self.discounts[np.minimum(counts, 3)], 0.0)
        mixed = kept / self.totals[place] + self.reserved[place] * lower
        result: FloatArray = np.where(seen, mixed, lower)
        return result


class KneserNeyTrigram:
    """Trained on one stream of tokens [L]; ids lie below `vocabulary`."""

    def __init__(self, tokens: IntArray, vocabulary: int) -> None:
        self._bits = max(1, (vocabulary - 1).bit_length())
        self._vocabulary = vocabulary
        stream = tokens.astype(np.int64)
        threes, counts = np.unique(
            self._pack(stream[:-2], stream[1:-1], stream[2:]), return_counts=True
        )
        self._three = _Order.of(threes, counts, self._bits)
        twos, follows = np.unique(threes & ((1 << 2 * self._bits) - 1), return_counts=True)
        self._two = _Order.of(twos, follows, self._bits)
        ones, spread = np.unique(twos & ((1 << self._bits) - 1), return_counts=True)
        self._one = _Order.of(ones, spread, self._bits)

    def chances(self, tokens: IntArray) -> FloatArray:
        """Chance of each token from the third on, [L - 2], of a stream [L]."""
        stream = tokens.astype(np.int64)
        first, second, third = stream[:-2], stream[1:-1], stream[2:]
        uniform = np.full(len(third), 1.0 / self._vocabulary)
        one = self._one.interpolate(third, uniform, self._bits)
        two = self._two.interpolate(self._pack(second, third), one, self._bits)
        return self._three.interpolate(self._pack(first, second, third), two, self._bits)

    def perplexity(self, tokens: IntArray) -> float:
        return float(np.exp(-np.log(self.chances(tokens)).mean()))

    def _pack(self, *columns: IntArray) -> IntArray:
        packed = columns[0]
        for column in columns[1:]:
            packed = (packed << self._bits) | column
        return packed


def _discounts(counts: IntArray) -> FloatArray:
    """What is taken off a count of 0, 1, 2, and 3 or more (Chen and Goodman, equation 26).

    Where too few counts are that small to estimate it, a half, one, and one and a half.
    """
    ones, twos, threes, fours = (float(np.sum(counts == n)) for n in (1, 2, 3, 4))
    if min(ones, twos, threes) == 0.0:
        return np.array([0.0, 0.5, 1.0, 1.5])
    base = ones / (ones + 2.0 * twos)
    raw = (
        1.0 - 2.0 * base * twos / ones,
        2.0 - 3.0 * base * threes / twos,
        3.0 - 4.0 * base * fours / threes,
    )
    return np.array(
        [0.0, *(min(max(d, 0.05), top) for d, top in zip(raw, (1.0, 2.0, 3.0), strict=True))]
    )
