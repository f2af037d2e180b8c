"""`decide` does not rest on a gross price error unless it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Desk
from tests.cases.conftest import desk as desk  # noqa: PLC0414 - a fixture

Open = Callable[[str], Desk]

SPLIT = "04-split-in-raw-prices"
OWN = ("decide", "--data", "AAPL.csv", "--strategy", "hold.py:Hold", "--no-risk")


def with_warmup(place: Desk, bars: int) -> None:
    path = place.path / "hold.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("    def __init__", f"    warmup = {bars}\n\n    def __init__"),
        encoding="utf-8",
    )


def test_a_split_in_what_is_bought_is_refused_with_its_row_and_the_way_out(desk: Open) -> None:
    told = desk(SPLIT).run(*OWN, "--json")
    assert told.code == 2
    error = told.answer["error"]
    assert error["kind"] == "DoubtfulPrices"
    assert "suspected_split (AAPL, row 44, 2020-08-31" in error["message"]
    assert "--accept-warnings" in error["cure"]


def test_accepted_it_decides_and_still_says_so(desk: Open) -> None:
    answer = desk(SPLIT).ask(*OWN, "--accept-warnings")
    assert [order["symbol"] for order in answer["orders"]] == ["AAPL"]
    (note,) = [note for note in answer["notes"] if "suspected_split" in note]
    assert note.startswith("Accepted by --accept-warnings")


@pytest.mark.parametrize(("warmup", "refused"), [(37, False), (38, True)])
def test_only_the_look_back_counts(desk: Open, warmup: int, refused: bool) -> None:
    """80 bars; the split is bar 43, so the last 38 bars (43 to 80) have it and the last 37 do not."""
    place = desk(SPLIT)
    with_warmup(place, warmup)
    told = place.run(*OWN, "--json")
    assert told.code == (2 if refused else 0)
    if not refused:
        (note,) = [note for note in told.answer["notes"] if "suspected_split" in note]
        assert note.startswith("1 warning about the prices")


def test_what_lies_after_as_of_is_not_looked_at(desk: Open) -> None:
    answer = desk(SPLIT).ask(*OWN, "--as-of", "2020-08-28")
    assert not [note for note in answer["notes"] if "warning" in note]


def test_an_error_in_a_symbol_that_is_left_alone_is_a_note(desk: Open) -> None:
    place = desk(SPLIT)
    rows = (place.path / "AAPL.csv").read_text(encoding="utf-8").splitlines()
    sound = [f"{line},SOUND" for line in (place.path / "AAPL.csv").read_text().splitlines()[43:]]
    doubtful = [f"{line},BAD" for line in rows[1:]]
    lines = [f"{rows[0]},symbol", *doubtful, *sound]
    (place.path / "two.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("decide", "--data", "two.csv", "--strategy", "hold.py:Hold", "--no-risk", "--param")
    answer = place.ask(*words, "symbol=SOUND")
    (note,) = [note for note in answer["notes"] if "suspected_split" in note]
    assert note.startswith("1 warning about the prices")
    assert place.run(*words, "symbol=BAD").code == 2


def test_a_symbol_that_stopped_and_is_held_is_refused(desk: Open) -> None:
    """BAD ends 3 sessions before SOUND."""
    place = desk(SPLIT)
    rows = (place.path / "AAPL.csv").read_text(encoding="utf-8").splitlines()
    body = rows[43:]
    lines = [f"{rows[0]},symbol", *(f"{line},BAD" for line in body[:-3])]
    lines += [f"{line},SOUND" for line in body]
    (place.path / "two.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path(place.path / "book.csv").write_text(
        "symbol,quantity\nBAD,10\nCASH,1000\n", encoding="utf-8"
    )
    words = ("decide", "--data", "two.csv", "--strategy", "hold.py:Hold", "--no-risk", "--param")
    told = place.run(*words, "symbol=SOUND", "--holdings", "book.csv")
    assert told.code == 2
    assert "stale (BAD, row 36" in told.err
    assert "3 sessions before the others' end" in told.err
