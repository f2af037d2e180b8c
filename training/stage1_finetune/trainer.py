"""The parts of stage 1 that need torch: rows as batches, the weighted loss, evaluation, callbacks.

Owns the loss: sum of weight x cross-entropy over the global batch, divided by the sum of weights, so that
neither accumulation nor the number of processes changes it. Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from core import formats
from core.files import write_atomic
from models.folder import sha256
from models.forecaster import OLMoEForecaster
from training.stage1_finetune.prepare import Row, Stage1Data

if TYPE_CHECKING:
    from core.config import Stage1Config
    from models.olmoe import OLMoEModel

log = logging.getLogger(__name__)

COMPLETE = "complete.json"
EVALUATION_ROWS = 16


class OrderedRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows in the order in which they are trained on; an answer's tokens weigh `answer_weight`."""

    def __init__(self, rows: Sequence[Row], answer_weight: float) -> None:
        self._rows = rows
        self._answer_weight = answer_weight

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        row = self._rows[at]
        weight = 1.0 if row.first_loss <= 1 else self._answer_weight
        return {"tokens": row.tokens, "first_loss": row.first_loss, "weight": weight}


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows padded at their ends; weights [B, T] are 0 where no loss falls."""
    longest = max(len(row["tokens"]) for row in rows)
    tokens_BT = torch.zeros((len(rows), longest), dtype=torch.int64)
    mask_BT = torch.zeros((len(rows), longest), dtype=torch.int64)
    weights_BT = torch.zeros((len(rows), longest))
    for at, row in enumerate(rows):
        length = len(row["tokens"])
        tokens_BT[at, :length] = torch.tensor(row["tokens"])
        mask_BT[at, :length] = 1
        weights_BT[at, max(1, row["first_loss"]) : length] = row["weight"]
    return {"input_ids": tokens_BT, "attention_mask": mask_BT, "weights": weights_BT}


def token_losses(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of every token but the first, [B, T - 1]."""
    output = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    )
    logits = output.logits[:, :-1].float()
    targets = batch["input_ids"][:, 1:]
    losses: torch.Tensor = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    ).view(targets.shape)
    return losses


