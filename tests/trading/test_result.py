"""What a finished run hands over, writes and gives back."""

from __future__ import annotations

import csv
import errno
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import RunFolderError, StorageError
from tests.trading.outcomes import RECORDS, small_outcome
from trading.metrics import Metrics
from trading.result import Run, RunOutcome, sampled_rows, summarise, write_outputs

PROMISED = {
    "run_dir", "mode", "data", "seed", "config_hash", "final_equity_usd", "metrics", "costs",
    "benchmark", "orders", "fills", "trades", "evidence", "seconds",
}  # fmt: skip


def written(folder: Path, outcome: RunOutcome) -> Run:
    """The run as it stands on disk, with the records and the manifest that others write."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steps.jsonl").write_bytes(RECORDS)
    (folder / "manifest.json").write_bytes(b'{"mode": "backtest", "status": "done"}')
    write_outputs(folder, outcome)
    return Run(folder)


def floats_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from floats_in(each)
    elif isinstance(value, float):
        yield value


def test_the_summary_has_every_promised_key_and_the_arithmetic_is_right() -> None:
    summary = summarise(small_outcome())
    assert summary.keys() >= PROMISED
    assert summary["data"].keys() >= {
        "name",
        "mock",
        "symbols",
        "start",
        "end",
        "steps",
        "currency",
    }
    assert summary["metrics"].keys() == set(Metrics.__dataclass_fields__)
    assert summary["benchmark"]["metrics"].keys() == summary["metrics"].keys()
    assert (summary["final_equity_usd"], summary["evidence"]) == (108_900.0, None)
    assert (summary["orders"], summary["fills"], summary["trades"]) == (3, 2, 2)
    # 5 + 10 + 2.50 = 17.50 on 50,000 traded: 3.5 basis points.
    assert summary["costs"]["total_usd"] == 17.5
    assert summary["costs"]["borrow_usd"] == 0.0
    assert summary["costs"]["total_bps"] == pytest.approx(3.5)
    assert summary["costs"]["commission_bps"] == pytest.approx(1.0)
    # 2020 ends at 110,000, 2021 at 108,900: +10 % and -1 %.
    assert [(year["year"], year["return_frac"]) for year in summary["years"]] == [
        (2020, pytest.approx(0.1)),
        (2021, pytest.approx(-0.01)),
    ]
    assert summary["metrics"]["hit_rate_frac"] == 0.5
    assert summary["benchmark"]["metrics"]["hit_rate_frac"] is None
    assert list(summary["limits"]["reasons"].items()) == [("position", 5), ("gross", 2)]


def test_a_run_without_a_trade_has_no_costs_in_basis_points() -> None:
    times = np.datetime64("2020-12-30T21:00", "ns") + np.arange(4) * np.timedelta64(10, "D")
    summary = summarise(small_outcome(traded_usd=np.zeros(4), times=times))
    assert summary["costs"]["total_bps"] is None
    assert summary["metrics"]["turnover_frac_per_year"] == 0.0


def test_fewer_than_thirty_days_have_no_annual_figures_and_say_so() -> None:
    # Four daily records span 3 days, the benchmark's too.
    summary = summarise(small_outcome())
    for metrics in (summary["metrics"], summary["benchmark"]["metrics"]):
        assert (
            metrics["annual_return_frac"] is metrics["sharpe"] is metrics["volatility_frac"] is None
        )
        assert metrics["max_drawdown_frac"] is not None
    assert "The records span 3 days: no annual figures from fewer than 30." in summary["notes"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_run_interrupted_at_once_still_gives_a_summary_and_its_files(
    tmp_path: Path, steps: int
) -> None:
    run = written(tmp_path / "run", small_outcome(steps, status="interrupted"))
    assert run.summary["data"]["steps"] == steps
    assert run.summary["final_equity_usd"] == (None if steps == 0 else run.equity.iloc[-1])
    assert f"Interrupted: the figures cover the {steps} steps taken." in run.summary["notes"]
    assert len(run.trades) == 0
    assert run.plot().get_axes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=30))
def test_no_float_of_a_summary_is_nan_or_infinite(equity_cents: list[int]) -> None:
    outcome = small_outcome(len(equity_cents), equity_usd=np.array(equity_cents) / 100.0)
    assert all(math.isfinite(value) for value in floats_in(summarise(outcome)))


def test_curves_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cash_usd has shape \(3,\)"):
        small_outcome(cash_usd=np.zeros(3))


def test_notes_say_what_a_reader_must_know() -> None:
    outcome = small_outcome(mock=True, equity_usd=np.array([1.0, 2.0, -1.0, -1.0]))
    outcome = replace(outcome, data=replace(outcome.data, has_volume=False, notes=("A note.",)))
    text = "\n".join(summarise(outcome)["notes"])
    for words in ("mock", "no volume", "Bankrupt", "A note."):
        assert words in text


def test_a_run_reads_back_what_was_written(tmp_path: Path) -> None:
    outcome = small_outcome()
    run = written(tmp_path / "run", outcome)
    assert run.to_dict() == orjson.loads(orjson.dumps(summarise(outcome)))
    assert run.equity.tolist() == outcome.equity_usd.tolist()
    assert str(run.equity.index[0]) == "2020-12-30 21:00:00+00:00"
    assert run.curve["costs_usd"].tolist() == [0.0, 17.5, 0.0, 0.0]
    assert run.benchmark.tolist() == outcome.benchmark.equity_usd.tolist()
    assert run.trades["pnl_usd"].tolist() == [-103.0, 204.0]
    assert str(run.trades["exit_time"].iloc[1]) == "2021-01-02 21:00:00+00:00"
    assert run.metrics["max_drawdown_frac"] == pytest.approx(0.1)
    assert run.positions.to_dict() == {"MSFT": 20.5}
    assert [record["step"] for record in run.steps()] == [0, 1, 2, 3]
    assert "mock" not in run.curve.columns


def test_weights_are_targets_and_a_held_symbol_keeps_its_last(tmp_path: Path) -> None:
    weights = written(tmp_path / "run", small_outcome()).weights
    # Bought at 0.5; held without a target; ordered away; gone. MSFT comes in the third record.
    assert weights["AAPL"].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert weights["MSFT"].tolist() == [0.0, 0.0, 0.25, 0.25]
    assert list(weights.columns) == ["AAPL", "MSFT"]


def test_trades_csv_has_the_promised_columns(tmp_path: Path) -> None:
    written(tmp_path / "run", small_outcome())
    with (tmp_path / "run" / "trades.csv").open(newline="", encoding="utf-8") as lines:
        first, second = csv.DictReader(lines)
    assert first == {
        "symbol": "AAPL", "entry_time": "2020-12-31T21:00:00Z", "exit_time": "2021-01-01T21:00:00Z",
        "entry_price": "100.0", "exit_price": "90.0", "quantity": "10.0", "pnl_usd": "-103.0",
        "costs_usd": "3.0", "tag": "momentum",
    }  # fmt: skip
    assert second["tag"] == ""


def test_everything_made_from_mock_data_says_mock(tmp_path: Path) -> None:
    run = written(tmp_path / "run", small_outcome(mock=True))
    assert (tmp_path / "run" / "trades.csv").read_text().splitlines()[0].endswith(",mock")
    assert run.trades["mock"].all()
    assert run.curve["mock"].all()
    assert run.summary["data"]["mock"] is True
    assert "MOCK DATA" in (tmp_path / "run" / "report.html").read_text()
    assert "MOCK DATA" in run._repr_html_()
    assert "mock" in repr(run)
    assert "MOCK DATA" in {text.get_text() for text in run.plot().texts}


def test_the_same_outcome_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(tmp_path / name, small_outcome())
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_full_disk_is_a_storage_error_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(".csv"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_outputs(tmp_path, small_outcome())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["equity.parquet", "trades.parquet"]


def test_a_damaged_folder_says_which_file_is_missing(tmp_path: Path) -> None:
    run = written(tmp_path / "run", small_outcome())
    (tmp_path / "run" / "equity.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"no equity\.parquet"):
        _ = run.equity


@given(st.integers(0, 5_000), st.integers(2, 300))
def test_sampled_rows_keep_both_ends_and_never_repeat(rows: int, points: int) -> None:
    chosen = sampled_rows(rows, points)
    assert len(chosen) == min(rows, points)
    assert np.all(np.diff(chosen) > 0)
    if rows:
        assert (chosen[0], chosen[-1]) == (0, rows - 1)


def test_a_symbol_that_looks_like_a_formula_is_marked_in_the_csv_alone(tmp_path: Path) -> None:
    import csv
    from types import SimpleNamespace

    from trading.result import TRADE_COLUMNS, _trades_csv

    row = dict.fromkeys(TRADE_COLUMNS, -1.5) | {"symbol": "=HYPERLINK(1)"}
    outcome = SimpleNamespace(
        round_trips=[SimpleNamespace(**row)], data=SimpleNamespace(mock=False)
    )
    head, line = csv.reader(_trades_csv(outcome).decode().splitlines())  # type: ignore[arg-type]
    assert dict(zip(head, line, strict=True)) == dict.fromkeys(TRADE_COLUMNS, "-1.5") | {
        "symbol": "'=HYPERLINK(1)"
    }
