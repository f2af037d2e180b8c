"""A ticker that is a word for a price (HIGH, LOW, OPEN, TIME) is a ticker in a wide table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.datasets import check_data
from trading.sources import DataFaults, load_panel

Open = Callable[[str], Desk]

SYMBOLS = {
    "with-HIGH.csv": ["HIGH", "NTES", "TSM"],
    "with-VOLUME.csv": ["NTES", "TSM", "VOLUME"],
    "with-CLOSE.csv": ["CLOSE", "NTES", "RIO", "TSM"],
}


@pytest.mark.parametrize(("name", "symbols"), SYMBOLS.items())
def test_every_column_is_a_symbol(desk: Open, name: str, symbols: list[str]) -> None:
    report = desk("25-wide-table-ticker-HIGH").ask("data", "check", name)
    assert (sorted(report["symbols"]), report["ignored"]) == (symbols, [])
    assert report["rows"] == 50 * len(symbols)


def table(*names: str, first: str = "date") -> str:
    rows = [
        f"2024-01-0{day}," + ",".join(f"{10 + at}.5" for at in range(len(names))) for day in (2, 3)
    ]
    return "\n".join([",".join([first, *names]), *rows]) + "\n"


@pytest.mark.parametrize(
    "names",
    [
        ("LOW", "OPEN", "TIME", "VOL", "DATE", "CLOSE", "AAPL"),
        ("TIME", "AAPL"),
        ("CLOSE", "OPEN", "LOW", "VOL", "TIME", "SYMB"),
        ("aapl", "msft", "low"),
        ("brk.a", "BRK.A", "BRKA"),
        ("O", "H", "L", "F"),
        ("LAST", "MAX", "MIN", "DATA", "TS"),
        ("SP500", "VIX"),
        ("Adj", "Vol.", "Apple Inc"),
    ],
)
def test_any_word_may_be_a_ticker(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "closes.csv").write_text(table(*names))
    panel = load_panel(tmp_path / "closes.csv")
    assert sorted(panel.symbols) == sorted(names)
    for at, name in enumerate(names):
        assert panel.field("close")[0, panel.symbols.index(name)] == 10.5 + at


@pytest.mark.parametrize("first", ["Date", "", "index", "Week of", "observation_date"])
def test_the_first_column_holds_the_dates_whatever_it_is_called(tmp_path: Path, first: str) -> None:
    (tmp_path / "closes.csv").write_text(table("TIME", "DATE", "XYZ", first=first))
    assert sorted(load_panel(tmp_path / "closes.csv").symbols) == ["DATE", "TIME", "XYZ"]


def test_columns_of_words_are_ignored_and_of_numbers_are_not(tmp_path: Path) -> None:
    text = "date,aapl,note,empty\n2024-01-02,10.5,good,\n2024-01-03,11.5,bad,\n"
    (tmp_path / "closes.csv").write_text(text)
    report = check_data(tmp_path / "closes.csv")
    assert (report.symbols, report.ignored, report.ok) == (("aapl",), ("note", "empty"), True)


PRICES_ONLY = {
    "close alone": ("close",),
    "close and volume": ("Close", "Volume"),
    "close and what vendors add": ("close", "vwap", "trades"),
    "the adjusted close too": ("Close", "Adj Close"),
}


@pytest.mark.parametrize("names", PRICES_ONLY.values(), ids=PRICES_ONLY)
def test_price_names_alone_are_one_symbol(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "XYZ.csv").write_text(table(*names))
    assert load_panel(tmp_path / "XYZ.csv").symbols == ("XYZ",)


@pytest.mark.parametrize("names", [("open", "close"), ("High", "Low", "Close"), ("volume",)])
def test_some_of_the_price_names_are_refused_with_the_way_out(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "XYZ.csv").write_text(table(*names))
    with pytest.raises(DataFaults, match=r"data\.layout=wide"):
        load_panel(tmp_path / "XYZ.csv")
    panel = load_panel(tmp_path / "XYZ.csv", config=DataConfig(layout="wide"))
    assert sorted(panel.symbols) == sorted(names)


def test_the_layout_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "XYZ.csv").write_text(table("LOW", "HIGH", "OPEN", "CLOSE", "ABC"))
    wide = load_panel(tmp_path / "XYZ.csv", config=DataConfig(layout="wide"))
    assert sorted(wide.symbols) == ["ABC", "CLOSE", "HIGH", "LOW", "OPEN"]
    (tmp_path / "ABC.csv").write_text(table("close", "spread_bps"))
    assert sorted(load_panel(tmp_path / "ABC.csv").symbols) == ["close", "spread_bps"]
    long = load_panel(tmp_path / "ABC.csv", config=DataConfig(layout="long"))
    assert long.symbols == ("ABC",)


FIELDS = {
    "symbol first": ("AAA_open", "AAA_high", "AAA_low", "AAA_close", "BB.B_close", "BB.B_volume"),
    "field first": ("open_AAA", "high_AAA", "low_AAA", "close_AAA", "close_BB.B", "volume_BB.B"),
    "points": ("AAA.Open", "AAA.High", "AAA.Low", "AAA.Close", "BB.B.Close", "BB.B.Volume"),
    "spaces": ("AAA Open", "AAA High", "AAA Low", "AAA Close", "BB.B Close", "BB.B Volume"),
}


@pytest.mark.parametrize("names", FIELDS.values(), ids=FIELDS)
def test_fields_within_the_names_of_columns(tmp_path: Path, names: tuple[str, ...]) -> None:
    values = "11,12,10,11.5,20,900"
    text = f"date,{','.join(names)}\n2024-01-02,{values}\n2024-01-03,{values}\n"
    (tmp_path / "prices.csv").write_text(text)
    panel = load_panel(tmp_path / "prices.csv")
    assert panel.symbols == ("AAA", "BB.B")
    assert panel.stack[5:9, 0, 0].tolist() == [11, 12, 10, 11.5]
    assert panel.stack[5:10, 0, 1].tolist() == [20, 20, 20, 20, 900]


def test_a_file_of_returns_is_recognised(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-{day:02},{(-1) ** day * 0.01},0.004\n" for day in range(2, 20))
    (tmp_path / "returns.csv").write_text("date,AAA,BBB\n" + rows)
    (fault,) = check_data(tmp_path / "returns.csv").faults
    assert fault.kind == "returns"
    assert "cumprod" in fault.cure
