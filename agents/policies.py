"""The memory policy of a run, by its name in the configuration.

Owns where a trained policy's weights come from and on what they are asked. Refuses to know what happens in a
run. A trained policy reads states with the base weights of the model that it was trained on; an adapter is
off while it does. The shipped one reads with the shipped small model, whatever model makes the forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memory.policy import FEATURES, LearnedChooser, MemoryPolicy
from memory.rules import rule_policy

if TYPE_CHECKING:
    from core.config import AthenaConfig
    from memory.policy import ActionScorer, Float32Array, FloatArray
    from models.action_scorer import HeadScorer
    from models.olmoe import OLMoEModel

TRAINED = "trained"


def run_policy(config: AthenaConfig, model: OLMoEModel | None = None) -> MemoryPolicy:
    """The policy that `memory.policy` names; a trained one on `model`, or on the configured one.

    Raises: ConfigError for a name that there is none of; ModelError; CheckpointError for a policy of another
    model.
    """
    name = config.memory.policy
    if name != TRAINED:
        return rule_policy(name, config.seed)
    return MemoryPolicy(name, LearnedChooser(_scorer(config, model)))


def _scorer(config: AthenaConfig, model: OLMoEModel | None) -> ActionScorer:
    from models.policy_folder import load_scorer, shipped_policy

    folder, olmoe = config.memory.policy_path, config.olmoe
    if folder is None:
        folder = shipped_policy()
        if olmoe.model_path is not None:  # it reads with the model that it was trained on
            alone = {"model_path": None, "adapter_path": None, "dtype": "float32"}
            olmoe, model = olmoe.model_copy(update=alone), None
    scorer = load_scorer(olmoe, folder, features=FEATURES, model=model)
    return Quietly(scorer, adapter=scorer.model is not model)


@dataclass(frozen=True, slots=True)
class Quietly:
    """A scorer asked with one thread of torch, which is faster for so few texts and gives the same bits on
    machines with more cores; and, unless the policy brings an `adapter` of its own, with the base weights."""

    inner: HeadScorer
    adapter: bool = False

    def log_probabilities(self, texts: Sequence[str], features: Float32Array) -> FloatArray:
        """Shapes: features [B, F]; the result [B, 7]."""
        from models.device import torch_threads

        with torch_threads(1):
            if self.adapter or not self.inner.model.has_adapter:
                return self.inner.log_probabilities(texts, features)
            with self.inner.model.without_adapter():
                return self.inner.log_probabilities(texts, features)
