from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from core import layers
from core.config import (
    NOT_BUILT,
    AthenaConfig,
    OLMoEIntegrationConfig,
    config_hash,
    load,
    value_of,
)
from core.errors import ConfigError
from core.layers import foreign_variables

ROOT = Path(__file__).resolve().parents[2]

BILLION_LAUGHS = "l0: &l0 {a: 1}\n" + "".join(
    f"l{at}: &l{at} {{" + ", ".join(f"k{k}: *l{at - 1}" for k in range(9)) + "}\n"
    for at in range(1, 9)
)
"""Nine to the eighth values in 900 bytes."""


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load([written(folder, text)])
    return str(caught.value)


def test_shipped_default_file_equals_the_defaults_in_code() -> None:
    assert load().config == AthenaConfig()


def test_shipped_default_file_names_every_built_key_and_no_other() -> None:
    layer = layers.file_layer(ROOT / "configs" / "default.yaml")
    named = layers.resolve(AthenaConfig, [layer]).values
    assert set(named) == set(layers.leaf_schemas(AthenaConfig)) - set(NOT_BUILT)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_file_loads(path: Path) -> None:
    assert load([path]).config.seed == 0


def test_a_shipped_file_is_found_by_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(["paper.yaml"])
    assert loaded.config.trading.poll_seconds == 1.0
    assert loaded.origins["trading.poll_seconds"].startswith("the shipped paper.yaml")


def test_without_an_olmoe_section_its_default_stands(tmp_path: Path) -> None:
    config = AthenaConfig.from_yaml(written(tmp_path, "seed: 3\n"))
    assert config.olmoe == OLMoEIntegrationConfig()
    assert config.seed == 3


def test_what_is_saved_reads_back_equal(tmp_path: Path) -> None:
    config = AthenaConfig._from_dict(
        {"seed": 7, "runs_dir": "elsewhere", "trading": {"participation_frac": None}}
    )
    config.save_yaml(tmp_path / "saved.yaml")
    assert AthenaConfig.from_yaml(tmp_path / "saved.yaml") == config
    assert AthenaConfig._from_dict(config.to_dict()) == config
    assert [path.name for path in tmp_path.iterdir()] == ["saved.yaml"]


def test_json_reads_like_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"trading": {"commission_bps": 3}}), "mine.json")
    assert AthenaConfig.from_json(path).trading.commission_bps == 3.0
    assert load([path]).config == AthenaConfig.from_json(path)


def test_later_layers_win_and_origins_say_who_won(tmp_path: Path) -> None:
    first = written(
        tmp_path, "seed: 1\ntrading:\n  commission_bps: 1.5\n  half_spread_bps: 9\n", "a.yaml"
    )
    second = written(tmp_path, "trading:\n  commission_bps: 2.5\n", "b.yaml")
    env = {"ATHENA_TRADING__DELISTING_SESSIONS": "7", "ATHENA_SEED": "2", "HOME": "/nowhere"}
    loaded = load([first, second], env, ["seed=3"], {"runs_dir": Path("there")})
    assert loaded.config.trading.commission_bps == 2.5
    assert loaded.config.trading.half_spread_bps == 9.0
    assert loaded.config.trading.delisting_sessions == 7
    assert loaded.config.seed == 3
    assert loaded.config.runs_dir == Path("there")
    origins = loaded.origins
    assert origins["trading.commission_bps"] == f"{second}:2"
    assert origins["trading.half_spread_bps"] == f"{first}:4"
    assert origins["trading.delisting_sessions"] == "ATHENA_TRADING__DELISTING_SESSIONS"
    assert origins["seed"] == "--set"
    assert origins["runs_dir"] == "--runs-dir"
    assert origins["trading.allow_short"] == "default"
    assert set(origins) == set(layers.leaf_schemas(AthenaConfig))


