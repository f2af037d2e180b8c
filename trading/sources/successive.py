"""Files of one symbol, one a month, quarter or year, told by their names and read as one symbol.

Owns which names differ only in a date and whether the bars keep to it. Refuses to know bars beyond their
times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from trading.intervals import DAY
from trading.sources.bars import Bars

SLACK_DAYS = 7
"""How far bars may lie beside the dates of their file's name: a week that begins in the month before."""
NOTES = 5
"""Symbols of which a note is given each; the others are counted."""

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATED = re.compile(
    rf"(?P<stem>.*?[^\d\W_].*?)(?:(?<!\d)|[-_. ]+)(?P<year>{_YEAR})"
    rf"(?:[-_.]?(?:(?P<month>{_MONTH})(?:[-_.]?(?P<day>{_DAY}))?|[Qq](?P<quarter>[1-4])))?"
)


@dataclass(frozen=True, slots=True)
class _Dated:
    """A file whose name ends in a date: `first` to `last`, days since 1970, are what the name says."""

    part: int
    kind: str
    first: int
    last: int


def join_successive(
    parts: Sequence[Bars], named_by_file: Sequence[bool]
) -> tuple[list[Bars], list[str]]:
    """(the files' bars, under one symbol where files follow one another; what must be said).

    Files are joined where their names differ only in a date at the end, of one kind, no two hold bars of the
    same days, and each holds the days that its name says, or days at most a week beside them: a contract
    named by its month of expiry holds others. `named_by_file`: whether a file's name is its symbol.
    """
    groups: dict[str, list[_Dated]] = {}
    taken = {symbol for bars in parts for symbol in bars.symbols}
    for at, (bars, named) in enumerate(zip(parts, named_by_file, strict=True)):
        found = _DATED.fullmatch(bars.symbols[0]) if named and len(bars.symbols) == 1 else None
        if found is not None and bars.stamps.valid.any():
            groups.setdefault(found["stem"].rstrip("-_. "), []).append(_dated(at, found))
    joined = list(parts)
    told: list[str] = []
    for stem, files in groups.items():
        if len(files) < 2:
            continue
        files.sort(key=lambda file: (file.first, file.last, file.part))
        names = [parts[file.part].symbols[0] for file in files]
        against = f"there is a file {stem} too" if stem in taken else _against(parts, files)
        if against:
            told.append(
                f"{_listed(names)} may be one symbol {stem}, and are read as {len(files)}: {against}"
            )
            continue
        told.append(f"{_listed(names)} follow one another and are read as one symbol {stem}")
        for file in files:
            joined[file.part] = replace(parts[file.part], symbols=(stem,))
    more = len(told) - NOTES
    if more > 0:
        told = [*told[:NOTES], f"{more} more symbols have files with a date in their names"]
    return joined, told


def _dated(part: int, found: re.Match[str]) -> _Dated:
    year, month = int(found["year"]), found["month"]
    if found["day"]:
        day = _days(year, int(found["month"])) + int(found["day"]) - 1
        return _Dated(part, "day", day, day)
    if found["quarter"]:
        start = 3 * int(found["quarter"]) - 2
        return _Dated(part, "quarter", _days(year, start), _days(year, start + 3) - 1)
    if month:
        return _Dated(part, "month", _days(year, int(month)), _days(year, int(month) + 1) - 1)
    return _Dated(part, "year", _days(year, 1), _days(year + 1, 1) - 1)


def _days(year: int, month: int) -> int:
    """The first day of a month (13 is the next year's first), days since 1970."""
    months = np.datetime64((year - 1970) * 12 + month - 1, "M")
    return int(months.astype("datetime64[D]").astype(np.int64))


def _against(parts: Sequence[Bars], files: Sequence[_Dated]) -> str:
    """Why files in the order of their names are not one symbol; "" where nothing speaks against it."""
    if len({file.kind for file in files}) > 1:
        return "the dates in their names are of several kinds"
    edges = []
    for file in files:
        stamps = parts[file.part].stamps
        days = stamps.wall[stamps.valid] // DAY
        edges.append((int(days.min()), int(days.max())))
    if any(last >= first for (_, last), (first, _) in pairwise(edges)):
        return "their dates overlap"
    if files[0].kind == "day":
        ends = all(last <= file.last for (_, last), file in zip(edges, files, strict=True))
        begins = all(first >= file.first for (first, _), file in zip(edges, files, strict=True))
        kept = ends or begins
    else:
        kept = all(
            file.first - SLACK_DAYS <= first and last <= file.last + SLACK_DAYS
            for (first, last), file in zip(edges, files, strict=True)
        )
    return "" if kept else "they hold other dates than their names say"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{names[0]} to {names[-1]} ({len(names)} files)"
