"""Dates and times as people and vendors write them, turned into ISO 8601.

Owns the spellings: month names, day or month first, times of day without colons, day numbers of Excel.
Refuses to guess between 3 January and 1 March: where no day above 12 settles it, the file is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading.sources.faults import SHOWN, Fault
from trading.sources.times import Stamps, read_stamps

if TYPE_CHECKING:
    import pandas as pd

INT = npt.NDArray[np.int64]

ORDER_CURE = (
    "say which comes first: --set data.date_order=dmy (day) or mdy (month), or write 2012-05-18"
)
EXCEL_ZERO = np.datetime64("1899-12-30", "D")
"""Day 0 of Excel's numbers, for dates after its invented 1900-02-29."""
EXCEL_DAYS = (10_000, 80_000)
"""Day numbers from 1927 to 2119; a smaller or larger number is taken for something else."""
CENTURY = 70
"""Two digits of a year from here on are of the 20th century."""

_MONTHS = {
    name: at
    for at, names in enumerate(
        (
            "jan january janvier januar ene enero gennaio janv",
            "feb february fevrier februar febrero febbraio fev",
            "mar march mars marz mrz marzo",
            "apr april avril abr abril aprile avr",
            "may mai mayo maggio",
            "jun june juin juni junio giugno",
            "jul july juillet juli julio luglio juil",
            "aug august aout agosto ago",
            "sep sept september septembre septiembre settembre",
            "oct october octobre okt oktober octubre ottobre",
            "nov november novembre noviembre",
            "dec december decembre dez dezember dic diciembre dicembre",
        ),
        start=1,
    )
    for name in names.split()
}
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_REST = r"(?P<rest>(?:[T,\s].*)?)"
_TRIPLE = re.compile(
    rf"{_WEEKDAY}(?P<a>\d{{1,2}})(?P<sep>[/.\-])(?P<b>\d{{1,2}})(?P=sep)(?P<c>\d{{4}}|\d{{2}}){_REST}",
    re.I,
)
_DAY_MONTH = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})\.?[\s\-/]*(?P<month>[^\W\d_]{{3,10}})\.?,?[\s\-/]*(?P<year>\d{{4}}|\d{{2}}){_REST}",
    re.I,
)
_MONTH_DAY = re.compile(
    rf"{_WEEKDAY}(?P<month>[^\W\d_]{{3,10}})\.?[\s\-/]*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?[\s\-/]+(?P<year>\d{{4}}){_REST}",
    re.I,
)
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})[.\-/](?P<month>\d{{1,2}})[.\-/](?P<day>\d{{1,2}}){_REST}"
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?P<rest>[T\s]+\d.*|\d{4}|\d{6})"
)
_ISO = re.compile(r"\d{8}|\d{10}|\d{13}|\d{16}|\d{19}|\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")
"""What `times` reads by itself, fast."""
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<zone>(?:Z|UTC|GMT)?(?:[+-]\d{2}:?\d{2}(?::?\d{2})?|[+-]\d{2})?)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Triple:
    """`03/01/2023 16:00` in parts: three numbers whose order is to be settled, and the text after them."""

    at: int
    numbers: tuple[int, int, int]
    short_year: bool
    rest: str


def read_price_stamps(
    cells: pd.Series, lines: INT, file: str, order: str = "auto"
) -> tuple[Stamps, list[Fault], list[str]]:
    """(times of a file's rows, faults, notes): every spelling that this module knows.

    `order` is `data.date_order`. Raises nothing: a stamp that is none is a fault.
    """
    import pandas as pd

    codes, unique = pd.factorize(cells, use_na_sentinel=True)
    notes: list[str] = []
    spelled, fault = _iso(pd.Series(unique), order, notes)
    if fault is not None:
        rows = np.flatnonzero(codes == fault[0])
        doubt = Fault("date", int(lines[rows[0]]), None, fault[1], ORDER_CURE, file)
        first = tuple(lines[:SHOWN].tolist())
        return _nothing(len(cells)), [replace(doubt, count=len(cells), rows=first)], notes
    if spelled is None:
        return *read_stamps(cells, lines, file), notes
    values = spelled.astype(object).to_numpy()
    texts = np.full(len(codes), None, dtype=object)
    texts[codes >= 0] = values[codes[codes >= 0]]
    stamps, faults = read_stamps(pd.Series(texts), lines, file)
    return stamps, faults, notes


