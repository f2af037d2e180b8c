"""What a person sees of forecasts, reasons and ablations: each function takes the JSON that `--json` prints.

Texts of entries and news are never read as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Json = Mapping[str, Any]


def _table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


def _signed(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"


def _interval(interval: Sequence[float] | None, digits: int = 4) -> str:
    return "-" if interval is None else " to ".join(_signed(end, digits) for end in interval)


def render_forecasts(report: Json, console: Console) -> None:
    """Scores by source, then how often told chances came true for all of them together."""
    _table(
        console,
        ("forecasts", "n", "log score", "Brier", "over climatology", "95 %"),
        [
            (
                row["source"],
                f"{row['n']:,}",
                _signed(row["log_score"]),
                "-" if row["brier"] is None else f"{row['brier']:.4f}",
                _signed(row["difference"]),
                _interval(row["interval"]),
            )
            for row in report["rows"]
        ],
    )
    whole = report["rows"][-1]["reliability"] if report["rows"] else []
    if whole:
        console.print()
        _table(
            console,
            ("told by all together", "n", "mean told", "came"),
            [
                (
                    f"{each['from']:.1f} to {each['to']:.1f}",
                    f"{each['n']:,}",
                    f"{each['told']:.3f}",
                    f"{each['came']:.3f}",
                )
                for each in whole
            ],
        )
    seal = (
        "every seal follows from the records"
        if report["sealed"]
        else f"the seal of {report['first_broken']} does not follow from the records"
    )
    _say(
        console,
        f"{report['questions']:,} forecasts answered, {report['open']:,} still open; {seal}.",
    )
