"""RepExp's bonus: rollouts whose hidden states point where the group's others do not are worth a little more.

Source: arXiv 2510.11686 (elliptical bonus h' (lambda I + sum h h')^-1 h). Hidden states are brought to d
dimensions by a fixed random projection with d below the group's size, so that the bonus can rank its members.
Shapes: G members, D hidden, d projected.
"""

from __future__ import annotations

import torch

RIDGE = 0.1


def projection(hidden: int, members: int, seed: int = 0) -> torch.Tensor:
    """A fixed projection [D, d] with d = members - 1 (at least 1), scaled to keep lengths."""
    size = max(1, members - 1)
    generator = torch.Generator().manual_seed(seed)
    drawn: torch.Tensor = torch.randn((hidden, size), generator=generator) / size**0.5
    return drawn


def elliptical_bonus(states_GD: torch.Tensor, projection_Dd: torch.Tensor) -> torch.Tensor:
    """The bonus of each member of one group, [G], from the mean hidden state of its steps."""
    projected = states_GD.double() @ projection_Dd.double()
    projected = torch.nn.functional.normalize(projected, dim=-1)
    size = projected.shape[1]
    spread = RIDGE * torch.eye(size, dtype=torch.float64) + projected.T @ projected
    solved = torch.linalg.solve(spread, projected.T)
    bonus: torch.Tensor = (projected * solved.T).sum(-1)
    return bonus.float()
