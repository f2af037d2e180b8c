"""The memory in sixty lines: plain lists of what happened, no store, no index, no closing. What the stores
are held against: it says by itself what is live, from the events of an entry alone."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Write:
    """A version: on which day it was recorded and from which on it holds and its outcome is known."""

    day: float
    text: str
    gate: float


@dataclass(frozen=True)
class End:
    """A day on which everything written so far was taken back."""

    day: float


@dataclass
class ModelEntry:
    events: list[Write | End]
    purged: bool = False

    @property
    def open(self) -> bool:
        return isinstance(self.events[-1], Write)

    def text_at(self, as_of: float) -> str | None:
        """The newest text that may be seen, of those written since the last end."""
        found = None
        candidates: list[Write] = []
        for event in self.events:
            if event.day <= as_of:
                candidates = [*candidates, event] if isinstance(event, Write) else []
        for write in candidates:
            if max(write.day, write.gate) <= as_of:
                found = write.text
        return found


@dataclass
class ModelBranch:
    """A fork is a deep copy: nothing is shared, so nothing can leak."""

    entries: dict[str, ModelEntry] = field(default_factory=dict)

    def add(self, name: str, text: str, now: float, gate: float) -> None:
        self.entries[name] = ModelEntry([Write(now, text, gate)])

    def changeable(self, name: str) -> bool:
        entry = self.entries.get(name)
        return entry is not None and entry.open and not entry.purged

    def update(self, name: str, text: str, now: float, gate: float) -> bool:
        if self.changeable(name):
            self.entries[name].events.append(Write(now, text, gate))
            return True
        return False

    def delete(self, name: str, now: float) -> bool:
        if self.changeable(name):
            self.entries[name].events.append(End(now))
            return True
        return False

    def reopen(self, name: str, now: float, back: int) -> None:
        """Take back the last event and bring back the text of the write `back` places before the end."""
        events = self.entries[name].events
        old = [event for event in events if isinstance(event, Write)][-back]
        if isinstance(events[-1], Write):
            events.append(End(now))
        events.append(Write(now, old.text, old.gate))

    def visible(self, as_of: float) -> dict[str, str]:
        found = {n: e.text_at(as_of) for n, e in self.entries.items() if not e.purged}
        return {name: text for name, text in found.items() if text is not None}
