"""The seams between packages: what one part may ask of another, and nothing more.

Shapes: T rows of time, N symbols. Arrays of prices are float64 with NaN where a symbol has no bar.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

from core.memories import (
    Branch,
    Closing,
    Derived,
    Lineage,
    OperationRecord,
    StoredVector,
    Version,
)
from core.types import Decision, Fill, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]
    BoolArray = npt.NDArray[np.bool_]
    TimeArray = npt.NDArray[np.datetime64]

ResultT = TypeVar("ResultT")
RememberedT = TypeVar("RememberedT")
RecalledT_co = TypeVar("RecalledT_co", covariant=True)
HeardT_contra = TypeVar("HeardT_contra", contravariant=True)


class History(Protocol):
    """The read-only past: every array ends at the row being decided on.

    Shapes: prices [T, N], `times` [T] (datetime64[ns], UTC, the moment each row became known).
    Units: `open high low close` are adjusted prices, `volume` keeps dollars (raw volume x close /
    adjusted close), `raw_*` are as traded. `mark` is the last known close (NaN before the first bar),
    `stale` the sessions of the calendar that have closed since a symbol's last bar (in bars longer than a
    day, the bars it has missed).
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


class ClosedTrade(Protocol):
    """A round trip that a fill closed, net of `costs_usd`; `quantity` is what was entered, signed."""

    @property
    def symbol(self) -> str: ...
    @property
    def entry_time(self) -> str: ...
    @property
    def exit_time(self) -> str: ...
    @property
    def quantity(self) -> float: ...
    @property
    def entry_price(self) -> float: ...
    @property
    def pnl_usd(self) -> float: ...
    @property
    def costs_usd(self) -> float: ...


class MemoryStage(Protocol[RecalledT_co]):
    """What `run_step` does between the fills and the agents: remember what happened, recall what is like it.

    `fills` and `closed` are those of the present bar. What it hands on is for the agents alone.
    """

    async def remember(
        self,
        history: History,
        state: State,
        fills: Sequence[Fill],
        closed: Sequence[ClosedTrade],
    ) -> RecalledT_co: ...


class RememberingAgents(Protocol[HeardT_contra]):
    """Agents that are given what their memory stage recalled."""

    async def decide_remembering(
        self, history: History, state: State, remembered: HeardT_contra
    ) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Remembering(Generic[RememberedT]):
    """A memory stage and the agents that read what it recalls."""

    stage: MemoryStage[RememberedT]
    agents: RememberingAgents[RememberedT]


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


class Summariser(Protocol):
    """Texts to one shorter text of at most `max_tokens` tokens."""

    async def summarise(self, texts: Sequence[str], max_tokens: int) -> str: ...


class MemoryTransaction(Protocol):
    """One write transaction of a store, on one branch; nothing else writes while it lasts."""

    @property
    def branch(self) -> str: ...
    @property
    def lineage(self) -> Lineage: ...
    @property
    def seed(self) -> str:
        """What this store's ids derive from."""

    async def position(self) -> tuple[int, int]:
        """The sequence in the store and the number in the branch that the next operation takes."""

    async def operation_by_key(self, key: str) -> OperationRecord | None: ...

    async def operation(self, operation_id: str) -> OperationRecord | None: ...

    async def is_undone(self, operation_id: str) -> bool: ...

    async def versions(self, entry_id: str) -> Sequence[Version]:
        """Every version of the entry in the lineage, oldest first."""

    async def closings(self, targets: Sequence[str]) -> Sequence[Closing]:
        """Closings of these versions or edges in the lineage."""

    async def live(self, namespace: str) -> Sequence[Version]:
        """The open versions of the lineage in a namespace, oldest first."""

    async def append(self, record: OperationRecord, vectors: Sequence[StoredVector]) -> None:
        """Write an operation, all that follows from it, and its vectors (copies copy theirs)."""

    async def erase(self, entry_id: str) -> None:
        """Remove text, metadata and vectors of an entry from every branch, index and log line."""


class MemoryStore(Protocol):
    """Where the operation log lives. Both stores pass `tests/contracts/`.

    Raises: MemoryStoreError, with a cure, from every method when the store itself fails.
    """

    @property
    def name(self) -> str: ...

    async def open(self) -> None:
        """Connect and bring the schema up to date. Called again, it does nothing."""

    async def close(self) -> None: ...

    async def branches(self) -> Mapping[str, Branch]: ...

    async def fork(self, parent: str, at_sequence: int | None, created_at: int) -> Branch:
        """A new branch of `parent` as it stood after `at_sequence` (now, if None): one row."""

    async def write(
        self, branch: str, work: Callable[[MemoryTransaction], Awaitable[ResultT]]
    ) -> ResultT:
        """Run `work` in one durable transaction: all of it or none. It may run again on a lost race."""

    async def state(self) -> tuple[int, int]:
        """The epoch and the last sequence. The epoch counts purges, rebuilds and loads, after which
        whatever was read before is stale as a whole."""

    async def operations(self, after: int = 0) -> Sequence[OperationRecord]: ...

    async def vectors(self, after: int = 0) -> Sequence[StoredVector]: ...

    async def versions(self, branch: str, entry_id: str) -> Sequence[Version]: ...

    async def closings(self, branch: str, targets: Sequence[str]) -> Sequence[Closing]: ...

    async def derived(self) -> Derived: ...

    async def erasure_pending(self) -> str:
        """Where purged text may still stand, and until when; empty when it is gone from the store's files."""

    async def rebuild(self, vectors: Sequence[StoredVector], at_sequence: int) -> bool:
        """Make every table and index but the log anew from the log, with these vectors.

        False, and nothing done, when the log has gone on since `at_sequence`.
        """

    async def load(
        self,
        branches: Sequence[Branch],
        operations: Sequence[OperationRecord],
        vectors: Sequence[StoredVector],
        seed: str,
    ) -> None:
        """Fill an empty store with an exported log."""

    async def seed(self) -> str: ...

    async def add_timings(self, timings: Mapping[tuple[str, int], int]) -> None:
        """Add to the counts of calls by (operation, latency bucket); no part of the memory's state."""

    async def timings(self) -> Mapping[tuple[str, int], int]: ...
