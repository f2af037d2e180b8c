"""Every format that is promised, each as a real file, and what becomes of its cells."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.config import DataConfig
from core.errors import DataError
from trading.datasets import check_data
from trading.sources import load_panel

LONG = """symbol,date,open,high,low,close,volume,adj_close
AAA,2024-01-02,10,12,9,11,100,5.5
AAA,2024-01-03,11,13,10,12,200,6
BBB,2024-01-03,20,21,19,20,300,20
"""

# (open, high, low, close, volume) of AAA and BBB on 2024-01-02 and 2024-01-03; AAA is halved by adj_close.
ADJUSTED = {
    ("AAA", 0): [5, 6, 4.5, 5.5, 200],
    ("AAA", 1): [5.5, 6.5, 5, 6, 400],
    ("BBB", 1): [20, 21, 19, 20, 300],
}


def check_values(panel) -> None:
    assert panel.symbols == ("AAA", "BBB")
    assert panel.as_of == ("2024-01-02T21:00:00Z", "2024-01-03T21:00:00Z")
    for (symbol, row), values in ADJUSTED.items():
        assert panel.stack[:5, row, panel.symbols.index(symbol)].tolist() == values
    assert np.isnan(panel.stack[:10, 0, 1]).all()
    assert panel.stack[5:10, 0, 0].tolist() == [10, 12, 9, 11, 100]


def frame() -> pd.DataFrame:
    import io

    return pd.read_csv(io.StringIO(LONG))


def test_long_csv(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(LONG)
    panel = load_panel(tmp_path / "prices.csv")
    check_values(panel)
    assert panel.sha256 == hashlib.sha256(LONG.encode()).hexdigest()
    assert panel.name == "prices.csv"


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("symbol,date,open", "TICKER,Timestamp,Open").replace("adj_close", "Adj Close"),
        LONG.replace(",", ";").replace("adj_close", "adjclose"),
        LONG.replace(",", "\t"),
        LONG.replace("\n", "\r\n"),
        "\ufeff" + LONG,
        "\n\n" + LONG.replace("\nBBB", "\n\nBBB"),
        LONG.replace("2024-01-0", "2024010"),
        LONG.replace("2024-01-0", "2024/01/0"),
        LONG.replace("AAA,", '"AAA",'),
        LONG.rstrip("\n"),
    ],
    ids=[
        "names in any case",
        "semicolons",
        "tabs",
        "windows",
        "byte order mark",
        "blank lines",
        "yyyymmdd",
        "slashes",
        "quotes",
        "no last newline",
    ],
)
def test_spellings_of_one_long_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.csv").write_bytes(text.encode())
    check_values(load_panel(tmp_path / "prices.csv"))


def test_gzipped_csv(tmp_path: Path) -> None:
    (tmp_path / "prices.csv.gz").write_bytes(gzip.compress(LONG.encode()))
    check_values(load_panel(str(tmp_path / "prices.csv.gz")))


def test_parquet_and_feather_and_their_bytes_tell_the_format(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "prices.parquet")
    frame().to_feather(tmp_path / "prices.feather")
    frame().to_parquet(tmp_path / "misnamed.csv")
    for name in ("prices.parquet", "prices.feather", "misnamed.csv"):
        check_values(load_panel(tmp_path / name))


@pytest.mark.parametrize("kind", ["datetime64[s]", "datetime64[ns]", "object", "category"])
def test_parquet_dates_of_any_type(tmp_path: Path, kind: str) -> None:
    table = frame()
    if kind == "object":
        table["date"] = pd.to_datetime(table["date"]).dt.date
    else:
        table["date"] = table["date"].astype(kind)
    table.to_parquet(tmp_path / "prices.parquet")
    check_values(load_panel(tmp_path / "prices.parquet"))


def test_dataframe_with_a_count_or_with_dates_as_index() -> None:
    check_values(load_panel(frame()))
    check_values(load_panel(frame().set_index("date")))
    check_values(
        load_panel(frame().set_index(pd.DatetimeIndex(frame()["date"])).drop(columns="date"))
    )
    check_values(load_panel(frame().set_index(["symbol", "date"])))


def test_numbers_written_as_text_in_a_dataframe() -> None:
    check_values(load_panel(frame().astype(str)))


def test_a_folder_is_one_file_a_symbol(tmp_path: Path) -> None:
    for symbol, rows in frame().groupby("symbol"):
        rows.drop(columns="symbol").to_csv(tmp_path / f"{symbol}.csv", index=False)
    (tmp_path / "readme.txt").write_text("not prices")
    check_values(load_panel(tmp_path))


def test_a_symbol_over_two_files_is_joined_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("".join(LONG.splitlines(keepends=True)[:2]))
    (tmp_path / "b.csv").write_text("".join(np.array(LONG.splitlines(keepends=True))[[0, 2, 3]]))
    check_values(load_panel(tmp_path))
    assert check_data(tmp_path).overlaps == ("AAA: a.csv, b.csv",)


def test_an_unnamed_first_column_is_the_date_and_the_file_is_the_symbol(tmp_path: Path) -> None:
    (tmp_path / "XYZ.csv").write_text(
        ",Open,High,Low,Close\n2024-01-02,1,2,1,2\n2024-01-03,2,3,2,3\n"
    )
    panel = load_panel(tmp_path / "XYZ.csv")
    assert panel.symbols == ("XYZ",)
    assert panel.field("close")[:, 0].tolist() == [2, 3]
    assert not panel.has_volume
    assert np.isnan(panel.field("volume")).all()
    assert any("no volume" in note for note in panel.notes)


# yfinance 0.2 and 1.x, one symbol and two, as `to_csv` writes them.
TWO_LEVELS = {
    "field first": """Price,Close,High,Low,Open,Volume
