"""The learned parts of a run: which there are by the configuration, and their memory while the run goes on.

Binds sources, mixture, book of forecasts, language model and memory. Refuses to know how a step goes.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from agents.forecasts import ForecastBook
from agents.learning import SpeedMixture
from agents.mind import Mind
from agents.news import NewsFeed
from agents.policies import run_policy
from agents.run_memory import NEWS_TOKENS, CachedEmbedder, RunMemory
from agents.sources import (
    AnalogEvidence,
    AnalystOpinion,
    Climatology,
    Forecaster,
    Indicators,
    ModelForecast,
    NewsEvidence,
    Source,
)
from core import formats
from core.clock import ReplayClock
from core.errors import DataError, MemoryStoreError
from core.files import storage_errors
from core.protocols import MemoryStore, Remembering, Tokenizer
from core.runlog import BEFORE
from memory.agemem import AgeMem
from memory.commands import neo4j_store
from memory.embedders import HashedNgramEmbedder
from memory.stores.sqlite import SqliteStore
from memory.tokenizers import WordTokenizer

if TYPE_CHECKING:
    from agents.coordinator import Coordinator
    from agents.remembered import Remembered
    from core.config import AthenaConfig
    from core.types import MarketState
    from memory.policy import MemoryPolicy
    from models.forecaster import FloatArray
    from models.olmoe import OLMoEModel

SQLITE_START = b"SQLite format 3\x00"
MEMORY_FILE = "memory.db"


class OneThread:
    """A forecaster asked with one thread of torch: faster for so few words, and the same bits on machines
    with more cores."""

    def __init__(self, inner: Forecaster) -> None:
        self._inner = inner

    def forecast(self, states: Sequence[MarketState]) -> FloatArray:
        from models.device import torch_threads

        with torch_threads(1):
            return self._inner.forecast(states)


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A loaded language model as runs use it, with what a manifest says of it."""

    forecaster: Forecaster
    count_tokens: Callable[[str], int]
    model_id: str
    training_cutoff: str | None
    model: OLMoEModel


REMEMBERED_STEPS = 20_000


class Remembers:
    """A forecaster that answers what it was asked before from memory, for several runs over the same bars; it
    begins anew when that is full."""

    def __init__(self, inner: Forecaster) -> None:
        self._inner = inner
        self._answers: dict[tuple[MarketState, ...], FloatArray] = {}

    def forecast(self, states: Sequence[MarketState]) -> FloatArray:
        asked = tuple(states)
        if asked not in self._answers:
            if len(self._answers) >= REMEMBERED_STEPS:
                self._answers.clear()
            self._answers[asked] = self._inner.forecast(states)
        return self._answers[asked]


def load_shared(config: AthenaConfig) -> SharedModel:
    """The configured language model. Raises: ModelError, CheckpointError."""
    from models.forecaster import OLMoEForecaster
    from models.serving import load_model, training_cutoff

    model = load_model(config.olmoe)
    forecaster = OLMoEForecaster(model, follow_training=model.has_adapter)
    until = training_cutoff(config.olmoe)
    return SharedModel(
        OneThread(forecaster),
        model.tokenizer.count,
        f"{model.name}-{model.backbone_hash[:12]}",
        None if until is None else until.isoformat(),
        model,
    )


def shared_model(config: AthenaConfig) -> SharedModel:
    """The configured language model for several runs over the same bars."""
    loaded = load_shared(config)
    return replace(loaded, forecaster=Remembers(loaded.forecaster))


