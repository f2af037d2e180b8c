"""The world of the desk notes: who speaks of what, how reliably, and what is asked for later.

Owns the constants that a policy must learn from reward: no feature, no text and no baseline has them. They
are the same in training, validation and test; names of companies and templates of notes are apart. Refuses
to know episodes, memories and policies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from memory.policy import KINDS, Mode, Regime

SplitName = Literal["train", "validation", "test", "data"]
Wording = Literal["confirmed", "plain", "rumoured"]

WORDINGS: Final[tuple[Wording, ...]] = ("confirmed", "plain", "rumoured")

# What must be learnt from reward.

RELIABILITY: Final[Mapping[str, float]] = {
    "filing": 0.9,
    "wire": 0.75,
    "analyst": 0.5,
    "broker": 0.3,
    "forum": 0.15,
}
"""Chance that a plainly worded note of this source is true."""

WORDING_LOG_ODDS: Final[Mapping[Wording, float]] = {
    "confirmed": 1.5,
    "plain": 0.0,
    "rumoured": -2.0,
}
"""What a note's words add to the log-odds of its truth. They stand in its text and nowhere else."""

_HOT: Final[Mapping[Regime, tuple[str, str]]] = {
    "calm": ("earnings", "rating"),
    "trending": ("level", "outcome"),
    "turbulent": ("limit", "event"),
}
_HOT_SHARES: Final = (0.50, 0.38)


def asked_share(regime: Regime, kind: str) -> float:
    """How often a question is about this kind of fact in this regime, were all kinds in force."""
    hot = _HOT[regime]
    if kind in hot:
        return _HOT_SHARES[hot.index(kind)]
    return (1.0 - sum(_HOT_SHARES)) / (len(KINDS) - len(hot))


def truth_chance(source: str, wording: Wording) -> float:
    """Chance that a note is true, from its source and its words."""
    share = RELIABILITY[source]
    odds = math.log(share / (1.0 - share)) + WORDING_LOG_ODDS[wording]
    return 1.0 / (1.0 + math.exp(-odds))


REPEAT_SHARE: Final = 0.5
"""A false report repeats an earlier claim that is not true with this chance, else it invents a figure."""

WITHDRAWN_SHARE: Final = 0.24
"""Share of questions about a withdrawn fact, where there is one: about one in six of all questions."""

QUESTION_SHARES: Final[Mapping[str, float]] = {
    "figure": 0.4,
    "which": 0.2,
    "direction": 0.2,
    "count": 0.2,
}

# How the notes read. Verbs, nouns and words of certainty are the field's and shared by all splits.

NOUNS: Final[Mapping[str, str]] = {
    "level": "support level",
    "limit": "position limit",
    "rating": "rating",
    "earnings": "earnings per share",
    "outcome": "outcome of the setup",
    "event": "stoppage",
    "fill": "fill",
    "news": "order book",
}
UNITS: Final[Mapping[str, str]] = {
    "level": "dollars",
    "limit": "lots",
    "rating": "points",
    "earnings": "dollars",
    "outcome": "percent",
    "event": "days",
    "fill": "shares",
    "news": "million",
}
MOVES: Final[Mapping[str, tuple[str, str]]] = {
    "level": ("higher", "lower"),
    "limit": ("raised", "cut"),
    "rating": ("upgraded", "downgraded"),
    "earnings": ("above estimates", "below estimates"),
    "outcome": ("a gain", "a loss"),
    "event": ("extended", "shortened"),
    "fill": ("bought", "sold"),
    "news": ("growing", "shrinking"),
}
"""Words for up and down."""

VERBS: Final[Mapping[Mode, tuple[str, ...]]] = {
    "new": ("set at", "opens at", "now"),
    "revision": ("revised to", "moved to", "changed to"),
    "report": ("still at", "remains at", "again at"),
    "withdrawal": ("withdrawn", "no longer in force", "cancelled"),
}
WORDS_OF_CERTAINTY: Final[Mapping[Wording, tuple[str, ...]]] = {
    "confirmed": ("confirmed", "verified", "signed"),
    "plain": ("", "reported", "in brief"),
    "rumoured": ("rumoured", "alleged", "hearsay"),
}


@dataclass(frozen=True, slots=True)
class Voice:
    """The invented companies and the templates of one split."""

    companies: tuple[str, ...]
    claims: tuple[str, ...]
    withdrawals: tuple[str, ...]
    chatter: tuple[str, ...]


