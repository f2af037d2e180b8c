"""The reward that both sides of the GRPO race are given: a draw that text and choice decide.

It means nothing and costs a microsecond, so that the race is about sampling and learning alone. Needs the
standard library only.
"""

from __future__ import annotations

import zlib


def reward(text: str, choice: int) -> float:
    """0, 1/6, ... or 1, the same in every process."""
    return (zlib.crc32(text.encode()) + 31 * choice) % 7 / 6.0
