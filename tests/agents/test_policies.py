"""Who decides in a run what is remembered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.policies import run_policy
from core.config import AthenaConfig, OLMoEIntegrationConfig
from core.errors import CheckpointError, ConfigError
from memory.agemem import AgeMem
from memory.context import ShortTermMemory
from memory.policy import FEATURES, MemoryEvent, MemoryState, Seat, Situation, observe
from memory.rules import RULES
from memory.stores.sqlite import SqliteStore
from models.olmoe import OLMoEModel
from models.policy_folder import save_policy, shipped_policy
from tests.models.conftest import make_tiny
from training.stage2_agemem.trainer import prepare_policy


def with_memory(**values: object) -> AthenaConfig:
    config = AthenaConfig()
    return config.model_copy(update={"memory": config.memory.model_copy(update=values)})


def states() -> list[MemoryState]:
    from datetime import UTC, datetime

    async def look() -> list[MemoryState]:
        async with AgeMem(store=SqliteStore(":memory:", seed="s")) as memory:
            context = ShortTermMemory(256)
            at = datetime(2012, 5, 1, tzinfo=UTC)
            texts = ("filing: IBM rating now 4.5 points, confirmed", "Bought 3 IBM at 101.5")
            return await observe(
                [
                    Seat(memory, context, MemoryEvent(text, kind, "IBM", source, at),
                         Situation(frozenset({"IBM"})))
                    for text, kind, source in zip(
                        texts, ("rating", "fill"), ("filing", "broker"), strict=True
                    )
                ]
            )  # fmt: skip

    return asyncio.run(look())


def test_every_rule_is_there_by_its_name() -> None:
    for name in RULES:
        assert run_policy(with_memory(policy=name)).name == name
    with pytest.raises(ConfigError, match="'clever'"):
        run_policy(with_memory(policy="clever"))


def test_the_trained_policy_says_the_same_on_a_shared_model_and_on_its_own() -> None:
    config = with_memory(policy="trained")
    model = OLMoEModel().load()
    own, shared = run_policy(config), run_policy(config, model)
    seen = states()
    alone = [choice.log_probabilities for choice in own.choose(seen)]
    assert alone == [choice.log_probabilities for choice in shared.choose(seen)]
    model.add_lora(rank=2)
    with_adapter = [choice.log_probabilities for choice in shared.choose(seen)]
    assert with_adapter == [pytest.approx(row, abs=1e-5) for row in alone]


def test_a_policy_of_the_users_own_is_taken(tmp_path: Path) -> None:
    config = with_memory(policy="trained", policy_path=tmp_path)
    model = OLMoEModel().load()
    prepare_policy(model, config.training.stage2, seed=9)
    save_policy(model, tmp_path, features=FEATURES, trained="head")
    seen = states()
    found = run_policy(config).choose(seen)[0].log_probabilities
    assert found != run_policy(with_memory(policy="trained")).choose(seen)[0].log_probabilities


def test_the_shipped_policy_reads_with_the_shipped_model(tmp_path: Path) -> None:
    tiny = OLMoEIntegrationConfig(model_path=make_tiny(tmp_path / "tiny"))
    config = AthenaConfig().model_copy(update={"olmoe": tiny})
    seen = states()
    expected = [choice.log_probabilities for choice in run_policy(AthenaConfig()).choose(seen)]
    for model in (None, OLMoEModel(tiny).load()):
        found = run_policy(config, model).choose(seen)
        assert [choice.log_probabilities for choice in found] == expected


def test_a_policy_of_another_model_is_refused(tmp_path: Path) -> None:
    config = with_memory(policy="trained", policy_path=shipped_policy())
    other = config.olmoe.model_copy(update={"model_path": make_tiny(tmp_path / "tiny")})
    config = config.model_copy(update={"olmoe": other})
    with pytest.raises(CheckpointError, match="backbone"):
        run_policy(config)
    with pytest.raises(CheckpointError, match="is no memory policy"):
        run_policy(with_memory(policy="trained", policy_path=tmp_path / "nowhere"))
