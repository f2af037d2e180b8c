"""Every fault of a file is found, with its row, its value and a cure, and sound files have none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from trading.datasets import check_data
from trading.sources import DataFaults, Fault, load_panel
from trading.sources.csv_text import MAX_LINE_BYTES

HEADER = "symbol,date,open,high,low,close,volume,adj_close"
GOOD = [
    "AAA,2024-01-02,10,12,9,11,100,11",
    "AAA,2024-01-03,11,13,10,12,200,12",
    "AAA,2024-01-04,12,14,11,13,300,13",
    "BBB,2024-01-02,20,22,19,21,100,21",
    "BBB,2024-01-03,21,23,20,22,200,22",
]


def write(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def faults_of(path: Path) -> list[tuple[str, int | None, str | None]]:
    return [(fault.kind, fault.row, fault.symbol) for fault in check_data(path).faults]


CELL_FAULTS = {
    "a NaN beside other prices": ("AAA,2024-01-03,11,13,,12,200,12", "nan", "low"),
    "a NaN in the adjusted close": ("AAA,2024-01-03,11,13,10,12,200,", "nan", "adj_close"),
    "a NaN in the volume": ("AAA,2024-01-03,11,13,10,12,,12", "nan", "volume"),
    "high below low": ("AAA,2024-01-03,11,9,10,10.5,200,12", "high_low", "high 9 below low 10"),
    "high below close": ("AAA,2024-01-03,11,11.5,10,12,200,12", "high_low", "high 11.5 below"),
    "low above open": ("AAA,2024-01-03,11,13,11.5,12,200,12", "high_low", "low 11.5 above"),
    "a price of 0": ("AAA,2024-01-03,0,13,10,12,200,12", "price", "open 0"),
    "a negative price": ("AAA,2024-01-03,11,13,10,-12,200,12", "price", "close -12"),
    "a negative adjusted close": ("AAA,2024-01-03,11,13,10,12,200,-12", "price", "adj_close -12"),
    "a negative volume": ("AAA,2024-01-03,11,13,10,12,-5,12", "volume", "volume -5"),
    "text where a number belongs": (
        "AAA,2024-01-03,11,13,ten,12,200,12",
        "text",
        "'ten' where low",
    ),
    "a decimal comma beside points": (
        'AAA,2024-01-03,"11,5",13.25,10.5,12.5,200,12',
        "text",
        "'11,5' where open",
    ),
    "an infinite price": ("AAA,2024-01-03,11,inf,10,12,200,12", "infinite", "high inf"),
    "an impossible date": ("AAA,2024-02-30,11,13,10,12,200,12", "date", "'2024-02-30'"),
    "a day-first date": ("AAA,03/01/2024,11,13,10,12,200,12", "date", "'03/01/2024'"),
    "no date": ("AAA,,11,13,10,12,200,12", "date", "no time"),
    "a year out of reach": ("AAA,9999-01-03,11,13,10,12,200,12", "date", "'9999-01-03'"),
    "no symbol": (",2024-01-03,11,13,10,12,200,12", "symbol", "no symbol"),
    "a cell too few": ("AAA,2024-01-03,11,13,10,12,200", "columns", "7 cells"),
    "a cell too many": ("AAA,2024-01-03,11,13,10,12,200,12,1", "columns", "9 cells"),
    "a duplicate time": ("AAA,2024-01-02,11,13,10,12,200,12", "duplicate", "2024-01-02"),
    "an unsorted time": ("AAA,2024-01-01,11,13,10,12,200,12", "unsorted", "2024-01-01"),
}


@pytest.mark.parametrize(("row", "kind", "found"), CELL_FAULTS.values(), ids=CELL_FAULTS)
def test_a_fault_is_named_with_its_row_and_value(
    tmp_path: Path, row: str, kind: str, found: str
) -> None:
    path = write(tmp_path, [GOOD[0], row, *GOOD[2:]])
    faults = check_data(path).faults
    assert [(fault.kind, fault.row) for fault in faults] == [(kind, 3)]
    assert found in faults[0].found
    assert faults[0].cure
    with pytest.raises(DataFaults, match="row 3"):
        load_panel(path)


def test_the_row_is_the_line_an_editor_shows(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join(["", HEADER, GOOD[0], "", "", "AAA,2024-01-03,11,13,ten,12,200,12"]))
    assert faults_of(path) == [("text", 6, "AAA")]
    frame = pd.DataFrame({"date": ["2024-01-02", "2024-01-03"], "close": [1.0, -1.0]})
    frame.to_parquet(tmp_path / "XYZ.parquet")
    assert faults_of(tmp_path / "XYZ.parquet") == [("price", 2, "XYZ")]


def test_all_faults_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [
        "AAA,2024-01-02,10,12,9,11,-1,11",
        "AAA,2024-13-03,11,13,10,12,200,12",
        "AAA,2024-01-04,12,14,11,-13,300,x",
        "BBB,2024-01-02,20,22,,21,100,21",
        "BBB,2024-01-02,21,19,20,22,200,22",
    ]
    report = check_data(write(tmp_path, rows))
    assert [(fault.kind, fault.row) for fault in report.faults] == [
        ("volume", 2),
        ("date", 3),
        ("text", 4),
        ("price", 4),
        ("nan", 5),
        ("high_low", 6),
        ("duplicate", 6),
    ]
    assert not report.ok
    assert (report.rows, report.symbols) == (5, ("AAA", "BBB"))


def test_a_fault_of_a_kind_is_told_once_with_its_count_and_first_rows(tmp_path: Path) -> None:
    rows = [f"AAA,2024-01-{day:02},1,1,1,-1,1,1" for day in range(2, 30)]
    with pytest.raises(DataFaults) as caught:
        load_panel(write(tmp_path, rows))
    (fault,) = caught.value.faults
    assert (fault.row, fault.count, fault.rows) == (2, 28, (2, 3, 4, 5, 6))
    assert "28 faults of one kind" in str(caught.value)
    assert "(28 rows: 2, 3, 4, 5, 6, ...)" in str(caught.value)
    assert str(caught.value).count("\nrow ") == 1


def test_rounding_noise_of_a_vendor_is_no_fault(tmp_path: Path) -> None:
    # 0.5 basis points is inside the tolerance of one, 2 basis points are not.
    assert faults_of(write(tmp_path, ["AAA,2024-01-02,100,100.000,99,100.005,1,1"])) == []
    found = faults_of(write(tmp_path, ["AAA,2024-01-02,100,100.000,99,100.020,1,1"]))
    assert found == [("high_low", 2, "AAA")]


def test_newest_first_is_read_and_said_and_any_other_order_is_a_fault(tmp_path: Path) -> None:
    days = range(31, 1, -1)
    rows = [f"AAA,2024-01-{day:02},{day},{day},{day},{day},1,{day}" for day in days]
    path = write(tmp_path, rows)
    assert faults_of(path) == []
    panel = load_panel(path)
    assert panel.field("close")[:, 0].tolist() == list(range(2, 32))
    assert "the rows are newest first" in panel.notes
    assert [kind for kind, *_ in faults_of(write(tmp_path, [*rows[5:], *rows[:5]]))] == ["unsorted"]


WHOLE_FILES = {
    "empty": (b"", "empty"),
    "blank lines": (b"\n \n", "empty"),
    "header alone": (HEADER.encode() + b"\n", "empty"),
    "no row with a price": (HEADER.encode() + b"\nAAA,2024-01-02,,,,,,\n", "empty"),
    "binary": (bytes(range(256)) * 4, "not_a_table"),
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "not_a_table"),
    "json": (b'{"chart": {"result": []}}', "not_a_table"),
    "prose": (b"Dear Sir,\nplease find the prices below.\n", "no_price_columns"),
    "one column": (b"hello\nworld\n", "not_a_table"),
    "workbook": (b"PK\x03\x04" + b"x" * 50, "not_a_table"),
    "damaged gzip": (gzip.compress(b"x" * 5000)[:30], "not_a_table"),
    "damaged parquet": (b"PAR1" + b"x" * 50, "not_a_table"),
    "latin-1": ("symbol,date,close\nM\xfc,2024-01-02,1\n".encode("latin-1"), "encoding"),
    "cut utf-16": ("date,close\n2024-01-02,1\n".encode("utf-16")[:-1], "encoding"),
    "no price columns": (b"symbol,date,volume\nAAA,2024-01-02,5\n", "no_price_columns"),
    "columns that are no symbols": (b"date,score,rank\n2024-01-02,a,b\n", "no_price_columns"),
    "returns": (
        b"date,A,B\n" + b"".join(b"2024-01-%02d,0.01,-0.02\n" % day for day in range(2, 12)),
        "returns",
    ),
    "a column of returns": (b"date,symbol,ret\n2024-01-02,A,0.01\n", "returns"),
    "no close": (b"date,open,high,low\n2024-01-02,1,1,1\n", "no_price_columns"),
    "no high": (b"date,open,low,close\n2024-01-02,1,1,1\n", "no_price_columns"),
    "no time column": (b"symbol,open,high,low,close\nA,1,1,1,1\n", "no_time_column"),
    "no header": (b"2024-01-02,1,1,1,1,5\n2024-01-03,1,1,1,1,5\n", "no_price_columns"),
    "two closes": (b"date,close,Close\n2024-01-02,1,1\n", "columns"),
    "a cell without an end": (b'"date",' + b"x" * 200_000 + b"\n", "not_a_table"),
    "a line without an end": (
        b"date,close\n2024-01-02,1\n" + b"1" * (MAX_LINE_BYTES + 1),
        "not_a_table",
    ),
    "an open quote": (b'date,close\n2024-01-02,"1\n2024-01-03,2\n', "not_a_table"),
}


@pytest.mark.parametrize(("content", "kind"), WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_a_file_that_is_no_table_of_prices(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "XYZ.csv"
    path.write_bytes(content)
    report = check_data(path)
    assert [fault.kind for fault in report.faults] == [kind]
    assert not report.ok
    with pytest.raises(DataFaults):
        load_panel(path)


def test_the_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"symbol,date,close\nA,2024-01-02,1\nM\xfc,2024-01-02,1\n")
    fault = check_data(path).faults[0]
    assert (fault.row, "0xfc" in fault.found) == (3, True)


def test_a_file_that_is_not_there_is_no_fault_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        check_data(tmp_path / "nowhere.csv")


def test_faults_of_several_files_name_their_file(tmp_path: Path) -> None:
    write(tmp_path, [GOOD[0].replace("10,12", "10,-12")])
    (tmp_path / "other.csv").write_text(HEADER + "\nBBB,2024-01-02,1,1,1,1,-1,1\n")
    found = [(fault.file, fault.kind, fault.row) for fault in check_data(tmp_path).faults]
    assert found == [("other.csv", "volume", 2), ("prices.csv", "price", 2)]


def test_one_time_in_two_files_of_a_folder_is_a_duplicate(tmp_path: Path) -> None:
    write(tmp_path, GOOD[:2])
    (tmp_path / "more.csv").write_text(HEADER + "\n" + GOOD[1] + "\n")
    faults = check_data(tmp_path).faults
    assert [fault.kind for fault in faults] == ["duplicate"]
    assert "more.csv, prices.csv" in faults[0].found


def stamped(times: list[str]) -> list[str]:
    return [f"AAA,{moment},1,1,1,1,1,1" for moment in times]


def test_finer_bars_in_a_daily_file_are_mixed_intervals(tmp_path: Path) -> None:
    rows = stamped(["2024-01-02", "2024-01-03", "2024-01-04 09:30", "2024-01-04 10:30"])
    faults = check_data(write(tmp_path, rows)).faults
    # Bars of 1h with two daily ones in front: the daily ones are told, by their first row.
    assert [(fault.kind, fault.row, fault.count) for fault in faults] == [("interval", 2, 2)]


def test_daily_bars_after_minutes_are_mixed_intervals(tmp_path: Path) -> None:
    minutes = [f"2024-01-02 09:3{at}" for at in range(5)]
    days = [f"2024-01-{day:02} 00:00" for day in range(3, 10)]
    # The first day, a night after the minutes, stands alone at midnight and belongs to the run of days.
    faults = check_data(write(tmp_path, stamped(minutes + days))).faults
    assert [(fault.kind, fault.row) for fault in faults] == [("interval", 7)]
    assert "bars 1d apart in a file of 1m bars" in faults[0].found


HOURS = [f"2024-01-05 {hour:02}:30" for hour in range(9, 16)]


@pytest.mark.parametrize("days", [1, 2, 4])
@pytest.mark.parametrize("clock", ["", " 00:00"])
def test_a_few_daily_bars_after_hours_are_faults(tmp_path: Path, days: int, clock: str) -> None:
    """Dated as hours, they would be known at 01:00 of their own day."""
    daily = [f"2024-01-{day:02}{clock}" for day in range(8, 8 + days)]
    faults = check_data(write(tmp_path, stamped(HOURS + daily))).faults
    (fault,) = faults
    assert (fault.kind, fault.row, fault.count) == ("interval", 9, days)
    assert fault.rows == tuple(range(9, 9 + days))
    assert "a daily bar in a file of 1h bars" in faults[0].found


def test_one_daily_bar_in_the_night_after_hours_is_a_fault(tmp_path: Path) -> None:
    # 8.5 hours after the last hour: nearer than 20 hours, but no other bar is near midnight.
    rows = stamped([*HOURS, "2024-01-06 00:00"])
    assert faults_of(write(tmp_path, rows)) == [("interval", 9, "AAA")]


def test_a_run_of_daily_bars_is_named_by_its_usual_gap(tmp_path: Path) -> None:
    # From Friday 15:30 to Monday 00:00 are 3390 minutes; the bars themselves lie a day apart.
    daily = [f"2024-01-{day:02}T00:00" for day in (8, 9, 10, 11, 12, 15, 16)]
    faults = check_data(write(tmp_path, stamped(HOURS + daily))).faults
    assert [fault.found for fault in faults] == [
        "from 2024-01-08 on, bars 1d apart in a file of 1h bars"
    ]


def test_hours_around_the_clock_are_sound_with_a_midnight_bar(tmp_path: Path) -> None:
    start = np.datetime64("2024-01-05T20:00")
    hours = [str(start + np.timedelta64(hour, "h")) for hour in range(60) if not 10 < hour < 28]
    lone = "BBB,2024-01-06 00:00,1,1,1,1,1,1"  # a symbol's only bar
    assert faults_of(write(tmp_path, [*stamped(hours), lone])) == []
    # After a day without bars the first one stands at midnight, an hour before the next.
    outage = [hour for hour in hours if not "2024-01-06T00" < hour < "2024-01-08T00"]
    assert faults_of(write(tmp_path, stamped(outage))) == []


def test_hours_after_minutes_are_mixed_intervals(tmp_path: Path) -> None:
    minutes = [f"2024-01-02 09:3{at}" for at in range(5)]
    hours = [f"2024-01-03 {hour:02}:30" for hour in range(9, 16)]
    # The first hour is a night after the minutes; the run of equal gaps starts with the second.
    assert faults_of(write(tmp_path, stamped(minutes + hours))) == [("interval", 8, "AAA")]


def test_an_illiquid_minute_is_no_mixed_interval(tmp_path: Path) -> None:
    minutes = [30, 31, 33, 35, 36, 40, 41, 47, 59]
    assert faults_of(write(tmp_path, stamped([f"2024-01-02 09:{at}" for at in minutes]))) == []


def test_weekly_bars_are_read_and_a_mixture_is_refused_by_name(tmp_path: Path) -> None:
    weeks = [str(np.datetime64("2024-01-01") + 7 * week) for week in range(8)]
    found = check_data(write(tmp_path, stamped(weeks)))
    assert (found.faults, found.interval, found.rows) == ((), "1w", 8)
    days = [str(np.datetime64("2024-02-27") + day) for day in range(12)]
    faults = check_data(write(tmp_path, stamped(weeks + days))).faults
    assert {fault.kind for fault in faults} == {"interval"}


def test_a_symbol_of_another_interval_in_one_file_is_a_fault(tmp_path: Path) -> None:
    days = [f"AAA,2024-01-{day:02},1,1,1,1,1,1" for day in range(2, 6)]
    hours = [f"BBB,2024-01-02 {hour:02}:30,1,1,1,1,1,1" for hour in range(9, 12)]
    assert {fault.kind for fault in check_data(write(tmp_path, days + hours)).faults} == {
        "interval"
    }


def test_files_of_different_intervals_in_a_folder_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "AAA.csv").write_text("date,close\n2024-01-02,1\n2024-01-03,1\n2024-01-04,1\n")
    (tmp_path / "BBB.csv").write_text("date,close\n2024-01-03 09:30,1\n2024-01-03 09:31,1\n")
    assert [fault.kind for fault in check_data(tmp_path).faults] == ["interval"]


def test_times_with_and_without_a_zone_are_a_fault(tmp_path: Path) -> None:
    rows = stamped(["2024-01-02 09:30Z", "2024-01-02 09:31Z", "2024-01-02 09:32"])
    assert faults_of(write(tmp_path, rows)) == [("zone", 4, None)]


def split_series(symbol: str = "AAA") -> list[tuple[float, float]]:
    """(raw close, adjusted close) over a 4:1 split after the fifth bar."""
    adjusted = [10.0 + 0.1 * at for at in range(10)]
    return [(price * (4 if at < 5 else 1), price) for at, price in enumerate(adjusted)]


def closes(pairs: list[tuple[float, float]]) -> list[str]:
    return [
        f"AAA,{np.datetime64('2024-01-02') + at},{raw},{raw},{raw},{raw},100,{adj}"
        for at, (raw, adj) in enumerate(pairs)
    ]


def test_a_split_in_raw_prices_is_no_fault(tmp_path: Path) -> None:
    path = write(tmp_path, closes(split_series()))
    assert faults_of(path) == []
    assert load_panel(path).field("close")[:, 0].tolist() == [
        round(10 + 0.1 * at, 10) for at in range(10)
    ]


def test_prices_that_are_adjusted_already_are_a_fault(tmp_path: Path) -> None:
    twice = [(adj, adj * adj / raw) for raw, adj in split_series()]
    faults = check_data(write(tmp_path, closes(twice))).faults
    # The factor is 1/4 up to the fifth bar (line 6) and 1 from the sixth (line 7) on.
    assert [(fault.kind, fault.row) for fault in faults] == [("double_adjusted", 7)]
    assert "changes by 4 while close changes by 1.01" in faults[0].found


def test_raw_prices_in_the_place_of_adjusted_ones_are_a_fault(tmp_path: Path) -> None:
    exchanged = [(adj, raw) for raw, adj in split_series()]
    assert faults_of(write(tmp_path, closes(exchanged))) == [("double_adjusted", 7, "AAA")]


def test_a_crash_or_a_dividend_is_no_double_adjusting(tmp_path: Path) -> None:
    crash = [(10.0, 9.0), (10.1, 9.09), (4.0, 3.6), (4.1, 3.69)]
    special_dividend = [(10.0, 7.0), (10.1, 7.07), (7.1, 7.1), (7.2, 7.2)]
    for pairs in (crash, special_dividend):
        assert faults_of(write(tmp_path, closes(pairs))) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_series_that_jumps_about_is_no_double_adjusting(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    close, adj = rng.uniform(10.0, 1000.0, 300), rng.uniform(10.0, 1000.0, 300)
    close[:100] = adj[:100] = 50.0 + 0.01 * np.arange(100)
    pairs = list(zip(close.round(2).tolist(), adj.round(2).tolist(), strict=True))
    assert faults_of(write(tmp_path, closes(pairs))) == []


def test_a_symbol_that_trades_thinly_is_no_mixed_interval(tmp_path: Path) -> None:
    days = np.cumsum([0, 6, 11, 5, 16, 8, 23, 5, 12, 6, 40, 7, 19])
    dates = [str(np.datetime64("2024-01-02") + int(day)) for day in days]
    rows = [f"AAA,{date},10,12,9,11,100,11" for date in dates]
    dense = [f"BBB,{np.datetime64('2024-01-02') + day},10,12,9,11,100,11" for day in range(150)]
    assert faults_of(write(tmp_path, [*rows, *dense])) == []


def test_a_fault_reads_as_one_line() -> None:
    fault = Fault("price", 3, "AAA", "close -1", "correct it", "p.csv")
    assert str(fault) == "p.csv, row 3, AAA: close -1 (price); correct it"


def test_fifteen_thousand_sound_rows_have_no_fault(tmp_path: Path) -> None:
    days = np.datetime64("1970-01-01") + np.arange(15_000)
    frame = pd.DataFrame({"date": days.astype(str)})
    for name in ("open", "high", "low", "close"):
        frame[name] = 10.0
    frame.to_csv(tmp_path / "XYZ.csv", index=False)
    assert check_data(tmp_path / "XYZ.csv").ok


def test_odd_types_in_a_dataframe_are_faults() -> None:
    dates = ["2024-01-02", "2024-01-03"]
    for column, kind in (
        ([1 + 2j, 2 + 0j], "text"),
        ([True, False], "text"),
        (["1", "two"], "text"),
        ([1.0, np.inf], "infinite"),
        (pd.to_datetime(dates), "text"),
    ):
        report = check_data(pd.DataFrame({"date": dates, "close": column}))
        assert {fault.kind for fault in report.faults} == {kind}
    assert [fault.kind for fault in check_data(pd.DataFrame()).faults] == ["empty"]
