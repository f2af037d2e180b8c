"""Forecasts are sealed before their outcome and answered five bars of their symbol later."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from agents.forecasts import FIRST_SEAL, Answer, Batch, ForecastBook, next_seal
from agents.learning import SpeedMixture
from agents.sources import Climatology, Seen
from agents.states import OwnBars, StateRow
from tests.fakes import bars_of
from trading.history import History, Tape
from trading.panel import Panel, build_panel


def panel(rows: int = 90, hole: int | None = None) -> Panel:
    """A walks, B moves by +1 % and -1 % in turns and may miss one bar."""
    draw = np.random.default_rng(1)
    walk = 100.0 * np.exp(np.cumsum(draw.normal(0.0, 0.01, rows)))
    bars: dict[str, Any] = {"A": [(p, p, p, p, 1.0) for p in walk.tolist()]}
    turns = 100.0 * 1.01 ** (np.arange(rows) % 2)
    bars["B"] = [(p, p, p, p, 1.0) for p in turns.tolist()]
    if hole is not None:
        bars["B"][hole] = None
    return build_panel(bars_of(bars), name="test")


def batch_of(states: StateRow, mixture: SpeedMixture, climate: Climatology, at: str) -> Batch:
    told = climate.tell(Seen(states))
    pooled = mixture.pool(told.chances[None])
    return Batch(at, states.symbols, (told,), pooled, pooled.chances, states.close, states.scale,
                 np.zeros((len(states.symbols), 5)))  # fmt: skip


def lived(
    made: Panel, first: int
) -> tuple[list[tuple[Answer, ...]], list[dict[str, Any]], list[int]]:
    """(answers, sealed records, rows) from a row on; every step asks about whoever can be told about."""
    climate, book = Climatology(), ForecastBook(["climatology"])
    mixture, bars, tape = SpeedMixture(["climatology"]), OwnBars(), Tape(made, 10)
    answers, sealed, rows = [], [], []
    for row in range(made.rows):
        tape.reveal(row)
        if row >= first:
            states = bars.follow(History(tape.shown, row))
            answers.append(book.answer(states))
            told = book.add(states, batch_of(states, mixture, climate, f"t{row}"))
            claim = {"agent": "risk_manager", "event": "loss", "symbol": None, "chance": 0.05}
            sealed.append(book.sealed(told, [claim]))
            rows.append(row)
    return answers, sealed, rows


def test_an_answer_comes_with_the_fifth_bar_and_says_which_bucket_came() -> None:
    made = panel()
    answers, _, rows = lived(made, 70)
    assert [len(each) for each in answers[:6]] == [0, 0, 0, 0, 0, 2]
    first = answers[5][0]
    assert first.symbol == "A"
    assert first.batch.made_at == "t70"
    close = made.field("close")[:, 0]
    moved = close[75] / close[70] - 1.0
    assert first.return_frac == pytest.approx(moved, abs=1e-6)
    past = close[51:71] / close[50:70] - 1.0
    scale = float(np.sqrt(np.mean(past * past)) * np.sqrt(5.0))
    assert first.bucket == int(np.searchsorted((-0.84, -0.25, 0.25, 0.84), moved / scale))
    assert rows[5] == 75
    # B stands one bar up or down after five: +1 % against a scale of 1 % x sqrt 5 is 0.45, "rise".
    assert {answer.bucket for each in answers for answer in each if answer.symbol == "B"} == {1, 3}


def test_a_missing_bar_delays_the_answer_and_asks_nothing() -> None:
    answers, sealed, rows = lived(panel(hole=73), 70)
    by_row = {row: [a.symbol for a in each] for row, each in zip(rows, answers, strict=True)}
    assert by_row[75] == ["A"]
    assert by_row[76] == ["A", "B"]  # its fifth bar after row 70
    assert sealed[3]["symbols"] == ["A"]


def test_the_chain_of_seals_follows_from_the_records_and_breaks_with_any_change() -> None:
    _, sealed, rows = lived(panel(), 70)
    seal = FIRST_SEAL
    for row, record in zip(rows, orjson.loads(orjson.dumps(sealed)), strict=True):
        seal = next_seal(seal, f"t{row}", record)
        assert seal == record["seal"]
    changed = orjson.loads(orjson.dumps(sealed[0]))
    changed["chances"]["climatology"][0][2] = 0.3
    assert next_seal(FIRST_SEAL, "t70", changed) != sealed[0]["seal"]
    changed = orjson.loads(orjson.dumps(sealed[0]))
    changed["claims"][0]["chance"] = 0.06
    assert next_seal(FIRST_SEAL, "t70", changed) != sealed[0]["seal"]
    assert next_seal(FIRST_SEAL, "t71", sealed[0]) != sealed[0]["seal"]
