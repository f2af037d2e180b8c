"""`--news`: who can read which line when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.news import MARKET, NewsFeed, by_column, read_news
from core.errors import DataError
from memory.tokenizers import WordTokenizer
from trading.panel import Panel
from trading.sources.load import load_panel


def moment(hour: int, day: int = 9) -> datetime:
    return datetime(2014, 6, day, hour, tzinfo=UTC)


def feed(tmp_path: Path, text: str) -> NewsFeed:
    path = tmp_path / "news.csv"
    path.write_text(text)
    return read_news(path)


LINES = """created_at,symbol,text
2014-06-09T16:00:00-04:00,AAPL,split today
2014-06-09T19:00:00Z,AAPL,early
2014-06-10T01:00:00Z,MSFT,late
"""


def test_a_line_is_visible_from_its_time_on_once(tmp_path: Path) -> None:
    found = feed(tmp_path, LINES)
    assert found.since_last(moment(23), None) == {}  # what a run finds when it begins is not news
    assert found.since_last(moment(19), moment(18))["AAPL"][0].text == "early"
    assert [line.text for line in found.since_last(moment(20), moment(19))["AAPL"]] == [
        "split today"  # 16:00 in New York is 20:00 UTC
    ]
    assert found.since_last(moment(21), moment(20)) == {}
    assert list(found.since_last(moment(2, 10), moment(21))) == ["MSFT"]


def bars(*symbols: str, late: int = 0) -> Panel:
    """Six closes at 21:00 UTC, 9 to 16 June 2014; the last symbol begins `late` bars later."""
    days = pd.bdate_range("2014-06-09", periods=6)
    frame = pd.DataFrame({symbol: np.linspace(1.0, 2.0, 6) for symbol in symbols}, index=days)
    frame.iloc[:late, -1] = np.nan
    return load_panel(frame)


def test_what_became_of_each_line_is_counted(tmp_path: Path) -> None:
    lines = """time,symbol,text
2014-06-09T20:00:00Z,AAPL,known at the first decision: no news
2014-06-09T20:00:01Z,aapl,used at the second bar
2014-06-09T20:00:01Z,AAPL,used at the second bar
2014-06-10T12:00:00Z,LATE,its symbol has no bar yet
2014-06-13T12:00:00Z,$LATE,used
2014-06-11T12:00:00Z,,about the market
2014-06-11T12:00:00Z,MSFT,nobody has it
2014-06-11T12:00:00Z,AAPL,
2014-06-13T20:00:01Z,AAPL,after the last row
"""
    panel = bars("AAPL", "LATE", late=3)
    path = tmp_path / "news.csv"
    path.write_text(lines)
    counts = read_news(path, panel.symbols).counts(panel, 0, 4)  # 9 to 13 June, closes at 20:00 UTC
    assert counts.to_dict() == {
        "read": 9,
        "used": 3,
        "passed_over": {
            "duplicate": 1, "empty_text": 1, "unknown_symbol": 1, "before_first_decision": 1,
            "after_end": 1, "not_listed": 1,
        },
        "cut": 0,
    }  # fmt: skip
    said, strangers = counts.notes()
    assert said.startswith(
        "News: 9 lines read, 3 used, 6 passed over (1 the same line twice; 1 no text;"
    )
    assert "MSFT (1)" in strangers


def test_a_name_that_two_symbols_fit_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("time,symbol,text\n2014-06-09T20:00:00Z,BRK,x\n2014-06-09T20:00:00Z,Brk,y\n")
    with pytest.raises(DataError, match="row 3: Brk fits BRK and brk"):
        read_news(path, ("BRK", "brk"))


def test_lines_that_differ_beyond_what_is_kept_are_two(tmp_path: Path) -> None:
    long = "word " * 300  # 1,500 characters
    found = feed(
        tmp_path,
        f"time,symbol,text\n2014-06-10T20:00:00Z,A,{long}one\n2014-06-10T20:00:00Z,A,{long}two\n"
        f"2014-06-10T20:00:00Z,A,{long}one\n",
    )
    counts = found.fitting(WordTokenizer(), 1_000).counts(bars("A"), 0, 5)
    assert (counts.used, counts.cut, counts.passed_over) == (2, 2, {"duplicate": 1})
    assert (
        "2 lines of news were cut to what fits: 1,000 characters and 1,000 tokens."
        in counts.notes()
    )


@pytest.mark.parametrize(
    "time",
    ['"Mon, 09 Jun 2014 16:00:00 -0400"', "Mon Jun 09 20:00:00 +0000 2014", "1402344000", "1402344000000",
     "20140609T200000Z", '"Mon, 09 Jun 2014 20:00:00 GMT"', "20140609T160000-0400", "1402344000.0"],
)  # fmt: skip
def test_times_as_vendors_write_them(tmp_path: Path, time: str) -> None:
    found = feed(tmp_path, f"created_at,symbol,text\n{time},AAPL,x\n")
    assert [line.time for line in found.since_last(moment(23), moment(1))["AAPL"]] == [moment(20)]


def test_parquet_with_zones_is_read_as_csv_is(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "symbol": ["AAPL", "AAPL"],
            "created_at": pd.to_datetime(["2014-06-09T20:00:00Z", "2014-06-09T19:00:00Z"]),
            "text": ["two\nlines\x07", None],
        }
    )
    path = tmp_path / "news.parquet"
    frame.to_parquet(path)
    found = read_news(path)
    assert len(found) == 1  # a line without text says nothing
    assert found.since_last(moment(20), moment(10))["AAPL"][0].text == "two lines"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("time,symbol,text\n2014-06-09 16:00:00,AAPL,x\n", "row 2: the time 2014-06-09 16:00:00 has no"),
        ("time,symbol,text\n2014-06-09T16:00Z,A,x\n2014-06-10,A,x\n", "row 3: the time 2014-06-10 has no"),
        ("time,symbol,text\nsoon,AAPL,x\n", "row 2: the time is 'soon'"),
        ("time,text\n2014-06-09T16:00:00Z,x\n", "has no column symbol"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_in_time_is_refused(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(DataError) as told:
        feed(tmp_path, rows)
    assert says in str(told.value)


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    head, *rows = LINES.splitlines()
    turned = "\n".join([head, *reversed(rows)])
    whole = moment(2, 10), moment(1)
    assert feed(tmp_path, LINES).since_last(*whole) == feed(tmp_path, turned).since_last(*whole)


def test_a_line_without_a_symbol_is_read_by_everybody_in_the_order_of_times(tmp_path: Path) -> None:
    market = "2014-06-09T19:30:00Z,,rates\n"
    lines = feed(tmp_path, LINES + market).since_last(moment(20), moment(18))
    assert [line.text for line in lines[MARKET]] == ["rates"]
    read = by_column(lines, {"AAPL": 0, "IBM": 1})
    assert [line.text for line in read[0]] == ["early", "rates", "split today"]
    assert [line.text for line in read[1]] == ["rates"]
    plain = feed(tmp_path, LINES).since_last(moment(20), moment(18))
    assert by_column(plain, {"IBM": 1}) == {}  # somebody else's news is not one's own
    frame = pd.DataFrame({"symbol": [None], "time": ["2014-06-09T19:30:00Z"], "text": ["rates"]})
    frame.to_parquet(tmp_path / "market.parquet")
    assert list(read_news(tmp_path / "market.parquet").since_last(moment(20), moment(18))) == [
        MARKET
    ]
