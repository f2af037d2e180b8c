"""Made worlds in which it is known what there is to learn: `athena ablate --world planted|noise`.

Prices are random walks with a line of news now and then. In `planted` one line, always worded the same, is
followed by five bars that drift up; twelve other lines are followed by nothing. In `noise` the thirteenth is
followed by nothing either. Refuses to know agents and memories. The same seed gives the same world.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from agents.news import News, NewsFeed
from trading.panel import Panel, build_panel

World = Literal["planted", "noise"]

SETUP = "harbour lantern lit"
DECOYS = (
    "copper bell rung", "winter ferry late", "garden gate open", "paper mill quiet", "northern road closed",
    "silver fox seen", "river bridge painted", "old clock mended", "market square swept",
    "glass roof cleaned", "chess club met", "salt barrel moved",
)  # fmt: skip
SYMBOLS = 4
ROWS = 252 + 1_000
DAILY_VOLATILITY = 0.015
DRIFT_DEVIATIONS = 0.5
"""How far each of the five bars after the setup drifts, in daily deviations: 1.1 deviations of five bars."""
SETUP_CHANCE, DECOY_CHANCE = 0.05, 0.35
"""Of a line about a symbol on a day."""
DRIFT_BARS = 5


@dataclass(frozen=True, slots=True, eq=False)
class MadeWorld:
    """`setup` are the words of the one line that means something (or nothing, in `noise`)."""

    panel: Panel
    news: NewsFeed
    setup: str


def make_world(kind: World, seed: int, *, rows: int = ROWS, symbols: int = SYMBOLS) -> MadeWorld:
    """Shapes: prices [rows, symbols]; lines at 15:00 UTC, bars known at 21:00 UTC of the same day."""
    draw = np.random.default_rng([seed, 8])
    days = np.datetime64("2001-01-01T21:00", "ns") + np.arange(rows) * np.timedelta64(1, "D")
    kinds = draw.random((rows, symbols))
    which = draw.integers(0, len(DECOYS), (rows, symbols))
    moves = draw.normal(0.0, DAILY_VOLATILITY, (rows, symbols))
    gaps = draw.normal(0.0, 0.2 * DAILY_VOLATILITY, (rows, symbols))
    wide = np.abs(draw.normal(0.0, 0.3 * DAILY_VOLATILITY, (2, rows, symbols)))
    volume = np.round(1e7 * draw.lognormal(0.0, 0.3, (rows, symbols)))
    setups = kinds < SETUP_CHANCE
    if kind == "planted":
        drift = np.zeros((rows, symbols))
        for bar in range(1, DRIFT_BARS + 1):
            drift[bar:] += setups[:-bar] * (DRIFT_DEVIATIONS * DAILY_VOLATILITY)
        moves = moves + drift
    close = 100.0 * np.exp(np.cumsum(moves, axis=0))
    before = np.concatenate([np.full((1, symbols), 100.0), close[:-1]])
    open_ = before * np.exp(gaps)
    high = np.maximum(open_, close) * np.exp(wide[0])
    low = np.minimum(open_, close) * np.exp(-wide[1])
    names = [f"S{column}" for column in range(symbols)]
    bars = {}
    for column, name in enumerate(names):
        prices = [np.round(field[:, column], 4) for field in (open_, high, low, close)]
        values = np.stack([*prices, volume[:, column]])
        bars[name] = (days, np.concatenate([values, values]))
    lines = []
    for row, column in zip(*np.nonzero(kinds < SETUP_CHANCE + DECOY_CHANCE), strict=True):
        text = SETUP if setups[row, column] else DECOYS[which[row, column]]
        lines.append(News(_afternoon(days[row]), names[column], text))
    panel = build_panel(bars, name=kind, mock=True)
    return MadeWorld(panel, NewsFeed(lines), SETUP)


def _afternoon(day: np.datetime64) -> datetime:
    """15:00 UTC of the day whose bar is known at 21:00."""
    seconds = int(day.astype("datetime64[s]").astype(np.int64)) - 6 * 3600
    return datetime.fromtimestamp(seconds, UTC)
