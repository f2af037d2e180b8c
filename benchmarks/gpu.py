"""OLMoE-1B-7B on a GPU, with random weights of the published shape: load, encode, a LoRA step, memory.

    python benchmarks/gpu.py [--layers 16] [--json]

Needs a GPU with some 20 GiB (fewer with fewer layers). Random weights take the time of trained ones but for
the routing, which is near uniform here. Prints one table. Nothing in the tests needs it.
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


def published_shape(layers: int) -> Any:
    """The config of allenai/OLMoE-1B-7B-0924 (arXiv 2409.02060, table 2), every shape named."""
    from transformers import OlmoeConfig

    return OlmoeConfig(
        vocab_size=50304,
        hidden_size=2048,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=4096,
        num_experts=64,
        num_experts_per_tok=8,
        norm_topk_prob=False,
        tie_word_embeddings=False,
        pad_token_id=1,
        bos_token_id=None,
        eos_token_id=50279,
    )


def build(layers: int) -> tuple[Any, float]:
    """The model on the GPU in bf16, and the seconds that making and moving it took."""
    import torch
    from transformers import OlmoeForCausalLM

    from models.folder import NANO_FOLDER, TOKENIZER, ModelFolder
    from models.olmoe import OLMoEModel
    from models.tokens import TextTokens

    start = time.perf_counter()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            backbone = OlmoeForCausalLM(published_shape(layers))
    finally:
        torch.set_default_dtype(before)
    torch.cuda.synchronize()
    source = ModelFolder(NANO_FOLDER, "olmoe-1b-7b-random", {}, (), date(2024, 9, 1))
    model = OLMoEModel().build(backbone, source, TextTokens(NANO_FOLDER / TOKENIZER))
    return model, time.perf_counter() - start


def timed(work: Any, repeats: int = 10) -> float:
    """Median seconds, the GPU waited for."""
    import statistics

    import torch

    work()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(layers: int) -> list[tuple[str, str]]:
    import torch

    model, seconds = build(layers)
    weights = sum(each.numel() for each in model.backbone.parameters())
    rows = [
        ("device", torch.cuda.get_device_name()),
        ("weights", f"{weights / 1e9:.2f} billion in bf16"),
        ("made on the device", f"{seconds:.1f} s"),
        ("memory of the weights", f"{torch.cuda.memory_allocated() / 2**30:.1f} GiB"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model.save(folder)
        rows.append(("written", f"{time.perf_counter() - start:.1f} s"))
        from core.config import OLMoEIntegrationConfig
        from models.olmoe import OLMoEModel

        del model
        torch.cuda.empty_cache()
        start = time.perf_counter()
        config = OLMoEIntegrationConfig(model_path=Path(folder), device="cuda", dtype="bfloat16")
        model = OLMoEModel(config).load()
        torch.cuda.synchronize()
        rows.append(("loaded, hashes checked", f"{time.perf_counter() - start:.1f} s"))
    text = model.tokenizer.truncate("The share rose and the price fell again. " * 100, 128)
    with torch.no_grad():
        one = timed(lambda: model.encode(text))
        many = timed(lambda: model.encode_batch([text] * 64))
        mixed = [model.tokenizer.truncate(text, 16 + n * 112 // 63) for n in range(64)]
        packed = timed(lambda: model.encode_batch(mixed))
    tokens = sum(map(model.tokenizer.count, mixed))
    rows += [
        ("encode, 1 x 128", f"{1000 * one:.1f} ms"),
        ("encode_batch, 64 x 128", f"{1000 * many:.1f} ms, {64 * 128 / many:,.0f} tokens/s"),
        ("encode_batch, mixed", f"{1000 * packed:.1f} ms, {tokens / packed:,.0f} tokens/s"),
    ]
    torch.cuda.reset_peak_memory_stats()
    model.add_lora(rank=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model.encode_batch([text] * 16).float().square().mean().backward()
        optimizer.step()

    rows += [
        ("LoRA step, 16 x 128", f"{1000 * timed(step, 5):.1f} ms"),
        ("memory at its peak", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"),
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here.")
    rows = measure(chosen.layers)
    if chosen.json:
        print(json.dumps(dict(rows)))
    else:
        for name, value in rows:
            print(f"{name:<26} {value}")


if __name__ == "__main__":
    main()
