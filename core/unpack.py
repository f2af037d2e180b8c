"""Unpacking with an end: a file of ten megabytes can hold terabytes, and must not fill the machine.

Owns the limit and the reading in pieces that keeps it; Parquet by its footer first (rows x columns), then by
batches. Refuses to know what is in the files. The limit is `max_unpacked_bytes`; whoever reads a
configuration sets it for what is read after that.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from zipfile import ZipFile

from core import formats
from core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_BYTES = 2 * 1024**3
CELL_BYTES = 8
"""What a cell takes at least, once it is read: a number, or the place of a text."""
_PIECE = 1024 * 1024
_BATCH_ROWS = 16_384
_limit: ContextVar[int] = ContextVar("max_unpacked_bytes", default=DEFAULT_BYTES)


def set_limit(max_unpacked_bytes: int) -> None:
    """What is unpacked from now on, in this thread of execution, has at most so many bytes."""
    _limit.set(max_unpacked_bytes)


@contextmanager
def limited(max_unpacked_bytes: int) -> Iterator[None]:
    """As `set_limit`, for the block."""
    token = _limit.set(max_unpacked_bytes)
    try:
        yield
    finally:
        _limit.reset(token)


def too_large(name: str, found: str) -> DataError:
    """The error for a file that goes over the limit."""
    return DataError(
        f"{name} unpacks to {found}; at most {_limit.get():,} are taken.",
        "If that is meant, raise the limit: --set max_unpacked_bytes=N.",
    )


def unpacked(packed: bytes, suffix: str, name: str) -> bytes:
    """The content of `.gz`, `.bz2` or `.xz`.

    Raises: DataError over the limit; what the library raises for a damaged file.
    """
    source = io.BytesIO(packed)
    opened: Any = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}[suffix]
    with opened(fileobj=source) if suffix == ".gz" else opened(source) as file:
        return read_limited(file, name)


def unzipped(archive: ZipFile, member: str, name: str) -> bytes:
    """One file of an archive. Raises: as `unpacked`."""
    with archive.open(member) as file:
        return read_limited(file, name)


def check_zip(archive: ZipFile, name: str) -> None:
    """Raises: DataError for an archive whose files are over the limit together. Their sizes are what the
    archive says; no more than that is ever read of one."""
    if (total := sum(entry.file_size for entry in archive.infolist())) > _limit.get():
        raise too_large(name, f"{total:,} bytes")


def read_limited(file: IO[bytes], name: str) -> bytes:
    """All that is left of an unpacking stream. Raises: DataError over the limit, before more is unpacked."""
    content = bytearray()
    while piece := file.read(_PIECE):
        content += piece
        if len(content) > _limit.get():
            raise too_large(name, f"more than {_limit.get():,} bytes")
    return bytes(content)


class LimitedStream(io.RawIOBase):
    """An unpacking stream that ends with a DataError once it has given more than the limit."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        self._inner = inner
        self._name = name
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._inner.read(len(buffer))
        self._given += len(piece)
        if self._given > _limit.get():
            raise too_large(self._name, f"more than {_limit.get():,} bytes")
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._inner.close()
        super().close()


def open_gzip(path: Path, name: str) -> IO[bytes]:
    """A gzip file to read line by line, within the limit."""
    inner = cast("IO[bytes]", gzip.open(path, "rb"))  # noqa: SIM115 - closed with what it is read by
    return cast("IO[bytes]", io.BufferedReader(LimitedStream(inner, name), _PIECE))


def check_parquet(source: Path | bytes, name: str) -> None:
    """Raises: DataError for a Parquet file over the limit, and one of ours of another version than is read;
    what pyarrow raises for a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source) as file:
        formats.check_table(file.schema_arrow.metadata, name)
        about = file.metadata
        check_cells(about.num_rows, about.num_columns, name)
        _check_batches(file.iter_batches(_BATCH_ROWS), name)


def check_arrow(source: Path | bytes, name: str) -> None:
    """As `check_parquet`, for Feather: by each batch's rows and columns, then by what they hold. Version 1,
    which packs nothing, is let pass."""
    import pyarrow as pa

    if (source if isinstance(source, bytes) else source.read_bytes())[:4] == b"FEA1":
        return
    given = pa.BufferReader(source) if isinstance(source, bytes) else pa.memory_map(str(source))
    with given, pa.ipc.open_file(given) as file:
        _check_batches((file.get_batch(at) for at in range(file.num_record_batches)), name)


def check_cells(rows: int, columns: int, name: str) -> None:
    """Raises: DataError for more cells than the limit has room for."""
    if rows * columns * CELL_BYTES > _limit.get():
        raise too_large(name, f"{rows:,} rows of {columns:,} columns, {CELL_BYTES} bytes a cell")


def _check_batches(batches: Iterator[pa.RecordBatch], name: str) -> None:
    total = rows = 0
    for batch in batches:
        total += batch.nbytes
        rows += batch.num_rows
        check_cells(rows, batch.num_columns, name)
        if total > _limit.get():
            raise too_large(name, f"more than {_limit.get():,} bytes")
