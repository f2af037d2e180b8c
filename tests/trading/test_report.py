"""What a user sees of a finished run: terminal, picture, page."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.trading.outcomes import small_outcome
from trading.portfolio import RoundTrip
from trading.report import terminal, words
from trading.report.chart import text_chart
from trading.report.curves import MAX_POINTS, Curves, drawn, seen_rows
from trading.report.html import report_html
from trading.report.picture import equity_figure, equity_png, money
from trading.report.svg import log_ticks, ticks, time_ticks
from trading.result import RunOutcome, curves_of, summarise


class Screen:
    """A console of a given width and encoding that writes to memory."""

    def __init__(self, width: int = 80, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        file = io.TextIOWrapper(self.bytes, encoding=encoding, errors="strict", write_through=True)
        self.console = Console(file=file, width=width)
        self.encoding = encoding

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


def shown(render: Any, value: Any, width: int = 80, encoding: str = "utf-8", **more: Any) -> str:
    screen = Screen(width, encoding)
    render(value, screen.console, **more)
    return screen.text


def page_of(outcome: RunOutcome) -> str:
    return report_html(summarise(outcome), curves_of(outcome), outcome.round_trips)


def walk(steps: int, seed: int = 0) -> RunOutcome:
    rng = np.random.default_rng(seed)
    equity = 100_000.0 * np.cumprod(1.0 + rng.normal(0.0005, 0.02, steps))
    return small_outcome(steps, equity_usd=equity)


DECIDED = {
    "as_of": "2013-03-01T21:00:00Z",
    "mock": False,
    "equity_usd": 100_000.0,
    "cash_usd": 5_000.0,
    "decisions": [
        {
            "symbol": "AAPL",
            "action": "buy",
            "quantity": 46.5,
            "present_quantity": 0.0,
            "target_quantity": 46.5,
            "present_weight": 0.0,
            "target_weight": 0.2,
            "estimated_cost_usd": 6.0,
            "reason": "analyst expected +1.20 %, confidence 60 %.",
        },
        {
            "symbol": "GONE",
            "action": "hold",
            "quantity": 0.0,
            "present_quantity": 3.0,
            "target_quantity": 3.0,
            "present_weight": None,
            "target_weight": None,
            "estimated_cost_usd": 0.0,
            "reason": "The data have no price of it.",
        },
    ],
    "orders": [
        {
            "side": "buy",
            "symbol": "AAPL",
            "type": "market",
            "quantity": None,
            "value_usd": 20_000.0,
        },
        {"side": "sell", "symbol": "IBM", "type": "limit", "quantity": 12.5, "limit_price": 180.0},
    ],
    "targets": {"AAPL": 0.2},
    "views": [
        {
            "agent": "analyst",
            "symbol": "AAPL",
            "expected_return_frac": 0.012,
            "confidence_frac": 0.6,
        }
    ],
    "limits": [
        {"symbol": "IBM", "wanted_frac": 0.5, "allowed_frac": 0.3, "reasons": ["position", "gross"]}
    ],
}
CHECKED = {
    "ok": False,
    "rows": 100,
    "symbols": ["AAPL"],
    "start": "2000-01-03T21:00:00Z",
    "end": "2001-01-03T21:00:00Z",
    "interval": "1d",
    "faults": [
        {
            "kind": "price",
            "row": 7,
            "symbol": "AAPL",
            "found": "close -1.0",
            "cure": "Remove the row.",
        }
    ],
    "gaps": [{"symbol": "AAPL", "session": "2000-05-05"}],
    "ignored": ["foo"],
}
RUNS = [
    {
        "run_dir": "runs/20260101T000000Z-backtest-0123abcd",
        "mode": "backtest",
        "started": "2026-01-01T00:00:00Z",
        "final_equity_usd": 108_900.0,
        "mock": True,
    },
    {
        "run_dir": "runs/x",
        "mode": None,
        "started": None,
        "final_equity_usd": None,
        "status": "failed",
    },
]
PARTS = {
    "ok": True,
    "parts": [
        {"name": "broker", "state": "real", "detail": "simulated [bold]fills[/bold]"},
        {"name": "prices", "state": "mock", "detail": "seeded walks"},
        {"name": "model", "state": "off", "detail": "not built"},
    ],
}


def everything(width: int, encoding: str) -> str:
    trips = [
        {name: getattr(trip, name) for name in RoundTrip.__dataclass_fields__}
        for trip in small_outcome().round_trips
    ]
    return "\n".join(
        shown(render, value, width, encoding)
        for render, value in (
            (terminal.render_backtest, summarise(walk(400))),
            (terminal.render_decide, DECIDED),
            (terminal.render_dry_run, PARTS),
            (terminal.render_runs, RUNS),
            (terminal.render_trades, trips),
            (terminal.render_data_check, CHECKED),
            (
                terminal.render_datasets,
                [{"name": "a", "rows": 3, "symbols": 1, "path": "a.parquet"}],
            ),
        )
    )


# --- terminal


def test_the_summary_shows_the_figures_beside_those_of_holding() -> None:
    text = shown(terminal.render_backtest, summarise(small_outcome()))
    assert re.search(r"Total return +\+8\.90 % +\+3\.03 %", text)
    assert re.search(r"Final equity +\$108,900 +\$103,030", text)
    assert re.search(r"Commission +\$5\.00 +1\.00", text)
    assert re.search(r"Total +\$17\.50 +3\.50", text)
    assert re.search(r"10\.00 % +2020-12-31 +2021-01-01 +not yet", text)
    assert "Run folder: runs/20260101T000000Z-backtest-0123abcd" in text
    assert "mock" not in text.lower()


def test_every_line_fits_in_80_columns_and_no_colour_reaches_a_file() -> None:
    text = everything(80, "utf-8")
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_unicode_gets_plain_characters(encoding: str) -> None:
    text = everything(80, encoding)
    assert text.isascii()
    assert "* this run" in text


def test_a_narrow_terminal_folds_and_loses_no_digit() -> None:
    listing = [
        {"name": "prices", "rows": 123_456_789, "symbols": 500, "path": "a/long/path.parquet"}
    ]

    def digits(width: int) -> list[str]:
        return sorted(re.findall(r"\d", shown(terminal.render_datasets, listing, width)))

    assert digits(24) == digits(200) == sorted("123456789500")


@pytest.mark.parametrize(
    ("render", "value"),
    [
        (terminal.render_backtest, summarise(small_outcome(mock=True))),
        (terminal.render_decide, {**DECIDED, "mock": True}),
        (terminal.render_decide, {**DECIDED, "data": {"mock": True}, "mock": True}),
        (terminal.render_dry_run, PARTS),
        (terminal.render_runs, RUNS),
        (terminal.render_data_check, {**CHECKED, "mock": True}),
    ],
)
def test_the_word_mock_stands_in_every_output_made_from_mock_data(render: Any, value: Any) -> None:
    assert "mock" in shown(render, value).lower()


def test_text_of_the_user_is_never_read_as_markup_or_control() -> None:
    trip = {
        "symbol": "[red]A[/red]", "entry_time": "2020-01-01", "exit_time": "2020-01-02", "quantity": 1.0,
        "entry_price": 1.0, "exit_price": 2.0, "pnl_usd": 1.0, "costs_usd": 0.0, "tag": "x\x1b[31my",
    }  # fmt: skip
    text = shown(terminal.render_trades, [trip], width=120)
    assert "[red]A[/red]" in text
    assert "\x1b" not in text


def test_every_fault_is_shown_with_its_place_and_cure() -> None:
    text = shown(terminal.render_data_check, CHECKED)
    assert "Fault: price (row 7, AAPL): close -1.0\n  Remove the row." in text
    assert "1 fault." in text


def test_a_dry_run_names_the_command_that_trades() -> None:
    text = shown(terminal.render_dry_run, PARTS)
    assert "sends no orders" in text
    assert "athena paper-trade" in text


def test_empty_answers_are_sentences() -> None:
    assert "No runs yet" in shown(terminal.render_runs, [])
    assert "No closed round trips" in shown(terminal.render_trades, [])
    assert "No data sets yet" in shown(terminal.render_datasets, [])
    nothing = {**DECIDED, "decisions": [], "orders": [], "targets": {}, "views": [], "limits": []}
    text = shown(terminal.render_decide, nothing)
    for sentence in ("No orders", "all cash", "abstains", "none bound"):
        assert sentence in text


def test_views_are_shown_from_columns_as_from_rows() -> None:
    columns = {
        "analyst": {"symbols": ["AAPL"], "expected_return_frac": [0.012], "confidence_frac": [0.6]}
    }
    assert shown(terminal.render_decide, {**DECIDED, "views": columns}) == shown(
        terminal.render_decide, DECIDED
    )


def test_a_rising_line_runs_from_the_lower_left_to_the_upper_right() -> None:
    chart = text_chart(
        [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], columns=10, rows=4, log=False, unicode=False
    )
    lines = ["".join(glyph for glyph, _ in cells) for cells in chart]
    assert lines[0].endswith("*")
    assert lines[3].startswith("*")
    assert lines[3].endswith(".")
    assert lines[0].startswith(" ")


@given(
    st.lists(st.floats(0.01, 1e9), min_size=1, max_size=50),
    st.integers(1, 60),
    st.integers(1, 12),
    st.booleans(),
)
def test_a_text_chart_has_the_asked_size_and_the_run_in_every_column(
    values: list[float], columns: int, rows: int, log: bool
) -> None:
    chart = text_chart(values, values[::-1], columns=columns, rows=rows, log=log)
    assert [len(cells) for cells in chart] == [columns] * rows
    for column in range(columns):
        assert "run" in {cells[column][1] for cells in chart}


def test_figures_are_worded_the_same_everywhere() -> None:
    assert [words.percent(value) for value in (None, 0.1234, -0.00001, 12.5)] == [
        "-", "12.34 %", "0.00 %", "1,250 %",
    ]  # fmt: skip
    assert [words.dollars(value) for value in (None, -1234.5, -0.001)] == [
        "-",
        "-$1,234.50",
        "$0.00",
    ]
    assert words.dollars(3.0, "EUR") == "EUR 3.00"
    # Whole dollars from 1,000 on: the cents of a long run differ between kinds of machine.
    assert [words.amount(value) for value in (None, 999.994, 282_633.54, -1_000.5)] == [
        words.NONE, "$999.99", "$282,634", "-$1,000",
    ]  # fmt: skip
    assert [money(value) for value in (999_999.0, 1_250_000.0, 950.0, -20_000.0)] == [
        "$1M", "$1.25M", "$950", "-$20k",
    ]  # fmt: skip


# --- picture


def test_the_picture_is_a_png_of_1400_by_900() -> None:
    png = equity_png(curves_of(walk(300)))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (1400, 900)


def test_the_picture_says_mock_large_and_names_the_run() -> None:
    figure = equity_figure(curves_of(small_outcome(mock=True)))
    across = [text for text in figure.get_axes()[0].texts if text.get_text() == "MOCK DATA"]
    assert across[0].get_fontsize() >= 60
    assert {text.get_text() for text in figure.texts} >= {
        "Athena backtest, 20260101T000000Z-backtest-0123abcd",
        "AAPL, MSFT, 2020-12-30 to 2021-01-02",
    }


def test_names_with_dollar_signs_and_foreign_letters_are_drawn_as_they_are() -> None:
    outcome = small_outcome()
    outcome = replace(
        outcome, data=replace(outcome.data, symbols=("$A_{x$", "\u4e2d\u6587", "<b>"))
    )
    assert equity_png(curves_of(outcome))


@pytest.mark.parametrize(
    "equity", [[1.0, 1.0], [100.0, -20.0], [5.0], [], [1.0, 1e9], [1e-9, 1.0, 1e-3]]
)
def test_odd_curves_can_be_drawn(equity: list[float]) -> None:
    outcome = small_outcome(len(equity), equity_usd=np.array(equity))
    assert equity_png(curves_of(outcome))
    assert page_of(outcome)
    assert shown(terminal.render_backtest, summarise(outcome))


def test_drawing_leaves_pyplot_alone() -> None:
    code = (
        "import sys, tests.trading.outcomes as o; from trading.result import curves_of\n"
        "from trading.report.picture import equity_png\n"
        "assert 'matplotlib' not in sys.modules\n"
        "equity_png(curves_of(o.small_outcome()))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20_000), st.integers(20, 500), st.integers(0, 5))
def test_thinning_keeps_ends_and_extremes_within_its_budget(
    steps: int, points: int, seed: int
) -> None:
    values = np.cumsum(np.random.default_rng(seed).normal(size=steps))
    rows = seen_rows((values, -values), points)
    assert len(rows) <= points
    assert (rows[0], rows[-1]) == (0, steps - 1)
    assert np.all(np.diff(rows) > 0)
    assert {int(np.argmin(values)), int(np.argmax(values))} <= set(rows.tolist())


def test_a_long_run_is_thinned_for_drawing_and_its_worst_loss_stays() -> None:
    curves: Curves = curves_of(walk(50_000))
    points = drawn(curves)
    assert len(points.times) <= MAX_POINTS
    high = np.maximum.accumulate(curves.equity_usd)
    assert -points.drawdown_frac.min() == pytest.approx(np.max(1.0 - curves.equity_usd / high))


# --- page


class Links(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in {"script", "link", "iframe", "object"} else []
        self.found += [str(value) for name, value in attrs if name in {"src", "href", "srcset"}]


def test_the_page_needs_nothing_else_and_stays_small() -> None:
    page = page_of(walk(6_000))
    parser = Links()
    parser.feed(page)
    assert parser.found == []
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert len(page.encode()) < 500_000


def test_the_page_escapes_what_users_wrote() -> None:
    outcome = small_outcome(command="athena backtest --data '<script>alert(1)</script>'")
    outcome = replace(
        outcome,
        data=replace(outcome.data, name="<img src=x>", symbols=("<em>",), notes=("<i>note</i>",)),
        round_trips=[replace(outcome.round_trips[0], tag="<u>tag</u>", symbol="<em>")],
        reason_counts={"<s>": 1},
    )
    page = page_of(outcome)
    for markup in ("<script", "<img", "<em>", "<i>note", "<u>", "<s>"):
        assert markup not in page
    assert "&lt;script&gt;" in page


def test_the_page_says_where_the_data_came_from_and_how_to_get_it_again() -> None:
    page = page_of(small_outcome())
    for text in ("sample", "ab12", "2020-12-30T21:00:00Z", "0123abcd", "athena backtest --seed 7",
                 "gross", "momentum", "+8.90 %", "$17.50"):  # fmt: skip
        assert text in page
    assert "mock" not in page.lower().split("<body>")[1]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 10.0) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert log_ticks(30.0, 1_200.0) == [50.0, 100.0, 200.0, 500.0, 1_000.0]
    days = np.arange("2020-11-20", "2021-02-10", dtype="datetime64[D]").astype("datetime64[ns]")
    assert [label for _, label in time_ticks(days)] == ["2020-12", "2021-01", "2021-02"]
