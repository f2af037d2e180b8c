"""The policies that a trained one is measured against, beside the plain rules of `memory/rules.py`.

    oracle      knows the questions and the truth: shows that the questions can be answered
    known       of a run's events: knows which topics lean
    attainable  knows the world's constants, not the questions: the fair ceiling
    fitted      a logistic model of which note will be an answer, with a tuned threshold

They are tuned on training episodes by `tuning.py`; `baselines.json` holds what came out. Refuses to know
training and rewards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from memory.policy import NOTHING, Choice, MemoryPolicy, MemoryState
from memory.rules import RuleChooser, Tree, hand_rule
from training.stage2_agemem.beliefs import Beliefs
from training.stage2_agemem.episodes import Episode, Note

if TYPE_CHECKING:
    import numpy.typing as npt

    from core.memories import Version

    FloatArray = npt.NDArray[np.float64]


class Rule(Protocol):
    """What is done in one episode, by somebody who may know more than a policy."""

    def __call__(self, episode: Episode, note: Note, state: MemoryState) -> str: ...


@dataclass(slots=True)
class EpisodeChooser:
    """A chooser with the episodes at hand: it finds each state's note by its text and time."""

    rule: Rule
    _notes: dict[tuple[str, str, Any], tuple[Episode, Note]] = field(default_factory=dict)

    def know(self, episodes: Sequence[Episode]) -> None:
        self._notes = {
            (episode.id, note.event.text, note.event.at): (episode, note)
            for episode in episodes
            for note in episode.notes
        }

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        chosen = []
        for state in states:
            name = state.name.split("/", maxsplit=1)[0]
            episode, note = self._notes[name, state.event.text, state.event.at]
            chosen.append(Choice(self.rule(episode, note, state)))
        return chosen


def kept_notes(episode: Episode, versions: Sequence[Version]) -> list[Note]:
    """The notes whose texts are kept, the one written longest ago first."""
    by_text = {note.event.text: note for note in episode.notes}
    return [by_text[version.content] for version in versions]


def oracle(episode: Episode, note: Note, state: MemoryState) -> str:
    """Keep, once, what answers a question of this episode, and nothing else."""
    for question in episode.questions:
        truth = episode.truth[question.fact]
        if note.fact != question.fact or note.role != "fact" or truth is None:
            continue
        if note.claim != truth:
            continue
        kept = kept_notes(episode, state.live.versions)
        return NOTHING if any(each.claim == truth for each in kept) else "add"
    return NOTHING


@dataclass(slots=True)
class Attainable:
    """Takes the action whose memory is worth most by the exact chances, were the questions asked now.

    An ADD must gain `add_gain`, an UPDATE `update_gain`: room and age are worth something for later notes,
    which the present value cannot see. Both are tuned on training episodes.
    """

    add_gain: float
    update_gain: float
    _beliefs: dict[str, Beliefs] = field(default_factory=dict)

    def __call__(self, episode: Episode, note: Note, state: MemoryState) -> str:
        if note.number == 0:
            self._beliefs[state.name] = Beliefs(episode)
        beliefs = self._beliefs[state.name]
        beliefs.hear(note)
        versions = state.live.versions
        kept = kept_notes(episode, versions)
        added = [*kept, note]
        if state.live.cap is not None and len(added) > state.live.cap:
            added = added[1:]
        plans = [("add", added, self.add_gain)]
        if state.closest is not None:
            target = [version.entry_id for version in versions].index(state.closest.id)
            rest = kept[:target] + kept[target + 1 :]
            plans += [("update", [*rest, note], self.update_gain), ("delete", rest, 0.0)]
        best, worth = NOTHING, beliefs.value(kept)
        for action, notes, price in plans:
            value = beliefs.value(notes) - price
            if value > worth + 1e-9:
                best, worth = action, value
        return best


