"""News from a file: `--news`, columns `time` (or `created_at`), `symbol`, `text`, CSV or Parquet.

Owns which line is visible when, what became of each, and every complaint about the file. Refuses to know what
a line means. A line is visible from its time on, and every time needs a zone: a tweet of 16:00 New York time
read as UTC would be known five hours early. A line without a symbol is about the market: everybody reads it.
The same time, symbol and text twice are one line. What a run does not use is passed over, and counted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from agents.inputs import Sheet, read_sheet
from core.errors import DataError
from core.memories import from_micros, to_micros
from core.stamps import iso_cells
from core.symbols import AmbiguousSymbol, SymbolNames, symbol_texts
from trading.sources.times import read_stamps

if TYPE_CHECKING:
    import pandas as pd

    from core.protocols import Tokenizer
    from trading.panel import Panel

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


PassedOver = Literal[
    "duplicate",
    "empty_text",
    "unknown_symbol",
    "before_first_decision",
    "after_end",
    "not_listed",
]
"""Why a line of news was not used. `not_listed`: its symbol had no bar yet."""
_REASONS: Mapping[PassedOver, str] = {
    "duplicate": "the same line twice",
    "empty_text": "no text",
    "unknown_symbol": "the data have no such symbol",
    "before_first_decision": "public before the first decision",
    "after_end": "after the end",
    "not_listed": "the symbol had no bar yet",
}


@dataclass(frozen=True, slots=True)
class NewsCounts:
    """What became of the lines of a file in one run: `read` = `used` + all `passed_over`.

    `cut` lines were longer than `MAX_TEXT_CHARACTERS`, or than so many `tokens`; `unknown` counts lines by
    symbol that the data do not have."""

    read: int
    used: int
    passed_over: Mapping[PassedOver, int]
    cut: int = 0
    tokens: int | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON `news`."""
        return {
            "read": self.read,
            "used": self.used,
            "passed_over": dict(self.passed_over),
            "cut": self.cut,
        }

    def notes(self) -> list[str]:
        """What a reader of the run must know, one sentence each."""
        lost = self.read - self.used
        why = "; ".join(f"{count:,} {_REASONS[name]}" for name, count in self.passed_over.items())
        said = (
            f"No line of the news lies within the run and is about its symbols: {lost:,} of "
            f"{self.read:,} passed over ({why})."
            if self.used == 0
            else f"News: {_lines(self.read)} read, {self.used:,} used."
            if not lost
            else f"News: {_lines(self.read)} read, {self.used:,} used, {lost:,} passed over ({why})."
        )
        found = [said]
        if self.cut:
            lines = "1 line of news was" if self.cut == 1 else f"{self.cut:,} lines of news were"
            tokens = "" if self.tokens is None else f" and {self.tokens:,} tokens"
            found.append(f"{lines} cut to what fits: {MAX_TEXT_CHARACTERS:,} characters{tokens}.")
        if self.unknown:
            shown = [f"{name} ({count})" for name, count in list(self.unknown.items())[:10]]
            more = f" and {len(self.unknown) - 10} more" if len(self.unknown) > 10 else ""
            found.append(f"News about symbols that the data do not have: {', '.join(shown)}{more}.")
        return found


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


