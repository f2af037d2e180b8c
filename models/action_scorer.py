"""A model's action head as the memory policy asks it: states in, log-probabilities of the actions out.

Refuses to know what the actions mean. Embeddings come from the cache of a frozen backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from models.action_head import MemoryActionHead
    from models.olmoe import OLMoEModel

    FloatArray = npt.NDArray[np.float64]
    Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadScorer:
    """`encode` and `action_head` of a loaded model, without gradients and without a mask.

    `head` stands in the place of the model's own: several policies share one backbone and its cache.
    `use_text` and `use_features` false put zeros in the place of that half of the state (ablations).
    Raises: ModelNotLoaded before the model is loaded.
    """

    model: OLMoEModel
    use_text: bool = True
    use_features: bool = True
    head: MemoryActionHead | None = None

    def log_probabilities(self, texts: Sequence[str], features: Float32Array) -> FloatArray:
        """Shapes: features [B, F]; the result [B, 7], natural logarithms."""
        import torch

        with torch.no_grad():
            logits_BA = self.logits(self.embed(texts), torch.from_numpy(features))
            scores: FloatArray = logits_BA.double().log_softmax(-1).cpu().numpy()
        return scores

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of the states' texts, [B, D], without gradients."""
        return self.model.encode_cached(texts)

    def logits(self, embeddings_BD: torch.Tensor, features_BF: torch.Tensor) -> torch.Tensor:
        """The head's answer, [B, 7], with gradients."""
        head = self.head or self.model.action_head
        assert head is not None, "embed() raises before load()"
        return self.answer(head, embeddings_BD, features_BF)

    def answer(
        self, head: MemoryActionHead, embeddings_BD: torch.Tensor, features_BF: torch.Tensor
    ) -> torch.Tensor:
        """What a head says of the half of the state that is used, [B, 7]; the gate is always seen."""
        if not self.use_text:
            embeddings_BD = embeddings_BD * 0.0
        if not self.use_features:
            hidden_BF = features_BF * 0.0
            if head.gate is not None:
                hidden_BF[:, head.gate] = features_BF[:, head.gate]
            features_BF = hidden_BF
        logits: torch.Tensor = head(embeddings_BD, features_BF.to(embeddings_BD.device))
        return logits
