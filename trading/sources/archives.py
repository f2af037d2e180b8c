"""What a file is wrapped in: gzip, a zip archive with one file, Parquet, Feather.

Owns telling formats by their first bytes and taking one file out. Refuses to know cells.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from typing import TYPE_CHECKING

from core import unpack
from trading.sources.sheet import broken

if TYPE_CHECKING:
    import pandas as pd

GZIP, ZIP, OLE = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


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
            if any(entry.filename == "content.xml" for entry in inside):
                found = "a workbook of another format (OpenDocument)"
                raise broken("not_a_table", found, "save the sheet as CSV or .xlsx", file=file)
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
