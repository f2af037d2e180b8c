"""True prices of 0 and below are not supported, and nobody is told to change them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.conftest import Desk

Open = Callable[[str], Desk]
TELLS_TO_CHANGE = ("correct", "empty the", "fix", "mend", "fill")


@pytest.mark.parametrize("name", ["CL.csv", "CL-zero-close.csv", "wide.csv"])
def test_one_plain_sentence_with_the_row(desk: Open, name: str) -> None:
    told = desk("03-negative-oil-price").run("data", "check", name, "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert (fault["kind"], fault["row"], fault["count"], fault["rows"]) == ("price", 37, 1, [37])
    assert "prices of 0 and below are not supported" in fault["cure"]
    assert not any(word in fault["cure"] for word in TELLS_TO_CHANGE)


VARIANTS = {
    "only the low is below 0": "2020-04-20,0.5,0.6,-0.1,0.2",
    "a whole bar at 0": "2020-04-20,0,0,0,0",
    "the open is below 0": "2020-04-20,-1,3,-2,2",
}


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_other_bars_of_the_kind(desk: Open, row: str) -> None:
    here = desk("")
    text = "date,open,high,low,close\n2020-04-17,2,3,1,2\n" + row + "\n2020-04-21,2,3,1,2\n"
    (here.path / "CL.csv").write_text(text)
    (fault,) = here.run("data", "check", "CL.csv", "--json").answer["faults"]
    assert (fault["kind"], fault["row"]) == ("price", 3)
    assert "not supported" in fault["cure"]
    assert not any(word in fault["cure"] for word in TELLS_TO_CHANGE)


def test_adjusted_prices_below_0_are_left_out_with_their_column(desk: Open) -> None:
    here = desk("")
    text = "date,close,adj_close\n2020-04-17,2,-0.5\n2020-04-20,2,-0.4\n2020-04-21,2,1\n"
    (here.path / "OLD.csv").write_text(text)
    (fault,) = here.run("data", "check", "OLD.csv", "--json").answer["faults"]
    assert (fault["kind"], fault["rows"], fault["found"]) == ("price", [2, 3], "adj_close -0.5")
    assert "leave adj_close out" in fault["cure"]
