"""A file to import is somebody else's: it is checked as a whole, and stored as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import ContentRefused, MemoryRefused
from memory.agemem import AgeMem
from tests.memory.support import HandClock, Place

Lines = list[dict[str, Any]]


def _operation(lines: Lines, sequence: int) -> Any:
    return next(
        line["operation"]
        for line in lines
        if "operation" in line and line["operation"]["sequence"] == sequence
    )


def _text(text: Any) -> Callable[[Lines], None]:
    def damage(lines: Lines) -> None:
        _operation(lines, 1)["body"]["opened"][0]["content"] = text

    return damage


def _set(sequence: int, name: str, value: Any) -> Callable[[Lines], None]:
    return lambda lines: _operation(lines, sequence).update({name: value})


def _without(name: str, place: int) -> Callable[[Lines], None]:
    return lambda lines: lines.remove([line for line in lines if name in line][place])


def _entry(name: str) -> Callable[[Lines], None]:
    """Another name for an entry that nothing else speaks of; its version's id stays."""

    def damage(lines: Lines) -> None:
        _operation(lines, 2)["body"]["opened"][0]["entry_id"] = name
        _operation(lines, 3)["body"]["linked"][0]["to_entry"] = name

    return damage


def _dimension(lines: Lines) -> None:
    next(line for line in lines if "vector" in line)["vector"]["dimension"] = 383


def _edge(lines: Lines) -> None:
    _operation(lines, 3)["body"]["linked"][0]["to_entry"] = "m-none"


def _time(lines: Lines) -> None:
    _operation(lines, 1)["body"]["opened"][0]["valid_from"] = -(10**18)


def _cycle(lines: Lines) -> None:
    next(line for line in lines if "branch" in line)["branch"]["parent"] = "b1"


@pytest.mark.parametrize(
    "damage",
    [
        _text(42), _text("a\0b"), _text("a\x1bb"), _text(" "), _text(""), _dimension, _edge, _time,
        _entry("m-other"), _cycle, _without("vector", 0), _without("operation", 1), _without("operation", 0),
        _without("branch", 0), _without("branch", 1), _set(1, "sequence", True),
        _set(1, "kind", "other"), _set(1, "recorded_at", "noon"), _set(1, "namespace", None),
        _set(1, "body", []), _set(2, "branch", "b1"),
    ],
)  # fmt: skip
async def test_a_damaged_export_is_refused_and_nothing_is_stored(
    place: Place, clock: HandClock, tmp_path: Path, damage: Callable[[Lines], None]
) -> None:
    async with AgeMem(store=place.store("from"), clock=clock) as memory:
        first, second = await memory.add("one bond"), await memory.add("two bonds")
        await memory.link(first.id, second.id, "near")
        await (await memory.fork()).update(first.id, "another bond")
        await memory.export(tmp_path / "whole.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    damage(lines)
    del lines[-1]["sha256"]  # which notices all of this by itself
    path = tmp_path / "damaged.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    async with AgeMem(store=place.store("to", seed=None), clock=clock) as memory:
        with pytest.raises(ContentRefused):
            await memory.import_(path)
        assert await memory.list() == ()
        await memory.import_(tmp_path / "whole.jsonl")
        assert await memory.check() == ()
        assert len(await memory.list()) == 2


async def test_a_change_of_an_export_is_noticed_and_one_without_a_digest_told(
    place: Place, clock: HandClock, tmp_path: Path
) -> None:
    path = tmp_path / "whole.jsonl"
    async with AgeMem(store=place.store("from"), clock=clock) as memory:
        await memory.add("one bond")
        await memory.export(path)
    whole = path.read_bytes()
    lines = whole.splitlines()
    *before, last = lines
    older = json.dumps({"end": json.loads(last)["end"]}).encode()
    changed = {
        "another text": whole.replace(b"one bond", b"two bonds"),
        "a line more": b"\n".join([*before, b'{"other":1}', last]),
        "a line behind": whole + before[-1],
        "another name": whole.replace(b'"sha256"', b'"sha257"'),
    }
    async with AgeMem(store=place.store("to", seed=None), clock=clock) as memory:
        for name, content in changed.items():
            path.write_bytes(content)
            with pytest.raises(ContentRefused, match=r"is not as it was exported|is cut off"):
                await memory.import_(path)
            assert await memory.list() == (), name
        path.write_bytes(b"\r\n".join(lines))  # on its way through another system
        assert (await memory.import_(path)).notes == ()
    async with AgeMem(store=place.store("older", seed=None), clock=clock) as memory:
        path.write_bytes(b"\n".join([*before, older]))
        assert "has no digest" in (await memory.import_(path)).notes[0]
        assert [entry.text for entry in await memory.list()] == ["one bond"]


@pytest.mark.parametrize(
    "second",
    [
        '{"text": "a\\u0001b"}',
        '{"text": "other words", "key": "k"}',
        '{"text": "b", "source": 5}',
        '{"text": "b", "key": 5}',
    ],
)
async def test_bare_lines_are_stored_all_or_none_and_the_line_is_named(
    place: Place, clock: HandClock, tmp_path: Path, second: str
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "a", "key": "k"}\n' + second + '\n{"text": "c"}\n')
    async with AgeMem(store=place.store(), clock=clock) as memory:
        with pytest.raises(MemoryRefused, match="line 2"):
            await memory.import_(path)
        assert await memory.list() == ()


async def test_null_is_absent_and_a_byte_order_mark_no_text(
    place: Place, clock: HandClock, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "a", "source": null, "key": null, "symbol": null}\n'
        b'{"text": "b", "source": null, "key": null}\n'
    )
    async with AgeMem(store=place.store(), clock=clock) as memory:
        assert (await memory.import_(path)).entries == 2
        assert [(e.text, e.source, e.metadata) for e in await memory.list()] == [
            ("a", "import", {}),
            ("b", "import", {}),
        ]


async def test_an_export_is_not_loaded_over_a_branch_of_another_client(
    place: Place, clock: HandClock, tmp_path: Path
) -> None:
    async with AgeMem(store=place.store("from"), clock=clock) as memory:
        await memory.add("one bond")
        await memory.export(tmp_path / "whole.jsonl")
    async with (
        AgeMem(store=place.store("to", seed=None), clock=clock) as memory,
        AgeMem(store=place.store("to", seed=None), clock=clock) as other,
    ):
        await memory.list()
        await other.fork()
        with pytest.raises(MemoryRefused, match="already"):
            await memory.import_(tmp_path / "whole.jsonl")
