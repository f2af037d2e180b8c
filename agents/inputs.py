"""Weights, views and holdings that a user gives as files or tables.

Owns their columns, their checks and when a row becomes visible: from its time on. A bare date stands for
what was known at that day's close, so it is visible at the first bar known after the day began (UTC); a
bar known at midnight belongs to the day before. Times without a zone are UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.csvtext import read_csv_table
from core.errors import DataError
from core.protocols import History, State
from core.stamps import iso_cells
from core.symbols import SymbolNames, symbol_texts
from core.types import MOST_REASON_CHARACTERS, Target, Views
from core.unpack import check_arrow, check_parquet
from trading.sources.times import ISO_CURE, read_stamps

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

CASH = "CASH"
_DAY_NS = 86_400_000_000_000
_ALIASES = {"date": "time", "timestamp": "time", "datetime": "time", "ticker": "symbol"}


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A table as given: `lines` [K] are its rows as a person counts them (a CSV's header is row 1). Where the
    `delimiter` of a CSV's cells is no comma, numbers may have a decimal comma."""

    name: str
    frame: pd.DataFrame
    lines: npt.NDArray[np.int64]
    delimiter: str = ","

    def at(self, row: int) -> str:
        return f"{self.name}, row {int(self.lines[row])}"


def read_sheet(
    source: Path | pd.DataFrame,
    columns: Sequence[str],
    what: str,
    aliases: Mapping[str, str] | None = None,
) -> Sheet:
    """A CSV (also .gz), Parquet or Feather file, or a frame, with at least these columns, in any case.

    `date`, `timestamp` and `datetime` stand for `time`, `ticker` for `symbol`; `aliases` are more.
    Text stays text, so that a symbol may be called NA or 0050.
    Raises: DataError for a missing file, a table that cannot be read, missing columns, an empty table.
    """
    import pandas as pd

    delimiter = ","
    if isinstance(source, pd.DataFrame):
        name = f"the {what} table"
        frame = source.reset_index() if _has_labels(source.index) else source.copy()
        lines = np.arange(1, 1 + len(frame))
    else:
        name = f"--{what} {source}"
        frame, lines, delimiter = _read_file(source, name)
    named = [_column_name(column) for column in frame.columns]
    frame.columns = pd.Index([(aliases or {}).get(column, column) for column in named])
    for column in columns:
        count = int((frame.columns == column).sum())
        if count != 1:
            word = "has no column" if count == 0 else f"has {count} columns called"
            raise DataError(
                f"{name} {word} {column}; it has {', '.join(frame.columns)}.",
                f"The columns are {', '.join(columns)}.",
            )
    if len(frame) == 0:
        raise DataError(f"{name} has no rows.", "Give at least one.")
    return Sheet(name, frame.reset_index(drop=True), lines, delimiter)


def _read_file(path: Path, name: str) -> tuple[pd.DataFrame, npt.NDArray[np.int64], str]:
    """(frame, the numbers of its rows, delimiter)."""
    import pandas as pd

    try:
        if path.suffix in (".parquet", ".pq", ".feather", ".ft", ".arrow"):
            parquet = path.suffix in (".parquet", ".pq")
            (check_parquet if parquet else check_arrow)(path, name)
            frame = pd.read_parquet(path) if parquet else pd.read_feather(path)
            frame = frame.reset_index() if _has_labels(frame.index) else frame
            return frame, np.arange(1, 1 + len(frame)), ","
        table = read_csv_table(path, name)
        return table.frame(), np.array(table.lines, dtype=np.int64), table.delimiter
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} cannot be read as a table: {reason}.", "Give a CSV, Parquet or Feather file."
        ) from error


def _has_labels(index: pd.Index) -> bool:
    """True for an index that says something: times, or levels with names."""
    import pandas as pd

    return isinstance(index, pd.DatetimeIndex) or any(name is not None for name in index.names)


def _column_name(column: object) -> str:
    name = str(column).strip().lower()
    return _ALIASES.get(name, "time" if name == "index" else name)


