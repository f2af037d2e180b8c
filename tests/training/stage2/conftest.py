from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from core.config import AthenaConfig
from models.olmoe import OLMoEModel
from training.stage2_agemem.episodes import Episode, Path, episode
from training.stage2_agemem.rollouts import CountedTokens, RolloutSettings
from training.stage2_agemem.sources import paths_for


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def train_paths() -> list[Path]:
    return list(paths_for(AthenaConfig(), "train").paths)


@pytest.fixture(scope="session")
def some_episodes(train_paths: list[Path]) -> list[Episode]:
    return [episode(train_paths, "train", number, seed=17) for number in range(60)]


@pytest.fixture
def model() -> OLMoEModel:
    return OLMoEModel().load()


@pytest.fixture
def rollouts(model: OLMoEModel) -> RolloutSettings:
    return RolloutSettings(tokenizer=CountedTokens(model.tokenizer))
