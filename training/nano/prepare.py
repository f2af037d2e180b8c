"""From the corpus to rows of tokens: what a build does before it trains, kept on disk for a resumed one.

Owns the order of the documents: each pass over the prose is spread among an equal share of the narratives.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.files import write_atomic
from models.render import BUCKETS, QUESTION
from training.data.split import TRAIN, part_series
from training.nano.corpus import Documents, prose, real_narratives, simulated_narratives
from training.nano.preset import Preset
from training.nano.pretrain import Rows, pack
from training.nano.tokenizer import END_OF_TEXT, id_of, train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from trading.panel import Panel

LOG = logging.getLogger(__name__)
TOKENIZER_EVERY = 8
"""The tokenizer learns its merges from every eighth document: more changes nothing worth the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """`about` says how much of what there is, for the log and the card."""

    tokenizer: Tokenizer
    rows: Rows
    about: dict[str, Any]


def narratives(preset: Preset, panel: Panel, seed: int) -> list[str]:
    """All training narratives, real and simulated, in the order they are made."""
    real = real_narratives(part_series(panel, TRAIN), seed=seed, copies=preset.real_copies)
    return [*real, *simulated_narratives(preset.simulated_paths, seed=seed)]


def prepare(preset: Preset, panel: Panel, *, seed: int, folder: Path) -> Prepared:
    """Tokenizer and rows, from `folder` where the same preset and seed left them."""
    from tokenizers import Tokenizer

    kept = {name: each for name, each in asdict(preset).items() if name != "finish"}
    key = hashlib.sha256(json.dumps([kept, seed]).encode()).hexdigest()
    about_path = folder / "corpus.json"
    if about_path.exists():
        about = json.loads(about_path.read_text())
        if about["key"] == key:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokens = np.load(folder / "rows.npy")
            return Prepared(tokenizer, _rows(tokens, tokenizer), about)
    folder.mkdir(parents=True, exist_ok=True)
    told = narratives(preset, panel, seed)
    free = prose()
    LOG.info("%d narratives, %d documents of prose", len(told), len(free.train))
    sample = [*told[::TOKENIZER_EVERY], *free.train[::TOKENIZER_EVERY]]
    tokenizer = train_tokenizer(sample)
    ordered, counts = _ordered(told, free, tokenizer, preset, seed)
    tokens = pack(ordered, id_of(tokenizer, END_OF_TEXT), preset.context_tokens)
    about = {"key": key, "seed": seed, "rows": len(tokens), **counts}
    tokenizer.save(str(folder / "tokenizer.json"))
    np.save(folder / "rows.npy", tokens)
    write_atomic(about_path, json.dumps(about, indent=2).encode())
    return Prepared(tokenizer, _rows(tokens, tokenizer), about)


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of many texts; nothing in a text is taken for a special token."""
    tokenizer.encode_special_tokens = True
    return [each.ids for each in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _ordered(
    told: Sequence[str], free: Documents, tokenizer: Tokenizer, preset: Preset, seed: int
) -> tuple[list[list[int]], dict[str, int]]:
    rng = np.random.default_rng([seed, 3])
    narrative_ids = encode_all(tokenizer, told)
    prose_ids = encode_all(tokenizer, free.train)
    shares = np.array_split(rng.permutation(len(told)), preset.prose_epochs)
    ordered: list[list[int]] = []
    for share in shares:
        part = [narrative_ids[index] for index in share] + prose_ids
        ordered += [part[index] for index in rng.permutation(len(part))]
    return ordered, {
        "narratives": len(told),
        "narrative_tokens": sum(map(len, narrative_ids)),
        "prose_documents": len(free.train),
        "prose_tokens": sum(map(len, prose_ids)),
        "prose_epochs": preset.prose_epochs,
    }


def _rows(tokens: np.ndarray[Any, np.dtype[np.uint16]], tokenizer: Tokenizer) -> Rows:
    answers = tuple(
        tokenizer.encode(f" {word}", add_special_tokens=False).ids[0] for word in BUCKETS
    )
    colon = tokenizer.encode(QUESTION, add_special_tokens=False).ids[-1]
    return Rows(tokens, answers, colon)
