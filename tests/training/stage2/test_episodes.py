from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
import pytest

from core.config import AthenaConfig
from core.errors import DataError
from memory.policy import FEATURES, SOURCES
from tests.conftest import ROOT
from trading.sources.load import load_panel
from training.stage2_agemem.beliefs import Beliefs, share_right
from training.stage2_agemem.episodes import (
    EPISODE_BARS,
    FIRST_NOTES,
    LATER_NOTES,
    Claim,
    Episode,
    Path,
    episode,
    paths_of_panel,
    regime_at,
)
from training.stage2_agemem.sources import paths_for
from training.stage2_agemem.world import (
    KINDS,
    VOICES,
    WORDINGS,
    asked_share,
    truth_chance,
)

DIGEST = """
import hashlib
from core.config import AthenaConfig
from training.stage2_agemem.episodes import episode
from training.stage2_agemem.sources import paths_for
paths = paths_for(AthenaConfig(), "test").paths
drawn = [episode(paths, "test", number, seed=3) for number in range(5)]
texts = [note.event.text for e in drawn for note in e.notes] + [q.text for e in drawn for q in e.questions]
print(hashlib.sha256("|".join(texts).encode()).hexdigest())
"""


def test_an_episode_is_the_same_in_every_process() -> None:
    found = set()
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    paths = paths_for(AthenaConfig(), "test").paths
    drawn = [episode(paths, "test", number, seed=3) for number in range(5)]
    texts = [note.event.text for each in drawn for note in each.notes]
    texts += [question.text for each in drawn for question in each.questions]
    assert found == {hashlib.sha256("|".join(texts).encode()).hexdigest()}


def test_an_episode_has_twenty_notes_then_six_half_of_them_distractors(
    some_episodes: list[Episode],
) -> None:
    for each in some_episodes:
        assert (len(each.first), len(each.later)) == (FIRST_NOTES, LATER_NOTES)
        roles = Counter(note.role != "fact" for note in each.later)
        assert roles[True] == LATER_NOTES // 2
        assert len({note.fact for note in each.first}) == 11
        modes = Counter(note.mode for note in each.first if note.role == "fact")
        assert modes == {"new": 9, "revision": 3, "withdrawal": 2, "report": 3}


def test_the_first_note_of_a_fact_brings_it_up(some_episodes: list[Episode]) -> None:
    for each in some_episodes:
        seen = set()
        for note in each.first:
            assert note.fact in seen or note.mode == "new"
            seen.add(note.fact)


def test_about_one_question_in_six_is_about_a_withdrawn_fact(train_paths: list[Path]) -> None:
    drawn = [episode(train_paths, "train", number) for number in range(500)]
    share = np.mean([q.answer is None for each in drawn for q in each.questions])
    # 2,000 questions: three standard errors are 0.025.
    assert share == pytest.approx(1 / 6, abs=0.03)
    assert all(
        q.fact in each.withdrawn for each in drawn for q in each.questions if q.answer is None
    )


def test_hot_kinds_are_asked_for_as_often_as_the_world_says(train_paths: list[Path]) -> None:
    # Of the questions in whose pool both hot kinds stand, the first takes .50 and the second .38 of what
    # those kinds and the cold ones present have together.
    expected = seen = 0.0
    for number in range(600):
        each = episode(train_paths, "train", number)
        present = {fact.kind for fact, claim in each.truth.items() if claim is not None}
        regime = each.situation.regime
        hottest = max(KINDS, key=lambda kind: asked_share(regime, kind))
        if hottest in present:
            total = sum(asked_share(regime, kind) for kind in present)
            asked = [q for q in each.questions if q.answer is not None]
            expected += len(asked) * asked_share(regime, hottest) / total
            seen += sum(q.fact.kind == hottest for q in asked)
    assert seen == pytest.approx(expected, rel=0.1)


def test_notes_are_true_as_often_as_source_and_words_say(train_paths: list[Path]) -> None:
    notes = [n for i in range(400) for n in episode(train_paths, "train", i).notes]
    for source in SOURCES:
        for wording in WORDINGS:
            told = [
                note.true
                for note in notes
                if note.role != "stale" and (note.event.source, note.wording) == (source, wording)
            ]
            chance = truth_chance(source, wording)
            error = (chance * (1 - chance) / len(told)) ** 0.5
            assert np.mean(told) == pytest.approx(chance, abs=4 * error + 1e-3)


def test_companies_and_templates_of_the_splits_are_apart() -> None:
    for part in ("companies", "claims", "withdrawals", "chatter"):
        everything = [each for voice in VOICES.values() for each in getattr(voice, part)]
        assert len(everything) == len(set(everything))


def test_the_wording_stands_in_the_text_and_in_no_feature() -> None:
    assert not any(
        word in feature for feature in FEATURES for word in ("confirm", "rumour", "true")
    )


def test_symbols_of_a_split_are_told_apart() -> None:
    for voice in VOICES.values():
        short = {
            name.upper().split()[0][:3] + name.upper().split()[1][:1] for name in voice.companies
        }
        assert len(short) == len(voice.companies)


