"""Episodes of desk notes: facts arrive, the context is reset, more notes arrive, questions come.

Price paths are real bars of the split; companies, templates and figures are invented. Everything is drawn
from (seed, split, number): the same episode in every process. Refuses to know memories, policies, rewards.

The truth. Each note is true with the chance of its source and its words. A true claim or revision sets a
fact; a false one leaves it as it was (a false first claim: never in force). A report tells the present figure
or, false, an earlier claim or an invented one. A true withdrawal ends a fact. So the exact chances of every
fact's state follow from the notes (`beliefs.py`). When notes of which fact arrive is drawn without regard to
the truth. Stale notes tell what was so a year ago, and are wrong now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from core.errors import DataError
from memory.policy import KINDS, SOURCES, MemoryEvent, Mode, Regime, Situation
from trading.regimes import REGIME_BARS, VOLATILITY_BARS, regime_of
from training.data.split import TEST, TRAIN, VALIDATION, Part
from training.stage2_agemem.world import (
    MOVES,
    NOUNS,
    QUESTION_SHARES,
    REPEAT_SHARE,
    UNITS,
    VERBS,
    VOICES,
    WITHDRAWN_SHARE,
    WORDINGS,
    WORDS_OF_CERTAINTY,
    SplitName,
    Voice,
    Wording,
    asked_share,
    truth_chance,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from trading.panel import Panel

    FloatArray = npt.NDArray[np.float64]
    Generator = np.random.Generator

Role = Literal["fact", "stale", "unlisted", "chatter"]
QuestionType = Literal["figure", "which", "direction", "count", "decision", "outlook"]

FIRST_NOTES: Final = 20
LATER_NOTES: Final = 6
LATER_DISTRACTORS: Final = 3
LISTED_COMPANIES: Final = 4
OTHER_COMPANIES: Final = 2
LISTED_FACTS: Final = 9
OTHER_FACTS: Final = 2
MODE_COUNTS: Final[Mapping[Mode, int]] = {"revision": 3, "withdrawal": 2, "report": 3}
STALE_NOTES: Final = 1
QUESTIONS: Final = 4
"""At the end of an episode that is judged. Those that are learnt from may end in more."""
DECISION_SHARE: Final = 0.1
"""Share of training episodes whose last question is a trade on a planted edge."""

SHORT_REGIME_BARS: Final = 120
DECISION_BARS: Final = 5
EPISODE_BARS: Final = FIRST_NOTES + LATER_NOTES

_DISTRACTORS: Final[tuple[Role, ...]] = ("unlisted", "stale", "chatter")
_LATER_MODES: Final[tuple[Mode, ...]] = ("revision", "report", "withdrawal")
_LATER_SHARES: Final = (0.4, 0.4, 0.2)
_PARTS: Final[Mapping[SplitName, Part]] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_SPLIT_CODES: Final[Mapping[SplitName, int]] = {"train": 1, "validation": 2, "test": 3, "data": 4}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a note states of a fact. Equal figures are the same claim."""

    figure: float
    direction: int
    count: int


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that can be asked for: one kind of figure of one company, or what follows a topic."""

    company: str
    symbol: str
    kind: str
    topic: str = ""

    def is_of(self, metadata: Mapping[str, Any]) -> bool:
        """Whether an entry with this metadata is about it; a topic is the same for all symbols."""
        if metadata.get("kind") != self.kind:
            return False
        if self.topic:
            return metadata.get("topic") == self.topic
        return metadata.get("symbol") == self.symbol


_Planned = tuple[Fact, Mode, Role]


@dataclass(frozen=True, slots=True)
class Note:
    """One note as it arrives, and what the generator knows of it (`role`, `true`, `wording`)."""

    number: int
    event: MemoryEvent
    fact: Fact
    mode: Mode
    role: Role
    wording: Wording
    claim: Claim | None
    true: bool

    @property
    def chance(self) -> float:
        """Chance that it is true, by the constants of the world."""
        return 0.0 if self.role == "stale" else truth_chance(self.event.source, self.wording)


@dataclass(frozen=True, slots=True)
class Question:
    """`answer` None means that nothing is in force. `options` are the figures of a `which` question."""

    type: QuestionType
    fact: Fact
    text: str
    answer: float | int | None
    options: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Episode:
    """Notes of phase 1, notes of phase 2, questions of phase 3, and the truth at the end.

    `truth` maps every listed fact to the claim in force, or None; `withdrawn` are the facts that a true
    withdrawal ended. `ahead_deviations` is the return of the five bars after the last note, in deviations.
    `fresh` are the numbers of the notes that come to an empty context.
    """

    id: str
    split: SplitName
    symbol: str
    situation: Situation
    first: tuple[Note, ...]
    later: tuple[Note, ...]
    questions: tuple[Question, ...]
    truth: Mapping[Fact, Claim | None]
    withdrawn: frozenset[Fact]
    ahead_deviations: float
    fresh: frozenset[int] = frozenset({FIRST_NOTES})

    @property
    def notes(self) -> tuple[Note, ...]:
        return (*self.first, *self.later)

    @property
    def of_run(self) -> bool:
        """Whether it is made of a run's events (`run_episodes.py`)."""
        return any(fact.topic for fact in self.truth)

    @property
    def asked_at(self) -> datetime:
        return self.notes[-1].event.at + timedelta(hours=1)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The bars of one symbol and where an episode may start.

    Shapes: `times` (datetime64[ns]) and `close` [L]; `starts` the rows of possible first notes.
    """

    symbol: str
    times: npt.NDArray[np.datetime64]
    close: FloatArray
    starts: npt.NDArray[np.int64]


def paths_of_split(panel: Panel, split: SplitName) -> list[Path]:
    """The real bars that a split's episodes lie on. History before the part may be read, no later bar."""
    part = _PARTS[split]
    found = []
    for symbol in part.symbols:
        times, close = _bars(panel, symbol)
        days = times.astype("datetime64[D]")
        end = int(np.searchsorted(days, np.datetime64(part.end), side="right"))
        begin = int(np.searchsorted(days, np.datetime64(part.start)))
        path = _path(symbol, times[:end], close[:end], begin)
        if path is not None:
            found.append(path)
    return found


