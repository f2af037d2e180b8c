"""Embedders that need a model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from core.config import AthenaConfig, MemoryConfig, OLMoEIntegrationConfig
from core.errors import EmbedderMismatch, ModelError
from memory.agemem import AgeMem
from models import embedder as module
from models.embedder import MiniLmEmbedder, configured_embedder, minilm_folder


def test_a_missing_package_is_an_error_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed") as caught:
        configured_embedder(AthenaConfig(memory=MemoryConfig(embedder="minilm")))
    assert "minilm" in caught.value.cure
    assert configured_embedder(AthenaConfig()) is None


@pytest.mark.slow
async def test_minilm_knows_likeness_without_shared_words() -> None:
    if minilm_folder() is None or find_spec("transformers") is None:
        pytest.skip("the extra `minilm` is not installed")
    a, b, c = await MiniLmEmbedder().embed(
        ["The company raised its dividend", "Shareholders get a higher payout", "It rained in Oslo"]
    )
    assert np.linalg.norm(a) == pytest.approx(1.0, abs=1e-5)
    assert a @ b > a @ c + 0.2


async def test_the_language_model_serves_as_the_embedder_once_everything_is_embedded_anew(
    tmp_path: Path,
) -> None:
    config = AthenaConfig(
        memory=MemoryConfig(embedder="olmoe"), olmoe=OLMoEIntegrationConfig(device="cpu")
    )
    path = tmp_path / "memory.db"
    async with AgeMem(store=path) as memory:  # hashed n-grams
        await memory.add("IBM fell 2.3 percent.")
        risen = await memory.add("Shareholders get a higher dividend.")
    async with AgeMem(store=path, embedder=configured_embedder(config)) as memory:
        refused = await memory.retrieve("a higher dividend")
        assert isinstance(refused.error, EmbedderMismatch)
        assert "rebuild" in refused.error.cure
        await memory.rebuild()
        found = await memory.retrieve("Shareholders get a higher dividend.", 1)
        assert found.ids == risen.ids
        assert found.data[0].ranks.vector == 1