def _nothing(count: int) -> Stamps:
    zeros = np.zeros(count, dtype=np.int64)
    no = zeros.astype(bool)
    return Stamps(zeros, zeros, no, no, no)


def _iso(
    unique: pd.Series, order: str, notes: list[str]
) -> tuple[pd.Series | None, tuple[int, str] | None]:
    """(distinct cells in ISO 8601; None where they may be read as they are, (place, what is ambiguous))."""
    import pandas as pd
    from pandas.api import types

    if (
        len(unique) == 0
        or types.is_datetime64_any_dtype(unique.dtype)
        or types.is_bool_dtype(unique)
    ):
        return None, None
    if types.is_numeric_dtype(unique.dtype):
        return _excel_days(unique.to_numpy(dtype=np.float64), notes), None
    texts = [str(cell).strip() for cell in unique]
    plain = [_ISO.fullmatch(text) is not None for text in texts]
    if all(plain):
        return None, None
    if all(re.fullmatch(r"\d{5}(?:[.,]\d+)?", text) for text in texts):
        numbers = np.array([float(text.replace(",", ".")) for text in texts])
        return _excel_days(numbers, notes), None
    found: dict[int, str] = {}
    triples: list[Triple] = []
    compact = all(
        _named(text) is not None for text in texts if text.isdigit() and len(text) in (12, 14)
    )
    for at, text in enumerate(texts):
        if plain[at]:
            continue
        triple = _TRIPLE.fullmatch(text)
        if triple is not None:
            parts = (int(triple["a"]), int(triple["b"]), int(triple["c"]))
            triples.append(Triple(at, parts, len(triple["c"]) == 2, triple["rest"]))
        elif not text.isdigit() or (compact and len(text) in (12, 14)):
            written = _named(text)
            if written is not None:
                found[at] = written
    if triples:
        settled, doubt = _settle(triples, order)
        if doubt is not None:
            return None, (doubt.at, _ambiguous(texts[doubt.at]))
        for one in triples:
            written = _ordered(one, settled)
            if written is not None:
                found[one.at] = written
        word = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}[settled]
        notes.append(
            f"dates are read {word} ({texts[triples[0].at]!r}; data.date_order says otherwise)"
        )
    if not found:
        return None, None
    return pd.Series([found.get(at, text) for at, text in enumerate(texts)], dtype=object), None


def _ambiguous(text: str) -> str:
    return f"{text!r}: day or month first? No day above 12 settles it in this file"


def _excel_days(numbers: npt.NDArray[np.float64], notes: list[str]) -> pd.Series | None:
    """Day numbers of Excel as ISO texts, None where the numbers are others."""
    import pandas as pd

    first, last = EXCEL_DAYS
    if not np.all((numbers >= first) & (numbers < last)):
        return None
    days = np.floor(numbers)
    seconds = np.rint((numbers - days) * 86_400).astype("timedelta64[s]")
    moments = (EXCEL_ZERO + days.astype("timedelta64[D]")).astype("datetime64[s]") + seconds
    texts = np.datetime_as_string(moments)
    whole = bool((seconds.astype(np.int64) == 0).all())
    notes.append(
        f"times are read as day numbers of a spreadsheet ({numbers[0]:.10g} is {texts[0][:10]})"
    )
    return pd.Series([text[:10] if whole else text for text in texts.tolist()], dtype=object)


def _named(text: str) -> str | None:
    """ISO 8601 for a date whose parts cannot be mistaken; None for anything else."""
    for pattern in (_YEAR_FIRST, _COMPACT, _DAY_MONTH, _MONTH_DAY):
        match = pattern.fullmatch(text)
        if match is None:
            continue
        word = match["month"].casefold()
        month = int(word) if word.isdigit() else _month(word)
        if month is not None:
            return _written(_year(match["year"]), month, int(match["day"]), match["rest"])
    return None


