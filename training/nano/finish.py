"""The last part of a build: the question the forecaster asks, as it is asked.

Owns a short second training after `pretrain`: one masked state a row, after one end-of-text, its answer
weighing as much as all the other words together; narratives and prose keep the language. A simulated state is
answered by the chances of the five buckets, counted over many continuations of its path, since the one
outcome that came tells next to nothing: it carries 1.6 nats of noise, and there is a hundredth of a nat to be
learnt. A real state has its one outcome. The balance of the experts is taken layer by layer here. (`pretrain`
uses transformers' balance loss, which adds the layers up: an expert that is idle in one layer and busy in
another looks balanced to it.)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.render import BUCKETS, question, render
from models.state import EDGES, HORIZON_BARS, WARM_UP_BARS, StateNumbers, utc
from training.data.split import Series
from training.nano.preset import Finish, Preset
from training.nano.pretrain import CHECKPOINT_EVERY_STEPS, rate_frac, resume, save_checkpoint
from training.nano.simulate import returns_ahead, simulate

if TYPE_CHECKING:
    import torch
    from transformers import OlmoeForCausalLM

FloatArray = npt.NDArray[np.float64]
TokenArray = npt.NDArray[np.int64]

LOG = logging.getLogger(__name__)
SEED_OFFSET = 500_000
"""Simulated paths of their own, apart from those of pre-training and of evaluation."""
LOG_EVERY_STEPS = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """A state's text with one answer behind the question, and the chances of the five answers."""

    text: str
    chances: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FinishRows:
    """Shapes: `tokens` [R, T + 1]; `answer_at` [R], the place of the answer among the targets, -1 in other
    rows; `chances` [R, 5]; `weight` [R], of the answer."""

    tokens: TokenArray
    answer_at: TokenArray
    chances: FloatArray
    weight: FloatArray


def real_states(series: Sequence[Series]) -> Iterator[Asked]:
    """Every bar of real series, masked, with the outcome that came."""
    for each in series:
        for bar in range(max(each.first, WARM_UP_BARS), each.last + 1):
            answer = int(each.answers[bar])
            if answer < 0:
                continue
            state = each.numbers.at(bar, symbol=each.symbol, as_of=utc(each.times[bar]))
            chances = tuple(float(bucket == answer) for bucket in range(len(BUCKETS)))
            yield Asked(f"{question(render(state, masked=True))} {BUCKETS[answer]}", chances)


