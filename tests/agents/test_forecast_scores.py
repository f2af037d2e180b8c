"""The worth of sealed forecasts, from records alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest

from agents.forecast_scores import forecast_report, read_ledger, reliability
from agents.forecasts import FIRST_SEAL, next_seal
from core.errors import RunFolderError

EVEN = [0.2] * 5
SURE = [0.05, 0.05, 0.1, 0.2, 0.6]
EVENT = {"agent": "risk_manager", "event": "loss_beyond_var", "symbol": None}
LOSS = {**EVENT, "chance": 0.05, "loss_frac": 0.02}


def record(
    at: str,
    seal: str,
    answers: list[Any],
    sure: list[float] | None = SURE,
    *,
    claims: bool = False,
    came: tuple[Any, ...] = (),
) -> dict[str, Any]:
    told = {
        "symbols": ["A"],
        "chances": {"climatology": [EVEN], "news": [sure], "strategy": [SURE]},
        "claims": [LOSS] if claims else [],
    }
    return {
        "as_of": at,
        "forecasts": {
            "seal": next_seal(seal, at, told),
            "horizon_bars": 5,
            **told,
            "answers": answers,
            "came": list(came),
        },
    }


def answer(at: str, bucket: int) -> dict[str, Any]:
    return {"symbol": "A", "made_at": at, "bucket": bucket, "return_frac": 0.01}


def lines() -> list[bytes]:
    """Three questions; the first came as 4, the second as 2 (on which news had abstained)."""
    first = record("t0", FIRST_SEAL, [])
    second = record("t1", first["forecasts"]["seal"], [], sure=None)
    third = record("t2", second["forecasts"]["seal"], [answer("t0", 4), answer("t1", 2)])
    return [
        orjson.dumps(each) for each in (first, {"as_of": "t05", "forecasts": {}}, second, third)
    ]


def test_chances_are_scored_by_later_answers_and_silence_is_left_out() -> None:
    """Log 0.6 = -0.5108 for news; (log 0.6 + log 0.1) / 2 = -1.4067 for the whole. Brier of the first:
    0.05^2 + 0.05^2 + 0.1^2 + 0.2^2 + 0.4^2 = 0.215."""
    ledger = read_ledger(map(orjson.loads, lines()))
    assert (ledger.questions, ledger.open, ledger.sealed) == (2, 1, True)
    news, whole = ledger.sources["news"], ledger.sources["strategy"]
    assert news.chances[0, 4] == 0.6
    assert len(news.answers) == 1
    assert whole.answers.tolist() == [4, 2]


def test_the_report_compares_with_climatology_on_the_same_questions(tmp_path: Any) -> None:
    (tmp_path / "steps.jsonl").write_bytes(b"\n".join(lines()) + b"\n")
    report = forecast_report(tmp_path)
    rows = {row["source"]: row for row in report["rows"]}
    assert rows["news"]["log_score"] == pytest.approx(math.log(0.6))
    assert rows["news"]["brier"] == pytest.approx(0.215)
    assert rows["news"]["difference"] == pytest.approx(math.log(0.6 / 0.2))
    assert rows["strategy"]["log_score"] == pytest.approx((math.log(0.6) + math.log(0.1)) / 2)
    low, high = rows["strategy"]["interval"]
    assert low <= rows["strategy"]["difference"] <= high
    assert rows["climatology"]["difference"] is None


def test_a_source_that_never_spoke_has_no_figures(tmp_path: Any) -> None:
    first = record("t0", FIRST_SEAL, [], sure=None)
    second = record("t1", first["forecasts"]["seal"], [answer("t0", 4)], sure=None)
    (tmp_path / "steps.jsonl").write_bytes(b"\n".join(map(orjson.dumps, (first, second))) + b"\n")
    news = {row["source"]: row for row in forecast_report(tmp_path)["rows"]}["news"]
    assert (news["n"], news["log_score"], news["interval"]) == (0, None, None)
    assert news["reliability"] == []


def test_a_changed_forecast_breaks_the_chain() -> None:
    changed = [line.replace(b"0.6]", b"0.7]") if b'"t1"' in line[:20] else line for line in lines()]
    ledger = read_ledger(map(orjson.loads, changed))
    assert not ledger.sealed
    assert ledger.first_broken == "t1"


def test_reliability_counts_how_often_told_chances_came() -> None:
    """Ten chances: 0.05 twice and 0.1 once of each question; of the two told 0.6 one came."""
    found = {
        each["from"]: each
        for each in reliability(read_ledger(map(orjson.loads, lines())).sources["strategy"])
    }
    assert found[0.0] == {"from": 0.0, "to": 0.1, "n": 4, "told": pytest.approx(0.05), "came": 0.0}
    assert found[0.6]["came"] == 0.5
    assert found[0.1]["came"] == 0.5
    assert sum(each["n"] for each in found.values()) == 10
    assert np.isclose(sum(each["n"] * each["told"] for each in found.values()), 2.0)


def test_a_run_without_forecasts_says_so(tmp_path: Any) -> None:
    (tmp_path / "steps.jsonl").write_bytes(b'{"as_of": "t0", "forecasts": {}}\n')
    with pytest.raises(RunFolderError, match="made no forecasts"):
        forecast_report(tmp_path)


def test_what_agents_claim_is_scored_beside_the_forecasts(tmp_path: Any) -> None:
    """Told 0.05 twice, came once: (log 0.05 + log 0.95) / 2; Brier (2 x 0.95^2 + 2 x 0.05^2) / 2 = 0.905."""
    steps, seal = [], FIRST_SEAL
    for number, came in enumerate([(), (True,), (False,), ()]):
        told = tuple({**EVENT, "made_at": f"t{number - 1}", "came": each} for each in came)
        steps.append(record(f"t{number}", seal, [], claims=number < 3, came=told))
        seal = steps[-1]["forecasts"]["seal"]
    (tmp_path / "steps.jsonl").write_bytes(b"\n".join(map(orjson.dumps, steps)) + b"\n")
    report = forecast_report(tmp_path)
    assert report["sealed"]
    row = report["rows"][-1]
    assert (row["source"], row["agent"], row["n"]) == ("loss_beyond_var", "risk_manager", 2)
    assert row["log_score"] == pytest.approx((math.log(0.05) + math.log(0.95)) / 2)
    assert row["brier"] == pytest.approx(0.905)
    assert row["difference"] is None
    assert row["reliability"] == [
        {"from": 0.0, "to": 0.1, "n": 2, "told": pytest.approx(0.05), "came": 0.5}
    ]
