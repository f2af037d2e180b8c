"""News that lie outside the run, and lines that are cut, are said and counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.conftest import Desk

RUN = ("backtest", "--symbols", "AAPL,IBM", "--start", "2012-10-01", "--end", "2012-11-16")
RUN += ("--set", "model.enabled=false", "--set", "memory.policy=heuristic", "--news")


def test_a_file_that_serves_nothing_is_said(desk: Callable[[str], Desk]) -> None:
    answer = desk("19-news-that-serves-nothing").ask(*RUN, "old.csv")
    assert answer["news"] == {
        "read": 1,
        "used": 0,
        "passed_over": {"before_first_decision": 1},
        "cut": 0,
    }
    (said,) = [
        note for note in answer["notes"] if "No line of the news lies within the run" in note
    ]
    assert "1 of 1 passed over" in said


def test_a_line_that_is_cut_is_counted(desk: Callable[[str], Desk]) -> None:
    case = desk("19-news-that-serves-nothing")
    answer = case.ask(*RUN, "long.csv")
    assert (answer["news"]["used"], answer["news"]["cut"]) == (1, 1)
    (said,) = [note for note in answer["notes"] if "1,000 characters" in note]
    assert said.startswith("1 line of news was cut")
    text = "rise " * 200  # 999 characters and a blank at the end, which is no text
    (case.path / "whole.csv").write_text(
        f"time,symbol,text\n2012-10-05T12:30:00-04:00,AAPL,{text}\n"
    )
    assert case.ask(*RUN, "whole.csv")["news"]["cut"] == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2013-01-01T00:00:00Z,AAPL,x", "after_end"),
        ("2012-10-09T12:00:00Z,MSFT,x", "unknown_symbol"),
        ("2012-10-09T12:00:00Z,AAPL,", "empty_text"),
        ("2012-10-01T20:00:00Z,AAPL,x", "before_first_decision"),  # the first close itself
    ],
)
def test_every_reason_has_its_count(desk: Callable[[str], Desk], row: str, reason: str) -> None:
    case = desk("")
    good = "2012-10-09T12:00:00Z,AAPL,wins"
    (case.path / "n.csv").write_text(f"time,symbol,text\n{row}\n{good}\n")
    counts = case.ask(*RUN, "n.csv")["news"]
    assert counts == {"read": 2, "used": 1, "passed_over": {reason: 1}, "cut": 0}