VOICES: Final[Mapping[SplitName, Voice]] = {
    "train": Voice(
        (
            "Halden Foods", "Morrow Steel", "Quill Energy", "Ardent Rail", "Bexley Paper", "Corvane Labs",
            "Dunmore Oil", "Eskdale Water", "Fenwick Glass", "Garrick Ships", "Holt Mining", "Inverell Air",
            "Jarrow Tools", "Kestrel Power", "Lomond Cement", "Marlow Textiles",
        ),
        (
            "{source}: {company} {noun} {verb} {figure} {unit}, {move}, {count} times{, words}",
            "{words, }{company} {noun} {verb} {figure} {unit} ({move}; {count} so far), {source}",
            "{company}, {source}{, words}: {noun} {verb} {figure} {unit}, {move}, count {count}",
            "{noun} of {company} {verb} {figure} {unit}{, words}; {move}, seen {count} times by the {source}",
            "{source} on {company}: {words, }{noun} {verb} {figure} {unit}, {move}, {count} in all",
            "{words, }{source}: the {noun} at {company} {verb} {figure} {unit}, {count} times {move}",
        ),
        (
            "{source}: {company} {noun} {verb}{, words}",
            "{words, }{noun} of {company} {verb}, says the {source}",
            "{company}, {source}{, words}: {noun} {verb}",
        ),
        (
            "{source}: {company} opens a canteen for its staff{, words}",
            "{words, }{company} changes its letterhead, {source}",
            "{company} sponsors a rowing club, {source}{, words}",
        ),
    ),
    "validation": Voice(
        (
            "Norwell Drugs", "Ostler Bank", "Pembury Media", "Radnor Farms", "Selkirk Yards", "Thorne Optics",
            "Upton Cables", "Wexcombe Retail", "Yarrow Plastics", "Zennor Salt",
        ),
        (
            "At {company} the {noun} {verb} {figure} {unit}{, words} ({source}; {move}, {count} times)",
            "{source}, {words, }on {company}: {move}, {noun} {verb} {figure} {unit}, {count} of them",
            "{company} {noun} {verb} {figure} {unit}, the {source} has it{, words}; {count} times {move}",
        ),
        (
            "At {company} the {noun} {verb}{, words} ({source})",
            "{source}, {words, }on {company}: {noun} {verb}",
        ),
        (
            "At {company} the lifts are serviced{, words} ({source})",
            "{source}, {words, }on {company}: a new logo",
        ),
    ),
    "test": Voice(
        (
            "Alcott Grain", "Brannock Tyres", "Calder Robotics", "Dray Insurance", "Elphin Foundry",
            "Farrow Hotels", "Glossop Mills", "Hathern Telecom", "Islay Brewing", "Kirkwall Copper",
            "Ludlow Aero", "Menai Shipping",
        ),
        (
            "{company}: {noun} {verb} {figure} {unit}, {words, }{move}, {count} times ({source})",
            "From the {source}{, words}: {noun} for {company} {verb} {figure} {unit}; {count}, {move}",
            "{words, }the {noun} {verb} {figure} {unit} for {company}, {move}; {source}, {count} times",
            "{source} note, {company}: {count} times {move}, {noun} {verb} {figure} {unit}{, words}",
        ),
        (
            "{company}: {noun} {verb}, {words, }({source})",
            "From the {source}{, words}: {noun} for {company} {verb}",
            "{source} note, {company}: {noun} {verb}{, words}",
        ),
        (
            "{company}: the car park is paved, {words, }({source})",
            "From the {source}{, words}: {company} moves its reception",
        ),
    ),
    "data": Voice(
        (
            "Ashby Motors", "Birkdale Pumps", "Cromer Fisheries", "Dalton Bricks", "Enfield Rope",
            "Frome Pottery", "Goole Timber", "Hexham Leather", "Ilkley Springs", "Keswick Pencils",
        ),
        (
            "{company} file, {source}: {noun} {verb} {figure} {unit}{, words}, {count} times, {move}",
            "{words, }{source} to the desk: {company}, {noun} {verb} {figure} {unit}, {move} {count} times",
            "Desk log: {noun} of {company} {verb} {figure} {unit}, {source}{, words}, {move}, {count}",
        ),
        (
            "{company} file, {source}: {noun} {verb}{, words}",
            "Desk log: {noun} of {company} {verb}, {source}{, words}",
        ),
        (
            "{company} file, {source}: a fire drill{, words}",
            "Desk log: {company} plants a hedge, {source}{, words}",
        ),
    ),
}  # fmt: skip
"""Split-disjoint: a policy that learnt names or sentences by heart gains nothing in the test."""
