"""From tables to checked bars with the moment each became known.

Owns the way from a source's tables (`source`) to bars: numbers (`cells`), check (`validate`), adjust
(`adjust`), date (`trading.calendar`). Refuses to know which symbols are wanted and how they are lined up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
from trading.sources.cells import table_bars
from trading.sources.faults import Fault
from trading.sources.source import Source
from trading.sources.validate import Bars, check_bars

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One symbol's bars. `known` [K] datetime64[ns] UTC, ascending and unique; `days` [K] the date of each
    bar (days since 1970); `raw` [6, K] as read (open, high, low, close, volume, adj_close); `values` [10, K]
    in the order of `panel.FIELDS`; `lines` [K] as a fault counts rows."""

    known: npt.NDArray[np.datetime64]
    days: INT
    stamps: INT
    raw: FloatArray
    values: FloatArray
    lines: INT

    def take(self, rows: npt.NDArray[np.bool_]) -> Series:
        """These rows only."""
        return Series(
            self.known[rows],
            self.days[rows],
            self.stamps[rows],
            self.raw[:, rows],
            self.values[:, rows],
            self.lines[rows],
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
            bars.lines[part],
        )
    return series, notes
