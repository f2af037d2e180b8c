"""How fast the language model encodes, as ratios taken in one run.

    python benchmarks/bench_model.py [--model DIR] [--threads 1] [--claims] [--json]

Each pair of timings is taken in turns; the median of the ratios counts, since a busy machine slows both. The
same ratio of processor time stands beside it: what other jobs take from the clock does not count there.
Exits 1 when a limit is missed:

    encode, encode_batch      at most 1.1 x the bare transformers forward pass on the same padded batch
    packing, mixed lengths    at least 1.5 x faster than padding to the longest (16 to 128 tokens)
    the cached path           at least 50 x faster than encoding
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH, TOKENS = 32, 128
REPEATS = 41
IMPORTS = ("torch", "transformers.OlmoeForCausalLM", "peft", "tokenizers")


@dataclass
class Seconds:
    """Of one way, by round: the clock's, and the processor's."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def in_turns(*ways: Callable[[], object], repeats: int = REPEATS) -> list[Seconds]:
    """Seconds of each way, run one after the other in rounds; the first round is left out."""
    taken = [Seconds() for _ in ways]
    for turn in range(repeats + 1):
        for way, seconds in zip(ways, taken, strict=True):
            start, busy = time.perf_counter(), time.process_time()
            way()
            if turn:
                seconds.processor.append(time.process_time() - busy)
                seconds.clock.append(time.perf_counter() - start)
    return taken


def texts_of(model: Any, lengths: list[int], seed: int) -> list[str]:
    """Texts that have exactly these numbers of tokens."""
    import random

    source = random.Random(seed)
    words = ["share", "price", "volume", "news", "profit", "risk", "market", "week"]
    made = []
    for length in lengths:
        text = " ".join(source.choice(words) for _ in range(2 * length))
        made.append(model.tokenizer.truncate(text, length))
    return made


