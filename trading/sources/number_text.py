"""Numbers as people and vendors write them: decimal points and commas, thousands, currencies, K M B.

Owns which sign is the decimal one in a file and what a cell is worth then. Refuses to guess between
1.000 and 1000 where a column holds both kinds of number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Sign = Literal[".", ","]

NOT_A_NUMBER = (
    "",
    ".",
    "-",
    "--",
    "—",
    "nan",
    "NaN",
    "NAN",
    "null",
    "NULL",
    "Null",
    "None",
    "none",
    "n/a",
    "N/A",
    "n.a.",
    "NA",
    "N/D",
    "#N/A",
    "#N/A N/A",
)
"""An empty cell, as vendors write it (`.` FRED, `N/D` Stooq, `#N/A N/A` Bloomberg)."""

_CURRENCY = re.compile(r"^(?:US)?[$€£¥₹₩₽](?=[\d+\-.,\s])|\s*(?:[$€£¥₹₩₽]|USD|EUR|GBP|CHF|JPY)$")
_GROUP_SPACES = re.compile(r"(?<=\d)[\s\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_MULTIPLE = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_NUMBER = re.compile(r"([+-]?)([\d.,]*\d[\d.,]*)(?:[eE][+-]?\d+)?")
_INFINITE = {
    "inf": np.inf,
    "+inf": np.inf,
    "-inf": -np.inf,
    "infinity": np.inf,
    "-infinity": -np.inf,
}
_GROUPED = {
    sign: re.compile(rf"\d{{1,3}}(?:\{sign}\d{{3}})+|\d{{1,2}}(?:\{sign}\d{{2}})*\{sign}\d{{3}}")
    for sign in (".", ",")
}


COMMA_NOTE = "numbers are read with a decimal comma"
_SIGNS: tuple[Sign, Sign] = (".", ",")


@dataclass(slots=True)
class Hints:
    """What the distinct cells of one column say about the decimal sign.

    `sure` counts cells that show it, `grouped` those that show it by the other sign between thousands, twice
    or more; `unsure` is the first cell with each sign that can be read both ways, `small` a whole number
    below 1,000.
    """

    sure: dict[Sign, int] = field(default_factory=lambda: {".": 0, ",": 0})
    grouped: dict[Sign, int] = field(default_factory=lambda: {".": 0, ",": 0})
    unsure: dict[Sign, str] = field(default_factory=dict)
    small: str = ""


def clean(cell: str) -> str:
    """Without currency, the spaces and apostrophes between thousands, and blanks around."""
    cell = cell.strip().replace("\u2212", "-")
    cell = _CURRENCY.sub("", cell).strip()
    if cell[:1] == "-" and _CURRENCY.search(cell[1:]):
        cell = "-" + _CURRENCY.sub("", cell[1:]).strip()
    return _GROUP_SPACES.sub("", cell)


def hints(texts: Sequence[str]) -> Hints:
    """What distinct cells of a column say. Cells that are no numbers say nothing."""
    found = Hints()
    for text in texts:
        cell = clean(text)
        if cell and cell[-1].upper() in _MULTIPLE:
            cell = cell[:-1].strip()
        match = _NUMBER.fullmatch(cell)
        if match is None:
            continue
        body, exponent = match[2], len(match[0]) > len(match[1]) + len(match[2])
        _hint(found, text.strip(), body, exponent)
    return found


def _hint(found: Hints, text: str, body: str, exponent: bool) -> None:
    points, commas = body.count("."), body.count(",")
    if not points and not commas:
        if len(body) <= 3 and not exponent:
            found.small = found.small or text
        return
    sign: Sign
    other: Sign
    sign, other = (".", ",") if body.rfind(".") > body.rfind(",") else (",", ".")
    if points and commas:
        whole = body[: body.rfind(sign)]
        if body.count(sign) == 1 and _GROUPED[other].fullmatch(whole):
            found.sure[sign] += 1
        return
    if body.count(sign) > 1:
        if _GROUPED[sign].fullmatch(body):
            found.grouped[other] += 1
        return
    before, _, after = body.partition(sign)
    if len(after) == 3 and 1 <= len(before) <= 3 and before[0] != "0" and not exponent:
        found.unsure.setdefault(sign, text)
    else:
        found.sure[sign] += 1


@dataclass(frozen=True, slots=True)
class Decided:
    """The decimal sign of a file. `doubt` is (column, cell, whole number beside it) where nothing settles
    it; `note` says what was settled, where that is not the plain way to write numbers."""

    sign: Sign
    note: str = ""
    doubt: tuple[str, str, str] | None = None


def decide(columns: Mapping[str, Hints], delimiter: str = ",") -> Decided:
    """The decimal sign that the columns of one file settle together.

    A cell that shows its decimal sign settles it; thousands in one column do so only where no other column
    is in doubt. A sign before exactly three digits says nothing by itself: it is refused where whole numbers
    below 1,000 stand in the same column, else read as written: a point is the decimal sign; a comma is too,
    but in a file whose cells are separated by commas it parts thousands.
    """
    sure = {sign: sum(column.sure[sign] for column in columns.values()) for sign in _SIGNS}
    grouped = {sign: sum(column.grouped[sign] for column in columns.values()) for sign in _SIGNS}
    unsure: dict[Sign, tuple[str, str]] = {}
    for name, column in columns.items():
        for sign, text in column.unsure.items():
            unsure.setdefault(sign, (name, text))
    if sure[","] > sure["."]:
        return Decided(",", COMMA_NOTE)
    if sure["."]:
        return Decided(".")
    for name, column in columns.items():
        if column.unsure and column.small:
            return Decided(".", doubt=(name, next(iter(column.unsure.values())), column.small))
    if grouped[","] > grouped["."]:
        return Decided(",", COMMA_NOTE)
    if grouped["."]:
        return Decided(".")
    if len(unsure) == 2:
        (name, text), (_, beside) = unsure["."], unsure[","]
        return Decided(".", doubt=(name, text, beside))
    if "," in unsure and delimiter != ",":
        text = unsure[","][1]
        return Decided(
            ",", f"numbers are read with a decimal comma ({text!r}; data.decimal says otherwise)"
        )
    if "," in unsure:
        text = unsure[","][1]
        return Decided(".", f"commas are read as thousands ({text!r}; data.decimal says otherwise)")
    if "." in unsure:
        text = unsure["."][1]
        return Decided(
            ".", f"three decimals throughout: {text!r} is read with a decimal point (data.decimal)"
        )
    return Decided(".")


def values(texts: Sequence[str], sign: Sign, *, multiples: bool) -> FloatArray:
    """What each text is worth, NaN where it is no number; `multiples` lets K, M, B and T follow it."""
    other = "," if sign == "." else "."
    pattern = re.compile(
        rf"[+-]?(?:\d+|\d{{1,3}}(?:\{other}\d{{3}})+|\d{{1,2}}(?:\{other}\d{{2}})*\{other}\d{{3}})?"
        rf"(?:\{sign}\d*)?(?:[eE][+-]?\d+)?"
    )
    found = np.full(len(texts), np.nan)
    simple = re.compile(rf"[+-]?\d+(?:\{sign}\d+)?")
    easy = [at for at, text in enumerate(texts) if simple.fullmatch(text)]
    if easy:
        found[easy] = np.array([texts[at].replace(sign, ".") for at in easy]).astype(np.float64)
    for at in np.flatnonzero(np.isnan(found)).tolist():
        cell, scale = clean(texts[at]), 1.0
        if cell.lower() in _INFINITE:
            found[at] = _INFINITE[cell.lower()]
            continue
        if multiples and cell and cell[-1].upper() in _MULTIPLE:
            scale, cell = _MULTIPLE[cell[-1].upper()], cell[:-1].strip()
        if pattern.fullmatch(cell) and any(char.isdigit() for char in cell.lower().split("e")[0]):
            number = float(cell.replace(other, "").replace(sign, "."))
            found[at] = float(f"{number * scale:.12g}") if scale != 1.0 else number
    return found
