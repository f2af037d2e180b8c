"""`athena train stage2`: a training in a run folder, with its checkpoints, curves and card.

Owns what is left behind and how a killed training goes on: from its last complete checkpoint, with the curve
cut back to it, to the same weights as an uninterrupted one. Refuses to know the algorithm.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from core.clock import SystemClock
from core.config import AthenaConfig, Stage2Config
from core.errors import CheckpointError
from core.locks import FolderLock
from core.runlog import RunFolder, find_run, read_manifest
from memory.policy import FEATURES

if TYPE_CHECKING:
    from models.olmoe import OLMoEModel
    from training.stage2_agemem.trainer import AgeMemTrainer

log = logging.getLogger(__name__)
Advance = Callable[[int, "int | None", str], None]
StageName = Literal["single", "multi", "unified", "all"]

MODE: Final = "train-stage2"
POLICY: Final = "policy"
CHECKPOINTS: Final = "checkpoints"
CURVES: Final = "curves.png"
ROWS: Final = "evaluation.png"
SMALL_SEED: Final = 1_000
"""Of the small evaluation's episodes, which are none of the whole table's."""
CARD: Final = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Stage2Result:
    """What `athena train stage2` says. `checkpoint` is the best policy by validation; `warnings` are what
    makes the result doubtful, one sentence each."""

    run_dir: str
    checkpoint: str
    steps: int
    stages: list[dict[str, Any]]
    validation: dict[str, Any]
    evaluation: dict[str, Any] | None
    operations: int
    episodes: int
    seconds: float
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def stage2_train(
    config: AthenaConfig,
    *,
    stage: StageName = "all",
    resume: str | None = None,
    advance: Advance | None = None,
) -> Stage2Result:
    """Train a memory policy, or go on with the run `resume` from its last complete checkpoint.

    A resumed run keeps its own configuration and stage. Raises: CheckpointError for a run of something else,
    another backbone, or a damaged checkpoint.
    """
    from models.device import torch_threads
    from models.olmoe import OLMoEModel
    from training.stage2_agemem.checkpoint import read_metrics
    from training.stage2_agemem.collapse import collapse_warnings

    began = time.monotonic()
    run_dir: Path | None = None
    if resume is not None:
        run_dir = find_run(resume, config.checkpoint_dir)
        config, stage = _resumed(run_dir, config)
    settings = config.training.stage2
    with torch_threads(settings.threads):
        model = OLMoEModel(config.olmoe).load()
        folder = _folder(run_dir, config, stage, model)
        with folder:
            state = _train(folder, config, settings, stage, model, advance)
            evaluation = _small_evaluation(config, folder.path, advance)
            result = Stage2Result(
                str(folder.path),
                str(folder.path / POLICY),
                state.update,
                state.stages,
                {
                    "accuracy_frac": state.best_accuracy_frac,
                    "run_accuracy_frac": state.best_run_accuracy_frac,
                    "update": state.best_update,
                    "episodes": settings.eval_episodes,
                },
                evaluation,
                state.operations,
                state.episodes,
                round(time.monotonic() - began, 1),
                collapse_warnings(read_metrics(folder.path)),
            )
            _leave(folder, config, model, result)
            folder.finish(
                {
                    "checkpoint": result.checkpoint,
                    "validation": result.validation,
                    "warnings": result.warnings,
                }
            )
    return result


def with_settings(config: AthenaConfig, given: Mapping[str, Any]) -> AthenaConfig:
    """The configuration with some keys of `training.stage2` replaced, checked."""
    if not given:
        return config
    stage2 = Stage2Config.model_validate(config.training.stage2.model_dump() | dict(given))
    training = config.training.model_copy(update={"stage2": stage2})
    return config.model_copy(update={"training": training})


def _resumed(run_dir: Path, config: AthenaConfig) -> tuple[AthenaConfig, StageName]:
    manifest = read_manifest(run_dir)
    if manifest.get("mode") != MODE:
        raise CheckpointError(
            f"{run_dir} is a run of {manifest.get('mode')}, not of {MODE}.",
            "Name a run of `athena train stage2`.",
        )
    kept = AthenaConfig.model_validate(manifest["config"])
    places = {name: getattr(config, name) for name in ("runs_dir", "data_dir", "checkpoint_dir")}
    return kept.model_copy(update=places), manifest["data"]["stage"]


def _folder(
    run_dir: Path | None, config: AthenaConfig, stage: StageName, model: OLMoEModel
) -> RunFolder:
    if run_dir is not None:
        manifest = read_manifest(run_dir)
        before = manifest["data"]["backbone_hash"]
        if before != model.backbone_hash:
            raise CheckpointError(
                f"the backbone of {run_dir.name} changed since it began ({before[:12]}, now "
                f"{model.backbone_hash[:12]}).",
                "Configure the old model again, or begin a new run.",
            )
        lock = FolderLock.acquire(run_dir)
        return RunFolder(run_dir, manifest | {"status": "running"}, SystemClock(), lock)
    about = {
        "stage": stage,
        "steps": config.training.stage2.steps,
        "backbone_hash": model.backbone_hash,
    }
    folder = RunFolder.create(
        config.checkpoint_dir, mode=MODE, config=config, seed=config.seed, data=about
    )
    folder.note(model={"id": model.name, "training_cutoff": model.training_cutoff.isoformat()})
    return folder


def _train(  # noqa: PLR0917
    folder: RunFolder,
    config: AthenaConfig,
    settings: Stage2Config,
    stage: StageName,
    model: OLMoEModel,
    advance: Advance | None,
) -> Any:
    from models.policy_folder import save_policy
    from training.stage2_agemem import checkpoint
    from training.stage2_agemem.collect import TrainingStage
    from training.stage2_agemem.episodes import episode
    from training.stage2_agemem.rollouts import CountedTokens, RolloutSettings
    from training.stage2_agemem.sources import paths_for
    from training.stage2_agemem.tensorboard import writer_for
    from training.stage2_agemem.trainer import STAGES, AgeMemTrainer

    path = folder.path
    validation = paths_for(config, "validation").paths
    board = writer_for(path)

    def save(trainer: AgeMemTrainer, name: str) -> None:
        state = trainer.state
        about = {
            "backbone_hash": model.backbone_hash,
            "update": state.update,
            "seed": trainer.seed,
        }
        if name == "last":
            checkpoint.write_checkpoint(
                path / CHECKPOINTS, state.update, trainer.state_dict(), about
            )
            return
        target = POLICY if name == "best" else name
        save_policy(
            model,
            path / target,
            features=FEATURES,
            trained=settings.policy_weights,
            lora_rank=settings.lora_rank if settings.policy_weights == "lora" else 0,
            more={
                "update": state.update,
                "stage": state.stage,
                "seed": trainer.seed,
                "validation_accuracy_frac": state.best_accuracy_frac,
                "run_accuracy_frac": state.best_run_accuracy_frac,
                "settings": settings.model_dump(mode="json"),
            },
        )

    def observe(metrics: dict[str, Any]) -> None:
        checkpoint.append_metrics(path, metrics)
        if board is not None:
            board.add(metrics)
        if advance is not None:
            advance(metrics["update"] + 1, settings.steps, _progress_note(metrics))
        log.info(
            "update %d (%s): reward %.3f, accuracy %.3f",
            metrics["update"], metrics["stage"], metrics["reward"], metrics["accuracy_frac"],
        )  # fmt: skip

    trainer = AgeMemTrainer(
        model,
        settings,
        paths_for(config, "train").paths,
        [episode(validation, "validation", number) for number in range(settings.eval_episodes)],
        seed=config.seed,
        rollouts=RolloutSettings(settings.entry_cap, tokenizer=CountedTokens(model.tokenizer)),
        stages=STAGES if stage == "all" else (TrainingStage(stage),),
        exploration_coefficient=config.learning.exploration_coefficient,
        advance=observe,
        save=save,
    )
    for damaged in checkpoint.set_aside_damaged(path / CHECKPOINTS):
        log.warning("a checkpoint is incomplete or damaged: set aside as %s", damaged)
    last = checkpoint.last_complete(path / CHECKPOINTS)
    if last is not None:
        about = checkpoint.read_about(last)
        model.require_backbone(about["backbone_hash"], f"the checkpoint {last}")
        trainer.load_state_dict(checkpoint.read_trainer(last))
        log.info("going on from %s", last.name)
    checkpoint.truncate_metrics(path, trainer.state.update)
    return asyncio.run(trainer.train())


def _progress_note(metrics: dict[str, Any]) -> str:
    """What is watched while it runs."""
    return (
        f"{metrics['stage']}: reward {metrics['reward']:.3f}, accuracy {metrics['accuracy_frac']:.3f}, "
        f"KL {metrics.get('kl', 0.0):.2f}, entropy {metrics.get('entropy', 0.0):.2f}, "
        f"clipped {metrics.get('clip_frac', 0.0):.2f}, {metrics['operations_per_second']:.0f} operations/s"
    )


def _small_evaluation(
    config: AthenaConfig, folder: Path, advance: Advance | None
) -> dict[str, Any] | None:
    """A first look on the test split: one seed, few rows, episodes that are not those of `athena train eval`,
    which gives the whole table."""
    from training.stage2_agemem.evaluate import evaluate

    settings = config.training.stage2
    if settings.final_episodes == 0:
        return None
    found = evaluate(
        config,
        checkpoints=[folder / POLICY],
        episodes=settings.final_episodes,
        first_seed=SMALL_SEED,
        cap=settings.entry_cap,
        rows=("random", "recency", "heuristic", "trained", "attainable"),
        advance=advance,
    )
    return found.to_dict()


def _leave(
    folder: RunFolder, config: AthenaConfig, model: OLMoEModel, result: Stage2Result
) -> None:
    """Curves and a card for people."""
    from training.stage2_agemem.checkpoint import read_metrics
    from training.stage2_agemem.pictures import draw_curves, draw_rows

    with folder.file(CURVES) as path:
        draw_curves(path, read_metrics(folder.path))
    if result.evaluation is not None:
        with folder.file(ROWS) as path:
            draw_rows(path, result.evaluation["rows"])
    settings = config.training.stage2
    lines = [
        "# A memory policy",
        "",
        f"* Backbone: {model.name}, SHA-256 `{model.backbone_hash}`; no other backbone takes it.",
        f"* Trained: {settings.policy_weights}, seed {config.seed}, {result.steps} updates, "
        f"{result.episodes} episodes, {result.operations} memory operations, {result.seconds:.0f} s.",
        f"* Validation accuracy {result.validation['accuracy_frac']:.3f} (update "
        f"{result.validation['update']}, chosen by it) on {result.validation['episodes']} episodes.",
        "* Training data: desk notes of invented companies on the bars of AAPL and IBM to 2007, and "
        f"({settings.run_frac:.0%} of the episodes) invented events of runs; no market outcome was learnt "
        "from.",
        "* Settings: `" + json.dumps(settings.model_dump(mode="json")) + "`",
        *(f"* **{warning}**" for warning in result.warnings),
        "",
        "It decides what to keep of desk notes under a cap. It is no advice.",
        "",
    ]
    folder.write_bytes(f"{POLICY}/{CARD}", "\n".join(lines).encode())
