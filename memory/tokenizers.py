"""A tokenizer without a model: words and punctuation marks. The loaded model's own takes its place.

Known weakness: a model's tokenizer splits rare words, so these counts come out lower than the model's.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\w+|[^\w\s]")


class WordTokenizer:
    """Counts words and single punctuation marks."""

    def count(self, text: str) -> int:
        return sum(1 for _ in _TOKEN.finditer(text))

    def truncate(self, text: str, tokens: int) -> str:
        """The beginning of `text` with at most `tokens` tokens."""
        if tokens <= 0:
            return ""
        for place, match in enumerate(_TOKEN.finditer(text), 1):
            if place > tokens:
                return text[: match.start()].rstrip()
        return text
