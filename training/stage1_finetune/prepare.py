"""From files to the rows that stage 1 trains on, with everything checked before training starts.

Owns what is training and what is validation, and the manifest of the data. Two parts: text (whole rows of
tokens) and market states with their answers (the supervised part, loss on the answer alone).

    no --data           the shipped sample's split (AAPL, IBM to 2007; MSFT 2008-2009), the shipped prose
    files of texts      split by time with an embargo; their symbols' news stand in the states
    files of prices     states of every symbol, split at the same time as the texts
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from core.config import Stage1Config
from core.errors import DataError
from models.render import BUCKETS, question, render
from models.state import HORIZON_BARS
from training.data.corpus import (
    Document,
    TimeSplit,
    clean_corpus,
    deduplicate,
    describe,
    pack,
    require_no_future,
    split_by_time,
)
from training.data.importers import is_text_file, read_texts
from training.data.samples import (
    NewsBook,
    Sample,
    answer_shares,
    build_samples,
    cut,
    deal_answers,
    require_classes,
)
from training.data.split import TRAIN, TRAINING_CUTOFF, VALIDATION, part_series, symbol_series

if TYPE_CHECKING:
    from models.olmoe import OLMoEModel
    from trading.panel import Panel
    from training.data.split import Series

Kind = TypeVar("Kind")
QUESTION_TOKENS = 8
VALIDATION_ROWS = 64
VALIDATION_SAMPLES = 400
"""What early stopping looks at: the same rows and samples at every evaluation."""


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens of one training row. Loss falls on the tokens from `first_loss` on (never on token 0)."""

    tokens: tuple[int, ...]
    first_loss: int


@dataclass(frozen=True, slots=True, eq=False)
class Stage1Data:
    """Everything that training reads. `about` is the manifest, `training_cutoff` the last date trained on."""

    language: tuple[Row, ...]
    supervised: tuple[Row, ...]
    language_validation: tuple[Row, ...]
    supervised_validation: tuple[Row, ...]
    validation_samples: tuple[Sample, ...]
    climatology: tuple[float, ...]
    about: dict[str, Any]
    training_cutoff: date


def prepare(files: Sequence[Path], config: Stage1Config, model: OLMoEModel) -> Stage1Data:
    """Read, clean, split and tokenise. The same files and configuration give the same rows.

    Raises: DataError for a corpus that cannot be trained on, LookAhead for a text from the future.
    """
    texts = [path for path in files if is_text_file(path) or path.suffix == ".jsonl"]
    prices = [path for path in files if path not in texts]
    tokens = min(config.context_tokens or model.context_tokens, model.context_tokens)
    about: dict[str, Any] = {"files": []}
    split: TimeSplit | None = None
    news: NewsBook | None = None
    if texts:
        split, news = _texts(texts, config, about)
    panels = [_panel(path, about) for path in prices]
    sample_series = _series(panels, config, split)
    train = build_samples(sample_series[0], news)
    held = build_samples(sample_series[1], news)
    require_classes(train, "the training part")
    require_classes(held, "the validation part")
    if config.shuffled_answers:
        train, held = deal_answers(train, seed=0), deal_answers(held, seed=1)
    held = _every(held, VALIDATION_SAMPLES)
    coder = _Coder(model, tokens)
    supervised = tuple(coder.answered(each) for each in train)
    supervised_validation = tuple(coder.answered(each) for each in held)
    documents = _documents(split)
    rows = [coder.rows(each) for each in documents]
    about |= {
        "supervised": {
            "train": len(train),
            "validation": len(held),
            "symbols": sorted({each.state.symbol for each in train}),
            "validation_symbols": sorted({each.state.symbol for each in held}),
            "first": train[0].state.as_of.isoformat(),
            "last": max(each.state.as_of for each in train).isoformat(),
            "with_news": sum(bool(each.state.news) for each in train),
            "answer_frac": answer_shares(train),
            "shuffled_answers": config.shuffled_answers,
        },
        "context_tokens": tokens,
        "language_rows": {"train": len(rows[0]), "validation": len(rows[1])},
        "language_tokens": sum(len(each.tokens) for each in rows[0]),
    }
    counts = np.bincount([each.answer for each in train], minlength=len(BUCKETS)) + 1.0
    cutoff = _cutoff(sample_series[0], train, split)
    about["rows_sha256"] = _digest([*rows[0], *supervised])
    return Stage1Data(
        tuple(rows[0]),
        supervised,
        tuple(_every(rows[1], VALIDATION_ROWS)),
        supervised_validation,
        tuple(held),
        tuple((counts / counts.sum()).tolist()),
        about,
        cutoff,
    )


