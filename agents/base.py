"""What an agent is: it thinks about a context, then acts on its thought.

Owns the values that pass between the coordinator and its agents. Refuses to know what any agent does.
`think` only looks and judges; `act` turns the judgement into what the next stage reads. Everything here
is frozen, and made once per stage and step, so it stays small.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from agents.indicators import IndicatorRow
    from agents.messages import Bus
    from core.protocols import History, State
    from core.types import OrderIntent, Verdict, Views

    FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is known at one step, and what the earlier stages made of it.

    Shapes: [N], the visible symbols in panel order. Units: `held_frac`, `wanted_frac` and
    `accepted_frac` are signed fractions of the marked equity; NaN in a wanted or accepted weight means
    "hold what is there". `views` are over `horizon_bars` bars. Point in time: the present close; nothing
    later is reachable.
    """

    history: History
    state: State
    held_frac: FloatArray
    indicators: IndicatorRow
    views: Views | None = None
    horizon_bars: int = 1
    wanted_frac: FloatArray | None = None
    accepted_frac: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AgentContext:
    """What the coordinator hands to one agent at one step.

    `messages` are the actions of the agents before it, in order; `bus`, where there is one, carries what
    they tell each other beside them. `memory_context` are recalled texts. `metadata["market_data"]` is
    `MarketData`. `observation` holds the same facts as typed values; the built-in agents read only that.
    """

    task: str
    history: History
    memory_context: tuple[str, ...]
    messages: tuple[AgentAction, ...]
    metadata: Mapping[str, Any]
    observation: Observation
    bus: Bus | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Thought:
    """What an agent concluded, not yet in the form that the next stage reads."""

    context: AgentContext


@dataclass(frozen=True, slots=True, eq=False)
class AgentAction:
    """What an agent says to the stages after it."""

    agent: str


@dataclass(frozen=True, slots=True, eq=False)
class ViewsAction(AgentAction):
    """`voices` are the views of each who spoke; `views`, over `horizon_bars`, is what they come to."""

    voices: tuple[Views, ...]
    views: Views
    horizon_bars: int


@dataclass(frozen=True, slots=True, eq=False)
class TargetsAction(AgentAction):
    """Wanted weights [N]; NaN holds."""

    wanted_frac: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class VerdictAction(AgentAction):
    """Accepted weights [N]; NaN holds. `verdict` has a row for every symbol that a limit changed."""

    accepted_frac: FloatArray
    verdict: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OrdersAction(AgentAction):
    """Orders to send, and columns whose working order ends without a successor."""

    intents: tuple[OrderIntent, ...]
    cancel_columns: tuple[int, ...]


ThoughtT = TypeVar("ThoughtT", bound=Thought)
ActionT = TypeVar("ActionT", bound=AgentAction)


class BaseAgent(ABC, Generic[ThoughtT, ActionT]):
    """One of the agents. The coordinator awaits `think` and `act` directly, never as tasks."""

    name: str
    task: str

    @abstractmethod
    async def think(self, context: AgentContext) -> ThoughtT:
        """Judge what the context shows."""

    @abstractmethod
    async def act(self, thought: ThoughtT) -> ActionT:
        """Turn the judgement into what the next stage reads."""


class MarketData(Mapping[str, dict[str, Any]]):
    """Symbol -> `dataclasses.asdict(OHLCV)` of the present bar, made when it is asked for.

    Symbols without a bar at this row are not in it. Built eagerly for 500 symbols it would cost more
    than all five agents together.
    """

    __slots__ = ("_columns", "_history")

    def __init__(self, history: History) -> None:
        self._history = history
        self._columns: dict[str, int] | None = None

    def _present(self) -> dict[str, int]:
        if self._columns is None:
            close = self._history.close[-1].tolist()
            self._columns = {
                symbol: column
                for column, symbol in enumerate(self._history.symbols)
                if close[column] == close[column]
            }
        return self._columns

    def __getitem__(self, symbol: str) -> dict[str, Any]:
        from trading.market_data import OHLCV

        column = self._present()[symbol]
        history = self._history
        volume, raw_volume = (
            None if math.isnan(figure) else figure
            for figure in (
                float(history.volume[-1, column]),
                float(history.raw_volume[-1, column]),
            )
        )
        return asdict(
            OHLCV(
                symbol=symbol,
                time=history.as_of,
                open=float(history.open[-1, column]),
                high=float(history.high[-1, column]),
                low=float(history.low[-1, column]),
                close=float(history.close[-1, column]),
                volume=volume,
                raw_open=float(history.raw_open[-1, column]),
                raw_high=float(history.raw_high[-1, column]),
                raw_low=float(history.raw_low[-1, column]),
                raw_close=float(history.raw_close[-1, column]),
                raw_volume=raw_volume,
            )
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())
