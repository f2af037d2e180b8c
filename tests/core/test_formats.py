"""What earlier versions stored opens; what a newer one will store is refused by name and left as it is."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core import formats
from core.config import OLMoEIntegrationConfig
from core.errors import AthenaError, CheckpointError, MemoryStoreError, RunFolderError
from core.formats import Format
from core.runlog import list_runs, read_manifest, read_summary
from core.seals import integrity
from core.trust import TrustedCode
from memory.agemem import AgeMem
from memory.stores.migrations import MIGRATIONS
from memory.stores.sqlite import SqliteStore
from memory.transfer import read as read_export
from models.adapters import read_manifest as read_adapter
from models.folder import NANO_FOLDER, open_folder
from models.policy_folder import read_policy
from models.serving import adapter_cutoff
from tests.conftest import ROOT, Athena
from trading.datasets import ABOUT, check_data, list_datasets
from training.stage1_finetune.finetune import last_complete as last_of_stage1
from training.stage2_agemem.checkpoint import (
    last_complete,
    read_about,
    read_metrics,
    read_trainer,
    set_aside_damaged,
)

FIXTURES = ROOT / "tests" / "fixtures"
FIRST = FIXTURES / "0.1.0"
TEXTS = ["AAPL cut its guidance", "IBM kept it", "MSFT said nothing"]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of what 0.1.0 stored."""
    return Path(shutil.copytree(FIRST, tmp_path / "first"))


def unpacked(packed: Path, target: Path) -> Path:
    target.write_bytes(gzip.decompress(packed.read_bytes()))
    return target


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_number_is_read_refused_as_newer_or_older_or_none() -> None:
    made = Format("thing", 3, 2, RunFolderError)
    assert [made.check(found, "x.json") for found in (2, 3)] == [2, 3]
    with pytest.raises(
        RunFolderError, match=r"x\.json is a thing of version 4; .* reads 2 to 3"
    ) as caught:
        made.check(4, "x.json")
    assert "a newer Athena" in caught.value.cure
    for older in (1, None):  # a file without a number is of version 1
        with pytest.raises(RunFolderError, match="of version 1; ") as caught:
            made.check(older, "x.json")
        assert "the older Athena" in caught.value.cure
    for nonsense in ("3", 3.0, True, 0, -1, [3]):
        with pytest.raises(RunFolderError, match="no number from 1 on"):
            made.check(nonsense, "x.json")
        assert not made.reads(nonsense)


def test_the_version_of_the_memory_counts_its_migrations() -> None:
    assert formats.MEMORY.version == len(MIGRATIONS)
    assert len({each.name for each in formats.ALL}) == len(formats.ALL)


# --- what 0.1.0 stored opens


def test_a_run_of_0_1_0_is_shown_explained_and_verified(first: Path, athena: Athena) -> None:
    run, lines = first / "run", (first / "run" / "steps.jsonl").read_text().splitlines()
    assert integrity(run).state == "as recorded"
    shown = json.loads(athena("runs", "show", str(run), "--trades", "--json").stdout)
    assert shown["final_equity_usd"] == json.loads(lines[-1])["equity_usd"]
    order = next(each for line in lines for each in json.loads(line)["orders"])
    told = json.loads(athena("why", str(run), "--order", order["id"], "--json").stdout)
    assert told["order"]["id"] == order["id"]
    verified = athena("runs", "verify", str(run), "--json")
    assert (verified.returncode, json.loads(verified.stdout)["problems"]) == (0, [])
    assert contents(run) == contents(FIRST / "run")


def test_trainings_of_0_1_0_are_shown_and_their_weights_load(first: Path) -> None:
    for name in ("stage1", "stage2"):
        assert read_manifest(first / name)["mode"] == f"train-{name}"
        assert read_summary(first / name)["checkpoint"]
    checkpoint = last_complete(first / "stage2" / "checkpoints")
    assert checkpoint is not None
    assert read_about(checkpoint)["update"] == read_trainer(checkpoint)["state"]["update"] == 2
    assert [line["update"] for line in read_metrics(first / "stage2")] == [0, 1, 2]
    assert read_policy(first / "stage2" / "policy").trained == "head"
    assert last_of_stage1(first / "stage1" / "checkpoints") == (
        first / "stage1" / "checkpoints" / "checkpoint-2"
    )
    assert adapter_cutoff(first / "stage1" / "adapter").year == 2007
    assert read_adapter(first / "stage1" / "adapter").rank == 1


def test_an_adapter_and_a_policy_of_0_1_0_work(first: Path) -> None:
    from memory.policy import FEATURES
    from models.action_scorer import HeadScorer
    from models.policy_folder import load_scorer
    from models.serving import load_model

    config = OLMoEIntegrationConfig(device="cpu", adapter_path=first / "stage1" / "adapter")
    assert load_model(config).has_adapter
    scorer = load_scorer(
        OLMoEIntegrationConfig(device="cpu"), first / "stage2" / "policy", features=FEATURES
    )
    assert isinstance(scorer, HeadScorer)


