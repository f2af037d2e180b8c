"""From files, folders and DataFrames to checked bars with the moment each became known.

Owns the way from cells to bars: read (`table`), parse (`times`), check (`validate`), adjust (`adjust`),
date (`trading.calendar`). Refuses to know which symbols are wanted and how they are lined up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.errors import DataError
from trading.calendar import (
    DAY,
    bar_days,
    exchange_days,
    interval_name,
    interval_of,
    known_at_close,
)
from trading.panel import NO_VOLUME, iso_times
from trading.sources.adjust import adjusted_bars
from trading.sources.faults import DataFaults, Fault
from trading.sources.table import CELLS, NOT_A_NUMBER, Table, frame_table, read_table
from trading.sources.times import read_stamps
from trading.sources.validate import Bars, check_bars

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq", ".feather", ".arrow")
"""What a folder is searched for; a file that is named is read whatever it is called."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where bars come from: the tables, a name for the summary, and the SHA-256 of the bytes."""

    name: str
    tables: tuple[Table, ...]
    sha256: str
    faults: tuple[Fault, ...] = ()
    """Of the files of a folder that are no table, beside those that are."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One symbol's bars. `known` [K] datetime64[ns] UTC, ascending and unique; `days` [K] the date of each
    bar (days since 1970); `raw` [6, K] as read (open, high, low, close, volume, adj_close); `values` [10, K]
    in the order of `panel.FIELDS`."""

    known: npt.NDArray[np.datetime64]
    days: INT
    stamps: INT
    raw: FloatArray
    values: FloatArray

    def take(self, rows: npt.NDArray[np.bool_]) -> Series:
        """These rows only."""
        return Series(
            self.known[rows],
            self.days[rows],
            self.stamps[rows],
            self.raw[:, rows],
            self.values[:, rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Everything that a check of the input found: the bars by symbol where there are no faults.

    `rows` counts the rows with a price, faulty ones too; `first` and `last` are the earliest and latest
    stamp as written (a date for daily bars, else UTC), "" where no stamp could be read.
    """

    series: dict[str, Series]
    symbols: tuple[str, ...]
    faults: tuple[Fault, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    overlaps: tuple[str, ...]
    interval: str
    rows: int
    first: str
    last: str
    has_volume: bool
    has_adjusted: bool


def read_source(data: Path | pd.DataFrame) -> Source:
    """The tables of a file, of a folder's files in the order of their names, or of a DataFrame.

    Raises: DataFaults for what is no table, DataError for what cannot be read at all.
    """
    if not isinstance(data, Path):
        return _frame_source(data)
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
            tables.append(read_table(file, content))
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
        raise DataError(
            f"the folder {folder.name} holds no file of prices.",
            f"It is searched for {', '.join(SUFFIXES)}.",
        )
    return files


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}.", "Check the path.") from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.")


def _frame_source(frame: pd.DataFrame) -> Source:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"data is a {type(frame).__name__}.",
            "Give a path, a dataset's name or a pandas DataFrame.",
        )
    table = frame_table(frame, "DataFrame")
    digest = hashlib.sha256(repr(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return Source("DataFrame", (table,), digest.hexdigest())


def check_source(source: Source, *, calendar: str = "XNYS", bar_label: str = "open") -> Checked:
    """Check every table; with no fault at all, adjust the bars and date them.

    Point in time: a bar's values and its moment depend on its own row and the first rows of the file.
    """
    faults = list(source.faults)
    notes: dict[str, None] = {}
    parts: list[Bars] = []
    ignored: dict[str, None] = {}
    several = len(source.tables) + len(source.faults) > 1
    rows = 0
    for table in source.tables:
        name = table.file if several else ""
        ignored.update(dict.fromkeys(table.ignored))
        bars, found = table_bars(table, name)
        kept, more = check_bars(bars)
        rows += int((~np.isnan(bars.values[:4]).all(axis=0) | bars.faulty).sum())
        faults += sorted([*table.faults, *found, *more], key=lambda fault: fault.row or 0)
        parts.append(kept)
        if all(set(piece.cells) & {"open", "high", "low"} == set() for piece in table.pieces):
            notes["closes only: open = high = low = close"] = None
    joined = _join(parts)
    overlaps: list[str] = []
    if several and not faults:
        more, overlaps = _across_files(joined, parts)
        faults += more
    size = interval_of(np.unique(joined.stamps.wall)) or DAY
    if not faults:
        faults += _other_intervals(parts, size)
    if not faults and len(joined.code) == 0:
        faults.append(
            Fault(
                "empty", None, None, "no row with a price", "give a file with prices", source.name
            )
        )
    volume = ~np.isnan(joined.values[4])
    adjusted = ~np.isnan(joined.values[5])
    series: dict[str, Series] = {}
    if not faults:
        series, more_notes = _series(joined, size, calendar, bar_label, faults)
        notes.update(dict.fromkeys(more_notes))
        if not volume.any():
            notes[NO_VOLUME] = None
        if not adjusted.any():
            notes["no adjusted close: prices are taken as they stand"] = None
    first, last = _reach(joined, size)
    return Checked(
        series=series,
        symbols=tuple(series) or tuple(symbol for symbol in joined.symbols if symbol),
        faults=tuple(faults),
        ignored=tuple(ignored),
        notes=tuple(notes),
        overlaps=tuple(overlaps),
        interval=interval_name(size),
        rows=rows,
        first=first,
        last=last,
        has_volume=bool(volume.any()),
        has_adjusted=bool(adjusted.any()),
    )


def _reach(bars: Bars, interval: int) -> tuple[str, str]:
    """The earliest and the latest stamp: dates for daily bars, else UTC times."""
    if len(bars.code) == 0:
        return "", ""
    if interval == DAY:
        edges = np.array([bars.stamps.wall.min(), bars.stamps.wall.max()]).view("datetime64[ns]")
        return str(edges[0].astype("datetime64[D]")), str(edges[1].astype("datetime64[D]"))
    edges = np.array([bars.stamps.utc.min(), bars.stamps.utc.max()]).view("datetime64[ns]")
    first, last = iso_times(edges)
    return first, last


def table_bars(table: Table, name: str) -> tuple[Bars, list[Fault]]:
    """One table's cells as numbers, long; every cell that is no number is a fault."""
    faults: list[Fault] = []
    rows = len(table.lines)
    stamps, found = read_stamps(table.stamps, table.lines, name)
    faults += found
    symbols: dict[str, int] = {}
    codes: list[INT] = []
    columns: list[FloatArray] = []
    bad_rows: list[npt.NDArray[np.bool_]] = []
    for piece in table.pieces:
        if piece.symbols is None:
            assert piece.symbol is not None
            code = np.full(rows, symbols.setdefault(piece.symbol, len(symbols)), dtype=np.int64)
        else:
            code, unnamed = _codes(piece.symbols, symbols)
            faults += [
                Fault(
                    "symbol",
                    int(table.lines[row]),
                    None,
                    "no symbol",
                    "name the row's symbol",
                    name,
                )
                for row in np.flatnonzero(unnamed)
            ]
        names = list(symbols)
        values = np.full((6, rows), np.nan)
        faulty = np.zeros(rows, dtype=bool)
        for cell, series in piece.cells.items():
            numbers, bad = to_numbers(series)
            values[CELLS.index(cell)] = numbers
            faulty |= bad
            faults += [
                Fault("text", int(table.lines[row]), names[code[row]],
                      f"{str(series.iloc[row])[:40]!r} where {_column(cell)} belongs",
                      "write a plain number such as 1234.5", name)
                for row in np.flatnonzero(bad)
            ]  # fmt: skip
        if "open" not in piece.cells:
            values[0:3] = values[3]
        codes.append(code)
        columns.append(values)
        bad_rows.append(faulty)
    pieces = len(table.pieces)
    tiled = np.tile(np.arange(rows), pieces)
    bars = Bars(
        name,
        tuple(symbols),
        np.concatenate(codes),
        stamps.take(tiled),
        np.concatenate(columns, axis=1),
        np.concatenate(bad_rows),
        table.lines[tiled],
    )
    return bars, faults


def _column(cell: str) -> str:
    return "adj_close" if cell == "adjclose" else cell


def _codes(cells: pd.Series, symbols: dict[str, int]) -> tuple[INT, npt.NDArray[np.bool_]]:
    """(an index into `symbols`, which grows, for each row; the rows without a symbol)."""
    import pandas as pd

    codes, unique = pd.factorize(cells, use_na_sentinel=True)
    names = [_symbol(value) for value in unique.tolist()]
    mapping = np.array([symbols.setdefault(name, len(symbols)) for name in names], dtype=np.int64)
    blank = np.array([name == "" for name in names], dtype=bool)
    missing = codes < 0
    if missing.any():
        symbols.setdefault("", len(symbols))
    if len(names) == 0:
        return np.full(len(codes), symbols.get("", 0), dtype=np.int64), missing
    safe = np.where(missing, 0, codes)
    return np.where(missing, symbols.get("", 0), mapping[safe]), missing | blank[safe]


def _symbol(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def to_numbers(cells: pd.Series) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(float64 with NaN for empty cells, the rows that hold something else than a number)."""
    import pandas as pd
    from pandas.api import types

    if types.is_float_dtype(cells.dtype) or types.is_integer_dtype(cells.dtype):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(cells), dtype=bool)
    text = cells.astype(str).str.strip()
    empty = cells.isna() | text.isin(NOT_A_NUMBER)
    numbers = pd.to_numeric(text.where(~empty), errors="coerce").astype("float64")
    bad = numbers.isna() & ~empty
    return np.asarray(numbers, dtype=np.float64), np.asarray(bad, dtype=bool)


def _join(parts: Sequence[Bars]) -> Bars:
    """All files' bars as one, ordered by symbol's first appearance and then by time."""
    symbols: dict[str, int] = {}
    codes = []
    for bars in parts:
        mapping = np.array(
            [symbols.setdefault(name, len(symbols)) for name in bars.symbols], dtype=np.int64
        )
        codes.append(mapping[bars.code] if len(bars.code) else bars.code)
    code = np.concatenate(codes)
    first = parts[0]
    stamps = type(first.stamps)(
        np.concatenate([bars.stamps.utc for bars in parts]),
        np.concatenate([bars.stamps.wall for bars in parts]),
        np.concatenate([bars.stamps.zoned for bars in parts]),
        np.concatenate([bars.stamps.valid for bars in parts]),
        np.concatenate([bars.stamps.dated for bars in parts]),
    )
    joined = Bars(
        "",
        tuple(symbols),
        code,
        stamps,
        np.concatenate([bars.values for bars in parts], axis=1),
        np.concatenate([bars.faulty for bars in parts]),
        np.concatenate([bars.lines for bars in parts]),
    )
    return joined.take(np.lexsort((joined.stamps.utc, joined.code)))


def _across_files(joined: Bars, parts: Sequence[Bars]) -> tuple[list[Fault], list[str]]:
    """Times that two files hold for one symbol, and the symbols that stand in more than one file."""
    homes: dict[str, list[str]] = {}
    for bars in parts:
        for code in np.unique(bars.code):
            homes.setdefault(bars.symbols[code], []).append(bars.file)
    overlaps = [
        f"{symbol}: {', '.join(files)}" for symbol, files in homes.items() if len(files) > 1
    ]
    twice = (np.diff(joined.code) == 0) & (np.diff(joined.stamps.utc) == 0)
    cure = "keep one of the files' rows"
    faults = []
    for row in np.flatnonzero(twice) + 1:
        symbol = joined.symbols[joined.code[row]]
        moment = str(np.datetime64(int(joined.stamps.wall[row]), "ns").astype("datetime64[s]"))
        found = f"{moment} in more than one file ({', '.join(homes[symbol])})"
        faults.append(
            Fault("duplicate", int(joined.lines[row]), symbol, found, cure, homes[symbol][-1])
        )
    return faults, overlaps


def _other_intervals(parts: Sequence[Bars], size: int) -> list[Fault]:
    """Files whose bars are of another interval than the whole."""
    faults = []
    for bars in parts:
        own = interval_of(np.unique(bars.stamps.wall))
        if own is not None and own != size:
            found = f"bars of {interval_name(own)} beside files of {interval_name(size)}"
            cure = "keep bars of one interval in a folder"
            faults.append(Fault("interval", None, None, found, cure, bars.file))
    return faults


def _series(
    bars: Bars, interval: int, calendar: str, bar_label: str, faults: list[Fault]
) -> tuple[dict[str, Series], list[str]]:
    """Adjusted and dated bars by symbol, from sound bars sorted by symbol and time.

    Two daily stamps that fall on one date of the exchange are added to `faults`.
    """
    notes: list[str] = []
    stamps = bars.stamps
    if interval == DAY:
        days = bar_days(stamps.wall, stamps.utc, stamps.zoned, calendar)
        known, is_session = known_at_close(days, calendar)
        odd = int((~is_session).sum())
        if odd:
            notes.append(
                f"{odd} of {len(days)} bars lie on no session of {calendar} and are known at the end of"
                " their UTC day (data.calendar: 24/7 is for markets that never close)"
            )
    else:
        zoned = bool(stamps.zoned.all())
        days = exchange_days(stamps.utc, calendar) if zoned else stamps.wall // DAY
        known = stamps.utc + (interval if bar_label == "open" else 0)
        if not zoned:
            notes.append("intraday times without a zone are taken for UTC")
    for row in np.flatnonzero((np.diff(bars.code) == 0) & (np.diff(known) <= 0)) + 1:
        moment = f"{np.datetime64(int(stamps.utc[row]), 'ns').astype('datetime64[s]')}Z"
        found = f"{moment}, the same session as the row before it"
        symbol = bars.symbols[bars.code[row]]
        cure = "keep one row a session"
        faults.append(Fault("duplicate", int(bars.lines[row]), symbol, found, cure))
    values = adjusted_bars(bars.values[:5], bars.values[5])
    edges = np.flatnonzero(np.diff(bars.code, prepend=-1, append=-1))
    series: dict[str, Series] = {}
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = slice(start, stop)
        series[bars.symbols[bars.code[start]]] = Series(
            known[part].view("datetime64[ns]"),
            days[part],
            stamps.utc[part],
            bars.values[:, part],
            values[:, part],
        )
    return series, notes
