"""From tables to checked bars with the moment each became known.

Owns the way from a source's tables (`source`) to bars: numbers (`cells`), check (`validate`), adjust
(`adjust`), date (`trading.calendar`). Refuses to know which symbols are wanted and how they are lined up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.printable import acts, printable
from trading.calendar import exchange_days, known_at_close
from trading.clocks import bar_days, own_midnight, summer_midnights
from trading.intervals import DAILY, DAY, Interval
from trading.panel import NO_VOLUME, iso_times
from trading.periods import BarLabel, periods_of
from trading.sources.adjust import adjusted_bars
from trading.sources.bars import Bars
from trading.sources.cells import table_bars
from trading.sources.faults import Fault, grouped
from trading.sources.layout import stem
from trading.sources.sheet import Table
from trading.sources.source import Source
from trading.sources.spacing import RUN, file_interval
from trading.sources.successive import join_successive
from trading.sources.unfinished import future_note
from trading.sources.validate import check_bars

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One symbol's bars. `known` [K] datetime64[ns] UTC, ascending and unique; `days` [K] the date of each
    bar (days since 1970), of a bar longer than a day the date on which it became known; `stamps` [K] as
    written, UTC ns, of daily and longer bars the date that they stand for; `raw` [6, K] as read (open, high,
    low, close, volume, adj_close); `values` [10, K] in the order of `panel.FIELDS`; `lines` [K] as a fault
    counts rows."""

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


