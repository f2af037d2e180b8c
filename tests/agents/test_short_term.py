"""Short-term memory on the shipped model: its tokens, and who writes the summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.short_term import SMALL_MODEL, short_term_memory
from core.config import OLMoEIntegrationConfig
from models.olmoe import OLMoEModel
from tests.models.conftest import make_tiny

NOTES = (
    "The limit of BYTE is 5.25 dollars.",
    "Volume was heavy, and the share fell 2.3 percent.",
    "The rating of CORE is hold.",
)


@pytest.fixture(scope="module")
def small() -> OLMoEModel:
    return OLMoEModel(OLMoEIntegrationConfig(device="cpu")).load()


def test_messages_are_counted_in_the_models_tokens(small: OLMoEModel) -> None:
    context = short_term_memory(small, budget_tokens=40)
    for note in NOTES:
        context.append("user", note)
    counted = sum(small.tokenizer.count(f"user: {each.content}") for each in context.messages)
    assert context.tokens == counted <= 40
    assert len(context.messages) < len(NOTES)  # 5.25 alone is four tokens


async def test_the_small_model_is_never_asked_to_summarise(small: OLMoEModel) -> None:
    assert small.name == SMALL_MODEL
    context = short_term_memory(small)
    assert context.budget_tokens == small.context_tokens
    for note in NOTES:
        context.append("user", note)
    message = await context.summarise("all", 20)
    assert message is not None
    assert message.content in " ".join(NOTES)  # a sentence, word for word


async def test_another_model_writes_the_summary_itself(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny")
    model = OLMoEModel(OLMoEIntegrationConfig(model_path=folder, device="cpu")).load()
    context = short_term_memory(model, budget_tokens=300)
    for note in NOTES:
        context.append("user", note)
    message = await context.summarise("all", 20)
    assert message is not None
    assert message.content not in " ".join(NOTES)
    assert model.tokenizer.count(f"summary: {message.content}") <= 20
    again = short_term_memory(model, budget_tokens=300)
    for note in NOTES:
        again.append("user", note)
    same = await again.summarise("all", 20)
    assert same is not None
    assert same.content == message.content