@dataclass(frozen=True, slots=True)
class LearnedParts:
    """What was built for one run. `model_id` and `training_cutoff` are None without a language model."""

    mind: Mind
    policy: MemoryPolicy
    count_tokens: Callable[[str], int] | None
    model_id: str | None
    training_cutoff: str | None
    news: NewsFeed | None
    config: AthenaConfig
    snapshot: Path | None = None
    tokenizer: Tokenizer | None = None
    model: SharedModel | None = None

    def facts(self) -> dict[str, Any]:
        """What the manifest says of them."""
        snapshot = None
        if self.snapshot is not None:
            snapshot = {"name": self.snapshot.name, "sha256": file_hash(self.snapshot)}
        return {
            "model": {"id": self.model_id, "training_cutoff": self.training_cutoff},
            "memory_snapshot": snapshot,
            "memory_policy": self.policy.name,
            "sources": [source.name for source in self.mind.sources],
        }

    @asynccontextmanager
    async def remembering(
        self,
        coordinator: Coordinator,
        folder: Path | None,
        environment: Mapping[str, str],
        *,
        again: bool = False,
    ) -> AsyncIterator[Remembering[Remembered]]:
        """The memory stage and the agents, with the memory open: in the run's folder (`memory.db`), in Neo4j
        under the folder's name, or without a folder for as long as the block lasts. `again` erases first what
        an earlier process of this run left there.

        Raises: MemoryStoreError, DataError for a snapshot that cannot be read.
        """
        if again and folder is not None:
            await self._erase(folder, environment)
        with TemporaryDirectory(prefix="athena-") as spare:
            async with self._open(coordinator, folder, Path(spare), environment) as remembering:
                yield remembering

    @asynccontextmanager
    async def _open(
        self,
        coordinator: Coordinator,
        folder: Path | None,
        spare: Path,
        environment: Mapping[str, str],
    ) -> AsyncIterator[Remembering[Remembered]]:
        embedder = CachedEmbedder(_embedder(self.config))
        clock = ReplayClock(datetime.min.replace(tzinfo=UTC))
        memory = AgeMem(
            store=self._store(folder, spare, environment),
            embedder=embedder,
            clock=clock,
            entry_cap=self.config.memory.entry_cap,
        )
        async with memory:
            if (
                folder is not None
                and (await (await memory.store()).state())[1]
                and not self._copies
            ):
                raise MemoryStoreError(
                    f"{self.config.memory.store} has a memory of the run {folder.name} already.",
                    "Choose another runs_dir, or erase that run there.",
                )
            if self.snapshot is not None and not is_sqlite(self.snapshot):
                await memory.import_(self.snapshot)
            stage = RunMemory(
                memory,
                embedder=embedder,
                policy=self.policy,
                clock=clock,
                book=self.mind.book,
                news=self.news,
                tokenizer=self.tokenizer,
            )
            yield Remembering(stage, coordinator)

    async def note_orders(self, folder: Path, environment: Mapping[str, str]) -> None:
        """With Neo4j, put the chain behind each order of the run's records into its graph; also once more.

        Raises: MemoryStoreError.
        """
        if self.config.memory.store != "neo4j":
            return
        from agents.decision_graph import note_orders

        store = neo4j_store(self.config.memory.neo4j_uri, environment, folder.name)
        await store.open()
        try:
            await note_orders(store, folder)
        finally:
            await store.close()

    async def _erase(self, folder: Path, environment: Mapping[str, str]) -> None:
        if self.config.memory.store != "neo4j":
            set_memory_aside(folder)
            return
        await self._erase_run(folder.name, environment)

    async def _erase_run(self, run: str, environment: Mapping[str, str]) -> None:
        store = neo4j_store(self.config.memory.neo4j_uri, environment, run)
        await store.open()
        await store.erase_run()

    async def try_server(self, environment: Mapping[str, str]) -> None:
        """Open the Neo4j server that runs would use, if they use one, and leave no run there.

        Raises: ConfigError, MemoryStoreError.
        """
        if self.config.memory.store == "neo4j":
            await self._erase_run("dry-run", environment)

    @property
    def _copies(self) -> bool:
        """Whether the store is a copy of a memory's own file, and so not empty as the run begins."""
        return self.snapshot is not None and is_sqlite(self.snapshot)

    def _store(
        self, folder: Path | None, spare: Path, environment: Mapping[str, str]
    ) -> MemoryStore:
        seed = f"run-{self.config.seed}"
        if self.config.memory.store == "neo4j" and folder is not None:
            if self.snapshot is not None and is_sqlite(self.snapshot):
                raise DataError(
                    f"--memory {self.snapshot} is an SQLite file, and memory.store is neo4j.",
                    "Give an export of it (`athena memory export FILE`).",
                )
            run_seed = None if self.snapshot is not None else seed
            return neo4j_store(self.config.memory.neo4j_uri, environment, folder.name, run_seed)
        if self.snapshot is None:
            return SqliteStore(
                ":memory:" if folder is None else str(folder / MEMORY_FILE), seed=seed
            )
        path = str((folder or spare) / MEMORY_FILE)
        return _copied(self.snapshot, path) if is_sqlite(self.snapshot) else SqliteStore(path)


