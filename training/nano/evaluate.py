"""`athena model eval`: how well a model predicts text and markets it never saw, beside baselines.

Perplexity on the validation split's narratives (MSFT 2008-2009) and on held-out prose, against a Kneser-Ney
trigram of the same tokens, trained on what the model was trained on. Forecasts on the test split (GOOG, FB
from 2010) or on a file, and on simulated paths of seeds that no training used. Baselines are refitted walking
forward, once a year, on the training split and on every test answer known by then; the model never is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError, UsageError
from core.types import MarketState
from models.forecaster import (
    FloatArray,
    IntArray,
    LogisticRegression,
    OLMoEForecaster,
    climatology,
    ewma_chances,
    ewma_volatility,
)
from models.scores import brier_scores, log_scores, mean_interval
from models.state import HORIZON_BARS, WARM_UP_BARS, StateNumbers, buckets, utc
from training.data.split import (
    TEST,
    TRAIN,
    TRAINING_CUTOFF,
    VALIDATION,
    Series,
    part_series,
    symbol_series,
)
from training.nano.corpus import prose, real_narratives
from training.nano.kneser_ney import KneserNeyTrigram
from training.nano.simulate import simulate

if TYPE_CHECKING:
    from core.config import AthenaConfig
    from models.olmoe import OLMoEModel
    from trading.panel import Panel

LOG = logging.getLogger(__name__)
Advance = Callable[[int, "int | None", str], None]

SIMULATED_TEST_SEED = 990_001
SIMULATED_TEST_PATHS = 60
SIMULATED_TEST_BARS = 600
VALIDATION_SEED = 990_002
REFIT_DAYS = 365
BASELINES = ("climatology", "ewma_volatility", "logistic_regression")


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Units: per token, of the model and of the trigram, over the same `tokens`."""

    model: float
    trigram: float
    tokens: int


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """`log_score` is a mean natural logarithm (higher is better) with its interval; `n` answers."""

    name: str
    log_score: float
    brier: float
    n: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ForecastDifference:
    """`name` less `baseline`: above 0 means that `name` is better (for Brier: below 0)."""

    name: str
    baseline: str
    figure: str
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ForecastTable:
    rows: tuple[ForecastRow, ...]
    differences: tuple[ForecastDifference, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything of one evaluation; `expert_load_frac` [layers][experts] are shares of the routed tokens."""

    model: str
    training_cutoff: str
    perplexity: dict[str, Perplexity]
    forecast: ForecastTable
    simulated: ForecastTable
    expert_load_frac: tuple[tuple[float, ...], ...]
    split: dict[str, Any]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """States to forecast and what came.

    Shapes: `states` S; `numbers` [S, F]; `ewma_ratio`, `answers`, `dates` [S].
    """

    states: tuple[MarketState, ...]
    numbers: FloatArray
    ewma_ratio: FloatArray
    answers: IntArray
    dates: np.ndarray[Any, np.dtype[np.datetime64]]


def evaluate(
    config: AthenaConfig,
    *,
    data: str | Path | None = None,
    horizon: int = HORIZON_BARS,
    seed: int = 0,
    advance: Advance | None = None,
) -> Evaluation:
    """Evaluate the configured model; `data` takes the place of the test split.

    Raises: UsageError for another horizon than the question asks about, DataError for data that cannot be
    read or has no bar to forecast.
    """
    from models.serving import load_model, training_cutoff
    from trading.sources.load import load_panel

    if horizon != HORIZON_BARS:
        raise UsageError(
            f"--horizon is {horizon}; the model is asked about {HORIZON_BARS} days.",
            f"Leave it out, or give {HORIZON_BARS}.",
        )
    tell = advance or (lambda done, total, note: None)
    tell(0, 5, "loading the model")
    sample = load_panel()
    chosen = _test_series(config, data, sample)
    tested = cases(chosen)
    model = load_model(config.olmoe)
    cutoff = training_cutoff(config.olmoe) or model.training_cutoff
    tell(1, 5, "narratives")
    train, validation = part_series(sample, TRAIN), part_series(sample, VALIDATION)
    texts = list(real_narratives(validation, seed=VALIDATION_SEED))
    from training.nano.prepare import narratives
    from training.nano.preset import NANO

    narrative_figure = perplexity(model, narratives(NANO, sample, seed), texts)
    tell(2, 5, "prose")
    free = prose()
    prose_figure = perplexity(model, free.train, free.validation)
    tell(3, 5, "forecasts")
    forecast = forecast_table(model, cases(train), tested, seed=seed)
    tell(4, 5, "simulated forecasts")
    simulated = forecast_table(
        model, simulated_cases(1, paths=200, bars=400), simulated_cases(0), seed=seed
    )
    tell(5, 5, "done")
    return Evaluation(
        model=model.name,
        training_cutoff=cutoff.isoformat(),
        perplexity={"narratives": narrative_figure, "prose": prose_figure},
        forecast=forecast,
        simulated=simulated,
        expert_load_frac=expert_load(model, [*texts[:100], *free.validation[:50]]),
        split={
            "train_symbols": list(TRAIN.symbols),
            "test_symbols": [each.symbol for each in chosen],
            "train_end": TRAINING_CUTOFF.isoformat(),
            "test_start": str(tested.dates.min())[:10],
        },
        warnings=seen_in_training(tested, cutoff),
    )


# --- text


def perplexity(model: OLMoEModel, train: Sequence[str], held_out: Sequence[str]) -> Perplexity:
    """Of held-out documents, each after an end-of-text, in rows of the model's context; the trigram sees
    the tokens across the rows' borders, the model does not."""
    import torch

    from training.nano.pretrain import pack

    end = model.backbone.config.eos_token_id
    context = min(model.context_tokens, 512)
    tokens = model.tokenizer
    rows = pack(tokens.encode_batch(held_out), end, context).astype(np.int64)
    losses = []
    with torch.no_grad():
        for start in range(0, len(rows), 8):
            batch = torch.from_numpy(rows[start : start + 8]).to(model.device)
            logits = model.backbone(input_ids=batch[:, :-1], use_cache=False).logits
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits.float().flatten(0, 1), batch[:, 1:].flatten(), reduction="none"
                ).cpu()
            )
    loss = torch.cat(losses).double().numpy()[1:]
    stream = np.concatenate([rows[:, :-1].ravel(), rows[-1:, -1]])
    trigram = KneserNeyTrigram(
        _stream(tokens.encode_batch(train), end), model.backbone.config.vocab_size
    )
    return Perplexity(float(np.exp(loss.mean())), trigram.perplexity(stream), len(loss))


