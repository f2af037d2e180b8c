"""Reads files of texts: CSV (also .gz), JSON lines, Parquet, with columns for text, time and symbol.

Owns the columns' names and every complaint about a file, before any training starts. Refuses to clean
(`clean.py`). Columns by name, any case: `text` (or `content`, `body`, `headline`, `title`); `time` (or
`created_at`, `published_at`, `published`, `timestamp`, `datetime`, `date`); optional `symbol` (`ticker`),
`source`, `licence` (`license`). Every time needs a zone.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from core.csvtext import DELIMITERS, read_csv_table
from core.errors import DataError
from core.stamps import iso_cells
from core.symbols import symbol_texts
from core.unpack import check_parquet, open_gzip
from training.data.corpus import Document

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "text": ("text", "content", "body", "headline", "title"),
    "time": ("time", "created_at", "published_at", "published", "timestamp", "datetime", "date"),
    "symbol": ("symbol", "ticker"),
    "source": ("source",),
    "licence": ("licence", "license"),
}
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Longer lines are a file of another kind, or one without line ends."""
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class TextFile:
    """One file's documents. `empty` counts rows without any text."""

    name: str
    sha256: str
    documents: tuple[Document, ...]
    empty: int


def is_text_file(path: Path) -> bool:
    """Whether a file has a column of texts (else it may be one of prices); a headline or a title beside
    closes makes none.

    Raises: DataError for a first line longer than 8 MiB, which is no header.
    """
    kind = _kind(path)
    if kind == ".jsonl":
        return True
    if kind is None:
        return False
    try:
        columns = _parquet_columns(path) if kind == ".parquet" else _csv_header(path)
    except (OSError, EOFError, zlib.error):
        return False
    names = {name.strip().strip('"').casefold() for name in columns}
    return not names.isdisjoint(NAMES["text"][:3]) or (
        not names.isdisjoint(NAMES["text"]) and "close" not in names
    )


def read_texts(path: Path) -> TextFile:
    """The documents of a file, in its order.

    Raises: DataError for a missing, empty or unreadable file, another encoding than UTF-8, a line longer
    than 8 MiB, missing columns, and times that are missing, no times, or without a zone.
    """
    kind = _kind(path)
    if kind is None:
        raise DataError(
            f"{path.name} is no file of texts that can be read.",
            f"Give one of {', '.join(SUFFIXES)}.",
        )
    if not path.is_file():
        raise DataError(f"there is no file {path}.", "Check the path.")
    try:
        if path.stat().st_size == 0:
            raise _empty(path)
        if kind != ".parquet":
            _check_lines(path)
        frame = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[kind](path)
        digest = _sha256(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check it."
        ) from error
    return _documents(path, frame, digest)


def _kind(path: Path) -> str | None:
    name = path.name.casefold().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return ".jsonl"
    if name.endswith((".parquet", ".pq")):
        return ".parquet"
    return ".csv" if name.endswith(".csv") else None


def _open(path: Path) -> IO[bytes]:
    if path.name.casefold().endswith(".gz"):
        return open_gzip(path, path.name)
    return open(path, "rb")


def _check_lines(path: Path) -> None:
    """Length and encoding of every line, without ever holding a long one."""
    with _open(path) as file:
        number = 0
        try:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise _long_line(path, number)
                if b"\0" in line:
                    raise DataError(
                        f"line {number} of {path.name} holds a zero byte: it is no UTF-8 text.",
                        "Save it as UTF-8.",
                    )
                line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"line {number} of {path.name} is not UTF-8 (byte {error.object[error.start]:#04x}).",
                "Save the file as UTF-8.",
            ) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path.name} is cut short or no gzip file.", "Get it again."
            ) from error
    if number == 0:
        raise _empty(path)


def _read_csv(path: Path) -> pd.DataFrame:
    """Rows by their number, the header being 1."""
    import pandas as pd

    table = read_csv_table(path, path.name)
    frame = table.frame()
    frame.index = pd.Index(table.lines)
    return frame


