"""Pictures of a training and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memory.policy import ACTIONS


def draw_curves(path: Path, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy, KL and entropy, and how often each operation was chosen, over the updates; as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, drift, tools = figure.subplots(3, 1, sharex=True)
    updates = [row["update"] for row in metrics]
    accuracy.plot(updates, [row["accuracy_frac"] for row in metrics], label="rollouts", alpha=0.5)
    for name, label, marker in (
        ("validation_accuracy_frac", "validation, likeliest action", "o"),
        ("run_accuracy_frac", "a run's events, likeliest action", "s"),
    ):
        judged = [row for row in metrics if name in row]
        accuracy.plot(
            [row["update"] for row in judged],
            [row[name] for row in judged],
            label=label,
            marker=marker,
            markersize=3,
        )
    accuracy.set_ylabel("right answers, share")
    accuracy.set_ylim(0, 1)
    accuracy.legend(loc="lower right")
    learned = [row for row in metrics if "kl" in row]
    for name, label in (("kl", "KL to the start, nats"), ("entropy", "entropy, nats")):
        drift.plot([row["update"] for row in learned], [row[name] for row in learned], label=label)
    drift.set_ylabel("nats")
    drift.legend()
    shares = [[row["actions_frac"][action] for row in metrics] for action in ACTIONS]
    tools.stackplot(updates, shares, labels=ACTIONS, alpha=0.85)
    tools.set_ylabel("operations chosen, share")
    tools.set_ylim(0, 1)
    tools.set_xlabel("update")
    tools.legend(loc="upper left", ncols=4, fontsize=8)
    before = None
    for row in metrics:
        if before is not None and row["stage"] != before:
            for axes in (accuracy, drift, tools):
                axes.axvline(row["update"], color="0.6", linewidth=0.8, linestyle="--")
        before = row["stage"]
    figure.savefig(path, dpi=110, format="png")


def draw_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every policy's accuracy with its interval (rows as `athena train eval --json` has them), as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        low, high = row["interval"]
        axes.plot([low, high], [place, place], color="C0")
        colour = "C3" if row["policy"] == "trained" else "C0"
        axes.plot([row["accuracy_frac"]], [place], "o", color=colour)
    axes.set_yticks(range(len(rows)), [row["policy"] for row in reversed(rows)])
    axes.set_xlabel("right answers, share, with 95 % interval")
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110, format="png")
