"""Pre-training of the small model: one loop over rows of tokens, resumable at any checkpoint.

Owns the order of the tokens, the loss and the schedule. Everything follows from the preset, the seed and the
rows, so a build that was interrupted and resumed ends like one that was not. Refuses to know where texts
come from.

Known weakness: documents are packed into rows and may see the ones before them in the row.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.errors import CheckpointError
from core.files import write_atomic
from models.device import experts_implementation
from training.nano.preset import Preset

if TYPE_CHECKING:
    import torch
    from transformers import OlmoeConfig, OlmoeForCausalLM

TokenArray = npt.NDArray[np.uint16]

LOG = logging.getLogger(__name__)
LOG_EVERY_STEPS = 50
CHECKPOINT_EVERY_STEPS = 200
FINAL_RATE_FRAC = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Shapes: `tokens` [R, T + 1]. `answers` are the token ids of the buckets, `colon` the id before them."""

    tokens: TokenArray
    answers: tuple[int, ...]
    colon: int


def olmoe_config(preset: Preset, end_of_text: int, padding: int) -> OlmoeConfig:
    """The transformers config of a preset, every shape named."""
    from transformers import OlmoeConfig

    return OlmoeConfig(
        vocab_size=preset.vocabulary,
        hidden_size=preset.hidden_size,
        intermediate_size=preset.intermediate_size,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.heads,
        hidden_act="silu",
        max_position_embeddings=preset.context_tokens,
        initializer_range=preset.initializer_range,
        rms_norm_eps=1e-5,
        use_cache=True,
        pad_token_id=padding,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_bias=False,
        attention_dropout=0.0,
        clip_qkv=None,
        num_experts_per_tok=preset.experts_per_token,
        num_experts=preset.experts,
        output_router_logits=False,
        router_aux_loss_coef=preset.router_loss_weight,
        norm_topk_prob=True,
    )


def pack(documents: Sequence[Sequence[int]], end_of_text: int, context_tokens: int) -> TokenArray:
    """Documents in their order, each after an end-of-text token, as rows [R, context + 1] that overlap by
    one token; the rest that fills no row is dropped."""
    length = sum(len(document) + 1 for document in documents)
    stream = np.empty(length, dtype=np.uint16)
    place = 0
    for document in documents:
        stream[place] = end_of_text
        stream[place + 1 : place + 1 + len(document)] = document
        place += len(document) + 1
    count = (length - 1) // context_tokens
    starts = np.arange(count)[:, None] * context_tokens
    result: TokenArray = stream[starts + np.arange(context_tokens + 1)]
    return result


def rate_frac(step: int, steps: int, warmup_frac: float) -> float:
    """The learning rate at a step as a fraction of its peak: up in a line, then down along a cosine."""
    warmup = max(1, round(steps * warmup_frac))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return FINAL_RATE_FRAC + (1 - FINAL_RATE_FRAC) * 0.5 * (1 + math.cos(math.pi * done))