def paths_of_panel(panel: Panel) -> list[Path]:
    """Every symbol of a user's file that is long enough. Raises: DataError when none is."""
    found = [_path(symbol, *_bars(panel, symbol), 0) for symbol in panel.symbols]
    paths = [path for path in found if path is not None]
    if not paths:
        longest = max(len(_bars(panel, symbol)[0]) for symbol in panel.symbols)
        raise DataError(
            f"the longest symbol has {longest} bars.",
            f"Episodes need at least {SHORT_REGIME_BARS + EPISODE_BARS + DECISION_BARS + 1} of one symbol.",
        )
    return paths


def _bars(panel: Panel, symbol: str) -> tuple[npt.NDArray[np.datetime64], FloatArray]:
    from trading.panel import CLOSE

    close = panel.stack[CLOSE, :, panel.symbols.index(symbol)]
    here = np.flatnonzero(~np.isnan(close))
    return panel.times[here], close[here]


def _path(
    symbol: str, times: npt.NDArray[np.datetime64], close: FloatArray, begin: int
) -> Path | None:
    first = max(begin, SHORT_REGIME_BARS)
    last = len(close) - EPISODE_BARS - DECISION_BARS
    if last <= first:
        return None
    return Path(symbol, times, close, np.arange(first, last))


def regime_at(close: FloatArray, row: int) -> tuple[Regime, float, float]:
    """Regime, volatility rank and trend of a symbol after its bar `row`, from its own trailing year.

    Point in time: nothing after `row` is read.
    """
    return regime_of(close[max(0, row - REGIME_BARS) : row + 1])


def episode(
    paths: Sequence[Path],
    split: SplitName,
    number: int,
    *,
    seed: int = 0,
    planted: bool = False,
    notes: int = EPISODE_BARS,
    questions: int = QUESTIONS,
) -> Episode:
    """Episode `number` of a split: the same for the same arguments, in every process.

    `planted` allows a trade on a planted edge among the questions (training only); with fewer `notes` the
    questions come, and the truth is told, after that many. How many `questions` there are changes nothing
    else: they are drawn last.
    """
    draw = np.random.default_rng([seed, _SPLIT_CODES[split], number])
    path = paths[int(draw.integers(len(paths)))]
    start = int(path.starts[int(draw.integers(len(path.starts)))])
    regime, rank, trend = regime_at(path.close, start - 1)
    return _Writer(draw, VOICES[split], path, start, regime).write(
        f"{split}-{seed}-{number}",
        split,
        rank,
        trend,
        planted=planted,
        notes=notes,
        asked=questions,
    )