def build_learned(
    config: AthenaConfig,
    *,
    news: NewsFeed | None,
    snapshot: Path | None,
    model: SharedModel | None = None,
) -> LearnedParts:
    """The parts that the configuration asks for. Loads the language model, unless it is given or off.

    Raises: ModelError, CheckpointError, ConfigError for an unknown memory policy.
    """
    climate = Climatology()
    sources: list[Source] = [climate, Indicators()]
    if config.learning.analyst:
        sources.append(AnalystOpinion())
    model_id = cutoff = None
    count: Callable[[str], int] = WordTokenizer().count
    used: SharedModel | None = None
    if config.model.enabled:
        used = model or load_shared(config)
        sources.append(ModelForecast(used.forecaster))
        model_id, cutoff, count = used.model_id, used.training_cutoff, used.count_tokens
    policy = run_policy(config, None if used is None else used.model)
    if config.memory.policy != "none":
        sources.append(AnalogEvidence(climate))
    if news is not None:
        sources.append(NewsEvidence(climate))
    tokenizer = None if used is None else used.model.tokenizer
    if news is not None:
        news = news.fitting(tokenizer or WordTokenizer(), NEWS_TOKENS)
    names = [source.name for source in sources]
    learns = config.learning.enabled
    return LearnedParts(
        mind=Mind(
            sources, climate, ForecastBook(names), SpeedMixture(names, learns=learns), learns=learns
        ),
        policy=policy,
        count_tokens=count if config.communication.enabled else None,
        model_id=model_id,
        training_cutoff=cutoff,
        news=news,
        config=config,
        snapshot=snapshot,
        tokenizer=tokenizer,
        model=used,
    )


def _embedder(config: AthenaConfig) -> Any:
    from models.embedder import configured_embedder

    return configured_embedder(config) or HashedNgramEmbedder()


def is_sqlite(path: Path) -> bool:
    """Whether a snapshot is a memory's own file; else it is an export. Raises: DataError."""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_START)) == SQLITE_START
    except OSError as error:
        raise DataError(
            f"--memory {path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a snapshot; of a memory still in use, its write-ahead log included."""
    digest = hashlib.sha256()
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each == path or each.is_file():
            digest.update(each.read_bytes())
    return digest.hexdigest()


def _copied(snapshot: Path, target: str) -> SqliteStore:
    """A store on a copy of a memory's file; the file itself is only read.

    Raises: MemoryStoreError, also for a file of a newer Athena.
    """
    try:
        with (
            closing(sqlite3.connect(f"file:{snapshot}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            formats.MEMORY.check(source.execute("PRAGMA user_version").fetchone()[0], snapshot)
            source.backup(copy)
    except sqlite3.Error as error:
        raise MemoryStoreError(
            f"--memory {snapshot} cannot be copied: {error}.",
            "Check it with `athena memory check`.",
        ) from error
    return SqliteStore(target, copies=False)


def set_memory_aside(folder: Path) -> None:
    """Take a run's memory out of the way of the same run lived through again; it is put back when that
    run does not catch up. What was set aside already, by a process that was killed meanwhile, is the whole
    one, and stays. Raises: StorageError."""
    whole = (folder / f"{BEFORE}{MEMORY_FILE}").exists()
    with storage_errors(folder):
        for ending in ("", "-wal", "-shm"):
            path = folder / f"{MEMORY_FILE}{ending}"
            if whole or not path.exists():
                path.unlink(missing_ok=True)
            else:
                path.replace(folder / f"{BEFORE}{path.name}")
