"""Binds a short-term memory to a language model: its tokens are counted, and it writes the summaries.

The small model that is shipped cannot summarise; with it the extractive summariser does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory.context import ShortTermMemory
from memory.summarise import ExtractiveSummariser

if TYPE_CHECKING:
    from core.protocols import Embedder, Summariser
    from models.olmoe import OLMoEModel

SMALL_MODEL = "athena-olmoe-nano"


def short_term_memory(
    model: OLMoEModel, *, budget_tokens: int | None = None, embedder: Embedder | None = None
) -> ShortTermMemory:
    """A short-term memory within `budget_tokens` (default: the model's context) of the model's own tokens.

    Raises: ModelNotLoaded; ContentRefused for a budget of fewer than 8 tokens.
    """
    from models.summariser import ModelSummariser

    tokenizer = model.tokenizer
    summariser: Summariser = (
        ExtractiveSummariser(tokenizer) if model.name == SMALL_MODEL else ModelSummariser(model)
    )
    return ShortTermMemory(
        model.context_tokens if budget_tokens is None else budget_tokens,
        tokenizer=tokenizer,
        summariser=summariser,
        embedder=embedder,
    )
