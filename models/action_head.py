"""The head that chooses a memory operation. The one module of this package that imports torch at its top:
import it inside a function, or take `MemoryActionHead` from `models.olmoe`, which imports it when asked.
"""

from __future__ import annotations

import torch
from torch import nn

from models.olmoe import ACTIONS


class MemoryActionHead(nn.Module):
    """One logit per memory operation (`ACTIONS`), from a text's embedding and structured features.

    The seventh action is doing nothing. Most events deserve no operation; without it the policy would have
    to do something at every event, and would learn to waste the operation that harms least, so that its
    choices no longer say what it wants.

    Shapes: `embedding` [D] or [B, D]; `features` [F] or [B, F] with F = `feature_size`; `mask` (true where
    an action is allowed) [7] or [B, 7]; the logits [7] or [B, 7], float32. With features the embedding
    alone still works: features left out are zeros. Where feature `gate` is 1 a second set of weights adds
    its logits to those of the first, which then get no gradient: what is known of one sort of event is the
    start for the other, and is not disturbed by what is learnt of it.
    Training and trading use no mask: an operation that cannot apply is executed, fails and costs.
    """

    def __init__(
        self, hidden_size: int, feature_size: int = 0, width: int = 128, gate: int | None = None
    ) -> None:
        """Raises: ValueError for a gate that is none of the features."""
        super().__init__()
        if gate is not None and not 0 <= gate < feature_size:
            raise ValueError(f"the gate is feature {gate} of {feature_size}")
        self.hidden_size = hidden_size
        self.feature_size = feature_size
        self.width = width
        self.gate = gate
        self.norm = nn.LayerNorm(hidden_size)
        self.hidden = nn.Linear(hidden_size + feature_size, width)
        self.out = nn.Linear(width, len(ACTIONS))
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        self.second = None if gate is None else MemoryActionHead(hidden_size, feature_size, width)

    @property
    def shape(self) -> tuple[int, ...]:
        """What the constructor takes."""
        shape = (self.hidden_size, self.feature_size, self.width)
        return shape if self.gate is None else (*shape, self.gate)

    def forward(
        self,
        embedding: torch.Tensor,
        features: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        inputs = self.norm(embedding.to(self.out.weight.dtype))
        if features is not None:
            if features.shape[-1] != self.feature_size:
                raise ValueError(
                    f"{features.shape[-1]} features for a head that takes {self.feature_size}."
                )
            inputs = torch.cat([inputs, features.to(inputs.dtype)], dim=-1)
        elif self.feature_size:
            nothing = inputs.new_zeros((*inputs.shape[:-1], self.feature_size))
            inputs = torch.cat([inputs, nothing], dim=-1)
        logits: torch.Tensor = self.out(nn.functional.gelu(self.hidden(inputs)))
        if self.second is not None and features is not None:
            here = features[..., self.gate].unsqueeze(-1) > 0.5
            more = logits.detach() + self.second(embedding, features)
            logits = torch.where(here, more, logits)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return logits
