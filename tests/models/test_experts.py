"""Both ways to compute the experts' products agree; the number of tokens decides which is taken."""

from __future__ import annotations

import pytest
import torch

from models import experts
from models.olmoe import OLMoEModel
from tests.models.conftest import TEXTS


def test_the_model_uses_the_choice(model: OLMoEModel) -> None:
    assert model.backbone.config._experts_implementation == experts.IMPLEMENTATION


def test_one_by_one_and_grouped_agree_gradients_too(
    model: OLMoEModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = list(TEXTS) * 3
    found = []
    for many in (0, 10**9):  # always one by one, never
        monkeypatch.setattr(experts, "MANY_TOKENS", many)
        rows = model.encode_batch(texts)
        model.backbone.zero_grad()
        rows.square().sum().backward()
        weight = model.backbone.model.layers[0].mlp.experts.gate_up_proj.grad
        found.append((rows.detach(), weight.clone()))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=1e-4)


def test_many_tokens_go_one_by_one(model: OLMoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = model.backbone.model.layers[0].mlp.experts
    seen: list[int] = []
    plain = type(layer).forward.__wrapped__

    def counted(self: torch.nn.Module, *given: torch.Tensor) -> torch.Tensor:
        seen.append(given[1].numel())
        result: torch.Tensor = plain(self, *given)
        return result

    monkeypatch.setattr(type(layer).forward, "__wrapped__", counted)
    limit = experts.MANY_TOKENS * layer.num_experts
    for places in (limit - 2, limit):
        tokens = places // 2
        layer(
            torch.zeros(tokens, layer.hidden_dim),
            torch.zeros((tokens, 2), dtype=torch.int64),
            torch.ones(tokens, 2),
        )
    assert seen == [limit]
