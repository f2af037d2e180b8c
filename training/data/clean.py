"""Cleaning of one text: Unicode form, markup, control characters, spaces.

Owns what a clean text is. Pure: the same text gives the same result. Refuses to know documents and files.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.parser import HTMLParser

_TAG = re.compile(r"<[A-Za-z!/][^<>]*>")
_BLANKS = re.compile(r"[ \t\f\v\u200b\ufeff]+")
_LINES = re.compile(r"\n{3,}")
_BLOCKS = frozenset(
    ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "table", "ul", "ol", "section")
)
_SILENT = frozenset(("script", "style", "head", "template"))


def clean_text(text: str) -> str:
    """NFKC, without HTML and control characters, with single spaces and at most one empty line."""
    if "<" in text or "&" in text:
        text = strip_html(text)
    text = unicodedata.normalize("NFKC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(
        letter
        for letter in text
        if letter in "\n\t" or unicodedata.category(letter) not in _CONTROLS
    )
    lines = [_BLANKS.sub(" ", line).strip() for line in text.split("\n")]
    return _LINES.sub("\n\n", "\n".join(lines)).strip()


_CONTROLS = frozenset(("Cc", "Cs", "Co", "Cn"))


def strip_html(text: str) -> str:
    """The text between the tags; a lone `<` or `&`, as in prices, stays. Entities are read."""
    if not _TAG.search(text):
        return html.unescape(text)
    reader = _Words()
    reader.feed(text)
    reader.close()
    return "".join(reader.parts)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
