"""Near-duplicates: texts that share most of their runs of words with an earlier one.

Owns the measure (Jaccard similarity of the sets of three-word runs) and an exact search: no sketch, no
seed, nothing missed. Refuses to know documents and why any is dropped.

Two sets of similarity t share at least one of the first `n - ceil(t n) + 1` members of each, whatever the
order, so only texts that meet there are compared; in the order of rarity few do.

Source: Chaudhuri, Ganti and Kaushik 2006 (prefix filter); Bayardo, Ma and Srikant 2007 (order by rarity).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

SHINGLE_WORDS = 3


def shingles(words: Sequence[str]) -> frozenset[int]:
    """The runs of three words, each as 64 bits of its hash; a shorter text is one run."""
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    runs = {" ".join(words[at : at + SHINGLE_WORDS]) for at in range(last)}
    return frozenset(
        int.from_bytes(hashlib.blake2b(run.encode(errors="replace"), digest_size=8).digest())
        for run in runs
    )


def jaccard_frac(first: frozenset[int], second: frozenset[int]) -> float:
    """The members that both have, as a share of those that either has."""
    return len(first & second) / len(first | second)


def repeats(texts: Sequence[frozenset[int]], similarity_frac: float) -> list[bool]:
    """For each text, in order, whether an earlier one that is none itself is at least so similar."""
    counts = Counter(member for text in texts for member in text)
    kept_by_member: dict[int, list[int]] = defaultdict(list)
    least = similarity_frac - 1e-9  # a product rounded up would cut the prefix short
    found = []
    for at, text in enumerate(texts):
        rarest = sorted(text, key=lambda member: (counts[member], member))
        prefix = rarest[: len(text) - math.ceil(least * len(text)) + 1]
        met = {each for member in prefix for each in kept_by_member.get(member, ())}
        near = any(
            len(texts[each]) >= least * len(text)
            and len(text) >= least * len(texts[each])
            and jaccard_frac(text, texts[each]) >= similarity_frac
            for each in met
        )
        found.append(near)
        if not near:
            for member in prefix:
                if counts[member] > 1:
                    kept_by_member[member].append(at)
    return found