class NewsFeed:
    """The lines of a file in the order in which they became public. `duplicate` and `empty` rows of the file
    are not among them; `cut` of them were cut to what fits, at most so many `tokens`."""

    def __init__(
        self,
        lines: Sequence[News],
        *,
        duplicate: int = 0,
        empty: int = 0,
        cut: int = 0,
        tokens: int | None = None,
    ) -> None:
        self._lines = _in_order(lines)
        self._times = [line.time for line in self._lines]
        self._duplicate, self._empty = duplicate, empty
        self.cut, self._tokens = cut, tokens

    def __len__(self) -> int:
        return len(self._lines)

    def content(self) -> list[list[str]]:
        """Every line as plain values, whatever it was read from."""
        return [[line.time.isoformat(), line.symbol, line.text] for line in self._lines]

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
        empty = self._empty + len(self) - len(lines)
        return NewsFeed(lines, duplicate=self._duplicate, empty=empty, cut=cut, tokens=tokens)

    def counts(self, panel: Panel, first: int, last: int) -> NewsCounts:
        """What became of each line in a run over the rows `first` to `last`, both inclusive.

        A line is used at the first row that is known at its time or later; at row `first` nothing is news.
        """
        column = {symbol: at for at, symbol in enumerate(panel.symbols)}
        moments = np.array([to_micros(time) for time in self._times], dtype="datetime64[us]")
        rows = np.searchsorted(panel.times, moments.astype(panel.times.dtype), side="left")
        passed: Counter[PassedOver] = Counter()
        passed["duplicate"], passed["empty_text"] = self._duplicate, self._empty
        unknown: Counter[str] = Counter()
        used = 0
        for line, row in zip(self._lines, rows.tolist(), strict=True):
            if line.symbol != MARKET and line.symbol not in column:
                passed["unknown_symbol"] += 1
                unknown[line.symbol] += 1
            elif row <= first:
                passed["before_first_decision"] += 1
            elif row > last:
                passed["after_end"] += 1
            elif line.symbol != MARKET and column[line.symbol] >= panel.visible(row):
                passed["not_listed"] += 1
            else:
                used += 1
        by_count = dict(sorted(unknown.items(), key=lambda each: (-each[1], each[0])))
        read = len(self) + self._duplicate + self._empty
        over = {name: passed[name] for name in _REASONS if passed[name]}
        return NewsCounts(read, used, over, self.cut, self._tokens, by_count)

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


def read_news(source: Path, symbols: Iterable[str] = ()) -> NewsFeed:
    """The lines of a file. Names find their symbol among `symbols` as they are written, else as the one that
    differs in case or a leading `$` only.

    Raises: DataError, naming the row, for a time that is none or has no zone, for a name that two symbols
    fit, and for missing columns.
    """
    sheet = read_sheet(source, ("time", "symbol", "text"), "news", {"created_at": "time"})
    moments = _moments(sheet)
    named = _named(sheet, SymbolNames(symbols))
    lines: list[News] = []
    seen: set[tuple[datetime, str, str]] = set()
    duplicate = empty = 0
    for moment, symbol, text in zip(moments, named, _texts(sheet.frame["text"]), strict=True):
        if not text:
            empty += 1
        elif (moment, symbol, text) in seen:
            duplicate += 1
        else:
            seen.add((moment, symbol, text))
            lines.append(News(moment, symbol, text))
    return NewsFeed(lines, duplicate=duplicate, empty=empty)


def _moments(sheet: Sheet) -> list[datetime]:
    """When each line became public. Raises: DataError for what is no time, or has no zone."""
    cells = sheet.frame["time"]
    stamps, faults = read_stamps(iso_cells(cells), sheet.lines, sheet.name)
    cure = (
        "Write times with their zone: 2014-06-09T16:00:00-04:00, Mon, 09 Jun 2014 16:00:00 -0400 or "
        "seconds since 1970."
    )
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
    return [from_micros(moment + later) for moment, later in zip(moments, late, strict=True)]


def _named(sheet: Sheet, names: SymbolNames) -> list[str]:
    """The symbol of each line, in the spelling of the data; `MARKET` where there is none."""
    written = symbol_texts(sheet.frame["symbol"].tolist(), sheet.name)
    found: dict[str, str] = {MARKET: MARKET}
    for row, name in enumerate(written):
        if name not in found:
            shown = _one_line(name)[:MAX_SYMBOL_CHARACTERS]
            try:
                found[name] = names.match(shown) or shown
            except AmbiguousSymbol as error:
                raise DataError(f"{sheet.at(row)}: {error.message}", error.cure) from error
    return [found[name] for name in written]


def _texts(cells: pd.Series) -> list[str]:
    """Each cell as one printable line; empty where there is nothing to read."""
    return [_one_line(cell) for cell in cells.fillna("").astype(str).tolist()]


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