def _month(word: str) -> int | None:
    import unicodedata

    bare = unicodedata.normalize("NFKD", word)
    return _MONTHS.get("".join(char for char in bare if char.isalpha() and char.isascii()))


def _year(text: str) -> int:
    year = int(text)
    if len(text) > 2:
        return year
    return year + (1900 if year >= CENTURY else 2000)


def _written(year: int, month: int, day: int, rest: str) -> str | None:
    """`2023-01-03T16:00:00-05:00`; None where the text after the date is no time of day."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    date = f"{year:04}-{month:02}-{day:02}"
    rest = rest.strip(" T,\t")
    if not rest:
        return date
    clock = clock_text(rest)
    return None if clock is None else f"{date}T{clock}"


def clock_text(text: str) -> str | None:
    """`HH:MM:SS` with its zone, of `9:30`, `4:00 PM`, `0930`, `133000`; None for what is no time of day."""
    text = text.strip()
    if re.fullmatch(r"\d{3,6}", text):
        digits = text.zfill(4) if len(text) <= 4 else text.zfill(6)
        text = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    match = _CLOCK.fullmatch(text)
    if match is None or (match["minute"] is None and match["half"] is None):
        return None
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    second = (match["second"] or "00").replace(",", ".")
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"].lower().startswith("p") else 0)
    if hour > 23 or minute > 59 or float(second) >= 60:
        return None
    zone = re.sub(r"(?i)^(?:UTC|GMT)(?=[+-])", "", match["zone"])
    zone = "Z" if zone.upper() in ("Z", "UTC", "GMT") else zone
    return f"{hour:02}:{minute:02}:{second}{zone}"


def _settle(triples: list[Triple], order: str) -> tuple[str, Triple | None]:
    """(the order of a file's dates, the date that nothing settles)."""
    if order != "auto":
        return order, None
    day_first = sum(one.numbers[0] > 12 for one in triples)
    month_first = sum(one.numbers[1] > 12 for one in triples)
    if not day_first and not month_first:
        undecided = next((one for one in triples if one.numbers[0] != one.numbers[1]), None)
        return "dmy", undecided
    settled = "dmy" if day_first > month_first else "mdy"
    short = [one for one in triples if one.short_year]
    if short and settled == "dmy" and _year_first_fits(short):
        return settled, short[0]
    return settled, None


def _year_first_fits(triples: list[Triple]) -> bool:
    """Whether `23/03/29` may be 2023-03-29 in every row, and runs on at least as well then."""
    if not all(1 <= one.numbers[2] <= 31 for one in triples):
        return False
    year_first = [one.numbers for one in triples]
    day_first = [one.numbers[::-1] for one in triples]
    ordered = [_runs_on(dates) for dates in (year_first, day_first)]
    return ordered[0] or not ordered[1]


def _runs_on(dates: list[tuple[int, int, int]]) -> bool:
    return dates in (sorted(dates), sorted(dates, reverse=True))


def _ordered(one: Triple, order: str) -> str | None:
    a, b, c = one.numbers
    if order == "ymd":
        if not one.short_year:
            return None
        year, month, day = _year(f"{a:02}"), b, c
    else:
        month, day = (b, a) if order == "dmy" else (a, b)
        year = _year(f"{c:02}") if one.short_year else c
    return _written(year, month, day, one.rest)


def clocks(cells: pd.Series) -> pd.Series | None:
    """A column of times of day as `HH:MM:SS`; None where it holds something else.

    Digits alone are hours and minutes, or with more than four seconds too, alike in a whole column.
    """
    import pandas as pd

    texts = cells.map(str, na_action="ignore")
    distinct = texts.dropna().unique().tolist()
    bare = [re.sub(r"\.0$", "", text.strip()) for text in distinct]
    if not distinct:
        return None
    digits = all(text.isdigit() and len(text) <= 6 for text in bare)
    if digits:
        width = 6 if max(map(len, bare)) > 4 else 4
        bare = [text.zfill(width) for text in bare]
    written = {text: clock_text(plain) for text, plain in zip(distinct, bare, strict=True)}
    if any(clock is None for clock in written.values()):
        return None
    return pd.Series(texts.map(written))
