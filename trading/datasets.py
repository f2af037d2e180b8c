"""Datasets: files that were checked once and are kept by name, for `athena data check|import|list|fetch`.

Owns the folder `data_dir` and the Parquet files in it: long tables of the prices as they came, with
the adjusted close beside, so that `load_panel` reads them like any file. Refuses to know vendors
(`sources/yahoo.py`) and rules (`sources/validate.py`).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import formats
from core.config import DataConfig
from core.errors import DataError
from core.files import FULL_DISK, replacing, storage_error
from trading.calendar import Gap, missing_periods, missing_sessions
from trading.clocks import better_calendar
from trading.intervals import DAY, parse_interval
from trading.price_warnings import PriceWarning, warnings_note
from trading.sources.faults import DataFaults, Fault
from trading.sources.file import Checked, check_source
from trading.sources.load import DATASET_SUFFIX, MOCK, SAMPLE_NAME, clock_moment, resolve_source
from trading.sources.sheet import Table
from trading.sources.source import Source, read_source
from trading.sources.suspects import find_warnings
from trading.sources.table import frame_table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
RESERVED = (MOCK, SAMPLE_NAME)
ABOUT = b"athena"
"""The key of our own description in a Parquet file's metadata."""
COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `athena data check` says. `rows` counts bars; `start` and `end` are stamps, None if unreadable."""

    ok: bool
    rows: int
    symbols: tuple[str, ...]
    start: str | None
    end: str | None
    interval: str | None
    faults: tuple[Fault, ...]
    gaps: tuple[Gap, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()
    sha256: str | None = None
    calendar: str | None = None
    warnings: tuple[PriceWarning, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset on disk. `start` and `end` are stamps as in `CheckReport`."""

    name: str
    path: str
    rows: int
    symbols: tuple[str, ...]
    start: str
    end: str
    interval: str
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def check_data(
    data: str | Path | pd.DataFrame,
    *,
    config: DataConfig | None = None,
    data_dir: Path | None = None,
    now: datetime | None = None,
) -> CheckReport:
    """Everything that is wrong with a file, a folder, a dataset or a DataFrame, and what it holds.

    `now`, where a clock is given, leaves out bars whose session or period ends later.
    Raises: DataError when there is nothing to read (no such file, no permission).
    """
    config = config or DataConfig()
    try:
        source = resolve_source(data, data_dir, config)
    except DataFaults as error:
        return CheckReport(False, 0, (), None, None, None, error.faults, (), ())
    checked = check_source(
        source, calendar=config.calendar, bar_label=config.bar_label, now=clock_moment(now)
    )
    gaps = session_gaps(checked, config.calendar)
    return CheckReport(
        ok=not checked.faults,
        rows=checked.rows,
        symbols=checked.symbols,
        start=checked.first or None,
        end=checked.last or None,
        interval=checked.interval if checked.first else None,
        faults=checked.faults,
        gaps=gaps,
        ignored=checked.ignored,
        notes=(*checked.notes, *_calendar_note(checked, gaps, config.calendar)),
        overlaps=checked.overlaps,
        sha256=source.sha256,
        calendar=config.calendar,
        warnings=find_warnings(checked.series, interval=checked.interval, calendar=config.calendar),
    )


