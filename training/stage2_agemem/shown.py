"""`athena train episodes`: episodes as plain values, to be read or kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.stage2_agemem.episodes import Episode, Note, Question, episode
from training.stage2_agemem.sources import paths_for

if TYPE_CHECKING:
    from core.config import AthenaConfig


def shown_episodes(config: AthenaConfig, count: int, data: Path | None = None) -> dict[str, Any]:
    """The first episodes of the test split, or of a user's prices. Raises: DataError."""
    source = paths_for(config, "test", data)
    drawn = [
        episode(source.paths, source.split, number, seed=config.seed) for number in range(count)
    ]
    return {"episodes": [_shown(each) for each in drawn]}


def _shown(each: Episode) -> dict[str, Any]:
    first = each.questions[0]
    return {
        "id": each.id,
        "symbol": each.symbol,
        "regime": each.situation.regime,
        "facts": _notes(each.first),
        "distractors": _notes(each.later),
        "query": first.text,
        "answer": first.answer,
        "questions": [_question(question) for question in each.questions],
    }


def _notes(notes: Sequence[Note]) -> list[dict[str, Any]]:
    return [
        {
            "at": note.event.at.isoformat().replace("+00:00", "Z"),
            "text": note.event.text,
            "kind": note.event.kind,
            "mode": note.mode,
            "role": note.role,
            "source": note.event.source,
            "true": note.true if note.role == "fact" else None,
        }
        for note in notes
    ]


def _question(question: Question) -> dict[str, Any]:
    return {"type": question.type, "query": question.text, "answer": question.answer}
