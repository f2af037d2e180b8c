"""The memory in sixty lines: plain dictionaries, no store, no index. What the stores are held against."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ModelEntry:
    texts: list[str]
    spans: list[list[float]]  # [recorded, hidden) of each version, in days
    outcomes: list[float]
    purged: bool = False

    @property
    def open(self) -> bool:
        return self.spans[-1][1] == float("inf")


@dataclass
class ModelBranch:
    """A fork is a deep copy: nothing is shared, so nothing can leak."""

    entries: dict[str, ModelEntry] = field(default_factory=dict)
    links: list[tuple[str, str, str, float]] = field(default_factory=list)
    cap: int | None = None

    def live(self) -> list[str]:
        return [name for name, entry in self.entries.items() if entry.open and not entry.purged]

    def add(self, name: str, text: str, now: float, outcome: float) -> None:
        self.entries[name] = ModelEntry([text], [[now, float("inf")]], [outcome])

    def update(self, name: str, text: str, now: float) -> bool:
        entry = self.entries.get(name)
        if entry is None or not entry.open or entry.purged:
            return False
        entry.spans[-1][1] = now
        entry.texts.append(text)
        entry.spans.append([now, float("inf")])
        entry.outcomes.append(now)
        return True

    def delete(self, name: str, now: float) -> bool:
        entry = self.entries.get(name)
        if entry is None or not entry.open or entry.purged:
            return False
        entry.spans[-1][1] = now
        return True

    def reopen(self, name: str, now: float) -> None:
        entry = self.entries[name]
        entry.texts.append(entry.texts[-1])
        entry.spans.append([now, float("inf")])
        entry.outcomes.append(entry.outcomes[-1])

    def visible(self, as_of: float) -> dict[str, str]:
        return {
            name: text
            for name, entry in self.entries.items()
            if not entry.purged
            for text, (start, end), outcome in zip(
                entry.texts, entry.spans, entry.outcomes, strict=True
            )
            if max(start, outcome) <= as_of < end
        }
