"""`athena runs verify`: damage to any byte of a finished folder is noticed, and told by its readers."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.assemble import RunOptions, backtest
from agents.verify import verify_files
from agents.why import explain
from core.errors import RunFolderError
from core.seals import integrity
from tests.conftest import Athena
from tests.market_files import made_market, quick_config, write_market
from tests.test_full_agents import config_of, news_file, some_news
from trading.result import Run

FLIPS = 40
"""Random bytes flipped in the suite; `benchmarks/faults/` flips a thousand."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the full agents, with a memory, trades and every kind of file."""
    folder = tmp_path_factory.mktemp("finished")
    frame = made_market()
    market, news = write_market(folder, frame), news_file(folder, some_news(frame))
    config = config_of(runs_dir=str(folder / "runs"))
    return backtest(config, RunOptions(data=str(market), agents="full", news=news)).path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "runs" / finished.name
    shutil.copytree(finished, copy)
    return copy


def flipped(path: Path, place: int) -> bytes:
    """Turn one bit of a file over; the bytes as they were."""
    before = path.read_bytes()
    after = bytearray(before)
    after[place] ^= 1 << (place % 8)
    path.write_bytes(bytes(after))
    return before


def places(path: Path, run: Path) -> Iterator[int]:
    size = path.stat().st_size
    yield from (0, size // 2, size - 1)
    chance = random.Random(path.relative_to(run).as_posix())
    yield from (chance.randrange(size) for _ in range(FLIPS))


def test_a_finished_run_is_as_recorded_and_stays_so_when_it_is_read(run: Path) -> None:
    report = verify_files(run)
    assert report == {
        "ok": True, "run_dir": str(run), "state": "as recorded", "problems": [], "unlisted": [],
        "forecasts_sealed": True,
    }  # fmt: skip
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["outputs"]) == {
        "steps.jsonl", "summary.json", "trades.csv", "trades.parquet", "equity.parquet", "equity.png",
        "report.html", "memory.db",
    }  # fmt: skip
    Run(run).trades  # noqa: B018
    assert verify_files(run)["ok"]


def test_any_flipped_bit_of_any_file_is_noticed(run: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) == 9
    tried = 0
    for path in files:
        for place in places(path, run):
            before = flipped(path, place)
            found = integrity(run)
            assert found.state == "not as recorded", (path.name, place)
            named = {each.file for each in found.problems}
            assert path.name in named, (path.name, place)
            # A flip in the manifest may hit the hash of another file, which then does not fit either.
            assert len(named) == 1 or path.name == "manifest.json"
            path.write_bytes(before)
            tried += 1
    assert tried == len(files) * (FLIPS + 3)
    assert integrity(run).state == "as recorded"


def test_what_is_missing_longer_or_new_is_told_by_name(run: Path) -> None:
    (run / "trades.csv").unlink()
    with (run / "steps.jsonl").open("ab") as file:
        file.write(b"{}\n")
    (run / "notes.txt").write_text("mine")
    report = verify_files(run)
    assert not report["ok"]
    told = {each["file"]: each["what"] for each in report["problems"]}
    assert told.keys() == {"trades.csv", "steps.jsonl"}
    assert told["trades.csv"] == "is missing"
    assert "bytes" in told["steps.jsonl"]
    assert report["unlisted"] == ["notes.txt"]