class _Coder:
    """Texts to rows, in the model's tokens."""

    def __init__(self, model: OLMoEModel, context_tokens: int) -> None:
        self._model = model
        self._tokens = context_tokens
        begin = model.backbone.config.bos_token_id
        end = model.backbone.config.eos_token_id
        self._begin = [] if begin is None else [int(begin)]
        self._end = int(end[0] if isinstance(end, list) else end or 0)
        self._answers = [model.tokenizer.encode(f" {word}") for word in BUCKETS]

    def prompt(self, sample: Sample) -> str:
        """As `models/forecaster.py` asks: symbol and date masked."""
        return question(
            render(
                sample.state,
                masked=True,
                tokenizer=self._model.tokenizer,
                budget_tokens=self._tokens - QUESTION_TOKENS,
            )
        )

    def answered(self, sample: Sample) -> Row:
        text = self.prompt(sample)
        require_no_future([(text, sample.state.as_of)])
        asked = [*self._begin, *self._model.tokenizer.encode(text)]
        return Row((*asked, *self._answers[sample.answer]), len(asked))

    def rows(self, documents: Sequence[Document] | Sequence[str]) -> list[Row]:
        require_no_future(
            (each.text, each.time) for each in documents if isinstance(each, Document)
        )
        texts = [each if isinstance(each, str) else each.text for each in documents]
        coded = self._model.tokenizer.encode_batch(texts)
        packed = pack(coded, end_of_text=self._end, context_tokens=self._tokens)
        return [Row(tuple(each), 1) for each in packed]


def _texts(
    files: Sequence[Path], config: Stage1Config, about: dict[str, Any]
) -> tuple[TimeSplit, NewsBook]:
    read = [read_texts(path) for path in files]
    about["files"] += [
        {"name": each.name, "sha256": each.sha256, "kind": "text", "documents": len(each.documents)}
        for each in read
    ]
    cleaned = clean_corpus(document for each in read for document in each.documents)
    unique = deduplicate(cleaned)
    split = split_by_time(
        unique.documents,
        train_end=_end_of_day(config.train_end),
        validation_frac=config.validation_frac,
        embargo=timedelta(days=config.embargo_days),
    )
    about["text"] = {
        "dropped": unique.dropped | {"no text": sum(each.empty for each in read)},
        "train": describe(split.train),
        "validation": describe(split.validation),
        "embargoed": split.embargoed,
        "embargo_days": config.embargo_days,
        "train_end": split.train_end.isoformat(),
    }
    return split, NewsBook(cleaned.documents)


def _panel(path: Path, about: dict[str, Any]) -> Panel:
    from trading.sources.load import load_panel

    panel = load_panel(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    about["files"].append(
        {"name": path.name, "sha256": digest, "kind": "prices", "symbols": len(panel.symbols)}
    )
    return panel


def _series(
    panels: Sequence[Panel], config: Stage1Config, split: TimeSplit | None
) -> tuple[list[Series], list[Series]]:
    """Training and validation series: of the given prices, else of the shipped sample's split."""
    if not panels:
        from trading.sources.load import load_panel

        sample = load_panel()
        return part_series(sample, TRAIN), part_series(sample, VALIDATION)
    every = [symbol_series(panel, symbol) for panel in panels for symbol in panel.symbols]
    end = split.train_end if split is not None else _end_of_day(config.train_end)
    if end is None:
        times = np.sort(np.concatenate([each.times for each in every]))
        at = times[int(len(times) * (1.0 - config.validation_frac))]
        end = datetime.fromtimestamp(int(at.astype("datetime64[s]").astype(np.int64)), UTC)
    after = end + timedelta(days=config.embargo_days)
    return (
        [cut(each, None, end, HORIZON_BARS) for each in every],
        [cut(each, after, None, HORIZON_BARS) for each in every],
    )


def _documents(
    split: TimeSplit | None,
) -> tuple[Sequence[Document] | Sequence[str], Sequence[Document] | Sequence[str]]:
    """The language part: the given texts, else the shipped prose."""
    if split is not None:
        return split.train, split.validation
    from training.nano.corpus import prose

    found = prose()
    return found.train, found.validation


def _cutoff(series: Sequence[Series], samples: Sequence[Sample], split: TimeSplit | None) -> date:
    """The last date of any text or any answer's last price that training reads."""
    by_symbol = {each.symbol: each for each in series}
    last = [
        by_symbol[each.state.symbol].times[each.bar + HORIZON_BARS].astype("datetime64[D]")
        for each in samples
    ]
    dates = [date.fromisoformat(str(max(last)))]
    if split is not None:
        dates.append(split.train[-1].time.astimezone(UTC).date())
    else:
        dates.append(min(TRAINING_CUTOFF, max(dates)))
    return max(dates)


def _end_of_day(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(23, 59, 59), UTC)


def _every(items: Sequence[Kind], most: int) -> list[Kind]:
    """At most so many of them, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[at * len(items) // most] for at in range(most)]


def _digest(rows: Sequence[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.tokens, row.first_loss]).encode())
    return digest.hexdigest()


def check_data(files: Sequence[Path]) -> None:
    """Raises: DataError for a file that is neither texts nor prices."""
    for path in files:
        if not path.exists():
            raise DataError(f"there is no file {path}.", "Check the path.")
