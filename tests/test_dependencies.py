"""The lists of dependencies are current, and nothing under the GPL comes with any extra."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dependencies() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dependencies", ROOT / ".ci" / "dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> dict[str, list[str]]:
    """docs/dependencies.md: name to version, licence and the extras that bring it."""
    lines = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in cells[2:]}


def test_the_lists_name_all_that_is_declared_and_installed(dependencies: ModuleType) -> None:
    assert list(dependencies.faults()) == []


def test_the_lists_agree_and_keep_the_declared_limits(dependencies: ModuleType) -> None:
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    assert {name: row[0] for name, row in rows().items()} == pinned
    for requirements in dependencies.declared().values():
        for each in requirements:
            if each.name != dependencies.OURS:
                version = pinned[dependencies.canonicalize_name(each.name)]
                assert each.specifier.contains(Version(version)), each


def test_large_libraries_come_only_with_what_needs_them() -> None:
    brought = {name: set(row[2].split(", ")) for name, row in rows().items()}
    assert not brought["scipy"] & {"base", "live", "scrape", "tensorboard"}
    assert not brought["pytest"] - {"test"}
    assert not {"edgartools", "unidecode", "datasketch", "hishel"} & set(brought)


def test_torch_keeps_to_the_versions_without_a_forced_cuda(dependencies: ModuleType) -> None:
    torch = next(each for each in dependencies.declared()["base"] if each.name == "torch")
    assert torch.specifier == Requirement("torch>=2.6,<2.14").specifier


def test_a_library_under_the_gpl_is_a_fault(
    dependencies: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dependencies.licence
    for said in (
        "GPL-2.0-or-later",
        "GNU General Public License v2 or later (GPLv2+)",
        "AGPL-3.0",
        "GNU Affero General Public License v3",
        "MIT AND GPL-3.0-only",
    ):
        monkeypatch.setattr(
            dependencies, "licence", lambda name, said=said: said if name == "rich" else known(name)
        )
        assert [
            line for line in dependencies.faults() if "rich" in line and "GPL" in said.upper()
        ] or ("Affero" in said and list(dependencies.faults()))
    for said in ("LGPL-2.1", "GNU Lesser General Public License v3", "MPL-2.0", "MIT"):
        assert not re.search(dependencies.COPYLEFT, said)


def test_no_file_of_ours_names_the_host_of_a_registry() -> None:
    hosts = ("pypi" + ".org", "files.python" + "hosted", "download.py" + "torch")
    files = [
        ROOT / name for name in ("pyproject.toml", "constraints.txt", "Dockerfile", "README.md")
    ]
    files += [*(ROOT / ".ci").iterdir(), *(ROOT / "docs").glob("*.md")]
    assert [path.name for path in files if any(each in path.read_text() for each in hosts)] == []
