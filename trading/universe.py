"""Reads a universe: which symbols belong to it, and from when to when.

Owns the file `symbol[, from, to]` and the mapping `build_panel` takes. Refuses to know prices. A symbol
has one stretch of membership: one that left and came back is refused, for a panel's column cannot.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.csvtext import read_csv_table
from core.errors import DataError
from core.symbols import SymbolNames
from trading.sources.faults import DataFaults, Fault
from trading.sources.headers import plain
from trading.sources.times import read_stamps

Member = tuple[np.datetime64 | None, np.datetime64 | None]
"""(from, to) in UTC, both inclusive, None for an open end; a `to` without a time is the end of that day."""

DAY_NS = 86_400_000_000_000


def read_universe(path: Path) -> dict[str, Member]:
    """The members in the order of the file. Raises: DataError for what is none, all faults at once."""
    try:
        table = read_csv_table(path, path.name)
    except FileNotFoundError as error:
        raise DataError(f"there is no universe file {path}.", "Check the path.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path} cannot be read: {reason}.", "Check its permissions.") from error
    if not table.rows:
        raise _empty(path)
    frame = table.frame()
    columns = {plain(name): name for name in frame.columns}
    if "symbol" not in columns:
        raise DataError(
            f"{path.name} has no column symbol (columns: {', '.join(frame.columns)}).",
            "Give the columns symbol and, optionally, from and to.",
        )
    names = [plain(name) for name in frame.columns]
    for column in ("symbol", "from", "to"):
        if names.count(column) > 1:
            raise DataError(f"{path.name} has two columns {column}.", "Keep one.")
    symbols = frame[columns["symbol"]].str.strip()
    kept = (symbols != "").to_numpy(dtype=bool)
    frame = frame[kept].reset_index(drop=True)
    lines = np.array(table.lines, dtype=np.int64)[kept]
    symbols = symbols[kept].reset_index(drop=True)
    if len(symbols) == 0:
        raise _empty(path)
    edges: dict[str, list[np.datetime64 | None]] = {}
    faults: list[Fault] = []
    for edge in ("from", "to"):
        edges[edge] = [None] * len(symbols)
        if edge not in columns:
            continue
        cells = frame[columns[edge]].str.strip().replace("", None)
        filled = np.flatnonzero(cells.notna().to_numpy())
        stamps, found = read_stamps(cells.iloc[filled], lines[filled], path.name)
        faults += found
        for at, moment, valid in zip(
            filled.tolist(), stamps.utc.tolist(), stamps.valid.tolist(), strict=True
        ):
            last = edge == "to" and int(moment) % DAY_NS == 0 and len(str(cells.iloc[at])) <= 10
            if valid:
                edges[edge][at] = np.datetime64(int(moment) + (DAY_NS - 1 if last else 0), "ns")
    members: dict[str, Member] = {}
    for at, symbol in enumerate(symbols):
        start, end = edges["from"][at], edges["to"][at]
        if symbol in members:
            found_text = "the symbol for the second time"
            cure = "give each symbol one row with one stretch of membership"
            faults.append(Fault("duplicate", int(lines[at]), symbol, found_text, cure, path.name))
        elif start is not None and end is not None and start > end:
            found_text = f"from {_day(start)} after to {_day(end)}"
            faults.append(
                Fault("date", int(lines[at]), symbol, found_text, "exchange them", path.name)
            )
        members[symbol] = (start, end)
    if faults:
        raise DataFaults(faults, f"the universe {path.name}", all_shown=True)
    return members


def _day(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[D]"))


def _empty(path: Path) -> DataError:
    return DataError(
        f"the universe {path.name} is empty.", "Give a column symbol with one symbol a row."
    )


def named_symbols(wanted: Iterable[str], available: Iterable[str], where: str) -> tuple[str, ...]:
    """The symbols that a user's names mean, each once: the exact spelling first, then the one that differs in
    case or a leading `$` (`core.symbols`). Raises: DataError for a name that means none, or two."""
    known = list(available)
    names = SymbolNames(known)
    found = [names.match(name) or name for name in wanted]
    require_symbols(found, known, where)
    return tuple(dict.fromkeys(found))


def require_common(symbols: Iterable[str] | None, members: Iterable[str]) -> None:
    """Raises: DataError where --symbols and --universe name no symbol in common."""
    wanted, listed = list(symbols or ()), list(members)
    if wanted and not set(wanted) & set(listed):
        raise DataError(
            f"--symbols ({_first(wanted)}) and --universe ({_first(listed)}) have no symbol in common.",
            "Name symbols that the universe has, or leave one of the two out.",
        )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def require_symbols(wanted: Iterable[str], available: Iterable[str], where: str) -> None:
    """Raises: DataError that lists every wanted symbol that is not there, and the nearest names."""
    known = list(available)
    missing = [symbol for symbol in wanted if symbol not in set(known)]
    if not missing:
        return
    by_upper: Mapping[str, str] = {name.upper(): name for name in known}
    parts = []
    for symbol in missing[:10]:
        near = [
            by_upper[name]
            for name in difflib.get_close_matches(symbol.upper(), by_upper, n=3, cutoff=0.5)
        ]
        parts.append(f"{symbol} (nearest: {', '.join(near)})" if near else symbol)
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    shown = ", ".join(sorted(known)[:20]) + (
        f" ... ({len(known)} in all)" if len(known) > 20 else ""
    )
    raise DataError(f"{where} has no {', '.join(parts)}{more}.", f"It has {shown}.")
