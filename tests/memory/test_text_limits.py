"""Text that steers a terminal, or shows nothing, is not stored and not sent to a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from core.errors import ContentRefused
from memory import render
from memory.operations import check_text


@pytest.mark.parametrize(
    "text", ["a\x9b31mred", "a\x85b", "a\u202eb", "a\u2066b", "\u200b", "\u200b \ufeff"]
)
def test_steering_and_invisible_text_is_refused(text: str) -> None:
    with pytest.raises(ContentRefused):
        check_text(text)


@pytest.mark.parametrize("text", ["naïve — 漢字", "شركة", "a\u200db", "line\n\ttab"])
def test_text_of_any_script_is_taken(text: str) -> None:
    check_text(text)


def test_steering_text_of_an_older_store_is_shown_by_its_number() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80)
    entry = {"id": "m1", "version": 1, "text": "a\x9b31m\u202eb", "metadata": {}, "source": "s",
             "recorded_from": None}  # fmt: skip
    render.entries({"entries": [entry]}, console)
    assert "aU+009B31mU+202Eb" in file.getvalue()
    assert "\x9b" not in file.getvalue()
