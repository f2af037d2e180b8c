"""`read_source`: the tables of a file, of a folder's files, or of data given in Python.

Owns which files of a folder are read and the SHA-256 of what was read. Refuses to know what stands in
them (`table`, `frames`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from core.config import DataConfig
from core.errors import DataError
from trading.sources.faults import DataFaults, Fault
from trading.sources.frames import Given, given_name, given_tables
from trading.sources.sheet import Table
from trading.sources.table import read_table

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq", ".feather", ".arrow")
"""What a folder is searched for; a file that is named is read whatever it is called."""

FOLDERS_NAMED = 8


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where bars come from: the tables, a name for the summary, and the SHA-256 of the bytes."""

    name: str
    tables: tuple[Table, ...]
    sha256: str
    faults: tuple[Fault, ...] = ()
    """Of the files of a folder that are no table, beside those that are."""


def read_source(data: Path | Given, config: DataConfig | None = None) -> Source:
    """The tables of a file, of a folder's files in the order of their names, or of data given in Python:
    a DataFrame (long, wide or two-level), a Series of closes, or frames or Series by symbol.

    Raises: DataFaults for what is no table, DataError for what cannot be read at all.
    """
    if not isinstance(data, Path):
        return Source(given_name(data), *given_tables(data, config))
    files = _files(data) if data.is_dir() else [data]
    digest = hashlib.sha256()
    tables: list[Table] = []
    faults: list[Fault] = []
    for file in files:
        content = _content(file)
        if data.is_dir():
            digest.update(file.name.encode() + b"\0" + len(content).to_bytes(8, "big"))
        digest.update(content)
        try:
            tables.append(read_table(file, content, config))
        except DataFaults as error:
            faults.extend(error.faults)
    if not tables:
        raise DataFaults(faults)
    return Source(data.absolute().name, tuple(tables), digest.hexdigest(), tuple(faults))


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(
            path
            for path in folder.iterdir()
            if path.is_file()
            and path.name.lower().endswith(SUFFIXES)
            and not path.name.startswith(".")
        )
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not files:
        below = _folders_with_files(folder)
        raise DataError(
            f"the folder {folder.name} holds no file of prices"
            + (f", but the folders below do: {', '.join(below)}." if below else "."),
            "Name one of them, or put the files into one folder, named by their symbols."
            if below
            else f"It is searched for {', '.join(SUFFIXES)}.",
        )
    return files


def _folders_with_files(folder: Path) -> list[str]:
    """The folders one level below that hold files of prices, the first of them by name."""
    found = {
        path.parent.name for path in folder.glob("*/*") if path.name.lower().endswith(SUFFIXES)
    }
    names = sorted(found)
    return names[:FOLDERS_NAMED] + (["..."] if len(names) > FOLDERS_NAMED else [])


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}.", "Check the path.") from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.")
