from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest
import torch

from core.config import OLMoEIntegrationConfig
from core.errors import CheckpointError, ModelError, ModelNotLoaded, StorageError
from models.attention import share_beginnings
from models.olmoe import ACTIONS, OLMoEModel
from tests.models.conftest import TEXTS, make_tiny


def padded_means(model: OLMoEModel, texts: tuple[str, ...]) -> torch.Tensor:
    """What the bare transformers model gives with right padding, a 2-D mask and a mean by hand."""
    ids = model.tokenizer.encode_batch(texts)
    longest = max(map(len, ids))
    tokens = torch.tensor([each + [1] * (longest - len(each)) for each in ids])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in ids])
    states = model.backbone.model(
        input_ids=tokens, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


# --- before load


def test_before_load_everything_says_that_the_model_is_not_loaded() -> None:
    model = OLMoEModel()
    assert model.action_head is None
    asks = (
        lambda: model.encode("x"),
        lambda: model.encode_batch(["x"]),
        lambda: model.encode_cached(["x"]),
        lambda: model.score("x", [" y"]),
        lambda: list(model.parameters()),
        lambda: asyncio.run(model.generate("x")),
        lambda: asyncio.run(model.embed("x")),
    )
    for ask in asks:
        with pytest.raises(ModelNotLoaded, match="Model not loaded"):
            ask()
    with pytest.raises(RuntimeError):
        model.encode("x")


# --- text to vectors


def test_encode_is_the_mean_of_the_last_hidden_states(model: OLMoEModel) -> None:
    vector = model.encode(TEXTS[0])
    assert vector.shape == (16,)
    assert vector.device == model.device
    torch.testing.assert_close(vector, padded_means(model, TEXTS[:1])[0], atol=1e-5, rtol=0)


def test_a_batch_gives_the_rows_of_encode_whatever_the_lengths(model: OLMoEModel) -> None:
    alone = torch.stack([model.encode(text) for text in TEXTS])
    torch.testing.assert_close(model.encode_batch(TEXTS), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded_means(model, TEXTS), alone, atol=1e-5, rtol=0)


def test_the_order_of_a_batch_never_matters(model: OLMoEModel) -> None:
    rows = model.encode_batch(TEXTS)
    order = [3, 0, 4, 2, 1]
    shuffled = model.encode_batch([TEXTS[index] for index in order])
    torch.testing.assert_close(shuffled, rows[order], atol=1e-5, rtol=0)


def test_texts_of_one_length_and_long_batches_give_the_same_rows(
    model: OLMoEModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.testing.assert_close(
        model.encode_batch([TEXTS[0]] * 3), model.encode(TEXTS[0]).expand(3, -1), atol=1e-5, rtol=0
    )
    whole = model.encode_batch(TEXTS)
    monkeypatch.setattr("models.olmoe.TOKENS_PER_PASS", 20)
    torch.testing.assert_close(model.encode_batch(TEXTS), whole, atol=1e-5, rtol=0)


def test_packing_has_the_gradients_of_padding(model: OLMoEModel) -> None:
    weight = model.backbone.model.layers[0].self_attn.q_proj.weight
    experts = model.backbone.model.layers[1].mlp.experts.down_proj
    grads = []
    for rows in (model.encode_batch(TEXTS), padded_means(model, TEXTS)):
        weights = torch.linspace(-1.0, 1.0, rows.numel()).view_as(rows)
        grads.append(torch.autograd.grad((rows * weights).sum(), [weight, experts]))
    for packed, padded in zip(*grads, strict=True):
        assert float(padded.abs().max()) > 1e-3
        torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


def test_what_texts_have_in_common_at_their_beginnings_is_encoded_once(
    model: OLMoEModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = [f"the share rose by {number} points" for number in range(9)]
    texts = [f"{note} | kept {kept}" for note in notes for kept in ("same", "other, filing", "")]
    ids = sorted(model.tokenizer.encode_batch(texts), key=len, reverse=True)
    tokens, positions, places = share_beginnings(ids)
    assert [[tokens[place] for place in each] for each in places] == ids
    assert all([positions[p] for p in each] == list(range(len(each))) for each in places)
    assert len(tokens) == len({tuple(each[: n + 1]) for each in ids for n in range(len(each))})
    alone = torch.stack([model.encode(text) for text in texts])
    for limit in (8192, 40):
        monkeypatch.setattr("models.olmoe.TOKENS_PER_PASS", limit)
        torch.testing.assert_close(model.encode_batch(texts), alone, atol=1e-5, rtol=0)
    weight = model.backbone.model.layers[0].self_attn.k_proj.weight
    weights = torch.linspace(-1.0, 1.0, alone.numel()).view_as(alone)
    shared, apart = (
        torch.autograd.grad((rows * weights).sum(), weight)[0]
        for rows in (model.encode_batch(texts), alone)
    )
    assert float(apart.abs().max()) > 1e-3
    torch.testing.assert_close(shared, apart, atol=1e-5, rtol=1e-4)


def test_an_empty_text_and_a_text_longer_than_the_context_have_vectors(model: OLMoEModel) -> None:
    end = torch.tensor([[0]])
    alone = model.backbone.model(input_ids=end, use_cache=False).last_hidden_state[0, 0]
    torch.testing.assert_close(model.encode(""), alone, atol=1e-5, rtol=0)
    long = "a share " * 200
    ids = model.tokenizer.encode(long)[: model.context_tokens]
    states = model.backbone.model(input_ids=torch.tensor([ids]), use_cache=False)
    torch.testing.assert_close(
        model.encode(long), states.last_hidden_state[0].mean(0), atol=1e-5, rtol=0
    )


def test_no_texts_are_no_rows(model: OLMoEModel) -> None:
    assert model.encode_batch([]).shape == (0, 16)


def test_special_tokens_in_a_text_stay_text(model: OLMoEModel) -> None:
    assert 0 not in model.tokenizer.encode("a <|endoftext|> b")
    assert (
        model.tokenizer.decode(model.tokenizer.encode("a <|endoftext|> b")) == "a <|endoftext|> b"
    )


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|padding|>"])
async def test_no_special_token_of_a_user_reaches_the_model(model: OLMoEModel, token: str) -> None:
    special = {0, 1}
    text = f"profit {token}{token} rose"
    assert not special & set(model.tokenizer.encode(text))
    assert model.tokenizer.count(text) == len(model.tokenizer.encode(text))
    for cut in range(1, model.tokenizer.count(text)):
        assert not special & set(model.tokenizer.encode(model.tokenizer.truncate(text, cut)))
    plain = model.encode(text).detach()
    ids = [*model.tokenizer.encode("profit "), 0, 0, *model.tokenizer.encode(" rose")]
    with torch.no_grad():
        ended = model.backbone.model(input_ids=torch.tensor([ids]), use_cache=False)
    assert float((ended.last_hidden_state[0].mean(0) - plain).abs().max()) > 1e-2
    assert model.score("x", [f" {token}", " rise"]).isfinite().all()
    assert isinstance(await model.generate(text, max_tokens=3), str)


def test_half_a_surrogate_pair_is_read_as_a_question_mark(model: OLMoEModel) -> None:
    assert model.tokenizer.encode("a\ud800b") == model.tokenizer.encode("a?b")
    assert model.tokenizer.count("a\ud800b") == model.tokenizer.count("a?b")
    assert model.tokenizer.truncate("\ud800 \ud800 \ud800", 1) == "\ud800"
    torch.testing.assert_close(model.encode("\ud800"), model.encode("?"))


def test_gradient_reaches_backbone_and_head_as_finite_differences_say(model: OLMoEModel) -> None:
    head = model.action_head
    assert head is not None
    model.backbone.double().set_experts_implementation("eager")
    head.double()

    def chosen() -> torch.Tensor:
        embedding = model.encode(TEXTS[0])
        normed = head.norm(embedding)
        logits: torch.Tensor = head.out(torch.nn.functional.gelu(head.hidden(normed)))
        return logits.log_softmax(-1)[2]

    chosen().backward()
    step = 1e-5  # transformers' norms compute in float32: a smaller step drowns in rounding
    for parameter in (
        model.backbone.model.embed_tokens.weight,
        model.backbone.model.layers[0].self_attn.v_proj.weight,
        head.hidden.weight,
    ):
        assert parameter.grad is not None
        place = divmod(int(parameter.grad.abs().argmax()), parameter.shape[1])
        with torch.no_grad():
            parameter[place] += step
            above = float(chosen())
            parameter[place] -= 2 * step
            below = float(chosen())
            parameter[place] += step
        measured = (above - below) / (2 * step)
        assert measured == pytest.approx(float(parameter.grad[place]), rel=1e-2)
        assert abs(measured) > 1e-3


# --- the cache


def test_the_cache_gives_the_same_rows_and_no_gradient(model: OLMoEModel) -> None:
    rows = model.encode_cached(TEXTS)
    assert not rows.requires_grad
    assert torch.equal(rows, model.encode_cached(TEXTS))
    torch.testing.assert_close(rows, model.encode_batch(TEXTS), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.encode_cached([TEXTS[3], "new"])[0], rows[3])


def test_a_changed_weight_empties_the_cache(model: OLMoEModel) -> None:
    before = model.encode_cached(TEXTS[:1])
    with torch.no_grad():
        model.backbone.model.norm.weight.mul_(2.0)
    assert model.changed
    torch.testing.assert_close(model.encode_cached(TEXTS[:1]), 2.0 * before)


def test_a_cached_vector_can_train_a_head(model: OLMoEModel) -> None:
    head = model.action_head
    assert head is not None
    head(model.encode_cached(TEXTS)).sum().backward()
    assert head.hidden.weight.grad is not None


async def test_embed_gives_plain_floats(model: OLMoEModel) -> None:
    vector = await model.embed(TEXTS[0])
    assert vector == pytest.approx(model.encode(TEXTS[0]).tolist(), abs=1e-6)
    assert isinstance(vector[0], float)


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizers_step_empties_the_cache_fused_or_not(model: OLMoEModel, fused: bool) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    before, hashed = model.encode_cached(TEXTS), model.backbone_hash
    model.encode_batch(TEXTS).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(
        model.encode_cached(TEXTS), model.encode_batch(TEXTS), atol=1e-5, rtol=0
    )
    assert float((model.encode_cached(TEXTS) - before).abs().max()) > 1e-3
    assert model.changed
    assert model.backbone_hash != hashed


def test_a_step_of_the_head_alone_keeps_the_cache(model: OLMoEModel) -> None:
    head = model.action_head
    assert head is not None
    model.freeze()
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, fused=True)
    model.encode_cached(TEXTS)
    version, hashed = model._version(), model.backbone_hash
    head(model.encode_cached(TEXTS)).square().sum().backward()
    optimizer.step()
    assert (model._version(), model.backbone_hash) == (version, hashed)


async def test_many_asks_at_once_get_their_own_vectors(model: OLMoEModel) -> None:
    texts = [f"a share rose {number} percent" for number in range(12)] * 4
    for _ in range(5):
        found = await asyncio.gather(*(model.embed(text) for text in texts))
        for text, vector in zip(texts, found, strict=True):
            assert vector == pytest.approx(model.encode(text).tolist(), abs=1e-5), text
        with torch.no_grad():
            model.backbone.model.norm.weight.mul_(1.1)  # the cache begins anew


async def test_asks_with_and_without_an_adapter_do_not_mix(model: OLMoEModel) -> None:
    base = model.encode(TEXTS[0]).detach()
    model.add_lora(rank=2)
    train_a_little(model)
    trained = model.encode(TEXTS[0]).detach()
    assert float((trained - base).abs().max()) > 1e-3

    def without() -> torch.Tensor:
        with model.without_adapter():
            return model.encode(TEXTS[0]).detach()

    for _ in range(15):
        asks = [asyncio.to_thread(each) for each in (without, lambda: model.encode(TEXTS[0])) * 3]
        for number, vector in enumerate(await asyncio.gather(*asks)):
            expected = trained if number % 2 else base
            torch.testing.assert_close(vector.detach(), expected, atol=1e-5, rtol=0)


# --- scores and text


def by_hand(model: OLMoEModel, prompt: str, continuation: str) -> float:
    """Log-probability from one plain pass over prompt and continuation."""
    front = [0, *model.tokenizer.encode(prompt)]
    ids = model.tokenizer.encode(continuation)
    with torch.no_grad():
        logits = model.backbone(input_ids=torch.tensor([front + ids]), use_cache=False).logits[0]
    logs = logits.log_softmax(-1)
    return sum(float(logs[len(front) - 1 + n, token]) for n, token in enumerate(ids))


OPTIONS = (" rise", " fall again and again", " flat", " 12.5 percent")


def test_scores_are_those_of_whole_passes(model: OLMoEModel) -> None:
    scores = model.score(TEXTS[0], OPTIONS)
    assert scores.tolist() == pytest.approx(
        [by_hand(model, TEXTS[0], option) for option in OPTIONS], abs=1e-4
    )


def test_scores_of_single_tokens_and_of_many_prompts_agree(model: OLMoEModel) -> None:
    single = (" rise", " fall", " flat")
    assert all(len(model.tokenizer.encode(option)) == 1 for option in single)
    table = model.score_batch(TEXTS, single)
    for row, text in zip(table, TEXTS, strict=True):
        torch.testing.assert_close(row, model.score(text, single), atol=1e-5, rtol=0)
    mixed = model.score_batch(TEXTS[:2], OPTIONS)
    torch.testing.assert_close(mixed[1], model.score(TEXTS[1], OPTIONS))
    assert model.score_batch([], single).shape == (0, 3)


def test_a_continuation_without_tokens_is_refused(model: OLMoEModel) -> None:
    with pytest.raises(ValueError, match="no token"):
        model.score("x", [" rise", ""])
    with pytest.raises(ValueError, match="no continuation"):
        model.score("x", [])


def test_a_continuation_as_long_as_the_context_is_refused(model: OLMoEModel) -> None:
    long = model.tokenizer.truncate(" rise" * 200, 63)
    assert len(model.tokenizer.encode(long)) == 63
    with torch.no_grad():
        scores = model.score("x", [long, " rise"])
    assert scores.isfinite().all()
    for ask in (
        lambda: model.score("x", [" rise" * 64]),
        lambda: model.score_batch(["x", "y"], [" rise" * 64]),
    ):
        with pytest.raises(ValueError, match="has 64 tokens; at most 63 leave room for a prompt"):
            ask()


def test_a_prompt_longer_than_the_context_loses_its_beginning(model: OLMoEModel) -> None:
    words = model.tokenizer.encode("x " * 200)
    kept = model.tokenizer.decode(words[-(64 - 1 - 1) :])
    assert model.score("x " * 200, [" rise"]).tolist() == pytest.approx(
        [by_hand(model, kept, " rise")], abs=1e-4
    )


async def test_generate_with_a_cache_writes_what_whole_passes_write(model: OLMoEModel) -> None:
    ids = [0, *model.tokenizer.encode("a share")]
    front = len(ids)
    for _ in range(8):
        logits = model.backbone(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] == 0:
            ids.pop()
            break
    written = await model.generate("a share", max_tokens=8)
    assert written == model.tokenizer.decode(ids[front:])


async def test_generate_draws_by_its_seed_and_stops_where_it_is_told(model: OLMoEModel) -> None:
    drawn = [
        await model.generate("x", temperature=2.0, seed=seed, max_tokens=20) for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    stop = drawn[0][3:5]
    cut = await model.generate("x", temperature=2.0, seed=1, max_tokens=20, stop=stop)
    assert cut == drawn[0][: drawn[0].index(stop)]
    with pytest.raises(ValueError, match="max_tokens is 64"):
        await model.generate("x", max_tokens=64)
    with pytest.raises(ValueError, match="temperature"):
        await model.generate("x", max_tokens=8, temperature=-1.0)


# --- the head


def test_the_head_has_an_operation_each_and_doing_nothing(model: OLMoEModel) -> None:
    head = model.action_head
    assert head is not None
    assert ACTIONS == ("add", "update", "delete", "retrieve", "summary", "filter", "none")
    assert head(model.encode("x")).shape == (7,)
    assert head(model.encode_batch(TEXTS)).shape == (5, 7)
    assert next(head.parameters()).device == model.device


def test_the_head_takes_features_and_a_mask(model: OLMoEModel) -> None:
    from models.olmoe import MemoryActionHead

    head = MemoryActionHead(16, feature_size=3)
    model.set_action_head(head)
    rows = model.encode_batch(TEXTS)
    features = torch.ones(5, 3)
    with_features, without = head(rows, features), head(rows)
    assert not torch.allclose(with_features, without)
    assert torch.equal(without, head(rows, torch.zeros(5, 3)))
    mask = torch.tensor([True, False, True, True, True, True, True])
    assert head(rows, features, mask).softmax(-1)[:, 1].max() == 0.0
    with pytest.raises(ValueError, match="2 features for a head that takes 3"):
        head(rows, torch.ones(5, 2))
    with pytest.raises(CheckpointError, match="embeddings of 8"):
        model.set_action_head(MemoryActionHead(8))


def test_a_gated_head_learns_one_sort_of_event_without_disturbing_the_other(
    model: OLMoEModel,
) -> None:
    from models.olmoe import MemoryActionHead

    head = MemoryActionHead(16, feature_size=3, width=8, gate=1)
    rows, features = model.encode_batch(TEXTS), torch.zeros(5, 3)
    features[:2, 1] = 1.0
    logits = head(rows, features)
    assert head.second is not None
    first = MemoryActionHead(16, feature_size=3, width=8)
    first.load_state_dict({k: v for k, v in head.state_dict().items() if "second" not in k})
    added = head.second(rows, features)
    assert torch.equal(logits[:2], (first(rows, features) + added)[:2])
    assert torch.equal(logits[2:], first(rows, features)[2:])
    logits[:2].sum().backward()
    assert head.second.hidden.weight.grad is not None
    assert head.hidden.weight.grad is None or not head.hidden.weight.grad.any()
    with pytest.raises(ValueError, match="feature 3 of 3"):
        MemoryActionHead(16, feature_size=3, gate=3)


def test_a_gated_head_is_saved_with_its_gate(model: OLMoEModel, tmp_path: Path) -> None:
    from models.olmoe import MemoryActionHead

    model.set_action_head(MemoryActionHead(16, feature_size=3, width=8, gate=1))
    model.save(tmp_path / "copy")
    again = OLMoEModel(OLMoEIntegrationConfig(model_path=tmp_path / "copy")).load()
    rows, features = model.encode_batch(TEXTS), torch.ones(5, 3)
    assert model.action_head is not None
    assert again.action_head is not None
    assert again.action_head.gate == 1
    assert torch.equal(again.action_head(rows, features), model.action_head(rows, features))


# --- dtype, saving, state


def test_the_head_stays_in_float32_whatever_the_backbone(tiny_folder: Path) -> None:
    config = OLMoEIntegrationConfig(model_path=tiny_folder, dtype="bfloat16", device="cpu")
    model = OLMoEModel(config).load()
    assert model.dtype == torch.bfloat16
    vector = model.encode(TEXTS[0]).detach()
    assert vector.dtype == torch.bfloat16
    assert model.action_head is not None
    assert model.action_head(vector).dtype == torch.float32
    whole = OLMoEModel(OLMoEIntegrationConfig(model_path=tiny_folder)).load()
    exact = whole.encode(TEXTS[0]).detach()
    assert float((vector.float() - exact).abs().max()) < 0.2


def test_a_saved_model_gives_identical_logits_and_actions(
    model: OLMoEModel, tmp_path: Path
) -> None:
    tokens = torch.tensor([model.tokenizer.encode(TEXTS[4])])
    assert model.action_head is not None
    with torch.no_grad():
        model.action_head.out.bias.copy_(torch.arange(7.0))
        model.backbone.model.norm.weight.mul_(1.5)
    model.save(tmp_path / "copy")
    again = OLMoEModel().load(tmp_path / "copy")
    assert torch.equal(model.backbone(tokens).logits, again.backbone(tokens).logits)
    assert again.action_head is not None
    assert torch.equal(model.action_head(model.encode("x")), again.action_head(again.encode("x")))
    assert again.training_cutoff == model.training_cutoff
    assert not again.changed


def test_saving_twice_gives_the_same_bytes(model: OLMoEModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        model.save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_changed_model_has_one_hash_before_it_is_saved_and_after(
    model: OLMoEModel, tmp_path: Path
) -> None:
    original = model.backbone_hash
    norm = model.backbone.model.norm.weight
    before = norm.detach().clone()
    with torch.no_grad():
        norm.mul_(1.5)
    changed = model.backbone_hash
    assert changed != original
    model.save(tmp_path / "copy")
    assert OLMoEModel().load(tmp_path / "copy").backbone_hash == changed == model.backbone_hash
    with torch.no_grad():
        norm.copy_(before)
    assert model.backbone_hash == original


def test_saving_without_a_head_leaves_no_old_one(model: OLMoEModel, tmp_path: Path) -> None:
    assert model.action_head is not None
    with torch.no_grad():
        model.action_head.out.bias.add_(5.0)
    model.save(tmp_path)
    kept = OLMoEModel().load(tmp_path).action_head
    model.save(tmp_path, head=False)
    fresh = OLMoEModel().load(tmp_path).action_head
    assert kept is not None
    assert fresh is not None
    assert kept.out.bias.tolist() == [5.0] * 7
    assert fresh.out.bias.tolist() == [0.0] * 7


def test_a_disk_that_is_full_leaves_the_saved_model_as_it_was(
    model: OLMoEModel, tmp_path: Path
) -> None:
    model.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.backbone.model.norm.weight.mul_(1.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match=r"model\.safetensors failed: File too large"):
            model.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_state_covers_backbone_and_head_and_comes_back(model: OLMoEModel) -> None:
    before = {name: each.clone() for name, each in model.state_dict().items()}
    assert {name.partition(".")[0] for name in before} == {"backbone", "head"}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.load_state_dict(before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_state_that_does_not_fit_changes_nothing(model: OLMoEModel) -> None:
    before = {name: each.clone() for name, each in model.state_dict().items()}
    first = next(iter(before))
    for wrong, message in (
        ({name: each for name, each in before.items() if name != first}, "1 names are missing"),
        ({**before, first: before[first][:1]}, "has shape"),
        ({**before, first: before[first] * torch.nan}, "not finite"),
        ({**before, "more": torch.ones(1)}, "1 unknown"),
    ):
        with pytest.raises(CheckpointError, match=message):
            model.load_state_dict(wrong)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_a_frozen_backbone_leaves_the_head_to_train(model: OLMoEModel) -> None:
    model.freeze()
    assert all(name.startswith("head.") for name, _ in model.named_parameters())
    model.freeze(False)
    assert any(name.startswith("backbone.") for name, _ in model.named_parameters())


# --- adapters


@pytest.mark.parametrize("experts", [False, True], ids=["attention", "experts"])
def test_an_adapter_changes_the_output_and_leaves_the_base(
    model: OLMoEModel, tmp_path: Path, experts: bool
) -> None:
    base = model.encode(TEXTS[0]).detach()
    weights = {name: each.clone() for name, each in model.backbone.state_dict().items()}
    hashed = model.backbone_hash
    model.add_lora(rank=2, experts=experts)
    torch.testing.assert_close(model.encode(TEXTS[0]), base, atol=1e-5, rtol=0)
    assert all("lora_" in name or name.startswith("head.") for name, _ in model.named_parameters())
    assert any("experts" in name for name, _ in model.named_parameters()) == experts
    train_a_little(model)
    trained = model.encode(TEXTS[0]).detach()
    assert float((trained - base).abs().max()) > 1e-3
    with model.without_adapter():
        torch.testing.assert_close(model.encode(TEXTS[0]), base, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.encode_cached(TEXTS[:1])[0], base, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_cached(TEXTS[:1])[0], trained, atol=1e-5, rtol=0)
    assert model.backbone_hash == hashed
    own = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): each
        for name, each in model.backbone.state_dict().items()
        if "lora_" not in name
    }
    for name, value in own.items():
        assert torch.equal(value, weights[name]), name

    model.save_lora(tmp_path / "adapter")
    again = OLMoEModel(model.config).load()
    again.load_lora(tmp_path / "adapter")
    torch.testing.assert_close(again.encode(TEXTS[0]), trained, atol=1e-6, rtol=0)
    again.merge()
    torch.testing.assert_close(again.encode(TEXTS[0]), trained, atol=1e-5, rtol=0)
    assert again.backbone_hash != hashed
    assert not again.has_adapter


def train_a_little(model: OLMoEModel) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model.encode(TEXTS[0]).square().sum().backward()
        optimizer.step()


def test_an_adapter_of_another_backbone_is_refused(model: OLMoEModel, tmp_path: Path) -> None:
    model.add_lora(rank=2)
    model.save_lora(tmp_path / "adapter")
    other = OLMoEModel().load(make_tiny(tmp_path / "other", seed=1))
    with pytest.raises(CheckpointError, match="trained on the backbone"):
        other.load_lora(tmp_path / "adapter")
    assert not other.has_adapter


def test_a_damaged_or_missing_adapter_is_refused(model: OLMoEModel, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no adapter"):
        model.load_lora(tmp_path)
    model.add_lora(rank=2)
    model.save_lora(tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"x" * 100)
    again = OLMoEModel(model.config).load()
    with pytest.raises(CheckpointError, match="not the file that its manifest names"):
        again.load_lora(tmp_path)


def test_adapters_are_told_apart(model: OLMoEModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter to save"):
        model.save_lora(tmp_path)
    with pytest.raises(ModelError, match="no adapter to merge"):
        model.merge()
    model.add_lora(rank=2)
    with pytest.raises(ModelError, match="adapter already"):
        model.add_lora(rank=2)
    with pytest.raises(ModelError, match="an adapter is attached"):
        model.save(tmp_path / "model")
