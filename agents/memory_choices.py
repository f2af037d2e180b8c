"""What may become a memory in a run, and simple rules for choosing what does.

Owns the form of an occurrence and the rules by name. An occurrence has a *slot*: its symbol, kind and topic.
At most one open entry of a slot is known to a rule; UPDATE replaces it, and tallies of outcomes add up.

    none      keeps nothing
    keep_all  adds everything
    recency   adds everything but repeats of the open entry's text; a cap keeps the last ones
    random    adds, updates or leaves, each equally likely, from the seed and the occurrence
    heuristic updates the open entry of the slot, adds where there is none

Refuses to know stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from core.errors import ConfigError

Action = Literal["add", "update", "none"]
Slot = tuple[str, str, str]

RULES: Final = ("none", "keep_all", "recency", "random", "heuristic")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened in a run. `more` is kept as metadata; its `counts` are a tally by bucket.

    Point in time: known at `at`. `outcome_at` is set when it speaks of an outcome.
    """

    text: str
    kind: str
    symbol: str
    source: str
    at: datetime
    topic: str = ""
    outcome_at: datetime | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slot(self) -> Slot:
        return self.symbol, self.kind, self.topic

    @property
    def metadata(self) -> dict[str, Any]:
        return {"symbol": self.symbol, "kind": self.kind, "topic": self.topic, **self.more}


@dataclass(frozen=True, slots=True)
class OpenEntry:
    """The open entry of a slot as the run knows it."""

    id: str
    version: int
    text: str
    metadata: Mapping[str, Any]


class Chooser(Protocol):
    """Picks an action for each occurrence; `known` is the open entry of its slot, if there is one."""

    @property
    def name(self) -> str: ...

    def choose(
        self, occurrences: Sequence[Occurrence], known: Sequence[OpenEntry | None]
    ) -> list[Action]: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `RULES`."""

    name: str
    seed: int = 0

    def choose(
        self, occurrences: Sequence[Occurrence], known: Sequence[OpenEntry | None]
    ) -> list[Action]:
        return [self._one(*pair) for pair in zip(occurrences, known, strict=True)]

    def _one(self, occurrence: Occurrence, known: OpenEntry | None) -> Action:
        match self.name:
            case "keep_all":
                return "add"
            case "recency":
                return "none" if known is not None and known.text == occurrence.text else "add"
            case "heuristic":
                return "add" if known is None else "update"
            case "random":
                said = (
                    f"{self.seed}|{occurrence.at.isoformat()}|{occurrence.slot}|{occurrence.text}"
                )
                digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8)
                drawn = int.from_bytes(digest.digest(), "little") % 3
                actions: tuple[Action, ...] = ("add", "update" if known else "none", "none")
                return actions[drawn]
        return "none"


def rule_of(name: str, seed: int) -> Rule:
    """Raises: ConfigError for a policy that a run cannot follow."""
    if name not in RULES:
        raise ConfigError(f"memory.policy is {name!r}.", f"Choose one of {', '.join(RULES)}.")
    return Rule(name, seed)
