"""Symbols as text: how a name that a user wrote finds the symbol it means.

Owns the one rule for names beside the prices (news, holdings, --symbols): the exact spelling first, then the
one symbol that differs in case or a leading `$` only. Refuses to guess further, and to read a number as a
symbol: 0050 read as the number 50 is another symbol, and nothing can tell them apart afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.errors import DataError


class AmbiguousSymbol(DataError):
    """A name that two symbols or more fit equally well."""


class SymbolNames:
    """Symbols that are known, to be found by name. One index serves any number of look-ups."""

    def __init__(self, known: Iterable[str]) -> None:
        self._exact = frozenset(known)
        self._loose: dict[str, list[str]] = {}
        for symbol in sorted(self._exact):
            self._loose.setdefault(_loose(symbol), []).append(symbol)

    def match(self, name: str) -> str | None:
        """The symbol that `name` means, or None. Raises: AmbiguousSymbol when two fit."""
        if name in self._exact:
            return name
        near = self._loose.get(_loose(name), [])
        if len(near) > 1:
            raise AmbiguousSymbol(
                f"{name} fits {' and '.join(near)}, which differ in case or a leading $ only.",
                "Write the symbol as the data have it.",
            )
        return near[0] if near else None


def match_symbol(name: str, known: Iterable[str]) -> str | None:
    """As `SymbolNames(known).match(name)`, for one look-up."""
    return SymbolNames(known).match(name)


def symbol_texts(cells: Sequence[object], what: str) -> list[str]:
    """Cells of a column of symbols as text, blanks around them cut off; a missing one (None, NaN) is empty.

    Raises: DataError that names the first cell which is no text: numbers, truth values, dates.
    """
    found: list[str] = []
    for row, cell in enumerate(cells):
        if isinstance(cell, str):
            found.append(cell.strip())
        elif cell is None or str(cell) in ("nan", "<NA>", "NaT"):
            found.append("")
        else:
            raise DataError(
                f"{what}: the symbol in row {row + 1} is {cell!r}, a {type(cell).__name__} and no text.",
                'Read the column as text, for example pandas.read_csv(..., dtype={"symbol": str}): '
                "a number has lost the zeros in front (0050), a truth value its spelling.",
            )
    return found


def _loose(symbol: str) -> str:
    return symbol.removeprefix("$").casefold()
