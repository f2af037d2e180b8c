"""A training corpus: documents with times, cleaned, without repetitions, split by time, packed into rows.

Owns every rule between a file of texts and the rows that training reads, and the manifest that says what
became of each document. Refuses to know models (token ids come in) and prices (`samples.py`).

Point in time: a document's `time` is when it became public; a text that names a later date is taken for one
from the future and left out. Of near-duplicates the earliest stays. Between training and validation lies an
embargo.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import DataError, LookAhead
from training.data.clean import clean_text
from training.data.dates import future_date
from training.data.duplicates import repeats, shingles

TokenRows = npt.NDArray[np.int32]

SIMILARITY_FRAC = 0.8
"""Texts whose sets of three-word runs overlap by this share (Jaccard) or more are one text."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text. `time` is when it became public, UTC; `symbol` is "" where it is about none."""

    time: datetime
    symbol: str
    text: str
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.time.utcoffset() is None:
            raise ValueError(f"time is {self.time}, without a zone.")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents by time, and how many were left out and why."""

    documents: tuple[Document, ...]
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Documents up to `train_end`, and those after the embargo that follows it."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    train_end: datetime
    embargoed: int


def clean_corpus(documents: Iterable[Document], *, min_letters: int = 12) -> Corpus:
    """Clean texts in order of time, without texts too short and texts that name a later date."""
    dropped: Counter[str] = Counter()
    kept = []
    for document in sorted(documents, key=_order):
        text = clean_text(document.text)
        if sum(letter.isalpha() for letter in text) < min_letters:
            dropped["too short"] += 1
        elif future_date(text, document.time) is not None:
            dropped["names a later date than its own"] += 1
        else:
            kept.append(_with_text(document, text))
    return Corpus(tuple(kept), dict(sorted(dropped.items())))


def deduplicate(corpus: Corpus) -> Corpus:
    """Without exact and near repetitions (`duplicates.py`); the earliest stays.

    The same input gives the same result in every process.
    """
    seen: set[str] = set()
    first: list[Document] = []
    runs = []
    for document in corpus.documents:
        words = document.text.casefold().split()
        plain = " ".join(words)
        if plain not in seen:
            seen.add(plain)
            first.append(document)
            runs.append(shingles(words))
    near = repeats(runs, SIMILARITY_FRAC)
    kept = tuple(each for each, repeated in zip(first, near, strict=True) if not repeated)
    dropped = Counter(corpus.dropped)
    dropped["repeated"] += len(corpus.documents) - len(first)
    dropped["nearly repeated"] += sum(near)
    return Corpus(kept, dict(sorted((+dropped).items())))


def split_by_time(
    documents: Sequence[Document],
    *,
    train_end: datetime | None = None,
    validation_frac: float = 0.15,
    embargo: timedelta = timedelta(days=7),
) -> TimeSplit:
    """Training up to `train_end` (inclusive), validation after `train_end` + `embargo`.

    Without `train_end` it is the time before which 1 - `validation_frac` of the documents lie.
    Raises: DataError when a part would be empty.
    """
    ordered = sorted(documents, key=_order)
    if not ordered:
        raise DataError("the corpus is empty: nothing is left to train on.", "Give more texts.")
    if train_end is None:
        at = max(0, int(len(ordered) * (1.0 - validation_frac)) - 1)
        train_end = ordered[at].time
    train = tuple(each for each in ordered if each.time <= train_end)
    validation = tuple(each for each in ordered if each.time > train_end + embargo)
    if not train or not validation:
        first, last = ordered[0].time, ordered[-1].time
        raise DataError(
            f"{'no text lies before' if not train else 'none lies after the embargo behind'} "
            f"{train_end:%Y-%m-%d}; the texts are from {first:%Y-%m-%d} to {last:%Y-%m-%d}.",
            "Set training.stage1.train_end or embargo_days, or give texts over a longer time.",
        )
    left_out = len(ordered) - len(train) - len(validation)
    return TimeSplit(train, validation, train_end, left_out)


def pack(
    documents: Sequence[Sequence[int]], *, end_of_text: int, context_tokens: int
) -> list[list[int]]:
    """Documents in their order, each after an end-of-text token, cut into rows of the context's length.

    The last row is as long as what is left. No token is lost and none comes twice.
    """
    stream: list[int] = []
    for document in documents:
        stream.append(end_of_text)
        stream.extend(document)
    rows = [stream[at : at + context_tokens] for at in range(0, len(stream), context_tokens)]
    return rows if len(rows) < 2 or len(rows[-1]) > 1 else rows[:-1]


def mix(
    first: int, second: int, *, first_frac: float, length: int, seed: int
) -> list[tuple[int, int]]:
    """An order of `length` samples from two parts: pairs (0 or 1, index within the part).

    Any stretch of it holds `first_frac` of the first part, to within one sample. Each part is gone through in
    a new order every time before any of it comes again. A part of no samples gives its share to the other.
    Raises: DataError when both are empty.
    """
    if first + second == 0:
        raise DataError("there is nothing to train on.", "Give texts or prices with --data.")
    share = first_frac if first and second else float(first > 0)
    rng = np.random.default_rng([seed, 3])
    parts = [_rounds(first, rng), _rounds(second, rng)]
    taken = 0
    order = []
    for at in range(length):
        kind = 0 if round((at + 1) * share) > taken else 1
        taken += kind == 0
        order.append((kind, next(parts[kind])))
    return order


def require_no_future(samples: Iterable[tuple[str, datetime]]) -> None:
    """The last gate before training: pairs of a text and its `as_of`. Raises: LookAhead."""
    for text, as_of in samples:
        found = future_date(text, as_of)
        if found is not None:
            start = text.find(found)
            raise LookAhead(
                f"a training text of {as_of:%Y-%m-%d} names {found}: "
                f"...{text[max(0, start - 40) : start + 40]!r}...",
                "Leave the text out, or correct its time.",
            )


def describe(documents: Sequence[Document]) -> dict[str, Any]:
    """Counts, times, licences and a hash of documents, for a manifest."""
    digest = hashlib.sha256()
    for each in documents:
        line = [each.time.astimezone(UTC).isoformat(), each.symbol, each.text]
        digest.update(json.dumps(line).encode() + b"\n")
    licences = Counter(each.licence or "not stated" for each in documents)
    sources = Counter(each.source or "not stated" for each in documents)
    return {
        "documents": len(documents),
        "symbols": len({each.symbol for each in documents}),
        "first": documents[0].time.isoformat() if documents else None,
        "last": documents[-1].time.isoformat() if documents else None,
        "licences": dict(sorted(licences.items())),
        "sources": dict(sorted(sources.items())),
        "sha256": digest.hexdigest(),
    }


def _rounds(count: int, rng: np.random.Generator) -> Iterator[int]:
    while count:
        yield from rng.permutation(count).tolist()


def _order(document: Document) -> tuple[datetime, str, str]:
    return document.time, document.symbol, document.text


def _with_text(document: Document, text: str) -> Document:
    return Document(document.time, document.symbol, text, document.source, document.licence)
