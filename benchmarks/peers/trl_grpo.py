"""TRL's GRPOTrainer on a model folder, one update for each line that it is sent.

    trl_grpo.py --model FOLDER --prompts FILE [--weights all|norm] [--kl 0.003] ...

Answers one line of JSON at the start (versions), and one after every update: clock and processor seconds
since its line came. An update is what TRL makes of one batch: prompts and sampling, reward, old and
reference log-probabilities, and `--epochs` passes. Knows nothing of Athena. Runs in an environment of its own
(`setup.sh`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import datasets
import torch
import transformers
import trl
from decisions import reward


def tokenizer_of(folder: Path) -> Any:
    config = json.loads((folder / "config.json").read_text())
    made = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    made.pad_token = made.convert_ids_to_tokens(config["pad_token_id"])
    made.eos_token = made.convert_ids_to_tokens(config["eos_token_id"])
    made.padding_side = "left"
    return made


def settings(chosen: argparse.Namespace, updates: int, folder: str) -> trl.GRPOConfig:
    """Athena's settings where TRL has them; all that only costs time is off."""
    return trl.GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=chosen.groups * chosen.members,
        gradient_accumulation_steps=1,
        num_generations=chosen.members,
        num_iterations=chosen.epochs,
        max_completion_length=1,
        max_steps=updates * chosen.epochs,
        beta=chosen.kl,
        epsilon=chosen.clip,
        loss_type="dr_grpo",
        scale_rewards="group",
        temperature=1.0,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )


def reward_of_choices(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [
        reward(text, ids[0] if ids else -1)
        for text, ids in zip(prompts, completion_ids, strict=True)
    ]


class Turns(transformers.TrainerCallback):
    """Lets the trainer go on to the next update when a line comes in, and says what it took."""

    def __init__(self, epochs: int, about: dict[str, Any]) -> None:
        self.epochs = epochs
        self.about = about
        self.began = (0.0, 0.0)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        say(self.about)
        self._wait()

    def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
        if state.global_step % self.epochs:
            return
        clock, processor = time.perf_counter(), time.process_time()
        say({"clock": clock - self.began[0], "processor": processor - self.began[1]})
        if state.global_step < state.max_steps:
            self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            raise SystemExit(0)
        self.began = (time.perf_counter(), time.process_time())


def say(answer: dict[str, Any]) -> None:
    """On the stream that answers go to; whatever else is printed goes to the error stream."""
    OUT.write(json.dumps(answer) + "\n")
    OUT.flush()


OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True, help="JSON: a list of texts")
    parser.add_argument("--weights", choices=("all", "norm"), default="all")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--kl", type=float, default=0.003)
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    texts = json.loads(chosen.prompts.read_text())
    updates = len(texts) // chosen.groups
    with tempfile.TemporaryDirectory() as folder:
        about = {
            "trl": trl.__version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        trainer = trl.GRPOTrainer(
            model=str(chosen.model),
            reward_funcs=reward_of_choices,
            args=settings(chosen, updates, folder),
            train_dataset=datasets.Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer_of(chosen.model),
            callbacks=[Turns(chosen.epochs, about)],
        )
        about["experts"] = trainer.model.config._experts_implementation
        about["attention"] = trainer.model.config._attn_implementation
        if chosen.weights == "norm":
            for name, each in trainer.model.named_parameters():
                each.requires_grad_(name == "model.norm.weight")
        about["trained_weights"] = sum(
            each.numel() for each in trainer.model.parameters() if each.requires_grad
        )
        trainer.train()


if __name__ == "__main__":
    main()
