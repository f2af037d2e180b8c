"""News from a file: `--news`, columns `time` (or `created_at`), `symbol`, `text`, CSV or Parquet.

Owns which line is visible when, and every complaint about the file. Refuses to know what a line means.
A line is visible from its time on, and every time needs a zone: a tweet of 16:00 New York time read as UTC
would be known five hours early. A line without a symbol is about the market: everybody reads it. Lines about
symbols that the data do not have are passed over, and counted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.inputs import read_sheet
from core.errors import DataError
from core.memories import from_micros
from trading.sources.times import read_stamps

if TYPE_CHECKING:
    import pandas as pd

    from core.protocols import Tokenizer

MARKET = ""
"""The symbol of a line that is about none, and so about all."""
MAX_TEXT_CHARACTERS = 1_000
"""What is kept of one line; the rest is cut off."""
MAX_SYMBOL_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class News:
    """One line: when it became public, about which symbol (`MARKET`: about all), what it says (one line,
    printable)."""

    time: datetime
    symbol: str
    text: str


class NewsFeed:
    """The lines of a file in the order in which they became public."""

    def __init__(self, lines: Sequence[News], *, cut: int = 0) -> None:
        """`cut` is how many of the lines are no longer as they were written."""
        self._lines = _in_order(lines)
        self._times = [line.time for line in self._lines]
        self.cut = cut

    def __len__(self) -> int:
        return len(self._lines)

    def fitting(self, tokenizer: Tokenizer, tokens: int) -> NewsFeed:
        """The same lines, cut to `MAX_TEXT_CHARACTERS` and so many tokens: whoever can write into a feed must
        not be able to stop its reader."""
        lines, cut = [], 0
        for line in self._lines:
            text = line.text[:MAX_TEXT_CHARACTERS].strip()
            if tokenizer.count(text) > tokens:
                text = tokenizer.truncate(text, tokens).strip()
            cut += text != line.text
            if text:
                lines.append(News(line.time, line.symbol, text))
        return NewsFeed(lines, cut=cut)

    def passed_over(self, symbols: Sequence[str]) -> dict[str, int]:
        """How many lines are about each symbol that is none of these, the most first."""
        known = {*symbols, MARKET}
        counts = Counter(line.symbol for line in self._lines if line.symbol not in known)
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))

    def since_last(self, as_of: datetime, previous: datetime | None) -> Mapping[str, list[News]]:
        """Lines by symbol that became public after `previous` and up to `as_of`, oldest first.

        Without `previous` there are none: what a run finds when it begins is not news.
        """
        if previous is None:
            return {}
        found: dict[str, list[News]] = {}
        start, end = bisect_right(self._times, previous), bisect_right(self._times, as_of)
        for line in self._lines[start:end]:
            found.setdefault(line.symbol, []).append(line)
        return found


def by_column(
    lines: Mapping[str, Sequence[News]], column_of: Mapping[str, int]
) -> dict[int, list[News]]:
    """The lines that each symbol's reader has, its own and the market's, in the order of their times."""
    market = lines.get(MARKET, ())
    found = {column: list(market) for column in column_of.values()} if market else {}
    for symbol, own in lines.items():
        if symbol in column_of:
            column = column_of[symbol]
            found[column] = _in_order([*own, *market]) if market else list(own)
    return found


def _in_order(lines: Iterable[News]) -> list[News]:
    return sorted(lines, key=lambda line: (line.time, line.symbol, line.text))


TELLING_WORDS = 12
_WORD = re.compile(r"[^\W\d_]{2,}")


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without numbers."""
    return _WORD.findall(text.casefold())


def telling_words(lines: Sequence[News]) -> list[str]:
    """Distinct words of some lines, the last line's first: what a day of news is known by."""
    words: dict[str, None] = {}
    for line in reversed(lines):
        words.update(dict.fromkeys(words_of(line.text)))
    return list(words)[:TELLING_WORDS]


def read_news(source: Path) -> NewsFeed:
    """Raises: DataError, naming the row, for a time that is none or has no zone, and for missing columns."""
    sheet = read_sheet(source, ("time", "symbol", "text"), "news", {"created_at": "time"})
    symbols = [
        name[:MAX_SYMBOL_CHARACTERS] for name in _texts(sheet.frame["symbol"].fillna(MARKET))
    ]
    cells = sheet.frame["time"]
    stamps, faults = read_stamps(cells, sheet.lines, sheet.name)
    cure = "Write times with their zone: 2014-06-09T16:00:00-04:00 or 2014-06-09T20:00:00Z."
    wrong = [fault for fault in faults if fault.kind != "zone"]
    if wrong:
        raise DataError(f"{sheet.name}, row {wrong[0].row}: the time is {wrong[0].found}.", cure)
    bare = np.flatnonzero(~stamps.zoned)
    if len(bare):
        row = int(bare[0])
        raise DataError(f"{sheet.at(row)}: the time {cells.iloc[row]} has no zone.", cure)
    moments = (stamps.utc // 1_000).tolist()
    # A line is never visible before its time, so what is cut off below a microsecond counts as one more.
    late = (stamps.utc % 1_000 > 0).tolist()
    lines = []
    for moment, later, symbol, text in zip(
        moments, late, symbols, _texts(sheet.frame["text"]), strict=True
    ):
        if text:
            lines.append(News(from_micros(moment + later), symbol, text))
    return NewsFeed(lines)


def _texts(cells: pd.Series) -> list[str]:
    """Each cell as one printable line; empty where there is nothing to read."""
    found = []
    for cell in cells.fillna("").astype(str).tolist():
        line = " ".join("".join(c if c.isprintable() else " " for c in cell).split())
        found.append(line)
    return found
