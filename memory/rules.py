"""Choosers that follow a rule: what a trained policy must beat, and what can be chosen in its place.

    none      never does anything
    keep_all  adds everything
    recency   adds what is about a listed symbol, repeats left out; a cap keeps the last ones
    random    one of the seven actions, each equally likely
    heuristic the hand rule, to which evaluations may add a small tree over the features (`Tree`)

Refuses to know language models and training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from memory.policy import ACTIONS, FEATURES, NOTHING, Choice, MemoryPolicy, MemoryState

if TYPE_CHECKING:
    from memory.policy import FloatArray

Rule = Callable[[MemoryState], str]


def do_nothing(_: MemoryState) -> str:
    return NOTHING


def keep_all(_: MemoryState) -> str:
    return "add"


def recency(state: MemoryState) -> str:
    """Add what is about a listed symbol, unless the closest entry says the same."""
    return "add" if _listed(state) and not _agrees(state) else NOTHING


def hand_rule(state: MemoryState) -> str:
    """What a careful person does: keep listed, fresh facts once, replace what is superseded, delete what
    is withdrawn."""
    if not _listed(state) or _value(state, "stale_years") > 0.5:
        return NOTHING
    if state.event.mode == "withdrawal":
        return "delete" if state.closest is not None else NOTHING
    if state.event.figure is None and state.event.kind not in _KINDS_WITHOUT_FIGURE:
        return NOTHING
    if state.closest is None:
        return "add"
    return NOTHING if _agrees(state) else "update"


_KINDS_WITHOUT_FIGURE: Final = frozenset({"news", "outcome", "fill", "event", "trade"})
_PLACE: Final = {name: place for place, name in enumerate(FEATURES)}


def _value(state: MemoryState, name: str) -> float:
    return float(state.features[_PLACE[name]])


def _listed(state: MemoryState) -> bool:
    return state.event.symbol in state.situation.listed


def _agrees(state: MemoryState) -> bool:
    return _value(state, "agrees") > 0.5


@dataclass(frozen=True, slots=True)
class Tree:
    """A complete binary tree over the features: node i asks `feature[i] > threshold[i]`, yes to 2i + 2.

    Leaves are an action or `hand` (ask the hand rule).
    """

    features: tuple[str, ...]
    thresholds: tuple[float, ...]
    leaves: tuple[str, ...]

    def __call__(self, state: MemoryState) -> str:
        node = 0
        while node < len(self.features):
            above = _value(state, self.features[node]) > self.thresholds[node]
            node = 2 * node + (2 if above else 1)
        leaf = self.leaves[node - len(self.features)]
        return hand_rule(state) if leaf == "hand" else leaf


@dataclass(frozen=True, slots=True)
class RuleChooser:
    """A rule as a chooser; it knows no chances and ignores draws."""

    rule: Rule

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        return [Choice(self.rule(state)) for state in states]


@dataclass(frozen=True, slots=True)
class RandomChooser:
    """Every action equally likely. Without draws they come from the seed, the state's name and its event."""

    seed: int = 0

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        return [
            Choice(ACTIONS[self._index(state, None if draws is None else float(draws[place]))])
            for place, state in enumerate(states)
        ]

    def _index(self, state: MemoryState, draw: float | None) -> int:
        if draw is not None:
            return min(int(draw * len(ACTIONS)), len(ACTIONS) - 1)
        said = f"{self.seed}|{state.name}|{state.event.at.isoformat()}|{state.event.text}"
        digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % len(ACTIONS)


RULES: Final = ("none", "keep_all", "recency", "random", "heuristic")
"""Values of `memory.policy` that need no language model."""


def rule_policy(name: str, seed: int = 0) -> MemoryPolicy:
    """One of `RULES`. Raises: ConfigError for another name."""
    rules: dict[str, Rule] = {
        "none": do_nothing, "keep_all": keep_all, "recency": recency, "heuristic": hand_rule,
    }  # fmt: skip
    if name == "random":
        return MemoryPolicy(name, RandomChooser(seed))
    if name not in rules:
        raise ConfigError(
            f"memory.policy is {name!r}.", f"Choose one of {', '.join(RULES)}, or `trained`."
        )
    return MemoryPolicy(name, RuleChooser(rules[name]))