def session_gaps(checked: Checked, calendar: str) -> tuple[Gap, ...]:
    """Missing sessions of every symbol, or bars of weeks and longer, between its own first and last bar."""
    gaps: list[Gap] = []
    interval = parse_interval(checked.interval)
    for symbol, bars in checked.series.items():
        if not interval.is_long:
            gaps += missing_sessions(symbol, np.unique(bars.days), calendar)
        elif interval.unit != "d":
            gaps += missing_periods(symbol, bars.stamps // DAY, interval, calendar)
    return tuple(gaps)


MANY_MISSING = 5
"""So many missing sessions of one symbol ask whether another calendar explains them."""


def _calendar_note(checked: Checked, gaps: Sequence[Gap], calendar: str) -> tuple[str, ...]:
    """A calendar by which most of the sessions that are missing are none; judged by the symbol with most."""
    missing: dict[str, int] = {}
    for gap in gaps:
        missing[gap.symbol] = missing.get(gap.symbol, 0) + gap.sessions
    if not missing or parse_interval(checked.interval).is_long:
        return ()
    symbol = max(missing, key=lambda name: missing[name])
    if missing[symbol] < MANY_MISSING:
        return ()
    found = better_calendar(np.unique(checked.series[symbol].days), calendar)
    if found is None:
        return ()
    return (
        f"{found[1]} of the {missing[symbol]} sessions of {calendar} that {symbol} lacks are none of"
        f" {found[0]}: data.calendar={found[0]} fits better",
    )


def import_files(
    files: Sequence[Path],
    data_dir: Path,
    *,
    name: str | None = None,
    config: DataConfig | None = None,
) -> Dataset:
    """Check files (or folders) and keep their bars as one dataset; one of that name is replaced.

    Raises: DataFaults with every fault, DataError for a name that cannot be one, StorageError for the disk.
    """
    if not files:
        raise DataError("no file to import.", "Name one or more files.")
    if name is None:
        if len(files) > 1:
            raise DataError("several files make one dataset.", "Name it with --name.")
        name = re.sub(r"(\.(csv|txt|tsv|parquet|pq|feather|arrow))?(\.gz)?$", "", files[0].name)
    _check_name(name)
    config = config or DataConfig()
    tables: list[Table] = []
    faults: list[Fault] = []
    for file in files:
        try:
            read = read_source(file, config)
        except DataFaults as error:
            faults += error.faults
            continue
        tables += read.tables
        faults += read.faults
    if not tables:
        raise DataFaults(faults)
    source = Source(name, tuple(tables), "", tuple(faults))
    checked = check_source(source, calendar=config.calendar, bar_label=config.bar_label)
    checked = _with_warnings(checked, config.calendar)
    return save_dataset(checked, data_dir, name, ", ".join(file.name for file in files))


def _with_warnings(checked: Checked, calendar: str) -> Checked:
    """With a note that counts what is doubtful in the prices."""
    found = find_warnings(checked.series, interval=checked.interval, calendar=calendar)
    return replace(checked, notes=(*checked.notes, *warnings_note(found)))


def save_dataset(
    checked: Checked, data_dir: Path, name: str, source: str, missing: tuple[str, ...] = ()
) -> Dataset:
    """Write checked bars as `data_dir/NAME.parquet`, whole or not at all.

    Raises: DataFaults when the check found faults, StorageError.
    """
    _check_name(name)
    if checked.faults:
        raise DataFaults(checked.faults, name)
    path = data_dir / f"{name}{DATASET_SUFFIX}"
    dataset = Dataset(
        name, str(path), checked.rows, checked.symbols, checked.first, checked.last,
        checked.interval, source, checked.notes, missing,
    )  # fmt: skip
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(_long_frame(checked), preserve_index=False)
    about = {key: value for key, value in dataset.to_dict().items() if key not in ("name", "path")}
    about[formats.KEY] = formats.DATASET.version
    table = table.replace_schema_metadata({ABOUT: json.dumps(about).encode()})
    make_writable(data_dir)
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return dataset


def make_writable(data_dir: Path) -> None:
    """Make the folder of datasets. Raises: DataError where it cannot be one, StorageError for the disk."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno in FULL_DISK:
            raise storage_error(error, data_dir) from error
        raise DataError(
            f"the data directory {data_dir} cannot be written: {error.strerror or error}.",
            "Choose another with --set data_dir=DIR.",
        ) from error


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise DataError(
            f"{name!r} cannot be a dataset's name.",
            "Use --name with letters, digits, dot, dash and underscore; mock and sample are taken.",
        )


def _long_frame(checked: Checked) -> pd.DataFrame:
    """The bars as they came: date (daily) or time (UTC), symbol, raw prices, volume, adj_close."""
    import pandas as pd

    symbols = list(checked.series)
    lengths = [len(checked.series[symbol].days) for symbol in symbols]
    columns: dict[str, Any] = {}
    stamps = np.concatenate([bars.stamps for bars in checked.series.values()])
    if not parse_interval(checked.interval).is_intraday:
        columns["date"] = stamps.view("datetime64[ns]")
    else:
        columns["time"] = pd.DatetimeIndex(stamps.view("datetime64[ns]"), tz="UTC")
    columns["symbol"] = np.repeat(np.array(symbols, dtype=object), lengths)
    raw = np.concatenate([bars.raw for bars in checked.series.values()], axis=1)
    columns.update(
        {
            name: raw[at]
            for at, name in enumerate(COLUMNS)
            if at < 4
            or (name == "volume" and checked.has_volume)
            or (name == "adj_close" and checked.has_adjusted)
        }
    )
    return pd.DataFrame(columns)


def list_datasets(data_dir: Path) -> list[Dataset]:
    """The datasets in `data_dir`, by name; files that are no dataset are passed over, and with a warning
    those that are damaged or of another version than is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for path in sorted(data_dir.glob(f"*{DATASET_SUFFIX}")) if data_dir.is_dir() else []:
        try:
            metadata = pq.read_schema(path).metadata or {}
            formats.check_table(metadata, path)
        except (pa.ArrowException, OSError, ValueError) as error:
            log.warning("%s is no readable dataset: %s", path.name, error)
            continue
        except DataError as error:
            log.warning("%s", error)
            continue
        if ABOUT in metadata:
            found.append(_described(path, json.loads(metadata[ABOUT])))
    return found


def _described(path: Path, about: Mapping[str, Any]) -> Dataset:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in about.items()
        if key != formats.KEY
    }
    return Dataset(name=path.name.removesuffix(DATASET_SUFFIX), path=str(path), **values)


