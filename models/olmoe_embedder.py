"""The language model as a memory's embedder: unit vectors of texts, named by the weights they come from.

Refuses to know stores. Uses the base weights alone: neither an adapter nor a policy that is being trained
changes what was stored, unless `follow_training` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.errors import ModelError
from models.olmoe import OLMoEModel

if TYPE_CHECKING:
    from core.protocols import Float32Array


class OLMoEEmbedder:
    """A `core.protocols.Embedder`.

    A mean of hidden states has a large common part that says nothing about the text; it is taken off before
    the vectors are scaled to length 1, as the mean over fixed neutral texts.
    Source: the common direction, Mu and Viswanath (arXiv 1702.01417), of which this is the first step.
    """

    def __init__(self, model: OLMoEModel, *, follow_training: bool = False) -> None:
        self._model = model
        self._follow = follow_training
        self._centre: Float32Array | None = None
        self._centre_of = ""

    @property
    def model_id(self) -> str:
        return f"{self._model.name}-{self._model.backbone_hash[:12]}"

    @property
    def dimension(self) -> int:
        return self._model.hidden_size

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        """[B, dimension], float32, unit rows; a text without content gives zeros.

        Raises: ModelError when training changed the base weights and `follow_training` is off.
        """
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> Float32Array:
        if self._model.changed and not self._follow:
            raise ModelError(
                f"the weights of {self._model.name} were changed since they were loaded; vectors of before "
                "and after do not compare.",
                "Load a second model for the embedder, or give follow_training=True.",
            )
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = self._rows(texts) - self._common()
        vectors[[not text.strip() for text in texts]] = 0.0
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Float32Array = np.divide(
            vectors, norms, out=np.zeros_like(vectors), where=norms > 0.0
        )
        return unit

    def _rows(self, texts: Sequence[str]) -> Float32Array:
        if self._follow:
            rows = self._model.encode_cached(texts)
        else:
            with self._model.without_adapter():
                rows = self._model.encode_cached(texts)
        found: Float32Array = rows.float().cpu().numpy()
        return found

    def _common(self) -> Float32Array:
        """The mean over neutral texts, once per weights."""
        version = self.model_id
        if self._centre is None or self._centre_of != version:
            self._centre, self._centre_of = self._rows(NEUTRAL_TEXTS).mean(axis=0), version
        return self._centre


NEUTRAL_TEXTS = (
    "the",
    "It is said that there are some of them.",
    "The company said on Monday that it will do so.",
    "A share rose a little. Volume was usual.",
    "A share fell a little. Volume was light.",
    "Note: nothing happened today.",
    "The report is about the year before.",
    "market news",
    "1 2 3 4 5",
    "They came to the city, and they stayed there.",
)
"""Texts that a vector should not resemble merely for being text."""