def _numbers(sheet: Sheet, column: str, *, empty: bool = False) -> FloatArray:
    """A column of finite numbers; with `empty`, an empty cell is NaN. Raises: DataError with the row."""
    import pandas as pd

    cells = sheet.frame[column]
    text = cells.astype(str).str.strip()
    if sheet.delimiter != ",":
        text = _with_points(sheet, column, text)
    blank = cells.isna().to_numpy(dtype=bool) | text.str.lower().isin(("", "nan")).to_numpy()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(values) & ~(blank & empty))
    if len(bad):
        row = int(bad[0])
        found = "empty" if blank[row] else repr(str(text.iloc[row]))
        raise DataError(f"{sheet.at(row)}: {column} is {found}.", "Give a finite number.")
    return np.where(blank, np.nan, values)


_DECIMAL_COMMA = r"[+-]?\d*,\d+|[+-]?\d{1,3}(?:\.\d{3})+,\d+"
_THREE_DIGITS = r"[+-]?[1-9]\d{0,2}[.,]\d{3}"


def _with_points(sheet: Sheet, column: str, text: pd.Series) -> pd.Series:
    """Numbers of a European CSV with decimal points. Raises: DataError where the column cannot say whether
    1.000 or 1,000 is a thousand or one."""
    comma = text.str.fullmatch(_DECIMAL_COMMA)
    unclear = text.str.fullmatch(_THREE_DIGITS)
    point = text.str.fullmatch(r"[+-]?\d*\.\d+") & ~unclear
    settled = bool((comma & ~unclear).any()) != bool(point.any())
    if unclear.any() and not settled:
        row = int(np.flatnonzero(unclear.to_numpy(dtype=bool))[0])
        raise DataError(
            f"{sheet.at(row)}: {column} is {text.iloc[row]!r}, which may be a thousand or one.",
            "Write numbers without thousands separators, and with all their decimals or none.",
        )
    if (comma & ~unclear).any() and not point.any():
        plain = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        european = comma | text.str.fullmatch(r"[+-]?\d{1,3}(?:\.\d{3})+")
        return text.where(~european, plain)
    return text


def symbols_of(sheet: Sheet) -> list[str]:
    """The column of symbols. Raises: DataError where one is missing, or no text."""
    found = symbol_texts(sheet.frame["symbol"].tolist(), sheet.name)
    if "" in found:
        raise DataError(f"{sheet.at(found.index(''))}: there is no symbol.", "Name one.")
    return found


def _times(sheet: Sheet) -> TimeArray:
    """From when on each row is visible, [K]; see the module's docstring for bare dates."""
    import pandas as pd

    cells = iso_cells(sheet.frame["time"])
    stamps, faults = read_stamps(cells, sheet.lines, sheet.name)
    if faults:
        raise DataError(
            f"{sheet.name}, row {faults[0].row}: {faults[0].found}.",
            f"{ISO_CURE[0].upper()}{ISO_CURE[1:]}.",
        )
    dates = (stamps.utc % _DAY_NS == 0) & ~stamps.zoned
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        dates &= bool(dates.all())
    else:
        dates &= ~cells.astype(str).str.contains(":").to_numpy(dtype=bool)
    times: TimeArray = (stamps.utc + dates).view("datetime64[ns]")
    return times


def _refuse_twice(sheet: Sheet, times: TimeArray, symbols: Sequence[str], what: str) -> None:
    seen: set[tuple[int, str]] = set()
    for row, key in enumerate(zip(times.astype(np.int64).tolist(), symbols, strict=True)):
        if key in seen:
            raise DataError(
                f"{sheet.at(row)}: {key[1]} has a second {what} at "
                f"{sheet.frame['time'].iloc[row]}.",
                "Keep one.",
            )
        seen.add(key)