def fetch(
    symbols: Sequence[str],
    data_dir: Path,
    *,
    start: date | None = None,
    end: date | None = None,
    name: str | None = None,
    now: datetime | None = None,
    config: DataConfig | None = None,
    **options: Any,
) -> Dataset:
    """Fetch daily bars from Yahoo, check them, and keep them as a dataset.

    A bar whose session has not closed at `now` is left out; symbols without any data are named in `missing`.
    `options` go to `yahoo.fetch_bars`.
    Raises: DataError when nothing could be got (with how to import a file instead), DataFaults.
    """
    from trading.sources.yahoo import fetch_bars

    names = list(dict.fromkeys(symbols))
    if not names:
        raise DataError("no symbol to fetch.", "Name one or more symbols.")
    name = name or _fetch_name(names)
    _check_name(name)
    if start is not None and end is not None and start > end:
        raise DataError(f"--start {start} lies after --end {end}.", "Exchange them.")
    config = config or DataConfig()
    make_writable(data_dir)
    fetched = fetch_bars(names, start=start, end=end, cache_dir=data_dir, **options)
    missing = tuple(symbol for symbol in names if symbol not in fetched)
    if not fetched:
        raise DataError(
            f"Yahoo has no daily bars of {', '.join(missing)} in that time.",
            "Check the symbols and dates, or import a file with `athena data import FILE`.",
        )
    tables = tuple(frame_table(frame, symbol) for symbol, frame in fetched.items())
    checked = check_source(Source(name, tables, ""), calendar=config.calendar)
    if checked.faults:
        raise DataFaults(checked.faults, name)
    closed = _with_warnings(_closed(checked, now or datetime.now(UTC)), config.calendar)
    return save_dataset(closed, data_dir, name, "Yahoo", missing)


def _fetch_name(symbols: Sequence[str]) -> str:
    shown = "-".join(re.sub(r"[^A-Za-z0-9_.]", "_", symbol) for symbol in symbols[:3])
    return f"yahoo-{shown}" + (f"-and-{len(symbols) - 3}-more" if len(symbols) > 3 else "")


def _closed(checked: Checked, now: datetime) -> Checked:
    """Without the bars that are still growing. Raises: DataError when none is left."""
    moment = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "ns")
    series = {symbol: bars.take(bars.known <= moment) for symbol, bars in checked.series.items()}
    series = {symbol: bars for symbol, bars in series.items() if len(bars.days)}
    if not series:
        raise DataError("no session of that time has closed yet.", "Try again after the close.")
    days = np.concatenate([bars.days for bars in series.values()])
    return replace(
        checked,
        series=series,
        symbols=tuple(series),
        rows=len(days),
        first=str(np.datetime64(int(days.min()), "D")),
        last=str(np.datetime64(int(days.max()), "D")),
    )