def test_a_section_that_is_empty_counts_as_not_said(tmp_path: Path) -> None:
    assert load([written(tmp_path, "trading:\n  # nothing\n")]).config == AthenaConfig()
    assert load([written(tmp_path, "")]).config == AthenaConfig()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("trading:\n  comission_bps: 1\n", ["trading.comission_bps", ":2", "trading.commission_bps"]),
        ("commission_bps: 1\n", ["commission_bps", "trading.commission_bps"]),
        ("tradign: {}\n", ["tradign", "trading"]),
        ("agents:\n  rsk: {}\n", ["agents.rsk", "mine.yaml:2"]),
        ("1: 2\n", ["unknown key 1"]),
        ("trading:\n  commission_bps: -1\n", ["trading.commission_bps", "-1", "mine.yaml:2", "at least 0"]),
        ("log_level: loud\n", ["log_level", '"loud"', "debug, info, warning, error"]),
        ("seed: yes\n", ["seed", "true", "a whole number"]),
        ("seed: .nan\n", ["seed", "NaN", "a whole number"]),
        ("trading: {half_spread_bps: .inf}\n", ["trading.half_spread_bps", "Infinity", "a number"]),
        ("trading: {participation_frac: 2}\n", ["participation_frac", "2", "at most 1 or null"]),
        ("trading: {commission_bps: a, half_spread_bps: b}\n", ["Also wrong", "half_spread_bps"]),
        ("trading: 5\n", ["trading", "5", "section"]),
        ("- 1\n", ["mine.yaml", "[1]", "not a mapping"]),
        ("seed: 1\nlog_level: info\nseed: 2\n", ["mine.yaml:3", "seed", "second time", "line 1"]),
        ("seed: [1\n", ["mine.yaml:2", "not valid YAML"]),
        ("seed: 1\n\tlog_level: info\n", ["mine.yaml:2", "not valid YAML"]),
        ("a: &a {b: *a}\n", ["mine.yaml:1", "alias *a"]),
        ("trading:\n  poll_seconds: 1:30\n", ["mine.yaml:2", "1:30", "base 60"]),
        ("seed: 1\ntrading: {poll_seconds: 1:30.5}\n", ["mine.yaml:2", "base 60"]),
        ("seed: 010\nlog_level: info\n", ["mine.yaml:1", "base 8"]),
        ("a: " + "[" * 60 + "]" * 60 + "\n", ["mine.yaml:1", "nested deeper"]),
        ("a: " + "{a: " * 20_000 + "\n", ["mine.yaml:1", "nested deeper"]),
        (BILLION_LAUGHS, ["mine.yaml:2", "alias *l0"]),
        ("seed: 2020-99-01\n", ["mine.yaml", "month"]),
        ("x: !!python/object:os.system {}\n", ["mine.yaml:1", "not valid YAML"]),
    ],
)  # fmt: skip
def test_a_fault_in_a_file_is_told_with_its_place(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = complaint(tmp_path, text)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"seed": 1, "seed": 2}', "second time"),
        ('{"seed": ', ":1 is not valid JSON"),
        ("[]", "not a mapping"),
        ('{"seed": NaN}', "NaN"),
    ],
)
def test_a_fault_in_a_json_file_is_told(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        AthenaConfig.from_json(written(tmp_path, text, "mine.json"))


def test_a_missing_or_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no config file"):
        load([tmp_path / "absent.yaml"])
    with pytest.raises(ConfigError, match="cannot be read"):
        load([tmp_path])
    (tmp_path / "latin.yaml").write_bytes(b"log_level: \xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load([tmp_path / "latin.yaml"])


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("ATHENA_SED", "1", ["ATHENA_SED", "ATHENA_SEED"]),
        ("ATHENA_TRADING_COMMISSION_BPS", "1", ["ATHENA_TRADING__COMMISSION_BPS"]),
        ("ATHENA_LOGLEVEL", "debug", ["ATHENA_LOG_LEVEL"]),
        ("ATHENA_WORKGROUP__NAME", "1", ["ATHENA_WORKGROUP__NAME"]),
        ("ATHENA_TRADING__COMMISION_BPS", "1", ["ATHENA_TRADING__COMMISSION_BPS"]),
        ("ATHENA_SEED", "many", ["seed", '"many"', "ATHENA_SEED"]),
        ("ATHENA_MEMORY__NEO4J_PASSWORD", "hunter2", ["NEO4J_PASSWORD", "secret"]),
    ],
)
def test_a_fault_in_a_variable_names_it(variable: str, value: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env={variable: value})
    for part in parts:
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_variables_that_are_no_settings_or_empty_are_passed_over() -> None:
    assert load(env={"ATHENA_SHARED": "/data", "ATHENA_SEED": ""}).config == AthenaConfig()


