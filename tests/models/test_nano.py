"""The model that is shipped: whole, small, and as good as its card says."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import OLMoEIntegrationConfig
from models.folder import NANO_FOLDER, open_folder
from models.olmoe import OLMoEModel
from models.render import BUCKETS
from tests.conftest import ROOT
from training.nano.tokenizer import MARKET_WORDS


@pytest.fixture(scope="module")
def nano() -> OLMoEModel:
    return OLMoEModel(OLMoEIntegrationConfig(device="cpu")).load()


def test_the_files_are_whole_and_small() -> None:
    folder = open_folder(NANO_FOLDER)
    size = sum(path.stat().st_size for path in NANO_FOLDER.iterdir())
    total, active = folder.weight_counts()
    assert size < 12_000_000
    assert 700_000 <= total <= 3_000_000
    assert active < total
    assert str(folder.training_cutoff) == "2007-12-31"


def test_the_card_says_what_is_in_it_and_up_to_when() -> None:
    folder = open_folder(NANO_FOLDER)
    card = (NANO_FOLDER / "README.md").read_text()
    corpus = json.loads((NANO_FOLDER / "training-log.json").read_text())["corpus"]
    total, active = folder.weight_counts()
    assert f"{total / 1e6:.2f} million weights, of which a token passes {active / 1e6:.2f}" in card
    assert f"**Training cut-off: {folder.training_cutoff}.**" in card
    real = 7616
    assert f"| {real:,} narratives of AAPL and IBM" in card
    assert f"| {corpus['narratives'] - real:,} narratives of 1,300 simulated paths" in card
    assert f"{corpus['narrative_tokens'] / 1e6:.2f} million together" in card
    assert f"| {corpus['prose_tokens'] / 1e6:.2f} million |" in card
    sources = (ROOT / "training/nano/prose/README.md").read_text()
    for name in ("WordNet 3.0", "The Devil's Dictionary", "The Jargon File"):
        assert name in sources
        assert name in card
    assert "Permission to use, copy, modify and distribute" in sources


def test_its_shape_is_the_issues(nano: OLMoEModel) -> None:
    config = nano.backbone.config
    assert config.num_experts >= 8
    assert config.num_experts_per_tok == 2
    assert config.max_position_embeddings >= 512
    assert config.norm_topk_prob
    assert config.vocab_size == nano.tokenizer.size == 2048


def test_market_words_are_whole_and_numbers_are_digits(nano: OLMoEModel) -> None:
    for word in MARKET_WORDS:
        assert len(nano.tokenizer.encode(f" {word}")) == 1, word
    assert len(nano.tokenizer.encode(" 2007")) == 4


def test_a_reload_gives_identical_logits(nano: OLMoEModel, tmp_path: Path) -> None:
    copy = OLMoEModel().load(shutil.copytree(NANO_FOLDER, tmp_path / "nano"))
    nano.save(tmp_path / "saved", head=False)
    saved = OLMoEModel().load(tmp_path / "saved")
    tokens = torch.tensor([nano.tokenizer.encode("IBM rose 1.2 percent. Volume was heavy.")])
    logits = nano.backbone(tokens).logits
    assert torch.equal(logits, copy.backbone(tokens).logits)
    assert torch.equal(logits, saved.backbone(tokens).logits)


def test_it_goes_on_with_a_market_narrative(nano: OLMoEModel) -> None:
    text = asyncio.run(nano.generate("A share. Returns: +0.4 -0.2", max_tokens=70))
    assert " percent." in text
    assert "Volatility:" in text
    assert "Trend:" in text


def test_it_answers_its_question_with_a_bucket(nano: OLMoEModel) -> None:
    prompt = "A share. Returns: +0.4 -0.2 +1.0 +0.3 -0.5 percent.\nNext five days:"
    chances = nano.score(prompt, [f" {word}" for word in BUCKETS]).exp()
    assert float(chances.sum()) > 0.95
    assert float(chances.min()) > 0.05


def test_no_expert_is_dead(nano: OLMoEModel) -> None:
    from trading.sources.load import load_panel
    from training.data.split import VALIDATION, part_series
    from training.nano.corpus import prose, real_narratives
    from training.nano.evaluate import expert_load

    texts = list(real_narratives(part_series(load_panel(), VALIDATION), seed=1))[:60]
    loads = np.array(expert_load(nano, [*texts, *prose().validation[:30]]))
    assert loads.min() > 0.1 / loads.shape[1]
    assert loads.max() < 6.0 / loads.shape[1]


@pytest.mark.slow
def test_it_beats_climatology_on_simulated_paths_it_never_saw(nano: OLMoEModel) -> None:
    from training.nano.evaluate import forecast_table, simulated_cases

    table = forecast_table(
        nano, simulated_cases(1, paths=200, bars=400), simulated_cases(0), seed=0
    )
    gap = next(
        each
        for each in table.differences
        if (each.baseline, each.figure) == ("climatology", "log_score") and each.name == nano.name
    )
    assert gap.interval[0] > 0.0


@pytest.mark.slow
def test_it_beats_the_trigram_on_prose_and_narratives(nano: OLMoEModel) -> None:
    from trading.sources.load import load_panel
    from training.data.split import VALIDATION, part_series
    from training.nano.corpus import prose, real_narratives
    from training.nano.evaluate import perplexity
    from training.nano.prepare import narratives
    from training.nano.preset import NANO

    free, panel = prose(), load_panel()
    found = perplexity(nano, free.train, free.validation)
    assert found.model <= 0.9 * found.trigram
    told = list(real_narratives(part_series(panel, VALIDATION), seed=1))
    found = perplexity(nano, narratives(NANO, panel, 0), told)
    assert found.model <= 0.9 * found.trigram
