"""The configured model as forecasts use it: the base, with the adapter that the configuration names.

Owns which weights forecasts are made with and up to when they were trained. The memory policy and the
embedder load the base themselves and are never moved by an adapter.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from core import formats
from core.config import OLMoEIntegrationConfig
from core.errors import CheckpointError
from models.folder import open_folder, resolve
from models.forecaster import OLMoEForecaster
from models.olmoe import OLMoEModel

CARD = "stage1.json"
"""What `athena train stage1` says about an adapter, beside its weights."""


def load_model(config: OLMoEIntegrationConfig) -> OLMoEModel:
    """The base with `olmoe.adapter_path` attached, where one is named.

    Raises: ModelError; CheckpointError for an adapter of another backbone or a damaged one.
    """
    model = OLMoEModel(config).load()
    if config.adapter_path is not None:
        adapter_cutoff(config.adapter_path)
        model.load_lora(config.adapter_path)
    return model


def load_forecaster(config: OLMoEIntegrationConfig, *, masked: bool = True) -> OLMoEForecaster:
    """The forecaster of the configuration, with its adapter where one is named."""
    model = load_model(config)
    return OLMoEForecaster(model, masked=masked, follow_training=model.has_adapter)


def training_cutoff(config: OLMoEIntegrationConfig) -> date | None:
    """The last date that training may have seen: the adapter's, which is never before its base's."""
    if config.adapter_path is not None:
        return adapter_cutoff(config.adapter_path)
    chosen = resolve(config.model_path)
    if isinstance(chosen, str):
        return config.training_cutoff
    return open_folder(chosen, training_cutoff=config.training_cutoff).training_cutoff


def adapter_cutoff(folder: Path) -> date:
    """Raises: CheckpointError where the adapter does not say up to when it was trained."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        formats.ADAPTER.check(card.get(formats.KEY), folder / CARD)
        return date.fromisoformat(card["training_cutoff"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} does not say up to when it was trained ({type(error).__name__}: {error}).",
            "Give olmoe.adapter_path the folder `adapter` of a run of `athena train stage1`.",
        ) from None