def bare_ways(model: Any, texts: list[str]) -> Callable[[], object]:
    """The transformers model's own pass over the padded batch, with a mask and a mean."""
    import torch
    from transformers import OlmoeForCausalLM

    bare = OlmoeForCausalLM.from_pretrained(
        str(model._known_folder().path), attn_implementation="sdpa", dtype=torch.float32
    ).eval()
    bare.set_experts_implementation("grouped_mm")
    ids = model.tokenizer.encode_batch(texts)
    longest = max(map(len, ids))
    tokens = torch.tensor([each + [1] * (longest - len(each)) for each in ids])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in ids])

    def forward() -> object:
        states = bare.model(
            input_ids=tokens, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    return forward


def measure(model: Any) -> list[dict[str, Any]]:
    """One row per claim: the two times, their ratio, the limit, and whether it holds."""
    import torch

    rows = []
    alike = texts_of(model, [TOKENS] * BATCH, 1)
    mixed = texts_of(model, [16 + (112 * n) // (BATCH - 1) for n in range(BATCH)], 2)
    with torch.no_grad():
        ours, bare = in_turns(lambda: model.encode_batch(alike), bare_ways(model, alike))
        rows.append(row("encode_batch, 32 x 128, over the bare pass", ours, bare, at_most=1.1))
        one = alike[:1]
        ours, bare = in_turns(lambda: model.encode(one[0]), bare_ways(model, one), repeats=201)
        rows.append(row("encode, 1 x 128, over the bare pass", ours, bare, at_most=1.1))
        ours, bare = in_turns(lambda: model.encode_batch(mixed), bare_ways(model, mixed))
        rows.append(row("padding mixed lengths, over packing them", bare, ours, at_least=1.5))
        model.encode_cached(alike)
        ours, plain = in_turns(
            lambda: model.encode_cached(alike), lambda: model.encode_batch(alike)
        )
        rows.append(row("encoding, over the cached path", plain, ours, at_least=50.0))
        difference = (model.encode_batch(mixed) - bare_ways(model, mixed)()).abs().max()
    if float(difference) > 1e-5:
        raise SystemExit(f"packing and padding differ by {float(difference):.1e}")
    return rows


def row(
    what: str,
    first: Seconds,
    second: Seconds,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> dict[str, Any]:
    """`first` over `second`: the median of the rounds' ratios, and whether it keeps its one limit."""
    ratio = median_ratio(first.clock, second.clock)
    return {
        "what": what,
        "first_ms": round(1000 * statistics.median(first.clock), 3),
        "second_ms": round(1000 * statistics.median(second.clock), 3),
        "ratio": round(ratio, 3),
        "processor_ratio": round(median_ratio(first.processor, second.processor), 3),
        "limit": at_most or at_least,
        "ok": ratio <= at_most if at_most is not None else ratio >= (at_least or 0.0),
    }


def median_ratio(first: list[float], second: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def further(model: Any) -> list[dict[str, Any]]:
    """Figures without a limit: threads, experts implementations, gradients, scores."""
    import torch

    found = []
    alike = texts_of(model, [TOKENS] * BATCH, 1)
    ids = torch.tensor(model.tokenizer.encode_batch(alike))
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        with torch.no_grad():
            (seconds,) = in_turns(lambda: model.encode_batch(alike))
        found.append(figure(f"encode_batch, 32 x 128, {count} threads", seconds))
    torch.set_num_threads(threads)
    for name in ("grouped_mm", "batched_mm", "eager"):
        model.backbone.set_experts_implementation(name)
        with torch.no_grad():
            (seconds,) = in_turns(
                lambda: model.backbone.model(input_ids=ids, use_cache=False), repeats=3
            )
        found.append(figure(f"forward, 32 x 128, experts {name}", seconds))
    model.backbone.set_experts_implementation("grouped_mm")

    def step() -> None:
        model.encode_batch(alike).square().sum().backward()
        model.backbone.zero_grad()

    (seconds,) = in_turns(step, repeats=5)
    found.append(figure("encode_batch and its gradient, 32 x 128", seconds))
    answers = [" plunge", " fall", " flat", " rise", " surge"]
    (seconds,) = in_turns(lambda: model.score_batch(alike, answers), repeats=5)
    found.append(figure("five scores each for 32 prompts of 128 tokens", seconds))
    return found


def figure(what: str, seconds: Seconds) -> dict[str, Any]:
    least, median = 1000 * min(seconds.clock), 1000 * statistics.median(seconds.clock)
    return {"what": what, "least_ms": round(least, 2), "median_ms": round(median, 2)}


def import_seconds(name: str) -> float:
    """In a process of its own, less the start of Python."""
    module, _, attribute = name.partition(".")
    code = f"from {module} import {attribute}" if attribute else f"import {module}"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    middle = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - middle - (middle - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model folder; default the shipped one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--claims", action="store_true", help="only what has a limit")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    import torch

    from models.olmoe import OLMoEModel

    torch.set_num_threads(chosen.threads)
    start = time.perf_counter()
    model = OLMoEModel().load(chosen.model)
    loading = time.perf_counter() - start
    rows = measure(model)
    result = {
        "model": model.name,
        "threads": chosen.threads,
        "load_seconds": round(loading, 2),
        "claims": rows,
        "figures": [] if chosen.claims else further(model),
        "import_seconds": {}
        if chosen.claims
        else {name: round(import_seconds(name), 2) for name in IMPORTS},
    }
    if chosen.json:
        print(json.dumps(result, indent=1))
    else:
        for each in rows:
            mark = "ok  " if each["ok"] else "MISS"
            print(
                f"{mark} {each['what']:<46} {each['first_ms']:>9} ms {each['second_ms']:>9} ms "
                f"ratio {each['ratio']:>7} (by processor time {each['processor_ratio']}) "
                f"limit {each['limit']}"
            )
        for each in result["figures"]:
            print(
                f"     {each['what']:<46} {each['least_ms']:>9} ms least, {each['median_ms']} median"
            )
        print(f"     loading {result['load_seconds']} s; imports {result['import_seconds']}")
    sys.exit(0 if all(each["ok"] for each in rows) else 1)


if __name__ == "__main__":
    main()
