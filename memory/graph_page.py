"""The neighbourhood of an entry as one HTML page: an SVG drawing, no script, nothing loaded from outside."""

from __future__ import annotations

import html
import math
from datetime import datetime
from typing import Final

from core.errors import EntryNotFound
from core.memories import MemoryEntry
from memory.agemem import AgeMem

_WIDTH: Final = 1_000
_HEIGHT: Final = 720
_MOST: Final = 60

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Memory of {title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1040px; color: #1c2430; }}
svg {{ width: 100%; height: auto; border: 1px solid #d5dbe3; border-radius: 6px; }}
line {{ stroke: #8b98a9; }} circle {{ fill: #e8eef6; stroke: #3d6fb4; }}
circle.centre {{ fill: #3d6fb4; }} text {{ font-size: 12px; }} text.relation {{ fill: #6a7685; }}
table {{ border-collapse: collapse; margin-top: 1rem; }}
td, th {{ text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top; }}
</style></head><body>
<h1>{title}</h1><p>{text}</p>
<svg viewBox="0 0 {width} {height}" role="img" aria-label="The entry and its neighbours">
<defs><marker id="arrow" viewBox="0 0 8 8" refX="17" refY="4" markerWidth="7" markerHeight="7"
orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#8b98a9"/></marker></defs>
{lines}
{nodes}
</svg>
<table><tr><th>entry</th><th>text</th><th>recorded</th></tr>
{rows}
</table></body></html>
"""


async def graph_page(memory: AgeMem, entry_id: str, as_of: datetime | None) -> str:
    """Two steps around the entry, as it was known at `as_of`. Raises: EntryNotFound."""
    centre = await memory.get(entry_id, as_of=as_of)
    if centre is None:
        raise EntryNotFound(
            f"no entry {entry_id!r} to be seen at that time.", "`athena memory list` shows them."
        )
    rings: list[dict[str, MemoryEntry]] = [{centre.id: centre}, {}, {}]
    edges: dict[tuple[str, str, str], None] = {}
    for step in (0, 1):
        for near in rings[step]:
            for neighbour in await memory.neighbours(near, as_of=as_of):
                far = neighbour.entry.id
                known = any(far in ring for ring in rings)
                if not known and sum(len(ring) for ring in rings) < _MOST:
                    rings[step + 1][far] = neighbour.entry
                elif not known:
                    continue
                ends = (near, far) if neighbour.outgoing else (far, near)
                edges[*ends, neighbour.relation] = None
    return _draw(centre, rings, list(edges))


def _draw(
    centre: MemoryEntry,
    rings: list[dict[str, MemoryEntry]],
    edges: list[tuple[str, str, str]],
) -> str:
    places = {
        name: _place(step, number, len(ring))
        for step, ring in enumerate(rings)
        for number, name in enumerate(ring)
    }
    entries = {name: entry for ring in rings for name, entry in ring.items()}
    lines = []
    for a, b, relation in edges:
        (x1, y1), (x2, y2) = places[a], places[b]
        lines.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" marker-end="url(#arrow)"/>'
            f'<text class="relation" x="{(x1 + x2) // 2 + 4}" y="{(y1 + y2) // 2 - 4}">'
            f"{html.escape(relation)}</text>"
        )
    nodes, rows = [], []
    for name, entry in entries.items():
        x, y = places[name]
        mark = ' class="centre"' if name == centre.id else ""
        nodes.append(
            f'<circle{mark} cx="{x}" cy="{y}" r="9"><title>{html.escape(entry.text)}</title></circle>'
            f'<text x="{x + 13}" y="{y + 4}">{html.escape(_short(entry.text))}</text>'
        )
        rows.append(
            f"<tr><td>{html.escape(name)} v{entry.version}</td><td>{html.escape(entry.text)}</td>"
            f"<td>{entry.recorded_from:%Y-%m-%d %H:%M}</td></tr>"
        )
    return _PAGE.format(
        title=html.escape(centre.id),
        text=html.escape(centre.text),
        width=_WIDTH,
        height=_HEIGHT,
        lines="\n".join(lines),
        nodes="\n".join(nodes),
        rows="\n".join(rows),
    )


def _place(step: int, number: int, count: int) -> tuple[int, int]:
    angle = 2.0 * math.pi * (number + 0.5 * step) / max(count, 1)
    return (
        round(_WIDTH * (0.42 + 0.19 * step * math.cos(angle))),
        round(_HEIGHT * (0.5 + 0.23 * step * math.sin(angle))),
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 32 else line[:31] + "…"
