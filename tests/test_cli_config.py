from __future__ import annotations

import json
from pathlib import Path

from core.config import AthenaConfig, config_hash
from tests.conftest import Athena


def test_config_show_says_where_each_value_came_from(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("trading:\n  commission_bps: 4\n")
    done = athena(
        "-c", "mine.yaml", "config", "show", "--json", "--set", "seed=9",
        env={"ATHENA_TRADING__HALF_SPREAD_BPS": "5"},
    )  # fmt: skip
    shown = json.loads(done.stdout)
    assert shown["config"]["trading"]["commission_bps"] == 4.0
    assert shown["origins"]["trading.commission_bps"] == "mine.yaml:2"
    assert shown["config"]["trading"]["half_spread_bps"] == 5.0
    assert shown["origins"]["trading.half_spread_bps"] == "ATHENA_TRADING__HALF_SPREAD_BPS"
    assert shown["origins"]["seed"] == "--set"
    assert shown["origins"]["data.calendar"] == "default"
    assert shown["config_hash"] == config_hash(AthenaConfig._from_dict(shown["config"]))


def test_config_show_prints_a_table(athena: Athena) -> None:
    lines = athena("config", "show", "--set", "trading.participation_frac=null").stdout.splitlines()
    row = next(line for line in lines if "trading.participation_frac" in line)
    assert row.split() == ["trading.participation_frac", "null", "--set"]


def test_config_show_in_a_narrow_place_loses_no_key(athena: Athena) -> None:
    lines = athena("config", "show", env={"COLUMNS": "40"}).stdout.splitlines()
    keys = "".join(line[:19].strip() for line in lines)
    assert "agents.strategy.portfolio_volatility_bars" in keys


def test_config_schema_is_the_json_schema(athena: Athena) -> None:
    assert json.loads(athena("config", "schema").stdout) == AthenaConfig.model_json_schema()


def test_a_bad_config_is_the_users_mistake(athena: Athena, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("trading:\n  comission_bps: 4\n")
    done = athena("config", "show", "--json", "-c", "mine.yaml")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "ConfigError"
    assert "mine.yaml:2" in error["message"]
    assert "trading.commission_bps" in error["cure"]
