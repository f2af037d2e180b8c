"""Sealed forecasts: what every source told before the outcome, and what came.

Owns the open questions (one a symbol and step), the seal over what was told and claimed, and the answers
once the fifth bar after is there. Refuses to judge (`agents/forecast_scores.py`). A step's seal is a hash
over the seal before it and what is told now, and stands in that step's record: to change a forecast
afterwards, every later seal would have to be changed too.

Shapes: N symbols, K sources, S speeds, B buckets.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from agents.sources import DIGITS
from models.state import EDGES, HORIZON_BARS

if TYPE_CHECKING:
    from agents.learning import Pooled
    from agents.sources import Told
    from agents.states import StateRow

FloatArray = npt.NDArray[np.float64]

FIRST_SEAL = "0" * 64
WHOLE = "strategy"
"""Under this name stands what the strategy agent makes of all sources."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """An entry that a forecast rests on: its id, its version, what it counted."""

    id: str
    version: int
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """All that was told at one step, kept until it is answered."""

    made_at: str
    symbols: tuple[str, ...]
    told: tuple[Told, ...]
    pooled: Pooled
    without_recall: FloatArray
    close: FloatArray
    scale: FloatArray
    numbers: FloatArray
    recalled: Mapping[int, Sequence[Recalled]] = field(default_factory=dict)
    topics: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One question answered: which bucket came, and by what return. `batch` and `column` say what was told.

    Point in time: known at the close at which it is made.
    """

    batch: Batch
    column: int
    bucket: int
    return_frac: float

    @property
    def symbol(self) -> str:
        return self.batch.symbols[self.column]

    def told(self) -> FloatArray:
        """What each source had told for what came, [K]; NaN where it abstained."""
        return np.array([told.chances[self.column, self.bucket] for told in self.batch.told])

    def told_by_speed(self) -> FloatArray:
        """[S]"""
        result: FloatArray = self.batch.pooled.by_speed[:, self.column, self.bucket]
        return result

    def receipt(self) -> dict[str, Any]:
        """As the record has it."""
        return {
            "symbol": self.symbol,
            "made_at": self.batch.made_at,
            "bucket": self.bucket,
            "return_frac": self.return_frac,
        }


class ForecastBook:
    """Open questions by symbol, and the chain of seals; `last` is what was told at the last step."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self.seal = FIRST_SEAL
        self.last: Batch | None = None
        self._open: dict[str, deque[tuple[int, int, Batch]]] = {}

    def answer(self, states: StateRow) -> tuple[Answer, ...]:
        """The questions whose fifth bar after is the present one, by column."""
        found = []
        for column in np.flatnonzero(states.fresh).tolist():
            waiting = self._open.get(states.symbols[column])
            due = int(states.bars[column]) - HORIZON_BARS
            while waiting and waiting[0][0] <= due:
                _, place, batch = waiting.popleft()
                moved = float(states.close[column] / batch.close[place] - 1.0)
                bucket = int(np.searchsorted(EDGES, moved / batch.scale[place], side="right"))
                found.append(Answer(batch, place, bucket, round(moved, 6)))
        return tuple(found)

    def add(self, states: StateRow, batch: Batch) -> dict[str, Any]:
        """Keep what is told now until it is answered; returns it as the record has it, not sealed yet."""
        columns = np.flatnonzero(~np.isnan(batch.pooled.chances[:, 0])).tolist()
        for column in columns:
            waiting = self._open.setdefault(states.symbols[column], deque())
            waiting.append((int(states.bars[column]), column, batch))
        chances = {
            name: [_row(told.chances[column]) for column in columns]
            for name, told in zip(self.sources, batch.told, strict=True)
        }
        chances[WHOLE] = [_row(batch.pooled.chances[column]) for column in columns]
        self.last = batch
        return {
            "horizon_bars": HORIZON_BARS,
            "symbols": [states.symbols[column] for column in columns],
            "chances": chances,
        }

    def sealed(
        self, told: Mapping[str, Any], claims: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What `add` returned for this step, with what agents claim, under the step's seal."""
        assert self.last is not None, "something is told before it is sealed"
        whole = {**told, "claims": list(claims)}
        self.seal = next_seal(self.seal, self.last.made_at, whole)
        return {"seal": self.seal, **whole}


def next_seal(previous: str, made_at: str, told: Mapping[str, Any]) -> str:
    """SHA-256 over the seal before, the time, and `symbols`, `chances`, `claims` as the record has them."""
    text = orjson.dumps(
        {"at": made_at, **{name: told[name] for name in ("symbols", "chances", "claims")}},
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.sha256(previous.encode() + text).hexdigest()


def _row(chances: FloatArray) -> list[float] | None:
    """Chances as the record has them; None where the source abstained."""
    return None if np.isnan(chances[0]) else np.round(chances, DIGITS).tolist()


def stamp(moment: datetime) -> str:
    """As records write times."""
    return moment.isoformat().replace("+00:00", "Z")
