"""What a file is wrapped in: gzip, a zip archive with one file, Parquet, Feather, a workbook.

Owns telling formats by their first bytes and taking one file or sheet out. Refuses to know cells.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from core import unpack
from trading.sources.sheet import Sheet, broken

if TYPE_CHECKING:
    import pandas as pd

GZIP, ZIP, OLE = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

WORKBOOK_CURE = (
    'save the sheet as CSV, or install what reads workbooks: pip install "openpyxl>=3.1"'
)


def unpacked(data: bytes, file: str) -> tuple[bytes, str]:
    """(the bytes and the name of what is inside): of gzip, and of a zip archive that holds one file.

    Raises: DataFaults for a damaged archive and for one of several files.
    """
    if data[:2] == GZIP:
        try:
            return unpack.unpacked(data, ".gz", file), file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise broken(
                "not_a_table",
                f"a damaged gzip file ({error})",
                "fetch or pack the file again",
                file=file,
            ) from error
    if data[:4] == ZIP and not is_workbook(data):
        return _one_file(data, file)
    return data, file


def is_workbook(data: bytes) -> bool:
    """Whether the bytes are an .xlsx workbook, which is a zip archive of parts."""
    if data[:4] != ZIP:
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return "[Content_Types].xml" in names or any(name.startswith("xl/") for name in names)


def _one_file(data: bytes, file: str) -> tuple[bytes, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inside = [
                entry
                for entry in archive.infolist()
                if not entry.is_dir()
                and not entry.filename.startswith("__MACOSX/")
                and not entry.filename.rsplit("/", maxsplit=1)[-1].startswith(".")
            ]
            if len(inside) != 1:
                names = ", ".join(entry.filename for entry in inside[:5])
                more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
                found = f"a zip archive of {len(inside)} files" + (
                    f" ({names}{more})" if inside else ""
                )
                raise broken(
                    "not_a_table",
                    found,
                    "unpack it and give the file, or the folder",
                    file=file,
                )  # fmt: skip
            entry = inside[0]
            return unpack.unzipped(archive, entry.filename, file), entry.filename.rsplit(
                "/", maxsplit=1
            )[-1]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise broken(
            "not_a_table",
            f"a damaged zip archive ({error})",
            "fetch or pack the file again",
            file=file,
        ) from error
    except RuntimeError as error:  # how zipfile says that a password is wanted
        raise broken(
            "not_a_table", "an encrypted zip archive", "unpack it and give the file", file=file
        ) from error


def arrow_frame(data: bytes, file: str) -> pd.DataFrame | None:
    """The frame in Parquet or Feather bytes, None for others. Raises: DataFaults for damaged ones."""
    if data[:4] not in (b"PAR1", b"FEA1") and data[:6] != b"ARROW1":
        return None
    import pandas as pd
    import pyarrow as pa

    try:
        if data[:4] == b"PAR1":
            unpack.check_parquet(data, file)
            return pd.read_parquet(io.BytesIO(data))
        if data[:6] == b"ARROW1":
            unpack.check_arrow(data, file)
        return pd.read_feather(io.BytesIO(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise broken(
            "not_a_table",
            f"a damaged Parquet or Feather file ({first})",
            "write the file again",
            file=file,
        ) from error


def workbook_sheet(data: bytes, file: str) -> Sheet | None:
    """The one filled sheet of an .xlsx workbook, None for other bytes.

    Raises: DataFaults where openpyxl is missing, for several filled sheets, and for the old format.
    """
    if data[:4] == OLE:
        raise broken(
            "not_a_table", "a workbook of the old format (.xls)", "save the sheet as CSV", file=file
        )
    if not is_workbook(data):
        return None
    try:
        import openpyxl
    except ImportError as error:
        raise broken(
            "not_a_table", "a workbook (.xlsx, a zip archive of tables)", WORKBOOK_CURE, file=file
        ) from error
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {
            one.title: [list(row) for row in one.iter_rows(values_only=True)]
            for one in book.worksheets
        }
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile, OSError, AttributeError) as error:
        raise broken(
            "not_a_table",
            f"a damaged workbook (.xlsx, a zip archive): {error}",
            "save the sheet as CSV",
            file=file,
        ) from error
    filled = {title: rows for title, rows in sheets.items() if any(map(_filled, rows))}
    if len(filled) != 1:
        found = f"a workbook with {len(filled)} filled sheets" + (
            f" ({', '.join(filled)})" if filled else ""
        )
        raise broken("not_a_table", found, "save the one sheet as CSV", file=file)
    return _rows_sheet(next(iter(filled.values())), file)


def _filled(row: list[object]) -> bool:
    return any(cell is not None and str(cell).strip() for cell in row)


def _rows_sheet(rows: list[list[object]], file: str) -> Sheet:
    """A sheet whose first row with two filled cells or more is the header."""
    import pandas as pd

    start = next(
        (at for at, row in enumerate(rows) if sum(cell is not None for cell in row) > 1), 0
    )
    width = max(at + 1 for at, cell in enumerate(rows[start]) if cell is not None)
    names = ["" if cell is None else str(cell).strip() for cell in rows[start][:width]]
    lines = [at for at in range(start + 1, len(rows)) if _filled(rows[at][:width])]
    cells = [[*rows[at][:width], *[None] * (width - len(rows[at]))] for at in lines]
    frame = pd.DataFrame(cells, columns=range(width), dtype=object)
    for at in range(width):
        frame[at] = frame[at].infer_objects()
    return Sheet(file, frame, np.array(lines, dtype=np.int64) + 1, names)