class _Writer:
    """Draws one episode."""

    def __init__(
        self, draw: Generator, voice: Voice, path: Path, start: int, regime: Regime
    ) -> None:
        self._draw = draw
        self._voice = voice
        self._path = path
        self._start = start
        self._regime: Regime = regime
        self._claims: dict[Fact, list[Claim]] = {}
        self._truth: dict[Fact, Claim | None] = {}
        self._withdrawn: set[Fact] = set()

    def write(
        self,
        name: str,
        split: SplitName,
        rank: float,
        trend: float,
        *,
        planted: bool,
        notes: int,
        asked: int,
    ) -> Episode:
        draw = self._draw
        companies = [
            self._voice.companies[i]
            for i in draw.permutation(len(self._voice.companies))[
                : LISTED_COMPANIES + OTHER_COMPANIES
            ]
        ]
        listed, others = companies[:LISTED_COMPANIES], companies[LISTED_COMPANIES:]
        facts = self._some_facts(listed, LISTED_FACTS)
        strangers = self._some_facts(others, OTHER_FACTS)
        written = self._generate_training_content(facts, strangers, notes)
        situation = Situation(
            frozenset(map(ticker, listed)),
            self._regime,
            round(rank, 4),
            round(trend, 4),
            plan=f"desk of {len(listed)}, {self._regime}",
        )
        row = self._start + EPISODE_BARS - 1
        ahead = self._path.close[row + 1 : row + 1 + DECISION_BARS]
        recent = np.diff(np.log(self._path.close[row - VOLATILITY_BARS : row + 1]))
        deviation = max(float(recent.std()) * DECISION_BARS**0.5, 1e-6)
        moved = float(np.log(ahead[-1] / self._path.close[row])) / deviation
        questions = self._ask(facts, asked)
        if planted and draw.random() < DECISION_SHARE:
            questions = self._plant_decision(questions, facts)
        return Episode(
            id=name,
            split=split,
            symbol=self._path.symbol,
            situation=situation,
            first=tuple(written[:FIRST_NOTES]),
            later=tuple(written[FIRST_NOTES:]),
            questions=tuple(questions),
            truth={fact: self._truth.get(fact) for fact in facts},
            withdrawn=frozenset(self._withdrawn),
            ahead_deviations=round(moved, 6),
        )

    def _some_facts(self, companies: Sequence[str], count: int) -> list[Fact]:
        """Distinct facts, every kind equally likely, no company without one where there is room."""
        pairs = [(company, kind) for company in companies for kind in KINDS]
        order = self._draw.permutation(len(pairs))
        return [Fact(pairs[i][0], ticker(pairs[i][0]), pairs[i][1]) for i in order[:count]]

    def _generate_training_content(
        self, facts: Sequence[Fact], strangers: Sequence[Fact], notes: int
    ) -> list[Note]:
        """The first so many notes, in the order of their arrival, which knows nothing of the truth."""
        draw = self._draw
        first: list[tuple[Fact, Mode, Role]] = [(fact, "new", "fact") for fact in facts]
        first += [(fact, "new", "unlisted") for fact in strangers]
        for mode, count in MODE_COUNTS.items():
            first += [(facts[i], mode, "fact") for i in self._several(len(facts), count)]
        first += [(facts[i], "report", "stale") for i in self._several(len(facts), STALE_NOTES)]
        later: list[tuple[Fact, Mode, Role]] = []
        for _ in range(LATER_DISTRACTORS):
            role = _DISTRACTORS[int(draw.integers(len(_DISTRACTORS)))]
            pool = strangers if role == "unlisted" else facts
            later.append((pool[int(draw.integers(len(pool)))], "report", role))
        for _ in range(LATER_NOTES - LATER_DISTRACTORS):
            mode = _LATER_MODES[int(draw.choice(len(_LATER_MODES), p=_LATER_SHARES))]
            later.append((facts[int(draw.integers(len(facts)))], mode, "fact"))
        plan = [*_claims_first(_shuffled(draw, first)), *_shuffled(draw, later)]
        return [self._note(number, *item) for number, item in enumerate(plan[:notes])]

    def _several(self, among: int, count: int) -> list[int]:
        return [int(i) for i in self._draw.choice(among, size=count, replace=count > among)]

    def _note(self, number: int, fact: Fact, mode: Mode, role: Role) -> Note:
        draw = self._draw
        source = SOURCES[int(draw.integers(len(SOURCES)))]
        wording: Wording = WORDINGS[int(draw.integers(len(WORDINGS)))]
        true = role != "stale" and bool(draw.random() < truth_chance(source, wording))
        claim = None
        if mode != "withdrawal" and role != "chatter":
            claim = self._claim(fact, "new" if role == "stale" else mode, true)
        if role in ("fact", "unlisted"):
            self._tell(fact, mode, claim, true)
        row = self._start + number
        at = self._path.times[row].astype("datetime64[us]").astype(datetime).replace(tzinfo=UTC)
        text = self._words(fact, mode, role, source, wording, claim)
        dated = at - timedelta(days=365) if role == "stale" else at
        if role == "stale":
            text = f"{text} (a year ago)"
        event = MemoryEvent(
            text=text,
            kind="chatter" if role == "chatter" else fact.kind,
            symbol=fact.symbol,
            source=source,
            at=at,
            mode=mode,
            figure=None if claim is None else claim.figure,
            direction=0 if claim is None else claim.direction,
            count=None if claim is None else claim.count,
            dated=dated,
        )
        return Note(number, event, fact, mode, role, wording, claim, true)

    def _claim(self, fact: Fact, mode: Mode, true: bool) -> Claim:
        earlier = self._claims.setdefault(fact, [])
        present = self._truth.get(fact)
        if mode == "report" and true and present is not None:
            return present
        if mode == "report":
            wrong = [claim for claim in earlier if claim != present]
            if wrong and self._draw.random() < REPEAT_SHARE:
                return wrong[int(self._draw.integers(len(wrong)))]
        figures = {claim.figure for claim in earlier}
        while True:
            claim = self._invented(fact.kind)
            if claim.figure not in figures:
                return claim

    def _tell(self, fact: Fact, mode: Mode, claim: Claim | None, true: bool) -> None:
        """What a note does to the truth, and to what has been claimed."""
        if claim is not None and claim not in self._claims[fact]:
            self._claims[fact].append(claim)
        if mode in ("new", "revision") and true:
            self._truth[fact] = claim
        elif mode == "withdrawal" and true:
            self._truth[fact] = None
            self._withdrawn.add(fact)

    def _invented(self, kind: str) -> Claim:
        draw = self._draw
        price = float(self._path.close[self._start - 1])
        match kind:
            case "level":
                figure = round(price * float(draw.uniform(0.85, 1.15)), 2)
            case "limit":
                figure = float(draw.integers(2, 100) * 50)
            case "rating":
                figure = round(float(draw.uniform(1.0, 9.9)), 1)
            case "earnings":
                figure = round(float(draw.uniform(0.05, 9.9)), 2)
            case "outcome":
                figure = round(float(draw.uniform(0.1, 12.0)), 1)
            case "event":
                figure = float(draw.integers(2, 90))
            case "fill":
                figure = float(draw.integers(1, 200) * 10)
            case _:
                figure = float(draw.integers(5, 900))
        return Claim(figure, 1 if draw.random() < 0.5 else -1, int(draw.integers(1, 10)))

    def _words(  # noqa: PLR0917
        self, fact: Fact, mode: Mode, role: Role, source: str, wording: Wording, claim: Claim | None
    ) -> str:
        pick = self._draw
        certain = WORDS_OF_CERTAINTY[wording][int(pick.integers(3))]
        verb = VERBS[mode][int(pick.integers(len(VERBS[mode])))]
        if role == "chatter":
            templates = self._voice.chatter
        else:
            templates = self._voice.claims if claim is not None else self._voice.withdrawals
        template = templates[int(pick.integers(len(templates)))]
        return _fill(template, fact, source, verb, certain, claim)

    def _ask(self, facts: Sequence[Fact], count: int) -> list[Question]:
        in_force = [fact for fact in facts if self._truth.get(fact) is not None]
        withdrawn = [fact for fact in facts if fact in self._withdrawn and fact not in in_force]
        questions = []
        for _ in range(count):
            ended = self._draw.random() < WITHDRAWN_SHARE
            pool = withdrawn if (ended and withdrawn) or not in_force else in_force
            if not pool:
                pool = list(facts)
            questions.append(self._question(self._asked(pool)))
        return questions

    def _asked(self, pool: Sequence[Fact]) -> Fact:
        """A kind by its share in this regime, among the kinds that are there; then any fact of it."""
        kinds = sorted({fact.kind for fact in pool}, key=KINDS.index)
        shares = np.array([asked_share(self._regime, kind) for kind in kinds])
        kind = kinds[int(self._draw.choice(len(kinds), p=shares / shares.sum()))]
        of_kind = [fact for fact in pool if fact.kind == kind]
        return of_kind[int(self._draw.integers(len(of_kind)))]

    def _question(self, fact: Fact) -> Question:
        draw = self._draw
        names = list(QUESTION_SHARES)
        type_: QuestionType = names[int(draw.choice(len(names), p=list(QUESTION_SHARES.values())))]  # type: ignore[assignment]
        truth = self._truth.get(fact)
        noun, company = NOUNS[fact.kind], fact.company
        match type_:
            case "direction":
                up, down = MOVES[fact.kind]
                answer: float | int | None = None if truth is None else truth.direction
                return Question(type_, fact, f"{company} {noun}: {up} or {down}?", answer)
            case "count":
                answer = None if truth is None else truth.count
                return Question(type_, fact, f"{company} {noun}: how many times?", answer)
            case "which":
                wrong = [claim for claim in self._claims.get(fact, ()) if claim != truth]
                other = (
                    wrong[int(draw.integers(len(wrong)))] if wrong else self._invented(fact.kind)
                )
                first = self._invented(fact.kind) if truth is None else truth
                options = (first.figure, other.figure)
                if draw.random() < 0.5:
                    options = options[::-1]
                text = f"{company} {noun}: which is current, {options[0]:g} or {options[1]:g}?"
                answer = None if truth is None else truth.figure
                return Question(type_, fact, text, answer, options)
        answer = None if truth is None else truth.figure
        return Question("figure", fact, f"{company} {noun}: what figure is in force?", answer)

    def _plant_decision(self, questions: list[Question], facts: Sequence[Fact]) -> list[Question]:
        """Let the last question be a trade that pays in the direction of an outcome in force."""
        outcomes = [fact for fact in facts if fact.kind == "outcome" and self._truth.get(fact)]
        if not outcomes:
            return questions
        fact = outcomes[int(self._draw.integers(len(outcomes)))]
        truth = self._truth[fact]
        assert truth is not None
        text = f"{fact.company} {NOUNS[fact.kind]}: buy or sell?"
        return [*questions[:-1], Question("decision", fact, text, truth.direction)]


