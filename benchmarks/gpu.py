"""OLMoE-1B-7B on a GPU, with random weights of the published shape: load, encode, updates of the memory
policy (head and LoRA, by the trainer of `athena train stage2`), a LoRA step, memory.

    python benchmarks/gpu.py [--layers 16] [--json]
    python benchmarks/gpu.py --tiny --device cpu      # no measurement: whether the script runs

Needs a GPU with some 20 GiB (fewer with fewer layers). Random weights take the time of trained ones but for
the routing, which is near uniform here. Prints one table. Nothing in the tests needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def published_shape(layers: int, tiny: bool) -> Any:
    """The config of allenai/OLMoE-1B-7B-0924 (arXiv 2409.02060, table 2), every shape named; or one that
    has its form and hardly any weights."""
    from transformers import OlmoeConfig

    return OlmoeConfig(
        vocab_size=50304,
        hidden_size=64 if tiny else 2048,
        intermediate_size=32 if tiny else 1024,
        num_hidden_layers=layers,
        num_attention_heads=4 if tiny else 16,
        num_key_value_heads=4 if tiny else 16,
        max_position_embeddings=4096,
        num_experts=64,
        num_experts_per_tok=8,
        norm_topk_prob=False,
        tie_word_embeddings=False,
        pad_token_id=1,
        bos_token_id=None,
        eos_token_id=50279,
    )


def build(layers: int, tiny: bool, device: str) -> tuple[Any, float]:
    """The model on the device in bf16, and the seconds that making and moving it took."""
    import torch
    from transformers import OlmoeForCausalLM

    from models.folder import NANO_FOLDER, TOKENIZER, ModelFolder
    from models.olmoe import OLMoEModel
    from models.tokens import TextTokens

    start = time.perf_counter()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            backbone = OlmoeForCausalLM(published_shape(layers, tiny))
    finally:
        torch.set_default_dtype(before)
    wait()
    source = ModelFolder(NANO_FOLDER, "olmoe-1b-7b-random", {}, (), date(2024, 9, 1))
    model = OLMoEModel().build(backbone, source, TextTokens(NANO_FOLDER / TOKENIZER))
    return model, time.perf_counter() - start


def wait() -> None:
    """Until the GPU, where there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Any, repeats: int) -> float:
    """Median seconds, the GPU waited for."""
    import statistics

    work()
    taken = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(layers: int, tiny: bool, device: str) -> list[tuple[str, str]]:
    import torch

    model, seconds = build(layers, tiny, device)
    weights = sum(each.numel() for each in model.backbone.parameters())
    on_gpu = torch.device(device).type == "cuda"
    held = f"{torch.cuda.memory_allocated() / 2**30:.1f} GiB" if on_gpu else "not measured"
    rows = [
        ("device", torch.cuda.get_device_name() if on_gpu else device),
        ("weights", f"{weights / 1e9:.2f} billion in bf16"),
        ("made on the device", f"{seconds:.1f} s"),
        ("memory of the weights", held),
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model.save(folder)
        rows.append(("written", f"{time.perf_counter() - start:.1f} s"))
        from core.config import OLMoEIntegrationConfig
        from models.olmoe import OLMoEModel

        del model
        if on_gpu:
            torch.cuda.empty_cache()
        start = time.perf_counter()
        config = OLMoEIntegrationConfig(model_path=Path(folder), device=device, dtype="bfloat16")
        model = OLMoEModel(config).load()
        wait()
        rows.append(("loaded, hashes checked", f"{time.perf_counter() - start:.1f} s"))
    repeats, batch, steps = (1, 4, 2) if tiny else (10, 64, 16)
    text = model.tokenizer.truncate("The share rose and the price fell again. " * 100, 128)
    with torch.no_grad():
        one = timed(lambda: model.encode(text), repeats)
        many = timed(lambda: model.encode_batch([text] * batch), repeats)
        lengths = [16 + number * 112 // (batch - 1) for number in range(batch)]
        mixed = [model.tokenizer.truncate(text, length) for length in lengths]
        packed = timed(lambda: model.encode_batch(mixed), repeats)
    tokens = sum(map(model.tokenizer.count, mixed))
    rows += [
        ("encode, 1 x 128", f"{1000 * one:.1f} ms"),
        (
            f"encode_batch, {batch} x 128",
            f"{1000 * many:.1f} ms, {batch * 128 / many:,.0f} tokens/s",
        ),
        ("encode_batch, mixed", f"{1000 * packed:.1f} ms, {tokens / packed:,.0f} tokens/s"),
    ]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    rows += policy_updates(model, tiny)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model.encode_batch([text] * steps).float().square().mean().backward()
        optimizer.step()

    rows.append((f"LoRA step, {steps} x 128", f"{1000 * timed(step, min(repeats, 5)):.1f} ms"))
    peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if on_gpu else "not measured"
    return [*rows, ("memory at its peak", peak)]


def policy_updates(model: Any, tiny: bool) -> list[tuple[str, str]]:
    """What an update of stage 2 costs: a few of them, whole episodes on the real memory, head and LoRA."""
    import asyncio
    import statistics

    from core.config import AthenaConfig, Stage2Config
    from training.stage2_agemem.collect import TrainingStage
    from training.stage2_agemem.episodes import episode
    from training.stage2_agemem.rollouts import CountedTokens, RolloutSettings
    from training.stage2_agemem.sources import paths_for
    from training.stage2_agemem.trainer import AgeMemTrainer

    settings = Stage2Config(
        policy_weights="lora",
        steps=3,
        batch_episodes=1 if tiny else 8,
        rollouts=2 if tiny else 8,
        minibatch_steps=256,
        eval_steps=3,
        learning_rate=1e-4,
    )
    config = AthenaConfig()
    validation = paths_for(config, "validation").paths
    updates: list[dict[str, Any]] = []
    trainer = AgeMemTrainer(
        model,
        settings,
        paths_for(config, "train").paths,
        [episode(validation, "validation", number) for number in range(2 if tiny else 20)],
        seed=0,
        rollouts=RolloutSettings(settings.entry_cap, tokenizer=CountedTokens(model.tokenizer)),
        stages=(TrainingStage.UNIFIED,),
        advance=updates.append,
    )
    asyncio.run(trainer.train())
    total, learning = (
        statistics.median(each[name] for each in updates[1:])
        for name in ("seconds", "learning_seconds")
    )
    steps = round(statistics.median(each["steps"] for each in updates[1:]))
    shape = f"{settings.batch_episodes} episodes x {settings.rollouts}"
    return [
        (f"stage-2 update, {shape}", f"{total:.2f} s for {steps} steps, head and LoRA"),
        ("  of it rollouts", f"{total - learning:.2f} s"),
        ("  of it learning", f"{learning:.2f} s, {settings.epochs} epochs"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the form of the model, not its size")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    import torch

    if torch.device(chosen.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here. --tiny --device cpu tells whether the script runs.")
    rows = measure(chosen.layers, chosen.tiny, chosen.device)
    if chosen.json:
        print(json.dumps(dict(rows)))
    else:
        for name, value in rows:
            print(f"{name:<26} {value}")


if __name__ == "__main__":
    main()