async def test_a_memory_and_an_export_of_0_1_0_are_read(first: Path, tmp_path: Path) -> None:
    path = unpacked(first / "memory.db.gz", tmp_path / "m.db")
    before = path.read_bytes()
    reading = AgeMem(store=SqliteStore(path, read_only=True))
    assert [entry.text for entry in await reading.list()] == TEXTS
    assert await reading.check() == ()
    await reading.close()
    assert path.read_bytes() == before
    before_digests = FIXTURES / "export-without-digest.jsonl"
    for number, export in enumerate((first / "memory.jsonl", before_digests)):
        async with AgeMem(store=tmp_path / f"{number}.db") as memory:
            assert (await memory.import_(export)).entries == 3
            assert [entry.text for entry in await memory.list()] == TEXTS


def test_a_dataset_and_a_list_of_0_1_0_are_read(first: Path) -> None:
    (dataset,) = list_datasets(first)
    assert (dataset.name, dataset.rows, dataset.symbols) == ("prices", 5, ("AAA",))
    assert check_data("prices", data_dir=first).ok
    trusted = first / "trusted-code"
    trusted.chmod(0o600)
    (digest,) = trusted.read_text().splitlines()[1:]
    assert TrustedCode(trusted).unknown([digest]) == []


# --- older memories are migrated after a copy


@pytest.mark.parametrize("version", [1, 2])
async def test_an_older_memory_is_migrated_after_a_copy(
    version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = unpacked(FIXTURES / f"memory-v{version}.db.gz", tmp_path / "m.db")
    before = path.read_bytes()
    reading = AgeMem(store=SqliteStore(path, read_only=True))
    entries = await reading.list()
    assert [entry.text for entry in entries] == TEXTS
    assert [hit.text for hit in (await reading.retrieve("guidance", 1)).data] == TEXTS[:1]
    await reading.close()
    assert contents(tmp_path) == {"m.db": before}, "reading migrates nothing"
    async with AgeMem(store=path) as memory:
        assert await memory.list() == entries
        assert await memory.check() == ()
        assert (await memory.add(TEXTS[0], source="10-Q", idempotency_key="k0")).replayed
    assert "is brought up to date" in caplog.text
    copy = tmp_path / f"m.db.bak-v{version}"
    assert copy.stat().st_mode & 0o777 == 0o600
    for place, found in ((path, len(MIGRATIONS)), (copy, version)):
        with sqlite3.connect(place) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (found,)
        connection.close()
    reading = AgeMem(store=SqliteStore(copy, read_only=True))
    assert await reading.list() == entries
    await reading.close()
    async with AgeMem(store=path):
        pass
    assert sorted(each.name for each in tmp_path.glob("*.bak*")) == [copy.name], "one copy, once"


async def test_a_memory_that_cannot_be_copied_is_not_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unpacked(FIXTURES / "memory-v1.db.gz", tmp_path / "m.db")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("memory.stores.copies.os.fsync", full)
    with pytest.raises(AthenaError, match="No space left"):
        await AgeMem(store=path).list()
    assert [each.name for each in tmp_path.iterdir()] == ["m.db"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


# --- a newer version is refused by name, and nothing changes


def in_json(path: Path, key: str = formats.KEY) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {key: 99}))


def in_first_line(path: Path) -> None:
    head, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(head) | {"athena_memory": 99}) + "\n" + rest)


def in_parquet(path: Path) -> None:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[ABOUT]) | {formats.KEY: 99}
    pq.write_table(table.replace_schema_metadata({ABOUT: json.dumps(about).encode()}), path)


NEWER: dict[str, tuple[str, Callable[[Path], None], Callable[[Path, Path], Any]]] = {
    "manifest": ("run/manifest.json", in_json, lambda path, _: read_manifest(path.parent)),
    "summary": ("run/manifest.json", in_json, lambda path, _: read_summary(path.parent)),
    "seals": ("run/manifest.json", in_json, lambda path, _: integrity(path.parent)),
    "export": ("memory.jsonl", in_first_line, lambda path, _: read_export(path)),
    "adapter": (
        "stage1/adapter/athena-adapter.json", in_json, lambda path, _: read_adapter(path.parent),
    ),
    "card": ("stage1/adapter/stage1.json", in_json, lambda path, _: adapter_cutoff(path.parent)),
    "stage1": (
        "stage1/checkpoints/checkpoint-2/complete.json", in_json,
        lambda path, _: last_of_stage1(path.parents[1]),
    ),
    "stage2": (
        "stage2/checkpoints/update-0000002/complete.json", in_json,
        lambda path, _: set_aside_damaged(path.parents[1]),
    ),
    "policy": ("stage2/policy/policy.json", in_json, lambda path, _: read_policy(path.parent)),
    "dataset": (
        "prices.parquet", in_parquet, lambda path, folder: check_data("prices", data_dir=folder),
    ),
    "dataset as a file": ("prices.parquet", in_parquet, lambda path, _: check_data(path)),
}  # fmt: skip


