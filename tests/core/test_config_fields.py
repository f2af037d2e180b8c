"""A field exists only when something reads it, or when it is promised and refused until it is built."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import BaseModel

from core import layers
from core.config import NOT_BUILT, AthenaConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "trading", "agents", "models", "memory", "training")

PROMISED = {
    *(f"memory.{key}" for key in ("store", "path", "neo4j_uri", "policy", "entry_cap")),
    *(f"olmoe.{key}" for key in ("model_path", "device", "dtype")),
    *(f"trading.{key}" for key in ("initial_cash_usd", "commission_bps", "half_spread_bps",
      "impact_coefficient", "participation_frac", "allow_fractional", "allow_short", "warmup_bars",
      "poll_seconds")),
    "seed", "runs_dir", "data_dir", "checkpoint_dir", "log_level",
}  # fmt: skip
"""The keys that `docs/interface.md` promises."""


def readers() -> list[tuple[frozenset[str], frozenset[str]]]:
    """For each of our modules: the attributes it reads, and every name it uses."""
    files = [ROOT / "main.py", ROOT / "athena" / "__init__.py"]
    files += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = []
    for path in files:
        if path == ROOT / "core" / "config.py" or not path.is_file():
            continue
        nodes = list(ast.walk(ast.parse(path.read_text())))
        read = {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        found.append((frozenset(read), frozenset(names | read)))
    return found


def section_class(dotted: str) -> str:
    owner: type[BaseModel] = AthenaConfig
    for name in dotted.split(".")[:-1]:
        owner = layers.as_section(owner.model_fields[name].annotation) or owner
    return owner.__name__


@pytest.fixture(scope="module")
def modules() -> list[tuple[frozenset[str], frozenset[str]]]:
    return readers()


@pytest.mark.parametrize("dotted", sorted(layers.leaf_schemas(AthenaConfig)))
def test_the_field_is_read_or_refused_until_it_is_built(
    dotted: str, modules: list[tuple[frozenset[str], frozenset[str]]]
) -> None:
    """Some module reads an attribute of that name, and names the section or its class as well."""
    *sections, key = dotted.split(".")
    section = {section_class(dotted), *sections[-1:]}
    assert dotted in NOT_BUILT or any(key in read and section & names for read, names in modules)


def test_every_promised_key_exists() -> None:
    assert set(layers.leaf_schemas(AthenaConfig)) >= PROMISED


def test_what_is_not_built_is_promised_or_only_a_switch() -> None:
    assert {key for key in NOT_BUILT if not key.endswith(".enabled")} <= PROMISED
