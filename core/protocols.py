"""The seams between packages: what one part may ask of another, and nothing more.

Shapes: T rows of time, N symbols. Arrays of prices are float64 with NaN where a symbol has no bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from core.types import Decision, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    TimeArray = npt.NDArray[np.datetime64]


class History(Protocol):
    """The read-only past: every array ends at the row being decided on.

    Shapes: prices [T, N], `times` [T] (datetime64[ns], UTC, the moment each row became known).
    Units: `open high low close` are adjusted prices, `volume` keeps dollars (raw volume x close /
    adjusted close), `raw_*` are as traded. `mark` is the last known close (NaN before the first bar),
    `stale` the number of rows in a row without a bar.
    Raises: LookAhead when a later row is asked for.
    """

    @property
    def symbols(self) -> tuple[str, ...]: ...
    @property
    def times(self) -> TimeArray: ...
    @property
    def open(self) -> FloatArray: ...
    @property
    def high(self) -> FloatArray: ...
    @property
    def low(self) -> FloatArray: ...
    @property
    def close(self) -> FloatArray: ...
    @property
    def volume(self) -> FloatArray: ...
    @property
    def raw_open(self) -> FloatArray: ...
    @property
    def raw_high(self) -> FloatArray: ...
    @property
    def raw_low(self) -> FloatArray: ...
    @property
    def raw_close(self) -> FloatArray: ...
    @property
    def raw_volume(self) -> FloatArray: ...
    @property
    def mark(self) -> FloatArray: ...
    @property
    def stale(self) -> FloatArray: ...
    @property
    def barred(self) -> BoolArray | None:
        """Symbols that may only be sold, [N]: out of the universe, or too long without a bar."""

    @property
    def row(self) -> int:
        """Index of the last visible row: `len(history) - 1`."""

    @property
    def as_of(self) -> datetime:
        """The present moment, UTC."""

    def __len__(self) -> int: ...

    def upto(self, row: int) -> History:
        """The history as it stood at an earlier row."""


class State(Protocol):
    """The marked book at the present close.

    `weights` and `positions` (signed quantities) have a key for every listed symbol. The arrays are the
    same figures in panel order, shape [N].
    """

    @property
    def equity_usd(self) -> float: ...
    @property
    def cash_usd(self) -> float: ...
    @property
    def weights(self) -> Mapping[str, float]: ...
    @property
    def positions(self) -> Mapping[str, float]: ...
    def weight(self, column: int) -> float:
        """One signed weight, without making arrays."""

    @property
    def weight_array(self) -> FloatArray: ...
    @property
    def position_array(self) -> FloatArray: ...


@runtime_checkable
class Strategy(Protocol):
    """A user's strategy: target weights by symbol; `docs/strategies.md` has three.

    A symbol left out is 0; a value None holds that symbol; returning None holds everything. The class
    may have an attribute `warmup`, the number of bars it wants before its first decision (default 0).
    """

    def decide(
        self, history: History, state: State
    ) -> Mapping[str, float | Target | None] | None: ...


class Agents(Protocol):
    """What `run_step` asks once per step: the five agents, or a user's strategy in their place."""

    async def decide(self, history: History, state: State) -> Decision: ...


class RiskReview(Protocol):
    """The risk manager as the other parts see it.

    Shapes: `wanted_frac` and the returned weights [N]; NaN means "hold what is there".
    """

    def review(
        self, wanted_frac: FloatArray, history: History, state: State
    ) -> tuple[FloatArray, Sequence[object]]: ...


class Clock(Protocol):
    """Where the time comes from; an argument, never a global."""

    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class Embedder(Protocol):
    """Text to vectors. `model_id` names the space: vectors of two models are never compared.

    Shapes: `embed` returns [B, dimension], float32, unit rows (a row of zeros for text without content).
    """

    @property
    def model_id(self) -> str: ...
    @property
    def dimension(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Float32Array: ...


class Encoder(Protocol):
    """The part of a language model that an embedder needs: texts to a [B, D] array or tensor."""

    def encode_batch(self, texts: Sequence[str]) -> object: ...


class Tokenizer(Protocol):
    """Counts and cuts text in the tokens of a model."""

    def count(self, text: str) -> int: ...

    def truncate(self, text: str, tokens: int) -> str:
        """The beginning of `text` that has at most `tokens` tokens."""
