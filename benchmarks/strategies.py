"""The SMA 10/30 strategy of the benchmarks, as a user of Athena would write it: plain and precomputed.

Weight 1 while the mean of the last 10 closes is above the mean of the last 30, else 0; first decision when
30 bars are visible.
"""

from __future__ import annotations

from collections.abc import Mapping

from peers.sma import FAST_BARS, SLOW_BARS, BoolArray

from core.protocols import History, State


class SmaCross:
    """Two means of a slice of the closes at each bar."""

    warmup = SLOW_BARS

    def decide(self, history: History, state: State) -> Mapping[str, float]:
        close = history.close[:, 0]
        long = close[-FAST_BARS:].mean() > close[-SLOW_BARS:].mean()
        return {history.symbols[0]: 1.0 if long else 0.0}


class PrecomputedSmaCross:
    """The signal computed once for all bars and read by index, as in a sweep over parameters.

    Such a signal could look ahead; it is the caller who answers for it.
    """

    warmup = SLOW_BARS

    def __init__(self, symbol: str, long: BoolArray) -> None:
        held, flat = {symbol: 1.0}, {symbol: 0.0}
        self._targets = [held if each else flat for each in long.tolist()]

    def decide(self, history: History, state: State) -> Mapping[str, float]:
        return self._targets[history.row]
