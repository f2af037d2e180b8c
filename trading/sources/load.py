"""`load_panel`: the one way from whatever a user names as data to a panel.

Owns what `--data`, `--symbols`, `--universe` and a dataset's name mean. Refuses to know formats and
rules (`file`, `validate`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.config import DataConfig
from core.errors import DataError
from trading.intervals import DAY
from trading.panel import Panel, PanelOrigin, build_panel
from trading.sample import SAMPLE_FILE
from trading.sources.faults import DataFaults
from trading.sources.file import Checked, Series, check_source
from trading.sources.frames import Given
from trading.sources.mock import mock_bars, mock_names, mock_times
from trading.sources.source import Source, read_source
from trading.sources.suspects import find_warnings
from trading.sources.times import ISO_CURE, read_stamps
from trading.universe import Member, named_symbols, read_universe, require_common, require_symbols

MOCK = "mock"
SAMPLE_NAME = "sample"
DATASET_SUFFIX = ".parquet"


def load_panel(
    data: str | Path | Given | Panel | None = None,
    *,
    config: DataConfig | None = None,
    symbols: Sequence[str] | None = None,
    universe: Path | None = None,
    end: datetime | date | str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    now: datetime | None = None,
) -> Panel:
    """The panel of a file, a folder, an imported dataset, data given in Python (a DataFrame that is long,
    wide or two-level, a Series of closes, frames or Series by symbol), the mock walks (`mock`) or, for None,
    the shipped sample. A panel is cut: the answer is what its source would have given with these options.

    `symbols` keeps those columns, `universe` those members, in their time; `end` keeps bars up to it, a
    date inclusive; `seed` is the mock walks'. A path wins over a dataset of the same name.
    `now`, where a clock is given, leaves out bars whose session or period ends later.
    Point in time: cutting or changing later rows (with sound values) changes nothing in the earlier ones.
    Raises: DataFaults with everything that is wrong with the input, DataError for unknown symbols and names.
    """
    members = read_universe(Path(universe)) if universe is not None else None
    wanted = _wanted(symbols)
    if isinstance(data, Panel):
        from trading.sources.cut import cut_panel

        return cut_panel(data, config=config, symbols=wanted, members=members, end=end)
    config = config or DataConfig()
    if isinstance(data, str) and data == MOCK:
        names = wanted or (tuple(members) if members else None)
        return mock_panel(names, config, seed=seed, end=end, members=members)
    name, checked, digest = _checked(data, config, data_dir, now)
    series = checked.series
    if wanted is not None:
        wanted = named_symbols(wanted, series, name)
        series = {symbol: series[symbol] for symbol in wanted}
    if members is not None:
        require_symbols(members, checked.series, name)
        require_common(wanted, members)
        series = {symbol: bars for symbol, bars in series.items() if symbol in members}
    series = _until(series, end)
    bars = {symbol: (one.known, one.values) for symbol, one in series.items()}
    if not bars:
        raise DataError(
            f"{name} has no bar that is wanted.", "Widen --symbols, --universe or --end."
        )
    panel = build_panel(
        bars,
        name=name,
        members=members,
        interval=checked.interval,
        calendar=config.calendar,
        has_volume=checked.has_volume,
        sha256=digest,
        notes=checked.notes,
        warnings=find_warnings(
            series,
            interval=checked.interval,
            calendar=config.calendar,
            left=left_symbols(members),
        ),
    )
    unlisted = {
        symbol: (one.known, one.days)
        for symbol, one in series.items()
        if symbol not in panel.symbols
    }
    places = {symbol: (one.stamps, one.lines) for symbol, one in series.items()}
    origin = PanelOrigin(config, members, unlisted, places)
    return with_columns(replace(panel, days=_days(panel, series), origin=origin))


def left_symbols(members: Mapping[str, Member] | None) -> list[str]:
    """The members of a universe that leave it at some time."""
    return [] if members is None else [name for name, (_, to) in members.items() if to is not None]


def _days(panel: Panel, series: Mapping[str, Series]) -> npt.NDArray[np.int64]:
    """The date of each row's bars, [T]: what tells a symbol's date tells every other's at that moment."""
    days = np.zeros(panel.rows, dtype=np.int64)
    for one in series.values():
        days[np.searchsorted(panel.times, one.known)] = one.days
    return days


def with_columns(panel: Panel) -> Panel:
    """The same panel. Raises: DataError where nobody is visible in it."""
    if not panel.symbols:
        raise DataError(
            f"no member of the universe has a bar in {panel.name} while it is a member.",
            "Check the universe's dates.",
        )
    return panel