def test_a_path_out_of_the_folder_is_not_followed(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["outputs"]["../../../../etc/hostname"] = {"sha256": "0" * 64, "bytes": 1}
    (run / "manifest.json").write_text(json.dumps(manifest))
    told = {each.file: each.what for each in integrity(run).problems}
    assert told["../../../../etc/hostname"] == "lies outside the folder"


def test_an_edited_summary_is_shown_with_a_word(athena: Athena, run: Path) -> None:
    where = ["--runs-dir", str(run.parent)]
    shown = json.loads(athena("runs", "show", "last", "--json", *where).stdout)
    assert shown["integrity"]["state"] == "as recorded"
    summary = json.loads((run / "summary.json").read_text())
    summary["metrics"]["sharpe"] = 7.77
    (run / "summary.json").write_text(json.dumps(summary))
    told = athena("runs", "show", "last", *where)
    assert told.returncode == 0
    assert "Not as recorded: summary.json" in told.stdout
    shown = json.loads(athena("runs", "show", "last", "--json", *where).stdout)
    assert [each["file"] for each in shown["integrity"]["problems"]] == ["summary.json"]
    verified = athena("runs", "verify", "last", "--json", *where)
    assert verified.returncode == 1
    assert json.loads(verified.stdout)["ok"] is False
    day = str(made_market()["date"].iloc[-1])[:10]
    why = athena("why", "last", "--at", day, "--symbol", "AAA", *where)
    if why.returncode == 0:
        assert "Not as recorded: summary.json" in why.stdout


def test_the_page_of_a_whole_folder_is_the_one_in_it(run: Path) -> None:
    anew = Run(run).report_html()
    recorded = (run / "report.html").read_text(encoding="utf-8")
    assert anew.replace(run.name, "RUN") == recorded.replace(run.name, "RUN")
    assert "Not as recorded" not in anew


def test_the_page_of_a_changed_folder_says_so(athena: Athena, run: Path, tmp_path: Path) -> None:
    where = ["--runs-dir", str(run.parent)]
    text = (run / "summary.json").read_text()
    (run / "summary.json").write_text(text.replace('"sharpe": ', '"sharpe": 7', 1))
    done = athena("report", "last", "--json", *where)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["path"] == f"{run.name}.html"
    assert [each["file"] for each in told["integrity"]["problems"]] == ["summary.json"]
    page = (tmp_path / told["path"]).read_text(encoding="utf-8")
    assert "Not as recorded: summary.json" in page
    assert "Not as recorded: summary.json" in Run(run)._repr_html_()
    assert verify_files(run)["unlisted"] == []  # the page lies elsewhere
    manifest = json.loads((run / "manifest.json").read_text())
    for name in ("outputs", "seal"):
        del manifest[name]
    (run / "manifest.json").write_text(json.dumps(manifest))
    out = str(tmp_path / "page.html")
    assert "Not sealed" in athena("report", "last", "--out", out, *where).stdout
    assert "Not sealed" in Path(out).read_text(encoding="utf-8")
    flipped(run / "equity.parquet", -1)
    torn = athena("report", "last", *where)
    assert torn.returncode == 2
    assert "equity.parquet cannot be read" in torn.stderr


def test_a_torn_line_is_told_by_its_number(run: Path) -> None:
    lines = (run / "steps.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:50] + b"\n"
    (run / "steps.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(RunFolderError, match=r"line 5 of .* is no record"):
        list(Run(run).steps())
    with pytest.raises(RunFolderError, match=r"line 5 of .* is no record"):
        asyncio.run(explain(run, order="o1"))


def test_forecasts_that_were_changed_and_hashed_anew_break_the_chain(run: Path) -> None:
    from core.runlog import read_manifest
    from core.seals import manifest_bytes, with_seal

    lines = (run / "steps.jsonl").read_bytes().splitlines()
    record: dict[str, Any] = json.loads(lines[30])
    record["forecasts"]["chances"]["strategy"][0] = [0.2, 0.2, 0.2, 0.2, 0.2]
    lines[30] = json.dumps(record).encode()
    (run / "steps.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (run / "manifest.json").write_bytes(manifest_bytes(with_seal(run, read_manifest(run))))
    report = verify_files(run)
    assert report["state"] == "as recorded"  # hashes cannot tell
    assert not report["ok"]
    assert "do not follow" in report["problems"][0]["what"]


def test_a_run_without_hashes_is_not_sealed(tmp_path: Path) -> None:
    market = write_market(tmp_path, made_market(days=80))
    config = quick_config(runs_dir=str(tmp_path / "runs"))
    run = backtest(config, RunOptions(data=str(market))).path
    manifest = json.loads((run / "manifest.json").read_text())
    for name in ("outputs", "seal"):
        del manifest[name]
    (run / "manifest.json").write_text(json.dumps(manifest))
    report = verify_files(run)
    assert report["state"] == "not sealed"
    assert not report["ok"]
    assert report["forecasts_sealed"] is None
