"""`athena train stage1`: low-rank adapters on the language model, trained by transformers' Trainer.

Owns the loss (language rows on every token, supervised rows on the answer alone), what a complete checkpoint
is, early stopping on the time split, and what is left behind: the adapter with its backbone's hash, a model
card, curves. Refuses to read files (`prepare.py`).

The order of samples is fixed before training and read in sequence, so that a run that was killed and resumed
ends in the same weights, and N processes take the same batches as one with N times the rows. The router's
load balancing is off: the adapters leave the router alone.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core import formats
from core.config import AthenaConfig, Stage1Config
from core.errors import CheckpointError, TrainingError
from core.files import set_aside, write_atomic
from core.locks import FolderLock
from core.runlog import RunFolder, find_run, read_manifest
from models.folder import sha256
from training.data.corpus import mix
from training.stage1_finetune.prepare import Row, Stage1Data, prepare

if TYPE_CHECKING:
    from models.olmoe import OLMoEModel

log = logging.getLogger(__name__)
Advance = Callable[[int, "int | None", str], None]

MODE = "train-stage1"
CHECKPOINTS = "checkpoints"
COMPLETE = "complete.json"
ADAPTER = "adapter"
CARD = "stage1.json"
CURVES = "curves.png"
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Stage1Result:
    """What `athena train stage1` says. `main_process` is False in the other processes of torchrun."""

    run_dir: str
    checkpoint: str
    steps: int
    metrics: dict[str, Any]
    training_cutoff: str
    stopped_early: bool
    seconds: float
    main_process: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "main_process"}


def stage1_finetune(
    config: AthenaConfig,
    *,
    data: Sequence[Path] = (),
    steps: int | None = None,
    resume: str | None = None,
    advance: Advance | None = None,
) -> Stage1Result:
    """Train an adapter, or go on with the run `resume` from its last complete checkpoint.

    A resumed run keeps its own configuration, data and number of steps.
    Raises: DataError for a corpus that cannot be trained on; CheckpointError when the data or the backbone
    are no longer what the run began with; TrainingError when memory runs out, with the settings to lower.
    """
    import time

    from accelerate import PartialState

    from models.device import pick_device
    from models.olmoe import OLMoEModel

    run_dir: Path | None = None
    if resume is not None:
        run_dir = find_run(resume, config.checkpoint_dir)
        config, data, steps = _resumed(run_dir, config)
    settings = config.training.stage1
    if steps is not None:
        settings = settings.model_copy(update={"steps": steps})
    state = PartialState(cpu=pick_device(config.olmoe.device).type == "cpu")
    began = time.monotonic()
    threads = _set_threads(settings.threads)
    lock: FolderLock | None = None
    try:
        model = OLMoEModel(config.olmoe).load()
        prepared = prepare(data, settings, model)
        folder, lock = _folder(run_dir, config, settings, data, prepared, model, state)
        trained = _train(folder, lock, config, settings, prepared, model, advance, state)
    except (MemoryError, RuntimeError) as error:
        told = _memory_error(error, settings)
        if told is error:
            raise
        raise told from error
    finally:
        _set_threads(threads)
        if lock is not None:
            lock.release()
    seconds = round(time.monotonic() - began, 1)
    return Stage1Result(
        str(folder), str(folder / ADAPTER), trained.steps, trained.metrics,
        prepared_cutoff(prepared, model).isoformat(), trained.steps < settings.steps, seconds,
        state.is_main_process,
    )  # fmt: skip


def prepared_cutoff(data: Stage1Data, model: OLMoEModel) -> date:
    """The later of the base model's cut-off and the last date that this training reads."""
    return max(data.training_cutoff, model.training_cutoff)


@dataclass(frozen=True, slots=True)
class _Trained:
    steps: int
    metrics: dict[str, Any]


def _resumed(run_dir: Path, config: AthenaConfig) -> tuple[AthenaConfig, list[Path], int]:
    manifest = read_manifest(run_dir)
    if manifest.get("mode") != MODE:
        raise CheckpointError(
            f"{run_dir} is a run of {manifest.get('mode')}, not of {MODE}.",
            "Name a run of `athena train stage1`.",
        )
    kept = AthenaConfig.model_validate(manifest["config"])
    places = {name: getattr(config, name) for name in ("runs_dir", "data_dir", "checkpoint_dir")}
    files = [Path(each) for each in manifest["data"]["paths"]]
    return kept.model_copy(update=places), files, int(manifest["data"]["steps"])


