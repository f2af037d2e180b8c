"""What `athena model eval` shows a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def render_evaluation(evaluation: Mapping[str, Any], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    for warning in evaluation["warnings"]:
        console.print(Text(f"warning: {warning}"))
    split = evaluation["split"]
    console.print(
        Text(
            f"{evaluation['model']}, trained up to {evaluation['training_cutoff']}; trained on "
            f"{', '.join(split['train_symbols'])} to {split['train_end']}, tested on "
            f"{', '.join(split['test_symbols'])} from {split['test_start']}"
        )
    )
    table = Table(box=None, title="Perplexity per token, lower is better", title_justify="left")
    for heading in ("text", "model", "trigram", "ratio", "tokens"):
        table.add_column(heading, justify="left" if heading == "text" else "right")
    for kind, found in evaluation["perplexity"].items():
        table.add_row(
            kind,
            f"{found['model']:.2f}",
            f"{found['trigram']:.2f}",
            f"{found['model'] / found['trigram']:.2f}",
            f"{found['tokens']:,}",
        )
    console.print(table)
    _forecasts(
        evaluation["forecast"], f"Next 5-day return of {', '.join(split['test_symbols'])}", console
    )
    _forecasts(evaluation["simulated"], "Next 5-day return of simulated GARCH paths", console)
    loads = [share for layer in evaluation["expert_load_frac"] for share in layer]
    console.print(
        Text(f"Expert load: {min(loads):.1%} to {max(loads):.1%} of the tokens in a layer.")
    )


def _forecasts(forecast: Mapping[str, Any], title: str, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, title=title, title_justify="left")
    for heading in ("forecaster", "log score", "95 % interval", "Brier", "n"):
        table.add_column(heading, justify="left" if heading == "forecaster" else "right")
    for row in forecast["rows"]:
        table.add_row(
            row["name"],
            f"{row['log_score']:.4f}",
            _interval(row["interval"]),
            f"{row['brier']:.4f}",
            str(row["n"]),
        )
    console.print(table)
    table = Table(box=None)
    for heading in ("difference", "log score", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "difference" else "right")
    for row in forecast["differences"]:
        if row["figure"] == "log_score":
            table.add_row(
                f"{row['name']} - {row['baseline']}",
                f"{row['difference']:+.4f}",
                _interval(row["interval"]),
            )
    console.print(table)


def _interval(interval: Sequence[float]) -> str:
    return f"{interval[0]:+.4f} to {interval[1]:+.4f}"
