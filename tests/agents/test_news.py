"""`--news`: who can read which line when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from agents.news import MARKET, NewsFeed, by_column, read_news
from core.errors import DataError


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


def test_lines_about_symbols_that_are_not_there_are_counted(tmp_path: Path) -> None:
    found = feed(tmp_path, LINES + "2014-06-10T01:00:00Z,,rates are cut\n")
    assert found.passed_over(["MSFT"]) == {"AAPL": 2}
    assert found.passed_over([]) == {"AAPL": 2, "MSFT": 1}
    assert found.passed_over(["AAPL", "MSFT"]) == {}


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
