"""News about `aapl` and `$IBM` are about AAPL and IBM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.conftest import Desk

RUN = ("backtest", "--symbols", "AAPL,IBM", "--start", "2012-10-01", "--end", "2012-11-16")
RUN += ("--set", "model.enabled=false", "--set", "memory.policy=heuristic")


def steps_of(desk: Desk, news: str, runs: str) -> tuple[bytes, dict[str, object]]:
    answer = desk.ask(*RUN, "--news", news, "--runs-dir", runs)
    return (desk.run_dir(answer) / "steps.jsonl").read_bytes(), answer["news"]


def test_other_case_and_a_dollar_give_the_same_bytes(desk: Callable[[str], Desk]) -> None:
    case = desk("18-news-symbol-spelling")
    written, counts = steps_of(case, "n.csv", "a")
    assert counts == {"read": 4, "used": 4, "passed_over": {}, "cut": 0}
    assert steps_of(case, "low.csv", "b") == (written, counts)
    mixed = (case.path / "low.csv").read_text().replace("aapl", "$aApL").replace("$IBM", "ibm")
    (case.path / "mixed.csv").write_text(mixed)
    assert steps_of(case, "mixed.csv", "c") == (written, counts)


def test_the_exact_spelling_comes_before_another_case(desk: Callable[[str], Desk]) -> None:
    """The data have `abc` and `ABC`: each line goes to its own, and `Abc` to neither."""
    case = desk("")
    rows = [
        f"2024-01-{day:02d},{symbol},{price + day},{price + day},{price + day},{price + day},1000"
        for day in (2, 3, 4, 5, 8, 9, 10)
        for symbol, price in (("abc", 10), ("ABC", 50))
    ]
    (case.path / "p.csv").write_text("date,symbol,open,high,low,close,volume\n" + "\n".join(rows))
    (case.path / "n.csv").write_text(
        "time,symbol,text\n2024-01-04T12:00:00Z,abc,one\n2024-01-04T12:00:00Z,ABC,one\n"
    )
    words = ("backtest", "--data", "p.csv", "--set", "trading.warmup_bars=1", *RUN[7:], "--news")
    assert case.ask(*words, "n.csv")["news"]["used"] == 2  # not one line twice
    (case.path / "n.csv").write_text("time,symbol,text\n2024-01-04T12:00:00Z,Abc,one\n")
    told = case.run(*words, "n.csv", "--json")
    assert told.code == 2
    assert "row 2: Abc fits ABC and abc" in told.answer["error"]["message"]


def test_a_book_may_write_symbols_so_too(desk: Callable[[str], Desk]) -> None:
    case = desk("")
    (case.path / "book.csv").write_text("symbol,quantity\naapl,3\n$IBM,2\nCASH,100\n")
    words = ("decide", "--symbols", "AAPL,IBM", "--agents", "rules", "--holdings")
    answer = case.ask(*words, "book.csv")
    assert {name: answer["positions"][name] for name in ("AAPL", "IBM")} == {
        "AAPL": 3.0,
        "IBM": 2.0,
    }
    (case.path / "book.csv").write_text("symbol,quantity\naapl,3\nAAPL,2\nCASH,100\n")
    told = case.run(*words, "book.csv", "--json")
    assert told.code == 2
    assert "both mean AAPL" in told.answer["error"]["message"]


@pytest.mark.parametrize("name", ["AAPLE", "AAP", "#AAPL"])
def test_nothing_further_is_guessed(desk: Callable[[str], Desk], name: str) -> None:
    case = desk("")
    (case.path / "n.csv").write_text(f"time,symbol,text\n2012-10-09T12:00:00Z,{name},x\n")
    answer = case.ask(*RUN, "--news", "n.csv")
    assert answer["news"]["passed_over"] == {"unknown_symbol": 1}
    assert f"News about symbols that the data do not have: {name} (1)." in answer["notes"]
