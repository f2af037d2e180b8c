"""Twenty made-up sessions as each vendor exports them, in variants that break careless readers: the same bars
from all of them, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.config import DataConfig
from tests.cases.conftest import Desk
from trading.datasets import check_data
from trading.sources import load_panel

DAYS = [
    day
    for day in (date(2024, 2, 5) + timedelta(days=at) for at in range(29))
    if day.weekday() < 5 and day != date(2024, 2, 19)
][:20]
"""Sessions of New York, 5 February to 4 March 2024, without Presidents' Day: days above 12 are among them."""
SPLIT_AT = 12
"""A 2:1 split opens this session: raw prices before it are twice the adjusted ones."""

Bar = tuple[date, float, float, float, float, int]
BARS: list[Bar] = [
    (day, 1050.5 + at, 1062.25 + 2 * at, 1040.75 + at, 1055.0 + at, 1_200_000 + 10_000 * at)
    for at, day in enumerate(DAYS)
]


def rows(form: Callable[[Bar], str], *, newest_first: bool = False) -> str:
    lines = [form(bar) for bar in (reversed(BARS) if newest_first else BARS)]
    return "\n".join(lines) + "\n"


def raw(form: Callable[[date, list[float], float, float, float], str], **options: bool) -> str:
    """Rows of (day, raw prices, raw volume, adjusted close, split factor of the day)."""

    def one(bar: Bar) -> str:
        day, *prices, volume = bar
        at = DAYS.index(day)
        ratio = 2.0 if at < SPLIT_AT else 1.0
        factor = 2.0 if at == SPLIT_AT else 1.0
        return form(day, [price * ratio for price in prices], volume / ratio, prices[3], factor)

    return rows(one, **options)


def joined(values: list[float]) -> str:
    return ",".join(map(str, values))


def epoch_ms(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp()) * 1000


