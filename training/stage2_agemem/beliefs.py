"""What can be known of the facts, by somebody who knows the world's constants but not the truth.

Owns the exact chances of each fact's state after each note, and what a memory is worth by them: the expected
share of right answers, were the questions asked now. The reference `attainable` acts on it. Refuses to know
stores.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from training.stage2_agemem.episodes import Claim, Episode, Fact, Note
from training.stage2_agemem.reader import SOURCE_TIERS
from training.stage2_agemem.world import (
    QUESTION_SHARES,
    REPEAT_SHARE,
    WITHDRAWN_SHARE,
    asked_share,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class FactBelief:
    """Chances of one fact's state: each claim in force, never in force, withdrawn. They add up to 1."""

    in_force: dict[Claim, float] = field(default_factory=dict)
    never: float = 1.0
    withdrawn: float = 0.0

    def hear(self, note: Note) -> None:
        """Bayes' rule for one note of this fact (stale notes and chatter say nothing)."""
        if note.role != "fact":
            return
        chance, claim = note.chance, note.claim
        if note.mode == "withdrawal":
            gone = chance * (1.0 - self.withdrawn)
            self.in_force = {each: (1.0 - chance) * p for each, p in self.in_force.items()}
            self.never *= 1.0 - chance
            self.withdrawn += gone
            return
        assert claim is not None
        if note.mode == "report":
            self._hear_report(claim, chance)
            return
        self.in_force = {each: (1.0 - chance) * p for each, p in self.in_force.items()}
        self.never *= 1.0 - chance
        self.withdrawn *= 1.0 - chance
        self.in_force[claim] = self.in_force.get(claim, 0.0) + chance

    def _hear_report(self, claim: Claim, chance: float) -> None:
        known = claim in self.in_force
        claims = len(self.in_force)

        def likelihood(state: Claim | None) -> float:
            """Chance of this report in a state; an invented figure has the same density in every state."""
            true = chance if state == claim and state is not None else 0.0
            false = 1.0 if state is None else 1.0 - chance
            wrong = claims - (state is not None)
            if known:
                return true + (0.0 if state == claim else false * REPEAT_SHARE / wrong)
            return false * ((1.0 - REPEAT_SHARE) if wrong else 1.0)

        weights = {each: p * likelihood(each) for each, p in self.in_force.items()}
        outside = likelihood(None)
        total = sum(weights.values()) + (self.never + self.withdrawn) * outside
        if total <= 0.0:
            return
        self.in_force = {each: p / total for each, p in weights.items()}
        self.never *= outside / total
        self.withdrawn *= outside / total
        self.in_force.setdefault(claim, 0.0)

    @property
    def force(self) -> float:
        return sum(self.in_force.values())


@lru_cache(maxsize=16)
def _patterns(facts: int) -> FloatArray:
    """All patterns of so many facts, [2^n, n] of 0 and 1."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=facts)))


def asked_weights(facts: Sequence[Fact], chances: FloatArray, regime: str) -> FloatArray:
    """For each fact, the chance that a question is about it *and* it is in the pool, [n].

    The pool has each fact independently with its chance; a question takes a kind by its share among the
    kinds in the pool, then a fact of that kind.
    """
    patterns_PN = _patterns(len(facts))
    kinds = sorted({fact.kind for fact in facts})
    member_NK = np.array([[fact.kind == kind for kind in kinds] for fact in facts], float)
    share_K = np.array([asked_share(regime, kind) for kind in kinds])  # type: ignore[arg-type]
    count_PK = patterns_PN @ member_NK
    total_P = (count_PK > 0) @ share_K
    each_PK = share_K / np.maximum(count_PK, 1.0) / np.maximum(total_P, 1e-12)[:, None]
    chance_P = np.where(patterns_PN > 0, chances, 1.0 - chances).prod(axis=1)
    weights: FloatArray = (chance_P[:, None] * patterns_PN * (each_PK @ member_NK.T)).sum(axis=0)
    return weights


def share_right(kept: Claim, truth: Claim) -> float:
    """The share of questions that an entry answers rightly when another claim may be the true one."""
    if kept.figure == truth.figure:
        return 1.0
    return QUESTION_SHARES["direction"] * (kept.direction == truth.direction) + QUESTION_SHARES[
        "count"
    ] * (kept.count == truth.count)


class Beliefs:
    """Every listed fact's chances in one episode, and the worth of a memory by them."""

    def __init__(self, episode: Episode, tiers: Mapping[str, int] = SOURCE_TIERS) -> None:
        self._regime = episode.situation.regime
        self._facts = tuple(episode.truth)
        self._tiers = tiers
        self.of = {fact: FactBelief() for fact in self._facts}
        self._weights: tuple[FloatArray, FloatArray] | None = None

    def hear(self, note: Note) -> None:
        if note.fact in self.of:
            self.of[note.fact].hear(note)
            self._weights = None

    def value(self, notes: Sequence[Note]) -> float:
        """Expected share of right answers with these notes kept, oldest first."""
        forced_N, ended_N = self._asked()
        read: dict[Fact, tuple[tuple[int, int], Note]] = {}
        for place, note in enumerate(notes):
            key = (self._tiers.get(note.event.source, 9), -place)
            if note.event.kind == note.fact.kind and (
                note.fact not in read or key < read[note.fact][0]
            ):
                read[note.fact] = (key, note)
        worth = 0.0
        for place, fact in enumerate(self._facts):
            belief = self.of[fact]
            claim = read[fact][1].claim if fact in read else None
            if claim is None:
                worth += float(ended_N[place])
            elif belief.force > 0.0:
                right = sum(
                    chance * share_right(claim, truth) for truth, chance in belief.in_force.items()
                )
                worth += float(forced_N[place]) * right / belief.force
        return worth

    def _asked(self) -> tuple[FloatArray, FloatArray]:
        if self._weights is None:
            beliefs = [self.of[fact] for fact in self._facts]
            force = np.array([belief.force for belief in beliefs])
            ended = np.array([belief.withdrawn for belief in beliefs])
            any_ended = 1.0 - float(np.prod(1.0 - ended))
            no_force = float(np.prod(1.0 - force))
            forced = asked_weights(self._facts, force, self._regime)
            gone = asked_weights(self._facts, ended, self._regime)
            # The share of withdrawn questions is settled apart from which facts are in force.
            self._weights = (
                forced * (1.0 - WITHDRAWN_SHARE * any_ended),
                gone * (WITHDRAWN_SHARE + (1.0 - WITHDRAWN_SHARE) * no_force),
            )
        return self._weights
