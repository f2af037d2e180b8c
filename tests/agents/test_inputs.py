"""Weights, views and holdings as a user gives them, with all that can be wrong about them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from agents.execution import ExecutionAgent
from agents.inputs import Holdings, check_known, read_holdings, read_views, read_weights
from agents.user_strategy import StrategyAgents
from core.config import ExecutionConfig
from core.errors import DataError
from tests.fakes import FREE, days, flat, make_panel, run_lines
from trading.panel import Panel

WEIGHTS = """time,symbol,weight
2020-01-01,A,0.5
2020-01-01,B,0.25
2020-01-03,A,
2020-01-03,B,0.5
2020-01-05,B,0.1
"""
"""At the third day A is held; at the fifth it is left out, so sold."""
IN_CODE: dict[int, dict[str, float | None]] = {
    0: {"A": 0.5, "B": 0.25},
    2: {"A": None, "B": 0.5},
    4: {"B": 0.1},
}


def panel() -> Panel:
    rises = [flat(100.0 + 3.0 * row) for row in range(8)]
    return make_panel({"A": rises, "B": rises[::-1]})


def lines(strategy: Any) -> list[bytes]:
    deciders = StrategyAgents(strategy, ExecutionAgent(ExecutionConfig()), None, allow_short=False)
    return run_lines(panel(), deciders, FREE)[1]


class InCode:
    def decide(self, history: Any, state: Any) -> Any:
        return IN_CODE.get(history.row)


def table() -> pd.DataFrame:
    frame = pd.read_csv(io.StringIO(WEIGHTS))
    return frame.assign(time=pd.to_datetime(frame["time"]))


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


# --- weights


def as_csv(folder: Path) -> Any:
    return write(folder, WEIGHTS)


def as_csv_with_other_names(folder: Path) -> Any:
    return write(folder, "\ufeff" + WEIGHTS.replace("time,symbol,weight", "Date, Ticker ,WEIGHT"))


def as_csv_in_another_order(folder: Path) -> Any:
    head, *rows = WEIGHTS.splitlines()
    return write(folder, "\n".join([head, *reversed(rows), "", ""]))


def as_parquet(folder: Path) -> Any:
    table().to_parquet(folder / "table.parquet")
    return folder / "table.parquet"


def as_feather(folder: Path) -> Any:
    table().to_feather(folder / "table.feather")
    return folder / "table.feather"


def as_frame(folder: Path) -> Any:
    return table()


def as_frame_with_times_in_the_index(folder: Path) -> Any:
    return table().set_index("time")


def as_wide_frame(folder: Path) -> Any:
    # The last allocation leaves A out, which a wide table cannot: it writes the 0.
    wide = table().pivot(index="time", columns="symbol", values="weight")
    wide.loc["2020-01-05", "A"] = 0.0
    return wide


def as_wide_frame_with_a_column_of_times(folder: Path) -> Any:
    return as_wide_frame(folder).reset_index()


def as_frame_with_zones(folder: Path) -> Any:
    return table().assign(time=table()["time"].dt.tz_localize("UTC"))


def as_csv_with_moments(folder: Path) -> Any:
    # Known at 21:00 of its day (the moment of the close), written on New York's clock.
    return write(
        folder, WEIGHTS.replace("-01,", "-01T16:00-05:00,").replace("-03,", "-03T16:00-05:00,")
        .replace("-05,", "-05T16:00-05:00,"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        as_csv, as_csv_with_other_names, as_csv_in_another_order, as_csv_with_moments, as_parquet,
        as_feather, as_frame, as_frame_with_times_in_the_index, as_frame_with_zones, as_wide_frame,
        as_wide_frame_with_a_column_of_times,
    ],
)  # fmt: skip
def test_weights_in_every_form_give_the_bytes_of_the_same_strategy_in_code(
    tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    told = lines(read_weights(make(tmp_path)))
    assert [_without_reasons(line) for line in told] == lines(InCode())
    said = [reason for line in told for reason in orjson.loads(line)["reasons"].items()]
    assert all(
        reason.startswith("the ") and (symbol in reason or "leave it out" in reason)
        for symbol, reason in said
    )
    assert said


def _without_reasons(line: bytes) -> bytes:
    record = orjson.loads(line)
    record["reasons"] = {}
    return orjson.dumps(record)


def test_a_row_is_visible_from_its_moment_on_and_not_before(tmp_path: Path) -> None:
    # The closes are known at 21:00 UTC; a second later is the next day's business.
    on_time = write(tmp_path, "time,symbol,weight\n2020-01-02T21:00:00Z,A,1\n", "a.csv")
    late = write(tmp_path, "time,symbol,weight\n2020-01-02T21:00:01Z,A,1\n", "b.csv")
    for source, first in ((on_time, 1), (late, 2)):
        with_orders = [at for at, line in enumerate(lines(read_weights(source))) if b'"o1"' in line]
        assert with_orders[0] == first


def test_a_bare_date_is_never_visible_at_a_bar_that_ended_as_the_day_began(tmp_path: Path) -> None:
    # Bars of a market without nights: the bar of the 2nd is known at midnight, when the 3rd begins.
    rows = [flat(100.0)] * 6
    nights = make_panel({"A": rows, "B": rows}, times=days(6, "2020-01-02T00:00"))
    strategy = read_weights(write(tmp_path, "time,symbol,weight\n2020-01-03,A,1\n"))
    deciders = StrategyAgents(strategy, ExecutionAgent(ExecutionConfig()), None, allow_short=False)
    found = [b'"o1"' in line for line in run_lines(nights, deciders, FREE)[1]]
    # Row 0 is the bar of the 1st, row 1 of the 2nd (known 3rd 00:00), row 2 of the 3rd.
    assert found.index(True) == 2


def test_a_run_that_starts_later_begins_with_the_latest_allocation() -> None:
    deciders = StrategyAgents(
        read_weights(table()), ExecutionAgent(ExecutionConfig()), None, allow_short=False
    )
    late = FREE.model_copy(update={"warmup_bars": 5})
    account, later = run_lines(panel(), deciders, late)
    assert b'"targets":{"B":0.1}' in later[0]
    assert account.step == 4


def test_symbols_that_look_like_nothing_or_like_numbers_stay_names(tmp_path: Path) -> None:
    weights = read_weights(
        write(tmp_path, "time,symbol,weight\n2020-01-01,NA,0.5\n2020-01-01,0050,0.5\n")
    )
    assert weights.symbols == {"NA", "0050"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty."),
        ("time,symbol,weight\n", "has no rows."),
        ("time,symbol\n2020-01-01,A\n", "has no column weight; it has time, symbol."),
        ("time,date,symbol,weight\n1,2,A,1\n", "has 2 columns called time; it has"),
        ("time,symbol,weight\n2020-01-01,A,half\n", ", row 2: weight is 'half'."),
        ("time,symbol,weight\n2020-01-01,A,0.5\n\n2020-01-02,A,inf\n", ", row 4: weight is 'inf'."),
        ("time,symbol,weight\n2020-13-01,A,1\n", ", row 2: '2020-13-01', which is no time."),
        ("time,symbol,weight\n01/02/2020,A,1\n", ", row 2: '01/02/2020', which is no time."),
        ("time,symbol,weight\n,A,1\n", ", row 2: "),
        ("time,symbol,weight\n2020-01-01,,1\n", ", row 2: there is no symbol."),
        (
            "time,symbol,weight\n2020-01-01,A,1\n2020-01-01T00:00,B,1\n2020-01-01,A,0\n",
            ", row 4: A has a second weight at 2020-01-01.",
        ),
        ("\x00\x01\x02", "cannot be read as a table"),
    ],
)
def test_a_fault_of_a_weights_file_is_told_with_its_row(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_weights(path)
    if text != "\x00\x01\x02":
        assert message in caught.value.message
    assert caught.value.message.startswith(f"--weights {path}")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_no_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: there is no such file"):
        read_weights(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_weights(tmp_path)
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_weights(write(tmp_path, "time,symbol,weight\n", "text.parquet"))
    (tmp_path / "latin.csv").write_bytes(b"time,symbol,weight\n2020-01-01,\xe9\xff,1\n")
    with pytest.raises(DataError, match="line 2 is not UTF-8"):
        read_weights(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(), "the weights table has no rows."),
        (pd.DataFrame({"A": [0.5]}), "the weights table, row 1: '0', which is no time."),
        (
            pd.DataFrame({"time": ["2020-01-01"], "symbol": ["A"], "wieght": [1.0]}),
            "the weights table has no column weight; it has time, symbol, wieght.",
        ),
        (
            pd.DataFrame({"A": [0.5, "x"]}, index=pd.date_range("2020-01-01", periods=2)),
            "the weights table, row 2: weight is 'x'.",
        ),
    ],
)
def test_a_fault_of_a_frame_is_told(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_weights(frame)
    assert message in caught.value.message


def test_a_file_that_names_a_symbol_without_data_is_told() -> None:
    with pytest.raises(DataError) as caught:
        check_known(frozenset({"A", "C"}), ("A", "B"), "--weights")
    assert caught.value.message == "--weights names C, which the data do not have."


# --- views


VIEWS = """time,symbol,expected_return_frac,confidence
2020-01-02,A,0.01,0.5
2020-01-03,B,-0.02,1
2020-01-04,A,0.03,0
"""


def test_the_latest_view_of_each_symbol_counts_from_its_time_on(tmp_path: Path) -> None:
    views = read_views(write(tmp_path, VIEWS))
    seen = []

    class Looks:
        def decide(self, history: Any, state: Any) -> None:
            found = views.at(history)
            seen.append(
                None if found is None
                else (found.expected_return_frac.tolist(), found.confidence_frac.tolist())
            )  # fmt: skip

    lines(Looks())
    np.testing.assert_equal(
        seen[:5],
        [
            None,
            ([0.01, np.nan], [0.5, 0.0]),
            ([0.01, -0.02], [0.5, 1.0]),
            ([0.03, -0.02], [0.0, 1.0]),
            ([0.03, -0.02], [0.0, 1.0]),
        ],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VIEWS.replace("0.5", "1.5"), ", row 2: confidence is 1.5."),
        (VIEWS.replace("0.5", ""), ", row 2: confidence is empty."),
        (VIEWS.replace("-0.02", "down"), ", row 3: expected_return_frac is 'down'."),
        (VIEWS.replace("confidence", "sure"), "has no column confidence"),
        (VIEWS + "2020-01-02,A,0.5,1\n", ", row 5: A has a second view at 2020-01-02."),
    ],
)
def test_a_fault_of_a_views_file_is_told_with_its_row(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_views(write(tmp_path, text))
    assert message in caught.value.message


# --- holdings


def test_holdings_are_quantities_and_cash(tmp_path: Path) -> None:
    holdings = read_holdings(write(tmp_path, "Ticker,Quantity\nA, 10\nB,-2.5\nC,0\nCASH,1e3\n"))
    assert holdings.cash_usd == 1_000.0
    assert holdings.quantities == {"A": 10.0, "B": -2.5}
    assert read_holdings(write(tmp_path, "symbol,quantity\nA,1\n")).cash_usd is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,quantity\nA,1\nCASH,5\nA,2\n", ", row 4: A stands there twice."),
        ("symbol,quantity\nA,ten\n", ", row 2: quantity is 'ten'."),
        ("symbol,quantity\nA,\n", ", row 2: quantity is empty."),
        ("symbol,quantity\n,1\n", ", row 2: there is no symbol."),
        ("symbol\nA\n", "has no column quantity; it has symbol."),
    ],
)
def test_a_fault_of_a_holdings_file_is_told_with_its_row(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_holdings(write(tmp_path, text))
    assert message in caught.value.message


def test_the_book_finds_the_symbols_of_the_data_by_case_and_dollar() -> None:
    book = Holdings(5.0, {"aapl": 1.0, "$IBM": 2.0, "GONE": 3.0})
    assert book.matched(("AAPL", "IBM")).quantities == {"AAPL": 1.0, "IBM": 2.0, "GONE": 3.0}
    with pytest.raises(DataError, match="AAPL and aapl both mean AAPL"):
        Holdings(None, {"AAPL": 1.0, "aapl": 1.0}).matched(("AAPL",))
    with pytest.raises(DataError, match="Brk fits BRK and brk"):
        Holdings(None, {"Brk": 1.0}).matched(("BRK", "brk"))


def test_columns_of_the_book_that_are_not_read_are_named(tmp_path: Path) -> None:
    book = read_holdings(write(tmp_path, "symbol,quantity,Cost,note\nA,1,9,x\ncash,5,,\n"))
    assert (book.ignored, book.cash_usd) == (("cost", "note"), 5.0)


# --- symbols are text


@pytest.mark.parametrize("name", ["0050", "TRUE", "1E5", "NA", "NAN", "INF", "null", "1.10", "-"])
def test_symbols_stay_as_written(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"time,symbol,weight\n2024-01-02,{name},1\n")
    assert read_weights(path).symbols == {name}
    path = write(
        tmp_path,
        f"time,symbol,expected_return_frac,confidence\n2024-01-02,{name},0.1,1\n",
    )
    assert read_views(path).symbols == {name}
    assert read_holdings(write(tmp_path, f"symbol,quantity\n{name},1\n")).quantities == {name: 1.0}


@pytest.mark.parametrize("cells", [[50, 700], [True, False], [1e5, 2.0]])
def test_a_frame_with_numbers_for_symbols_is_refused(cells: list[object]) -> None:
    frame = pd.DataFrame({"time": ["2024-01-02"] * 2, "symbol": cells, "weight": [0.5, 0.5]})
    with pytest.raises(DataError, match=r"the weights table: the symbol in row 1 is .* no text"):
        read_weights(frame)
    wide = pd.DataFrame([[0.5, 0.5]], index=pd.to_datetime(["2024-01-02"]), columns=cells)
    with pytest.raises(DataError, match="the columns of the weights table"):
        read_weights(wide)


# --- European CSV


def test_weights_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "time;symbol;weight\n2024-01-02;A;0,25\n2024-01-02;B;-0,5\n")
    frame = pd.DataFrame({"time": ["2024-01-02"] * 2, "symbol": ["A", "B"], "weight": [0.25, -0.5]})
    assert read_weights(path)._allocations == read_weights(frame)._allocations


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (
            ("1.000", "12,5"),
            (1_000.0, 12.5),
        ),  # 12,5 settles the comma, so the point divides thousands
        (("0,125", "2"), (0.125, 2.0)),  # no thousand begins with 0
        (("1,000", "12.5"), (None, None)),  # a comma for thousands: write it without
        (("1.000", "990"), (None, None)),
        (("1,500", "2,250"), (None, None)),
    ],
)
def test_quantities_of_a_european_book(
    tmp_path: Path, cells: tuple[str, str], values: tuple[float | None, float | None]
) -> None:
    path = write(tmp_path, f"symbol;quantity\nA;{cells[0]}\nB;{cells[1]}\n")
    if values[0] is None:
        with pytest.raises(DataError, match="row 2: quantity is"):
            read_holdings(path)
    else:
        assert read_holdings(path).quantities == {"A": values[0], "B": values[1]}