def check_source(
    source: Source,
    *,
    calendar: str = "XNYS",
    bar_label: BarLabel = "auto",
    now: np.datetime64 | None = None,
) -> Checked:
    """Check every table; with no fault at all, adjust the bars and date them.

    `now`: the clock's time, UTC, where there is one; bars known only later are left out, and said.
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
        bars, found, told = table_bars(table, name)
        notes.update(dict.fromkeys(told))
        kept, more, said = check_bars(bars, calendar, bar_label)
        notes.update(dict.fromkeys(said))
        rows += len(kept.code) if said else _rows_with_a_price(bars)
        faults += sorted([*table.faults, *found, *more], key=lambda fault: fault.row or 0)
        parts.append(kept)
        if all(set(piece.cells) & {"open", "high", "low"} == set() for piece in table.pieces):
            notes["closes only: open = high = low = close"] = None
    if several:
        parts, told = join_successive(parts, [_named_by_file(table) for table in source.tables])
        notes.update(dict.fromkeys(told))
    joined = _join(parts)
    faults += _acting_symbols(joined, source.name)
    overlaps: list[str] = []
    if several and not faults:
        more, overlaps = _across_files(joined, parts)
        faults += more
    size = _interval(joined, parts, calendar)
    if not faults:
        faults += _other_intervals(parts, size, calendar)
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
        series, late = _finished(series, now)
        if late:
            notes[late[1]] = None
            rows -= late[0]
        if not volume.any():
            notes[NO_VOLUME] = None
        if not adjusted.any():
            notes["no adjusted close: prices are taken as they stand"] = None
    first, last = _reach(joined, size, series)
    return Checked(
        series=series,
        symbols=tuple(series) or tuple(symbol for symbol in joined.symbols if symbol),
        faults=tuple(grouped(faults)),
        ignored=tuple(ignored),
        notes=tuple(notes),
        overlaps=tuple(overlaps),
        interval=size.name,
        rows=rows,
        first=first,
        last=last,
        has_volume=bool(volume.any()),
        has_adjusted=bool(adjusted.any()),
    )


def _named_by_file(table: Table) -> bool:
    """Whether the symbol is the name of a file, and no key that somebody gave in Python."""
    name = stem(table.file)
    return name != table.file and len(table.pieces) == 1 and table.pieces[0].symbol == name


def _rows_with_a_price(bars: Bars) -> int:
    return int((~np.isnan(bars.values[:4]).all(axis=0) | bars.faulty).sum())


def _interval(joined: Bars, parts: Sequence[Bars], calendar: str) -> Interval:
    """The interval of the whole: of most files, by rows; else of all rows together; else daily."""
    votes: dict[Interval, int] = {}
    for bars in parts:
        own = file_interval(bars, calendar)
        if own is not None:
            votes[own] = votes.get(own, 0) + len(bars.code)
    if votes:
        return max(votes, key=lambda interval: votes[interval])
    return file_interval(joined, calendar) or DAILY


def _finished(
    series: dict[str, Series], now: np.datetime64 | None
) -> tuple[dict[str, Series], tuple[int, str] | None]:
    """The bars known at `now`, and (how many are not, a note) where there are some."""
    if now is None or not series:
        return series, None
    late = {symbol: bars.known > now for symbol, bars in series.items()}
    count = sum(int(rows.sum()) for rows in late.values())
    if count == 0:
        return series, None
    first = min(
        bars.known[late[symbol]][0] for symbol, bars in series.items() if late[symbol].any()
    )
    note = future_note(count, *iso_times(np.array([first, now], dtype="datetime64[ns]")))
    kept = {symbol: bars.take(~late[symbol]) for symbol, bars in series.items()}
    return {symbol: bars for symbol, bars in kept.items() if len(bars.days)}, (count, note)


def _reach(bars: Bars, interval: Interval, series: dict[str, Series]) -> tuple[str, str]:
    """The earliest and the latest stamp: dates for daily and longer bars, else UTC times.

    Where faults left no series, stamps that are no midnight are given as they are: their date is unknown.
    """
    if len(bars.code) == 0:
        return "", ""
    stamps = bars.stamps
    dated = not interval.is_intraday
    if series:
        moments = np.concatenate([each.stamps for each in series.values()])
    elif dated and not (stamps.zoned & ~own_midnight(stamps.wall)).any():
        moments = stamps.wall
    else:
        moments, dated = stamps.utc, False
    edges = np.array([moments.min(), moments.max()]).view("datetime64[ns]")
    if dated:
        return str(edges[0].astype("datetime64[D]")), str(edges[1].astype("datetime64[D]"))
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


def _acting_symbols(joined: Bars, name: str) -> list[Fault]:
    """Symbols with characters that act on a terminal or reorder what is read."""
    return [
        Fault("symbol", int(joined.lines[np.flatnonzero(joined.code == code)[0]]), printable(symbol),
              "a control character in the symbol", "write the symbol without it", name)
        for code, symbol in enumerate(joined.symbols)
        if acts(symbol) and (joined.code == code).any()
    ]  # fmt: skip


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


def _other_intervals(parts: Sequence[Bars], size: Interval, calendar: str) -> list[Fault]:
    """Files whose bars are of another interval than the whole; a few thin daily bars are none."""
    faults = []
    for bars in parts:
        own = file_interval(bars, calendar)
        if own is None or own == size:
            continue
        few = len(np.unique(bars.stamps.wall)) <= RUN
        if few and not own.is_intraday and not size.is_intraday and own.days > size.days:
            continue
        found = f"bars of {own.name} beside files of {size.name}"
        cure = "keep bars of one interval in a folder"
        faults.append(Fault("interval", None, None, found, cure, bars.file))
    return faults


def _dated(
    bars: Bars, interval: Interval, calendar: str, bar_label: BarLabel
) -> tuple[INT, INT, INT, list[str]]:
    """(the moment each bar became known, its date, its stamp [K] each, what must be said)."""
    stamps = bars.stamps
    if interval.is_intraday:
        zoned = bool(stamps.zoned.all())
        days = exchange_days(stamps.utc, calendar) if zoned else stamps.wall // DAY
        known = stamps.utc + (0 if bar_label == "close" else interval.nanoseconds)
        notes = [] if zoned else ["intraday times without a zone are taken for UTC"]
        return known, days, stamps.utc, notes
    days = bar_days(stamps.wall, stamps.utc, stamps.zoned, calendar)
    if interval.is_long:
        periods = periods_of(days, interval, calendar, bar_label)
        known_on = exchange_days(periods.known - 1, calendar)
        return periods.known, known_on, days * DAY, [_long_note(interval, periods.label, calendar)]
    known, is_session = known_at_close(days, calendar)
    odd = int((~is_session).sum())
    notes = []
    if fixed := int(summer_midnights(stamps.wall, stamps.utc, stamps.zoned, calendar).sum()):
        notes.append(
            f"{fixed} of {len(days)} stamps show 01:00 in summer time: midnight at a fixed offset, taken for"
            f" that date on the clock of {calendar}"
        )
    if odd:
        notes.append(
            f"{odd} of {len(days)} bars lie on no session of {calendar} and are known at the end of"
            " their UTC day (data.calendar: 24/7 is for markets that never close)"
        )
    return known, days, days * DAY, notes


def _long_note(interval: Interval, label: str, calendar: str) -> str:
    edge = "end" if label == "close" else "beginning"
    return (
        f"bars of {interval.name}: a stamp is taken for the {edge} of its period (data.bar_label), and a bar"
        f" is known at the period's last close of {calendar} (data.calendar)"
    )


def _series(
    bars: Bars, interval: Interval, calendar: str, bar_label: BarLabel, faults: list[Fault]
) -> tuple[dict[str, Series], list[str]]:
    """Adjusted and dated bars by symbol, from sound bars sorted by symbol and time.

    Two stamps that fall on one session or period are added to `faults`.
    """
    known, days, stamped, notes = _dated(bars, interval, calendar, bar_label)
    stamps = bars.stamps
    same = "period" if interval.is_long else "session"
    for row in np.flatnonzero((np.diff(bars.code) == 0) & (np.diff(known) <= 0)) + 1:
        moment = f"{np.datetime64(int(stamps.utc[row]), 'ns').astype('datetime64[s]')}Z"
        found = f"{moment}, the same {same} as the row before it"
        symbol = bars.symbols[bars.code[row]]
        cure = f"keep one row a {same}"
        faults.append(Fault("duplicate", int(bars.lines[row]), symbol, found, cure))
    values = adjusted_bars(bars.values[:5], bars.values[5])
    edges = np.flatnonzero(np.diff(bars.code, prepend=-1, append=-1))
    series: dict[str, Series] = {}
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = slice(start, stop)
        series[bars.symbols[bars.code[start]]] = Series(
            known[part].view("datetime64[ns]"),
            days[part],
            stamped[part],
            bars.values[:, part],
            values[:, part],
            bars.lines[part],
        )
    return series, notes
