"""What a column's name says it is: the words of vendors, markets and languages for the fields of a bar.

Owns these words. Refuses to know cells: whether `VOL` is the volume or Volaris is told by the table as a
whole (`layout`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

PRICES = ("open", "high", "low", "close")
CELLS = (*PRICES, "volume", "adjclose")
TIMES = ("timestamp", "datetime", "date", "time")
SYMBOLS = ("symbol", "ticker")
RESERVED = frozenset((*CELLS, *TIMES, *SYMBOLS))

WORDS: Mapping[str, str] = {
    "open": (
        "open openprice openingprice opening pxopen eroffnung eroffn eroffnungskurs erster ouverture ouv"
        " apertura abertura openingskurs otwarcie откр 开盘 开盘价"
    ),
    "high": (
        "high highprice highestprice dayhigh pxhigh hoch tageshoch hochst plushaut haut maximo maxima massimo"
        " hoog najwyzszy max макс 最高 最高价"
    ),
    "low": (
        "low lowprice lowestprice daylow pxlow tief tagestief tiefst plusbas bas minimo minima laag najnizszy"
        " min мин 最低 最低价"
    ),
    "close": (
        "close closeprice closingprice closing closelast pxlast schluss schlusskurs cloture clot dernier"
        " chiusura ultimo cierre fechamento slutkurs zuletzt zamkniecie 收盘 收盘价 last lastprice settle"
        " settlement settlementprice laatste ostatnio цена price"
    ),
    "volume": (
        "volume vol pxvolume volumen volumes volym stuecke stucke shares sharestraded totaltradedquantity"
        " noofshares tradedquantity wolumen wol объем 成交量 totalvolume"
    ),
    "adjclose": (
        "adjclose adjustedclose adjcloseprice adjustedcloseprice closeadj closeadjusted adjusted"
    ),
}
"""Field of a bar -> what it is called, the surest first: `price` is the close where nothing else is."""

LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
"""Names of one letter are fields only where all four prices have one: O, H, L and C are tickers too."""

TIME_WORDS = [
    "opentime",
    "windowstart",
    "timestamp",
    "datetime",
    "tradedate",
    "tradingdate",
    "tradingday",
    "beginsat",
    "starttime",
    "snappedat",
    "observationdate",
    "quotedate",
    "pricedate",
    "gmttime",
    "localtime",
    "date",
    "datum",
    "fecha",
    "jour",
    "data",
    "дата",
    "日期",
    "交易日期",
    "unix",
    "unixtime",
    "unixtimestamp",
    "epoch",
    "ts",
    "time",
    "zeit",
    "uhrzeit",
    "heure",
    "hora",
    "ora",
    "时间",
]
"""Names of a column of times, the surest first."""
DAYS = ("date", "datum", "fecha", "jour", "data", "tradedate", "дата", "日期")
CLOCKS = ("time", "zeit", "uhrzeit", "heure", "hora", "ora", "时间")
"""A column of days beside one of times of day."""

SYMBOL_WORDS = [
    "symbol",
    "ticker",
    "tic",
    "tscode",
    "stockcode",
    "actsymbol",
    "instrument",
    "code",
    "symbols",
    "tickers",
    "股票代码",
    "代码",
    "name",
    "stock",
    "asset",
]
"""`name` and what follows it are symbols only in a table with prices beside."""

EXTRAS = frozenset(
    [
        "vwap",
        "vw",
        "wap",
        "average",
        "n",
        "trades",
        "tradecount",
        "transactions",
        "count",
        "numtrades",
        "numberoftrades",
        "barcount",
        "dividend",
        "dividends",
        "dividendamount",
        "divcash",
        "exdividend",
        "splitfactor",
        "splitcoefficient",
        "splitratio",
        "stocksplits",
        "capitalgains",
        "change",
        "changep",
        "changepct",
        "changepercent",
        "chg",
        "pctchange",
        "percentchange",
        "marketcap",
        "mcap",
        "turnover",
        "amount",
        "quotevolume",
        "quoteassetvolume",
        "takerbuyvolume",
        "takerbuyquotevolume",
        "takerbuybasevolume",
        "takerbuybaseassetvolume",
        "takerbuyquoteassetvolume",
        "closetime",
        "ignore",
        "openint",
        "openinterest",
        "oi",
        "adjopen",
        "adjhigh",
        "adjlow",
        "adjvolume",
        "spread",
        "tickvol",
        "tickvolume",
        "per",
        "hasgaps",
        "成交额",
        "振幅",
        "涨跌幅",
        "涨跌额",
        "换手率",
    ]
)
"""What vendors give beside prices. Never a field here, and no symbol in a table whose other columns are
fields."""

RETURNS = frozenset(
    ["ret", "return", "returns", "logreturn", "logreturns", "logret", "dailyreturn", "retx"]
)

INDEX_NAMES = ("", "unnamed0", "index", "level0")

FIELD_WORDS = {
    **{name: name for name in CELLS},
    "vol": "volume",
    "adj": "adjclose",
    "adjusted": "adjclose",
    "adjustedclose": "adjclose",
}
_IN_CURRENCY = re.compile(
    r"\s*\((?:usd[tc]?|busd|eur|gbp|jpy|cny|krw|try|brl|inr|chf|cad|aud|hkd|sgd|btc|eth)\)\s*$"
)
_FIELD = r"adj(?:usted)?[ _.]?close|adjusted|open|high|low|close|volume|vol"
_SUFFIX = re.compile(rf"(?P<symbol>.+?)[ _.:|/\-]+(?P<field>{_FIELD})", re.IGNORECASE)
_PREFIX = re.compile(rf"(?P<field>{_FIELD})[ _.:|/\-]+(?P<symbol>.+)", re.IGNORECASE)
_PAIR = re.compile(r"\(\s*['\"](?P<field>[^'\"]*)['\"]\s*,\s*['\"](?P<symbol>[^'\"]*)['\"]\s*\)")
_NO_SYMBOL = frozenset(
    [
        "time",
        "interest",
        "int",
        "price",
        "last",
        "adj",
        "adjusted",
        "usd",
        "usdt",
        "btc",
        "eth",
        "eur",
        "24h",
        "prev",
    ]
)


def plain(name: object) -> str:
    """A column's name without case, accents, spaces, punctuation, a number before it and, where it is no
    volume, a currency after it: `Adj Close`, `adj_close` and `5. adjusted close` are one, as are `Clôture`
    and `cloture`, `4a. close (USD)` and `close`."""
    word = re.sub(r"^\s*\d+[a-z]?\.\s+", "", str(name).casefold())
    word = _IN_CURRENCY.sub("", word) if "vol" not in word else word
    word = unicodedata.normalize("NFKD", word)
    word = re.sub(r"[^\w]|_", "", "".join(char for char in word if not unicodedata.combining(char)))
    return {"vol": "volume", "adjustedclose": "adjclose"}.get(word, word)


def fields(names: Sequence[object], places: Iterable[int]) -> dict[str, int]:
    """Field of a bar -> the column of that name, of those at `places`."""
    words: dict[str, int] = {}
    for at in places:
        words.setdefault(plain(names[at]), at)
    found: dict[str, int] = {}
    for field, spellings in WORDS.items():
        at_word = next(
            (words[plain(word)] for word in spellings.split() if plain(word) in words), None
        )
        if at_word is not None:
            found[field] = at_word
    letters = {field: words[letter] for field, letter in LETTERS.items() if letter in words}
    if set(PRICES) <= set(letters) and not set(PRICES) <= set(found):
        return letters | {"adjclose": found["adjclose"]} if "adjclose" in found else letters
    return found


def symbol_and_field(names: Sequence[str]) -> list[tuple[str, str] | None]:
    """(symbol, field) of each column called `AAPL_close`, `close_AAPL` or `('Close', 'AAPL')`, else None;
    which of the two comes first is the same in a whole table."""
    suffixes = [_split(_SUFFIX, name) for name in names]
    prefixes = [_split(_PREFIX, name) or _split(_PAIR, name) for name in names]
    pairs = [_split(_PAIR, name, flipped=True) for name in names]
    return max((suffixes, prefixes, pairs), key=lambda found: sum(one is not None for one in found))


def _split(pattern: re.Pattern[str], name: str, *, flipped: bool = False) -> tuple[str, str] | None:
    match = pattern.fullmatch(name.strip())
    if match is None:
        return None
    symbol, word = match["symbol"].strip(), match["field"]
    if flipped:
        symbol, word = word, symbol
    field = FIELD_WORDS.get(plain(word))
    if field is None or plain(symbol) in _NO_SYMBOL or not symbol:
        return None
    return symbol, field
