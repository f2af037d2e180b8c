from __future__ import annotations

import numpy as np
import pytest

from training.nano.kneser_ney import KneserNeyTrigram


def test_chances_add_up_to_one_after_seen_and_unseen_contexts() -> None:
    tokens = np.random.default_rng(0).integers(0, 20, 500)
    trigram = KneserNeyTrigram(tokens, 20)
    for first, second in ((tokens[0], tokens[1]), (3, 4), (19, 0)):
        total = sum(trigram.chances(np.array([first, second, third]))[0] for third in range(20))
        assert total == pytest.approx(1.0)


def test_a_chance_by_hand() -> None:
    # 0 1 2 comes twice, 0 1 3 once; few counts, so the discounts are 0.5 1 1.5.
    trigram = KneserNeyTrigram(np.array([0, 1, 2, 0, 1, 2, 0, 1, 3]), 4)
    # Trigrams 012 120 201 (twice each) 013 (once); the context 01 has 3, of which 1 + 0.5 is taken.
    # Pairs continue 12 20 01 13: each follows one other token (count 1); the context 1 has 2, of which
    # 0.5 + 0.5 is taken. Last tokens 0 1 2 3 follow one pair each: 4 in all, 2 taken, uniform 1/4.
    one = (1 - 0.5) / 4 + 2 / 4 * 0.25
    two = (1 - 0.5) / 2 + 1 / 2 * one
    three = (1 - 0.5) / 3 + 1.5 / 3 * two
    assert trigram.chances(np.array([0, 1, 3]))[0] == pytest.approx(three)


def test_text_of_its_own_kind_is_less_surprising_than_noise() -> None:
    rng = np.random.default_rng(1)
    pattern = np.tile([1, 5, 2, 7, 3], 200)
    trigram = KneserNeyTrigram(pattern, 8)
    assert trigram.perplexity(pattern[:50]) < 1.1
    assert trigram.perplexity(rng.integers(0, 8, 50)) > 4.0
