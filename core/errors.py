"""Every error that Athena raises on purpose.

    AthenaError
    |-- UsageError              arguments that do not fit together               exit 2
    |-- ConfigError             a configuration file, variable or --set          exit 2
    |-- DataError               market data, universes, views, weights           exit 2
    |   |-- PriceMissing        a held symbol without any price
    |   |-- DoubtfulPrices      a decision would rest on a gross price error
    |   `-- LookAhead           something reached past the present
    |-- StrategyError           a user's strategy raised or returned nonsense    exit 2
    |-- RunNotFound             no run folder of that name                       exit 2
    |-- RunFolderError          a run folder that cannot be made or written      exit 2
    |-- StorageError            the disk failed while a run was being written    exit 1
    |-- Interrupted             Ctrl-C left work unfinished                      exit 130
    |-- ModelError              the language model                               exit 1
    |   `-- ModelNotLoaded      used before load()
    |-- MemoryStoreError        the memory's store failed                        exit 1
    |   `-- UnreadableRecord    a stored record that is not as it was written
    |-- MemoryRefused           what was asked of the memory cannot be done      exit 2
    |   |-- EntryNotFound       no entry (or operation) of that id here
    |   |-- EntryClosed         the entry was deleted, purged or pushed out
    |   |-- VersionConflict     somebody else changed the entry first
    |   |-- KeyConflict         an idempotency key used again for something else
    |   |-- ContentRefused      text, metadata or a name outside the limits
    |   |-- UndoRefused         an operation that cannot be undone now
    |   `-- EmbedderMismatch    stored vectors come from another embedder
    |-- BrokerError             the broker failed                                exit 1
    |   `-- OrderRejected       an order that the broker does not take
    |-- LedgerImbalance         cash + positions != equity                       exit 1
    `-- TrainingError           training                                         exit 1
        `-- CheckpointError     a checkpoint that does not fit or is damaged

A message says what happened, the value found, and what to do. `exit_code` is what the command line
returns for the class; "no data exists" is a value, not an error.
"""

from __future__ import annotations

from typing import ClassVar


class AthenaError(Exception):
    """Base of all deliberate errors. `cure` says what the reader can do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} {self.cure}".strip()


class UsageError(AthenaError):
    exit_code = 2


class ConfigError(AthenaError):
    exit_code = 2


class DataError(AthenaError):
    exit_code = 2


class PriceMissing(DataError):
    pass


class DoubtfulPrices(DataError):
    pass


class LookAhead(DataError):
    pass


class StrategyError(AthenaError):
    exit_code = 2


class RunNotFound(AthenaError):
    exit_code = 2


class RunFolderError(AthenaError):
    exit_code = 2


class StorageError(AthenaError):
    pass


class Interrupted(AthenaError):
    exit_code = 130


class ModelError(AthenaError):
    pass


class ModelNotLoaded(ModelError, RuntimeError):
    pass


class MemoryStoreError(AthenaError):
    pass


class UnreadableRecord(MemoryStoreError):
    pass


class MemoryRefused(AthenaError):
    exit_code = 2


class EntryNotFound(MemoryRefused):
    pass


class EntryClosed(MemoryRefused):
    pass


class VersionConflict(MemoryRefused):
    pass


class KeyConflict(MemoryRefused):
    pass


class ContentRefused(MemoryRefused):
    pass


class UndoRefused(MemoryRefused):
    pass


class EmbedderMismatch(MemoryRefused):
    pass


class BrokerError(AthenaError):
    pass


class OrderRejected(BrokerError):
    pass


class LedgerImbalance(AthenaError):
    pass


class TrainingError(AthenaError):
    pass


class CheckpointError(TrainingError):
    pass
