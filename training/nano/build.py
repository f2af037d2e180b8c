"""`athena model build`: from the shipped texts and prices to a model folder, with one seed.

Owns the order of the steps. What is half done lies in `FOLDER/.build`: a build that was interrupted goes on
from there, one that is finished leaves its corpus figures and its loss curve beside the model.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UsageError
from core.files import write_atomic
from models.device import import_torch
from training.data.split import TRAINING_CUTOFF
from training.nano.preset import PRESETS, Finish, Preset
from training.nano.tokenizer import END_OF_TEXT, PADDING, id_of

if TYPE_CHECKING:
    from transformers import OlmoeForCausalLM

    from core.config import AthenaConfig
    from training.nano.prepare import Prepared

LOG = logging.getLogger(__name__)
WORK = ".build"
FINISH = "finish"
LOG_FILE = "training-log.json"
THREADS = 1
"""Two threads are slower than one at these sizes, and one gives the same bits on any number of cores."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model folder and its manifest."""

    path: Path
    manifest: Path

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def build(
    preset_name: str,
    folder: Path | None,
    config: AthenaConfig,
    *,
    advance: Callable[[int, int | None, str], None] | None = None,
) -> Built:
    """Build a preset into a folder (default: its name under `checkpoint_dir`), with the config's seed.

    Raises: UsageError for an unknown preset or a folder that cannot be made, CheckpointError when the
    folder holds another build's work.
    """
    preset = PRESETS.get(preset_name)
    if preset is None:
        raise UsageError(
            f"there is no preset {preset_name!r}.", f"There are: {', '.join(PRESETS)}."
        )
    target = folder or config.checkpoint_dir / preset.name
    try:
        (target / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {target} cannot be made: {error.strerror}.", "Choose another with --out."
        ) from None
    return Built(target, build_preset(preset, target, seed=config.seed, advance=advance))


def build_preset(
    preset: Preset,
    folder: Path,
    *,
    seed: int,
    advance: Callable[[int, int | None, str], None] | None = None,
    keep_work: bool = False,
) -> Path:
    """As `build`, for a preset of one's own; returns the manifest."""
    torch = import_torch()
    from trading.sources.load import load_panel
    from training.nano.prepare import prepare
    from training.nano.pretrain import olmoe_config, pretrain

    work = folder / WORK
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        prepared = prepare(preset, load_panel(), seed=seed, folder=work)
        tokenizer = prepared.tokenizer
        config = olmoe_config(preset, id_of(tokenizer, END_OF_TEXT), id_of(tokenizer, PADDING))
        backbone = pretrain(preset, prepared.rows, config, seed=seed, folder=work, advance=advance)
        if preset.finish is not None:
            backbone = _finished(
                preset, preset.finish, backbone, prepared, seed=seed, folder=work, advance=advance
            )
    finally:
        torch.set_num_threads(before)
    manifest = export(preset, prepared, backbone, folder, work)
    if not keep_work:
        shutil.rmtree(work)
    return manifest


def _finished(
    preset: Preset,
    finish: Finish,
    backbone: OlmoeForCausalLM,
    prepared: Prepared,
    *,
    seed: int,
    folder: Path,
    advance: Callable[[int, int | None, str], None] | None = None,
) -> OlmoeForCausalLM:
    """The last part: the forecaster's question, on states and paths of its own."""
    from trading.sources.load import load_panel
    from training.data.split import TRAIN, part_series
    from training.nano.corpus import prose
    from training.nano.finish import finish_rows, finish_training, real_states, simulated_states
    from training.nano.prepare import encode_all, narratives

    tokenizer, panel = prepared.tokenizer, load_panel()
    real = list(real_states(part_series(panel, TRAIN)))
    asked = [*real, *simulated_states(finish, seed=seed)]
    weights = [finish.real_weight] * len(real) + [finish.answer_weight] * (len(asked) - len(real))
    tokens = encode_all(tokenizer, [each.text for each in asked])
    chances = [each.chances for each in asked]
    rows = finish_rows(
        list(zip(tokens, chances, weights, strict=True)),
        encode_all(tokenizer, narratives(preset, panel, seed)),
        encode_all(tokenizer, prose().train),
        id_of(tokenizer, END_OF_TEXT),
        finish,
        seed=seed,
    )
    return finish_training(
        preset,
        backbone,
        rows,
        prepared.rows.answers,
        seed=seed,
        finish=finish,
        folder=folder / FINISH,
        advance=advance,
    )


def export(
    preset: Preset, prepared: Prepared, backbone: OlmoeForCausalLM, folder: Path, work: Path
) -> Path:
    """Write the trained model as a folder that `OLMoEModel.load` reads, and its training log."""
    from models.folder import TOKENIZER, ModelFolder
    from models.olmoe import OLMoEModel
    from models.tokens import TextTokens

    source = ModelFolder(work, preset.name, {}, (), TRAINING_CUTOFF)
    model = OLMoEModel().build(backbone, source, TextTokens(work / TOKENIZER))
    folder.mkdir(parents=True, exist_ok=True)
    log = {
        "preset": asdict(preset),
        "corpus": {key: value for key, value in prepared.about.items() if key != "key"},
        "tokens_seen": prepared.rows.tokens.shape[0]
        // preset.batch_rows
        * preset.batch_rows
        * preset.context_tokens,
        "loss": _loss_curve(work / "loss.jsonl"),
    }
    if preset.finish is not None:
        log["finish"] = _loss_curve(work / FINISH / "loss.jsonl")
    write_atomic(folder / LOG_FILE, (json.dumps(log, indent=1) + "\n").encode())
    return model.save(folder, head=False)


def _loss_curve(path: Path) -> list[dict[str, Any]]:
    """One row per logged step; a resumed build logs a step again, and the later row counts."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step = {row["step"]: row for row in rows}
    return [by_step[step] for step in sorted(by_step)]
