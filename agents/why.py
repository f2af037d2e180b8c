"""Why an order was sent, or none: `athena why RUN --order ID`, or `--at TIME --symbol S`.

Follows the chain from the records of a run: order -> target -> views and forecasts -> recalled entries, by id
and version -> operations that wrote them; and the limits that bound. Texts of entries come from the run's
memory. Refuses to guess: what does not stand in a record is not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from agents.forecasts import WHOLE
from core.errors import MemoryRefused, MemoryStoreError, RunFolderError, UsageError
from core.memories import OperationRecord, Version
from core.protocols import MemoryStore
from core.runlog import STEPS
from memory.stores.sqlite import SqliteStore

RECALLED_SHOWN = 5
SMALL = 1e-9


@dataclass(frozen=True, slots=True)
class Asked:
    """One decision about one symbol: its record, and the order, if one was sent."""

    record: Mapping[str, Any]
    symbol: str
    order: Mapping[str, Any] | None


def find_decision(
    lines: Sequence[bytes], *, order: str | None, at: str | None, symbol: str | None
) -> Asked:
    """The record that a question is about.

    A bare date means the last record of that day or before, a time the last one known by then.
    Raises: UsageError for a question that is none, or about nothing that is there.
    """
    if order is not None:
        wanted = order if order.startswith("o") else f"o{order}"
        needle = f'"id":"{wanted}"'.encode()
        for line in lines:
            if needle in line:
                record = orjson.loads(line)
                for each in record["orders"]:
                    if each["id"] == wanted:
                        return Asked(record, each["symbol"], each)
        raise UsageError(f"the run has no order {order!r}.", "Its records name them: o1, o2, ...")
    if at is None or symbol is None:
        raise UsageError(
            "there is neither an order nor a time and a symbol.",
            "Give --order ID, or --at TIME and --symbol S.",
        )
    moment = _moment(at)
    found = None
    for line in lines:
        as_of = line.split(b'"as_of":"', 1)[1][:20].decode()
        if as_of[: len(moment)] > moment:
            break
        found = line
    if found is None:
        raise UsageError(f"the run has no record up to {at}.", "Choose a later time.")
    record = orjson.loads(found)
    sent = [each for each in record["orders"] if each["symbol"] == symbol]
    return Asked(record, symbol, sent[-1] if sent else None)


def _moment(text: str) -> str:
    """A date as it is, a time in UTC as records write it. Raises: UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--at is {text!r}.", "Write it as 2012-05-18 or 2012-05-18T20:00:00Z."
        ) from None
    if len(text) == 10:
        return text
    aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")


async def explain(
    run_dir: Path,
    *,
    order: str | None = None,
    at: str | None = None,
    symbol: str | None = None,
    store: MemoryStore | None = None,
) -> dict[str, Any]:
    """The JSON of `athena why`. `store` is the run's memory, where it is not in the run's folder.

    Raises: UsageError, RunFolderError, MemoryStoreError.
    """
    try:
        lines = (run_dir / STEPS).read_bytes().splitlines()
    except OSError as error:
        raise RunFolderError(
            f"{run_dir / STEPS} cannot be read: {error.strerror or error}.", "Run it again."
        ) from error
    asked = find_decision(lines, order=order, at=at, symbol=symbol)
    record, name = asked.record, asked.symbol
    recalled = recalled_of(record, name)
    operations: list[dict[str, Any]] = []
    memory = run_dir / "memory.db"
    if recalled:
        if store is None and memory.is_file():
            store = SqliteStore(memory, read_only=True)
        if store is not None:
            operations = await _trace(store, recalled)
    limits = limits_of(record, name)
    return {
        "as_of": record["as_of"],
        "symbol": name,
        "order": None if asked.order is None else dict(asked.order),
        "target": record["targets"].get(name),
        "why_not": None if asked.order is not None else _why_not(record, name, limits),
        "views": views_of(record, name),
        "forecasts": _forecasts(record, name),
        "recalled": recalled,
        "operations": operations,
        "limits": limits,
        "messages": list(record["messages"]),
        "position": record["positions"].get(name, 0.0),
        "equity_usd": record["equity_usd"],
    }


def limits_of(record: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    """What bound a symbol, and from where to where."""
    return [
        {
            "reason": reason,
            "wanted_frac": verdict["wanted_frac"],
            "allowed_frac": verdict["allowed_frac"],
        }
        for verdict in record["verdict"]
        if verdict["symbol"] == symbol
        for reason in verdict["reasons"]
    ]


def views_of(record: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    """What each agent that spoke held of a symbol."""
    found = []
    for agent, columns in record["views"].items():
        if symbol in columns["symbols"]:
            place = columns["symbols"].index(symbol)
            found.append(
                {
                    "agent": agent,
                    "expected_return_frac": columns["expected_return_frac"][place],
                    "confidence_frac": columns["confidence_frac"][place],
                }
            )
    return found


def _forecasts(record: Mapping[str, Any], symbol: str) -> dict[str, list[float]]:
    told = record["forecasts"]
    if not told or symbol not in told["symbols"]:
        return {}
    place = told["symbols"].index(symbol)
    return {
        source: rows[place] for source, rows in told["chances"].items() if rows[place] is not None
    }


def recalled_of(record: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    """The entries behind the forecast, the weightiest first."""
    columns = record["memory"]["recalled"].get(symbol)
    if columns is None:
        return []
    rows = zip(columns["ids"], columns["versions"], columns["weights"], strict=True)
    found = [{"id": name, "version": version, "weight": weight} for name, version, weight in rows]
    return sorted(found, key=lambda each: -each["weight"])


async def _trace(store: MemoryStore, recalled: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The operations that wrote the recalled versions; adds each entry's text and credit to `recalled`."""
    wanted = {(each["id"], each["version"]): each for each in recalled}
    found = []
    await store.open()
    try:
        for operation in await store.operations():
            for version in operation.opened:
                entry = wanted.get((version.entry_id, version.number))
                if entry is not None:
                    entry["text"] = version.content or "(purged)"
                    entry["credit"] = version.metadata.get("credit")
                    found.append(_operation(operation, version))
    finally:
        with suppress(MemoryRefused, MemoryStoreError):
            await store.close()
    return found


def _operation(operation: OperationRecord, version: Version) -> dict[str, Any]:
    recorded = datetime.fromtimestamp(operation.recorded_at / 1e6, UTC)
    return {
        "id": operation.operation_id,
        "kind": operation.kind,
        "entry": version.entry_id,
        "version": version.number,
        "recorded_at": recorded.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source": version.source,
    }


def _why_not(record: Mapping[str, Any], symbol: str, limits: Sequence[Mapping[str, Any]]) -> str:
    """Why no order was sent, from what the record says."""
    held = record["positions"].get(symbol, 0.0)
    target = record["targets"].get(symbol)
    if limits and abs(limits[-1]["allowed_frac"]) < SMALL and not held:
        return f"{limits[-1]['reason']} left nothing of what was wanted."
    if target is not None:
        return "What is held is the target already."
    known = any(symbol in columns["symbols"] for columns in record["views"].values())
    if held:
        return (
            "It was held: the wanted change lay inside the no-trade band, or nothing could be said."
        )
    if not known:
        return "Nobody had a view on it: it had no bar yet, or too few."
    return "Nothing was wanted: the mixed signal was not above zero, or too small to trade."


def told_chances(forecasts: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """(chance of a fall, chance of a rise) as all sources together told them."""
    whole = forecasts.get(WHOLE)
    return None if whole is None else (sum(whole[:2]), sum(whole[3:]))