def mock_panel(
    symbols: Sequence[str] | None,
    config: DataConfig,
    *,
    seed: int = 0,
    end: datetime | date | str | None = None,
    members: Mapping[str, Member] | None = None,
    bars: int | None = None,
) -> Panel:
    """The first `bars` (default `data.mock_bars`) bars of the walks of `symbols` (default MOCK1, ...)."""
    names = tuple(symbols) if symbols else mock_names(config.mock_symbols)
    if members is not None:
        require_common(symbols, members)
        require_symbols(members, [*names, *members], MOCK)
        names = tuple(name for name in names if name in members)
    count = bars if bars is not None else config.mock_bars
    times = mock_times(count, config.calendar)
    if end is not None:
        count = int(np.searchsorted(times, end_moment(end), side="right"))
        if count == 0:
            raise DataError(
                f"the mock walks begin after {end}.", f"Their first bar is {times[0]}Z."
            )
        times = times[:count]
    identity = f"mock:{seed}:{config.calendar}:{count}:{','.join(names)}"
    panel = build_panel(
        {name: (times, mock_bars(name, count, seed=seed)) for name in names},
        name=f"{MOCK} (seed {seed})",
        members=members,
        mock=True,
        calendar=config.calendar,
        sha256=hashlib.sha256(identity.encode()).hexdigest(),
        origin=PanelOrigin(config, members, mock_seed=seed, mock_names=names),
        notes=("The prices are mock data: seeded random walks, not a market.",),
    )
    return with_columns(panel)


def _wanted(symbols: Sequence[str] | None) -> tuple[str, ...] | None:
    if symbols is None:
        return None
    for name in symbols:
        if not isinstance(name, str):
            raise DataError(
                f"the symbol {name!r} is no text ({type(name).__name__}).",
                'A symbol is text: write "0050" or "50", so that zeros in front stay.',
            )
    names = tuple(dict.fromkeys(name.strip() for name in symbols if name.strip()))
    if not names:
        raise DataError("--symbols names no symbol.", "Write --symbols AAPL,MSFT.")
    return names


def _checked(
    data: str | Path | Given | None,
    config: DataConfig,
    data_dir: Path | None,
    now: datetime | None,
) -> tuple[str, Checked, str]:
    source = resolve_source(data, data_dir, config)
    checked = check_source(
        source, calendar=config.calendar, bar_label=config.bar_label, now=clock_moment(now)
    )
    if checked.faults:
        raise DataFaults(checked.faults, source.name)
    name = SAMPLE_NAME if data is None else source.name
    return name, checked, source.sha256


def resolve_source(
    data: str | Path | Given | None,
    data_dir: Path | None = None,
    config: DataConfig | None = None,
) -> Source:
    """The tables of what a user named: nothing (the sample), a path, a dataset or data given in Python."""
    if data is None:
        return read_source(SAMPLE_FILE)
    if not isinstance(data, str | Path):
        return read_source(data, config)
    path = Path(data)
    try:
        here = path.exists()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error
    if here:
        return read_source(path, config)
    if data_dir is not None and re.fullmatch(r"[\w.\- ]+", str(data)):
        dataset = data_dir / f"{data}{DATASET_SUFFIX}"
        if dataset.exists():
            return read_source(dataset)
    if str(data) == MOCK:
        raise DataError(
            "mock is no file: the mock walks are made, not read, and there is nothing to check.",
            "Name a file, a folder or a dataset; `athena backtest --data mock` trades the walks.",
        )
    raise DataError(
        f"there is no file, folder or dataset {str(data)!r}.",
        "Check the path; `athena data list` names the datasets, `mock` is the mock walks.",
    )


def clock_moment(now: datetime | None) -> np.datetime64 | None:
    """The clock's time as UTC; without a zone it is UTC."""
    return None if now is None else parse_moment(now)[0]


def end_moment(end: datetime | date | str) -> np.datetime64:
    """The last moment that `end` lets in, UTC: a date's is its last nanosecond. Raises: DataError."""
    moment, is_date = parse_moment(end)
    return moment + np.timedelta64(DAY - 1, "ns") if is_date else moment


def parse_moment(end: datetime | date | str) -> tuple[np.datetime64, bool]:
    """(the moment in UTC, whether it is a date alone: then its midnight). Raises: DataError."""
    import pandas as pd

    if isinstance(end, datetime):
        zoned = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        return np.datetime64(zoned.astimezone(UTC).replace(tzinfo=None), "ns"), False
    text = end.isoformat() if isinstance(end, date) else end.strip()
    stamps, faults = read_stamps(pd.Series([text]), np.zeros(1, dtype=np.int64), "")
    if faults:
        raise DataError(f"{text!r} is no date.", f"{ISO_CURE[0].upper()}{ISO_CURE[1:]}.")
    return np.datetime64(int(stamps.utc[0]), "ns"), len(text) <= 10


def _until(series: Mapping[str, Series], end: datetime | date | str | None) -> dict[str, Series]:
    """The bars up to `end`: by their own date for a date, by the moment they were known for a time."""
    if end is None:
        return dict(series)
    moment, is_date = parse_moment(end)
    last_day = int(moment.astype("datetime64[D]").astype(np.int64))
    kept: dict[str, Series] = {}
    for symbol, bars in series.items():
        here = bars.days <= last_day if is_date else bars.known <= moment
        if here.any():
            kept[symbol] = bars.take(here)
    if not kept:
        first = min(bars.known[0] for bars in series.values())
        text = np.datetime_as_string(first, unit="s")
        raise DataError(f"there is no bar up to {end}.", f"The first one is known at {text}Z.")
    return kept
