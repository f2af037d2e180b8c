"""Do a plain loop, `bt` and Athena agree on what one strategy does to five real stocks?

    python benchmarks/oracle_sma.py [--sample FILE] [--without-bt] [--without-athena] [--json]

Each answers with its fills (day, signed quantity, price) and final equity for every symbol alone. Exit 1
when any of them differs from the plain loop by more than 1e-6, relative, or has other fills; also
when `bt` is not installed, unless --without-bt says that it may be missing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launch import SAMPLE, LaunchError, run_ours, run_peer, run_reference

TOLERANCE_FRAC = 1e-6


@dataclass(frozen=True, slots=True)
class Comparison:
    """One engine against the plain loop on one symbol. `difference_frac` is the largest of all."""

    engine: str
    symbol: str
    final_equity_usd: float | None
    fills: int
    difference_frac: float | None
    problem: str

    @property
    def agrees(self) -> bool:
        return not self.problem


def difference(value: float, reference: float) -> float:
    """Relative to the reference; infinite for a NaN."""
    found = abs(value - reference) / abs(reference)
    return float("inf") if math.isnan(found) else found


def compare(
    engine: str, symbol: str, theirs: dict[str, Any], expected: dict[str, Any]
) -> Comparison:
    """The first thing that differs, in words, or none."""
    fills, wanted = theirs["fills"], expected["fills"]
    equity = theirs["final_equity_usd"]
    worst: float | None = None
    problem = ""
    days, wanted_days = [each["time"] for each in fills], [each["time"] for each in wanted]
    if days != wanted_days:
        odd = sorted(set(days) ^ set(wanted_days))
        problem = f"{len(fills)} fills, not {len(wanted)}; first on one side only: {odd[:1]}"
    else:
        worst = difference(equity, expected["final_equity_usd"])
        if worst > TOLERANCE_FRAC:
            problem = f"final equity differs by {worst:.2e}"
        for fill, other in zip(fills, wanted, strict=True):
            for figure in ("quantity", "price"):
                found = difference(fill[figure], other[figure])
                worst = max(worst, found)
                if found > TOLERANCE_FRAC and not problem:
                    problem = f"{figure} on {fill['time']} is {fill[figure]}, not {other[figure]}"
    return Comparison(engine, symbol, equity, len(fills), worst, problem)


def render(rows: list[Comparison], agree: bool) -> str:
    """The plain table."""
    lines = [f"{'symbol':<8}{'engine':<10}{'final equity':>16}{'fills':>7}{'difference':>13}"]
    for row in rows:
        gap = "" if row.difference_frac is None else f"{row.difference_frac:.1e}"
        equity = "" if row.final_equity_usd is None else f"{row.final_equity_usd:,.4f}"
        line = f"{row.symbol:<8}{row.engine:<10}{equity:>16}{row.fills:>7}{gap:>13}  {row.problem}"
        lines.append(line.rstrip())
    verdict = "All agree" if agree else "They differ"
    return "\n".join([*lines, f"{verdict}: tolerance {TOLERANCE_FRAC:g}, relative."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=Path, default=SAMPLE)
    parser.add_argument("--without-bt", action="store_true")
    parser.add_argument("--without-athena", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sample = str(given.sample)

    try:
        reference = run_reference(sample)
        engines = {}
        if not given.without_bt:
            engines["bt"] = run_peer("bt", "bt_sma.py", sample)
        if not given.without_athena:
            engines["athena"] = run_ours("oracle", sample)
    except LaunchError as error:
        sys.stderr.write(f"{error}\n")
        return 1

    rows = [
        compare(engine, symbol, answers[symbol], expected)
        if symbol in answers
        else Comparison(engine, symbol, None, 0, None, "no answer")
        for symbol, expected in reference.items()
        for engine, answers in {"loop": reference, **engines}.items()
    ]
    agree = all(row.agrees for row in rows)
    if given.json:
        text = json.dumps({"ok": agree, "rows": [asdict(row) for row in rows]})
    else:
        text = render(rows, agree)
    sys.stdout.write(f"{text}\n")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
