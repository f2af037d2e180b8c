"""Whether a training of a policy has died: no choice is left to chance, and nothing is learned from any.

Owns that judgement over the curve of updates. A policy whose entropy is 0 always does the same, and the
gradient of its log-probabilities is 0: no further update can change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

ENTROPY_NATS: Final = 1e-6
GRADIENT_NORM: Final = 1e-9
FEWEST_UPDATES: Final = 3
"""One update without a gradient can be chance (all groups were of one mind); so many in a row are not."""


def collapse_warnings(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence when the last updates have neither entropy nor gradient; else nothing.

    `curve` are the updates in order, as `metrics.jsonl` has them. An update without figures of learning had
    no group that differed, and so no gradient; its entropy is not known, and it counts only beside one whose
    entropy is 0.
    """
    dead = list(takewhile(_learned_nothing, reversed(curve)))
    known = [update["entropy"] for update in dead if "entropy" in update]
    if len(dead) < FEWEST_UPDATES or not known:
        return []
    first, last = int(dead[-1]["update"]) + 1, int(dead[0]["update"]) + 1
    return [
        f"The policy has collapsed: entropy and gradient were 0 in the last {len(dead)} updates ({first} to "
        f"{last}), so that it always does the same and learns nothing more. Lower "
        "training.stage2.learning_rate, or raise entropy_coefficient or kl_coefficient, and train again."
    ]


def _learned_nothing(update: Mapping[str, Any]) -> bool:
    entropy, gradient = update.get("entropy", 0.0), update.get("gradient_norm", 0.0)
    return bool(abs(entropy) <= ENTROPY_NATS and abs(gradient) <= GRADIENT_NORM)