def pretrain(
    preset: Preset,
    rows: Rows,
    config: OlmoeConfig,
    *,
    seed: int,
    folder: Path,
    advance: Callable[[int, int | None, str], None] | None = None,
) -> OlmoeForCausalLM:
    """Train from the seed, or go on from the checkpoint in `folder`; one pass over the rows in their order.

    Writes `folder/checkpoint.safetensors` every 200 steps and at the end, and one line to
    `folder/loss.jsonl` every 50.
    Raises: CheckpointError when the checkpoint is another build's.
    """
    import torch
    from transformers import OlmoeForCausalLM
    from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

    torch.manual_seed(seed)
    model = OlmoeForCausalLM(config)
    model.set_experts_implementation(experts_implementation())
    optimizer = _optimizer(model, preset)
    steps = len(rows.tokens) // preset.batch_rows
    folder.mkdir(parents=True, exist_ok=True)
    begin = resume(folder, model, optimizer, steps, seed)
    answers = torch.tensor(rows.answers)
    started, seen = time.monotonic(), 0
    model.train()
    for step in range(begin, steps):
        batch = rows.tokens[step * preset.batch_rows : (step + 1) * preset.batch_rows]
        tokens_BT = torch.from_numpy(batch.astype(np.int64))
        inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        weight_BT = torch.ones(targets_BT.shape)
        weight_BT[torch.isin(targets_BT, answers) & (inputs_BT == rows.colon)] = (
            preset.answer_weight
        )
        for group in optimizer.param_groups:
            group["lr"] = preset.learning_rate * rate_frac(step, steps, preset.warmup_frac)
        output = model(input_ids=inputs_BT, output_router_logits=True, use_cache=False)
        loss_BT = torch.nn.functional.cross_entropy(
            output.logits.flatten(0, 1), targets_BT.flatten(), reduction="none"
        ).view(targets_BT.shape)
        balance: Any = load_balancing_loss_func(
            output.router_logits, preset.experts, preset.experts_per_token
        )
        loss = (loss_BT * weight_BT).sum() / weight_BT.sum()
        optimizer.zero_grad(set_to_none=True)
        (loss + preset.router_loss_weight * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += targets_BT.numel()
        if (step + 1) % LOG_EVERY_STEPS == 0 or step + 1 == steps:
            plain, aside = float(loss_BT.detach().mean()), float(balance.detach())
            _log(folder, step + 1, seen / (time.monotonic() - started), plain, aside)
            if advance is not None:
                advance(step + 1, steps, f"loss {plain:.3f}")
        if (step + 1) % CHECKPOINT_EVERY_STEPS == 0 or step + 1 == steps:
            save_checkpoint(folder, model, optimizer, step=step + 1, steps=steps, seed=seed)
    return model.eval()


def _optimizer(model: OlmoeForCausalLM, preset: Preset) -> torch.optim.AdamW:
    """AdamW; norms are not decayed. Source: Loshchilov and Hutter (arXiv 1711.05101)."""
    import torch

    matrices = [each for each in model.parameters() if each.dim() > 1]
    vectors = [each for each in model.parameters() if each.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": preset.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=preset.learning_rate, betas=(0.9, 0.95), eps=1e-8)


def _log(folder: Path, step: int, tokens_per_second: float, loss: float, balance: float) -> None:
    """`balance` is 2 (the experts per token) where all experts carry the same load."""
    row = {
        "step": step,
        "loss": round(loss, 4),
        "router_balance": round(balance, 4),
        "tokens_per_second": round(tokens_per_second),
    }
    LOG.info("step %d: loss %.3f, %.0f tokens/s", step, loss, tokens_per_second)
    with open(folder / "loss.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def save_checkpoint(
    folder: Path,
    model: OlmoeForCausalLM,
    optimizer: torch.optim.AdamW,
    *,
    step: int,
    steps: int,
    seed: int,
) -> None:
    """Weights and optimizer moments in one safetensors file, replaced atomically."""
    from safetensors.torch import save

    tensors = {f"model.{name}": each.detach().clone() for name, each in model.named_parameters()}
    for name, parameter in model.named_parameters():
        moments = optimizer.state[parameter]
        tensors[f"first.{name}"] = moments["exp_avg"].clone()
        tensors[f"second.{name}"] = moments["exp_avg_sq"].clone()
    about = {"step": str(step), "steps": str(steps), "seed": str(seed)}
    write_atomic(folder / "checkpoint.safetensors", save(tensors, metadata=about))


def resume(
    folder: Path, model: OlmoeForCausalLM, optimizer: torch.optim.AdamW, steps: int, seed: int
) -> int:
    """Put the checkpoint of this folder, if there is one, into model and optimizer; the step it ended at."""
    import torch
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        about = file.metadata()
        if (about["steps"], about["seed"]) != (str(steps), str(seed)):
            raise CheckpointError(
                f"{path} is of a build with {about['steps']} steps and seed {about['seed']}; this one "
                f"has {steps} and {seed}.",
                "Remove that folder to begin anew.",
            )
        step = int(about["step"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": file.get_tensor(f"first.{name}"),
                    "exp_avg_sq": file.get_tensor(f"second.{name}"),
                }
    LOG.warning("going on from step %d of %d", step, steps)
    return step
