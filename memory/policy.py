"""The memory policy: what it sees of an event and of the memory, what it may do, and the doing.

Owns the state (a text and a vector of features), the builders of arguments, and `memory_step`, which
training, backtest and paper trading share. What chooses among the seven actions is a `Chooser`: rules stand
in `memory/rules.py`, a language model with an action head comes from outside. Refuses to know episodes,
rewards and prices. Nothing measured in time enters a state.

Builders, by action. ADD keeps the event's text with its parsed fields. UPDATE and DELETE aim at the
closest live entry: the best hit of a search for the event's text among entries of its kind and topic, or of
its kind and symbol where it has no topic; where there is none the operation is executed all the same, is
refused by the memory, and costs. UPDATE keeps tallies (`counts`, added up), the mean of the states they were
taken in, and credit. RETRIEVE asks with the event's text and inserts the hits. SUMMARY takes the whole
context under high token pressure, else the last two rounds. FILTER removes from the context what is like the
event's text. Doing nothing does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from core.memories import MemoryHit
from memory.agemem import AgeMem, LiveEntries
from memory.context import ShortTermMemory
from memory.operations import Add, Delete, MemoryOperation, MemoryOperationResult, Request, Update
from memory.retrieval import tokens

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]
    IntArray = npt.NDArray[np.int64]

NOTHING: Final = "none"
ACTIONS: Final[tuple[str, ...]] = (*(each.value for each in MemoryOperation), NOTHING)
"""The order of the action head's logits: the six operations, and doing nothing."""

Mode = Literal["new", "revision", "report", "withdrawal"]
Regime = Literal["calm", "trending", "turbulent"]

REGIMES: Final[tuple[Regime, ...]] = ("calm", "trending", "turbulent")
KINDS: Final = ("level", "limit", "rating", "earnings", "outcome", "event", "fill", "news")
SOURCES: Final = ("filing", "wire", "analyst", "broker", "forum")
MODES: Final[tuple[Mode, ...]] = ("new", "revision", "report", "withdrawal")
TOPICS: Final = ("news", "state")
"""What the topics of a run's outcomes begin with (`agents/run_events.py`)."""

TOP_HITS: Final = 3
CONTEXT_TOKENS: Final = 1_024
"""What a short-term memory beside a policy holds."""
HIGH_PRESSURE_FRAC: Final = 0.8
RECENT_DAYS: Final = 8
FILTER_THRESHOLD: Final = 0.9
MOST: Final = 1e6
"""A tally of more outcomes than this is none."""
_NO_ENTRY: Final = "no-such-entry"
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """Something that arrived, with what deterministic code read from it.

    `kind` and `source` are names (`KINDS`, `SOURCES`; others count as none of them). `figure`, `direction`
    (+1 or -1) and `count` are what the text states, where it states them. `dated` is the time it speaks of
    (default: `at`), `outcome_at` the time at which its outcome became known. `key` makes a retry harmless.
    `topic` says what an event is about where that is not its symbol: events of one kind and topic are of the
    same matter, whatever their symbols. `more` is kept as metadata, its `counts` as a tally of ordered
    outcomes.
    """

    text: str
    kind: str
    symbol: str
    source: str
    at: datetime
    mode: Mode = "new"
    figure: float | None = None
    direction: int = 0
    count: int | None = None
    dated: datetime | None = None
    outcome_at: datetime | None = None
    key: str | None = None
    topic: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, str]:
        """What an entry must be about to be of the same matter."""
        if self.topic:
            return {"kind": self.kind, "topic": self.topic}
        return {"symbol": self.symbol, "kind": self.kind}

    @property
    def metadata(self) -> dict[str, Any]:
        """What ADD and UPDATE keep beside the text."""
        parsed = {"figure": self.figure, "direction": self.direction, "count": self.count}
        return {
            "symbol": self.symbol,
            **self.about,
            "mode": self.mode,
            **{name: value for name, value in parsed.items() if value},
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class Situation:
    """What stands around an event: the desk's listed symbols and what the bars say.

    `volatility_rank_frac` is the rank of the present volatility in the trailing year, `trend` the trailing
    return in deviations (`trading/regimes.py`). `plan` is a line at the start of
    the state.
    """

    listed: frozenset[str]
    regime: Regime = "calm"
    volatility_rank_frac: float = 0.5
    trend: float = 0.0
    plan: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class MemoryState:
    """What a chooser sees. `text` is encoded; `features` [F] are in the order of `FEATURES`.

    `name` says whose state it is, so that a reference of the evaluation finds its own books.
    """

    name: str
    event: MemoryEvent
    situation: Situation
    hits: tuple[MemoryHit, ...]
    live: LiveEntries
    pressure_frac: float
    text: str
    features: Float32Array

    @property
    def closest(self) -> MemoryHit | None:
        """The live entry of the same matter (`MemoryEvent.about`) that is most like the event."""
        return self.hits[0] if self.hits else None


@dataclass(frozen=True, slots=True)
class Choice:
    """An action, and how likely each of the seven was: natural logarithms, None from a rule."""

    action: str
    log_probabilities: tuple[float, ...] | None = None

    @property
    def index(self) -> int:
        return ACTIONS.index(self.action)


class Chooser(Protocol):
    """Picks one action for each state. `draws` [B] in [0, 1) sample; None takes the likeliest."""

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]: ...


