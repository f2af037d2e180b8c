"""Texts of different lengths in one pass without padding: they are laid end to end, and kept apart.

Everything but attention works on single tokens, so a row of N tokens needs no padding there. Attention is
computed for groups of texts of similar length, with the causal mask alone: what pads a group stands at the
end, where no real token looks. Beginnings that texts have in common stand in the row once. The result is that
of a padded pass, gradients too.

Registered with transformers under `IMPLEMENTATION`; without segments it is transformers' own `sdpa`.
Source: packing without cross-contamination, Krell et al. (arXiv 2107.02027).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "athena_segments"

GROUP_WASTE_FRAC = 0.3
"""A group takes shorter texts as long as at most this share of it would be padding."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """B texts, longest first, laid end to end in a row of N tokens; common beginnings stand there once.

    Shapes: `tokens` and `positions` [1, N], each with its place in its own text; `lengths` [B]; `ends` [B],
    where each text's last token stands. `members` [M] are the row's places of all tokens of all texts and
    `owner` [M] their texts, M >= N. `groups` are index tensors [g, T] into the row; `restore` [N] finds each
    token in the groups' concatenated places.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    members: torch.Tensor
    lengths: torch.Tensor
    ends: torch.Tensor
    groups: tuple[torch.Tensor, ...]
    restore: torch.Tensor

    @classmethod
    def of(cls, ids: Sequence[list[int]], device: torch.device) -> Segments:
        """`ids` are the texts' tokens, longest text first, none empty."""
        import torch

        tokens, positions, places = share_beginnings(ids)
        lengths = [len(text) for text in ids]
        restore = np.empty(len(tokens), np.int64)
        groups, start = [], 0
        for first, last in group_bounds(lengths):
            longest = lengths[first]
            index = np.array(
                [each + each[-1:] * (longest - len(each)) for each in places[first:last]]
            )
            real = np.arange(longest) < np.array(lengths[first:last])[:, None]
            restore[index[real]] = start + np.flatnonzero(real)
            groups.append(torch.from_numpy(index).to(device))
            start += index.size
        return cls(
            tokens=torch.tensor([tokens], device=device),
            positions=torch.tensor([positions], device=device),
            owner=torch.repeat_interleave(torch.tensor(lengths)).to(device),
            members=torch.tensor([place for each in places for place in each], device=device),
            lengths=torch.tensor(lengths, device=device),
            ends=torch.tensor([each[-1] for each in places], device=device),
            groups=tuple(groups),
            restore=torch.from_numpy(restore).to(device),
        )


def share_beginnings(
    ids: Sequence[list[int]],
) -> tuple[list[int], list[int], list[list[int]]]:
    """The distinct prefixes of some texts: (tokens [N], their positions [N], each text's places in them).

    A token's state depends on what stands before it alone, so that a beginning that texts have in common
    needs to be computed once: they form a prefix tree.
    """
    tokens: list[int] = []
    positions: list[int] = []
    places: list[list[int]] = [[] for _ in ids]
    before: list[int] = []
    held: list[int] = []
    for number in sorted(range(len(ids)), key=ids.__getitem__):
        text = ids[number]
        common = common_length(before, text)
        held = held[:common] + list(range(len(tokens), len(tokens) + len(text) - common))
        tokens += text[common:]
        positions += range(common, len(text))
        places[number] = held
        before = text
    return tokens, positions, places


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginnings."""
    length = min(len(first), len(second))
    for place in range(length):
        if first[place] != second[place]:
            return place
    return length


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
