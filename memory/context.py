"""Short-term memory: messages counted in tokens against a hard budget.

Owns rounds, the budget, what SUMMARY and FILTER do to the messages, and a record of every change. Refuses
to know the long-term store. A message counts as `role: content` in the tokenizer's tokens; after every
call the sum is within the budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.errors import ContentRefused
from core.memories import MemoryHit
from core.protocols import Embedder, Summariser, Tokenizer
from memory.embedders import HashedNgramEmbedder, unit_vectors
from memory.operations import check_text
from memory.summarise import ExtractiveSummariser
from memory.tokenizers import WordTokenizer

Span = Literal["all", "full"] | int
DEFAULT_THRESHOLD = 0.6
MAX_MESSAGE_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message. A round begins with each message of the role `user`; `system` is never evicted."""

    number: int
    role: str
    content: str
    round: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ContextEvent:
    """Something that changed messages: which went, what came, and the tokens before and after."""

    kind: Literal["overflow", "summary", "filter", "retrieve"]
    removed: tuple[int, ...]
    added: tuple[int, ...]
    tokens_before: int
    tokens_after: int


class ShortTermMemory:
    """The messages a model sees. `tokens` never exceeds `budget_tokens`."""

    def __init__(
        self,
        budget_tokens: int = 2_048,
        *,
        tokenizer: Tokenizer | None = None,
        summariser: Summariser | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        if budget_tokens < 8:
            raise ContentRefused(f"the budget is {budget_tokens} tokens.", "Give at least 8.")
        self.budget_tokens = budget_tokens
        self._tokenizer = tokenizer or WordTokenizer()
        self._summariser = summariser or ExtractiveSummariser(self._tokenizer)
        self._embedder = embedder or HashedNgramEmbedder()
        self._messages: list[Message] = []
        self._events: list[ContextEvent] = []
        self._next_number = 1
        self._round = 0

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    @property
    def events(self) -> tuple[ContextEvent, ...]:
        return tuple(self._events)

    @property
    def tokens(self) -> int:
        return sum(message.tokens for message in self._messages)

    def copy(self) -> ShortTermMemory:
        """Another short-term memory with the same messages, which then goes its own way."""
        other = object.__new__(ShortTermMemory)
        other.__dict__.update(self.__dict__)
        other._messages, other._events = list(self._messages), list(self._events)
        return other

    def append(self, role: str, content: str) -> Message:
        """Add a message; the oldest make room. Raises: ContentRefused when it can never fit."""
        check_text(content, "the message", MAX_MESSAGE_CHARACTERS)
        message = self._message(role, content, self._round + (role == "user"))
        pinned = sum(m.tokens for m in self._messages if m.role == "system")
        if message.tokens + pinned > self.budget_tokens:
            raise ContentRefused(
                f"the message has {message.tokens} tokens; the budget leaves "
                f"{self.budget_tokens - pinned}.",
                "Shorten it, or raise the budget.",
            )
        self._round = message.round
        self._next_number += 1
        self._messages.append(message)
        self._make_room()
        return message

    def fitting(self, role: str, content: str) -> str:
        """The beginning of a text from outside that `append` takes whatever its letters are."""
        pinned = sum(m.tokens for m in self._messages if m.role == "system")
        room = self.budget_tokens - pinned
        content = content[:MAX_MESSAGE_CHARACTERS]
        while (excess := self._tokenizer.count(f"{role}: {content}") - room) > 0 and content:
            content = self._tokenizer.truncate(content, self._tokenizer.count(content) - excess)
        return content

    def insert_hits(self, hits: Sequence[MemoryHit]) -> tuple[Message, ...]:
        """Put retrieved entries in, best last so that it is evicted last; one that cannot fit is left out."""
        before, added = self.tokens, []
        for hit in reversed(hits):
            text = f"[{hit.id} v{hit.version}] {hit.text}"
            pinned = sum(m.tokens for m in self._messages if m.role == "system")
            if self._tokenizer.count(f"memory: {text}") + pinned <= self.budget_tokens:
                added.append(self.append("memory", text))
        kept = {message.number for message in self._messages}
        added = [message for message in added if message.number in kept]
        if added:
            numbers = tuple(message.number for message in added)
            self._events.append(ContextEvent("retrieve", (), numbers, before, self.tokens))
        return tuple(added)

    async def summarise(
        self,
        span: Span = "all",
        max_tokens: int | None = None,
        summariser: Summariser | None = None,
    ) -> Message | None:
        """Replace a span (all, or the last N rounds) with its summary. None when the span is empty.

        The summary has at most `max_tokens` (default: a third of the span, at least 16), and never more
        than what it replaces.
        """
        chosen = self._span(span)
        if not chosen:
            return None
        before = self.tokens
        size = sum(message.tokens for message in chosen)
        overhead = self._tokenizer.count("summary: ")
        limit = min(max(size // 3, 16) if max_tokens is None else max_tokens, size) - overhead
        if limit < 1:
            raise ContentRefused(f"max_tokens is {max_tokens}.", f"Give at least {overhead + 1}.")
        texts = [message.content for message in chosen]
        text = await (summariser or self._summariser).summarise(texts, limit)
        text = self._tokenizer.truncate(text, limit)
        if not text.strip():
            raise ContentRefused("the summariser gave no text.", "Keep the messages as they are.")
        message = self._message("summary", text, chosen[-1].round)
        self._next_number += 1
        place = self._messages.index(chosen[0])
        gone = {m.number for m in chosen}
        self._messages = [
            *self._messages[:place],
            message,
            *(m for m in self._messages[place:] if m.number not in gone),
        ]
        removed = tuple(m.number for m in chosen)
        self._events.append(
            ContextEvent("summary", removed, (message.number,), before, self.tokens)
        )
        self._make_room()
        return message

    async def filter(
        self,
        criteria: str,
        threshold: float = DEFAULT_THRESHOLD,
        embedder: Embedder | None = None,
    ) -> tuple[Message, ...]:
        """Drop the messages that are as like the criteria as the threshold; the criteria say what to
        remove. Returns the dropped ones."""
        candidates = [message for message in self._messages if message.role != "system"]
        likeness = await similarities(
            criteria, [m.content for m in candidates], threshold, embedder or self._embedder
        )
        dropped = tuple(
            message
            for message, value in zip(candidates, likeness, strict=True)
            if value >= threshold
        )
        if dropped:
            before = self.tokens
            gone = {message.number for message in dropped}
            self._messages = [m for m in self._messages if m.number not in gone]
            self._events.append(
                ContextEvent("filter", tuple(sorted(gone)), (), before, self.tokens)
            )
        return dropped

    def _message(self, role: str, content: str, round_number: int) -> Message:
        count = self._tokenizer.count(f"{role}: {content}")
        return Message(self._next_number, role, content, round_number, count)

    def _span(self, span: Span) -> list[Message]:
        open_to_change = [message for message in self._messages if message.role != "system"]
        check_span(span)
        if isinstance(span, str):
            return open_to_change
        rounds = sorted({message.round for message in open_to_change})[-span:]
        return [message for message in open_to_change if message.round in rounds]

    def _make_room(self) -> None:
        before = self.tokens
        excess = before - self.budget_tokens
        if excess <= 0:
            return
        removed = []
        for message in list(self._messages):
            if excess <= 0:
                break
            if message.role != "system":
                self._messages.remove(message)
                removed.append(message.number)
                excess -= message.tokens
        self._events.append(ContextEvent("overflow", tuple(removed), (), before, self.tokens))


def check_span(span: Span) -> None:
    """Raises: ContentRefused for anything but `all`, `full` or a number of rounds."""
    if isinstance(span, str) and span in {"all", "full"}:
        return
    if not isinstance(span, int) or isinstance(span, bool) or span < 1:
        raise ContentRefused(
            f"the span is {span!r}.", "Give `all`, or a number of last rounds from 1."
        )


async def similarities(
    criteria: str, texts: Sequence[str], threshold: float, embedder: Embedder
) -> list[float]:
    """Cosine of each text with the criteria. Raises: ContentRefused for a threshold outside (0, 1]."""
    check_text(criteria, "the criteria")
    if not isinstance(threshold, int | float) or not 0.0 < threshold <= 1.0:
        raise ContentRefused(f"the threshold is {threshold}.", "Give a number above 0, up to 1.")
    if not texts:
        return []
    vectors = await unit_vectors(embedder, [criteria, *texts])
    values: list[float] = [float(value) for value in vectors[1:] @ vectors[0]]
    return values


def first_of_rounds(context: str | Sequence[str | Message | Mapping[str, Any]], rounds: int) -> int:
    """Where the last rounds of a plain context begin: at the `user` messages, each bare text being one."""
    items = [context] if isinstance(context, str) else context
    starts = [
        place
        for place, item in enumerate(items)
        if (
            item.role
            if isinstance(item, Message)
            else item.get("role")
            if isinstance(item, Mapping)
            else "user"
        )
        == "user"
    ]
    return starts[-rounds] if len(starts) >= rounds else 0


def texts_of(context: str | Sequence[str | Message | Mapping[str, Any]]) -> list[str]:
    """The texts of a plain context: one text, or a list of texts, messages or `{role, content}`."""
    if isinstance(context, str):
        return [context]
    texts = []
    for item in context:
        if isinstance(item, Message):
            texts.append(item.content)
        elif isinstance(item, Mapping):
            texts.append(str(item.get("content", "")))
        else:
            texts.append(item)
    return texts
