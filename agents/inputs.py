"""Weights, views and holdings that a user gives as files or tables.

Owns their columns, their checks and when a row becomes visible. A row with a bare date is visible from
the beginning of that day (UTC) on, so at that day's close; times without a zone are UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.errors import DataError
from core.protocols import History, State
from core.types import Views

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


def read_table(source: Path | pd.DataFrame, columns: Sequence[str], what: str) -> pd.DataFrame:
    """A CSV, Parquet or Feather file (or a frame) with at least these columns, lower-cased.

    Raises: DataError for a missing file, a table that cannot be read, missing columns, an empty table.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        frame, name = source.copy(), f"the {what} table"
    else:
        name = str(source)
        try:
            if source.suffix in (".parquet", ".pq"):
                frame = pd.read_parquet(source)
            elif source.suffix in (".feather", ".ft"):
                frame = pd.read_feather(source)
            else:
                frame = pd.read_csv(source)
        except FileNotFoundError:
            raise DataError(
                f"--{what} {source}: there is no such file.", "Check the path."
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(
                f"--{what} {source} cannot be read as a table: {error}.",
                "Give a CSV, Parquet or Feather file.",
            ) from error
    if "time" in columns and "time" not in [str(c).lower() for c in frame.columns]:
        frame = frame.rename(columns={"date": "time", "timestamp": "time", "Date": "time"})
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}.",
            f"The columns are {', '.join(columns)}.",
        )
    if frame.empty:
        raise DataError(f"{name} has no rows.", "Give at least one.")
    return frame


def _numbers(frame: pd.DataFrame, column: str, name: str, *, empty: bool = False) -> FloatArray:
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    blank = frame[column].isna().to_numpy()
    bad = np.flatnonzero((~np.isfinite(values)) & ~(blank & empty))
    if len(bad):
        raise DataError(
            f"{name}, row {int(bad[0]) + 2}: {column} is {frame[column].iloc[int(bad[0])]!r}.",
            "Give a finite number.",
        )
    return values


def _times(frame: pd.DataFrame, name: str) -> npt.NDArray[np.datetime64]:
    import pandas as pd

    times = pd.to_datetime(frame["time"], utc=True, errors="coerce", format="mixed")
    bad = np.flatnonzero(times.isna().to_numpy())
    if len(bad):
        raise DataError(
            f"{name}, row {int(bad[0]) + 2}: time is {frame['time'].iloc[int(bad[0])]!r}.",
            "Write it as YYYY-MM-DD, or as ISO 8601 with a zone.",
        )
    return times.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")


class WeightsStrategy:
    """Target weights from a table: the rows of one time are one allocation.

    A symbol that an allocation leaves out is 0, an empty weight holds; between allocations everything is
    held. Each allocation is visible from its time on; the latest visible one counts.
    """

    warmup = 0

    def __init__(
        self,
        times: npt.NDArray[np.datetime64],
        symbols: Sequence[str],
        weights: FloatArray,
    ) -> None:
        self._allocations: dict[int, dict[str, float | None]] = {}
        for moment, symbol, weight in zip(
            times.astype("datetime64[ns]").astype(np.int64).tolist(), symbols, weights, strict=True
        ):
            self._allocations.setdefault(moment, {})[symbol] = (
                None if np.isnan(weight) else float(weight)
            )
        self._moments = sorted(self._allocations)
        self._taken = 0
        self.symbols = frozenset(symbols)

    def decide(self, history: History, state: State) -> Mapping[str, float | None] | None:
        now = int(history.times[-1].astype("datetime64[ns]").astype(np.int64))
        visible = bisect_right(self._moments, now)
        if visible == self._taken:
            return None
        self._taken = visible
        listed = set(history.symbols)
        allocation = self._allocations[self._moments[visible - 1]]
        return {symbol: weight for symbol, weight in allocation.items() if symbol in listed}


def read_weights(source: Path | pd.DataFrame) -> WeightsStrategy:
    """`--weights`: a table `time, symbol, weight`; a frame may also be wide (times x symbols).

    Raises: DataError, naming the row, for two weights of one symbol at one time among others.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame) and not {"symbol", "weight"} <= {
        str(c).lower() for c in source.columns
    }:
        wide = source.copy()
        wide.index.name, wide.columns.name = "time", "symbol"
        source = pd.DataFrame({"weight": wide.stack()}).reset_index()
    name = "the weights table" if isinstance(source, pd.DataFrame) else str(source)
    frame = read_table(source, ("time", "symbol", "weight"), "weights")
    times, weights = _times(frame, name), _numbers(frame, "weight", name, empty=True)
    symbols = frame["symbol"].astype(str).str.strip()
    twice = np.flatnonzero(pd.DataFrame({"t": times, "s": symbols.to_numpy()}).duplicated())
    if len(twice):
        row = int(twice[0])
        raise DataError(
            f"{name}, row {row + 2}: {symbols.iloc[row]} has a second weight at "
            f"{frame['time'].iloc[row]}.",
            "Keep one.",
        )
    return WeightsStrategy(times, symbols.tolist(), weights)


class ViewsTable:
    """`--views`: expected returns and confidence by symbol; the latest visible row of each counts."""

    def __init__(
        self,
        times: npt.NDArray[np.datetime64],
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
    frame = read_table(path, ("time", "symbol", "expected_return_frac", "confidence"), "views")
    name = str(path)
    confidence = _numbers(frame, "confidence", name)
    outside = np.flatnonzero((confidence < 0.0) | (confidence > 1.0))
    if len(outside):
        raise DataError(
            f"{name}, row {int(outside[0]) + 2}: confidence is {confidence[outside[0]]}.",
            "It lies between 0 and 1.",
        )
    return ViewsTable(
        _times(frame, name),
        frame["symbol"].astype(str).str.strip().tolist(),
        _numbers(frame, "expected_return_frac", name),
        confidence,
    )


def read_holdings(path: Path) -> tuple[float, dict[str, float]]:
    """`--holdings`: (cash in dollars, quantity by symbol) from columns `symbol, quantity` and a CASH row.

    Raises: DataError, also for a symbol named twice.
    """
    frame = read_table(path, ("symbol", "quantity"), "holdings")
    quantities = _numbers(frame, "quantity", str(path))
    symbols = frame["symbol"].astype(str).str.strip()
    held: dict[str, float] = {}
    for row, (symbol, quantity) in enumerate(zip(symbols, quantities.tolist(), strict=True)):
        if symbol in held:
            raise DataError(
                f"{path}, row {row + 2}: {symbol} stands there twice.", "Keep one line."
            )
        held[symbol] = quantity
    return held.pop("CASH", 0.0), {symbol: q for symbol, q in held.items() if q}


def check_known(named: frozenset[str], known: Sequence[str], what: str) -> None:
    """Raises: DataError when a file names symbols that the data do not have."""
    unknown = sorted(named - set(known))
    if unknown:
        raise DataError(
            f"{what} names {', '.join(unknown[:5])}, which the data do not have.",
            f"The data have {', '.join(known[:10])}{' ...' if len(known) > 10 else ''}.",
        )
