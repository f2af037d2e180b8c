"""Messages between agents: typed, with priorities, over a bus whose transcript stands in the record.

Owns who told whom what in one step. Refuses to know what is made of it. The urgent are read first, equals in
the order in which they were sent. A message carries values for code to read; `text` says the same in one line
for people and language models, and `tokens` is what reading that line costs one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from agents.mind import Judgement
    from agents.remembered import Remembered
    from core.types import Verdict, Views

    FloatArray = npt.NDArray[np.float64]

PayloadT_co = TypeVar("PayloadT_co", covariant=True)
ALL = "all"


class Priority(IntEnum):
    """How soon a message is to be read."""

    ROUTINE = 0
    IMPORTANT = 1
    URGENT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Message(Generic[PayloadT_co]):
    """One message of `sender` to an agent by name, or to `ALL`. The payload's type is the message's."""

    sender: str
    to: str
    payload: PayloadT_co
    text: str
    priority: Priority = Priority.ROUTINE
    tokens: int = 0

    def receipt(self) -> dict[str, Any]:
        """As the record has it."""
        return {
            "from": self.sender,
            "to": self.to,
            "kind": type(self.payload).__name__,
            "priority": self.priority.name.lower(),
            "text": self.text,
            "tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True, eq=False)
class OutcomesKnown:
    """How many forecasts were answered at this step."""

    count: int


@dataclass(frozen=True, slots=True, eq=False)
class CasesRecalled:
    """How many earlier cases speak, for how many symbols."""

    cases: int
    symbols: int


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTold:
    """What all sources come to: a view over `horizon_bars`, and how wild the coming bars are, [N]."""

    view: Views
    horizon_bars: int
    dispersion_ratio: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LimitsBound:
    """Symbols whose wanted weight a limit cut, by reason code."""

    reasons: Mapping[str, tuple[str, ...]]


class Bus:
    """The messages of one step. Nothing stays on it from one step to the next."""

    def __init__(self, count_tokens: Callable[[str], int]) -> None:
        self._count = count_tokens
        self._sent: list[Message[Any]] = []

    def post(
        self,
        sender: str,
        to: str,
        payload: Any,
        text: str,
        priority: Priority = Priority.ROUTINE,
    ) -> None:
        """Send a message; its tokens are counted here, once."""
        self._sent.append(Message(sender, to, payload, text, priority, self._count(text)))

    def read(self, agent: str, kind: type[PayloadT_co]) -> list[Message[PayloadT_co]]:
        """Messages of one type to an agent or to all, not its own: the most urgent first."""
        found = [
            message
            for message in self._sent
            if message.to in (agent, ALL)
            and message.sender != agent
            and isinstance(message.payload, kind)
        ]
        return sorted(found, key=lambda message: -message.priority)

    def transcript(self) -> list[Mapping[str, Any]]:
        """Every message in the order of sending, as the record has it."""
        return [message.receipt() for message in self._sent]


MEMORY, STRATEGY = "memory", "strategy"


def post_evidence(bus: Bus, analyst: str, remembered: Remembered, judged: Judgement) -> None:
    """What the memory and the analyst tell the strategy agent before it thinks."""
    if remembered.answers:
        count = len(remembered.answers)
        text = f"{count} forecasts are answered." if count > 1 else "1 forecast is answered."
        bus.post(MEMORY, ALL, OutcomesKnown(count), text)
    if judged.recalled:
        cases = sum(len(each["ids"]) for each in judged.recalled.values())
        text = f"Recalled {cases} cases for {', '.join(judged.recalled)}."
        bus.post(MEMORY, analyst, CasesRecalled(cases, len(judged.recalled)), text)
    view, ratio = judged.view, judged.dispersion_ratio
    sure = float(view.confidence_frac.max(initial=0.0))
    wild = float(ratio.max(initial=0.0))
    text = f"Forecasts pooled: direction sure to {sure:.2f}, volatility up to {wild:.2f} times."
    priority = Priority.IMPORTANT if sure > 0.5 or wild > WILD else Priority.ROUTINE
    told = ForecastTold(view, judged.horizon_bars, ratio)
    bus.post(analyst, STRATEGY, told, text, priority)


WILD = 1.25
"""A dispersion ratio from which a forecast is worth reading first."""


def post_limits(bus: Bus, risk: str, verdict: Sequence[Verdict]) -> None:
    """What the risk manager cut, to everybody, before execution acts."""
    reasons = {each.symbol: each.reasons for each in verdict}
    shown = ", ".join(f"{symbol} {why[-1]}" for symbol, why in list(reasons.items())[:5])
    more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    bus.post(risk, ALL, LimitsBound(reasons), f"Cut: {shown}{more}.", Priority.URGENT)
