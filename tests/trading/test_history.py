"""Who can see what at which row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LookAhead
from tests.fakes import Row, bars_of, cut_bars, days, flat, make_panel, random_bars, sessions
from trading.history import History, Tape
from trading.panel import FIELDS, Panel, build_panel

LATE: dict[str, list[Row | None]] = {
    "A": [flat(1.0), flat(2.0), flat(3.0)],
    "B": [None, flat(20.0), flat(30.0)],
}


def tape_at(panel: Panel, row: int) -> Tape:
    tape = Tape(panel, 10)
    for each in range(row + 1):
        tape.reveal(each)
    return tape


def owners(values: np.ndarray) -> list[np.ndarray]:
    """An array and all arrays behind it."""
    found = [values]
    while isinstance(found[-1].base, np.ndarray):
        found.append(found[-1].base)
    return found


def test_a_symbol_appears_with_its_first_bar() -> None:
    tape = tape_at(make_panel(LATE), 0)
    first = tape.upto(0)
    assert first.symbols == ("A",)
    assert first.close.tolist() == [[1.0]]
    tape.reveal(1)
    second = tape.upto(1)
    assert second.symbols == ("A", "B")
    assert second.close[1].tolist() == [2.0, 20.0]
    assert np.isnan(second.close[0, 1])
    # The view of row 0 stays what it was.
    assert (first.symbols, first.close.shape, len(first)) == (("A",), (1, 1), 1)


def test_a_missing_bar_is_nan_and_the_mark_stays_at_the_last_close() -> None:
    rows = {"A": [flat(5.0), None, None, flat(8.0)], "B": [flat(1.0)] * 4}
    panel = make_panel(rows, times=sessions(4))
    history = tape_at(panel, 3).upto(3)
    column = history.symbols.index("A")
    assert np.isnan(history.close[1:3, column]).all()
    assert history.mark[:, column].tolist() == [5.0, 5.0, 5.0, 8.0]
    assert history.stale[:, column].tolist() == [0.0, 1.0, 2.0, 0.0]


def test_later_rows_are_out_of_reach() -> None:
    history = tape_at(make_panel(LATE), 1).upto(1)
    with pytest.raises(LookAhead, match="Row 2 was asked for"):
        history.upto(2)
    with pytest.raises(LookAhead):
        tape_at(make_panel(LATE), 1).upto(2)
    with pytest.raises(IndexError):
        history.close[2]


def test_upto_gives_earlier_rows_as_they_stood() -> None:
    history = tape_at(make_panel(LATE), 2).upto(2)
    assert history.upto(0).symbols == ("A",)
    assert history.upto(-3).symbols == ("A",)
    assert history.upto(-1).close.shape == (3, 2)
    with pytest.raises(LookAhead):
        history.upto(-4)


def test_a_view_of_an_earlier_row_raises_for_the_rows_between_it_and_the_present() -> None:
    tape = tape_at(make_panel(LATE), 0)
    old = tape.upto(0)
    tape.reveal(1)
    with pytest.raises(LookAhead):
        old.upto(1)


def test_the_moment_and_the_times_end_at_the_present() -> None:
    history = tape_at(make_panel(LATE), 1).upto(1)
    assert history.as_of.isoformat() == "2020-01-02T21:00:00+00:00"
    assert history.times.tolist() == days(2).tolist()
    assert history.row == len(history) - 1 == 1


def test_views_cannot_be_written_or_made_writeable() -> None:
    history = tape_at(make_panel(LATE), 1).upto(1)
    for values in (*(history.field(name) for name in FIELDS), history.times):
        for array in owners(values):
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        history.close[0, 0] = 99.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 29))
def test_no_array_holds_anything_later_not_even_behind_base(seed: int, row: int) -> None:
    panel = build_panel(random_bars(seed, 5, 30), name="random")
    row = min(row, panel.rows - 1)
    tape = tape_at(panel, row)
    history = tape.upto(row)
    visible = panel.visible(row)
    for name in FIELDS:
        seen = getattr(history, name)
        np.testing.assert_array_equal(seen, panel.field(name)[: row + 1, :visible])
        whole = owners(seen)[-1].reshape(len(FIELDS), -1, visible)
        assert (whole[:, row + 1 :] == 0.0).all()
    assert np.isnat(owners(history.times)[-1][row + 1 :]).all()


def test_not_even_the_size_behind_base_tells_how_much_is_to_come() -> None:
    bars = random_bars(3, 5, 900)
    long = build_panel(bars, name="random")
    short = build_panel(cut_bars(bars, long.times[20]), name="random")
    sizes = [
        [owners(getattr(tape_at(panel, 10).upto(10), name))[-1].size for name in FIELDS]
        for panel in (long, short)
    ]
    assert sizes[0] == sizes[1]


def test_no_attribute_of_a_view_leads_to_what_is_to_come() -> None:
    seen: list[object] = [tape_at(make_panel(LATE), 1).upto(1)]
    for each in seen:
        assert not isinstance(each, (Tape, Panel))
        seen += [getattr(each, name) for name in getattr(type(each), "__slots__", ())]
        if callable(each):
            assert not hasattr(each, "__self__")
    assert len(seen) > 5


def test_a_view_and_its_row_cannot_be_changed() -> None:
    history = tape_at(make_panel(LATE), 1).upto(1)
    with pytest.raises(AttributeError):
        history.row = 0  # type: ignore[misc]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 29), st.lists(st.integers(0, 29), max_size=4))
def test_what_is_seen_at_a_row_does_not_depend_on_later_rows_or_on_when_it_was_looked_at(
    seed: int, row: int, looks: list[int]
) -> None:
    bars = random_bars(seed, 5, 30)
    full = build_panel(bars, name="random")
    row = min(row, full.rows - 1)
    short = build_panel(cut_bars(bars, full.times[row]), name="random")
    tapes = Tape(full, 3), Tape(short, 3)
    hashes: list[list[str]] = [[], []]
    for place, tape in enumerate(tapes):
        for each in range(row + 1):
            shown = tape.count
            tape.reveal(each)
            hashes[place].append(tape.chain(tape.symbols[shown:]))
            if each in looks and place == 0:
                assert tape.upto(each).close.shape == (each + 1, tape.count)
    assert hashes[0] == hashes[1]
    here, there = (tape.upto(row) for tape in tapes)
    assert here.symbols == there.symbols
    for name in FIELDS:
        np.testing.assert_array_equal(here.field(name), there.field(name))
    barred = [None if view.barred is None else view.barred.tolist() for view in (here, there)]
    assert barred[0] == barred[1]


def test_a_tape_goes_on_with_a_longer_panel() -> None:
    bars = random_bars(3, 4, 20)
    full = build_panel(bars, name="random")
    tape = Tape(build_panel(cut_bars(bars, full.times[9]), name="random"), 10)
    for row in range(10):
        tape.reveal(row)
    early = tape.upto(4)
    tape.extend(full)
    tape.reveal(10)
    visible = full.visible(10)
    np.testing.assert_array_equal(tape.upto(10).close, full.field("close")[:11, :visible])
    np.testing.assert_array_equal(early.close, full.field("close")[:5, : full.visible(4)])


def test_members_are_visible_from_their_date_with_the_past_they_had() -> None:
    times = days(4)
    panel = build_panel(
        bars_of({"A": [flat(1.0)] * 4, "B": [flat(5.0), flat(6.0), flat(7.0), flat(8.0)]}),
        name="members",
        members={"A": (None, None), "B": (times[2], None)},
    )
    tape = tape_at(panel, 1)
    assert tape.upto(1).symbols == ("A",)
    tape.reveal(2)
    assert tape.upto(2).close[:, 1].tolist() == [5.0, 6.0, 7.0]


def test_the_bars_before_a_member_joined_are_in_the_hash() -> None:
    def hashes(first: float) -> list[str]:
        rows = {"A": [flat(1.0)] * 3, "B": [flat(first), flat(6.0), flat(7.0)]}
        panel = build_panel(
            bars_of(rows), name="members", members={"A": (None, None), "B": (days(3)[2], None)}
        )
        tape = Tape(panel, 10)
        found = []
        for row in range(3):
            shown = tape.count
            tape.reveal(row)
            found.append(tape.chain(tape.symbols[shown:]))
        return found

    one, other = hashes(5.0), hashes(5.5)
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_symbols_that_left_or_went_stale_are_barred() -> None:
    times = sessions(5)
    panel = build_panel(
        bars_of(
            {
                "A": [flat(1.0)] * 5,
                "B": [flat(2.0)] * 5,
                "C": [flat(3.0), flat(3.0), None, None, flat(3.0)],
            },
            times=times,
        ),
        name="members",
        members={"A": (None, None), "B": (None, times[2]), "C": (None, None)},
    )
    tape = Tape(panel, 2)
    barred: list[list[bool] | None] = []
    for row in range(5):
        tape.reveal(row)
        found = tape.upto(row).barred
        barred.append(None if found is None else found.tolist())
    # B is a member up to and with row 2; C has had no bar for two rows at row 3 and is back at row 4.
    assert barred == [None, None, None, [False, True, True], [False, True, False]]


def test_a_history_reads_like_what_it_is() -> None:
    history = tape_at(make_panel(LATE), 0).upto(0)
    assert isinstance(history, History)
    assert repr(history) == "History(as_of=2020-01-01T21:00:00Z, symbols=('A',))"