def _stream(documents: Sequence[Sequence[int]], end: int) -> IntArray:
    return np.fromiter(
        (token for document in documents for token in (end, *document)), dtype=np.int64
    )


def expert_load(model: OLMoEModel, texts: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Which share of the tokens' expert places each expert takes, by layer; balanced is 1 / experts."""
    import torch

    config = model.backbone.config
    counts = torch.zeros((config.num_hidden_layers, config.num_experts))
    with torch.no_grad():
        for text in texts:
            ids = model.tokenizer.encode(text)[: model.context_tokens]
            if not ids:
                continue
            inputs = torch.tensor([ids], device=model.device)
            routed = model.backbone(
                input_ids=inputs, output_router_logits=True, use_cache=False
            ).router_logits
            for layer, logits in enumerate(routed):
                picked = logits.topk(config.num_experts_per_tok, dim=-1).indices.flatten().cpu()
                counts[layer] += torch.bincount(picked, minlength=config.num_experts)
    shares = counts / counts.sum(dim=1, keepdim=True)
    return tuple(tuple(round(each, 4) for each in layer) for layer in shares.tolist())


# --- forecasts


def cases(series: Sequence[Series]) -> Cases:
    """Every bar of the series whose state and answer are known, in time order. Raises: DataError without
    any."""
    states: list[MarketState] = []
    numbers, ratios, answers, dates = [], [], [], []
    for each in series:
        volatility = each.numbers.volatility
        ratio = np.full(len(volatility), np.nan)
        moving = volatility > 0.0
        ratio[moving] = ewma_volatility(each.numbers.returns)[moving] / volatility[moving]
        table = number_table(each.numbers)
        first = max(each.first, WARM_UP_BARS)
        for bar in range(first, each.last + 1):
            if each.answers[bar] < 0 or not np.isfinite(ratio[bar]):
                continue
            states.append(each.numbers.at(bar, symbol=each.symbol, as_of=utc(each.times[bar])))
            numbers.append(table[bar])
            ratios.append(ratio[bar])
            answers.append(each.answers[bar])
            dates.append(each.times[bar].astype("datetime64[D]"))
    if not dates:
        raise DataError(
            "no bar can be forecast and checked.",
            f"Give at least {WARM_UP_BARS + HORIZON_BARS + 1} bars of a symbol whose price moves.",
        )
    order = np.argsort(np.array(dates), kind="stable")
    return Cases(
        tuple(states[index] for index in order),
        np.array(numbers)[order],
        np.array(ratios)[order],
        np.array(answers, dtype=np.int64)[order],
        np.array(dates)[order],
    )


def simulated_cases(
    world: int,
    *,
    paths: int = SIMULATED_TEST_PATHS,
    bars: int = SIMULATED_TEST_BARS,
) -> Cases:
    """Every fifth state of GARCH paths without jumps, of seeds that no training used; their dates run from
    2000 on, path beside path."""
    worlds = simulate(paths, bars, seed=SIMULATED_TEST_SEED + world, jumps=False)
    times = np.datetime64("2000-01-03T21:00", "ns") + np.arange(bars) * np.timedelta64(1, "D")
    series = []
    for column, name in enumerate(worlds.names):
        close = worlds.close[:, column]
        answers = buckets(close)
        answers[np.arange(bars) % HORIZON_BARS != 0] = -1
        numbers = StateNumbers.of(close, worlds.volume[:, column])
        series.append(Series(name, times, close, numbers, answers, 0, bars - 1 - HORIZON_BARS))
    return cases(series)


def number_table(numbers: StateNumbers) -> FloatArray:
    """The numbers that the state's text tells, [L, F], for the logistic regression; unknown is 0."""
    scale = np.where(numbers.volatility > 0.0, numbers.volatility, np.nan)
    lagged = []
    for lag in range(HORIZON_BARS):
        shifted = np.full(len(scale), np.nan)
        shifted[lag:] = numbers.returns[: len(scale) - lag]
        lagged.append(shifted / scale)
    columns = [
        np.log(scale),
        np.log(np.maximum(numbers.short_ratio, 1e-3)),
        np.log(np.maximum(numbers.long_ratio, 1e-3)),
        numbers.trend_ratio,
        numbers.drawdown,
        numbers.rsi / 100.0,
        numbers.band_z,
        np.log(np.maximum(numbers.volume_ratio, 1e-3)),
        *lagged,
        *(np.abs(each) for each in lagged),
    ]
    table: FloatArray = np.nan_to_num(np.stack(columns, axis=1), posinf=0.0, neginf=0.0)
    return table


def forecast_table(model: OLMoEModel, known: Cases, tested: Cases, *, seed: int) -> ForecastTable:
    """All forecasters on the same states, and each pair that matters."""
    forecaster = OLMoEForecaster(model, follow_training=model.has_adapter)
    chances = {forecaster.name: forecaster.forecast(tested.states)}
    chances |= baseline_chances(known, tested)
    rows, logs, briers = [], {}, {}
    for name, given in chances.items():
        logs[name] = log_scores(given, tested.answers)
        briers[name] = brier_scores(given, tested.answers)
        interval = mean_interval(logs[name], tested.dates, seed=seed)
        rows.append(
            ForecastRow(
                name,
                float(logs[name].mean()),
                float(briers[name].mean()),
                len(logs[name]),
                interval,
            )
        )
    names = list(chances)
    pairs = [(names[0], other) for other in names[1:]] + [
        (other, "climatology") for other in names[2:]
    ]
    differences = []
    for name, other in pairs:
        for figure, scores in (("log_score", logs), ("brier", briers)):
            gap = scores[name] - scores[other]
            interval = mean_interval(gap, tested.dates, seed=seed)
            differences.append(ForecastDifference(name, other, figure, float(gap.mean()), interval))
    return ForecastTable(tuple(rows), tuple(differences))


def baseline_chances(known: Cases, tested: Cases) -> dict[str, FloatArray]:
    """Chances by each baseline, [S, 5], refitted walking forward.

    Point in time: a block's fit reads the cases in `known` and the tested ones whose answer was known ten
    calendar days before the block begins.
    """
    result = {name: np.empty((len(tested.answers), 5)) for name in BASELINES}
    result["ewma_volatility"] = ewma_chances(tested.ewma_ratio)
    start = tested.dates.min()
    while start <= tested.dates.max():
        end = start + np.timedelta64(REFIT_DAYS, "D")
        block = (tested.dates >= start) & (tested.dates < end)
        past = tested.dates < start - np.timedelta64(10, "D")
        answers = np.concatenate([known.answers, tested.answers[past]])
        numbers = np.concatenate([known.numbers, tested.numbers[past]])
        if block.any():
            result["climatology"][block] = climatology(answers)
            fitted = LogisticRegression.fit(numbers, answers)
            result["logistic_regression"][block] = fitted.chances(tested.numbers[block])
        start = end
    return result


def seen_in_training(tested: Cases, cutoff: date) -> tuple[str, ...]:
    """A warning where forecasts are made for days that the model's training may have seen."""
    seen = int((tested.dates <= np.datetime64(cutoff)).sum())
    if not seen:
        return ()
    return (
        f"{seen} of {len(tested.dates)} forecasts are for days up to {cutoff}, which training may have "
        "seen: figures on them are no test.",
    )


def _test_series(config: AthenaConfig, data: str | Path | None, sample: Panel) -> list[Series]:
    from trading.sources.load import load_panel

    if data is None:
        return part_series(sample, TEST)
    panel = load_panel(data, config=config.data, seed=config.seed, data_dir=config.data_dir)
    return [symbol_series(panel, symbol) for symbol in panel.symbols]
