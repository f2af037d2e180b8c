"""A symbol in a file of prices is text: its zeros, letters and words stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases.conftest import Desk
from trading.sources import DataFaults, load_panel

Open = Callable[[str], Desk]

SYMBOLS = {
    "hongkong.csv": ["0027", "0388", "09618"],
    "false.csv": ["FALSE"],
    "exponent.csv": ["6E2"],
}


@pytest.mark.parametrize(("name", "symbols"), SYMBOLS.items())
def test_symbols_are_as_written(desk: Open, name: str, symbols: list[str]) -> None:
    here = desk("24-tickers-of-digits")
    assert sorted(here.ask("data", "check", name)["symbols"]) == symbols


def test_symbols_of_digits_can_be_asked_for(desk: Open) -> None:
    here = desk("24-tickers-of-digits")
    words = (
        "backtest",
        "--data",
        "hongkong.csv",
        "--agents",
        "rules",
        "--set",
        "trading.warmup_bars=5",
    )
    run = here.ask(*words, "--symbols", "0388")
    assert run["data"]["symbols"] == ["0388"]
    told = here.run(*words, "--symbols", "388")
    assert told.code == 2
    assert "0388" in told.err


WORDS = [
    "000001",
    "0050",
    "1",
    "1E5",
    "50",
    "INF",
    "NA",
    "NAN",
    "NULL",
    "TRUE",
    "None",
    "null",
    "1.10",
]


def rows_of(symbols: list[str]) -> str:
    return "".join(
        f"{symbol},2024-01-0{day},{10 + at},5\n"
        for at, symbol in enumerate(symbols)
        for day in (2, 3)
    )


@pytest.mark.parametrize("rows", [1, 4_000], ids=["short", "long"])
def test_words_and_numbers_as_symbols_of_a_long_file(tmp_path: Path, rows: int) -> None:
    """A long file is read in another way (its numbers at once): the symbols stay text there too."""
    more = [f"S{at}" for at in range(rows)]
    (tmp_path / "p.csv").write_text("symbol,date,close,volume\n" + rows_of([*WORDS, *more]))
    panel = load_panel(tmp_path / "p.csv")
    assert set(panel.symbols) == {*WORDS, *more}
    prices = dict(zip(panel.symbols, panel.field("close")[0].tolist(), strict=True))
    assert [prices[word] for word in WORDS] == [10 + at for at in range(len(WORDS))]


def test_words_and_numbers_as_columns_of_a_wide_file(tmp_path: Path) -> None:
    prices = ",".join(str(10 + at) for at in range(len(WORDS)))
    text = f"date,{','.join(WORDS)}\n2024-01-02,{prices}\n2024-01-03,{prices}\n"
    (tmp_path / "p.csv").write_text(text)
    panel = load_panel(tmp_path / "p.csv")
    assert set(panel.symbols) == set(WORDS)
    assert panel.field("close")[0, panel.symbols.index("0050")] == 11
    assert panel.field("close")[0, panel.symbols.index("50")] == 14


def test_words_and_numbers_in_two_levels(tmp_path: Path) -> None:
    text = (
        "Price,Close,Close,Close\nTicker,0050,50,TRUE\nDate,,,\n"
        "2024-01-02,1,2,3\n2024-01-03,1,2,3\n"
    )
    (tmp_path / "p.csv").write_text(text)
    panel = load_panel(tmp_path / "p.csv")
    assert panel.symbols == ("0050", "50", "TRUE")
    assert panel.field("close")[1].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["0050", "TRUE", "1E5", "NA", "600519.SS"])
def test_words_and_numbers_as_names_of_files(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.csv").write_text("date,close\n2024-01-02,1\n2024-01-03,2\n")
    assert load_panel(tmp_path / f"{name}.csv").symbols == (name,)
    assert load_panel(tmp_path).symbols == (name,)


def test_symbols_that_lost_their_zeros_before_are_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": ["2024-01-02", "2024-01-03"], "close": [1.0, 2.0]})
    panel = load_panel(frame.assign(symbol=50))
    assert panel.symbols == ("50",)
    assert any("zeros before them" in note for note in panel.notes)
    with pytest.raises(DataFaults, match="truth values where symbols belong"):
        load_panel(frame.assign(symbol=True))
    with pytest.raises(DataFaults, match="keep_default_na=False"):
        load_panel(frame.assign(symbol=["A", None]))
