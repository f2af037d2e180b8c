"""Summaries by the language model: for a model that can write them.

Refuses to know memories. Known weakness: what a model writes may say more than the texts did; the small
model that is shipped cannot summarise at all, and is never asked (`agents/short_term.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.olmoe import OLMoEModel

_TASK = "Notes:\n{texts}\n\nThe same in a few words:"


class ModelSummariser:
    """A `core.protocols.Summariser`: the model's continuation of the notes, greedily, up to a blank line."""

    def __init__(self, model: OLMoEModel) -> None:
        self._model = model

    async def summarise(self, texts: Sequence[str], max_tokens: int) -> str:
        """At most `max_tokens` tokens; of notes that do not fit the model's context the first are left out.

        Raises: ModelNotLoaded; ValueError when `max_tokens` leaves no room for any note.
        """
        if not texts or max_tokens <= 0:
            return ""
        tokens = self._model.tokenizer
        room = self._model.context_tokens - max_tokens - tokens.count(_TASK)
        if room < 1:
            raise ValueError(f"max_tokens is {max_tokens}; that leaves no room for notes.")
        kept = list(texts)
        while len(kept) > 1 and tokens.count("\n".join(kept)) > room:
            del kept[0]
        notes = tokens.truncate("\n".join(kept), room)
        prompt = _TASK.format(texts=notes)
        written = await self._model.generate(prompt, max_tokens=max_tokens, stop="\n\n")
        return tokens.truncate(written.strip(), max_tokens)
