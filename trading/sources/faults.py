"""What can be wrong with a table of prices, as values.

Owns the shape of a fault and the error that carries all of them. Refuses to know how one is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import DataError

SHOWN = 5
"""How many faults an error message prints; the object holds all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the input.

    `row` is the line of the file as an editor counts it (the header of a CSV is line 1), or the row of a
    Parquet file or DataFrame counted from 1; None when the fault is the file's as a whole. `found` is the
    value that stands there, `cure` what to do about it.
    """

    kind: str
    row: int | None
    symbol: str | None
    found: str
    cure: str
    file: str = ""

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.symbol is not None:
            where.append(self.symbol)
        return f"{', '.join(where)}: {self.found} ({self.kind}); {self.cure}"


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
        head = "1 fault" if count == 1 else f"{count} faults"
        more = f"\n... and {count - most} more." if count > most else ""
        super().__init__(
            f"{name} has {head}:\n{shown}{more}",
            "Correct these rows." if all_shown else "`athena data check FILE` lists them all.",
        )
