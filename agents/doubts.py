"""What of the prices makes a decision doubtful: the refusal of `decide`, until `--accept-warnings`.

Owns how far back a decider looks and which warnings lie within that. Refuses to know how a warning is
found (`trading/sources/suspects.py`) and what is decided.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import chain

import orjson

from agents.assemble import Deciders, RunOptions, load_data
from agents.inputs import WeightsStrategy
from agents.states import WINDOW_BARS
from agents.user_strategy import StrategyAgents
from core.config import AthenaConfig
from core.errors import DoubtfulPrices
from trading.panel import Panel
from trading.price_warnings import PriceWarning, split_warnings, warnings_note

SHOWN = 3
"""How many warnings the refusal tells; `athena data check` lists all."""


def longest_lookback_bars(config: AthenaConfig, deciders: Deciders) -> int | None:
    """The most bars back that the deciders read; None for all there are.

    Of a user's class that is its `warmup`, and all bars where it states none; of weights the last bar; of the
    agents their longest window or the warm-up. Risk limits add their own window.
    """
    agents = config.agents
    limits = agents.risk.lookback_bars + 1 if deciders.risk is not None else 1
    if isinstance(deciders.agents, StrategyAgents):
        if isinstance(deciders.agents.strategy, WeightsStrategy):
            return limits
        return max(deciders.warmup, limits) if deciders.warmup else None
    windows = chain.from_iterable(
        part.model_dump().items() for part in (agents.analyst, agents.strategy, agents.execution)
    )
    longest = max(
        int(value) for name, value in windows if name.endswith("_bars") and name != "bars_per_year"
    )
    learned = 0 if deciders.learned is None else WINDOW_BARS
    return max(longest + agents.analyst.momentum_skip_bars + 1, deciders.warmup, limits, learned)


def doubts(
    run: tuple[AthenaConfig, RunOptions, Deciders], panel: Panel, row: int, symbols: Collection[str]
) -> list[str]:
    """Notes about the prices for a decision at a row; `symbols` are those held or to be traded.

    Point in time: what lies after the row is not looked at.
    Raises: DoubtfulPrices for a price error within the look-back, unless `--accept-warnings`.
    """
    config, options, deciders = run
    panel = replace(panel, warnings=_warnings_at(config, options, panel, row))
    lookback = longest_lookback_bars(config, deciders)
    doubtful, others = split_warnings(panel, row, lookback, symbols)
    if doubtful and not options.accept_warnings:
        raise _refusal(doubtful, lookback)
    accepted = [f"Accepted by --accept-warnings: {told(one)}." for one in doubtful]
    return [*accepted, *warnings_note(others)]


def touched(record: bytes) -> frozenset[str]:
    """The symbols that a record holds or has orders of."""
    line = orjson.loads(record)
    return frozenset([*line["positions"], *(order["symbol"] for order in line["orders"])])


def _warnings_at(
    config: AthenaConfig, options: RunOptions, panel: Panel, row: int
) -> tuple[PriceWarning, ...]:
    """The warnings about the bars up to a row: bars that come later can make an error of a move."""
    if row == panel.rows - 1:
        return panel.warnings
    return load_data(config, replace(options, end=f"{panel.times[row]}Z")).warnings


def _refusal(doubtful: Collection[PriceWarning], lookback: int | None) -> DoubtfulPrices:
    reach = (
        "the bars that it may look back on" if lookback is None else f"the last {lookback:,} bars"
    )
    count = "1 warning" if len(doubtful) == 1 else f"{len(doubtful)} warnings"
    shown = "; ".join(told(one) for one in list(doubtful)[:SHOWN])
    more = f"; and {len(doubtful) - SHOWN} more" if len(doubtful) > SHOWN else ""
    return DoubtfulPrices(
        f"{count} about prices that this decision rests on, in {reach}: {shown}{more}.",
        "Mend the data (`athena data check FILE` says how), or decide all the same with --accept-warnings.",
    )


def told(warning: PriceWarning) -> str:
    """One warning in a phrase."""
    return f"{warning.kind} ({warning.symbol}, row {warning.row}, {warning.time}: {warning.found})"
