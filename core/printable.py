"""Texts of others, shown safely: on a terminal, and in the cells of a spreadsheet.

Owns which characters act instead of being read. Pure; Parquet and JSON keep every text unaltered.

Source: ECMA-48 (control characters, 7 and 8 bits); Unicode TR9 (embeddings and isolates, which reorder what
is read); OWASP, "CSV Injection" (cells that a spreadsheet takes for a formula).
"""

from __future__ import annotations

import re
from typing import Any

ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What moves a cursor, colours, rings, reorders or ends a line; tab and line feed are left."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str) -> str:
    r"""A text with each acting character written out (`\x1b`, `\u202e`); what is left acts nowhere."""
    return ACTING.sub(_written_out, text)


def acts(text: str) -> bool:
    """Whether a text, such as a name, holds a character that acts; a tab or line feed counts too."""
    return ACTING.search(text) is not None or "\n" in text or "\t" in text


def cell(value: Any) -> Any:
    """A value for a CSV file: a text that a spreadsheet would take for a formula gets a `'` before it.

    Numbers stay numbers. `uncell` takes it back.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def uncell(value: Any) -> Any:
    """What `cell` was given."""
    marked = isinstance(value, str) and value[:1] == "'" and value[1:].startswith(_FORMULA)
    return value[1:] if marked else value


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
