"""The configuration: frozen models, and the layers they are read from.

Owns names, defaults and limits of every setting, and where each value came from. Refuses to know what a
setting does. A field exists only when something reads it or `docs/interface.md` promises it; a promised
one whose feature is not built yet is refused when set. Secrets come from the environment and are no fields.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Frac = Annotated[float, Field(ge=0.0, le=1.0)]
Bps = Annotated[float, Field(ge=0.0, le=10_000.0)]
Usd = Annotated[float, Field(ge=0.0)]
Bars = Annotated[int, Field(ge=1, le=100_000)]


class Section(BaseModel):
    """A section of the configuration: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """How bars are read. `calendar` is an exchange_calendars name (XNYS, 24/7, ...)."""

    calendar: str = "XNYS"
    bar_label: Literal["open", "close"] = "open"
    mock_symbols: Annotated[int, Field(ge=1, le=5_000)] = 5
    mock_bars: Annotated[int, Field(ge=2, le=1_000_000)] = 1_000


class TradingConfig(Section):
    """The account, its costs and how orders fill; `trading/costs.py` and `trading/broker.py` say how."""

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
    allow_short: bool = False
    warmup_bars: Annotated[int, Field(ge=0)] = 252
    delisting_bars: Bars = 10
    poll_seconds: Annotated[float, Field(ge=0.0)] = 60.0


class AnalystConfig(Section):
    """Indicator windows of the market analyst, in bars, and the horizon of its views."""


class StrategyConfig(Section):
    """The strategy agent: four signals, their weights in the mix, the volatility target, the band."""


class RiskConfig(Section):
    """The risk manager's limits; null switches a limit off."""


class ExecutionConfig(Section):
    """How accepted targets become orders."""


class AgentsConfig(Section):
    analyst: AnalystConfig = AnalystConfig()
    strategy: StrategyConfig = StrategyConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
