"""Short-term memory: the budget holds, and SUMMARY and FILTER really change the messages."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ContentRefused
from memory.agemem import AgeMem
from memory.context import ShortTermMemory
from memory.summarise import ExtractiveSummariser
from memory.tokenizers import WordTokenizer


def three_rounds() -> ShortTermMemory:
    context = ShortTermMemory(500)
    context.append("system", "You trade.")
    for number in range(1, 4):
        context.append("user", f"Question {number} about bonds. It is long and has more words.")
        context.append("assistant", f"Answer {number}: yields fell. Prices rose. Nobody minded.")
    return context


def test_overflow_evicts_the_oldest_and_is_recorded() -> None:
    context = ShortTermMemory(20)
    context.append("system", "be brief")  # system : be brief = 4 tokens
    context.append("user", "one two three four")  # 6 tokens
    context.append("assistant", "five six seven eight")  # 6 tokens: 16 in all
    context.append("user", "nine ten eleven twelve")  # 22 > 20: the oldest that may go, goes
    assert [m.content for m in context.messages] == [
        "be brief",
        "five six seven eight",
        "nine ten eleven twelve",
    ]
    assert context.tokens == 16
    (event,) = context.events
    assert (event.kind, event.removed, event.tokens_before, event.tokens_after) == (
        "overflow", (2,), 22, 16,
    )  # fmt: skip


def test_a_message_that_can_never_fit_is_refused_and_changes_nothing() -> None:
    context = ShortTermMemory(10)
    context.append("user", "short")
    with pytest.raises(ContentRefused, match="budget"):
        context.append("user", "word " * 50)
    assert [m.content for m in context.messages] == ["short"]


@pytest.mark.parametrize(("span", "left"), [("all", 1), ("full", 1), (1, 5), (2, 3), (9, 1)])
async def test_summary_replaces_a_span(span: str | int, left: int) -> None:
    context = three_rounds()
    before = context.tokens
    message = await context.summarise(span)  # type: ignore[arg-type]
    assert message is not None
    others = [m for m in context.messages if m.role != "summary"]
    assert len(others) == left  # the system message stays, and the rounds before the span
    assert context.messages[-1].role == "summary"
    assert context.tokens < before
    assert message.content in " ".join(
        sentence for sentence in three_rounds().messages[-1].content.split("\n")
    ) or all(
        part.strip(" .") in " ".join(m.content for m in three_rounds().messages)
        for part in message.content.split(". ")
    )


async def test_a_span_that_makes_no_sense_is_refused() -> None:
    for span in (0, -1, True, "some"):
        with pytest.raises(ContentRefused):
            await three_rounds().summarise(span)  # type: ignore[arg-type]
    assert await ShortTermMemory(50).summarise() is None


async def test_filter_drops_what_is_like_the_criteria() -> None:
    context = ShortTermMemory(500)
    context.append("user", "weather in Madrid is sunny")
    context.append("user", "AAPL announced a split")
    dropped = await context.filter("the weather in Madrid is sunny", 0.6)
    assert [m.content for m in dropped] == ["weather in Madrid is sunny"]
    assert [m.content for m in context.messages] == ["AAPL announced a split"]
    assert context.events[-1].kind == "filter"
    assert await context.filter("quite another thing") == ()
    for threshold in (0.0, 1.5):
        with pytest.raises(ContentRefused):
            await context.filter("x", threshold)


async def test_the_summariser_is_deterministic_extractive_and_within_its_limit() -> None:
    tokenizer = WordTokenizer()
    texts = [
        "IBM sold its unit. Shares rose. The weather was fine.",
        "IBM sold its unit. Nobody minded.",
    ]
    once = await ExtractiveSummariser(tokenizer).summarise(texts, 10)
    assert once == await ExtractiveSummariser(tokenizer).summarise(texts, 10)
    assert tokenizer.count(once) <= 10
    assert once.count("IBM sold its unit.") <= 1
    assert all(part.strip(".") in " ".join(texts) for part in once.split(". "))
    assert await ExtractiveSummariser(tokenizer).summarise(["one two three four five"], 3) == (
        "one two three"
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1))))
def test_the_budget_always_holds(messages: list[tuple[str, str]]) -> None:
    context = ShortTermMemory(24)
    for role, content in messages:
        try:
            context.append(role, content)
        except ContentRefused:
            continue
        assert context.tokens <= 24
        assert context.messages[-1].content == content


async def test_hits_that_do_not_stay_are_not_said_to_be_there() -> None:
    context = ShortTermMemory(budget_tokens=25)
    async with AgeMem(store=":memory:") as memory:
        for text in ("alpha limit is five", "beta limit is six", "gamma limit is seven"):
            await memory.add(text)
        hits = (await memory.retrieve("limit", 3)).data
    added = context.insert_hits(hits)
    assert 0 < len(added) < 3
    assert added == context.messages
    assert context.events[-1].added == tuple(message.number for message in added)