def _read_jsonl(path: Path) -> pd.DataFrame:
    import orjson
    import pandas as pd

    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                raise DataError(
                    f"line {number} of {path.name} is no JSON: {error}.", "Repair or remove it."
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"line {number} of {path.name} is no JSON object.", "Give one object a line."
                )
            rows.append(row)
            numbers.append(number)
    return pd.DataFrame(rows, index=pd.Index(numbers, dtype="int64"))


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        check_parquet(path, path.name)
        frame = pd.read_parquet(path)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path.name} is no Parquet file: {error}.", "Get it again.") from error
    frame.index = pd.RangeIndex(1, 1 + len(frame))
    return frame


def _documents(path: Path, frame: pd.DataFrame, digest: str) -> TextFile:
    from trading.sources.times import read_stamps

    if len(frame) == 0:
        raise _empty(path)
    columns = _columns(path, list(map(str, frame.columns)))
    frame.columns = frame.columns.map(str)
    texts = frame[columns["text"]]
    strings = texts.map(lambda cell: cell if isinstance(cell, str) else "")
    keep = (strings.str.strip() != "").to_numpy()
    if not keep.any():
        raise DataError(f"{path.name} has no text in its column {columns['text']!r}.", "Check it.")
    lines = frame.index.to_numpy(dtype=np.int64)[keep]
    cells = frame[columns["time"]][keep].reset_index(drop=True)
    cells = cells.where(cells.notna() & (cells.astype(str).str.strip() != ""), None)
    stamps, _ = read_stamps(iso_cells(cells), lines, path.name)
    _check_times(path, cells, lines, stamps.valid, stamps.zoned)
    moments = [datetime.fromtimestamp(each / 1e9, UTC) for each in stamps.utc.tolist()]
    symbols = (
        symbol_texts(frame[columns["symbol"]][keep].tolist(), path.name)
        if "symbol" in columns
        else [""] * len(moments)
    )
    others = {
        name: [str(cell) if isinstance(cell, str) else "" for cell in frame[columns[name]][keep]]
        if name in columns
        else [""] * len(moments)
        for name in ("source", "licence")
    }
    documents = tuple(
        Document(moment, symbol.upper(), text, source or path.name, licence)
        for moment, symbol, text, source, licence in zip(
            moments,
            symbols,
            strings[keep],
            others["source"],
            others["licence"],
            strict=True,
        )
    )
    return TextFile(path.name, digest, documents, int((~keep).sum()))


def _columns(path: Path, present: Sequence[str]) -> dict[str, str]:
    by_name = {name.strip().casefold(): name for name in reversed(present)}
    count = Counter(name.strip().casefold() for name in present)
    found = {}
    for wanted, names in NAMES.items():
        name = next((by_name[each] for each in names if each in by_name), None)
        if name is not None:
            if count[name.strip().casefold()] > 1:
                raise DataError(f"{path.name} has two columns {name.strip()}.", "Keep one.")
            found[wanted] = name
        elif wanted in ("text", "time"):
            raise DataError(
                f"{path.name} has no column {wanted} (columns: {', '.join(present)}).",
                f"Name it {' or '.join(names[:3])}.",
            )
    return found


def _check_times(path: Path, cells: pd.Series, lines: Any, valid: Any, zoned: Any) -> None:
    for wrong, what, cure in (
        (~valid & cells.isna().to_numpy(), "no time", "Give every text the time it became public."),
        (~valid, "what is no time", "Write times as 2015-06-01T14:30:00Z (ISO 8601)."),
        (
            valid & ~zoned,
            "a time without a zone",
            "Give every time a zone, for example 2015-06-01T14:30:00Z.",
        ),
    ):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            shown = "" if cells.isna().iloc[first] else f": {cells.iloc[first]!s}"
            raise DataError(
                f"{path.name} has {what} in {int(wrong.sum())} of {len(cells)} rows "
                f"(first: row {int(lines[first])}{shown}).",
                cure,
            )


def _csv_header(path: Path) -> list[str]:
    with _open(path) as file:
        line = file.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise _long_line(path, 1)
    head = line.decode("utf-8-sig", errors="replace").strip()
    return max((head.split(each) for each in DELIMITERS), key=len)


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise DataError(f"{path.name} is no Parquet file.", "Get it again.") from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _long_line(path: Path, number: int) -> DataError:
    return DataError(
        f"line {number} of {path.name} is longer than {MAX_LINE_BYTES // 2**20} MiB.",
        "Is it a text file with one document a line? Split or repair it.",
    )


def _empty(path: Path) -> DataError:
    return DataError(f"{path.name} is empty.", "Give a file with texts and their times.")
