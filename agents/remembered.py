"""What the memory stage hands to the agents at one step: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.forecasts import Answer
    from agents.news import News
    from agents.sources import Case
    from agents.states import StateRow


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """`answers` are forecasts whose outcome became known now; `cases`, `news` and `topics` are by column.

    `lines` are the best recalled texts, for agents that read; none when nothing was recalled. `operations`
    are receipts, as the record has them.
    """

    states: StateRow
    answers: Sequence[Answer] = ()
    cases: Mapping[int, Sequence[Case]] = field(default_factory=dict)
    news: Mapping[int, Sequence[News]] = field(default_factory=dict)
    topics: Mapping[int, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    operations: Sequence[Mapping[str, Any]] = ()
