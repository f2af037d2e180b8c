"""Reads CSV as text, and refuses a table whose rows do not fit its header.

Owns delimiters, quoting, encodings, compression and the complaint about a row with too many cells: an
unquoted comma moves every cell behind it, and a lenient reader takes the first column for row labels then.
Refuses to know what a column means, and to turn any cell into a number, a truth value or a missing one.
"""

from __future__ import annotations

import csv
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DataError
from core.unpack import unpacked, unzipped

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = (",", ";", "\t", "|")
UTF8_CURE = (
    "Save the file as UTF-8; a spreadsheet calls it CSV UTF-8, and where the file is known to be"
    " Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW` does it."
)
_MAX_CELL_CHARACTERS = 64 * 1024 * 1024
_END = "\0end of the table\0"
"""A row after the last one; a quote that was never closed swallows it."""


@dataclass(frozen=True, slots=True, eq=False)
class CsvTable:
    """`rows` have as many cells as `header`; `lines` are their numbers as a person counts rows (the header is
    1, a text over several lines is one row, empty rows count and are left out)."""

    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str

    def frame(self) -> pd.DataFrame:
        """All cells as text. Names that stand twice in the header stand twice here."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=range(len(self.header)), dtype=str)
        frame.columns = pd.Index(self.header, dtype=object)
        return frame


def read_csv_table(path: Path, name: str) -> CsvTable:
    """The table in a file: UTF-8 (or UTF-16 with its mark), also packed (.gz .bz2 .xz, .zip with one file).

    The delimiter is the one that divides the header most. A row may have fewer cells than the header (the
    rest is empty) and empty cells behind its last; anything else there is refused.
    Raises: OSError as it comes; DataError for an empty file, another encoding, a quote without an end, and
    rows with more cells than the header, naming the first. `name` begins the message.
    """
    text = _decoded(read_bytes(path, name), name)
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), None)
    if first is None:
        raise DataError(f"{name} is empty.", "Give a header and rows.")
    delimiter = max(DELIMITERS, key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
    limit = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        return _table(_records(text, delimiter, name), delimiter, name)
    except csv.Error as error:
        raise DataError(f"{name} is no table: {error}.", "Give a CSV file.") from error
    finally:
        csv.field_size_limit(limit)


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of each row that is not empty."""

    def lines() -> Iterator[str]:
        ended = text.endswith(("\n", "\r"))
        yield from io.StringIO(text if ended else f"{text}\n", newline="")
        yield f"{_END}\n"

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True)
    started = 1
    for number, cells in enumerate(reader, 1):
        if cells == [_END]:
            return
        if cells and _END in cells[-1]:
            raise DataError(
                f"{name}, row {number} (line {started}): a quote is opened and never closed.",
                'Close it, or write a quote inside a text twice ("").',
            )
        started = reader.line_num + 1
        if any(cell.strip() for cell in cells):
            yield number, cells


def _table(records: Iterator[tuple[int, list[str]]], delimiter: str, name: str) -> CsvTable:
    head_at, head = next(records)
    header = tuple(cell.strip() for cell in head)
    width = len(header)
    rows: list[list[str]] = []
    lines: list[int] = []
    wide: list[tuple[int, list[str]]] = []
    for number, cells in records:
        if any(cell.strip() for cell in cells[width:]):
            wide.append((number, cells))
        rows.append([*cells[:width], *[""] * (width - len(cells))])
        lines.append(number - head_at + 1)
    if wide:
        number, cells = wide[0]
        count = f"{len(wide):,} of {len(rows):,} rows have"
        raise DataError(
            f"{name}, row {number}: {len(cells)} cells ({_shown(cells)}) under a header of {width} "
            f"({_shown(list(header))}); {count} too many.",
            'Put texts with a comma or a line end into quotes ("Oil fell, then rose"), or name all columns.',
        )
    return CsvTable(header, rows, lines, delimiter)


def _shown(cells: list[str]) -> str:
    text = " | ".join(cell if len(cell) <= 30 else f"{cell[:27]}..." for cell in cells[:8])
    return f"{text} | ..." if len(cells) > 8 else text


def _decoded(content: bytes, name: str) -> str:
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
        raise DataError(
            f"{name}: line {line_at(content, at)} is not UTF-8 ({odd_byte(content, at)}).",
            UTF8_CURE,
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{name}: line {line} holds a zero byte: it is no UTF-8 text.", "Save it as UTF-8."
        )
    return text


def line_at(content: bytes, place: int) -> int:
    """The line, from 1, of a byte, whichever of the three line ends the file has."""
    return max(content.count(end, 0, place) for end in (b"\n", b"\r")) + 1


def odd_byte(content: bytes, place: int) -> str:
    """A byte that is no UTF-8, and what it would be in Windows-1252."""
    char = content[place : place + 1].decode("cp1252", "replace")
    return f"byte {content[place]:#04x}, {char!r} in Windows-1252"


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a file, unpacked where its name says that it is packed.

    Raises: OSError as it comes; DataError for a torn or false archive, or one with several files.
    """
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": lambda content: unpacked(content, ".gz", name),
        ".bz2": lambda content: unpacked(content, ".bz2", name),
        ".xz": lambda content: unpacked(content, ".xz", name),
        ".zip": lambda content: _only_file(content, name),
    }
    suffix = path.suffix.casefold()
    content = path.read_bytes()
    if suffix not in unpack:
        return content
    try:
        return unpack[suffix](content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name} is cut short or no {suffix[1:]} file: {error}.", "Get it again."
        ) from error


def _only_file(content: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = [
            each
            for each in archive.namelist()
            if not each.endswith("/") and not each.startswith("__MACOSX/")
        ]
        if len(files) != 1:
            raise DataError(
                f"{name} holds {len(files)} files ({', '.join(files[:5])}).",
                "Give one with one CSV.",
            )
        return unzipped(archive, files[0], name)
