"""How the experts' products are computed: all in one grouped product, or expert by expert.

Owns the choice, made for each pass from how many tokens an expert gets. On a CPU the grouped product is
faster while there are few (a short text: 0.8 of the time), expert by expert once there are many (32 texts of
128 tokens: 0.86 of the time); `docs/log.md` has the figures. A GPU always takes the grouped one.

Registered with transformers under `IMPLEMENTATION`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "athena_by_load"
MANY_TOKENS = 200
"""Places of tokens for each expert, from which on a CPU takes expert by expert."""


def register() -> None:
    """Make the implementation known to transformers; more than once does no harm."""
    from transformers.integrations.moe import ExpertsInterface

    ExpertsInterface.register(IMPLEMENTATION, route)


def implementation() -> str:
    """The name to set: this choice where torch has a grouped product, else expert by expert."""
    from models.device import experts_implementation

    if experts_implementation() == "eager":
        return "eager"
    register()
    return IMPLEMENTATION


def route(
    experts: torch.nn.Module,
    hidden_ND: torch.Tensor,
    chosen_NK: torch.Tensor,
    weights_NK: torch.Tensor,
) -> torch.Tensor:
    """The weighted sum of each token's experts, [N, D], for N tokens that have K experts each."""
    from transformers.integrations.moe import grouped_mm_experts_forward

    count: int = experts.num_experts  # type: ignore[assignment]
    many = hidden_ND.device.type == "cpu" and chosen_NK.numel() >= MANY_TOKENS * count
    one_by_one = type(experts).forward.__wrapped__  # type: ignore[attr-defined]
    result: torch.Tensor = (one_by_one if many else grouped_mm_experts_forward)(
        experts, hidden_ND, chosen_NK, weights_NK
    )
    return result
