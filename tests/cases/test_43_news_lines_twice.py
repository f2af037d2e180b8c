"""The same time, symbol and text twice is one line."""

from __future__ import annotations

from collections.abc import Callable

from tests.cases.conftest import Desk

RUN = ("backtest", "--symbols", "MSFT,GOOG", "--start", "2011-03-01", "--end", "2011-04-12")
RUN += ("--set", "model.enabled=false", "--set", "memory.policy=heuristic", "--news")


def test_a_feed_that_delivers_twice_gives_the_same_bytes(desk: Callable[[str], Desk]) -> None:
    case = desk("43-news-lines-twice")
    once = case.ask(*RUN, "once.csv", "--runs-dir", "a")
    expected = (case.run_dir(once) / "steps.jsonl").read_bytes()
    lines = (case.path / "once.csv").read_text().splitlines()
    count = len(lines) - 1
    # Told twice in another zone, in another case, with other blanks: still the same line.
    again = lines[1].replace("2011-03-08T16:00:00-05:00", "2011-03-08T21:00:00Z")
    again = again.replace("MSFT", "msft").replace("orders beat", "orders  beat ")
    (case.path / "other.csv").write_text("\n".join([*lines, again]))
    (case.path / "thrice.csv").write_text("\n".join([*lines, *lines[1:], *lines[1:]]))
    for name, extra in (
        ("twice.csv", count),
        ("thrice.csv", 2 * count),
        ("other.csv", 1),
    ):
        answer = case.ask(*RUN, name, "--runs-dir", name[:3])
        assert (case.run_dir(answer) / "steps.jsonl").read_bytes() == expected, name
        assert answer["news"]["read"] == count + extra
        assert answer["news"]["passed_over"] == {"duplicate": extra}


def test_lines_that_differ_in_one_part_are_two(desk: Callable[[str], Desk]) -> None:
    case = desk("")
    (case.path / "n.csv").write_text(
        "time,symbol,text\n2011-03-15T11:20:00Z,GOOG,slips\n2011-03-15T11:20:01Z,GOOG,slips\n"
        "2011-03-15T11:20:00Z,MSFT,slips\n2011-03-15T11:20:00Z,GOOG,Slips\n"
    )
    assert case.ask(*RUN, "n.csv")["news"]["used"] == 4
