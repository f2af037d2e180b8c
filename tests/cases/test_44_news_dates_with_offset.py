"""Times of news as mail, feeds, Twitter and programs write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.conftest import Desk

RUN = ("backtest", "--symbols", "MSFT,GOOG", "--start", "2011-03-08", "--end", "2011-03-22")
RUN += ("--set", "model.enabled=false", "--set", "memory.policy=heuristic", "--news")
# 09:15 -0400 on Monday 14 March 2011 is 13:15 UTC, 1300108500 seconds since 1970; 16:40 -0400 on Tuesday is
# 20:40 UTC, 1300221600.
SPELLINGS = {
    "twitter": ("Mon Mar 14 13:15:00 +0000 2011", "Tue Mar 15 20:40:00 +0000 2011"),
    "rss": ("Mon, 14 Mar 2011 13:15:00 GMT", "Tue, 15 Mar 2011 20:40:00 GMT"),
    "zone": ("Mon, 14 Mar 2011 09:15:00 EDT", "Tue, 15 Mar 2011 15:40:00 EST"),
    "seconds": ("1300108500", "1300221600"),
    "milliseconds": ("1300108500000", "1300221600000"),
    "compact": ("20110314T091500-0400", "20110315T164000-0400"),
}


def test_every_spelling_gives_the_same_bytes(desk: Callable[[str], Desk]) -> None:
    case = desk("44-news-dates-with-offset")
    for name, (first, second) in SPELLINGS.items():
        (case.path / f"{name}.csv").write_text(
            f'time,symbol,text\n"{first}",MSFT,phone orders beat the plan\n'
            f'"{second}",GOOG,ad prices slip in March\n'
        )
    found = {}
    for name in ("iso", "mail", "compact", *SPELLINGS):
        answer = case.ask(*RUN, f"{name}.csv", "--runs-dir", name)
        assert answer["news"]["used"] == 2, name
        found[name] = (case.run_dir(answer) / "steps.jsonl").read_bytes()
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    "time",
    ["Tue, 14 Mar 2011 09:15:00 -0400", "Mon, 14 Mar 2011 09:15:00", "03/04/2011 09:15", "20110314T091500",
     "Mon, 14 Mar 2011 09:15:00 IST"],
)  # fmt: skip
def test_a_time_that_could_be_two_is_refused(desk: Callable[[str], Desk], time: str) -> None:
    """A weekday of another date, no zone, day or month first, a zone's name of three countries."""
    case = desk("")
    (case.path / "n.csv").write_text(f'time,symbol,text\n"{time}",MSFT,x\n')
    told = case.run(*RUN, "n.csv", "--json")
    assert told.code == 2
    assert "row 2: the time" in told.answer["error"]["message"]
