"""Reads stamps: text, numbers or datetimes to instants and to the wall clock they were written on.

Owns which spellings of a time are understood. Refuses to know what a stamp means for a bar
(`trading/calendar.py`). Day-first and month-first dates (01/02/2012) are refused: the file cannot say
which it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trading.sources.faults import Fault

if TYPE_CHECKING:
    import pandas as pd

ISO_CURE = "write times as 2012-05-18 or 2012-05-18T09:30:00-04:00 (ISO 8601)"
ZONE_CURE = (
    "write the offset of each time, as 2012-05-18T16:00:00-04:00, or UTC: a zone's name may mean several"
    " (many files say EST in summer too)"
)
EPOCH_UNITS = {9: "s", 10: "s", 12: "ms", 13: "ms", 15: "us", 16: "us", 18: "ns", 19: "ns"}
"""Digits of a number -> unit of the time since 1970 that it counts; 8 digits are YYYYMMDD."""
FIRST_YEAR, LAST_YEAR = 1800, 2200
ZONE = r"(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}(?::?\d{2})?|[+-]\d{2})$"
_ZONE_NAME = re.compile(
    r".*\d:\d{2}[\d:.,]*\s*(?:[ap]\.?m\.?)?\s*[+\-\d:]*\[?"
    r"(?P<name>(?![ap]m\]?$)[a-z]+(?:/[a-z_/]+)?)\]?",
    re.IGNORECASE,
)
"""A time of day with the name of a zone behind it."""
INT = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """Times of rows, [K] each, nanoseconds since 1970.

    `utc` is the instant (a stamp without a zone is taken for UTC), `wall` what the clock in its own zone
    showed; `zoned` says whether a zone was given, `dated` whether the text was a date without a time; where
    not `valid`, the others mean nothing.
    """

    utc: INT
    wall: INT
    zoned: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]
    dated: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Stamps:
        return Stamps(
            self.utc[rows], self.wall[rows], self.zoned[rows], self.valid[rows], self.dated[rows]
        )


def read_stamps(cells: pd.Series, lines: INT, file: str) -> tuple[Stamps, list[Fault]]:
    """Parse a column of times; every stamp that is none is a fault, as are stamps with and without zone."""
    import pandas as pd

    codes, unique = pd.factorize(cells, use_na_sentinel=True)
    distinct = _parse_unique(pd.Series(unique))
    missing = codes < 0
    stamps = distinct.take(np.where(missing, 0, codes)) if len(unique) else _nothing(len(cells))
    valid = stamps.valid & ~missing
    stamps = Stamps(stamps.utc, stamps.wall, stamps.zoned, valid, stamps.dated)
    written = cells.astype(str).to_numpy() if not valid.all() else None
    faults = []
    for at in np.flatnonzero(~valid):
        assert written is not None
        if not missing[at] and (zone := _ZONE_NAME.fullmatch(written[at].strip())):
            found = f"{written[at]!r}: a time in a zone by its name, {zone['name']}"
            faults.append(Fault("zone", int(lines[at]), None, found, ZONE_CURE, file))
            continue
        found = "no time" if missing[at] else f"{written[at]!r}, which is no time"
        faults.append(Fault("date", int(lines[at]), None, found, ISO_CURE, file))
    zoned = stamps.zoned[valid]
    if zoned.any() and not zoned.all():
        odd_is_zoned = zoned.mean() < 0.5
        odd = np.flatnonzero(valid & (stamps.zoned == odd_is_zoned))
        word = (
            "with a zone where most have none"
            if odd_is_zoned
            else "without a zone where most have one"
        )
        faults += [
            Fault("zone", int(lines[at]), None, f"{cells.iloc[at]}: a time {word}",
                  "give every time a zone, or none", file)
            for at in odd
        ]  # fmt: skip
    return stamps, faults


def _nothing(count: int) -> Stamps:
    zeros = np.zeros(count, dtype=np.int64)
    no = zeros.astype(bool)
    return Stamps(zeros, zeros, no, no, no)


def _parse_unique(values: pd.Series) -> Stamps:
    import pandas as pd
    from pandas.api import types

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        utc = values.dt.tz_convert(None)
        wall = values.dt.tz_localize(None)
        return _stamps(utc, wall, np.ones(len(values), dtype=bool))
    if types.is_datetime64_dtype(values.dtype):
        return _stamps(values, values, np.zeros(len(values), dtype=bool))
    if types.is_bool_dtype(values.dtype):
        return _nothing(len(values))
    if types.is_numeric_dtype(values.dtype):
        return _numbers(values)
    return _text(values.astype(str).str.strip())


def _numbers(values: pd.Series) -> Stamps:
    """YYYYMMDD, or the time since 1970 in the unit that the number of digits tells."""
    numbers = values.to_numpy(dtype=np.float64)
    whole = np.isfinite(numbers) & (np.floor(numbers) == numbers) & (np.abs(numbers) < 9e18)
    text = np.where(whole, np.where(whole, numbers, 0).astype(np.int64).astype(str), "")
    return _text(values.__class__(text))


def _text(text: pd.Series) -> Stamps:
    import pandas as pd

    text = text.str.replace(
        r"^(\d{8,19})\.0+$", r"\1", regex=True
    )  # a whole number, written as a fraction
    digits = text.str.fullmatch(r"\d+").to_numpy(dtype=bool)
    length = text.str.len().to_numpy()
    epoch = digits & np.isin(length, list(EPOCH_UNITS))
    iso = text.str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", r"\1-\2-\3", regex=True)
    iso = iso.str.replace(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", regex=True)
    plausible = iso.str.match(r"\d{4}-\d{1,2}-\d{1,2}($|[T ]\d)").to_numpy(dtype=bool)
    zoned = iso.str.contains(r":\d.*?\s?" + ZONE, regex=True).to_numpy(dtype=bool, copy=True)
    naive = iso.str.replace(r"\s?" + ZONE, "", regex=True).where(zoned, iso)
    wall = _to_datetime(naive.where(plausible))
    utc = wall.copy()
    if zoned.any():
        offset = iso.str.extract(r"(" + ZONE + r")", expand=False).where(zoned)
        utc = wall - offset.map(_offset).astype("timedelta64[ns]")
    for size, unit in EPOCH_UNITS.items():
        here = epoch & (length == size)
        if here.any():
            moments = pd.Series(
                text[here].astype("int64").to_numpy().astype(f"datetime64[{unit}]"),
                index=text.index[here],
            ).astype("datetime64[ns]")
            utc[here] = moments
            wall[here] = moments
            zoned = zoned | here
    dated = iso.str.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}").to_numpy(dtype=bool)
    return _stamps(utc, wall, zoned, dated)


def _to_datetime(text: pd.Series) -> pd.Series:
    """datetime64[ns] with NaT where a date is impossible."""
    import pandas as pd

    year = pd.to_numeric(text.str[:4], errors="coerce")
    text = text.where((year >= FIRST_YEAR) & (year < LAST_YEAR))
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce")
    return parsed.astype("datetime64[ns]")


def _offset(zone: object) -> np.timedelta64:
    """`-04:00` -> minus four hours; `Z` -> 0."""
    if not isinstance(zone, str):
        return np.timedelta64("NaT", "ns")
    if zone in ("Z", "UTC", "GMT"):
        return np.timedelta64(0, "ns")
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4] or 0) * 60
    return np.timedelta64((-1 if zone[0] == "-" else 1) * seconds * 1_000_000_000, "ns")


def _stamps(
    utc: pd.Series,
    wall: pd.Series,
    zoned: npt.NDArray[np.bool_],
    dated: npt.NDArray[np.bool_] | None = None,
) -> Stamps:
    year = wall.dt.year.to_numpy(dtype=np.float64, na_value=np.nan)
    valid = (year >= FIRST_YEAR) & (year < LAST_YEAR)
    instants = utc.where(valid).astype("datetime64[ns]").to_numpy().astype(np.int64)
    clocks = wall.where(valid).astype("datetime64[ns]").to_numpy().astype(np.int64)
    unzoned = ~zoned
    dated = np.zeros(len(valid), dtype=bool) if dated is None else dated
    return Stamps(np.where(unzoned, clocks, instants), clocks, zoned, valid, dated)
