"""Embedders that need a model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from memory.agemem import AgeMem
from models import embedder as module
from models.embedder import EncoderEmbedder, MiniLmEmbedder, embedder_named, minilm_folder


class LengthEncoder:
    """Encodes a text as its length and the number of its blanks."""

    def encode_batch(self, texts: Sequence[str]) -> object:
        return np.array([[len(text), text.count(" ")] for text in texts], np.float64)


async def test_any_encoder_serves_as_an_embedder(tmp_path: Path) -> None:
    embedder = EncoderEmbedder(LengthEncoder(), "lengths-1", 2)
    vectors = await embedder.embed(["abc d", "x"])
    # (5, 1) and (1, 0), made unit length
    assert vectors == pytest.approx(np.array([[5, 1], [np.sqrt(26), 0]]) / np.sqrt(26))
    async with AgeMem(store=tmp_path / "m.db", embedder=embedder) as memory:
        await memory.add("abc d")
        assert (await memory.retrieve("efg h")).success


def test_a_missing_package_is_an_error_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed") as caught:
        embedder_named("minilm")
    assert "minilm" in caught.value.cure
    assert embedder_named("hashed") is None


@pytest.mark.slow
async def test_minilm_knows_likeness_without_shared_words() -> None:
    if minilm_folder() is None or find_spec("transformers") is None:
        pytest.skip("the extra `minilm` is not installed")
    a, b, c = await MiniLmEmbedder().embed(
        ["The company raised its dividend", "Shareholders get a higher payout", "It rained in Oslo"]
    )
    assert np.linalg.norm(a) == pytest.approx(1.0, abs=1e-5)
    assert a @ b > a @ c + 0.2
