"""Near-duplicates against the definition, compared pair by pair."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.duplicates import jaccard_frac, repeats, shingles


def by_definition(texts: list[frozenset[int]], similarity_frac: float) -> list[bool]:
    kept: list[frozenset[int]] = []
    found = []
    for text in texts:
        near = any(len(text & each) / len(text | each) >= similarity_frac for each in kept)
        found.append(near)
        if not near:
            kept.append(text)
    return found


def test_the_similarity_of_two_texts() -> None:
    # a b c d e has abc bcd cde; a b c d f has abc bcd cdf: 2 of 4 in common.
    assert (
        jaccard_frac(shingles(["a", "b", "c", "d", "e"]), shingles(["a", "b", "c", "d", "f"]))
        == 0.5
    )
    assert len(shingles(["one", "two"])) == 1


def test_at_the_limit_counts_and_a_repeat_shields_nobody() -> None:
    # Sets of 10: sharing 9 is 9/11 = 0.818, sharing 8 is 8/12 = 0.667; 8 of 10 within 10 is 0.8.
    base = frozenset(range(10))
    one, two = frozenset(range(1, 11)), frozenset(range(2, 12))
    assert repeats([base, one, two], 0.8) == [False, True, False]
    assert repeats([base, frozenset(range(8))], 0.8) == [False, True]
    assert repeats([frozenset(range(8)), base], 0.8) == [False, True]


@given(
    st.lists(st.frozensets(st.integers(0, 12), min_size=1), max_size=25),
    st.sampled_from([0.1, 0.5, 2 / 3, 0.8, 0.9, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_nothing_is_missed_and_nothing_made_up(
    texts: list[frozenset[int]], similarity_frac: float
) -> None:
    assert repeats(texts, similarity_frac) == by_definition(texts, similarity_frac)


@pytest.mark.parametrize("words", [["\ud800"], [""], ["漢字", "и", "🙂"]])
def test_every_text_has_runs(words: list[str]) -> None:
    assert len(shingles(words)) == 1


def test_no_library_beside_the_standard_one_is_wanted() -> None:
    code = "import sys, training.data.duplicates as d; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