@dataclass(frozen=True, slots=True)
class AnswerModel:
    """Chance that a note will answer a question, from features and embedding; weights of a logistic model.

    Shapes: `weights` [F + D], `mean` and `scale` [F + D].
    """

    backbone_hash: str
    weights: FloatArray
    bias: float
    mean: FloatArray
    scale: FloatArray
    threshold: float

    def chances(self, inputs_BX: FloatArray) -> FloatArray:
        """Shapes: `inputs_BX` [B, F + D]; the result [B]."""
        scores = ((inputs_BX - self.mean) / self.scale) @ self.weights + self.bias
        chances: FloatArray = 1.0 / (1.0 + np.exp(-scores))
        return chances


class TextEncoder(Protocol):
    """Embeddings of texts, [B, D], without gradients (`models/action_scorer.py`)."""

    def embed(self, texts: Sequence[str]) -> Any: ...


@dataclass(frozen=True, slots=True)
class FittedChooser:
    """Keeps what the answer model finds likely enough: in place of the closest entry, or beside."""

    model: AnswerModel
    encoder: TextEncoder

    def choose(self, states: Sequence[MemoryState], draws: FloatArray | None) -> list[Choice]:
        chances = self.model.chances(fitted_inputs(states, self.encoder))
        return [Choice(self._action(state, p)) for state, p in zip(states, chances, strict=True)]

    def _action(self, state: MemoryState, chance: float) -> str:
        if state.event.mode == "withdrawal":
            return hand_rule(state)
        if chance < self.model.threshold:
            return NOTHING
        rule = hand_rule(state)
        return rule if rule in ("add", "update") else NOTHING


def fitted_inputs(states: Sequence[MemoryState], encoder: TextEncoder) -> FloatArray:
    """Features and embeddings side by side, [B, F + D]."""
    features = np.stack([state.features for state in states]).astype(np.float64)
    embedded = encoder.embed([state.text for state in states]).double().cpu().numpy()
    joined: FloatArray = np.concatenate([features, embedded], axis=1)
    return joined


@dataclass(frozen=True, slots=True)
class Baselines:
    """What was tuned on training episodes."""

    tree: Tree | None
    add_gain: float
    update_gain: float
    answers: AnswerModel | None


def known_topics(episode: Episode, note: Note, state: MemoryState) -> str:
    """Of a run's events: keep tallies of the topics that lean, and nothing else."""
    if note.role != "fact" or episode.truth[note.fact] is None:
        return NOTHING
    return "add" if state.closest is None else "update"


@cache
def baselines() -> Baselines:
    """The tuned references as they are shipped."""
    text = (resources.files("training.stage2_agemem") / "baselines.json").read_text("utf-8")
    kept = json.loads(text)
    tree = kept["heuristic"]["tree"]
    answers = kept["fitted"]
    return Baselines(
        None if tree is None else Tree(**{name: tuple(each) for name, each in tree.items()}),
        kept["attainable"]["add_gain"],
        kept["attainable"]["update_gain"],
        None
        if answers is None
        else AnswerModel(
            answers["backbone_hash"],
            np.array(answers["weights"]),
            answers["bias"],
            np.array(answers["mean"]),
            np.array(answers["scale"]),
            answers["threshold"],
        ),
    )


def heuristic_policy() -> MemoryPolicy:
    """The better of the hand rule and the small tree, by training accuracy."""
    tree = baselines().tree
    return MemoryPolicy("heuristic", RuleChooser(hand_rule if tree is None else tree))


def reference_policy(name: str, episodes: Sequence[Episode]) -> MemoryPolicy:
    """`oracle`, `attainable`, or for a run's events `known`, knowing these episodes."""
    found = baselines()
    rules: dict[str, Rule] = {
        "oracle": oracle,
        "attainable": Attainable(found.add_gain, found.update_gain),
        "known": known_topics,
    }
    rule = rules[name]
    chooser = EpisodeChooser(rule)
    chooser.know(episodes)
    return MemoryPolicy(name, chooser)
