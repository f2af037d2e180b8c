"""What the sealed forecasts of a run were worth: `athena runs show RUN --forecasts`.

Reads a run's records and nothing else: the chain of seals is followed first, then every chance is scored by
the answer that a later record holds. Log score is the mean natural logarithm of the chance given to what came
(higher is better), Brier the mean sum of squared differences (lower is better), reliability how often
buckets came that had been given such a chance. Differences are to climatology on the same questions, with
intervals by the circular block bootstrap over dates (`models/scores.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.forecasts import FIRST_SEAL, WHOLE, next_seal
from agents.sources import BUCKET_COUNT
from core.errors import RunFolderError
from core.records import read_records
from models.scores import brier_scores, log_scores, mean_interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BASELINE = "climatology"
BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FLOOR = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What one source told on the questions that were answered, in the order of answers.

    Shapes: Q questions. `chances` [Q, 5], `answers` [Q], `dates` [Q] the number of the record in which the
    question was put. Questions on which it abstained are left out; `places` [Q] are those it answered.
    """

    chances: FloatArray
    answers: IntArray
    dates: IntArray
    places: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """All forecasts of a run by source, and what agents claimed of the next bar by agent and event (two
    chances: that it did not come, that it did). `sealed` says that every seal follows from the records;
    `open` counts questions without an answer yet."""

    sources: Mapping[str, Told]
    claims: Mapping[tuple[str, str], Told]
    questions: int
    open: int
    sealed: bool
    first_broken: str | None


def read_ledger(records: Iterable[Mapping[str, Any]]) -> Ledger:
    """From records, in order. Records without forecasts are passed over."""
    seal, broken = FIRST_SEAL, None
    asked: dict[tuple[str, str], tuple[int, dict[str, list[float] | None]]] = {}
    answered: list[tuple[int, int, dict[str, list[float] | None]]] = []
    claimed: dict[tuple[str, str, str | None, str], tuple[int, float]] = {}
    came: dict[tuple[str, str], list[tuple[int, float, bool]]] = {}
    for number, record in enumerate(records):
        told = record.get("forecasts")
        if not told:
            continue
        seal = next_seal(seal, record["as_of"], told)
        if broken is None and seal != told["seal"]:
            broken = record["as_of"]
        for answer in told["answers"]:
            question = asked.pop((answer["symbol"], answer["made_at"]), None)
            if question is not None:
                answered.append((question[0], answer["bucket"], question[1]))
        for each in told["came"]:
            found = claimed.pop(
                (each["agent"], each["event"], each["symbol"], each["made_at"]), None
            )
            if found is not None:
                claim = came.setdefault((each["agent"], each["event"]), [])
                claim.append((*found, each["came"]))
        for each in told["claims"]:
            name = (each["agent"], each["event"], each["symbol"], record["as_of"])
            claimed[name] = (number, each["chance"])
        for place, symbol in enumerate(told["symbols"]):
            chances = {name: rows[place] for name, rows in told["chances"].items()}
            asked[symbol, record["as_of"]] = (number, chances)
    names = list(dict.fromkeys(name for *_, chances in answered for name in chances))
    return Ledger(
        {name: _told(name, answered) for name in names},
        {name: _claimed(rows) for name, rows in came.items()},
        len(answered),
        len(asked),
        broken is None,
        broken,
    )


def _told(name: str, answered: list[tuple[int, int, dict[str, list[float] | None]]]) -> Told:
    kept = [
        (place, number, bucket, chances[name])
        for place, (number, bucket, chances) in enumerate(answered)
        if chances.get(name) is not None
    ]
    rows = [row for *_, row in kept]
    return Told(
        chances=np.maximum(
            np.array(rows, dtype=np.float64).reshape(len(rows), BUCKET_COUNT), FLOOR
        ),
        answers=np.array([bucket for _, _, bucket, _ in kept], dtype=np.int64),
        dates=np.array([number for _, number, _, _ in kept], dtype=np.int64),
        places=np.array([place for place, *_ in kept], dtype=np.int64),
    )


def _claimed(rows: list[tuple[int, float, bool]]) -> Told:
    chances = np.array([[1.0 - chance, chance] for _, chance, _ in rows])
    return Told(
        chances=np.maximum(chances, FLOOR),
        answers=np.array([int(came) for *_, came in rows], dtype=np.int64),
        dates=np.array([number for number, *_ in rows], dtype=np.int64),
        places=np.arange(len(rows)),
    )


def ledger_of(run_dir: Path) -> Ledger:
    """The forecasts of a run's folder. Raises: RunFolderError for records that are none."""
    try:
        return read_ledger(read_records(run_dir))
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"the records in {run_dir} do not have what records have: {error}.",
            "`athena runs verify` says what is not as recorded.",
        ) from error


def forecast_report(run_dir: Path) -> dict[str, Any]:
    """The JSON of `runs show --forecasts`: `questions open sealed rows[]`.

    Raises: RunFolderError when the run made no forecasts.
    """
    ledger = ledger_of(run_dir)
    if not ledger.questions and not ledger.open:
        raise RunFolderError(
            f"the run {run_dir.name} made no forecasts.", "Runs with `--agents full` do."
        )
    return {
        "questions": ledger.questions,
        "open": ledger.open,
        "sealed": ledger.sealed,
        "first_broken": ledger.first_broken,
        "rows": [
            *(_row(name, agent_of(name), told, ledger) for name, told in ledger.sources.items()),
            *(_row(event, agent, told, None) for (agent, event), told in ledger.claims.items()),
        ],
    }


def _row(name: str, agent: str, told: Told, ledger: Ledger | None) -> dict[str, Any]:
    """One source's figures; null where it never spoke. Claims are compared with nothing."""
    scores = log_scores(told.chances, told.answers) if len(told.answers) else np.empty(0)
    row: dict[str, Any] = {
        "source": name,
        "agent": agent,
        "n": len(told.answers),
        "log_score": None,
        "brier": None,
        "difference": None,
        "interval": None,
        "reliability": reliability(told),
    }
    if not len(scores):
        return row
    row["log_score"] = float(scores.mean())
    row["brier"] = float(brier_scores(told.chances, told.answers).mean())
    if ledger is not None and name != BASELINE:
        base = ledger.sources[BASELINE]
        usual = np.full(ledger.questions, np.nan)
        usual[base.places] = log_scores(base.chances, base.answers)
        gained = scores - usual[told.places]
        row["difference"] = float(gained.mean())
        row["interval"] = list(mean_interval(gained, told.dates))
    return row


def agent_of(source: str) -> str:
    """Who is answerable for a source: the strategy agent for all of them together, the analyst for each; a
    claim names its agent."""
    return WHOLE if source == WHOLE else "market_analyst"


def reliability(told: Told) -> list[dict[str, Any]]:
    """By bin of told chance: how many, the mean told, how often it came; over all buckets, for claims over
    the chance that it comes."""
    if not len(told.answers):
        return []
    came = np.zeros_like(told.chances)
    came[np.arange(len(told.answers)), told.answers] = 1.0
    first = 1 if told.chances.shape[1] == 2 else 0
    chances, hits = told.chances[:, first:].ravel(), came[:, first:].ravel()
    places = np.clip(np.searchsorted(BINS, chances, side="right") - 1, 0, len(BINS) - 2)
    found = []
    for place in range(len(BINS) - 1):
        inside = places == place
        count = int(inside.sum())
        if count:
            found.append(
                {
                    "from": BINS[place],
                    "to": BINS[place + 1],
                    "n": count,
                    "told": float(chances[inside].mean()),
                    "came": float(hits[inside].mean()),
                }
            )
    return found
