# ruff: noqa: RUF001 - letters that look like others are what is tried here
"""Whoever can write into a feed cannot stop the agent: every text is cut to what fits, counted and said."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from agents.news import MAX_TEXT_CHARACTERS, News, NewsFeed, _texts
from memory.context import ShortTermMemory
from memory.tokenizers import WordTokenizer
from models.tokens import TextTokens
from tests.conftest import Athena

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = {
    "Chinese": "市场大涨" * 100,
    "Cyrillic": "Акции выросли на десять процентов " * 40,
    "emoji": "🚀👩‍👩‍👧‍👦🇺🇸" * 120,
    "full-width": "ＡＣＭＥ　ｒｉｓｅｓ" * 80,
    "one word": "a" * 3_000,
    "one Greek word": "ψ" * 3_000,
    "combining": "e" + "\u0301" * 3_000,
    "right to left": "\u202eمرحبا بالعالم" * 80,
    "fillers": "\u3164\u115f\u2800" * 50,
    "escapes": "\x1b[2J\x1b]0;x\x07" * 100,
    "zero width": "\u200b\u200d\ufeff" * 50,
    "private and unassigned": "\ue000\U000e0001\U0010ffff" * 300,
    "braille": "⠿" * 1_000,
    "punctuation": "!?#%&=+-@" * 200,
    "formula": "=HYPERLINK(1)" * 100,
    "special tokens": "<|endoftext|>" * 200,
    "old scripts": "𒀀𓀀" * 500,
}


@pytest.fixture(scope="module")
def tokens() -> TextTokens:
    return TextTokens(ROOT / "models" / "nano" / "tokenizer.json")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_text_is_cut_to_the_budget_and_taken(kind: str, tokens: TextTokens) -> None:
    for counted in (tokens, WordTokenizer()):
        memory = ShortTermMemory(64, tokenizer=counted)
        for line in _texts(pd.Series([HOSTILE[kind]])):
            text = memory.fitting("user", line)
            assert line.startswith(text)
            if line:  # of zero-width signs alone nothing is left to read
                memory.append("user", text)
                assert 0 < memory.tokens <= 64


def test_a_text_that_fits_stays_as_it_is(tokens: TextTokens) -> None:
    memory = ShortTermMemory(1_024, tokenizer=tokens)
    for text in ("Acme rises 3% on strong orders.", "市场大涨", "x" * 1_000):
        assert memory.fitting("user", text) == text


def test_lines_are_cut_and_counted(tokens: TextTokens) -> None:
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    lines = [
        News(moment, "A", text)
        for text in ("short", "市场大涨" * 100, "b" * 1_001, ("c d " * 200).strip())
    ]
    feed = NewsFeed(lines).fitting(tokens, 1_000)
    assert (len(feed), feed.cut) == (4, 2)
    for line in feed.since_last(moment, datetime(2024, 1, 1, tzinfo=UTC))["A"]:
        assert tokens.count(line.text) <= 1_000
        assert len(line.text) <= MAX_TEXT_CHARACTERS


def test_a_feed_full_of_such_texts_stops_no_run(athena: Athena, tmp_path: Path) -> None:
    with open(tmp_path / "news.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time", "symbol", "text"])
        for at, text in enumerate(HOSTILE.values()):
            for symbol in ("AAPL", ""):
                rows.writerow([f"2001-03-{5 + at % 5:02}T12:{at:02}:00Z", symbol, text])
    done = athena(
        "backtest", "--news", "news.csv", "--symbols", "AAPL", "--end", "2001-03-16", "--json"
    )
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["notes"]
    assert [note for note in notes if "of news were cut to what fits" in note] != []
    assert "\x1b" not in done.stdout + done.stderr