@pytest.mark.parametrize(
    "name",
    [
        "WORKGROUP",
        "DATABASE",
        "OUTPUT_LOCATION",
        "S3_STAGING_DIR",
        "REGION",
        "QUERY_TIMEOUT",
        "API_KEY",
    ],
)
def test_a_variable_of_another_program_is_ignored(name: str) -> None:
    env = {f"ATHENA_{name}": "x"}
    assert load(env=env).config == AthenaConfig()
    assert foreign_variables(AthenaConfig, env) == [f"ATHENA_{name}"]


SYMBOLS = (
    "0050",
    "50",
    "TRUE",
    "NO",
    "NULL",
    "~",
    "1E5",
    "1.5",
    "0x1F",
    "2024-01-01",
    "12:30",
    "ON",
)


def test_symbols_stay_text_as_keys_of_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    lines = "".join(f"      {symbol}: tech\n" for symbol in SYMBOLS)
    path.write_text(f"agents:\n  risk:\n    sectors:\n{lines}")
    inline = "{" + ", ".join(f"{symbol}: tech" for symbol in SYMBOLS) + "}"
    for loaded in (
        load([path]),
        load(sets=[f"agents.risk.sectors={inline}"]),
        load(env={"ATHENA_AGENTS__RISK__SECTORS": inline}),
    ):
        assert loaded.config.agents.risk.sectors == dict.fromkeys(SYMBOLS, "tech")
    loaded.config.save_yaml(path)
    assert load([path]).config == loaded.config


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("seed", ["--set seed", "section.key=value"]),
        ("trading=1", ["trading", "section"]),
        ("trading.comission_bps=1", ["trading.commission_bps"]),
        ("seed=-1", ["seed", "-1", "--set", "at least 0"]),
        ("seed=[", ["seed", "cannot be read"]),
        ("memory.neo4j_password=hunter2", ["NEO4J_PASSWORD"]),
    ],
)
def test_a_fault_in_set_names_it(assignment: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(sets=[assignment])
    for part in parts:
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_set_reads_yaml_scalars_and_leaves_text_alone() -> None:
    config = load(
        sets=["trading.participation_frac=null", "trading.allow_short=true", "data.calendar=24/7",
              "runs_dir=2024", "log_level=INFO", "trading.impact_coefficient=1e-3"]
    ).config  # fmt: skip
    assert config.trading.participation_frac is None
    assert config.trading.allow_short is True
    assert config.data.calendar == "24/7"
    assert config.runs_dir == Path("2024")
    assert config.log_level == "info"
    assert config.trading.impact_coefficient == 0.001


NOT_DEFAULTS = {
    "memory.store": "neo4j", "memory.path": "other.db", "memory.neo4j_uri": "bolt://localhost",
    "memory.policy": "recency", "memory.entry_cap": "6",
}  # fmt: skip


@pytest.mark.parametrize("dotted", sorted(NOT_BUILT))
def test_a_key_whose_feature_is_not_built_is_refused_when_set(dotted: str) -> None:
    with pytest.raises(ConfigError, match="not built yet") as caught:
        load(sets=[f"{dotted}={NOT_DEFAULTS.get(dotted, 'true')}"])
    assert dotted in str(caught.value)
    assert "--set" in str(caught.value)


def test_a_key_whose_feature_is_not_built_may_be_set_to_its_default() -> None:
    assert load(sets=["evolution.enabled=false"]).config == AthenaConfig()


def test_a_config_made_in_code_is_held_to_the_same() -> None:
    with pytest.raises(ConfigError, match=r"evolution\.enabled"):
        AthenaConfig(evolution={"enabled": True})  # type: ignore[arg-type]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        AthenaConfig().seed = 1  # type: ignore[misc]


def test_secrets_in_a_file_are_refused_and_not_repeated(tmp_path: Path) -> None:
    message = complaint(tmp_path, "memory:\n  neo4j_password: hunter2\n")
    assert "NEO4J_PASSWORD" in message
    assert "hunter2" not in message


def test_no_field_holds_a_secret() -> None:
    assert not [key for key in layers.leaf_schemas(AthenaConfig) if layers._SECRET.search(key)]


def test_hash_ignores_places_and_sees_everything_else() -> None:
    base = config_hash(AthenaConfig())
    assert base == config_hash(load(sets=["runs_dir=x", "data_dir=y", "log_level=debug"]).config)
    assert base == config_hash(load(sets=["trading.commission_bps=1"]).config)
    assert base != config_hash(load(sets=["seed=1"]).config)
    assert base != config_hash(load(sets=["trading.commission_bps=1.01"]).config)


def test_values_are_found_by_dotted_key() -> None:
    assert value_of(AthenaConfig(), "trading.commission_bps") == 1.0


def test_the_saved_file_is_plain_yaml(tmp_path: Path) -> None:
    AthenaConfig().save_yaml(tmp_path / "saved.yaml")
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text()) == AthenaConfig().to_dict()


