"""A field exists only when something reads it, or when it is promised and refused until it is built."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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


def attributes_read() -> frozenset[str]:
    """Names of all attributes that our code reads anywhere but in the config module itself."""
    files = [ROOT / "main.py", ROOT / "athena.py"]
    files += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return frozenset(
        node.attr
        for path in files
        if path.is_file() and path != ROOT / "core" / "config.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


@pytest.fixture(scope="module")
def read() -> frozenset[str]:
    return attributes_read()


@pytest.mark.parametrize("dotted", sorted(layers.leaf_schemas(AthenaConfig)))
def test_the_field_is_read_or_refused_until_it_is_built(dotted: str, read: frozenset[str]) -> None:
    assert dotted in NOT_BUILT or dotted.rpartition(".")[2] in read


def test_every_promised_key_exists() -> None:
    assert set(layers.leaf_schemas(AthenaConfig)) >= PROMISED


def test_what_is_not_built_is_promised_or_only_a_switch() -> None:
    assert {key for key in NOT_BUILT if not key.endswith(".enabled")} <= PROMISED
