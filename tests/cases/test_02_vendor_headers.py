"""Vendors' own headers, spellings of dates and numbers, with the same bars in each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.sources import DataFaults, load_panel

Open = Callable[[str], Desk]
SAME = (
    *(
        "alpaca",
        "excel-serial",
        "investing-com",
        "month-names",
        "nasdaq-com",
        "polygon",
        "quandl-wiki",
    ),
    *("short-names", "us-dates"),
)


@pytest.mark.parametrize("name", SAME)
def test_the_same_bars_from_every_vendor(desk: Open, name: str) -> None:
    here = desk("02-vendor-headers")
    report = here.ask("data", "check", f"{name}.csv")
    assert (report["rows"], report["faults"]) == (60, [])
    assert (report["start"][:10], report["end"][:10]) == ("2023-01-03", "2023-03-29")
    panel = load_panel(here.path / f"{name}.csv")
    assert panel.stack[5:9, 0, 0].tolist() == [100.25, 101.01, 99.05, 99.07]
    assert panel.stack[8, -1, 0] == 87.22
    assert panel.stack[9, -1, 0] == (880_000 if name == "investing-com" else 880_700)
    if name == "quandl-wiki":
        assert panel.stack[:4, 0, 0].tolist() == [50.125, 50.505, 49.525, 49.535]


def test_yfinance_with_two_levels(desk: Open) -> None:
    here = desk("02-vendor-headers")
    panel = load_panel(here.path / "yfinance-multi.csv")
    assert panel.symbols == ("AAA", "BRK-B")
    assert panel.stack[5:9, 0, 0].tolist() == [100.25, 101.01, 99.05, 99.07]


def days(count: int = 15) -> list[date]:
    """Sessions from Tuesday, 17 January 2023, to Monday, 6 February: days above 12 are among them."""
    start = date(2023, 1, 17)
    every = (start + timedelta(days=at) for at in range(60))
    return [day for day in every if day.weekday() < 5][:count]


def rows(form: Callable[[date], str]) -> str:
    return "\n".join(form(day) for day in days()) + "\n"


PLAIN = "10.50,11.25,10.25,11.00"
FILES: dict[str, str] = {
    "Alpha Vantage": "timestamp,1. open,2. high,3. low,4. close,5. volume\n"
    + rows(lambda day: f"{day},{PLAIN},900"),
    "Tiingo": "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,"
    "splitFactor\n"
    + rows(
        lambda day: f"{day}T00:00:00+00:00,11.00,11.25,10.25,10.50,900,11,11.25,10.25,10.5,900,0,1"
    ),
    "Google Finance": "Date,Open,High,Low,Close,Volume\n"
    + rows(lambda day: f"{day.day}-{day:%b}-{day:%y},{PLAIN},900"),
    "day first with points": "Date;Open;High;Low;Close;Volume\n"
    + rows(lambda day: f"{day:%d.%m.%Y};{PLAIN.replace(',', ';')};900"),
    "two digits of the year": "Date,Open,High,Low,Close,Volume\n"
    + rows(lambda day: f"{day:%m/%d/%y},{PLAIN},900"),
    "words of another language": "Datum;Eröffnung;Hoch;Tief;Schlusskurs;Volumen\n"
    + rows(lambda day: f"{day:%d.%m.%Y};10,50;11,25;10,25;11,00;900"),
    "Bloomberg": "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n"
    + rows(lambda day: f"{day},{PLAIN},900"),
    "Kaggle": "date,open,high,low,close,volume,Name\n" + rows(lambda day: f"{day},{PLAIN},900,X"),
    "Stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    + rows(lambda day: f"X,D,{day:%Y%m%d},000000,{PLAIN},900,0"),
    "a separator at each end": "Date,Open,High,Low,Close,Volume\n"
    + rows(lambda day: f"{day},{PLAIN},900,"),
    "a line that names the separator": "sep=;\nDate;Open;High;Low;Close;Volume\n"
    + rows(lambda day: f"{day};{PLAIN.replace(',', ';')};900"),
    "an address above": "https://www.CryptoDataDownload.com\n"
    "date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
    + rows(lambda day: f"{day},X,{PLAIN},900,9900"),
    "Polygon grouped": "T,v,vw,o,c,h,l,t,n\n"
    + rows(
        lambda day: (
            f"X,900,10.8,10.50,11.00,11.25,10.25,{(day - date(1970, 1, 1)).days * 86_400}000,7"
        )
    ),
    "month names in words": "Date,Open,High,Low,Close,Volume\n"
    + rows(lambda day: f'"{day:%B} {day.day}, {day:%Y}",{PLAIN},900'),
    "K and M": "Date,Price,Open,High,Low,Vol.,Change %\n"
    + rows(lambda day: f"{day:%m/%d/%Y},11.00,10.50,11.25,10.25,0.90K,0.50%"),
    "newest first": "Date,Close/Last,Volume,Open,High,Low\n"
    + "\n".join(f"{day:%m/%d/%Y},$11.00,900,$10.50,$11.25,$10.25" for day in reversed(days())),
}


@pytest.mark.parametrize("name", FILES)
def test_other_vendors(tmp_path: Path, name: str) -> None:
    (tmp_path / "X.csv").write_text(FILES[name], encoding="utf-8")
    panel = load_panel(tmp_path / "X.csv")
    assert panel.symbols == ("X",)
    assert [moment[:10] for moment in panel.as_of] == [str(day) for day in days()]
    for row in range(panel.rows):
        assert panel.stack[5:10, row, 0].tolist() == [10.5, 11.25, 10.25, 11, 900]


KLINE = "{open},10.50,11.25,10.25,11.00,900.5,{close},9900.1,7,450.2,4950.5,0"
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore\n"
)


@pytest.mark.parametrize("header", ["", KLINE_HEADER])
@pytest.mark.parametrize("unit", [1_000, 1_000_000])
def test_klines_with_and_without_header(tmp_path: Path, header: str, unit: int) -> None:
    # 1672531200 s = 2023-01-01T00:00Z; a bar of one minute is known a minute after its open
    lines = [
        KLINE.format(open=(1_672_531_200 + 60 * at) * unit, close=(1_672_531_260 + 60 * at) * unit - 1)
        for at in range(5)
    ]  # fmt: skip
    (tmp_path / "BTCUSDT.csv").write_text(header + "\n".join(lines))
    panel = load_panel(tmp_path / "BTCUSDT.csv", config=DataConfig(calendar="24/7"))
    assert (panel.interval, panel.as_of[0]) == ("1m", "2023-01-01T00:01:00Z")
    assert panel.stack[5:10, 4, 0].tolist() == [10.5, 11.25, 10.25, 11, 900.5]


HEADERLESS = {
    "HistData": [f"20230103 09{at:02}00;10.50;11.25;10.25;11.00;0" for at in range(5)],
    "MetaTrader": [f"2023.01.03,09:{at:02},10.50,11.25,10.25,11.00,0" for at in range(5)],
}


@pytest.mark.parametrize("name", HEADERLESS)
def test_minutes_without_a_header(tmp_path: Path, name: str) -> None:
    (tmp_path / "EURUSD.csv").write_text("\n".join(HEADERLESS[name]))
    panel = load_panel(tmp_path / "EURUSD.csv", config=DataConfig(calendar="24/7"))
    assert (panel.interval, panel.as_of[0]) == ("1m", "2023-01-03T09:01:00Z")
    assert panel.stack[5:9, 0, 0].tolist() == [10.5, 11.25, 10.25, 11]
    assert any("no header" in note for note in panel.notes)


@pytest.mark.parametrize("form", ["%m/%d/%Y", "%d.%m.%Y", "%d-%m-%y"])
def test_dates_that_no_day_above_12_settles_are_refused_once(tmp_path: Path, form: str) -> None:
    text = "Date,Open,High,Low,Close\n"
    text += "".join(f"{day:{form}},{PLAIN}\n" for day in days(20)[11:19])  # 1 to 10 February
    (tmp_path / "X.csv").write_text(text)
    with pytest.raises(DataFaults, match=r"data\.date_order") as caught:
        load_panel(tmp_path / "X.csv")
    (fault,) = caught.value.faults
    assert (fault.kind, fault.row, fault.count) == ("date", 2, 8)
    order = "mdy" if form.startswith("%m") else "dmy"
    panel = load_panel(tmp_path / "X.csv", config=DataConfig(date_order=order))
    assert panel.as_of[0][:10] == "2023-02-01"


def test_a_refusal_names_the_column(tmp_path: Path) -> None:
    (tmp_path / "X.csv").write_text("Date,Open,High,Low,Bid\n2023-01-03,1,2,1,2\n")
    with pytest.raises(DataFaults, match="no column close"):
        load_panel(tmp_path / "X.csv")