def _folder(  # noqa: PLR0917
    run_dir: Path | None,
    config: AthenaConfig,
    settings: Stage1Config,
    files: Sequence[Path],
    data: Stage1Data,
    model: OLMoEModel,
    state: Any,
) -> tuple[Path, FolderLock | None]:
    """The run's folder, made by the first process and known to all; that process holds its lock."""
    from accelerate.utils import broadcast_object_list

    about = {
        "paths": [str(path.resolve()) for path in files],
        "steps": settings.steps,
        "backbone_hash": model.backbone_hash,
        "corpus": data.about,
    }
    if run_dir is not None:
        before = read_manifest(run_dir)["data"]
        for what, old, new in (
            ("data", before["corpus"]["rows_sha256"], data.about["rows_sha256"]),
            ("backbone", before["backbone_hash"], model.backbone_hash),
        ):
            if old != new:
                raise CheckpointError(
                    f"the {what} of {run_dir.name} changed since it began ({old[:12]}, now {new[:12]}).",
                    "Put the old files back, or begin a new run.",
                )
        return run_dir, FolderLock.acquire(run_dir) if state.is_main_process else None
    shared: list[Any] = [None]
    lock: FolderLock | None = None
    if state.is_main_process:
        made = RunFolder.create(
            config.checkpoint_dir, mode=MODE, config=config, seed=config.seed, data=about
        )
        made.steps.close()
        made.note(
            model={
                "id": model.name,
                "training_cutoff": prepared_cutoff(data, model).isoformat(),
                "base_training_cutoff": model.training_cutoff.isoformat(),
            }
        )
        shared, lock = [str(made.path)], made.lock
    broadcast_object_list(shared)
    return Path(shared[0]), lock


def _train(  # noqa: PLR0917
    folder: Path,
    lock: FolderLock | None,
    config: AthenaConfig,
    settings: Stage1Config,
    data: Stage1Data,
    model: OLMoEModel,
    advance: Advance | None,
    state: Any,
) -> _Trained:
    import torch
    from transformers import EarlyStoppingCallback, TrainingArguments, set_seed

    from training.stage1_finetune.trainer import (
        CompleteMark,
        Curve,
        OrderedRows,
        make_trainer,
        measure,
        shard_base,
    )

    set_seed(config.seed)
    before = measure(model, data)
    model.add_lora(
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        experts=settings.lora_experts,
        seed=config.seed,
    )
    model.backbone.config.output_router_logits = False
    if settings.sharded and state.num_processes > 1:
        shard_base(model)
    rows_a_step = settings.batch_rows * settings.accumulation_steps * state.num_processes
    order = mix(
        len(data.language),
        len(data.supervised),
        first_frac=settings.language_frac,
        length=settings.steps * rows_a_step,
        seed=config.seed,
    )
    parts = (data.language, data.supervised)
    dataset = OrderedRows([parts[kind][at] for kind, at in order], settings.answer_weight)
    on_gpu = model.device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_rows,
        gradient_accumulation_steps=settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(settings.steps * settings.warmup_frac)),
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        logging_steps=max(1, min(10, settings.eval_steps)),
        eval_strategy="steps",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        train_sampling_strategy="sequential",
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        ddp_backend=None if state.num_processes == 1 else "nccl" if on_gpu else "gloo",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        **({"gradient_checkpointing": True} if settings.gradient_checkpointing else {}),
    )
    curve = Curve(advance, settings.steps)
    trainer = make_trainer(model, arguments, dataset, data, settings)
    for callback in (
        EarlyStoppingCallback(early_stopping_patience=settings.patience),
        CompleteMark(),
        curve,
    ):
        trainer.add_callback(callback)
    last = last_complete(folder / CHECKPOINTS)
    if state.is_main_process:
        _set_aside_incomplete(folder / CHECKPOINTS, last)
        if last is not None:
            _require_finite_checkpoint(last)
    state.wait_for_everyone()
    trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    steps = int(trainer.state.global_step)
    after = measure(model, data)
    metrics = _metrics(before, after, data)
    if lock is not None:
        _leave(folder, lock, config, settings, data, model, trainer, metrics)
    state.wait_for_everyone()
    return _Trained(steps, metrics)


def last_complete(checkpoints: Path) -> Path | None:
    """The last checkpoint whose files are all there and are what its mark says; None without one.

    Raises: CheckpointError for one of another version than is read.
    """
    found = sorted(
        checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1])
    )
    for path in reversed(found):
        listed = _listed(path)
        if listed is None:
            continue
        files = [path / name for name in listed]
        if all(file.is_file() and sha256(file) == listed[file.name] for file in files):
            return path
    return None


def _listed(checkpoint: Path) -> dict[str, str] | None:
    """The hashes of a checkpoint's files by its mark; None where the mark is missing or damaged."""
    mark = checkpoint / COMPLETE
    try:
        told = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict):
        return None
    if formats.STAGE1_CHECKPOINT.check_in(told, mark) > 1:
        told = told.get("files")
    return told if isinstance(told, dict) else None