def _shuffled(draw: Generator, items: Sequence[_Planned]) -> list[_Planned]:
    return [items[i] for i in draw.permutation(len(items))]


def _claims_first(plan: list[_Planned]) -> list[_Planned]:
    """Let the first note of every fact be the one that brings it up."""
    seen: dict[Fact, int] = {}
    for place, (fact, mode, _) in enumerate(plan):
        if fact not in seen:
            seen[fact] = place
        elif mode == "new":
            plan[seen[fact]], plan[place] = plan[place], plan[seen[fact]]
    return plan


@lru_cache(maxsize=1_024)
def ticker(company: str) -> str:
    """Invented tickers: four letters of the name's words."""
    first, second = company.upper().split()
    return first[:3] + second[:1]


_BLANKS: Final = re.compile(r"\s+")


def _fill(  # noqa: PLR0917
    template: str, fact: Fact, source: str, verb: str, certain: str, claim: Claim | None
) -> str:
    """A note's text. `{words, }` and `{, words}` vanish with their comma where there are no words."""
    before, after = (f"{certain}, ", f", {certain}") if certain else ("", "")
    text = template.replace("{words, }", before).replace("{, words}", after)
    values = {"source": source, "company": fact.company, "noun": NOUNS[fact.kind], "verb": verb}
    if claim is not None:
        values |= {
            "figure": f"{claim.figure:g}",
            "unit": UNITS[fact.kind],
            "move": MOVES[fact.kind][0 if claim.direction > 0 else 1],
            "count": str(claim.count),
        }
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return _BLANKS.sub(" ", text).strip()
