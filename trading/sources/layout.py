"""From columns under names to columns by meaning: long tables, wide tables of closes, two levels of names.

Owns which column is the time, the symbol and the close, and what is a symbol although it is called LOW.
Refuses to know formats (`csv_text`) and what the cells are worth (`cells`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trading.sources.date_text import clocks
from trading.sources.headers import (
    CELLS,
    CLOCKS,
    DAYS,
    EXTRAS,
    INDEX_NAMES,
    PRICES,
    RETURNS,
    SYMBOL_WORDS,
    TIME_WORDS,
    fields,
    plain,
    symbol_and_field,
)
from trading.sources.number_text import NOT_A_NUMBER
from trading.sources.sheet import COLUMNS_CURE, Piece, Sheet, Table, broken

if TYPE_CHECKING:
    import pandas as pd

RETURNS_CURE = (
    "give prices: (1 + return) multiplied up from 100, in pandas (1 + r).cumprod() * 100 (percent divided by"
    " 100 first)"
)
QUOTES_CURE = (
    "give bars made of them, in pandas for example ((bid + ask) / 2).resample('1min').ohlc() (if columns with"
    " such names are symbols: --set data.layout=wide)"
)
PROBE = 200
"""Cells of a column that are looked at to tell numbers from words."""

MONEY = frozenset(
    [
        "usd",
        "usdt",
        "usdc",
        "busd",
        "eur",
        "gbp",
        "jpy",
        "krw",
        "try",
        "brl",
        "inusd",
        "ineur",
        "notional",
        "quote",
    ]
)
"""`Volume USD` counts money, not shares."""

_NUMBER_LIKE = re.compile(r"[+\-$€£¥(]*\.?\d[\d.,'\s]*(?:[eE][+-]?\d+)?\s*[KMBT€%)]?")
_DATE_LIKE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T\s].*)?|(?:19|20)\d{6}")


def arrange(sheet: Sheet, layout: str = "auto") -> Table:
    """Sort the columns by what their names, and the table as a whole, say they are.

    `layout` is `data.layout`: with `wide` each column of numbers is a symbol, with `long` none is.
    Raises: DataFaults for a table without times or prices.
    """
    if any(isinstance(name, tuple) for name in sheet.names):
        return _two_level(sheet)
    _check_names(sheet, fields_too=False)
    places = range(len(sheet.names))
    stamps, used, notes = _time_column(sheet, layout)
    rest = [at for at in places if at not in used]
    known = fields(sheet.names, rest)
    whole = set(PRICES) <= set(known)
    symbol_at = _symbol_column(sheet, rest, known)
    sheet = replace(sheet, notes=(*sheet.notes, *notes))
    if layout == "wide":
        return _wide(sheet, stamps, used)
    if not whole and {"bid", "ask"} <= {plain(name) for name in sheet.names}:
        found = f"quotes, not bars (columns: {sheet.written()})"
        raise broken("no_price_columns", found, QUOTES_CURE, file=sheet.file)
    if layout == "long" or whole or symbol_at is not None:
        return _long(sheet, stamps, used, known, symbol_at)
    numbers = [at for at in rest if is_number_column(sheet.frame[at])]
    if numbers and all(plain(sheet.names[at]) in RETURNS for at in numbers):
        raise _returns_named(sheet)
    if not numbers or all(_price_name(sheet.names[at]) for at in numbers):
        return _long(sheet, stamps, used, known, None)
    words = [str(sheet.names[at]).strip() for at in numbers if plain(sheet.names[at]) in CELLS]
    if {"open", "high", "low"} <= {plain(word) for word in words} and not "".join(words).isupper():
        return _long(sheet, stamps, used, known, None)
    if words:
        told = f"a table of closes: {', '.join(words)} are read as symbols (data.layout says otherwise)"
        sheet = replace(sheet, notes=(*sheet.notes, told))
    return _wide(sheet, stamps, used)


def _check_names(sheet: Sheet, *, fields_too: bool) -> None:
    """Two columns of one name cannot both be read; nor, in a long table, `close` and `Close`."""
    seen: dict[str, str] = {}
    for name in map(str, sheet.names):
        word = plain(name) if fields_too and plain(name) in CELLS else name.strip()
        if word in seen and word:
            found = f"two columns that mean {word}: {seen[word]!r} and {name!r}"
            raise broken("columns", found, "keep one", file=sheet.file)
        seen[word] = name


def _returns_named(sheet: Sheet) -> Exception:
    found = f"a column of returns, and no prices (columns: {sheet.written()})"
    return broken("returns", found, RETURNS_CURE, file=sheet.file)


def _price_name(name: object) -> bool:
    """Whether a number column of this name belongs to one symbol's bars, in a table without any other."""
    word = plain(name)
    if word in ("min", "max") or len(word) <= 2:
        return False
    return bool(fields([name], [0])) or word in EXTRAS or word in TIME_WORDS or word in INDEX_NAMES


