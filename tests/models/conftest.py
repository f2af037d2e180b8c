"""A tiny OLMoE of the real class, made once; each test loads it anew."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from core.config import OLMoEIntegrationConfig
from models.olmoe import OLMoEModel

TEXTS = (
    "IBM fell 2.3 percent. Volume was heavy.",
    "a share",
    "Volatility: 1.55 percent a day, steady (week 1.14), very low (quarter 1.84).",
    "x",
    "The trend of the month is down, and it stands 12 percent below its high of the year.",
)
"""Texts of different lengths, the longest not first."""


def make_tiny(folder: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    """A model of some 20,000 random weights with its own tokenizer, saved as a folder."""
    import torch
    from transformers import OlmoeConfig, OlmoeForCausalLM

    from models.folder import TOKENIZER, ModelFolder
    from models.tokens import TextTokens
    from training.nano.tokenizer import train_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(TEXTS * 3)
    tokenizer.save(str(folder / TOKENIZER))
    config = OlmoeConfig(
        vocab_size=2048,
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        tie_word_embeddings=True,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(seed)
    backbone = OlmoeForCausalLM(config)
    source = ModelFolder(folder, name, {}, (), date(2007, 12, 31))
    OLMoEModel().build(backbone, source, TextTokens(folder / TOKENIZER)).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: copy it to change it."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(tiny_folder: Path) -> OLMoEModel:
    return OLMoEModel(OLMoEIntegrationConfig(model_path=tiny_folder, device="cpu")).load()
