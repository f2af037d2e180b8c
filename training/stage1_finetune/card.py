"""What is left beside an adapter for people: the model card and a picture of the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.files import replacing, write_atomic


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """The model card as Markdown, from the values of `stage1.json`."""
    metrics, data = card["metrics"], card["data"]
    low, high = metrics["log_score_gain_interval"]
    lines = [
        f"# An adapter on {card['base']}",
        "",
        f"* Backbone: SHA-256 `{card['backbone_hash']}`; no other backbone takes it.",
        f"* Training cut-off: **{card['training_cutoff']}** (base: {card['base_training_cutoff']}). "
        "Nothing up to that date is a fair test of it.",
        f"* Best step {card['best_step']} of {card['steps']}, chosen by the later validation part.",
        f"* Perplexity of the validation text: {metrics['perplexity_before']:.2f} before, "
        f"{metrics['perplexity_after']:.2f} after.",
        f"* Log score over climatology on {metrics['validation_answers']} validation answers: "
        f"{metrics['log_score_gain']:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}]. The step was chosen on "
        "these answers: test it on others.",
        *_control(data),
        "",
        "## Data",
        "",
    ]
    lines += [
        f"* {each['name']}: {each['kind']}, SHA-256 `{each['sha256']}`" for each in data["files"]
    ]
    if not data["files"]:
        lines.append("* The shipped sample's training split and the shipped prose.")
    for licence, count in data.get("text", {}).get("train", {}).get("licences", {}).items():
        lines.append(f"* {count} texts under: {licence}")
    for reason, count in data.get("text", {}).get("dropped", {}).items():
        lines.append(f"* {count} texts left out: {reason}")
    lines += [
        "",
        "## Limits",
        "",
        "It forecasts a distribution over five buckets of the next five days; direction is hardly "
        "forecastable. It is no advice.",
        "",
    ]
    write_atomic(path, "\n".join(lines).encode())


def _control(data: Mapping[str, Any]) -> list[str]:
    if not data["supervised"]["shuffled_answers"]:
        return []
    return [
        "* **A control: its answers were dealt out anew among the states. It is no forecaster.**"
    ]


def draw_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Training and validation loss over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for key, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(row["step"], row[key]) for row in history if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o", markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss per weighted token")
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
