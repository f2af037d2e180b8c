"""The shapes and the training budget of the models that `athena model build` can make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finish:
    """The last part of the training (`training/nano/finish.py`).

    Units: tokens; `draws` continuations of a path tell the chances at a bar; an answer is one token in about
    ninety, and its loss is multiplied by `answer_weight` (simulated) or `real_weight`.
    """

    paths: int = 620
    bars: int = 420
    stride_bars: int = 7
    draws: int = 400
    row_tokens: int = 96
    batch_rows: int = 48
    prose_frac: float = 0.2
    narrative_frac: float = 0.2
    learning_rate: float = 1.5e-3
    warmup_frac: float = 0.05
    answer_weight: float = 80.0
    real_weight: float = 1.0
    router_loss_weight: float = 0.05


@dataclass(frozen=True, slots=True)
class Preset:
    """Every shape of an OLMoE and every number of its training.

    Nothing is left to `OlmoeConfig`'s defaults, which describe a model of 13.4 billion weights. Units:
    tokens; `learning_rate` is the peak; `answer_weight` multiplies the loss of the bucket words that
    answer `models.render.QUESTION`, which are one token in a hundred.
    """

    name: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    experts: int
    experts_per_token: int
    context_tokens: int
    vocabulary: int
    initializer_range: float
    simulated_paths: int
    real_copies: int
    prose_epochs: int
    batch_rows: int
    learning_rate: float
    warmup_frac: float
    weight_decay: float
    router_loss_weight: float
    answer_weight: float
    finish: Finish | None = None


NANO = Preset(
    name="athena-olmoe-nano",
    hidden_size=128,
    intermediate_size=64,
    layers=2,
    heads=4,
    experts=16,
    experts_per_token=2,
    context_tokens=512,
    vocabulary=2048,
    initializer_range=0.09,
    simulated_paths=1300,
    real_copies=2,
    prose_epochs=7,
    batch_rows=8,
    learning_rate=8e-3,
    warmup_frac=0.02,
    weight_decay=0.05,
    router_loss_weight=0.01,
    answer_weight=16.0,
    finish=Finish(),
)

PRESETS: Mapping[str, Preset] = {"nano": NANO}
