"""The last part of a build: the question the forecaster asks, as it is asked.

Owns a short second training after `pretrain`: one masked state a row, after one end-of-text, its answer
weighing as much as all the other words together; some prose keeps the language. The balance of the experts
is taken layer by layer here. (`pretrain` uses transformers' balance loss, which adds the layers up: an expert
that is idle in one layer and busy in another looks balanced to it.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.render import BUCKETS, question, render
from models.state import HORIZON_BARS, WARM_UP_BARS, StateNumbers, buckets, utc
from training.data.split import Series
from training.nano.preset import Finish, Preset
from training.nano.pretrain import rate_frac
from training.nano.simulate import simulate

if TYPE_CHECKING:
    from transformers import OlmoeForCausalLM

TokenArray = npt.NDArray[np.int64]

LOG = logging.getLogger(__name__)
SEED_OFFSET = 500_000
"""Simulated paths of their own, apart from those of pre-training and of evaluation."""


def asked_states(series: Sequence[Series], finish: Finish, *, seed: int) -> Iterator[str]:
    """Masked states with their answers: every bar of real series, every seventh of simulated paths, half of
    which have no jumps."""
    for each in series:
        for bar in range(max(each.first, WARM_UP_BARS), each.last + 1):
            state = each.numbers.at(bar, symbol=each.symbol, as_of=utc(each.times[bar]))
            yield f"{question(render(state, masked=True))} {BUCKETS[each.answers[bar]]}"
    now = utc(np.datetime64("2000-01-03T21:00"))
    for part, jumps in enumerate((True, False)):
        paths = simulate(
            finish.paths // 2, finish.bars, seed=seed + SEED_OFFSET + part, jumps=jumps
        )
        for column, name in enumerate(paths.names):
            close = paths.close[:, column]
            numbers, answers = StateNumbers.of(close, paths.volume[:, column]), buckets(close)
            for bar in range(WARM_UP_BARS, finish.bars - HORIZON_BARS, finish.stride_bars):
                state = numbers.at(bar, symbol=name, as_of=now)
                yield f"{question(render(state, masked=True))} {BUCKETS[answers[bar]]}"


def finish_rows(
    asked: Sequence[Sequence[int]],
    prose: Sequence[Sequence[int]],
    end_of_text: int,
    finish: Finish,
    *,
    seed: int,
) -> TokenArray:
    """Rows [R, row_tokens + 1] in their order: a document each after an end-of-text, filled up with more of
    them. Documents that are longer are cut at their front (a state) or into pieces (prose)."""
    width = finish.row_tokens
    pieces = [
        list(document[start : start + width])
        for document in prose
        for start in range(0, len(document) - width // 2, width)
    ]
    rng = np.random.default_rng([seed, 4])
    wanted = round(len(asked) * finish.prose_frac)
    chosen = [pieces[index] for index in rng.permutation(len(pieces))[:wanted]]
    documents = [list(each[-width:]) for each in asked] + chosen
    rows = np.full((len(documents), width + 1), end_of_text, dtype=np.int64)
    for row, index in enumerate(rng.permutation(len(documents))):
        rows[row, 1 : 1 + len(documents[index])] = documents[index]
    return rows


def finish_training(
    preset: Preset,
    model: OlmoeForCausalLM,
    rows: TokenArray,
    answers: Sequence[int],
    colon: int,
    *,
    seed: int,
    finish: Finish,
    advance: Callable[[int, int | None, str], None] | None = None,
) -> OlmoeForCausalLM:
    """One pass over the rows; what pads a row has no loss."""
    import torch
    from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=finish.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    steps = len(rows) // finish.batch_rows
    buckets_ids = torch.tensor(list(answers))
    end = model.config.eos_token_id
    model.train()
    for step in range(steps):
        batch = rows[step * finish.batch_rows : (step + 1) * finish.batch_rows]
        tokens_BT = torch.from_numpy(batch)
        inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        weight_BT = (targets_BT != end).float()
        asked_BT = torch.isin(targets_BT, buckets_ids) & (inputs_BT == colon)
        weight_BT[asked_BT] = finish.answer_weight
        for group in optimizer.param_groups:
            group["lr"] = finish.learning_rate * rate_frac(step, steps, finish.warmup_frac)
        output = model(input_ids=inputs_BT, output_router_logits=True, use_cache=False)
        loss_BT = torch.nn.functional.cross_entropy(
            output.logits.flatten(0, 1), targets_BT.flatten(), reduction="none"
        ).view(targets_BT.shape)
        real = (inputs_BT != end).flatten()
        real[:: finish.row_tokens] = True
        balance = torch.stack(
            [
                load_balancing_loss_func((layer[real],), preset.experts, preset.experts_per_token)
                for layer in output.router_logits
            ]
        ).mean()
        loss = (loss_BT * weight_BT).sum() / weight_BT.sum()
        optimizer.zero_grad(set_to_none=True)
        (loss + finish.router_loss_weight * balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            answered = float(loss_BT.detach()[asked_BT].mean())
            LOG.info(
                "finish %d of %d: answers %.4f, balance %.3f",
                step + 1,
                steps,
                answered,
                float(balance.detach()),
            )
            if advance is not None:
                advance(step + 1, steps, f"answers {answered:.3f}")
    return model.eval()
