"""The small model's tokenizer: byte-level BPE of 2,048 tokens.

Numbers are split into digits (each with or without the space before it), so that every number is spelt in
one way; words of the market are whole. Any text can be written, since all 256 bytes are in the alphabet.

Source: Sennrich et al. (2016, arXiv 1508.07909) for BPE; digits one by one after PaLM (arXiv 2204.02311).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from models.render import BUCKETS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 2048
END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"

_WORDS = """
percent volatility returns trend drawdown volume band news price market stock share shares
profit loss gain gained lost rose fell risk earnings guidance dividend quarter quarterly
week month year daily high low rising falling level steady quiet calmer livelier wild
buy sell hold position order portfolio hedge bond index sector momentum overbought
oversold simulated contract revenue forecast upgrade downgrade merger split
"""

MARKET_WORDS = (*BUCKETS, *_WORDS.split())
"""Words that are one token each with the space before them; a test holds it."""

_PATTERN = r" ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WEIGHT = 4000
"""How often the training text repeats each market word: enough to be merged before rarer pairs."""


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of `VOCABULARY` tokens; the same texts give the same one."""
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_weighted(texts), trainer)
    return tokenizer


def _weighted(texts: Iterable[str]) -> Iterator[str]:
    yield from texts
    line = " " + " ".join(MARKET_WORDS)
    for _ in range(_WEIGHT):
        yield line


def id_of(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the tokenizer has."""
    found: int | None = tokenizer.token_to_id(token)
    assert found is not None, f"{token} is no token"
    return found
