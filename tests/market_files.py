"""Market files that tests make, and a configuration whose agents trade early on short data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.config import AthenaConfig

QUICK_AGENTS: dict[str, Any] = {
    "analyst": {
        "ema_bars": 5, "sma_bars": 12, "macd_fast_bars": 3, "macd_slow_bars": 6,
        "macd_signal_bars": 3, "rsi_bars": 5, "bollinger_bars": 6, "atr_bars": 5, "adx_bars": 4,
        "volatility_bars": 10, "momentum_bars": 20, "momentum_skip_bars": 3, "horizon_bars": 5,
    },
    "strategy": {"time_series_bars": 20, "breakout_bars": 8, "portfolio_volatility_bars": 10},
    "risk": {"lookback_bars": 30, "min_lookback_bars": 10, "reducing_bars": 5, "halt_bars": 5},
}  # fmt: skip
"""The shipped rules with windows of a tenth."""


def quick_config(**changes: Any) -> AthenaConfig:
    """Agents with short windows, decisions from the 25th bar on; `changes` are sections."""
    tree: dict[str, Any] = {"agents": QUICK_AGENTS, "trading": {"warmup_bars": 25}}
    for section, values in changes.items():
        kept = tree.get(section)
        tree[section] = {**kept, **values} if isinstance(kept, dict) else values
    return AthenaConfig._from_dict(tree)


def made_market(seed: int = 0, days: int = 160) -> pd.DataFrame:
    """A long table of trending, well-formed daily bars, in the order of dates.

    OLD and STEADY have every day. LATE lists on the 60th, LATER on the 110th day, GONE ends after the
    90th, HOLEY misses a fifth of its days, SPLIT has a 2:1 split on the 100th (its adj_close says so).
    """
    draw = np.random.default_rng(seed)
    dates = pd.bdate_range("2020-01-01", periods=days).strftime("%Y-%m-%d")
    spans = {
        "STEADY": (0, days), "OLD": (0, days), "LATE": (60, days), "LATER": (110, days),
        "GONE": (0, 90), "HOLEY": (0, days), "SPLIT": (0, days),
    }  # fmt: skip
    tables = []
    for symbol, (first, last) in spans.items():
        drift = np.repeat(draw.choice([-0.004, 0.006], days // 40 + 1), 40)[:days]
        close = 50.0 * np.exp(np.cumsum(drift + draw.normal(0.0, 0.015, days)))
        open_ = np.concatenate([[50.0], close[:-1]]) * np.exp(draw.normal(0.0, 0.004, days))
        high = np.maximum(open_, close) * np.exp(np.abs(draw.normal(0.0, 0.004, days)))
        low = np.minimum(open_, close) * np.exp(-np.abs(draw.normal(0.0, 0.004, days)))
        ratio = np.where(np.arange(days) < 100, 2.0, 1.0) if symbol == "SPLIT" else np.ones(days)
        keep = (np.arange(days) >= first) & (np.arange(days) < last)
        if symbol == "HOLEY":
            keep &= draw.random(days) > 0.2
        table = pd.DataFrame(
            {
                "date": dates,
                "symbol": symbol,
                "open": open_ * ratio,
                "high": high * ratio,
                "low": low * ratio,
                "close": close * ratio,
                "volume": np.round(draw.lognormal(13.0, 0.4, days) / ratio),
                "adj_close": close,
            }
        )
        tables.append(table[keep])
    made = pd.concat(tables).sort_values(["date", "symbol"], kind="stable")
    return made.round(4).reset_index(drop=True)


def write_market(folder: Path, frame: pd.DataFrame, name: str = "market.csv") -> Path:
    """The table as a CSV file."""
    path = folder / name
    frame.to_csv(path, index=False)
    return path
