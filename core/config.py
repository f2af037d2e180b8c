"""The configuration: frozen models, and the layers they are read from.

Owns names, defaults and limits of every setting, and where each value came from. Refuses to know what a
setting does. A field exists only when something reads it or `docs/interface.md` promises it; a promised
one whose feature is not built yet is refused when set. Secrets come from the environment and are no fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core import layers
from core.errors import ConfigError
from core.files import write_atomic

NOT_BUILT: Mapping[str, str] = {
    "evolution.enabled": "evolution of agents",
}
"""Keys that are promised (or reserved) and whose feature is not there yet: setting one is refused.

A feature that is built deletes its rows here, and nothing else has to change.
"""

PLACES = frozenset({"runs_dir", "data_dir", "checkpoint_dir", "log_level", "max_unpacked_bytes"})
"""Keys that cannot change a result: they stay out of the hash."""

Frac = Annotated[float, Field(ge=0.0, le=1.0)]
Bps = Annotated[float, Field(ge=0.0, le=10_000.0)]
Usd = Annotated[float, Field(ge=0.0)]
Bars = Annotated[int, Field(ge=1, le=100_000)]


class Section(BaseModel):
    """A section of the configuration: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads `on`, `off`, `yes` and `no` as truth values; none of them is a number."""
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            if bool not in (annotation, *get_args(annotation)):
                raise ValueError("it is a truth value")
        return value


class DataConfig(Section):
    """How bars are read. `calendar` is an exchange_calendars name (XNYS, 24/7, ...).

    `bar_label` is what a stamp labels: an intraday bar's beginning (`open`, and `auto`) or its end (`close`);
    of longer bars `auto` is the end where all stamps are last days or sessions of their week or month.
    `decimal` is the decimal sign of a file's numbers, `date_order` dmy, mdy or ymd, `layout` long or wide;
    with `auto` the file settles it or is refused. `incomplete_bars: close` reads a bar whose open, high or
    low is 0 or empty by its close alone. `sheet` is the sheet of a workbook that has prices on several.

    `contact` is an e-mail address that scrapers tell the servers they read; the SEC insists on one.
    """

    calendar: str = "XNYS"
    bar_label: Literal["auto", "open", "close"] = "auto"
    decimal: Literal["auto", ".", ","] = "auto"
    date_order: Literal["auto", "dmy", "mdy", "ymd"] = "auto"
    layout: Literal["auto", "long", "wide"] = "auto"
    incomplete_bars: Literal["refuse", "close"] = "refuse"
    sheet: str | None = None
    mock_symbols: Annotated[int, Field(ge=1, le=5_000)] = 5
    mock_bars: Annotated[int, Field(ge=2, le=1_000_000)] = 1_000
    contact: str | None = None

    @field_validator("decimal", mode="before")
    @classmethod
    def _sign_by_name(cls, value: Any) -> Any:
        return (
            {"point": ".", "dot": ".", "comma": ","}.get(value, value)
            if isinstance(value, str)
            else value
        )


class TradingConfig(Section):
    """The account, its costs and how orders fill; `trading/costs.py`, `broker.py`, `margin.py` and
    `delisting.py` say how."""

    initial_cash_usd: Annotated[float, Field(gt=0.0)] = 100_000.0
    commission_bps: Bps = 1.0
    commission_per_share_usd: Usd = 0.0
    commission_min_usd: Usd = 0.0
    half_spread_bps: Bps = 2.0
    impact_coefficient: Annotated[float, Field(ge=0.0)] = 1.0
    impact_volatility_bars: Annotated[int, Field(ge=2)] = 20
    borrow_bps_per_year: Bps = 50.0
    participation_frac: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.025
    allow_fractional: bool = True
    min_order_usd: Usd = 0.0
    allow_short: bool = False
    warmup_bars: Annotated[int, Field(ge=0)] = 252
    delisting_sessions: Annotated[int, Field(ge=1, le=100_000)] = 60
    delisting_return_frac: Annotated[float, Field(ge=-1.0, le=0.0)] = -0.30
    maintenance_long_frac: Frac = 0.25
    maintenance_short_frac: Frac = 0.30
    poll_seconds: Annotated[float, Field(ge=0.0)] = 60.0


Windows = Annotated[int, Field(ge=2, le=10_000)]
Weight = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1_000.0)]


class AnalystConfig(Section):
    """Indicator windows of the market analyst, in a symbol's own bars, and how they become a view.

    `horizon_bars` is what its expected returns are over. The five `_weight` fields mix the components of
    its score, each of which counts in full (1) at the value that `_full_` names. `agents/market_analyst.py`
    has the formula.
    """

    ema_bars: Windows = 50
    sma_bars: Windows = 200
    macd_fast_bars: Windows = 12
    macd_slow_bars: Windows = 26
    macd_signal_bars: Annotated[int, Field(ge=1, le=10_000)] = 9
    rsi_bars: Windows = 14
    bollinger_bars: Windows = 20
    atr_bars: Windows = 14
    adx_bars: Windows = 14
    volatility_bars: Windows = 63
    momentum_bars: Windows = 252
    momentum_skip_bars: Annotated[int, Field(ge=0, le=10_000)] = 21
    horizon_bars: Bars = 21
    information_coefficient: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    trend_weight: Weight = 0.3
    macd_weight: Weight = 0.15
    rsi_weight: Weight = 0.15
    reversal_weight: Weight = 0.1
    momentum_weight: Weight = 0.3
    trend_full_atr: Positive = 5.0
    macd_full_atr: Positive = 0.5
    reversal_full_deviations: Positive = 2.0
    adx_full: Positive = 50.0
    stale_bars: Annotated[int, Field(ge=0)] = 3
    external_views_weight: Annotated[float, Field(ge=0.0)] = 1.0

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.macd_fast_bars >= self.macd_slow_bars:
            raise ValueError("macd_fast_bars must be below macd_slow_bars")
        if self.momentum_skip_bars >= self.momentum_bars:
            raise ValueError("momentum_skip_bars must be below momentum_bars")
        weights = (
            self.trend_weight,
            self.macd_weight,
            self.rsi_weight,
            self.reversal_weight,
            self.momentum_weight,
        )
        if not sum(weights) > 0.0:
            raise ValueError("one of the five component weights must be above 0")
        return self


class StrategyConfig(Section):
    """The strategy agent: four signals, their weights in the mix, the volatility target, the band.

    `views_weight` is what the analyst's view weighs beside the signals; a view of `view_full_ratio`
    standard deviations counts in full; `learned_weight` and `learned_full_deviations` are the same for what
    all sources of forecasts come to. Volatilities are annual: `bars_per_year` bars, or, where it is null,
    as many as `data.calendar` has at the data's interval.
    `conflict_confidence_frac` is how sure a contrary view must be to stop a purchase; null never.
    """

    time_series_weight: Weight = 0.35
    cross_section_weight: Weight = 0.2
    reversion_weight: Weight = 0.1
    breakout_weight: Weight = 0.35
    views_weight: Weight = 0.25
    view_full_ratio: Positive = 0.05
    learned_weight: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    learned_full_deviations: Positive = 0.2
    min_signal_frac: Frac = 0.5
    time_series_bars: Windows = 252
    breakout_bars: Windows = 55
    reversion_full_deviations: Positive = 2.0
    full_signal_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    volatility_target_frac: Annotated[float, Field(gt=0.0, le=2.0)] = 0.15
    volatility_floor_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    portfolio_volatility_bars: Windows = 63
    bars_per_year: Annotated[float, Field(gt=0.0)] | None = None
    max_gross_frac: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    max_weight_frac: Annotated[float, Field(gt=0.0, le=10.0)] = 0.4
    no_trade_band_frac: Frac = 0.15
    stale_bars: Annotated[int, Field(ge=0)] = 3
    conflict_confidence_frac: Frac | None = 0.5

    @model_validator(mode="after")
    def _has_a_signal(self) -> Self:
        weights = (
            self.time_series_weight,
            self.cross_section_weight,
            self.reversion_weight,
            self.breakout_weight,
        )
        if not sum(weights) > 0.0:
            raise ValueError("one of the four signal weights must be above 0")
        return self


class RiskConfig(Section):
    """The risk manager's limits; null switches a limit off. `agents/risk_manager.py` has their order.

    Weights are fractions of equity. `max_turnover_frac` is one-way, per step. VaR and expected shortfall are
    over one bar, at the worst `var_tail_frac` of the last `lookback_bars` bars, as positive losses.
    `tolerance_frac`: how far a holding may drift past a limit before it is cut back to it.
    """

    max_position_frac: Annotated[float, Field(gt=0.0)] | None = 0.5
    max_gross_frac: Annotated[float, Field(gt=0.0)] | None = 1.0
    max_net_frac: Annotated[float, Field(gt=0.0)] | None = 1.0
    max_turnover_frac: Annotated[float, Field(gt=0.0)] | None = 0.25
    max_correlation: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.9
    correlated_position_frac: Annotated[float, Field(ge=0.0)] = 0.1
    max_sector_frac: Annotated[float, Field(gt=0.0)] | None = 0.5
    sectors: dict[str, str] = {}
    max_var_frac: Annotated[float, Field(gt=0.0)] | None = 0.03
    max_expected_shortfall_frac: Annotated[float, Field(gt=0.0)] | None = 0.045
    var_tail_frac: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    lookback_bars: Windows = 252
    min_lookback_bars: Windows = 60
    reduce_drawdown_frac: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.15
    halt_drawdown_frac: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.25
    recover_drawdown_frac: Frac = 0.1
    reducing_gross_frac: Annotated[float, Field(gt=0.0)] = 0.5
    reducing_bars: Bars = 21
    halt_bars: Bars = 21
    tolerance_frac: Frac = 0.05

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        reduce_at, halt_at = self.reduce_drawdown_frac, self.halt_drawdown_frac
        if reduce_at is not None and not self.recover_drawdown_frac < reduce_at:
            raise ValueError("recover_drawdown_frac must be below reduce_drawdown_frac")
        if halt_at is not None and reduce_at is not None and not reduce_at < halt_at:
            raise ValueError("reduce_drawdown_frac must be below halt_drawdown_frac")
        if self.min_lookback_bars > self.lookback_bars:
            raise ValueError("min_lookback_bars must be at most lookback_bars")
        return self


class ExecutionConfig(Section):
    """How accepted targets become orders.

    `limit` orders stand `limit_offset_bps` on our side of the last close. `sliced` moves a holding by at
    most `slice_volume_frac` of the average volume of the last `slice_volume_bars` bars per step.
    """

    style: Literal["market", "limit", "sliced"] = "market"
    limit_offset_bps: Bps = 10.0
    limit_tif: Literal["day", "gtc"] = "day"
    slice_volume_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    slice_volume_bars: Bars = 20


class AgentsConfig(Section):
    analyst: AnalystConfig = AnalystConfig()
    strategy: StrategyConfig = StrategyConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()


class ModelConfig(Section):
    """Whether the language model forecasts in a run of the full agents."""

    enabled: bool = True


class OLMoEIntegrationConfig(Section):
    """Which weights the language model loads, and where it computes.

    `model_path` is a folder or a hub id; null is the small model that Athena ships. `training_cutoff` is
    needed for a model whose folder does not say up to when its texts reach. `adapter_path` is the folder
    of an adapter (`athena train stage1`) that forecasts are made with; nothing else uses it.
    """

    model_path: Path | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    training_cutoff: date | None = None
    adapter_path: Path | None = None


class MemoryConfig(Section):
    """Where memories are kept and who decides about them; `entry_cap: null` is no cap.

    `policy` is one of the rules of `memory/rules.py` (`none` keeps and recalls nothing) or `trained`: the
    weights in `policy_path`, a folder that `athena train stage2` wrote; null is the shipped policy, which
    reads with the shipped small model.
    """

    store: Literal["sqlite", "neo4j"] = "sqlite"
    path: Path = Path("memory.db")
    neo4j_uri: str | None = None
    policy: Literal["none", "keep_all", "recency", "random", "heuristic", "trained"] = "trained"
    policy_path: Path | None = None
    entry_cap: Annotated[int, Field(ge=1)] | None = None
    embedder: Literal["hashed", "minilm", "olmoe"] = "hashed"

    @field_validator("neo4j_uri")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        """Raised past pydantic, so that the message does not repeat the password."""
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ConfigError(
                "memory.neo4j_uri holds a user's name or password, which never stand in a setting.",
                "Give the address alone, bolt://host:7687, and set NEO4J_USERNAME and NEO4J_PASSWORD.",
            )
        return value


class CommunicationConfig(Section):
    """Whether agents talk in a run of the full agents; in silence, no forecast reaches the strategy."""

    enabled: bool = True


class EvolutionConfig(Section):
    enabled: bool = False


class LearningConfig(Section):
    """Learning from outcomes in a run of the full agents; without it all sources of forecasts weigh the same
    and nothing they say is believed. `analyst`: whether the market analyst's view is a source.
    `decide` lives through the last `rehearsal_bars` bars first, without trading, to learn from them.
    `exploration_coefficient`: what a new direction of the hidden state adds to a training step's advantage
    (RepExp, arXiv 2510.11686); 0 is off."""

    enabled: bool = True
    analyst: bool = True
    rehearsal_bars: Annotated[int, Field(ge=0, le=100_000)] = 252
    exploration_coefficient: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0


class Stage1Config(Section):
    """Fine-tuning on market text; `docs/architecture.md` says how the parts are made.

    `batch_rows` are rows per process and pass, `accumulation_steps` passes per update. `context_tokens`
    null is the model's own. `language_frac` is the share of rows that are text; `answer_weight` what a
    token of an answer weighs beside one of text. `train_end` null leaves `validation_frac` of the texts.
    `sharded` divides the base's weights among the processes of torchrun (FSDP2). `shuffled_answers` is a
    control: answers are dealt out anew among the states, so that a relation found afterwards is none.
    Every `eval_steps` updates the validation is read and a checkpoint written; `patience` evaluations
    without a better one end the training.
    """

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 300
    batch_rows: Annotated[int, Field(ge=1, le=4_096)] = 8
    accumulation_steps: Annotated[int, Field(ge=1, le=4_096)] = 1
    context_tokens: Annotated[int, Field(ge=64, le=131_072)] | None = None
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-3
    warmup_frac: Frac = 0.05
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    lora_rank: Annotated[int, Field(ge=1, le=1_024)] = 16
    lora_alpha: Annotated[float, Field(gt=0.0, le=4_096.0)] = 32.0
    lora_experts: bool = True
    language_frac: Frac = 0.3
    answer_weight: Annotated[float, Field(gt=0.0, le=10_000.0)] = 20.0
    validation_frac: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    train_end: date | None = None
    embargo_days: Annotated[int, Field(ge=0, le=10_000)] = 10
    eval_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    patience: Annotated[int, Field(ge=1, le=10_000)] = 4
    gradient_checkpointing: bool = False
    sharded: bool = False
    shuffled_answers: bool = False
    threads: Annotated[int, Field(ge=1, le=1_024)] = 1


class Stage2Config(Section):
    """Training of the memory policy by step-wise GRPO; `training/stage2_agemem/grpo.py` is the algorithm.

    `steps` are updates over all stages; `single_frac` and `multi_frac` are the largest shares of them that
    the first two stages take (a plateau of the validation ends one sooner). An update takes
    `batch_episodes` episodes of `rollouts` members that end in `questions` questions (those that are judged
    end in four), and `epochs` passes over minibatches of `minibatch_steps` steps; `run_frac` of the episodes
    are a run's events (`run_episodes.py`), the others a desk's notes. `entry_cap` null is no
    cap. Every `eval_steps` updates the policy is validated on `eval_episodes` episodes and a checkpoint is
    written; `patience` validations without a better one end a stage. `policy_weights`: what is trained
    beside the head, at `backbone_learning_rate`. `final_episodes` are for the small evaluation at the end, 0
    for none.
    """

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 120
    single_frac: Frac = 0.08
    multi_frac: Frac = 0.12
    batch_episodes: Annotated[int, Field(ge=1, le=4_096)] = 26
    rollouts: Annotated[int, Field(ge=2, le=256)] = 8
    questions: Annotated[int, Field(ge=1, le=256)] = 12
    run_frac: Frac = 0.12
    epochs: Annotated[int, Field(ge=1, le=100)] = 8
    minibatch_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1_024
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 4e-3
    backbone_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-4
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    gradient_clip: Annotated[float, Field(gt=0.0, le=1_000.0)] = 1.0
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    kl_coefficient: Annotated[float, Field(ge=0.0, le=100.0)] = 0.003
    entropy_coefficient: Annotated[float, Field(ge=0.0, le=100.0)] = 0.04
    head_width: Annotated[int, Field(ge=1, le=8_192)] = 64
    entry_cap: Annotated[int, Field(ge=1)] | None = 6
    credit: Literal["broadcast", "return_to_go", "evidence"] = "broadcast"
    policy_weights: Literal["head", "lora", "all"] = "head"
    lora_rank: Annotated[int, Field(ge=1, le=1_024)] = 8
    eval_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 10
    eval_episodes: Annotated[int, Field(ge=1, le=1_000_000)] = 150
    patience: Annotated[int, Field(ge=1, le=10_000)] = 8
    final_episodes: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    threads: Annotated[int, Field(ge=1, le=1_024)] = 1


class TrainingConfig(Section):
    stage1: Stage1Config = Stage1Config()
    stage2: Stage2Config = Stage2Config()


class AthenaConfig(Section):
    """The whole configuration. Relative directories are relative to the working directory."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    runs_dir: Path = Path("runs")
    data_dir: Path = Path("data")
    checkpoint_dir: Path = Path("checkpoints")
    max_unpacked_bytes: Annotated[int, Field(ge=1)] = 2_147_483_648
    data: DataConfig = DataConfig()
    trading: TradingConfig = TradingConfig()
    agents: AgentsConfig = AgentsConfig()
    model: ModelConfig = ModelConfig()
    olmoe: OLMoEIntegrationConfig = OLMoEIntegrationConfig()
    memory: MemoryConfig = MemoryConfig()
    training: TrainingConfig = TrainingConfig()
    communication: CommunicationConfig = CommunicationConfig()
    evolution: EvolutionConfig = EvolutionConfig()
    learning: LearningConfig = LearningConfig()

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _refuse_what_is_not_built(self, info: ValidationInfo) -> Self:
        origins: Mapping[str, str] = info.context or {}
        for dotted, feature in NOT_BUILT.items():
            if value_of(self, dotted) != _default_of(dotted):
                raise ConfigError(
                    f"{dotted} ({origins.get(dotted, 'set in code')}) is set, "
                    f"but {feature} is not built yet.",
                    "Remove it: this version could only ignore it.",
                )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """The defaults with one file over them; variables and --set play no part. Raises: ConfigError."""
        layer = layers.file_layer(Path(path))
        return cls._from_resolved(layers.resolve(cls, [layer]))

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """As `from_yaml`, from a JSON file, whatever its name. Raises: ConfigError."""
        layer = layers.file_layer(Path(path), json_text=True)
        return cls._from_resolved(layers.resolve(cls, [layer]))

    @classmethod
    def _from_dict(cls, tree: Mapping[str, Any], source: str = "a dictionary") -> Self:
        return cls._from_resolved(layers.resolve(cls, [layers.Layer(source, tree)]))

    @classmethod
    def _from_resolved(cls, resolved: layers.Resolved) -> Self:
        try:
            return cls.model_validate(resolved.tree(), context=resolved.origins)
        except ValidationError as error:
            raise layers.explain(error, cls, resolved.origins) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON or YAML."""
        return self.model_dump(mode="json")

    def save_yaml(self, path: str | Path) -> None:
        """Write every key, atomically; `from_yaml` reads back an equal configuration."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        write_atomic(Path(path), text.encode())


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration with, for each dotted key, where its value came from."""

    config: AthenaConfig
    origins: Mapping[str, str]


def load(
    files: Sequence[str | Path] = (),
    env: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    tree: Mapping[str, Any] | None = None,
) -> LoadedConfig:
    """The shipped default, then `files` in order, variables, `--set`, `tree`, `options`; later wins.

    `options` are top-level keys that have a command-line option of their own (`seed`: `--seed`). `env`
    is the environment to read, none by default. `tree` are nested mappings given in code. A file that does
    not exist but bears the name of a shipped one (`paper.yaml`) means that one.
    Raises: ConfigError.
    """
    resolved = layers.resolve(
        AthenaConfig,
        [
            _shipped_layer("default.yaml"),
            *(_chosen_layer(Path(file)) for file in files),
            layers.env_layer(AthenaConfig, env or {}),
            layers.set_layer(AthenaConfig, sets),
            layers.Layer("a dictionary", tree or {}),
            layers.option_layer(options or {}),
        ],
    )
    return LoadedConfig(AthenaConfig._from_resolved(resolved), resolved.origins)


def _chosen_layer(path: Path) -> layers.Layer:
    if not path.exists() and path.parent == Path() and path.name in shipped_names():
        return _shipped_layer(path.name, source=f"the shipped {path.name}")
    return layers.file_layer(path)


def _shipped_layer(name: str, source: str = layers.DEFAULT_ORIGIN) -> layers.Layer:
    try:
        text = (resources.files("configs") / name).read_text(encoding="utf-8")
    except (OSError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"the shipped configs/{name} cannot be read: {error}.", "Install Athena again."
        ) from None
    layer = layers.yaml_layer(text, source)
    return layers.Layer(source, layer.tree)


def shipped_names() -> frozenset[str]:
    """The names of the configuration files that are installed with Athena."""
    return frozenset(
        entry.name for entry in resources.files("configs").iterdir() if entry.name.endswith(".yaml")
    )


def config_hash(config: AthenaConfig) -> str:
    """12 hexadecimal digits of SHA-256 over every value that could change a result."""
    values = {key: value for key, value in config.to_dict().items() if key not in PLACES}
    return short_hash(values)


def short_hash(values: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of SHA-256 over plain values as canonical JSON."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def value_of(config: BaseModel, dotted: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def _default_of(dotted: str) -> Any:
    owner: type[BaseModel] = AthenaConfig
    *sections, key = dotted.split(".")
    for section in sections:
        owner = layers.as_section(owner.model_fields[section].annotation) or owner
    return owner.model_fields[key].default
