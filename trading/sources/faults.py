"""What can be wrong with a table of prices, as values.

Owns the shape of a fault and the error that carries all of them. Refuses to know how one is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.errors import DataError

SHOWN = 5
"""How many faults an error message prints, and how many rows one fault names; the object holds all faults."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the input.

    `row` is the line of the file as an editor counts it (the header of a CSV is line 1), or the row of a
    Parquet file or DataFrame counted from 1; None when the fault is the file's as a whole. `found` is the
    value that stands there, `cure` what to do about it. A fault of a kind is told once: `count` is how many
    rows have it and `rows` are the first of them; `row`, `symbol` and `found` are the first one's.
    """

    kind: str
    row: int | None
    symbol: str | None
    found: str
    cure: str
    file: str = ""
    count: int = 1
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.symbol is not None:
            where.append(self.symbol)
        text = f"{', '.join(where)}: {self.found} ({self.kind}); {self.cure}"
        if self.count == 1:
            return text
        rows = ", ".join(map(str, self.rows)) + (", ..." if self.count > len(self.rows) else "")
        return f"{text} ({self.count} rows: {rows})" if self.rows else f"{text} ({self.count} rows)"


def grouped(faults: Sequence[Fault]) -> list[Fault]:
    """One fault for all of one kind with one cure in a file, in the order of their first rows."""
    groups: dict[tuple[str, str, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.file, fault.kind, fault.cure), []).append(fault)
    return [_together(group) for group in groups.values()]


def _together(group: Sequence[Fault]) -> Fault:
    first = group[0]
    rows = sorted({row for fault in group for row in (*fault.rows, fault.row) if row is not None})
    if len(group) == 1:
        return first if first.rows else replace(first, rows=tuple(rows))
    most = max(len(rows) or len(group), *(fault.count for fault in group))
    return replace(first, count=most, rows=tuple(rows[:SHOWN]))


class DataFaults(DataError):
    """A file that must not be traded on; `faults` lists everything that is wrong with it.

    `all_shown` is for a file that `athena data check` does not read: the message lists every fault.
    """

    def __init__(
        self, faults: Sequence[Fault], name: str = "the data", *, all_shown: bool = False
    ) -> None:
        self.faults = tuple(faults)
        most = len(self.faults) if all_shown else SHOWN
        shown = "\n".join(str(fault) for fault in self.faults[:most])
        count = len(self.faults)
        total = sum(fault.count for fault in self.faults)
        head = "1 fault" if total == 1 else f"{total} faults"
        if total > count:
            head += " of one kind" if count == 1 else f" of {count} kinds"
        more = f"\n... and {count - most} more." if count > most else ""
        super().__init__(
            f"{name} has {head}:\n{shown}{more}",
            "Correct these rows." if all_shown else "`athena data check FILE` lists them all.",
        )
