"""What a person sees of the memory: each function takes the JSON object that `--json` would print.

Texts of entries are never read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Json = Mapping[str, Any]

_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _table(console: Console, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_word(value)) for value in row))
    console.print(table)


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return "open" if value.year == 9999 else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return _shown(str(value))


def _shown(text: str) -> str:
    """A text of an older store may hold what steers a terminal: shown as U+009B, never sent."""
    return _STEERING.sub(lambda found: f"U+{ord(found[0]):04X}", text)


def _say(console: Console, text: str) -> None:
    console.print(_shown(text), markup=False)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.2f} ms"


def receipt(value: Json, console: Console) -> None:
    ids = " ".join(value["ids"])
    version = "" if value["version"] is None else f" version {value['version']}"
    again = " (done before under this key)" if value["replayed"] else ""
    _say(console, f"{ids}{version}, operation {value['operation_id']}{again}")
    if value["superseded"]:
        _say(console, f"closed: {' '.join(value['superseded'])}")
    if value.get("pending"):
        _say(console, f"still to be erased: {value['pending']}")


def hits(value: Json, console: Console) -> None:
    if not value["hits"]:
        _say(console, "nothing found")
        return
    _table(
        console,
        ("id", "text", "score", "why", "known from"),
        (
            (
                f"{hit['id']} v{hit['version']}",
                hit["text"],
                hit["score"],
                hit["reason"],
                max(
                    hit["recorded_from"], hit["valid_from"], hit["outcome_at"] or hit["valid_from"]
                ),
            )
            for hit in value["hits"]
        ),
    )


def entries(value: Json, console: Console) -> None:
    if not value["entries"]:
        _say(console, "no entries")
        return
    _table(
        console,
        ("id", "text", "metadata", "source", "recorded"),
        (
            (
                f"{e['id']} v{e['version']}",
                e["text"],
                _pairs(e["metadata"]),
                e["source"],
                e["recorded_from"],
            )
            for e in value["entries"]
        ),
    )


def _pairs(metadata: Json) -> str:
    return " ".join(f"{name}={item}" for name, item in metadata.items())


def entry(value: Json, console: Console) -> None:
    state = "purged" if value["purged"] else "closed" if value["closed"] else "open"
    _table(
        console,
        ("", ""),
        [
            ("id", f"{value['id']} v{value['version']} ({state})"),
            ("text", value["text"]),
            ("metadata", _pairs(value["metadata"]) or "-"),
            ("source", value["source"]),
            ("valid", f"{_word(value['valid_from'])} to {_word(value['valid_to'])}"),
            ("recorded", f"{_word(value['recorded_from'])} to {_word(value['recorded_to'])}"),
            ("outcome known", value["outcome_at"]),
            *_credit_rows(value["metadata"].get("credit")),
        ],
    )


def _credit_rows(credit: Any) -> list[tuple[str, str]]:
    """An entry's record in runs: how often it was recalled, and what it brought, with a 95 % interval."""
    try:
        count, total = int(credit["recalled"]), float(credit["total"])
        squares, trades = float(credit["squares"]), int(credit["trades"])
        gained = float(credit["trade_total"])
    except (TypeError, KeyError, ValueError):
        return []
    rows = [("recalled", f"for {count:,} answered forecasts, {trades:,} closed trades")]
    if count:
        mean = total / count
        half = 1.96 * (max(squares / count - mean * mean, 0.0) * OVERLAP / count) ** 0.5
        told = f"{mean:+.4f} nats a forecast ({mean - half:+.4f} to {mean + half:+.4f})"
        rows.append(("credit", told))
    if trades:
        rows.append(("trade credit", f"{gained / trades:+.3f} deviations a trade"))
    return rows


OVERLAP = 5
"""Forecasts look five bars ahead, so that as many in a row share an outcome: the interval allows for it."""


def versions(value: Json, console: Console) -> None:
    _table(
        console,
        ("version", "text", "recorded", "until", "opened by", "closed by"),
        (
            (
                v["version"],
                "(purged)" if v["purged"] else v["text"],
                v["recorded_from"],
                v["recorded_to"],
                v["opened_by"],
                v["closed_by"],
            )
            for v in value["versions"]
        ),
    )


def stats(value: Json, console: Console) -> None:
    _say(
        console,
        f"{value['entries_live']:,} entries live, {value['entries_closed']:,} closed, "
        f"{value['versions']:,} versions, {value['operations']:,} operations, "
        f"{value['branches']:,} branches; {value['store']}, {value['embedder']}",
    )
    names = sorted({*value["operations_by_kind"], *value["calls"]})
    rows = []
    for name in names:
        calls = value["calls"].get(name)
        rows.append(
            (
                name,
                value["operations_by_kind"].get(name, 0),
                calls["calls"] if calls else 0,
                calls["failures"] if calls else 0,
                _milliseconds(calls["p50_seconds"]) if calls else "-",
                _milliseconds(calls["p99_seconds"]) if calls else "-",
            )
        )
    _table(console, ("operation", "logged", "calls", "refused", "p50", "p99"), rows)


def problems(value: Json, console: Console) -> None:
    if value["ok"]:
        _say(console, "the store agrees with its operation log")
    for problem in value["problems"]:
        _say(console, f"problem: {problem}")


def transferred(value: Json, console: Console) -> None:
    _say(
        console,
        f"{value['path']}: {value['entries']:,} entries, {value['operations']:,} operations",
    )
    for note in value["notes"]:
        _say(console, note)


def path(value: Json, console: Console) -> None:
    _say(console, value["path"])
