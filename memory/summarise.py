"""The extractive summariser: the sentences with the highest tf-idf, word for word and in their order.

Deterministic and without a model: it can leave things out, but it cannot make anything up.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from core.protocols import Tokenizer
from memory.retrieval import tokens
from memory.tokenizers import WordTokenizer

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class ExtractiveSummariser:
    """Picks whole sentences until the limit; the first one is cut when not even it fits."""

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self._tokenizer = tokenizer or WordTokenizer()

    async def summarise(self, texts: Sequence[str], max_tokens: int) -> str:
        sentences = _sentences(texts)
        if not sentences or max_tokens <= 0:
            return ""
        scores = _scores(sentences)
        order = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))
        picked: list[int] = []
        for place in order:
            wanted = sorted([*picked, place])
            if self._tokenizer.count(" ".join(sentences[p] for p in wanted)) <= max_tokens:
                picked = wanted
        if not picked:
            return self._tokenizer.truncate(sentences[order[0]], max_tokens)
        return " ".join(sentences[place] for place in picked)


def _sentences(texts: Sequence[str]) -> list[str]:
    """Sentences in order, each once."""
    parts = (part.strip() for text in texts for part in _SENTENCE_END.split(text))
    return list(dict.fromkeys(part for part in parts if part))


def _scores(sentences: Sequence[str]) -> list[float]:
    """Mean tf-idf of a sentence's words, damped so that one rare word does not win by itself."""
    bags = [Counter(tokens(sentence)) for sentence in sentences]
    frequency = Counter(term for bag in bags for term in bag)
    scores = []
    for bag in bags:
        total = sum(
            count * math.log(1.0 + len(bags) / frequency[term])
            for term, count in sorted(bag.items())
        )
        scores.append(round(total / math.sqrt(max(sum(bag.values()), 1)), 12))
    return scores
