"""The one reader that answers for every policy, from what was retrieved and nothing else.

It takes the live, retrieved entries that fit the question, the best source's tier first, the newest within a
tier; it never guesses: without a fitting entry it says that nothing is in force. What follows a topic is
read from all fitting tallies together. Refuses to know the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from memory.policy import lean
from training.stage2_agemem.episodes import Question

SOURCE_TIERS: Final[Mapping[str, int]] = {
    "filing": 0,
    "wire": 1,
    "analyst": 2,
    "broker": 3,
    "forum": 4,
}
"""Which sources are read first: the order that tuning finds on training episodes, where filing and wire are
as good as each other (`baselines.json`); a filing comes first, so that nothing depends on a tie."""


LEAN_NEEDED: Final = 1.5
"""Deviations that a tally must lean before it says a direction; no single outcome does."""


class Readable(Protocol):
    """A hit or an entry, as far as the reader looks."""

    @property
    def source(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` None says that nothing is in force; `place` is the hit that it was read from. `fits` is False
    where what was read answers another question: then it is no answer, right or wrong."""

    value: float | int | None
    place: int | None = None
    fits: bool = True


def answer(
    question: Question,
    entries: Sequence[Readable],
    order: Sequence[float],
    tiers: Mapping[str, int] = SOURCE_TIERS,
) -> Answer:
    """Read the answer. `order` [N] says how new each entry is (a larger number is newer)."""
    fitting = [place for place, entry in enumerate(entries) if question.fact.is_of(entry.metadata)]
    if not fitting:
        return Answer(None)
    if question.type == "outlook":
        return _outlook(entries, fitting)
    lowest = max(tiers.values()) + 1
    best = min(fitting, key=lambda place: (tiers.get(entries[place].source, lowest), -order[place]))
    said = entries[best].metadata
    if said.get("mode") == "withdrawal":
        return Answer(None, best)
    match question.type:
        case "direction" | "decision":
            return Answer(said.get("direction"), best)
        case "count":
            return Answer(said.get("count"), best)
        case "which":
            figure = said.get("figure")
            if figure not in question.options:
                return Answer(None, best, fits=False)
            return Answer(figure, best)
    return Answer(said.get("figure"), best)


def _outlook(entries: Sequence[Readable], fitting: Sequence[int]) -> Answer:
    """Which way the tallies of a topic lean, taken together; that it does not, while they say too little.
    The best hit stands for all of them."""
    tallies = [entries[place].metadata.get("counts") for place in fitting]
    counts = [sum(each) for each in zip(*[tally for tally in tallies if tally], strict=True)]
    leaning = lean(counts)
    if abs(leaning) < LEAN_NEEDED:
        return Answer(None, fitting[0])
    return Answer(1 if leaning > 0.0 else -1, fitting[0])


def is_right(question: Question, given: Answer) -> bool:
    """Whether the answer is the true one. A withdrawn fact's true answer is that nothing is in force: nothing
    was kept, or its withdrawal."""
    return given.fits and given.value == question.answer
