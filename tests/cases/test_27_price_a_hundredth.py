"""A slip of the decimal point is told with its row, and no run reports its drawdown without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.conftest import FREE, Desk

Open = Callable[[str], Desk]

CASE = "27-price-a-hundredth"


def test_a_bar_a_hundredth_is_a_jump_of_its_row(desk: Open) -> None:
    (warning,) = desk(CASE).ask("data", "check", "one-bar.csv")["warnings"]
    assert (warning["kind"], warning["row"], warning["time"]) == ("jump", 48, "2023-11-08")
    assert warning["found"] == "close 1.6977 between 169.97 and 169.64"
    assert "decimal point" in warning["cause"]
    assert "empty its prices" in warning["cure"]


def test_a_high_a_hundredfold_is_a_jump_of_its_row(desk: Open) -> None:
    (warning,) = desk(CASE).ask("data", "check", "one-high.csv")["warnings"]
    assert (warning["kind"], warning["row"], warning["time"]) == ("jump", 63, "2023-11-30")
    assert warning["found"] == "high 17479 where the close is 172.83 and the close before 174.9"


def test_a_run_over_it_says_so_beside_its_drawdown(desk: Open) -> None:
    place = desk(CASE)
    run = place.ask(
        "backtest", "--data", "one-bar.csv", "--strategy", "buy.py:Buy", "--no-risk", *FREE
    )
    assert run["metrics"]["max_drawdown_frac"] > 0.98
    (note,) = [note for note in run["notes"] if "about the prices" in note]
    assert "1 jump (one-bar 2023-11-08, close 1.6977 between 169.97 and 169.64)" in note


def lines(place: Desk) -> list[list[str]]:
    text = (place.path / "one-high.csv").read_text(encoding="utf-8").splitlines()
    return [line.replace("17479.0", "174.79").split(",") for line in text]


def checked(place: Desk, rows: list[list[str]]) -> list[dict[str, object]]:
    text = "\n".join(",".join(row) for row in rows) + "\n"
    (place.path / "variant.csv").write_text(text, encoding="utf-8")
    found: list[dict[str, object]] = place.ask("data", "check", "variant.csv")["warnings"]
    return found


def test_without_the_slip_nothing_is_told(desk: Open) -> None:
    place = desk(CASE)
    assert checked(place, lines(place)) == []


@pytest.mark.parametrize("factor", [0.01, 0.1, 10.0, 1000.0])
def test_a_bar_off_by_another_power_of_ten(desk: Open, factor: float) -> None:
    place = desk(CASE)
    rows = lines(place)
    rows[20][1:5] = [f"{float(cell) * factor:.8g}" for cell in rows[20][1:5]]
    (warning,) = checked(place, rows)
    assert (warning["kind"], warning["row"], warning["count"]) == ("jump", 21, 1)


def test_a_low_a_hundredth_under_a_sound_close(desk: Open) -> None:
    place = desk(CASE)
    rows = lines(place)
    rows[25][3] = f"{float(rows[25][3]) / 100:.8g}"
    (warning,) = checked(place, rows)
    assert (warning["kind"], warning["row"]) == ("jump", 26)
    assert str(warning["found"]).startswith(f"low {float(rows[25][3]):.6g} where the close is")


def test_five_bars_in_pence_are_a_change_of_the_unit(desk: Open) -> None:
    place = desk(CASE)
    rows = lines(place)
    for row in rows[30:35]:
        row[1:5] = [f"{float(cell) * 100:.8g}" for cell in row[1:5]]
    (warning,) = checked(place, rows)
    assert (warning["kind"], warning["row"], warning["count"]) == ("unit_change", 31, 5)
    assert "pence" in str(warning["cause"])


def test_the_first_and_the_last_bar_may_be_the_odd_one(desk: Open) -> None:
    place = desk(CASE)
    for at in (1, -1):
        rows = lines(place)
        rows[at][1:5] = [f"{float(cell) / 100:.8g}" for cell in rows[at][1:5]]
        (warning,) = checked(place, rows)
        assert (warning["kind"], warning["row"]) == ("jump", 2 if at == 1 else len(rows))


def test_an_import_says_so(desk: Open) -> None:
    place = desk(CASE)
    told = place.run("data", "import", "one-bar.csv", "--set", "data_dir=kept")
    assert told.code == 0, told.err
    assert "1 warning about the prices" in " ".join(told.out.split())
