"""What `athena model info|download|build` show a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def render_info(info: Mapping[str, Any], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    memory = ", ".join(
        f"{size / 2**20:,.1f} MiB in {dtype}" for dtype, size in info["memory_bytes"].items()
    )
    rows = (
        ("model", info["name"]),
        ("folder", info["path"]),
        (
            "parameters",
            f"{info['parameters']:,}, of which a token passes {info['active_parameters']:,}",
        ),
        ("trainable", f"{info['trainable_parameters']:,} with the action head"),
        (
            "shape",
            f"{info['layers']} layers of {info['hidden_size']}, {info['experts']} experts of which "
            f"{info['experts_per_token']} are asked, {info['vocabulary']:,} tokens",
        ),
        ("context", f"{info['context_tokens']:,} tokens"),
        ("training cut-off", info["training_cutoff"] or "not known: set olmoe.training_cutoff"),
        ("memory", memory),
        ("backbone", info["backbone_hash"][:12]),
    )
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    console.print(table)


def render_made(made: Mapping[str, Any], console: Console) -> None:
    from rich.text import Text

    console.print(Text(f"The model lies in {made['path']}."))
    console.print(Text(f"Use it: --set olmoe.model_path={made['path']}"))
