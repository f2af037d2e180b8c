"""Cuts a panel that was read before: the answer is what its source would have given with these options.

Owns what `symbols`, a universe, `end` and `data.*` settings mean for a panel. Refuses to know files. Every
bar of a panel is in its stack, those before a member became visible too, and so nothing is read again; mock
walks are made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from core.config import DataConfig
from core.errors import DataError
from trading.panel import BAR_FIELDS, CLOSE, NEVER, Members, Panel, PanelOrigin, build_panel
from trading.price_warnings import PriceWarning
from trading.sources.file import Series
from trading.sources.load import left_symbols, mock_panel, parse_moment, with_columns
from trading.sources.suspects import find_warnings
from trading.universe import named_symbols, require_common, require_symbols

FloatArray = npt.NDArray[np.float64]
INT = npt.NDArray[np.int64]
Bars = tuple[npt.NDArray[np.datetime64], npt.NDArray[np.int64], FloatArray]
"""One symbol's bars: when each was known [K], its date [K], its values [10, K]."""

NOT_OF_BARS = frozenset({"contact"})
OF_MOCK = frozenset({"mock_symbols", "mock_bars"})


def cut_panel(
    panel: Panel,
    *,
    config: DataConfig | None = None,
    symbols: Sequence[str] | None = None,
    members: Members | None = None,
    end: datetime | date | str | None = None,
) -> Panel:
    """The panel of these symbols, members and rows, its columns in their new order; all of it with none.

    Raises: DataError for a symbol that it does not have, for another universe than it was read with, and,
    by name, for settings (`config`) other than those that it was read with.
    """
    if config is not None:
        refuse_other_settings(panel, config)
    origin = panel.origin
    had = None if origin is None else origin.members
    if members is not None and had is not None and dict(members) != dict(had):
        raise DataError(
            f"the panel of {panel.name} was read with another universe.",
            "Read it without one (athena.load_panel), or leave the universe out.",
        )
    if members is not None and had is None and bool(np.any(panel.leaves_at != NEVER)):
        raise DataError(
            f"the panel of {panel.name} has members that leave, of a universe that is not known.",
            "Build it without members, or leave the universe out.",
        )
    if symbols is None and end is None and (members is None or had is not None):
        return panel
    members = had if members is None else members
    if origin is not None and origin.mock_seed is not None:
        return _mock_cut(panel, origin, symbols, members, end)
    held = _bars(panel)
    wanted = dict(held)
    if symbols is not None:
        symbols = named_symbols(symbols, held, panel.name)
        wanted = {symbol: held[symbol] for symbol in symbols}
    if members is not None:
        if had is None:
            require_symbols(members, held, panel.name)
        require_common(symbols, members)
        wanted = {symbol: bars for symbol, bars in wanted.items() if symbol in members}
    wanted = _until(wanted, end)
    if not wanted:
        raise DataError(
            f"{panel.name} has no bar that is wanted.", "Widen --symbols, --universe or --end."
        )
    return _built(panel, wanted, members)


def _built(panel: Panel, wanted: Mapping[str, Bars], members: Members | None) -> Panel:
    """A panel of these bars, and what is known of the old one."""
    about: dict[str, Any] = {
        name: getattr(panel, name)
        for name in ("interval", "calendar", "currency", "has_volume", "sha256", "notes", "mock")
    }
    made = build_panel(
        {symbol: (known, values) for symbol, (known, _, values) in wanted.items()},
        name=panel.name,
        members=members,
        **about,
    )
    days = np.zeros(made.rows, dtype=np.int64)
    for known, own, _ in wanted.values():
        days[np.searchsorted(made.times, known)] = own
    unlisted = {
        symbol: (known, own)
        for symbol, (known, own, _) in wanted.items()
        if symbol not in made.symbols
    }
    config = DataConfig() if panel.origin is None else panel.origin.config
    warnings, places = _warnings(panel, wanted, members)
    origin = PanelOrigin(config, members, unlisted, places)
    return with_columns(replace(made, days=days, origin=origin, warnings=warnings))