def is_number_column(cells: pd.Series) -> bool:
    """Whether most of the filled cells that are looked at are numbers."""
    from pandas.api import types

    if types.is_bool_dtype(cells.dtype) or types.is_datetime64_any_dtype(cells.dtype):
        return False
    if types.is_numeric_dtype(cells.dtype):
        return bool(cells.notna().any())
    filled = cells.dropna()
    if len(filled) > PROBE:
        filled = filled.iloc[:: len(filled) // PROBE]
    texts = [text for text in (str(cell).strip() for cell in filled) if text not in NOT_A_NUMBER]
    like = sum(_NUMBER_LIKE.fullmatch(text) is not None for text in texts)
    return bool(texts) and 2 * like > len(texts)


def _time_column(sheet: Sheet, layout: str) -> tuple[pd.Series, set[int], tuple[str, ...]]:
    """(times as written, the columns they came from, notes). A day beside a time of day is joined with it."""
    names, frame = [plain(name) for name in sheet.names], sheet.frame
    candidates = [at for at, name in enumerate(names) if name in TIME_WORDS]
    full = set(PRICES) <= set(fields(sheet.names, range(len(names))))
    if full and not candidates and "t" in names:
        exact = [at for at, name in enumerate(sheet.names) if str(name).strip() == "t"]
        candidates = exact or [names.index("t")]
    if not candidates or (not full and names[0] not in TIME_WORDS and _dated(frame[0])):
        at = _unnamed_times(sheet, names)
        return frame[at], {at}, ()
    days = [at for at in candidates if names[at] in DAYS]
    hours = [at for at in candidates if names[at] in CLOCKS and at not in days]
    single = [at for at in candidates if at not in hours]
    if days and hours and (len(single) == len(days)):
        joined = _joined(frame[days[0]], frame[hours[0]], full)
        if joined is not None:
            return joined, {days[0], hours[0]}, ()
    if candidates[0] == 0 and not full:
        at = 0
    else:
        at = min(candidates, key=lambda place: (*TIME_WORDS, "t").index(names[place]))
    return frame[at], {at}, ()


def _joined(day: pd.Series, hour: pd.Series, full: bool) -> pd.Series | None:
    """Days and times of day as one column; None where the second column is none, or may be prices."""
    from pandas.api import types

    written = clocks(hour)
    if written is None:
        return None
    digits = hour.dropna().astype(str).str.fullmatch(r"\d+(?:\.0)?").all()
    if digits and not full and not day.dropna().duplicated().any():
        return None
    text = (
        day.dt.strftime("%Y-%m-%d") if types.is_datetime64_any_dtype(day.dtype) else day.astype(str)
    )
    return (text.str.strip() + " " + written).where(day.notna() & written.notna())


def _unnamed_times(sheet: Sheet, names: Sequence[str]) -> int:
    """The first column where it has no name, or holds dates. Raises: DataFaults."""
    if names and names[0] in INDEX_NAMES:
        return 0
    if len(names) > 1 and _dated(sheet.frame[0]):
        return 0
    found = f"no column date, time or timestamp (columns: {sheet.written()})"
    priced = any(price in fields(sheet.names, range(len(names))) for price in PRICES)
    kind = "no_time_column" if priced else "no_price_columns"
    raise broken(kind, found, COLUMNS_CURE, file=sheet.file)


def _dated(cells: pd.Series) -> bool:
    """Whether the first cells are dates."""
    from pandas.api import types

    if types.is_datetime64_any_dtype(cells.dtype):
        return True
    filled = cells.dropna().iloc[:PROBE].astype(str).str.strip()
    return len(filled) > 0 and all(_DATE_LIKE.fullmatch(text) for text in filled)


def _symbol_column(sheet: Sheet, rest: Sequence[int], known: dict[str, int]) -> int | None:
    words: dict[str, int] = {}
    for at in rest:
        words.setdefault(plain(sheet.names[at]), at)
    exact = [at for at in rest if str(sheet.names[at]).strip() == "T"]
    if exact and {"o", "h", "l", "c"} <= set(words):
        return exact[0]
    sure = SYMBOL_WORDS.index("name")
    for at, word in enumerate(SYMBOL_WORDS):
        if word in words and (at < sure or "close" in known):
            return words[word]
    return None


def _long(
    sheet: Sheet, stamps: pd.Series, used: set[int], known: dict[str, int], symbol_at: int | None
) -> Table:
    _check_names(sheet, fields_too=True)
    missing = [field for field in PRICES if field not in known]
    if "close" in missing or len(missing) in (1, 2):
        if any(plain(name) in RETURNS for name in sheet.names) and "close" in missing:
            raise _returns_named(sheet)
        if len(missing) == len(PRICES):
            raise broken(
                "no_price_columns", f"columns {sheet.written()}", COLUMNS_CURE, file=sheet.file
            )
        found = f"no column {' or '.join(missing)} (columns: {sheet.written()})"
        raise broken("no_price_columns", found, COLUMNS_CURE, file=sheet.file)
    not_empty(sheet)
    cells = {name: sheet.frame[known[name]] for name in CELLS if name in known}
    taken = {known[name] for name in cells} | used
    if "volume" not in cells:
        traded = _other_volume(sheet)
        if traded is not None:
            cells["volume"], both = traded
            taken |= both
    if symbol_at is None:
        piece = Piece(cells, symbol=stem(sheet.file))
    else:
        taken.add(symbol_at)
        piece = Piece(cells, symbols=sheet.frame[symbol_at])
    return _table(sheet, "long", stamps, (piece,), taken)


def _other_volume(sheet: Sheet) -> tuple[pd.Series, set[int]] | None:
    """(volume, its columns) of bars that give it as traded up and traded down, or in coins (`Volume BTC`)."""
    import pandas as pd

    words = {plain(name): at for at, name in enumerate(sheet.names)}
    if "up" in words and "down" in words:
        up, down = (
            pd.to_numeric(sheet.frame[words[word]], errors="coerce") for word in ("up", "down")
        )
        return up + down, {words["up"], words["down"]}
    for word, at in words.items():
        if word.startswith("volume") and word not in EXTRAS and word[6:] not in MONEY:
            return sheet.frame[at], {at}
    return None


def stem(file: str) -> str:
    """`AAPL.csv.gz` -> `AAPL`: the file's name stands for the symbol."""
    return re.sub(
        r"(?i)\.(csv|txt|tsv|parquet|pq|feather|arrow|xlsx)$",
        "",
        re.sub(r"(?i)\.(gz|zip)$", "", file),
    )


def not_empty(sheet: Sheet) -> None:
    """Raises: DataFaults for a header alone."""
    if len(sheet.frame) == 0 and not sheet.faults:
        raise broken("empty", "a header without rows", "give a file with rows", file=sheet.file)


def _table(
    sheet: Sheet,
    layout: str,
    stamps: pd.Series,
    pieces: tuple[Piece, ...],
    taken: set[int],
) -> Table:
    ignored = tuple(
        str(name) or "(unnamed)" for at, name in enumerate(sheet.names) if at not in taken
    )
    return Table(
        sheet.file, "long" if layout == "long" else "wide", sheet.lines, stamps, pieces, ignored,
        tuple(sheet.faults), tuple(sheet.notes), sheet.delimiter,
    )  # fmt: skip


def _wide(sheet: Sheet, stamps: pd.Series, used: set[int]) -> Table:
    """Each column of numbers is a symbol, or a field of one where it is called `AAPL_close`."""
    not_empty(sheet)
    places = [
        at
        for at in range(len(sheet.names))
        if at not in used
        and plain(sheet.names[at]) not in INDEX_NAMES
        and is_number_column(sheet.frame[at])
    ]
    if not places:
        raise broken(
            "no_price_columns", f"columns {sheet.written()}", COLUMNS_CURE, file=sheet.file
        )
    names = [str(sheet.names[at]).strip() for at in places]
    meanings = symbol_and_field(names)
    if not any(one is not None and one[1] in ("close", "adjclose") for one in meanings):
        meanings = [None] * len(names)
    cells: dict[str, dict[str, pd.Series]] = {}
    for at, name, meaning in zip(places, names, meanings, strict=True):
        symbol, field = meaning or (name, "close")
        own = cells.setdefault(symbol, {})
        if field in own:
            raise broken("columns", f"two columns {field} of {symbol}", "keep one", file=sheet.file)
        own[field] = sheet.frame[at]
    pieces = _pieces(sheet, cells)
    return _table(sheet, "wide", stamps, pieces, used | set(places))


def _pieces(sheet: Sheet, cells: dict[str, dict[str, pd.Series]]) -> tuple[Piece, ...]:
    """One piece a symbol. Raises: DataFaults where one has an open but no close, or the like."""
    pieces = []
    for symbol, own in cells.items():
        if "close" not in own and "adjclose" in own and "open" not in own:
            own["close"] = own.pop("adjclose")
        missing = [field for field in PRICES if field not in own]
        if missing and missing != ["open", "high", "low"]:
            found = f"no column {' or '.join(missing)} of {symbol}"
            raise broken("no_price_columns", found, COLUMNS_CURE, file=sheet.file)
        pieces.append(Piece(own, symbol=symbol))
    return tuple(pieces)


def _two_level(sheet: Sheet) -> Table:
    not_empty(sheet)
    cells: dict[str, dict[str, pd.Series]] = {}
    ignored: dict[str, None] = {}
    for at, (name, symbol) in enumerate(sheet.names[1:], start=1):
        field = next(iter(fields([name], [0])), None)
        if field is None:
            ignored[str(name)] = None
            continue
        own = cells.setdefault(symbol, {})
        if field in own:
            raise broken("columns", f"two columns {name} of {symbol}", "keep one", file=sheet.file)
        own[field] = sheet.frame[at]
    return Table(
        sheet.file, "two-level", sheet.lines, sheet.frame[0], _pieces(sheet, cells), tuple(ignored),
        tuple(sheet.faults), tuple(sheet.notes), sheet.delimiter,
    )  # fmt: skip