def test_the_regime_does_not_see_later_bars(train_paths: list[Path]) -> None:
    path = train_paths[0]
    row = int(path.starts[200])
    later = path.close.copy()
    later[row + 1 :] *= 3.0
    assert regime_at(path.close, row) == regime_at(later, row)


def test_every_regime_occurs_on_every_symbol(train_paths: list[Path]) -> None:
    for path in train_paths:
        found = Counter(regime_at(path.close, int(row))[0] for row in path.starts[::5])
        assert min(found.values()) / sum(found.values()) > 0.15
        assert len(found) == 3


def test_prices_that_are_too_short_say_how_long_they_must_be() -> None:
    panel = paths_for(AthenaConfig(), "train").paths[0]
    short = replace(panel, times=panel.times[:100], close=panel.close[:100])

    class Panel:
        symbols = ("AAPL",)
        times = short.times
        stack = np.repeat(short.close[None, :, None], 6, axis=0)

    with pytest.raises(DataError, match=r"longest symbol has 100 bars.*at least 152"):
        paths_of_panel(Panel())  # type: ignore[arg-type]


def test_beliefs_are_calibrated(train_paths: list[Path]) -> None:
    """Of claims that are believed with chance p, a share p is in force: exact chances, by ten bins."""
    believed, true = [], []
    for number in range(500):
        each = episode(train_paths, "train", number, seed=5)
        beliefs = Beliefs(each)
        for note in each.notes:
            beliefs.hear(note)
        for fact, belief in beliefs.of.items():
            total = belief.force + belief.never + belief.withdrawn
            assert total == pytest.approx(1.0)
            for claim, chance in belief.in_force.items():
                believed.append(chance)
                true.append(each.truth[fact] == claim)
    p, hit = np.array(believed), np.array(true, float)
    for low in np.arange(0.0, 1.0, 0.1):
        inside = (p >= low) & (p < low + 0.1)
        if inside.sum() > 100:
            error = (0.25 / inside.sum()) ** 0.5
            assert hit[inside].mean() == pytest.approx(p[inside].mean(), abs=3.5 * error)


def test_the_worth_of_a_memory_is_what_it_earns(train_paths: list[Path]) -> None:
    """Mean worth by the beliefs equals the mean share of right answers, for the last six notes kept."""
    from training.stage2_agemem import reader

    class Entry:
        def __init__(self, note: object) -> None:
            self.source = note.event.source  # type: ignore[attr-defined]
            self.metadata = note.event.metadata  # type: ignore[attr-defined]

    worth, earned = [], []
    for number in range(600):
        each = episode(train_paths, "train", number, seed=6)
        beliefs = Beliefs(each)
        for note in each.notes:
            beliefs.hear(note)
        kept = list(each.notes[-10:-4])
        worth.append(beliefs.value(kept))
        entries = [Entry(note) for note in kept]
        right = [
            reader.is_right(q, reader.answer(q, entries, range(len(entries))))  # type: ignore[arg-type]
            for q in each.questions
        ]
        earned.append(np.mean(right))
    difference = np.array(earned) - np.array(worth)
    assert abs(difference.mean()) < 3 * difference.std() / len(difference) ** 0.5


def test_a_wrong_entry_is_worth_what_its_other_figures_share() -> None:
    kept = Claim(10.0, 1, 3)
    assert share_right(kept, Claim(10.0, 1, 3)) == 1.0
    assert share_right(kept, Claim(11.0, 1, 4)) == pytest.approx(0.2)  # direction alone
    assert share_right(kept, Claim(11.0, 1, 3)) == pytest.approx(0.4)  # direction and count
    assert share_right(kept, Claim(11.0, -1, 4)) == 0.0


def test_fewer_notes_are_the_beginning_of_the_same_episode(train_paths: list[Path]) -> None:
    whole = episode(train_paths, "train", 4)
    part = episode(train_paths, "train", 4, notes=9)
    assert part.notes == whole.notes[:9]
    assert len(whole.notes) == EPISODE_BARS


@pytest.mark.parametrize(("since", "meets"), [("2003-01-02", True), ("2008-01-02", False)])
def test_prices_that_the_policy_was_trained_on_are_named(
    tmp_path: FilePath, since: str, meets: bool
) -> None:
    """What counts is the symbol's own first bar, not that of a file in which another begins earlier."""
    panel = load_panel()
    days, close = panel.times.astype("datetime64[D]"), panel.field("close")
    apple, other_close = (close[:, panel.symbols.index(name)] for name in ("AAPL", "MSFT"))
    lines = ["date,symbol,close"]
    for day, own, other in zip(days, apple, other_close, strict=True):
        if day >= np.datetime64("2002-01-02"):
            lines.append(f"{day},MSFT,{other}")
        if day >= np.datetime64(since):
            lines.append(f"{day},AAPL,{own}")
    file = tmp_path / "prices.csv"
    file.write_text("\n".join(lines) + "\n")
    found = paths_for(AthenaConfig(), "test", file)
    assert len(found.paths) == 2
    assert ("AAPL up to" in found.overlap) is meets
