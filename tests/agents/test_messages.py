"""Who reads what, in which order, and what stands in the record."""

from __future__ import annotations

import numpy as np

from agents.messages import (
    ALL,
    Bus,
    CasesRecalled,
    LimitsBound,
    OutcomesKnown,
    Priority,
    post_limits,
)
from core.types import Verdict


def words(text: str) -> int:
    return len(text.split())


def test_the_urgent_are_read_first_and_equals_in_order() -> None:
    bus = Bus(words)
    bus.post("a", "s", OutcomesKnown(1), "one")
    bus.post("b", ALL, OutcomesKnown(2), "two", Priority.URGENT)
    bus.post("c", "s", OutcomesKnown(3), "three")
    bus.post("c", "other", OutcomesKnown(4), "not for s")
    bus.post("d", "s", CasesRecalled(1, 1), "of another kind")
    assert [message.payload.count for message in bus.read("s", OutcomesKnown)] == [2, 1, 3]
    assert [message.payload.count for message in bus.read("b", OutcomesKnown)] == []


def test_the_transcript_has_every_message_as_sent_with_its_cost() -> None:
    bus = Bus(words)
    bus.post("a", "s", OutcomesKnown(1), "one forecast answered")
    post_limits(bus, "risk", [Verdict("AAPL", 0.12, 0.07, ("max_position", "var_limit"))])
    assert bus.transcript() == [
        {"from": "a", "to": "s", "kind": "OutcomesKnown", "priority": "routine",
         "text": "one forecast answered", "tokens": 3},
        {"from": "risk", "to": "all", "kind": "LimitsBound", "priority": "urgent",
         "text": "Cut: AAPL var_limit.", "tokens": 3},
    ]  # fmt: skip
    (heard,) = bus.read("execution", LimitsBound)
    assert heard.payload.reasons == {"AAPL": ("max_position", "var_limit")}
    assert np.isscalar(heard.tokens)
