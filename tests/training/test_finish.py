"""The last part of a build: answers are chances, counted over continuations of simulated paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.state import HORIZON_BARS, WARM_UP_BARS, StateNumbers, buckets
from tests.training.test_pretrain import TINY
from training.nano import finish as last_part
from training.nano.evaluate import SIMULATED_TEST_SEED
from training.nano.finish import (
    SEED_OFFSET,
    FinishRows,
    bucket_chances,
    finish_rows,
    finish_training,
    layer_balance,
    simulated_states,
)
from training.nano.preset import NANO, Finish
from training.nano.pretrain import olmoe_config
from training.nano.simulate import returns_ahead, simulate

FINISH = Finish(paths=4, bars=90, draws=50, row_tokens=8, batch_rows=4, learning_rate=0.02)


def test_chances_are_shares_of_the_buckets() -> None:
    # volatility 1/sqrt(5) makes the edges -0.84, -0.25, 0.25, 0.84; an edge itself belongs above
    ahead = np.array([[-0.9], [-0.3], [0.0], [0.25], [0.9], [0.9], [2.0], [0.1]])
    chances = bucket_chances(ahead, np.array([1.0 / np.sqrt(5.0)]))
    assert chances.tolist() == [[1 / 8, 1 / 8, 2 / 8, 1 / 8, 3 / 8]]


@pytest.mark.parametrize("jumps", [True, False])
def test_chances_foretell_what_the_paths_do_better_than_shares(*, jumps: bool) -> None:
    bar, count = 80, 3000
    paths = simulate(count, bar + HORIZON_BARS + 1, seed=5, jumps=jumps)
    volatility = np.array(
        [StateNumbers.of(close[: bar + 1]).volatility[-1] for close in paths.close.T]
    )
    chances = bucket_chances(returns_ahead(paths, bar, HORIZON_BARS, 300, seed=5), volatility)
    came = np.array([buckets(close)[bar] for close in paths.close.T])
    share = np.bincount(came, minlength=5) / count
    error = np.sqrt(share * (1 - share) / count)
    assert np.all(np.abs(chances.mean(axis=0) - share) < 4 * error)
    own = np.log(np.maximum(chances[np.arange(count), came], 1e-3)).mean()
    assert own > np.log(share[came]).mean() + 0.005


def test_a_continuation_is_the_same_for_a_seed_and_changes_nothing() -> None:
    paths = simulate(3, 90, seed=1)
    before = paths.variance.copy()
    first = returns_ahead(paths, 70, 5, 10, seed=2)
    assert np.array_equal(first, returns_ahead(paths, 70, 5, 10, seed=2))
    assert not np.array_equal(first, returns_ahead(paths, 70, 5, 10, seed=3))
    assert np.array_equal(before, paths.variance)


def test_states_are_masked_and_ask_the_forecasters_question() -> None:
    made = list(simulated_states(FINISH, seed=0))
    assert len(made) == 4 * len(range(WARM_UP_BARS, 85, 7))
    for each in made:
        assert each.text.startswith("A share. ")
        head, _, word = each.text.rpartition("\nNext five days: ")
        assert head
        assert word in ("plunge", "fall", "flat", "rise", "surge")
        assert sum(each.chances) == pytest.approx(1.0)
    assert made == list(simulated_states(FINISH, seed=0))


def test_its_paths_are_those_of_no_other_part() -> None:
    # pre-training takes the build's seed itself, evaluation SIMULATED_TEST_SEED and a little more
    assert 0 < SEED_OFFSET < SIMULATED_TEST_SEED - 100_000


def rows(count: int = 240) -> FinishRows:
    asked = [([7, 8, 9, 4], (0.1, 0.2, 0.4, 0.2, 0.1), 50.0)] * count
    return finish_rows(asked, [[11, 12, 13, 14, 15, 16] * 4], [[21] * 16], 0, FINISH, seed=0)


def trained(folder: Path, made: FinishRows) -> torch.nn.Module:
    from transformers import OlmoeForCausalLM

    torch.manual_seed(0)
    model = OlmoeForCausalLM(olmoe_config(TINY, 0, 1))
    return finish_training(TINY, model, made, (2, 3, 4, 5, 6), seed=0, finish=FINISH, folder=folder)


def test_rows_know_where_their_answer_stands() -> None:
    made = rows(10)
    states = made.answer_at >= 0
    assert states.sum() == 10
    assert np.all(made.tokens[states][:, :5] == [0, 7, 8, 9, 4])
    assert np.all(made.answer_at[states] == 3)  # the target behind token 9
    # three pieces of prose, two of narratives: as many as there are, up to a fifth of the states each
    assert len(made.tokens) == 10 + 2 + 2
    assert np.all(made.weight[~states] == 0.0)


def test_the_chances_are_learnt(tmp_path: Path) -> None:
    model = trained(tmp_path, rows())
    with torch.no_grad():
        logits = model(torch.tensor([[0, 7, 8, 9]])).logits[0, -1]
    told = logits.softmax(-1)[2:7].numpy()
    assert told == pytest.approx([0.1, 0.2, 0.4, 0.2, 0.1], abs=0.05)


def test_a_stopped_last_part_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_part, "CHECKPOINT_EVERY_STEPS", 10)
    whole = trained(tmp_path / "whole", rows()).state_dict()

    def stop(done: int, total: int | None, note: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(last_part, "LOG_EVERY_STEPS", 25)
    from transformers import OlmoeForCausalLM

    torch.manual_seed(0)
    model = OlmoeForCausalLM(olmoe_config(TINY, 0, 1))
    with pytest.raises(KeyboardInterrupt):
        finish_training(
            TINY,
            model,
            rows(),
            (2, 3, 4, 5, 6),
            seed=0,
            finish=FINISH,
            folder=tmp_path / "part",
            advance=stop,
        )
    resumed = trained(tmp_path / "part", rows()).state_dict()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_balance_counts_each_layer_on_its_own() -> None:
    # layer 0 uses experts 0 and 1 only, layer 1 experts 2 and 3 only: added up they look balanced
    low, high = torch.tensor([9.0, 9.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 9.0, 9.0])
    layers = [low.repeat(6, 1), high.repeat(6, 1)]
    real = torch.ones(6, dtype=torch.bool)
    preset = replace(NANO, experts=4, experts_per_token=2)
    assert float(layer_balance(layers, real, preset)) == pytest.approx(4.0, abs=0.01)
    even = [torch.stack([low, high] * 3), torch.stack([high, low] * 3)]
    assert float(layer_balance(even, real, preset)) == pytest.approx(2.0, abs=0.01)