class ActionScorer(Protocol):
    """A language model with an action head, as this package sees it.

    Shapes: `features` [B, F]; the result [B, 7], log-probabilities, float64.
    """

    def log_probabilities(self, texts: Sequence[str], features: Float32Array) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class LearnedChooser:
    """Chooses by a model's action head; no mask: what cannot apply is tried, fails and costs."""

    scorer: ActionScorer

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        scores = self.scorer.log_probabilities(
            [state.text for state in states], np.stack([state.features for state in states])
        )
        if draws is None:
            picked = scores.argmax(axis=1)
        else:
            reached = np.exp(scores).cumsum(axis=1)
            picked = (reached < draws[:, None] * reached[:, -1:]).sum(axis=1)
        return [
            Choice(ACTIONS[index], tuple(row.tolist()))
            for index, row in zip(picked, scores, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """A named way to choose memory operations. The same class trains, backtests and trades on paper."""

    name: str
    chooser: Chooser

    def choose(
        self, states: Sequence[MemoryState], draws: FloatArray | None = None
    ) -> list[Choice]:
        return self.chooser.choose(states, draws) if states else []


@dataclass(frozen=True, slots=True)
class Seat:
    """One event before one memory, with the short-term memory beside it."""

    memory: AgeMem
    context: ShortTermMemory
    event: MemoryEvent
    situation: Situation
    name: str = ""


@dataclass(frozen=True, slots=True)
class OperationOutcome:
    """What an executed operation really did, as measured on the store and the context.

    Units: `latency_seconds` is measured time; it is reported and enters no state, feature or reward.
    """

    action: str
    success: bool
    latency_seconds: float = 0.0
    entry_ids: tuple[str, ...] = ()
    version: int | None = None
    superseded_ids: tuple[str, ...] = ()
    operation_id: str | None = None
    evicted: int = 0
    hits: int = 0
    tokens_before: int = 0
    tokens_after: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """State, choice and what came of it."""

    state: MemoryState
    choice: Choice
    outcome: OperationOutcome


async def memory_step(
    policy: MemoryPolicy,
    seats: Sequence[Seat],
    draws: FloatArray | None = None,
    riders: Riders | None = None,
) -> list[StepOutcome]:
    """Observe, choose and act, for one event each of any number of memories.

    All states are read before anything is done, all texts are encoded in one batch, and one memory's events
    are looked up in one; what is written into one memory is one transaction, in the order of the seats.
    `riders` go along in the transaction of the first seat's memory.
    """
    for seat in seats:
        seat.context.append("user", seat.context.fitting("user", seat.event.text))
    states = await observe(seats)
    choices = policy.choose(states, draws)
    outcomes = await _execute(seats, states, choices, riders)
    return [StepOutcome(*each) for each in zip(states, choices, outcomes, strict=True)]


class Riders(Protocol):
    """Requests that go along with what a policy writes, made when that is known, and told their results."""

    def requests(self, written: Sequence[Request]) -> Sequence[Request]: ...

    def done(self, results: Sequence[MemoryOperationResult]) -> None: ...


# What is seen


async def observe(seats: Sequence[Seat]) -> list[MemoryState]:
    """The states of some seats: an automatic retrieval, the memory's fill, the context's pressure."""
    hits_of: dict[int, tuple[MemoryHit, ...]] = {}
    live_of: dict[int, LiveEntries] = {}
    for together in _by_memory(seats):
        memory = seats[together[0]].memory
        events = [seats[place].event for place in together]
        found = await memory.retrieve_many(
            [event.text for event in events], TOP_HITS, [event.about for event in events]
        )
        live = await memory.live()
        for place, result in zip(together, found, strict=True):
            hits_of[place], live_of[place] = result.data or (), live
    return [_state(seat, hits_of[place], live_of[place]) for place, seat in enumerate(seats)]


def _by_memory(seats: Sequence[Seat]) -> Collection[list[int]]:
    """The places of each memory's seats."""
    places: dict[int, list[int]] = {}
    for place, seat in enumerate(seats):
        places.setdefault(id(seat.memory), []).append(place)
    return places.values()


def _state(seat: Seat, hits: tuple[MemoryHit, ...], live: LiveEntries) -> MemoryState:
    event = seat.event
    pressure = seat.context.tokens / seat.context.budget_tokens
    closest = _Closest.of(event, hits)
    return MemoryState(
        name=seat.name,
        event=event,
        situation=seat.situation,
        hits=hits,
        live=live,
        pressure_frac=pressure,
        text=state_text(event, seat.situation, closest, live, pressure),
        features=_features(event, seat.situation, closest, live, pressure, len(hits)),
    )


@dataclass(frozen=True, slots=True)
class _Closest:
    """How the event stands to the closest live entry."""

    found: bool = False
    agrees: bool = False
    withdrawn: bool = False
    similarity: float = 0.0
    age_days: float = 0.0
    source: str = ""
    counts: tuple[float, ...] = ()

    @staticmethod
    def of(event: MemoryEvent, hits: Sequence[MemoryHit]) -> _Closest:
        if not hits:
            return _Closest()
        hit = hits[0]
        return _Closest(
            found=True,
            agrees=event.figure is not None and hit.metadata.get("figure") == event.figure,
            withdrawn=hit.metadata.get("mode") == "withdrawal",
            similarity=_similarity(event.text, hit.text),
            age_days=(event.at - hit.recorded_from).total_seconds() / _DAY_SECONDS,
            source=hit.source,
            counts=tuple(_tally(hit.metadata.get("counts"))),
        )


def lean(counts: Sequence[float]) -> float:
    """How far a tally of ordered outcomes leans to one end, in deviations of a tally without a lean.

    Outcomes are scored by their place, the middle as 0; were each equally likely, the sum of the scores of n
    outcomes of B kinds would have mean 0 and variance n (B^2 - 1) / 12.
    """
    total = sum(counts)
    if not total > 0.0 or len(counts) < 2:
        return 0.0
    middle = (len(counts) - 1) / 2.0
    score = sum((place - middle) * count for place, count in enumerate(counts))
    return score / math.sqrt(total * (len(counts) ** 2 - 1) / 12.0)


def _similarity(a: str, b: str) -> float:
    """Words in common over words in all (Jaccard)."""
    first, second = _words(a), _words(b)
    return len(first & second) / max(len(first | second), 1)


@lru_cache(maxsize=65_536)
def _words(text: str) -> frozenset[str]:
    return frozenset(tokens(text))


def state_text(
    event: MemoryEvent,
    situation: Situation,
    closest: _Closest,
    live: LiveEntries,
    pressure_frac: float,
) -> str:
    """The state in words: the plan, what has arrived, the task, the memory, the closest entry.

    Numbers of the memory stand as words, so that equal situations are equal texts and are encoded once.
    """
    if not closest.found:
        near = "nothing kept"
    else:
        relation = "withdrawn" if closest.withdrawn else "same" if closest.agrees else "other"
        age = "recent" if closest.age_days <= RECENT_DAYS else "old"
        near = f"kept {relation}, {closest.source}, {age}"
    full = live.cap is not None and live.count >= live.cap
    pressed = "high" if pressure_frac >= HIGH_PRESSURE_FRAC else "low"
    memory = "full" if full else "room" if live.count else "empty"
    plan = f"{situation.plan} | " if situation.plan else ""
    listed = "listed" if event.symbol in situation.listed else "not listed"
    return (
        f"{plan}{event.text} | keep or not? {situation.regime}, {listed}, memory {memory}, "
        f"tokens {pressed}, {near}"
    )


def _names(prefix: str, names: Sequence[str]) -> list[str]:
    return [f"{prefix}:{name}" for name in names]


_KIND_BY_REGIME = [f"{kind}x{regime}" for kind in KINDS for regime in REGIMES]

FEATURES: Final[tuple[str, ...]] = (
    "listed", "stale_years", "similarity", "found", "agrees", "differs", "kept_withdrawn",
    "age_months", "hits_frac", "live_frac", "room_frac", "full", "empty", "token_pressure",
    "volatility_rank", "trend", "has_figure",
    *_names("mode", MODES),
    *_names("kind", KINDS),
    *_names("source", SOURCES),
    *_names("regime", REGIMES),
    *_names("kind_by_regime", _KIND_BY_REGIME),
    *_names("closest_source", SOURCES),
    *_names("oldest_source", SOURCES),
    *_names("oldest_kind_by_regime", _KIND_BY_REGIME),
    "oldest_listed",
    "has_topic",
    *_names("topic", TOPICS),
    "tally_size", "tally_lean", "tally_lean_after", "oldest_tally_size", "oldest_tally_lean",
    *_names("oldest_topic", TOPICS),
)  # fmt: skip
"""What each place of the feature vector holds; the products of kind and regime are among them. Of a tally:
how many outcomes it holds, n / (n + 4), and how far it leans, a quarter of at most four deviations."""

_PLACE: Final = {name: place for place, name in enumerate(FEATURES)}


def _features(  # noqa: PLR0917
    event: MemoryEvent,
    situation: Situation,
    closest: _Closest,
    live: LiveEntries,
    pressure_frac: float,
    hits: int,
) -> Float32Array:
    row = np.zeros(len(FEATURES), np.float32)
    room = 1.0 if live.cap is None else max(0.0, 1.0 - live.count / live.cap)
    stale = 0.0
    if event.dated is not None:
        stale = (event.at - event.dated).total_seconds() / (365.0 * _DAY_SECONDS)
    row[:17] = (
        event.symbol in situation.listed,
        min(stale, 1.0),
        closest.similarity,
        closest.found,
        closest.agrees,
        closest.found and not closest.agrees,
        closest.withdrawn,
        min(closest.age_days / 30.0, 1.0),
        hits / TOP_HITS,
        live.count / (live.count + 8.0),
        room,
        room == 0.0,
        live.count == 0,
        min(pressure_frac, 1.0),
        situation.volatility_rank_frac,
        max(-3.0, min(situation.trend, 3.0)) / 3.0,
        event.figure is not None,
    )
    oldest = live.oldest
    present = [
        f"mode:{event.mode}",
        f"kind:{event.kind}",
        f"source:{event.source}",
        f"regime:{situation.regime}",
        f"kind_by_regime:{event.kind}x{situation.regime}",
        f"closest_source:{closest.source}",
    ]
    if oldest is not None:
        kind = oldest.metadata.get("kind")
        present += [
            f"oldest_source:{oldest.source}",
            f"oldest_kind_by_regime:{kind}x{situation.regime}",
        ]
        row[_PLACE["oldest_listed"]] = oldest.metadata.get("symbol") in situation.listed
        counts = _tally(oldest.metadata.get("counts"))
        row[_PLACE["oldest_tally_size"]] = _size(counts)
        row[_PLACE["oldest_tally_lean"]] = _leaning(counts)
        present.append(f"oldest_topic:{_topic_of(oldest.metadata.get('topic'))}")
    if event.topic:
        added = _tally(event.more.get("counts"))
        after = (
            [a + b for a, b in zip(closest.counts, added, strict=True)]
            if len(closest.counts) == len(added)
            else added
        )
        row[_PLACE["has_topic"]] = 1.0
        row[_PLACE["tally_size"]] = _size(closest.counts)
        row[_PLACE["tally_lean"]] = _leaning(closest.counts)
        row[_PLACE["tally_lean_after"]] = _leaning(after)
        present.append(f"topic:{_topic_of(event.topic)}")
    for name in present:
        place = _PLACE.get(name)
        if place is not None:
            row[place] = 1.0
    return row


def _size(counts: Sequence[float]) -> float:
    total = sum(counts)
    return total / (total + 4.0) if total > 0.0 else 0.0


def _leaning(counts: Sequence[float]) -> float:
    return min(abs(lean(counts)), 4.0) / 4.0


def _topic_of(topic: object) -> str:
    """What a topic begins with, up to its colon; empty for anything else."""
    head, colon, _ = topic.partition(":") if isinstance(topic, str) else ("", "", "")
    return head if colon else ""


# What is done


def build_request(
    action: str, state: MemoryState, present: Mapping[str, Any] | None = None
) -> Request | None:
    """The write that an action means in a state; None for actions that write nothing.

    `present` is the metadata of the closest entry where it has changed since the state was read.
    """
    event, closest = state.event, state.closest
    target = _NO_ENTRY if closest is None else closest.id
    match action:
        case "add":
            return Add(
                event.text, event.metadata, event.source,
                outcome_at=event.outcome_at, key=event.key,
            )  # fmt: skip
        case "update":
            before = present if closest is None or present is not None else closest.metadata
            return Update(
                target, event.text, merged(before or {}, event.metadata), event.source,
                outcome_at=event.outcome_at, key=event.key,
            )  # fmt: skip
        case "delete":
            return Delete(target, key=event.key)
    return None


def merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of an update: the new, with tallies added up, the mean of `numbers`, and credit kept."""
    result = dict(now)
    if "credit" in before:
        result["credit"] = before["credit"]
    counts, added = _tally(before.get("counts")), _tally(now.get("counts"))
    if not counts or len(counts) != len(added):
        return result
    result["counts"] = [round(a + b, 3) for a, b in zip(counts, added, strict=True)]
    numbers, others = _numbers(before.get("numbers")), _numbers(now.get("numbers"))
    size, more = sum(counts), sum(added)
    if size + more > 0.0 and len(numbers) == len(others):
        result["numbers"] = [
            round((a * size + b * more) / (size + more), 3)
            for a, b in zip(numbers, others, strict=True)
        ]
    return result


def _numbers(value: Any) -> list[float]:
    """A list of finite numbers; empty for anything else that somebody may have put into metadata."""
    if not isinstance(value, list | tuple):
        return []
    known = all(isinstance(each, int | float) and math.isfinite(each) for each in value)
    return list(value) if known else []


def _tally(value: Any) -> list[float]:
    """A tally as far as it can be one; empty for anything else."""
    counts = _numbers(value)
    return counts if counts and min(counts) >= 0.0 and sum(counts) <= MOST else []


async def _execute(
    seats: Sequence[Seat],
    states: Sequence[MemoryState],
    choices: Sequence[Choice],
    riders: Riders | None,
) -> list[OperationOutcome]:
    outcomes: dict[int, OperationOutcome] = {}
    for together in _by_memory(seats):
        places: list[int] = []
        requests: list[Request] = []
        present: dict[str, Mapping[str, Any]] = {}
        for place in together:
            state, choice = states[place], choices[place]
            target = "" if state.closest is None else state.closest.id
            request = build_request(choice.action, state, present.get(target))
            if request is None:
                outcomes[place] = await _in_context(choice.action, seats[place])
                continue
            if isinstance(request, Update):
                present[target] = request.metadata or {}
            places.append(place)
            requests.append(request)
        extra = riders.requests(requests) if riders is not None and 0 in together else ()
        if not requests and not extra:
            continue
        results = await seats[together[0]].memory.apply([*requests, *extra])
        for place, result in zip(places, results, strict=False):
            tokens_now = seats[place].context.tokens
            outcomes[place] = _outcome(choices[place].action, result, tokens_now, tokens_now)
        if riders is not None and extra:
            riders.done(results[len(requests) :])
    return [outcomes[place] for place in range(len(seats))]


async def _in_context(action: str, seat: Seat) -> OperationOutcome:
    """Retrieve, summary, filter and doing nothing: what changes the short-term memory alone."""
    context, event = seat.context, seat.event
    before = context.tokens
    match action:
        case "retrieve":
            result = await seat.memory.retrieve(event.text, TOP_HITS)
            context.insert_hits(result.data or ())
        case "summary":
            pressed = before >= HIGH_PRESSURE_FRAC * context.budget_tokens
            result = await seat.memory.summary(context, "all" if pressed else 2)
        case "filter":
            result = await seat.memory.filter(context, event.text, FILTER_THRESHOLD)
        case _:
            return OperationOutcome(NOTHING, True, tokens_before=before, tokens_after=before)
    return _outcome(action, result, before, context.tokens)


def _outcome(
    action: str, result: MemoryOperationResult, tokens_before: int, tokens_after: int
) -> OperationOutcome:
    # A batch's receipts name what an add beyond the cap closed, too.
    evicted = len(result.superseded_ids) if action == "add" else 0
    return OperationOutcome(
        action=action,
        success=result.success,
        latency_seconds=result.duration_seconds,
        entry_ids=result.ids,
        version=result.version,
        superseded_ids=result.superseded_ids,
        operation_id=result.operation_id,
        evicted=evicted,
        hits=len(result.data) if action == "retrieve" and result.success else 0,
        tokens_before=tokens_before,
        tokens_after=tokens_after,
        error=None if result.error is None else type(result.error).__name__,
    )
