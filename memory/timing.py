"""How long calls took: counts by operation and logarithmic latency bucket, and quantiles of them.

Measured time stays here; it enters no entry, record, feature or reward.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BUCKETS_PER_OCTAVE: Final = 8


@dataclass(frozen=True, slots=True)
class OperationStats:
    """Calls of one operation. Quantiles are upper bucket edges, within 9 %; None without calls."""

    calls: int
    failures: int
    p50_seconds: float | None
    p99_seconds: float | None


class Latencies:
    """A histogram by operation; failures are counted under their own name."""

    def __init__(self) -> None:
        self._buckets: Counter[tuple[str, int]] = Counter()
        self._failures: Counter[str] = Counter()

    def record(self, operation: str, seconds: float, success: bool) -> None:
        bucket = math.ceil(BUCKETS_PER_OCTAVE * math.log2(max(seconds, 1e-6) * 1e6))
        self._buckets[operation, bucket] += 1
        if not success:
            self._failures[operation] += 1

    def drain(self) -> dict[tuple[str, int], int]:
        """The counts since the last drain, failures as `(name!failed, 0)`."""
        counts = dict(self._buckets)
        counts.update({(f"{name}!failed", 0): calls for name, calls in self._failures.items()})
        self._buckets.clear()
        self._failures.clear()
        return counts

    def stats(
        self, earlier: Mapping[tuple[str, int], int] | None = None
    ) -> dict[str, OperationStats]:
        """Statistics by operation, together with counts that were drained earlier."""
        buckets, failures = Counter(self._buckets), Counter(self._failures)
        for (name, bucket), calls in (earlier or {}).items():
            if name.endswith("!failed"):
                failures[name.removesuffix("!failed")] += calls
            else:
                buckets[name, bucket] += calls
        names = sorted({name for name, _ in buckets})
        return {
            name: _stats(
                {b: n for (other, b), n in buckets.items() if other == name}, failures[name]
            )
            for name in names
        }


def _stats(buckets: Mapping[int, int], failures: int) -> OperationStats:
    calls = sum(buckets.values())
    return OperationStats(calls, failures, _quantile(buckets, 0.5), _quantile(buckets, 0.99))


def _quantile(buckets: Mapping[int, int], fraction: float) -> float | None:
    wanted, passed = fraction * sum(buckets.values()), 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed >= wanted:
            return round(float(2.0 ** (bucket / BUCKETS_PER_OCTAVE) * 1e-6), 9)
    return None
