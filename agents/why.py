"""Why an order was sent, or none: `athena why RUN --order ID`, or `--at TIME --symbol S`.

Follows the chain from the records of a run: order -> target -> views and forecasts -> recalled entries, by id
and version -> operations that wrote them; the limits that bound; and on to the fills, what they cost, the
round trip they belong to, and what was not filled. Texts of entries come from the run's memory. Refuses to
guess: what does not stand in a record is not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from agents.reasons import AGENTS, Decider, forecasts_of, limits_of, reason_of, views_of
from agents.trade_chain import costs_of, fills_of, trade_of, unfilled_of
from core.errors import MemoryRefused, MemoryStoreError, UsageError
from core.memories import OperationRecord, Version
from core.protocols import MemoryStore
from core.records import record_lines
from core.runlog import SUMMARY, read_manifest
from core.seals import MANIFEST
from core.symbols import match_symbol
from memory.stores.sqlite import SqliteStore

RECALLED_SHOWN = 5


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
    lines = record_lines(run_dir)
    if order is not None and at is not None:
        raise UsageError("--order names one decision, and --at another.", "Give one of them.")
    if symbol is not None:
        symbol = known_symbol(symbol, lines, run_dir)
    asked = find_decision(lines, order=order, at=at, symbol=symbol)
    record, name = asked.record, asked.symbol
    if symbol not in (None, name):
        raise UsageError(f"the order {order} is of {name}, not of {symbol}.", "Leave out --symbol.")
    recalled = recalled_of(record, name)
    operations: list[dict[str, Any]] = []
    memory = run_dir / "memory.db"
    if recalled:
        if store is None and memory.is_file():
            store = SqliteStore(memory, read_only=True)
        if store is not None:
            operations = await _trace(store, recalled)
    order_sent = None if asked.order is None else dict(asked.order)
    reason = reason_of(record, name, decider_of(run_dir), order_sent)
    fills = [] if order_sent is None else fills_of(lines, order_sent["id"])
    unfilled = [] if order_sent is None else unfilled_of(lines, order_sent["id"])
    ended = bool(order_sent is None or fills or unfilled or "unfilled" not in record)
    return {
        "as_of": record["as_of"],
        "symbol": name,
        "order": order_sent,
        "reason": reason,
        "target": record["targets"].get(name),
        "why_not": None if order_sent is not None else reason,
        "fills": fills,
        "costs": costs_of(fills),
        "trade": trade_of(lines, name, fills),
        "unfilled": unfilled,
        "open_at_end": not ended,  # records tell every order's end, so one without an end waits
        "views": views_of(record, name),
        "forecasts": forecasts_of(record, name),
        "recalled": recalled,
        "operations": operations,
        "limits": limits_of(record, name),
        "messages": list(record["messages"]),
        "position": record["positions"].get(name, 0.0),
        "equity_usd": record["equity_usd"],
    }


def known_symbol(name: str, lines: Sequence[bytes], run_dir: Path) -> str:
    """The symbol of the run that a name means. Raises: UsageError, with the nearest, where there is none."""
    manifest = read_manifest(run_dir) if (run_dir / MANIFEST).is_file() else {}
    known: set[str] = set(manifest.get("data", {}).get("symbols", ()))
    found = match_symbol(name, known)
    if found is not None:
        return found
    for line in lines:  # a feed without end lists symbols that its manifest does not have
        known |= symbols_in(orjson.loads(line))
    found = match_symbol(name, known)
    if found is None:
        near = get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        some = ", ".join(sorted(known)[:10]) + (", ..." if len(known) > 10 else "")
        raise UsageError(f"the run has no symbol {name!r}.", f"{hint}It has {some or 'none'}.")
    return found


def symbols_in(record: Mapping[str, Any]) -> set[str]:
    """Every symbol that a record names."""
    told = record["forecasts"]
    return {
        *record["targets"],
        *record["positions"],
        *record.get("reasons", ()),
        *(each["symbol"] for key in ("orders", "fills", "verdict") for each in record[key]),
        *(symbol for columns in record["views"].values() for symbol in columns["symbols"]),
        *(told["symbols"] if told else ()),
    }


def decider_of(run_dir: Path) -> Decider:
    """Who decided a run, as its summary says; before it has one, as the options of its manifest do."""
    manifest = read_manifest(run_dir) if (run_dir / MANIFEST).is_file() else {}
    analyst = manifest.get("config", {}).get("agents", {}).get("analyst", {})
    horizon = analyst.get("horizon_bars")
    summary = run_dir / SUMMARY
    if summary.is_file():
        name = orjson.loads(summary.read_bytes()).get("decided_by")
        if name:
            return Decider(name, horizon)
    asked = manifest.get("asked") or {}
    if asked.get("strategy"):
        return Decider(str(asked["strategy"]).rpartition(":")[2], horizon)
    return Decider("weights" if asked.get("weights") else AGENTS, horizon)


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