@pytest.mark.parametrize("uri", ["bolt://neo4j:hunter2@host:7687", "neo4j+s://u@host"])
def test_a_password_in_a_setting_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(sets=[f"memory.neo4j_uri={uri}"])
    assert "memory.neo4j_uri" in caught.value.message
    assert "NEO4J_PASSWORD" in caught.value.cure
    assert "hunter2" not in str(caught.value)
    assert load(sets=["memory.neo4j_uri=bolt://host:7687"]).config.memory.neo4j_uri is not None


def test_a_setting_of_an_earlier_version_is_refused_with_the_one_that_took_its_place(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, "trading:\n  delisting_bars: 10\n", "old.yaml")
    for call in (
        lambda: load([file], {}, [], {}),
        lambda: load([], {}, ["trading.delisting_bars=10"], {}),
        lambda: load([], {"ATHENA_TRADING__DELISTING_BARS": "10"}, [], {}),
    ):
        with pytest.raises(ConfigError, match=r"delisting_bars any more.*delisting_sessions"):
            call()


@pytest.mark.parametrize("value", ["NO", "50", "1.5"])
def test_a_value_of_a_mapping_is_named_by_its_own_key(tmp_path: Path, value: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"agents: {{risk: {{sectors: {{AAA: tech, 0050: {value}}}}}}}\n")
    with pytest.raises(ConfigError) as told:
        load([path])
    assert "agents.risk.sectors.0050 is " in told.value.message
    assert "own.yaml:1" in told.value.message
    assert 'write them in quotes: "NO"' in told.value.cure
    path.write_text(f'agents: {{risk: {{sectors: {{0050: "{value}"}}}}}}\n')
    assert load([path]).config.agents.risk.sectors == {"0050": value}
    path.write_text("agents: {risk: {sectors: [a]}}\n")
    with pytest.raises(ConfigError, match=r"agents\.risk\.sectors is \[\"a\"\]") as told:
        load([path])
    assert told.value.cure.startswith("Give a mapping")