Ticker,XYZ,XYZ,XYZ,XYZ,XYZ
Date,,,,,
2024-01-02,2,2,1,1,10
2024-01-03,3,3,2,2,20
""",
    "ticker first": """Ticker,XYZ,XYZ,XYZ,XYZ,XYZ
Price,Open,High,Low,Close,Volume
Date,,,,,
2024-01-02,1,2,1,2,10
2024-01-03,2,3,2,3,20
""",
    "unnamed levels": """,Close,High,Low,Open,Volume
,XYZ,XYZ,XYZ,XYZ,XYZ
Date,,,,,
2024-01-02,2,2,1,1,10
2024-01-03,3,3,2,2,20
""",
    "two lines": """Date,Close,High,Low,Open,Volume
,XYZ,XYZ,XYZ,XYZ,XYZ
2024-01-02,2,2,1,1,10
2024-01-03,3,3,2,2,20
""",
}


@pytest.mark.parametrize("text", TWO_LEVELS.values(), ids=TWO_LEVELS)
def test_two_level_headers_of_yfinance(tmp_path: Path, text: str) -> None:
    (tmp_path / "download.csv").write_text(text)
    panel = load_panel(tmp_path / "download.csv")
    assert panel.symbols == ("XYZ",)
    assert panel.stack[:5, 1, 0].tolist() == [2, 3, 2, 3, 20]


@pytest.mark.parametrize("order", [0, 1])
def test_two_level_dataframes_in_both_orders(order: int) -> None:
    fields = {"Open": [1, 2], "High": [2, 3], "Low": [1, 2], "Close": [2, 3], "Adj Close": [1, 1.5]}
    columns = {
        ((name, symbol) if order == 0 else (symbol, name)): values
        for symbol in ("XYZ", "ABC")
        for name, values in fields.items()
    }
    table = pd.DataFrame(columns, index=pd.DatetimeIndex(["2024-01-02", "2024-01-03"], name="Date"))
    panel = load_panel(table)
    assert panel.symbols == ("ABC", "XYZ")
    assert panel.field("close").tolist() == [[1, 1], [1.5, 1.5]]
    assert panel.field("raw_open").tolist() == [[1, 1], [2, 2]]


def test_wide_table_of_closes_with_a_late_symbol(tmp_path: Path) -> None:
    (tmp_path / "closes.csv").write_text("Date,AAA,BBB\n2024-01-02,10,\n2024-01-03,11,5\n")
    panel = load_panel(tmp_path / "closes.csv")
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(panel.field(name), [[10, np.nan], [11, 5]])
    assert panel.listed_at.tolist() == [0, 1]
    assert any("open = high = low = close" in note for note in panel.notes)


def test_wide_dataframe_with_dates_as_index() -> None:
    index = pd.date_range("2024-01-02", periods=2)
    panel = load_panel(pd.DataFrame({"AAA": [1.0, 2.0], "BRK.B": [3.0, 4.0]}, index=index))
    assert panel.symbols == ("AAA", "BRK.B")


def test_other_columns_are_ignored_and_listed(tmp_path: Path) -> None:
    rows = "".join(line + ",x,0\n" for line in LONG.splitlines()[1:])
    (tmp_path / "p.csv").write_text(LONG.splitlines()[0] + ",Stock Splits,ex-dividend\n" + rows)
    check_values(load_panel(tmp_path / "p.csv"))
    assert check_data(tmp_path / "p.csv").ignored == ("Stock Splits", "ex-dividend")


def test_a_ticker_that_spells_no_value_is_a_ticker(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "symbol,date,close\nNA,2024-01-02,1\nTRUE,2024-01-02,2\n123,2024-01-02,3\n"
    )
    assert load_panel(tmp_path / "p.csv").symbols == ("123", "NA", "TRUE")


def test_a_row_without_any_price_is_a_missing_bar(tmp_path: Path) -> None:
    text = LONG.replace("AAA,2024-01-03,11,13,10,12,200,6", "AAA,2024-01-03,,,,,,")
    (tmp_path / "p.csv").write_text(text)
    panel = load_panel(tmp_path / "p.csv")
    assert np.isnan(panel.field("close")[1, 0])
    assert panel.field("mark")[1, 0] == 5.5
    assert panel.field("stale")[1, 0] == 1


def test_intraday_stamps_label_the_open_or_the_close(tmp_path: Path) -> None:
    text = (
        "Datetime,open,high,low,close,volume\n"
        "2024-03-08 09:30:00-05:00,1,1,1,1,1\n2024-03-08 09:35:00-05:00,1,1,1,1,1\n"
        "2024-03-11 09:30:00-04:00,1,1,1,1,1\n"
    )
    (tmp_path / "XYZ.csv").write_text(text)
    panel = load_panel(tmp_path / "XYZ.csv")
    assert panel.interval == "5m"
    assert panel.as_of == ("2024-03-08T14:35:00Z", "2024-03-08T14:40:00Z", "2024-03-11T13:35:00Z")
    closing = load_panel(tmp_path / "XYZ.csv", config=DataConfig(bar_label="close"))
    assert closing.as_of[0] == "2024-03-08T14:30:00Z"


def test_intraday_without_a_zone_is_utc_and_says_so(tmp_path: Path) -> None:
    text = "date,time,close\n2024-03-08,9:30,1\n2024-03-08,10:30,1\n"
    (tmp_path / "XYZ.csv").write_text(text)
    panel = load_panel(tmp_path / "XYZ.csv")
    assert panel.as_of == ("2024-03-08T10:30:00Z", "2024-03-08T11:30:00Z")
    assert any("UTC" in note for note in panel.notes)


def test_bracketed_headers(tmp_path: Path) -> None:
    text = (
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\n"
        "A.US,D,20240102,000000,1,2,1,2,5\nA.US,D,20240103,000000,1,2,1,2,6\n"
    )
    (tmp_path / "a.txt").write_text(text)
    panel = load_panel(tmp_path / "a.txt")
    assert panel.symbols == ("A.US",)
    assert panel.field("volume")[:, 0].tolist() == [5, 6]


def test_milliseconds_since_1970(tmp_path: Path) -> None:
    (tmp_path / "BTC.csv").write_text("timestamp,close\n1704067200000,1\n1704067260000,2\n")
    panel = load_panel(tmp_path / "BTC.csv", config=DataConfig(calendar="24/7"))
    assert panel.interval == "1m"
    assert panel.as_of == ("2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z")


def test_symbols_keeps_those_and_names_the_nearest_of_an_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(LONG)
    assert load_panel(tmp_path / "p.csv", symbols=["BBB"]).symbols == ("BBB",)
    with pytest.raises(DataError, match=r"has no AAB \(nearest: AAA\)") as caught:
        load_panel(tmp_path / "p.csv", symbols=["BBB", "AAB"])
    assert caught.value.cure == "It has AAA, BBB."


def test_end_is_inclusive(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(LONG)
    assert load_panel(tmp_path / "p.csv", end="2024-01-02").as_of == ("2024-01-02T21:00:00Z",)
    assert load_panel(tmp_path / "p.csv", end="2024-01-03T20:59:59Z").rows == 1
    assert load_panel(tmp_path / "p.csv", end="2024-01-03T21:00:00Z").rows == 2
    with pytest.raises(DataError, match="no bar up to 2023-12-31"):
        load_panel(tmp_path / "p.csv", end="2023-12-31")
    with pytest.raises(DataError, match="'2023-02-30' is no date"):
        load_panel(tmp_path / "p.csv", end="2023-02-30")


def test_end_is_the_bars_own_date_where_days_close_at_midnight(tmp_path: Path) -> None:
    (tmp_path / "BTC.csv").write_text("date,close\n2024-01-06,1\n2024-01-07,2\n")
    panel = load_panel(tmp_path / "BTC.csv", config=DataConfig(calendar="24/7"), end="2024-01-06")
    assert panel.as_of == ("2024-01-07T00:00:00Z",)


def test_nothing_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file, folder or dataset 'no\.csv'"):
        load_panel("no.csv", data_dir=tmp_path)
    with pytest.raises(DataError, match="data is a list"):
        load_panel([1, 2])  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of prices"):
        load_panel(tmp_path / "empty")


def test_the_sample_is_the_default() -> None:
    panel = load_panel()
    assert panel.symbols == ("AAPL", "IBM", "MSFT", "GOOG", "FB")
    assert (panel.name, panel.rows, panel.mock) == ("sample", 3270, False)
    # FB's first close is 38.2318 on 2012-05-18; AAPL's on 2000-03-01 is 130.31 raw, 4.186663 adjusted.
    assert panel.as_of[panel.listed_at[4]] == "2012-05-18T20:00:00Z"
    assert panel.field("close")[panel.listed_at[4], 4] == 38.2318
    assert panel.stack[[3, 8], 0, 0].tolist() == [4.186663, 130.31]
