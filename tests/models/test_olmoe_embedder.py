from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import ModelError
from models.olmoe import OLMoEModel
from models.olmoe_embedder import OLMoEEmbedder
from tests.models.conftest import TEXTS
from tests.models.test_olmoe import train_a_little


async def test_vectors_are_unit_rows_and_nothing_is_zero(model: OLMoEModel) -> None:
    embedder = OLMoEEmbedder(model)
    rows = await embedder.embed([*TEXTS, "  "])
    assert rows.shape == (6, embedder.dimension)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1, 1, 1, 0], abs=1e-6)
    assert (await embedder.embed([])).shape == (0, 16)


async def test_the_space_is_named_by_model_and_weights(model: OLMoEModel) -> None:
    assert OLMoEEmbedder(model).model_id == f"tiny-{model.backbone_hash[:12]}"


async def test_training_an_adapter_never_moves_the_vectors(model: OLMoEModel) -> None:
    embedder = OLMoEEmbedder(model)
    before, space = await embedder.embed(TEXTS), embedder.model_id
    model.add_lora(rank=2)
    train_a_little(model)
    assert np.abs(await embedder.embed(TEXTS) - before).max() < 1e-5
    assert embedder.model_id == space


async def test_training_the_base_is_refused_unless_it_is_wanted(model: OLMoEModel) -> None:
    frozen, following = OLMoEEmbedder(model), OLMoEEmbedder(model, follow_training=True)
    before, space = await following.embed(TEXTS), following.model_id
    with torch.no_grad():
        model.backbone.model.embed_tokens.weight.mul_(torch.linspace(0.5, 2.0, 16))
    with pytest.raises(ModelError, match="were changed since they were loaded"):
        await frozen.embed(TEXTS)
    assert np.abs(await following.embed(TEXTS) - before).max() > 1e-3
    assert following.model_id != space
