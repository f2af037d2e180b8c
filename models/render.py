"""A market state as compact text: what the language model reads about a symbol.

Owns the wording; training and trading use the same one. Deterministic: the same state is the same bytes.
A `MarketState` holds nothing after `as_of`, so nothing later can be told; the answer is no part of it.
Refuses to know models; a token budget is kept by the counter that is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.protocols import Tokenizer
from core.types import MarketState, NewsLine

MASKED = "A share"
"""Stands for a symbol whose name is masked: then no date is told either."""

QUESTION = "Next five days:"
BUCKETS = ("plunge", "fall", "flat", "rise", "surge")
"""The words of the five buckets, lowest first; each is one token of the small model, with its space."""

_SHORT = ((0.6, "quiet"), (0.85, "calmer"), (1.15, "steady"), (1.5, "livelier"), (1e9, "wild"))
_LONG = ((0.75, "very high"), (0.9, "high"), (1.15, "usual"), (1.4, "low"), (1e9, "very low"))
_TREND = (
    (-1.2, "falling hard"),
    (-0.4, "falling"),
    (0.4, "level"),
    (1.2, "rising"),
    (1e9, "rising hard"),
)


def render(
    state: MarketState,
    *,
    masked: bool = False,
    tokenizer: Tokenizer | None = None,
    budget_tokens: int | None = None,
) -> str:
    """The state as a few lines, the most telling first; what does not fit the budget is left out.

    Within a budget the oldest news go first, then the last lines; the first line always stays.
    Raises: ValueError when not even the first line fits, or a budget comes without a tokenizer.
    """
    lines = state_lines(state, masked=masked)
    news = [
        _news_line(line, state, masked) for line in sorted(state.news, key=lambda line: line.time)
    ]
    if budget_tokens is None:
        return "\n".join([*lines, *news])
    if tokenizer is None:
        raise ValueError("budget_tokens needs a tokenizer to count with.")
    while True:
        text = "\n".join([*lines, *news])
        if tokenizer.count(text) <= budget_tokens:
            return text
        if news:
            del news[0]
        elif len(lines) > 1:
            del lines[-1]
        else:
            raise ValueError(
                f"budget_tokens is {budget_tokens}; the first line alone has {tokenizer.count(text)}."
            )


def question(state_text: str) -> str:
    """The text whose continuation by one of `BUCKETS` is the forecast."""
    return f"{state_text}\n{QUESTION}"


def state_lines(state: MarketState, *, masked: bool) -> list[str]:
    """The state without its news, one idea a line."""
    header = MASKED if masked else f"{state.symbol} {state.as_of:%Y-%m-%d}"
    lines = [f"{header}. Returns:{_signed(state.returns_frac)} percent."]
    if state.volatility_frac is not None:
        words = [f"Volatility: {_percent(state.volatility_frac, 2)} percent a day"]
        if state.short_ratio is not None:
            words.append(f"{_word(state.short_ratio, _SHORT)} (week {state.short_ratio:.2f})")
        if state.long_ratio is not None:
            words.append(f"{_word(state.long_ratio, _LONG)} (quarter {state.long_ratio:.2f})")
        lines.append(", ".join(words) + ".")
    if state.trend_ratio is not None:
        word = _word(state.trend_ratio, _TREND)
        lines.append(f"Trend: {word} ({state.trend_ratio:+.1f}).")
    parts = []
    if state.drawdown_frac is not None:
        parts.append(f"Drawdown {_percent(state.drawdown_frac, 0)} percent.")
    if state.rsi is not None:
        parts.append(f"RSI {state.rsi:.0f}.")
    if state.band_z is not None:
        parts.append(f"Band {state.band_z:+.1f}.")
    if state.volume_ratio is not None:
        parts.append(f"Volume {state.volume_ratio:.1f}.")
    if parts:
        lines.append(" ".join(parts))
    return lines


def _news_line(line: NewsLine, state: MarketState, masked: bool) -> str:
    """One line of news; masked, its age stands for its time and "the share" for the symbol."""
    text = " ".join(line.text.split())
    if not masked:
        return f"News {line.time:%Y-%m-%d %H:%M}: {text}"
    hours = (state.as_of - line.time).total_seconds() / 3600.0
    text = re.sub(rf"(?<!\w){re.escape(state.symbol)}(?!\w)", "the share", text)
    return f"News {hours:.0f} hours ago: {text}"


def _percent(frac: float, digits: int) -> str:
    return f"{100.0 * frac + 0.0:.{digits}f}"


def _signed(returns: Sequence[float]) -> str:
    return "".join(f" {100.0 * value:+.1f}" for value in returns) or " none"


def _word(value: float, words: Sequence[tuple[float, str]]) -> str:
    return next(word for limit, word in words if value < limit)
