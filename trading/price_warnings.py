"""What is doubtful in the prices of a panel, as values.

Owns the shape of a warning, what was known of them by a row, and the sentence that a run says. Refuses to
know how one is found (`sources/suspects.py`) and to let one enter a decision of a backtest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trading.panel import Panel

KINDS = ("jump", "suspected_split", "unit_change", "stale", "no_volume")
PRICE_KINDS = ("jump", "suspected_split", "unit_change", "stale")
"""The kinds that make a decision doubtful. Volume 0 is met by the broker's own rules."""


@dataclass(frozen=True, slots=True)
class PriceWarning:
    """One thing in the prices that is doubtful.

    `row` is the line of the bar as a fault counts it; `count` the bars it is about (for `stale` the
    sessions without a bar). `time` is the bar's date or time as read, `first` and `last` are the moments
    at which the first and the last of these bars became known (UTC); of a step that stays, its own bar.
    """

    kind: str
    row: int
    symbol: str
    found: str
    cause: str
    cure: str
    count: int
    time: str
    first: str
    last: str


def known_warnings(panel: Panel, row: int) -> tuple[PriceWarning, ...]:
    """The panel's warnings about its own symbols whose bars had begun by a row."""
    moment, symbols = panel.as_of[row], frozenset(panel.symbols)
    return tuple(one for one in panel.warnings if one.first <= moment and one.symbol in symbols)


def split_warnings(
    panel: Panel, row: int, lookback_bars: int | None, symbols: Collection[str]
) -> tuple[tuple[PriceWarning, ...], tuple[PriceWarning, ...]]:
    """(those that make a decision at a row about `symbols` doubtful, the other ones known by then).

    Doubtful is a price error in the symbol's last `lookback_bars` bars (None: in any), and a symbol that is
    stale at all.
    """
    known = known_warnings(panel, row)
    doubtful = tuple(
        one
        for one in known
        if one.symbol in symbols
        and one.kind in PRICE_KINDS
        and (one.kind == "stale" or one.last >= _since(panel, row, lookback_bars, one.symbol))
    )
    return doubtful, tuple(one for one in known if one not in doubtful)


def _since(panel: Panel, row: int, lookback_bars: int | None, symbol: str) -> str:
    """The moment of the first of a symbol's last bars."""
    if lookback_bars is None:
        return ""
    column = panel.symbols.index(symbol)
    bars = np.flatnonzero(~np.isnan(panel.field("close")[: row + 1, column]))
    return panel.as_of[bars[-max(lookback_bars, 1) :][0]] if len(bars) else ""


def warnings_note(warnings: Collection[PriceWarning]) -> list[str]:
    """One sentence that counts them by kind, with the first of each; none for none."""
    if not warnings:
        return []
    groups: dict[str, list[PriceWarning]] = {}
    for one in warnings:
        groups.setdefault(one.kind, []).append(one)
    told = "; ".join(_counted(kind, groups[kind]) for kind in KINDS if kind in groups)
    head = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return [
        f"{head} about the prices, which the figures take as they stand: {told}. See `athena data check`."
    ]


def _counted(kind: str, group: list[PriceWarning]) -> str:
    one = group[0]
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return f"{len(group)} {kind} ({one.symbol} {one.time}, {one.found}{more})"
