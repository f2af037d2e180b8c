"""What a scraper gives: items with the time they became public, and the file they are kept in.

Owns `ScrapedItem`, the protocol of all scrapers, and the Parquet table that `--news` and `train stage1
--data` read. Refuses to know any source. "There is nothing" is an empty result; "it could not be asked"
raises; no scraper ever invents an item.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from core import formats
from core.errors import DataError
from core.files import replacing, storage_errors

ABOUT = b"athena-text"
"""The key of our own description in a Parquet file's metadata."""

Robots = Literal["allowed", "interface", "none"]
"""By what leave an item was read: robots.txt was asked and allows the address; the address is an interface
made for programs, whose terms say what may be done; no source was asked (the made-up table)."""

EXTRA = 'pip install "athena-trading-agent[scrape]"'


@dataclass(frozen=True, slots=True)
class ScrapedItem:
    """One text, or one figure as a sentence.

    `symbol` is "" where the text is about none. `value` is the figure of a figure (None for text).
    Point in time: `time` is when this wording became public, UTC; never earlier than that.
    """

    time: datetime
    symbol: str
    text: str
    source: str
    licence: str
    robots: Robots
    url: str = ""
    value: float | None = None

    def __post_init__(self) -> None:
        if self.time.utcoffset() is None:
            raise ValueError(f"time is {self.time}, without a zone.")
        for name in ("text", "source", "licence"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty.")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"value is {self.value}.")


class Scraper(Protocol):
    """Asks one source. `skipped` counts what was left out since the start, by reason."""

    skipped: Counter[str]

    def fetch(self) -> AsyncIterator[ScrapedItem]:
        """The items, in the source's order. Raises: DataError when the source could not be asked."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one call to a scraper gave: sorted, without repetitions."""

    items: tuple[ScrapedItem, ...]
    skipped: dict[str, int]


async def collect(scraper: Scraper) -> Scrape:
    """All items of a scraper, by time, symbol and text; the same item twice is kept once."""
    found = {(item.time, item.symbol, item.text): item async for item in scraper.fetch()}
    ordered = tuple(found[key] for key in sorted(found))
    return Scrape(ordered, dict(sorted(scraper.skipped.items())))


def write_items(path: Path, items: Iterable[ScrapedItem], *, kind: str) -> str:
    """Write a Parquet table `time symbol text source licence robots url value`, whole or not at all.

    Returns the SHA-256 of its content, which depends on the items alone. Raises: StorageError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(items)
    schema = pa.schema(
        [
            ("time", pa.timestamp("us", tz="UTC")),
            *(
                (name, pa.string())
                for name in ("symbol", "text", "source", "licence", "robots", "url")
            ),
            ("value", pa.float64()),
        ]
    )
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in schema.names
    }
    columns["time"] = [moment.astimezone(UTC) for moment in columns["time"]]
    digest = hashlib.sha256()
    for row in rows:
        line = [row.time.astimezone(UTC).isoformat(), row.symbol, row.text, row.source]
        digest.update(
            json.dumps([*line, row.licence, row.robots, row.url, row.value]).encode() + b"\n"
        )
    licences = Counter(row.licence for row in rows)
    about = {
        formats.KEY: formats.TEXTS.version,
        "kind": kind,
        "items": len(rows),
        "sha256": digest.hexdigest(),
        "licences": licences,
    }
    table = pa.table(columns, schema=schema)
    table = table.replace_schema_metadata({ABOUT: json.dumps(about, sort_keys=True).encode()})
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return digest.hexdigest()


def plain_text(markup: str) -> str:
    """The words of a piece of HTML: no tags, no scripts, entities read, spaces single."""
    from training.data.clean import strip_html

    return " ".join(strip_html(markup).split())


def missing_extra(error: ImportError) -> DataError:
    """The error for a library of the extra `scrape` that is not installed."""
    return DataError(f"scraping needs {error.name}.", f"Run: {EXTRA}.")