def _set_aside_incomplete(checkpoints: Path, last: Path | None) -> None:
    """Checkpoints after the last complete one would be taken for newer ones. What is not what its mark says
    may still be of worth to somebody: it is renamed, never removed."""
    newest = -1 if last is None else int(last.name.rsplit("-", 1)[1])
    for path in sorted(checkpoints.glob("checkpoint-*")):
        if int(path.name.rsplit("-", 1)[1]) > newest:
            log.warning("%s is incomplete or damaged: set aside as %s", path, set_aside(path).name)


def _require_finite_checkpoint(checkpoint: Path) -> None:
    """Raises: CheckpointError for a checkpoint with weights that are NaN or infinite."""
    from models.finite import require_finite_file

    for path in sorted(checkpoint.glob("*.safetensors")):
        require_finite_file(
            path, "Remove that checkpoint to resume from the one before, or begin anew."
        )


def _memory_error(error: Exception, settings: Stage1Config) -> Exception:
    """The error to raise: ours where memory ran out, else the same one."""
    import torch

    words = str(error)
    ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        each in words for each in ("not enough memory", "can't allocate memory", "out of memory")
    )
    if not ran_out:
        return error
    return TrainingError(
        f"memory ran out with training.stage1.batch_rows {settings.batch_rows} and context_tokens "
        f"{settings.context_tokens or 'as the model'}.",
        "Lower training.stage1.batch_rows (and raise accumulation_steps as much), lower context_tokens, or "
        "set gradient_checkpointing to true, and begin anew: a resumed run keeps its own settings.",
    )


def _metrics(before: dict[str, Any], after: dict[str, Any], data: Stage1Data) -> dict[str, Any]:
    """Perplexity per token of the validation's language part, and mean log scores of the answers."""
    from models.scores import brier_scores, log_scores, mean_interval

    answers = np.array([each.answer for each in data.validation_samples])
    dates = np.array([each.state.as_of.date() for each in data.validation_samples], "datetime64[D]")
    base = np.tile(np.array(data.climatology), (len(answers), 1))
    scores = {
        "before": log_scores(before["chances"], answers),
        "after": log_scores(after["chances"], answers),
        "climatology": log_scores(base, answers),
    }
    gain = scores["after"] - scores["climatology"]
    change = after["row_losses"] - before["row_losses"]
    weights = before["row_tokens"]
    place = np.arange(len(change))
    low, high = mean_interval(change * weights * len(weights) / weights.sum(), place, block=4)
    return {
        "perplexity_before": math.exp(before["language_loss"]),
        "perplexity_after": math.exp(after["language_loss"]),
        "token_loss_difference": after["language_loss"] - before["language_loss"],
        "token_loss_difference_interval": [low, high],
        "log_score_before": float(scores["before"].mean()),
        "log_score_after": float(scores["after"].mean()),
        "log_score_climatology": float(scores["climatology"].mean()),
        "log_score_gain": float(gain.mean()),
        "log_score_gain_interval": list(mean_interval(gain, dates)),
        "brier_before": float(brier_scores(before["chances"], answers).mean()),
        "brier_after": float(brier_scores(after["chances"], answers).mean()),
        "validation_answers": len(answers),
        "expert_load_frac": after["expert_load_frac"],
    }


def _leave(  # noqa: PLR0917
    folder: Path,
    lock: FolderLock,
    config: AthenaConfig,
    settings: Stage1Config,
    data: Stage1Data,
    model: OLMoEModel,
    trainer: Any,
    metrics: dict[str, Any],
) -> None:
    """The adapter, its card, the curves, and the run's summary."""
    from training.stage1_finetune.card import draw_curves, write_card

    model.save_lora(folder / ADAPTER)
    card = {
        formats.KEY: formats.ADAPTER.version,
        "base": model.name,
        "backbone_hash": model.backbone_hash,
        "base_training_cutoff": model.training_cutoff.isoformat(),
        "training_cutoff": prepared_cutoff(data, model).isoformat(),
        "steps": int(trainer.state.global_step),
        "best_step": int(str(trainer.state.best_model_checkpoint).rsplit("-", 1)[1])
        if trainer.state.best_model_checkpoint
        else None,
        "seed": config.seed,
        "settings": settings.model_dump(mode="json"),
        "data": data.about,
        "metrics": metrics,
    }
    text = json.dumps(card, indent=2, default=float) + "\n"
    write_atomic(folder / ADAPTER / CARD, text.encode())
    write_card(folder / ADAPTER / "MODEL_CARD.md", card)
    history = list(trainer.state.log_history)
    write_atomic(folder / "log.json", (json.dumps(history, indent=1) + "\n").encode())
    draw_curves(folder / CURVES, history)
    manifest = read_manifest(folder)
    reopened = RunFolder(folder, manifest, _clock(), lock)
    reopened.finish({"checkpoint": str(folder / ADAPTER), "metrics": metrics})


def _clock() -> Any:
    from core.clock import SystemClock

    return SystemClock()


def _set_threads(threads: int) -> int:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    return before


__all__ = ["IGNORED", "Row", "Stage1Result", "last_complete", "stage1_finetune"]