class WeightsStrategy:
    """Target weights from a table: the rows of one time are one allocation.

    A symbol that an allocation leaves out is 0, an empty weight holds; between allocations everything is
    held. Each allocation is visible from its time on; the latest visible one counts. A symbol that is not
    listed when its allocation is taken is passed over, and not bought later.
    """

    warmup = 0

    def __init__(self, times: TimeArray, symbols: Sequence[str], weights: FloatArray) -> None:
        self._allocations: dict[int, dict[str, Target]] = {}
        for moment, symbol, weight in zip(
            times.astype("datetime64[ns]").astype(np.int64).tolist(),
            symbols,
            weights.tolist(),
            strict=True,
        ):
            says = "hold" if np.isnan(weight) else f"weight {weight:g}"
            self._allocations.setdefault(moment, {})[symbol] = Target(
                None if np.isnan(weight) else weight,
                reason=f"the row of {_as_written(moment)} and {symbol} in the weights says {says}"[
                    :MOST_REASON_CHARACTERS
                ],
            )
        self._moments = sorted(self._allocations)
        self._taken = 0
        self._passed_over: dict[str, int] = {}
        self.symbols = frozenset(symbols)

    def content(self) -> list[Any]:
        """Every allocation as plain values, whatever it was read from; NaN (hold) is None."""
        return [
            [moment, [[symbol, target.weight] for symbol, target in sorted(allocation.items())]]
            for moment, allocation in sorted(self._allocations.items())
        ]

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many weights other than 0 were lost because their symbol was not listed, by symbol."""
        return dict(sorted(self._passed_over.items()))

    @property
    def rows_not_reached(self) -> int:
        """Rows of allocations that were not visible yet at the last decision."""
        return sum(len(self._allocations[moment]) for moment in self._moments[self._taken :])

    @property
    def applied(self) -> bool:
        """Whether any allocation was visible yet."""
        return self._taken > 0

    def decide(self, history: History, state: State) -> Mapping[str, Target] | None:
        now = int(history.times[-1].astype("datetime64[ns]").astype(np.int64))
        visible = bisect_right(self._moments, now)
        if visible == self._taken:
            return None
        self._taken = visible
        listed = set(history.symbols)
        allocation = self._allocations[self._moments[visible - 1]]
        for symbol, target in allocation.items():
            if target.weight and symbol not in listed:
                self._passed_over[symbol] = self._passed_over.get(symbol, 0) + 1
        found = {symbol: target for symbol, target in allocation.items() if symbol in listed}
        left_out = f"the weights of {_as_written(self._moments[visible - 1])} leave it out"
        for column in np.flatnonzero(state.position_array).tolist():
            if history.symbols[column] not in allocation:
                found[history.symbols[column]] = Target(0.0, reason=left_out)
        return found


def _as_written(moment: int) -> str:
    """The time of an allocation, a bare date without its hour (see the module's docstring)."""
    text = str(np.datetime64(moment, "ns").astype("datetime64[s]"))
    return text[:10] if moment % _DAY_NS == 1 else f"{text}Z"


def read_weights(source: Path | pd.DataFrame) -> WeightsStrategy:
    """`--weights`: a table `time, symbol, weight`; a frame may also be wide (times x symbols).

    Raises: DataError, naming the row, for two weights of one symbol at one time among others.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame) and _is_wide(source):
        source = _long(source)
    sheet = read_sheet(source, ("time", "symbol", "weight"), "weights")
    symbols, times = symbols_of(sheet), _times(sheet)
    _refuse_twice(sheet, times, symbols, "weight")
    return WeightsStrategy(times, symbols, _numbers(sheet, "weight", empty=True))


def _is_wide(frame: pd.DataFrame) -> bool:
    names = {_column_name(column) for column in frame.columns} | set(frame.index.names)
    return not {"symbol", "weight"} & names


def _long(wide: pd.DataFrame) -> pd.DataFrame:
    """Times x symbols as rows of time, symbol and weight; the times are the index, or a column."""
    import pandas as pd

    names = [_column_name(column) for column in wide.columns]
    place = names.index("time") if "time" in names else None
    own = [label for at, label in enumerate(wide.columns) if at != place]
    symbols = iter(symbol_texts(own, "the columns of the weights table"))
    times = wide.index if place is None else wide.iloc[:, place]
    parts = [
        pd.DataFrame(
            {"time": times, "symbol": next(symbols), "weight": wide.iloc[:, at].to_numpy()}
        )
        for at in range(len(names))
        if at != place
    ]
    nothing = pd.DataFrame({"time": [], "symbol": [], "weight": []})
    return pd.concat(parts, ignore_index=True) if parts else nothing


class ViewsTable:
    """`--views`: expected returns and confidence by symbol; the latest visible row of each counts."""

    def __init__(
        self,
        times: TimeArray,
        symbols: Sequence[str],
        expected_return_frac: FloatArray,
        confidence: FloatArray,
    ) -> None:
        order = np.argsort(times, kind="stable")
        self._times = times[order].astype("datetime64[ns]")
        self._symbols = [symbols[int(i)] for i in order]
        self._expected = expected_return_frac[order]
        self._confidence = confidence[order]
        self._taken = 0
        self._latest: dict[str, tuple[float, float]] = {}
        self.symbols = frozenset(symbols)

    def content(self) -> list[Any]:
        """Every row as plain values, whatever it was read from."""
        rows = zip(
            self._times.astype(np.int64).tolist(), self._symbols,
            self._expected.tolist(), self._confidence.tolist(), strict=True,
        )  # fmt: skip
        return sorted([list(row) for row in rows])

    def at(self, history: History) -> Views | None:
        """The views as of the present close, [N], NaN where nothing was said yet."""
        visible = int(np.searchsorted(self._times, history.times[-1], side="right"))
        for row in range(self._taken, visible):
            self._latest[self._symbols[row]] = (
                float(self._expected[row]),
                float(self._confidence[row]),
            )
        self._taken = max(self._taken, visible)
        if not self._latest:
            return None
        nothing = (np.nan, 0.0)
        said = np.array([self._latest.get(symbol, nothing) for symbol in history.symbols])
        return Views("views_file", np.round(said[:, 0], 6), np.round(said[:, 1], 4))


def read_views(path: Path) -> ViewsTable:
    """Raises: DataError, also for a confidence outside 0 to 1."""
    sheet = read_sheet(path, ("time", "symbol", "expected_return_frac", "confidence"), "views")
    confidence = _numbers(sheet, "confidence")
    outside = np.flatnonzero((confidence < 0.0) | (confidence > 1.0))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{sheet.at(row)}: confidence is {confidence[row]}.", "It lies between 0 and 1."
        )
    symbols, times = symbols_of(sheet), _times(sheet)
    _refuse_twice(sheet, times, symbols, "view")
    return ViewsTable(times, symbols, _numbers(sheet, "expected_return_frac"), confidence)


@dataclass(frozen=True, slots=True)
class Holdings:
    """A user's book: quantities in shares; `cash_usd` is None where the file has no CASH line. `ignored` are
    columns that were not read, `source` is what messages call the file."""

    cash_usd: float | None
    quantities: Mapping[str, float]
    ignored: tuple[str, ...] = ()
    source: str = "--holdings"

    def matched(self, known: Sequence[str]) -> Holdings:
        """The book in the spelling of the data; a name that fits no symbol stays as it was written.

        Raises: AmbiguousSymbol for a name that two symbols fit, DataError for two lines that mean one.
        """
        names = SymbolNames(known)
        held: dict[str, float] = {}
        written: dict[str, str] = {}
        for name, quantity in self.quantities.items():
            symbol = names.match(name) or name
            if symbol in held:
                raise DataError(
                    f"{self.source}: {written[symbol]} and {name} both mean {symbol}.",
                    "Keep one line with the sum.",
                )
            held[symbol], written[symbol] = quantity, name
        return replace(self, quantities=held)


def read_holdings(path: Path) -> Holdings:
    """`--holdings`: columns `symbol, quantity` and a CASH line.

    Raises: DataError, also for a symbol named twice.
    """
    sheet = read_sheet(path, ("symbol", "quantity"), "holdings")
    symbols, quantities = symbols_of(sheet), _numbers(sheet, "quantity")
    held: dict[str, float] = {}
    for row, (symbol, quantity) in enumerate(zip(symbols, quantities.tolist(), strict=True)):
        if symbol in held:
            raise DataError(f"{sheet.at(row)}: {symbol} stands there twice.", "Keep one line.")
        held[symbol] = quantity
    if CASH not in held and len(near := [name for name in held if name.upper() == CASH]) == 1:
        held[CASH] = held.pop(near[0])
    cash = held.pop(CASH, None)
    ignored = tuple(str(name) for name in sheet.frame.columns if name not in ("symbol", "quantity"))
    return Holdings(
        cash, {symbol: q for symbol, q in held.items() if q}, ignored, f"--holdings {path}"
    )


def check_known(named: frozenset[str], known: Sequence[str], what: str) -> None:
    """Raises: DataError when a file names symbols that the data do not have."""
    unknown = sorted(named - set(known))
    if unknown:
        raise DataError(
            f"{what} names {', '.join(unknown[:5])}, which the data do not have.",
            f"The data have {', '.join(known[:10])}{' ...' if len(known) > 10 else ''}.",
        )