def _warnings(
    panel: Panel, wanted: Mapping[str, Bars], members: Members | None
) -> tuple[tuple[PriceWarning, ...], dict[str, tuple[INT, INT]]]:
    """(what is doubtful in these bars, the stamps and lines of each symbol's), of a panel that was read."""
    had = {} if panel.origin is None else panel.origin.places
    series: dict[str, Series] = {}
    for symbol, (known, days, values) in wanted.items():
        if symbol not in had:
            continue
        stamps, lines = (each[: len(known)] for each in had[symbol])
        raw = np.vstack([values[5:], np.full((1, len(known)), np.nan)])
        series[symbol] = Series(known, days, stamps, raw, values, lines)
    found = find_warnings(
        series, interval=panel.interval, calendar=panel.calendar, left=left_symbols(members)
    )
    return found, {symbol: (one.stamps, one.lines) for symbol, one in series.items()}


def _mock_cut(
    panel: Panel,
    origin: PanelOrigin,
    symbols: Sequence[str] | None,
    members: Members | None,
    end: datetime | date | str | None,
) -> Panel:
    names = origin.mock_names
    if symbols is not None:
        names = named_symbols(symbols, names, panel.name)
    assert origin.mock_seed is not None
    return mock_panel(
        names, origin.config, seed=origin.mock_seed, end=end, members=members, bars=panel.rows
    )


def _bars(panel: Panel) -> dict[str, Bars]:
    """Every symbol's own bars, as they came in; of those who never became visible their times alone."""
    days = panel.days
    if days is None:
        days = (panel.times - np.timedelta64(1, "ns")).astype("datetime64[D]").astype(np.int64)
    found: dict[str, Bars] = {}
    for column, symbol in enumerate(panel.symbols):
        rows = np.flatnonzero(~np.isnan(panel.stack[CLOSE, :, column]))
        found[symbol] = panel.times[rows], days[rows], panel.stack[:BAR_FIELDS, rows, column]
    if panel.origin is not None:
        for symbol, (known, own) in panel.origin.unlisted.items():
            found[symbol] = known, own, np.full((BAR_FIELDS, len(known)), np.nan)
    return found


def _until(bars: Mapping[str, Bars], end: datetime | date | str | None) -> dict[str, Bars]:
    """The bars up to `end`: by their own date for a date, by the moment they were known for a time."""
    if end is None:
        return dict(bars)
    moment, is_date = parse_moment(end)
    last_day = int(moment.astype("datetime64[D]").astype(np.int64))
    kept: dict[str, Bars] = {}
    for symbol, (known, days, values) in bars.items():
        here = days <= last_day if is_date else known <= moment
        if here.any():
            kept[symbol] = known[here], days[here], values[:, here]
    if not kept:
        first = min(known[0] for known, _, _ in bars.values())
        text = np.datetime_as_string(first, unit="s")
        raise DataError(f"there is no bar up to {end}.", f"The first one is known at {text}Z.")
    return kept


def refuse_other_settings(panel: Panel, config: DataConfig, given: Set[str] | None = None) -> None:
    """Raises: DataError where a setting (of `given`, or of all) is not what the panel was read with."""
    origin = panel.origin
    if origin is None:
        wrong = [] if config.calendar == panel.calendar else [("calendar", panel.calendar)]
    else:
        outside = NOT_OF_BARS if panel.mock else NOT_OF_BARS | OF_MOCK
        wrong = [
            (name, getattr(origin.config, name))
            for name in DataConfig.model_fields
            if name not in outside and getattr(config, name) != getattr(origin.config, name)
        ]
    named = [(name, value) for name, value in wrong if given is None or name in given]
    if not named:
        return
    found = ", ".join(f"data.{name} is {getattr(config, name)!r}" for name, _ in named)
    was = ", ".join(f"data.{name} {value!r}" for name, value in named)
    raise DataError(
        f"{found}, and the panel of {panel.name} was read with {was}.",
        "Read it with these settings: athena.load_panel(data, config=...).",
    )


def settings_of(panel: Panel, config: DataConfig, given: Set[str] | None = None) -> DataConfig:
    """The settings that a panel was read with, for a run over it.

    `given` names the settings that were set on purpose; None takes those that differ from the defaults.
    Raises: DataError where one of them is another than the panel's.
    """
    if given is None:
        given = {
            name
            for name, info in DataConfig.model_fields.items()
            if getattr(config, name) != info.default
        }
    refuse_other_settings(panel, config, given)
    if panel.origin is None:
        return config.model_copy(update={"calendar": panel.calendar})
    return panel.origin.config.model_copy(update={"contact": config.contact})