def simulated_states(finish: Finish, *, seed: int) -> Iterator[Asked]:
    """Every seventh bar of simulated paths, masked, with its chances; half of the paths have no jumps."""
    now = utc(np.datetime64("2000-01-03T21:00"))
    for part, jumps in enumerate((True, False)):
        first = seed + SEED_OFFSET + part
        paths = simulate(finish.paths // 2, finish.bars, seed=first, jumps=jumps)
        numbers = [
            StateNumbers.of(close, volume)
            for close, volume in zip(paths.close.T, paths.volume.T, strict=True)
        ]
        volatility = np.stack([each.volatility for each in numbers], axis=1)
        for bar in range(WARM_UP_BARS, finish.bars - HORIZON_BARS, finish.stride_bars):
            ahead = returns_ahead(paths, bar, HORIZON_BARS, finish.draws, seed=first)
            chances = bucket_chances(ahead, volatility[bar])
            for column, name in enumerate(paths.names):
                state = numbers[column].at(bar, symbol=name, as_of=now)
                word = BUCKETS[int(chances[column].argmax())]
                text = f"{question(render(state, masked=True))} {word}"
                yield Asked(text, tuple(chances[column].tolist()))


def bucket_chances(ahead: FloatArray, volatility: FloatArray) -> FloatArray:
    """The share of each bucket among returns ahead, [N, 5].

    Shapes: `ahead` [draws, N] returns over five bars; `volatility` [N] of 20 bars, which scales the buckets.
    """
    which = np.searchsorted(EDGES, ahead / (volatility * np.sqrt(HORIZON_BARS)), side="right")
    return np.stack([(which == bucket).mean(axis=0) for bucket in range(len(BUCKETS))], axis=1)


def finish_rows(
    asked: Sequence[tuple[Sequence[int], Sequence[float], float]],
    narratives: Sequence[Sequence[int]],
    prose: Sequence[Sequence[int]],
    end_of_text: int,
    finish: Finish,
    *,
    seed: int,
) -> FinishRows:
    """Rows in their order: a document each after an end-of-text, filled up with more of them. Documents that
    are longer are cut at their front (a state) or into pieces (narratives, prose).

    `asked` holds a state's tokens, its chances and the weight of its answer; of the pieces there are as many
    as `finish` says for each state.
    """
    width = finish.row_tokens
    rng = np.random.default_rng([seed, 4])
    chosen = []
    for texts, share in ((prose, finish.prose_frac), (narratives, finish.narrative_frac)):
        pieces = [
            list(text[start : start + width])
            for text in texts
            for start in range(0, len(text) - width // 2, width)
        ]
        kept = rng.permutation(len(pieces))[: round(len(asked) * share)]
        chosen += [pieces[index] for index in kept]
    documents = [list(tokens[-width:]) for tokens, _chances, _weight in asked] + chosen
    count = len(documents)
    rows = FinishRows(
        tokens=np.full((count, width + 1), end_of_text, dtype=np.int64),
        answer_at=np.full(count, -1, dtype=np.int64),
        chances=np.zeros((count, len(BUCKETS))),
        weight=np.zeros(count),
    )
    for row, index in enumerate(rng.permutation(count)):
        rows.tokens[row, 1 : 1 + len(documents[index])] = documents[index]
        if index < len(asked):
            rows.answer_at[row] = len(documents[index]) - 1
            rows.chances[row] = asked[index][1]
            rows.weight[row] = asked[index][2]
    return rows


def finish_training(
    preset: Preset,
    model: OlmoeForCausalLM,
    rows: FinishRows,
    answers: Sequence[int],
    *,
    seed: int,
    finish: Finish,
    folder: Path,
    advance: Callable[[int, int | None, str], None] | None = None,
) -> OlmoeForCausalLM:
    """One pass over the rows; what pads a row has no loss. Goes on from the checkpoint in `folder`.

    The answer's loss is the cross-entropy between its chances and those that the model gives to the five
    words, among all words.
    """
    import torch

    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=finish.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    steps = len(rows.tokens) // finish.batch_rows
    folder.mkdir(parents=True, exist_ok=True)
    begin = resume(folder, model, optimizer, steps, seed)
    ids = torch.tensor(list(answers))
    end = model.config.eos_token_id
    model.train()
    for step in range(begin, steps):
        part = slice(step * finish.batch_rows, (step + 1) * finish.batch_rows)
        tokens_BT = torch.from_numpy(rows.tokens[part])
        inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        at_B = torch.from_numpy(rows.answer_at[part])
        chances_B5 = torch.from_numpy(rows.chances[part]).float()
        weight_B = torch.from_numpy(rows.weight[part]).float()
        asked_B = torch.nonzero(at_B >= 0).flatten()
        for group in optimizer.param_groups:
            group["lr"] = finish.learning_rate * rate_frac(step, steps, finish.warmup_frac)
        output = model(input_ids=inputs_BT, output_router_logits=True, use_cache=False)
        words_BT = torch.nn.functional.cross_entropy(
            output.logits.flatten(0, 1), targets_BT.flatten(), reduction="none"
        ).view(targets_BT.shape)
        counted_BT = (targets_BT != end).float()
        counted_BT[asked_B, at_B[asked_B]] = 0.0
        told_A5 = output.logits[asked_B, at_B[asked_B]].log_softmax(-1)[:, ids]
        answer_A = -(chances_B5[asked_B] * told_A5).sum(dim=1)
        total = counted_BT.sum() + weight_B[asked_B].sum()
        loss = ((words_BT * counted_BT).sum() + (answer_A * weight_B[asked_B]).sum()) / total
        real = (inputs_BT != end).flatten()
        real[:: finish.row_tokens] = True
        balance = layer_balance(output.router_logits, real, preset)
        optimizer.zero_grad(set_to_none=True)
        (loss + finish.router_loss_weight * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % LOG_EVERY_STEPS == 0 or step + 1 == steps:
            answered, aside = float(answer_A.detach().mean()), float(balance.detach())
            row = {"step": step + 1, "answers": round(answered, 4), "balance": round(aside, 4)}
            LOG.info("finish %d of %d: answers %.4f", step + 1, steps, answered)
            with open(folder / "loss.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            if advance is not None:
                advance(step + 1, steps, f"answers {answered:.3f}")
        if (step + 1) % CHECKPOINT_EVERY_STEPS == 0 or step + 1 == steps:
            save_checkpoint(folder, model, optimizer, step=step + 1, steps=steps, seed=seed)
    return model.eval()


def layer_balance(
    router_logits: Sequence[torch.Tensor], real: torch.Tensor, preset: Preset
) -> torch.Tensor:
    """transformers' balance loss of each layer on its own, their mean; the experts per token is balance.

    Shapes: `router_logits` [B * T, experts] a layer, `real` [B * T] which tokens count.
    """
    import torch
    from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

    return torch.stack(
        [
            load_balancing_loss_func((layer[real],), preset.experts, preset.experts_per_token)
            for layer in router_logits
        ]
    ).mean()
