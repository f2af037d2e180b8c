"""European files: semicolons, decimal commas, points between thousands, dates with the day first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.sources import DataFaults, load_panel

Open = Callable[[str], Desk]


def first_bar(path: Path, **settings: str) -> list[float]:
    panel = load_panel(path, config=DataConfig(**settings))
    return [float(value) for value in panel.stack[5:10, 0, 0]]


@pytest.mark.parametrize("name", ["SAP.csv", "SAP-iso-dates.csv"])
def test_decimal_commas(desk: Open, name: str) -> None:
    here = desk("01-decimal-comma")
    report = here.ask("data", "check", name)
    assert (report["rows"], report["start"], report["faults"]) == (60, "2023-01-03", [])
    assert first_bar(here.path / name) == [100.02, 101.06, 99.82, 100.45, 840_300]
    assert any("decimal comma" in note for note in report["notes"])


@pytest.mark.parametrize("name", ["SAP-thousands.csv", "US-thousands.csv"])
def test_thousands_in_both_ways(desk: Open, name: str) -> None:
    here = desk("01-decimal-comma")
    assert here.ask("data", "check", name)["rows"] == 60
    assert first_bar(here.path / name) == [2000.40, 2021.20, 1996.40, 2009.00, 840_300]


def test_whole_thousands_beside_smaller_numbers_are_refused_once(desk: Open) -> None:
    here = desk("01-decimal-comma")
    told = here.run("data", "check", "IDX-whole-thousands.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert fault["kind"] == "decimal"
    assert "data.decimal" in fault["cure"]
    bar = first_bar(here.path / "IDX-whole-thousands.csv", decimal=",")
    assert bar == [990, 1000, 988, 994, 840_300]
    assert here.run("data", "check", "IDX-whole-thousands.csv", "--set", "data.decimal=,").code == 0


HEAD = "date;open;high;low;close;volume\n"
VARIANTS = {
    # 1.234,5 = 1234.5: the comma shows itself once, in one column, and settles the file
    "settled by one cell": (
        HEAD
        + "2023-01-03;1.234;1.240;1.230;1.234,5;5.000\n2023-01-04;1.234;1.240;1.230;1.236;900\n",
        [1234, 1240, 1230, 1234.5, 5000],
    ),
    # a tab between cells, apostrophes between thousands (Zurich): 1'234.50 = 1234.5
    "apostrophes": (
        HEAD.replace(";", "\t")
        + "03.01.2023\t1'234.50\t1'240.00\t1'230.00\t1'235.00\t1'000\n"
        + "13.01.2023\t1'234.50\t1'240.00\t1'230.00\t1'235.00\t900\n",
        [1234.5, 1240, 1230, 1235, 1000],
    ),
    # a space that does not break (Paris): 1 234,50 = 1234.5, with the sign of the euro
    "spaces and a currency": (
        HEAD
        + "2023-01-03;1\u202f234,50 €;1\u00a0240,00 €;1 230,00 €;1 235,00 €;1 000\n"
        + "2023-01-04;1 234,50 €;1 240,00 €;1 230,00 €;1 235,00 €;900\n",
        [1234.5, 1240, 1230, 1235, 1000],
    ),
    # lakh: 1,23,456.50 = 123456.5
    "Indian groups": (
        HEAD.replace(";", ",")
        + '2023-01-03,"1,23,456.50","1,24,000","1,23,000","1,23,500","12,34,567"\n'
        + '2023-01-04,"1,23,456.50","1,24,000","1,23,000","1,23,500","990"\n',
        [123_456.5, 124_000, 123_000, 123_500, 1_234_567],
    ),
    # all prices have three groups, the volume two thousands signs: thousands (Seoul)
    "settled by the volume": (
        HEAD.replace(";", ",")
        + '2023-01-03,"52,300","53,100","51,900","52,500","1,234,567"\n'
        + '2023-01-04,"52,300","53,100","51,900","52,500","999,999"\n',
        [52_300, 53_100, 51_900, 52_500, 1_234_567],
    ),
}


@pytest.mark.parametrize(("text", "bar"), VARIANTS.values(), ids=VARIANTS)
def test_what_settles_one_column_settles_the_file(
    tmp_path: Path, text: str, bar: list[float]
) -> None:
    path = tmp_path / "X.csv"
    path.write_text(text, encoding="utf-8")
    assert first_bar(path) == bar


@pytest.mark.parametrize(("sign", "delimiter"), [(".", ","), (",", ";")])
def test_three_decimals_throughout_are_read_as_written(
    tmp_path: Path, sign: str, delimiter: str
) -> None:
    """A yen pair: 130.125 is no hundred and thirty thousand."""
    rows = [["date", "open", "high", "low", "close"]]
    rows += [[f"2023-01-0{day}", "130.125", "131.250", "129.500", "130.750"] for day in (3, 4)]
    text = "\n".join(delimiter.join(row) for row in rows).replace(".", sign)
    (tmp_path / "USDJPY.csv").write_text(text)
    panel = load_panel(tmp_path / "USDJPY.csv")
    np.testing.assert_array_equal(panel.stack[5:9, 0, 0], [130.125, 131.25, 129.5, 130.75])
    assert any("data.decimal" in note for note in panel.notes)


@pytest.mark.parametrize("small", ["990", "0", "5"])
@pytest.mark.parametrize("sign", [".", ","])
def test_a_sign_before_three_digits_beside_small_whole_numbers_is_refused(
    tmp_path: Path, small: str, sign: str
) -> None:
    text = HEAD + f"2023-01-03;1{sign}000;1{sign}000;1{sign}000;1{sign}000;1\n"
    text += f"2023-01-04;{small};{small};{small};{small};1\n"
    (tmp_path / "X.csv").write_text(text)
    with pytest.raises(DataFaults, match=r"data\.decimal") as caught:
        load_panel(tmp_path / "X.csv")
    assert [fault.kind for fault in caught.value.faults] == ["decimal"]


def test_a_comma_without_quotes_shifts_the_columns_and_is_refused_once(tmp_path: Path) -> None:
    rows = "".join(f"2023-01-{day:02},100,02,101,06,99,82,100,45\n" for day in range(2, 30))
    (tmp_path / "X.csv").write_text("date,open,high,low,close\n" + rows)
    with pytest.raises(DataFaults) as caught:
        load_panel(tmp_path / "X.csv")
    fault = next(fault for fault in caught.value.faults if fault.kind == "columns")
    assert (fault.row, fault.count, fault.rows) == (2, 28, (2, 3, 4, 5, 6))
    assert "quote the cells" in fault.cure


def test_one_unquoted_comma_in_every_row_is_refused_with_the_row(tmp_path: Path) -> None:
    """Nine cells under eight names: pandas would take the first for an index and shift the rest."""
    text = "date,open,high,low,close,volume,name,note\n"
    text += "".join(f"2023-01-{day:02},10,11,9,10,5,Acme, Inc,x\n" for day in (3, 4, 5))
    (tmp_path / "X.csv").write_text(text)
    with pytest.raises(DataFaults, match="row 2: 9 cells where the header has 8"):
        load_panel(tmp_path / "X.csv")
