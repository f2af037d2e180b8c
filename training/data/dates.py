"""Dates in free text, to find what a text of its time could not have said.

Owns which spellings count as a date. Only dates with a month and a year count: 2016-01-15, 1/15/2016,
January 15, 2016, 15 Jan 2016, January 2016. Known weakness: "next year", a bare year and a date without a
year are not found, and an announcement of a coming day ("expires Jan 15, 2016") is taken for a
leak: better one text too few.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime

_MONTHS = {name.casefold(): at for at, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name.casefold(): at for at, name in enumerate(calendar.month_abbr) if name}
_MONTHS["sept"] = 9
_NAME = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR = r"(?:19|20)\d{2}"

_PATTERNS = (
    re.compile(rf"(?<!\d)(?P<y>{_YEAR})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}})(?!\d)"),
    re.compile(rf"(?<![\d/])(?P<m>\d{{1,2}})/(?P<d>\d{{1,2}})/(?P<y>{_YEAR})(?!\d)"),
    re.compile(
        rf"\b(?P<n>{_NAME})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>{_YEAR})\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?P<n>{_NAME})\.?,?\s+(?P<y>{_YEAR})\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b(?P<n>{_NAME})\.?,?\s+(?P<y>{_YEAR})\b", re.IGNORECASE),
)
_QUICK = re.compile(_YEAR)


def future_date(text: str, as_of: datetime) -> str | None:
    """The first date in `text` that lies after the day of `as_of` (UTC), as it is written; None without one.

    A month without a day counts from its first day on.
    """
    today = as_of.astimezone(UTC).date()
    if not any(int(year) >= today.year for year in _QUICK.findall(text)):
        return None
    for pattern in _PATTERNS:
        for found in pattern.finditer(text):
            told = _date(found)
            if told is not None and told > today:
                return found.group()
    return None


def _date(found: re.Match[str]) -> date | None:
    parts = found.groupdict()
    name = parts.get("n")
    month = _MONTHS[name.casefold()] if name else int(parts["m"])
    try:
        return date(int(parts["y"]), month, int(parts.get("d") or 1))
    except ValueError:
        return None