@pytest.mark.parametrize("kind", NEWER)
def test_a_newer_version_is_refused_by_name_and_left_as_it_is(kind: str, first: Path) -> None:
    name, alter, read = NEWER[kind]
    alter(first / name)
    before = contents(first)
    with pytest.raises(AthenaError, match=r"of version 99; this Athena \(.*\) reads \d") as caught:
        read(first / name, first)
    assert Path(name).name in caught.value.message
    assert "Use a newer Athena" in caught.value.cure
    assert contents(first) == before


def test_a_newer_model_folder_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(NANO_FOLDER, tmp_path / "nano"))
    in_json(folder / "athena-model.json")
    (folder / "model.safetensors").unlink()  # whatever a newer one has in its place
    with pytest.raises(AthenaError, match="is a model folder of version 99"):
        open_folder(folder)


async def test_a_newer_memory_is_refused_and_left_as_it_is(first: Path, tmp_path: Path) -> None:
    (tmp_path / "of").mkdir()
    path = unpacked(first / "memory.db.gz", tmp_path / "of" / "m.db")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = contents(path.parent)
    for read_only in (True, False):
        with pytest.raises(MemoryStoreError, match=r"m\.db is a memory file of version 99"):
            await AgeMem(store=SqliteStore(path, read_only=read_only)).list()
    assert contents(path.parent) == before


def test_a_newer_list_of_trusted_code_is_neither_believed_nor_added_to(
    first: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = first / "trusted-code"
    path.chmod(0o600)
    path.write_text(path.read_text().replace("trusted-code 1", "trusted-code 99"))
    before, digest = path.read_bytes(), path.read_text().splitlines()[1]
    trusted = TrustedCode(path)
    assert trusted.unknown([digest]) == [digest]
    trusted.add([digest])
    assert path.read_bytes() == before
    assert "list of trusted code of version 99" in caplog.text


def test_commands_refuse_a_newer_run_and_the_list_of_runs_says_so(
    first: Path, athena: Athena
) -> None:
    in_json(first / "run" / "manifest.json")
    before = contents(first / "run")
    for words in (
        ["runs", "show", "run"],
        ["runs", "verify", "run"],
        ["runs", "repeat", "run"],
        ["why", "run", "--order", "o1"],
        ["paper-trade", "--resume", "run"],
    ):
        done = athena(*words, "--json", cwd=first)
        assert done.returncode == 2, done.stderr
        assert "manifest.json is a run folder of version 99" in done.stderr
        assert "Traceback" not in done.stderr
    assert contents(first / "run") == before
    statuses = {entry.run_dir.name: entry.status for entry in list_runs(first)}
    assert statuses == {"run": "of another version", "stage1": "done", "stage2": "done"}


# --- what is torn is told


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("run/manifest.json", lambda path: read_manifest(path.parent)),
        ("memory.jsonl", read_export),
        ("stage1/adapter/athena-adapter.json", lambda path: read_adapter(path.parent)),
        ("stage1/adapter/stage1.json", lambda path: adapter_cutoff(path.parent)),
        ("stage2/policy/policy.json", lambda path: read_policy(path.parent)),
        ("stage2/policy/policy.safetensors", lambda path: read_policy(path.parent)),
        ("stage2/checkpoints/update-0000002/trainer.pt", lambda path: read_trainer(path.parent)),
    ],
)
def test_a_torn_file_is_told(name: str, read: Callable[[Path], Any], first: Path) -> None:
    path = first / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = contents(first)
    with pytest.raises(AthenaError) as caught:
        read(path)
    assert path.name in caught.value.message or path.parent.name in caught.value.message
    assert contents(first) == before


def test_torn_checkpoints_are_set_aside_and_torn_prices_are_a_fault(first: Path) -> None:
    mark = first / "stage2" / "checkpoints" / "update-0000002" / "complete.json"
    mark.write_bytes(mark.read_bytes()[:50])
    (aside,) = set_aside_damaged(mark.parents[1])
    assert (aside / "trainer.pt").is_file()
    stage1 = first / "stage1" / "checkpoints" / "checkpoint-2" / "complete.json"
    stage1.write_bytes(stage1.read_bytes()[:50])
    assert last_of_stage1(stage1.parents[1]) is None
    prices = first / "prices.parquet"
    prices.write_bytes(prices.read_bytes()[:1000])
    assert not check_data(prices).ok


async def test_a_torn_memory_is_told(first: Path, tmp_path: Path) -> None:
    path = unpacked(first / "memory.db.gz", tmp_path / "m.db")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MemoryStoreError, match=r"m\.db"):
        await AgeMem(store=SqliteStore(path)).list()


def test_a_stage1_checkpoint_from_before_the_number_is_read(first: Path) -> None:
    mark = first / "stage1" / "checkpoints" / "checkpoint-2" / "complete.json"
    mark.write_text(json.dumps(json.loads(mark.read_text())["files"]))
    assert last_of_stage1(mark.parents[1]) == mark.parent
    with pytest.raises(CheckpointError):
        in_json(mark)
        last_of_stage1(mark.parents[1])
