"""The tables of stage 2 in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def render_stage2(result: dict[str, Any], console: Console) -> None:
    """What a training came to."""
    console.print(
        f"{result['steps']} updates, {result['episodes']} episodes, {result['operations']} policy steps "
        f"in {result['seconds']:.0f} s"
    )
    for stage in result["stages"]:
        console.print(
            f"  {stage['stage']}: {stage['updates']} updates, best validation accuracy "
            f"{stage['accuracy_frac']:.3f}"
        )
    validation = result["validation"]
    console.print(
        f"best by validation: {validation['accuracy_frac']:.3f} at update {validation['update']}"
    )
    if result["evaluation"] is not None:
        render_evaluation(result["evaluation"], console)
    for warning in result["warnings"]:
        console.print(f"[yellow]{warning}[/yellow]")
    console.print(f"policy in {result['checkpoint']}", soft_wrap=True)


def render_evaluation(result: dict[str, Any], console: Console) -> None:
    """The table of policies, then what the trained one gains."""
    from rich.table import Table

    table = Table(
        title=f"{result['episodes']} episodes x {result['seeds']} seeds, cap {result['cap']}, prices of "
        + ", ".join(result["symbols"][:6])
    )
    table.add_column("policy")
    for name in (
        "right",
        "95 %",
        "precision",
        "recall",
        "stale",
        "tokens",
        "writes",
        "trained less it",
    ):
        table.add_column(name, justify="right")
    gains = {each["baseline"]: each for each in result["differences"]}
    for row in result["rows"]:
        low, high = row["interval"]
        gain = gains.get(row["policy"])
        writes = sum(row["operations"][name] for name in ("add", "update", "delete"))
        table.add_row(
            row["policy"],
            f"{row['accuracy_frac']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{row['memory_precision_frac']:.2f}",
            f"{row['memory_recall_frac']:.2f}",
            f"{row['staleness_frac']:.2f}",
            f"{row['tokens']:.0f}",
            f"{writes:.1f}",
            "" if gain is None
            else f"{gain['difference']:+.3f} ({gain['interval'][0]:+.3f} to {gain['interval'][1]:+.3f})",
        )  # fmt: skip
    console.print(table)
    if result["gap_closed_frac"] is not None:
        low, high = result["gap_closed_interval"]
        console.print(
            f"gap from random to attainable closed: {result['gap_closed_frac']:.0%} ({low:.0%} to {high:.0%})"
        )
    for name in result["missing"]:
        console.print(f"no row for {name}: not to be had with this checkpoint or model")
    if result["overlap"]:
        console.print(f"[yellow]{result['overlap']}[/yellow]")


def render_episodes(result: dict[str, Any], console: Console) -> None:
    """Episodes to read: notes as they arrive, questions, answers."""
    for each in result["episodes"]:
        console.print(
            f"[bold]{each['id']}[/bold] on {each['symbol']}, {each['regime']}", highlight=False
        )
        for title in ("facts", "distractors"):
            console.print(f"  {title}:")
            for note in each[title]:
                true = "" if note["true"] is None else "  (true)" if note["true"] else "  (false)"
                console.print(
                    f"    {note['at'][:10]} {note['text']}{true}", highlight=False, markup=False
                )
        for question in each["questions"]:
            answer = "nothing in force" if question["answer"] is None else question["answer"]
            console.print(f"  ? {question['query']}  -> {answer}", highlight=False, markup=False)