def comma(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


ADJUSTED: dict[str, str] = {
    "Alpha Vantage, adjusted, newest first": "timestamp,open,high,low,close,adjusted_close,volume,"
    "dividend_amount,split_coefficient\n"
    + raw(lambda day, p, v, adj, f: f"{day},{joined(p)},{adj:.4f},{v:.0f},0.0000,{f}", newest_first=True),
    "Alpha Vantage, from JSON": ",1. open,2. high,3. low,4. close,5. adjusted close,6. volume,"
    "7. dividend amount,8. split coefficient\n"
    + raw(lambda day, p, v, adj, f: f"{day},{joined(p)},{adj},{v:.0f},0.0000,{f}", newest_first=True),
    "Tiingo, CSV": "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,"
    "splitFactor\n"
    + raw(lambda day, p, v, adj, f: f"{day}T00:00:00.000Z,{p[3]},{p[1]},{p[2]},{p[0]},{v:.0f},{adj},"
          f"0,0,0,0,0,{f}"),
    "Tiingo, from JSON, columns in another order": ",adjClose,adjHigh,adjLow,adjOpen,adjVolume,close,date,"
    "divCash,high,low,open,splitFactor,volume\n"
    + raw(lambda day, p, v, adj, f: f"0,{adj},1,1,1,1,{p[3]},{day} 00:00:00+00:00,0,{p[1]},{p[2]},{p[0]},"
          f"{f},{v:.0f}"),
    "Yahoo, a row of null after the last and one on a day without session": "Date,Open,High,Low,Close,"
    "Adj Close,Volume\n2024-02-03,null,null,null,null,null,null\n"
    + raw(lambda day, p, v, adj, f: f"{day},{joined(p)},{adj:.6f},{v:.0f}")
    + "2024-03-05,null,null,null,null,null,null\n",
    "Yahoo, copied from the page": "Date\tOpen\tHigh\tLow\tClose*\tAdj Close**\tVolume\n"
    + raw(lambda day, p, v, adj, f: "\t".join(
        [f"{day:%b} {day.day}, {day.year}", *(f"{price:,.2f}" for price in p), f"{adj:,.2f}", f"{v:,.0f}"]
    ), newest_first=True),
}  # fmt: skip


@pytest.mark.parametrize("name", ADJUSTED)
def test_adjusted_bars_of_every_vendor(tmp_path: Path, name: str) -> None:
    (tmp_path / "X.csv").write_text(ADJUSTED[name])
    panel = load_panel(tmp_path / "X.csv")
    assert panel.symbols == ("X",)
    assert [moment[:10] for moment in panel.as_of] == [str(day) for day in DAYS]
    values = np.array([bar[1:] for bar in BARS], dtype=float).T
    assert panel.stack[:5, :, 0].tolist() == pytest.approx(values)
    ratio = np.where(np.arange(20) < SPLIT_AT, 2.0, 1.0)
    assert panel.stack[5:9, :, 0].tolist() == (values[:4] * ratio).tolist()
    assert panel.stack[9, :, 0].tolist() == (values[4] / ratio).tolist()


STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
INVESTING = '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
PLAIN: dict[str, str] = {
    "Alpha Vantage, newest first": "timestamp,open,high,low,close,volume\n"
    + rows(lambda bar: ",".join(map(str, bar)), newest_first=True),
    "Alpha Vantage, a coin in dollars": ",1a. open (USD),2a. high (USD),3a. low (USD),4a. close (USD),"
    "5. volume,6. market cap (USD)\n"
    + rows(lambda bar: ",".join(map(str, bar)) + ",1e9"),
    "Google Finance, stamps of the close": "Date,Open,High,Low,Close,Volume\n"
    + rows(lambda bar: f"{bar[0].month}/{bar[0].day}/{bar[0].year} 16:00:00,{joined([*bar[1:]])}"),
    "Google Finance, another locale": "Date;Open;High;Low;Close;Volume\n"
    + rows(lambda bar: f"{bar[0]:%d.%m.%Y} 16:00:00;{';'.join(map(comma, bar[1:5]))};{bar[5]}"),
    "Stooq, a ticker like a truth value": STOOQ
    + rows(lambda bar: f"TRUE,D,{bar[0]:%Y%m%d},000000,{joined([*bar[1:]])},0"),
    "Stooq, its own language": "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n"
    + rows(lambda bar: ",".join(map(str, bar))),
    "Polygon, midnights of New York": "v,vw,o,c,h,l,t,n\n"
    + rows(lambda bar: f"{bar[5]},1,{bar[1]},{bar[4]},{bar[2]},{bar[3]},{epoch_ms(bar[0], 5)},9"),
    "Polygon, whole numbers as fractions": "v,vw,o,c,h,l,t,n\n"
    + rows(lambda bar: f"{bar[5]:.6E},,{bar[1]},{bar[4]},{bar[2]},{bar[3]},{epoch_ms(bar[0], 5)}.0,"),
    "Polygon, flat file in ns": "ticker,volume,open,close,high,low,window_start,transactions\n"
    + rows(lambda bar: f"X,{bar[5]},{bar[1]},{bar[4]},{bar[2]},{bar[3]},{epoch_ms(bar[0], 5)}000000,9"),
    "MetaTrader 5, days": "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>\t<SPREAD>\n"
    + rows(lambda bar: "\t".join([f"{bar[0]:%Y.%m.%d}", *map(str, bar[1:]), "12"])),
    "MetaTrader 4, days without header": rows(
        lambda bar: f"{bar[0]:%Y.%m.%d},00:00,{joined([*bar[1:]])}"
    ),
    "Investing.com, thousands and M": INVESTING
    + rows(lambda bar: f'"{bar[0]:%m/%d/%Y}","{bar[4]:,.2f}","{bar[1]:,.2f}","{bar[2]:,.2f}",'
           f'"{bar[3]:,.2f}","{bar[5] / 1e6:.2f}M","-0.25%"', newest_first=True),
    "Investing.com, K and month names": INVESTING
    + rows(lambda bar: f'"{bar[0]:%b %d, %Y}","{bar[4]}","{bar[1]}","{bar[2]}","{bar[3]}",'
           f'"{bar[5] / 1e3:.1f}K","0.25%"'),
    "Investing.com, German": '\ufeff"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n'
    + rows(lambda bar: f'"{bar[0]:%d.%m.%Y}","{comma(bar[4])}","{comma(bar[1])}","{comma(bar[2])}",'
           f'"{comma(bar[3])}","{comma(bar[5] / 1e6)}M","-0,25%"', newest_first=True),
    "Investing.com, Portuguese": '"Data","Último","Abertura","Máxima","Mínima","Vol.","Var%"\n'
    + rows(lambda bar: f'"{bar[0]:%d.%m.%Y}","{comma(bar[4])}","{comma(bar[1])}","{comma(bar[2])}",'
           f'"{comma(bar[3])}","{comma(bar[5] / 1e6)}M","-0,25%"', newest_first=True),
    "Nasdaq.com, dollars": "Date,Close/Last,Volume,Open,High,Low\n"
    + rows(lambda bar: f"{bar[0]:%m/%d/%Y},${bar[4]},{bar[5]},${bar[1]},${bar[2]},${bar[3]}",
           newest_first=True),
    "Nasdaq.com, thousands and blanks": "Date, Close/Last, Volume, Open, High, Low\n"
    + rows(lambda bar: f'{bar[0]:%m/%d/%Y}, "${bar[4]:,.2f}", "{bar[5]:,}", "${bar[1]:,.2f}",'
           f' "${bar[2]:,.2f}", "${bar[3]:,.2f}"', newest_first=True),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_bars_of_every_vendor(tmp_path: Path, name: str) -> None:
    (tmp_path / "X.csv").write_text(PLAIN[name], encoding="utf-8")
    panel = load_panel(tmp_path / "X.csv")
    assert panel.symbols == ("TRUE" if "truth" in name else "X",)
    assert [moment[:10] for moment in panel.as_of] == [str(day) for day in DAYS]
    assert panel.stack[5:10, :, 0].T.tolist() == [list(bar[1:]) for bar in BARS]


def test_an_index_of_nasdaq_has_no_volume(tmp_path: Path) -> None:
    text = "Date,Close/Last,Volume,Open,High,Low\n" + rows(
        lambda bar: f"{bar[0]:%m/%d/%Y},{bar[4]},--,{bar[1]},{bar[2]},{bar[3]}"
    )
    (tmp_path / "X.csv").write_text(text)
    panel = load_panel(tmp_path / "X.csv")
    assert not panel.has_volume
    assert panel.stack[8, :, 0].tolist() == [bar[4] for bar in BARS]


MINUTES = [datetime(2024, 12, 31, 23, 50) + timedelta(minutes=at) for at in range(20)]
PRICES = [
    (1.104 + at / 1e4, 1.105 + at / 1e4, 1.103 + at / 1e4, 1.1045 + at / 1e4) for at in range(20)
]


def kline(at: int, unit: int) -> str:
    """`unit` is the number of units in a millisecond."""
    start = int(MINUTES[at].replace(tzinfo=UTC).timestamp()) * 1000
    prices = ",".join(f"{price:.8f}" for price in PRICES[at])
    return f"{start * unit},{prices},{at}.5,{(start + 60_000) * unit - 1},9.9,7,3.1,3.3,0"


def minutes(form: Callable[[datetime, list[str]], str]) -> str:
    texts = [[f"{price:.5f}" for price in prices] for prices in PRICES]
    return "\n".join(form(*each) for each in zip(MINUTES, texts, strict=True)) + "\n"


KLINES = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
SHOWN = "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
INTRADAY: dict[str, tuple[str, bool]] = {
    "Binance, ms without header": ("\n".join(kline(at, 1) for at in range(20)), True),
    "Binance, us without header": ("\n".join(kline(at, 1000) for at in range(20)), True),
    "Binance, ms that become us in 2025": (
        "\n".join(kline(at, 1 if at < 10 else 1000) for at in range(20)), True,
    ),
    "Binance, header": (
        KLINES + "taker_buy_quote_volume,ignore\n" + "\n".join(kline(at, 1) for at in range(20)), True,
    ),
    "Binance, a count before it": (
        f",{SHOWN}Taker buy base asset volume,Taker buy quote asset volume,Ignore\n"
        + "\n".join(f"{at},{kline(at, 1000)}" for at in range(20)), True,
    ),
    "HistData": (minutes(lambda at, p: f"{at:%Y%m%d %H%M%S};{';'.join(p)};0"), False),
    "HistData, Windows": (
        minutes(lambda at, p: f"{at:%Y%m%d %H%M%S};{';'.join(p)};0").replace("\n", "\r\n"), False,
    ),
    "HistData, for MetaTrader": (minutes(lambda at, p: f"{at:%Y.%m.%d,%H:%M},{','.join(p)},0"), False),
    "MetaTrader 5, ticks counted": (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        + minutes(lambda at, p: "\t".join([f"{at:%Y.%m.%d\t%H:%M:%S}", *p, "44\t0\t12"])), False,
    ),
    "Stooq, minutes": (
        STOOQ + minutes(lambda at, p: f"X,1,{at:%Y%m%d,%H%M%S},{','.join(p)},0,0"), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INTRADAY)
def test_minutes_of_every_vendor(tmp_path: Path, name: str) -> None:
    """Over a midnight, whose time of day is 0 alone, and over the day from which klines are in us."""
    text, has_volume = INTRADAY[name]
    (tmp_path / "X.csv").write_text(text, newline="")
    panel = load_panel(tmp_path / "X.csv", config=DataConfig(calendar="24/7"))
    assert (panel.interval, panel.symbols) == ("1m", ("X",))
    assert (panel.as_of[0], panel.as_of[-1]) == ("2024-12-31T23:51:00Z", "2025-01-01T00:10:00Z")
    expected = [[round(price, 5) for price in prices] for prices in PRICES]
    assert panel.stack[5:9, :, 0].T.tolist() == expected
    volume = [at + 0.5 if has_volume else 0.0 for at in range(20)]
    assert panel.stack[9, :, 0].tolist() == volume


TWO = "open (CNY),high (CNY),low (CNY),close (CNY),open (USD),high (USD),low (USD),close (USD)"
REFUSED: dict[str, tuple[str, str]] = {
    "Alpha Vantage, two currencies": (
        f"timestamp,{TWO},volume\n"
        + rows(lambda bar: f"{bar[0]},{joined([price * 7 for price in bar[1:5]])},{joined([*bar[1:]])}"),
        "two columns that mean open: 'open (CNY)' and 'open (USD)'",
    ),
    "Alpha Vantage, a limit in place of data": ('{\n  "Note": "at most 5 calls a minute"\n}\n', "JSON"),
    "Stooq, no data": ("No data\n", "a single column headed 'No data'"),
    "Polygon, times cut by a spreadsheet": (
        "v,vw,o,c,h,l,t,n\n"
        + rows(lambda bar: f"9,1,{bar[1]},{bar[4]},{bar[2]},{bar[3]},{epoch_ms(bar[0], 5):.5E},9"),
        "'1.70711E+12', which is no time",
    ),
    "MetaTrader 5, ticks": (
        "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"
        + minutes(lambda at, p: f"{at:%Y.%m.%d\t%H:%M:%S}.250\t{p[0]}\t{p[1]}\t\t\t6"),
        "quotes, not bars",
    ),
    "HistData, ticks": (
        minutes(lambda at, p: f"{at:%Y%m%d %H%M%S}250,{p[0]},{p[1]},0"),
        "no header line",
    ),
    "Yahoo, today twice": (
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        + rows(lambda bar: f"{bar[0]},{joined([*bar[1:5]])},{bar[4]},{bar[5]}")
        + "2024-03-04,1070,1099,1060,1071,1071,5\n",
        "2024-03-04 for the second time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_vendor_means_as_bars_is_refused_once(
    desk: Callable[[str], Desk], name: str
) -> None:
    text, found = REFUSED[name]
    here = desk("")
    (here.path / "X.csv").write_text(text)
    told = here.run("data", "check", "X.csv", "--json")
    assert told.code == 2
    (fault,) = told.answer["faults"]
    assert found in fault["found"]
    assert fault["cure"]


def test_a_day_with_an_early_close_is_dated_by_it(tmp_path: Path) -> None:
    days = [
        "11/21/2023 16:00:00",
        "11/22/2023 16:00:00",
        "11/24/2023 13:00:00",
        "11/27/2023 16:00:00",
    ]
    lines = [f"{day},{at + 10}" for at, day in enumerate(days)]
    (tmp_path / "X.csv").write_text("Date,Close\n" + "\n".join(lines) + "\n")
    assert check_data(tmp_path / "X.csv").faults == ()
    panel = load_panel(tmp_path / "X.csv")
    assert panel.as_of[2] == "2023-11-24T18:00:00Z"
    assert panel.field("close")[:, 0].tolist() == [10, 11, 12, 13]