class Stage1Trainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with the weighted loss and an evaluation over fixed rows."""

    held_rows: OrderedRows
    control: Any

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> Any:
        """The sum of weights of the global batch, over accumulation steps and processes."""
        total = sum((batch["weights"][:, 1:].sum() for batch in batch_samples), torch.tensor(0.0))
        total = total.to(device)
        return self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights = inputs["weights"][:, 1:]
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (token_losses(model, inputs) * weights).sum() / total
        # DistributedDataParallel averages gradients over processes; the loss is a sum over them.
        return loss * self.accelerator.num_processes

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The same weighted loss over the fixed validation rows; every process computes all of it."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        rows = self.held_rows
        with torch.no_grad():
            for start in range(0, len(rows), EVALUATION_ROWS):
                part = [rows[at] for at in range(start, min(start + EVALUATION_ROWS, len(rows)))]
                batch = {key: each.to(self.args.device) for key, each in collate(part).items()}
                weights = batch["weights"][:, 1:]
                losses = token_losses(self.model, batch) * weights
                sums += torch.stack([losses.sum(), weights.sum()]).double().cpu()
        metrics = {f"{metric_key_prefix}_loss": float(sums[0] / sums[1])}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def make_trainer(
    model: OLMoEModel,
    arguments: Any,
    dataset: OrderedRows,
    data: Stage1Data,
    settings: Stage1Config,
) -> Stage1Trainer:
    """The trainer of a model's adapter."""
    # The Trainer knows an adapter by peft's own class.
    adapted = model.peft_model
    trainer = Stage1Trainer(
        model=adapted,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collate,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.model_accepts_loss_kwargs = True
    # A part that is not trained on decides nothing about when to stop.
    held = [
        *(data.language_validation if settings.language_frac > 0.0 else ()),
        *(data.supervised_validation if settings.language_frac < 1.0 else ()),
    ]
    trainer.held_rows = OrderedRows(held, settings.answer_weight)
    return trainer


def shard_base(model: OLMoEModel) -> None:
    """Leave to each process one part of the frozen weights of every decoder layer (FSDP2); a layer is whole
    only while it computes.

    The adapter's matrices, which are small, stay whole everywhere, and so do embeddings and head: checkpoints
    and gradients are those of DistributedDataParallel. By hand, since accelerate leaves a CPU unsharded.
    Source: PyTorch FSDP2, `torch.distributed.fsdp.fully_shard`.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    # A group of its own: gathering weights and averaging gradients must not wait for each other.
    group = torch.distributed.new_group()
    mesh = DeviceMesh.from_group(group, model.device.type)
    for layer in model.backbone.model.layers:
        trained = {each for each in layer.parameters() if each.requires_grad}
        # Always given back after use: else what one process saves leaves it with another state than the rest.
        fully_shard(layer, mesh=mesh, ignored_params=trained, reshard_after_forward=True)
    frozen = [each for each in model.backbone.model.layers.parameters() if not each.requires_grad]
    log.info(
        "this process keeps %d of the %d weights of the base's layers",
        sum(each.to_local().numel() for each in frozen),
        sum(each.numel() for each in frozen),
    )
    adapted = model.peft_model
    # DistributedDataParallel would otherwise copy the first process's parts to all.
    adapted._ddp_params_and_buffers_to_ignore = [
        name for name, each in adapted.named_parameters() if not each.requires_grad
    ]


class CompleteMark(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as complete once all its files lie there: their hashes, written last."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = sorted(
            path for path in folder.iterdir() if path.is_file() and path.name != COMPLETE
        )
        listed = {
            formats.KEY: formats.STAGE1_CHECKPOINT.version,
            "files": {path.name: sha256(path) for path in files},
        }
        write_atomic(folder / COMPLETE, (json.dumps(listed, indent=1) + "\n").encode())


class Curve(TrainerCallback):  # type: ignore[misc]
    """Tells how far it is."""

    def __init__(self, advance: Callable[[int, int | None, str], None] | None, steps: int) -> None:
        self._advance = advance
        self._steps = steps

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss")
        if self._advance is not None and loss is not None:
            self._advance(int(state.global_step), self._steps, f"loss {loss:.3f}")


def measure(model: OLMoEModel, data: Stage1Data) -> dict[str, Any]:
    """Language loss per token on the validation rows, the forecasts, and the experts' load.

    Shapes: `row_losses` and `row_tokens` [R], `chances` [S, 5]; `expert_load_frac` [layers][experts].
    """
    sums, counts = [], []
    rows = OrderedRows(data.language_validation, 1.0)
    loads = _Loads(model)
    was_training = model.backbone.training
    model.backbone.eval()
    with torch.no_grad(), loads:
        for at in range(len(rows)):
            batch = {key: each.to(model.device) for key, each in collate([rows[at]]).items()}
            weights = batch["weights"][:, 1:]
            sums.append(float((token_losses(model.backbone, batch) * weights).sum()))
            counts.append(float(weights.sum()))
    states = [each.state for each in data.validation_samples]
    chances = OLMoEForecaster(model, follow_training=True).forecast(states)
    model.backbone.train(was_training)
    totals = np.array(counts)
    return {
        "language_loss": sum(sums) / max(1.0, sum(counts)),
        "row_losses": np.array(sums) / totals,
        "row_tokens": totals,
        "chances": chances,
        "expert_load_frac": loads.fractions(),
    }


class _Loads:
    """Counts, inside its block, which experts every layer's router picks."""

    def __init__(self, model: OLMoEModel) -> None:
        self._config = model.backbone.config
        self._routers = [
            module for name, module in model.backbone.named_modules() if name.endswith("mlp.gate")
        ]
        self._counts = [torch.zeros(self._config.num_experts) for _ in self._routers]
        self._hooks: list[Any] = []

    def __enter__(self) -> _Loads:
        for counts, router in zip(self._counts, self._routers, strict=True):
            self._hooks.append(router.register_forward_hook(self._counter(counts)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def fractions(self) -> list[list[float]]:
        return [
            [round(float(x), 4) for x in each / each.sum().clamp(min=1)] for each in self._counts
        ]

    def _counter(self, counts: torch.Tensor) -> Callable[..., None]:
        picked = self._config.num_experts_per_tok

        def count(module: Any, inputs: Any, output: Any) -> None:
            logits = output[0] if isinstance(output, tuple) else output
            chosen = logits.flatten(0, -2).topk(picked, dim=-1).indices.flatten().cpu()
            counts.add_(torch.bincount(chosen, minlength=len(counts)).float())

        return count
