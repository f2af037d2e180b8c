"""Times as vendors write them, told as ISO 8601.

Owns the spellings of mail, feeds and social networks: RFC 2822 and RFC 850 dates, Twitter's `created_at`, ISO
8601 without separators, zone names, seconds since 1970 with decimals. Refuses to know which zone a time
without one means, which of day and month comes first in 01/02/2012, and zone names that several countries
share (IST, BST, CST of China). What it does not know it hands back as it came.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES = {
    "z": "+00:00", "ut": "+00:00", "utc": "+00:00", "gmt": "+00:00",
    "est": "-05:00", "edt": "-04:00", "cst": "-06:00", "cdt": "-05:00",
    "mst": "-07:00", "mdt": "-06:00", "pst": "-08:00", "pdt": "-07:00",
}  # fmt: skip
"""The names of zones that RFC 2822 section 4.3 gives a meaning, and UTC."""

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
)
_ZONE = r"(?:\s*(?P<zone>[+-]\d{2}:?\d{2}|[A-Za-z]{1,4}(?:[+-]\d{2}:?\d{2})?)(?:\s*\([^)]*\))?)?"
_NAMED_DAY = r"(?:(?P<day_name>[A-Za-z]{3,9})\.?,?\s+)?"
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        # Mon, 14 Mar 2011 09:15:00 -0400; Monday, 14-Mar-11 09:15:00 GMT
        rf"{_NAMED_DAY}(?P<day>\d{{1,2}})[\s-]+{_MONTH}[\s-]+(?P<year>\d{{4}}|\d{{2}}),?\s+{_CLOCK}{_ZONE}",
        # Wed Oct 10 20:19:24 +0000 2018; Wed Oct 10 20:19:24 UTC 2018
        rf"{_NAMED_DAY}{_MONTH}\s+(?P<day>\d{{1,2}})\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})",
        # March 14, 2011, 9:15 AM EDT
        rf"{_NAMED_DAY}{_MONTH}\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}),?\s+(?:at\s+)?{_CLOCK}{_ZONE}",
        # 2011-03-14 09:15:00 EDT
        rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})[T\s]\s*{_CLOCK}{_ZONE}",
    )
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})[T\s]?"
    r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(?P<fraction>[.,]\d+)?"
    r"\s*(?P<zone>[Zz]|[+-]\d{2}:?(?:\d{2})?|UTC|GMT)?"
)
_EPOCH = re.compile(r"(\d{9,10})\.(\d{1,9})0*")
_NUMBER_OF_DIGITS = (9, 10, 12, 13, 15, 16, 18, 19, 8)


def iso_text(text: str) -> str:
    """The same moment in ISO 8601 with its offset, or the text itself where it has none of these forms.

    A weekday that is not the date's, and a zone's name without a meaning of its own, are not read.
    Source: RFC 2822 sections 3.3 and 4.3 (years of two digits: 00 to 49 are 20xx), ISO 8601 basic format.
    """
    stripped = text.strip()
    if stripped.isdigit() and len(stripped) in _NUMBER_OF_DIGITS:
        return stripped
    if epoch := _EPOCH.fullmatch(stripped):
        return epoch[1] + epoch[2].ljust(9, "0")
    if found := _COMPACT.fullmatch(stripped):
        return _iso(found.groupdict()) or stripped
    for form in _FORMS:
        if found := form.fullmatch(stripped):
            return _iso(found.groupdict()) or stripped
    return stripped


def iso_cells(cells: pd.Series) -> pd.Series:
    """A column of times with its texts told in ISO 8601; what is no text stays as it is."""
    if cells.dtype.kind != "O":
        return cells
    return cells.map(lambda cell: iso_text(cell) if isinstance(cell, str) else cell)


def _iso(parts: dict[str, str | None]) -> str | None:
    """ISO 8601 of the parts of a time; None where they are none."""
    zone = _offset(parts.get("zone"))
    month = _month(parts["month"] or "")
    hour = _hour(int(parts["hour"] or 0), parts.get("half"))
    if zone is None or month is None or hour is None:
        return None
    year = int(parts["year"] or 0)
    if len(parts["year"] or "") == 2:
        year += 2000 if year < 50 else 1900
    try:
        moment = datetime(  # a wall clock; its zone follows as text
            year,
            month,
            int(parts["day"] or 0),
            hour,
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
        )
    except ValueError:
        return None
    name = parts.get("day_name")
    if name is not None and name[:3].lower() != DAYS[moment.weekday()]:
        return None
    fraction = (parts.get("fraction") or "").replace(",", ".")
    return f"{moment.isoformat()}{fraction}{zone}"


def _offset(zone: str | None) -> str | None:
    """`-0400` -> `-04:00`; nothing -> nothing; None for a name that says no zone."""
    if not zone:
        return ""
    named = re.fullmatch(r"(?:GMT|UTC)([+-].*)", zone, re.IGNORECASE)
    digits = (named[1] if named else zone).replace(":", "")
    if digits[0] in "+-":
        return f"{digits[:3]}:{digits[3:5] or '00'}"
    return ZONES.get(zone.lower())


def _month(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    short = text[:3].lower()
    return MONTHS.index(short) + 1 if short in MONTHS else None


def _hour(hour: int, half: str | None) -> int | None:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if half[0] in "Pp" else 0)
