"""A comma too many in every row moves the columns: refused with the row, in every reader of CSV."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import DataError
from tests.cases.conftest import Desk
from training.data.importers import read_texts

TIME = "2015-06-01T14:30:00Z"


@pytest.mark.parametrize(
    "text",
    [
        f"text,time\nOil fell, then rose again,{TIME}\nGold fell, then rose again,{TIME}\n",
        f"symbol,text,time\nAAPL,strong demand, analysts say,{TIME}\nIBM,weak, analysts say,{TIME}\n",
        f"text;time\nOil fell; then rose again;{TIME}\n",
        f"text\ttime\nOil fell\tthen rose again\t{TIME}\n",
        f"time,text\n{TIME},Oil fell, then rose again\n{TIME},Gold fell, then rose again\n",
    ],
)
def test_texts_for_training_are_refused_with_the_row(
    desk: Callable[[str], Desk], text: str
) -> None:
    path = desk("").path / "texts.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"row 2: [34] cells") as told:
        read_texts(path)
    assert "quotes" in told.value.cure


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("backtest", "--news"), f"time,symbol,text\n{TIME},AAPL,up, then down\n"),
        (("backtest", "--weights"), "time,symbol,weight\n2012-01-03,AAPL,0,5\n"),
        (("backtest", "--universe"), "symbol,from\nAAPL,2012-01-03,x\n"),
        (("backtest", "--agents", "rules", "--views"),
         "time,symbol,expected_return_frac,confidence\n2012-01-03,AAPL,0,01,1\n"),
        (("decide", "--agents", "rules", "--holdings"), "symbol,quantity\nAAPL,1,000\nCASH,5,000\n"),
    ],
)  # fmt: skip
def test_every_input_of_a_run_is_refused_with_the_row(
    desk: Callable[[str], Desk], words: tuple[str, ...], text: str
) -> None:
    case = desk("")
    (case.path / "in.csv").write_text(text)
    told = case.run(*words, "in.csv", "--json")
    assert told.code == 2
    assert "row 2: " in told.answer["error"]["message"]
    assert "cells" in told.answer["error"]["message"]
