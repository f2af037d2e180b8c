"""Texts of different lengths in one pass without padding: they are laid end to end, and kept apart.

Everything but attention works on single tokens, so a row of N tokens needs no padding there. Attention is
computed for groups of texts of similar length, with the causal mask alone: what pads a group stands at the
end, where no real token looks. The result is that of a padded pass, gradients too.

Registered with transformers under `IMPLEMENTATION`; without segments it is transformers' own `sdpa`.
Source: packing without cross-contamination, Krell et al. (arXiv 2107.02027).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "athena_segments"

GROUP_WASTE_FRAC = 0.3
"""A group takes shorter texts as long as at most this share of it would be padding."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """B texts, longest first, laid end to end in a row of N tokens.

    Shapes: `positions` [1, N], each token's place in its own text; `owner` [N], its text; `lengths` [B];
    `ends` [B], each text's last token. `groups` are index tensors [g, T] into the row; `restore` [N] finds
    each token in the groups' concatenated places.
    """

    positions: torch.Tensor
    owner: torch.Tensor
    lengths: torch.Tensor
    ends: torch.Tensor
    groups: tuple[torch.Tensor, ...]
    restore: torch.Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Segments:
        """`lengths` in descending order, all above 0."""
        import torch

        sizes = torch.tensor(lengths)
        starts = torch.cumsum(sizes, 0) - sizes
        owner = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
        positions = torch.arange(int(sizes.sum())) - starts[owner]
        restore = torch.empty_like(owner)
        groups, place = [], 0
        for first, last in group_bounds(lengths):
            longest = lengths[first]
            within = torch.arange(longest)
            index = torch.minimum(
                starts[first:last, None] + within, (starts + sizes)[first:last, None] - 1
            )
            real = within < sizes[first:last, None]
            restore[index[real]] = place + torch.arange(index.numel()).view_as(index)[real]
            groups.append(index.to(device))
            place += index.numel()
        return cls(
            positions=positions[None].to(device),
            owner=owner.to(device),
            lengths=sizes.to(device),
            ends=(starts + sizes - 1).to(device),
            groups=tuple(groups),
            restore=restore.to(device),
        )


def group_bounds(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where to cut descending lengths so that little of any group is padding: [first, last) pairs."""
    bounds, first, filled = [], 0, 0
    for index, length in enumerate(lengths):
        held = (index + 1 - first) * lengths[first]
        if held - (filled + length) > GROUP_WASTE_FRAC * held:
            bounds.append((first, index))
            first, filled = index, 0
        filled += length
    bounds.append((first, len(lengths)))
    return bounds


def register() -> None:
    """Make the implementation known to transformers; more than once does no harm."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def attend(  # noqa: PLR0917 - transformers calls it so
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    segments: Segments | None = None,
    alike: bool = False,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Shapes: query, key and value [1, H, N, d] with segments (any batch without); result [1, N, H, d].

    `alike` says that the texts of the batch have one length: then the causal mask alone is needed, and the
    one that came is not looked at.
    """
    import torch

    if alike:
        attended = torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return attended.transpose(1, 2).contiguous(), None
    if segments is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return result
    heads, _, width = query.shape[1:]
    grouped = query.shape[1] != key.shape[1]
    parts = []
    for index in segments.groups:
        flat = index.flatten()
        query_g, key_g, value_g = (
            each[0].index_select(1, flat).view(each.shape[1], *index.shape, width).transpose(0, 1)
            for each in (query, key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(
            query_g,
            key_g,
            value_g,
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
            enable_gqa=grouped,
        )
        parts.append(attended.transpose(1, 2).reshape(-1, heads, width))
    together = torch.cat(parts) if len(parts) > 1 else parts[0]
    return together.index_select(0, segments.restore)[None], None
