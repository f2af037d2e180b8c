"""Two questions to `athena train stage1`, answered on data that no training saw (docs/log-stage1.md).

    python3 benchmarks/stage1_experiments.py planted [--effect D] [--shuffled answers|phrase]
        a phrase that precedes five better days, among simulated prices
    python3 benchmarks/stage1_experiments.py stocknet --folder DIR
        StockNet's posts and prices

Each trains and evaluates in one call; the result is JSON on stdout. StockNet (Xu and Cohen, ACL 2018) is no
part of Athena: DIR holds `prices.parquet` and `tweets.parquet`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig
from core.types import MarketState
from models.forecaster import LogisticRegression, OLMoEForecaster, climatology
from models.olmoe import OLMoEModel
from models.scores import brier_scores, log_scores, mean_interval
from models.state import HORIZON_BARS
from trading.sources.load import load_panel
from training.data.corpus import clean_corpus, deduplicate
from training.data.importers import read_texts
from training.data.samples import NewsBook, Sample, build_samples, cut
from training.data.split import Series, symbol_series
from training.nano.evaluate import Cases, baseline_chances, cases
from training.nano.simulate import simulate
from training.stage1_finetune.finetune import stage1_finetune
from training.stage1_finetune.trainer import OrderedRows, collate, token_losses

PHRASE = "insiders report unusual demand"
FILLER = (
    *("the", "board", "met", "and", "spoke", "of", "plans", "for", "staff", "offices", "shipping"),
    *("prices", "in", "several", "regions", "without", "news", "on", "orders", "from", "clients"),
    *("abroad", "who", "asked", "about", "paper", "steel", "water", "glass", "bread"),
)
EFFECT = 0.4
"""Drift of the five days after the phrase, in deviations of five days' returns."""
TEXT_EVERY_BARS = 5
STOCKNET_TRAIN_END = datetime(2015, 6, 30, 23, 59, 59, tzinfo=UTC)
STOCKNET_STARTS = (datetime(2015, 9, 1, tzinfo=UTC), datetime(2015, 10, 1, tzinfo=UTC))
"""The test part with September 2015, and without it."""
RIDGES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
REGRESSION_WORDS = 200
"""Words of posts that the regression with posts reads beside the numbers."""


def planted_world(
    folder: Path, *, paths: int, bars: int, seed: int, effect: float, shuffled: bool
) -> list[Path]:
    """Simulated prices and one text a week and symbol, half of them with the phrase.

    Returns after a bar that is told of drift by `effect` deviations of five days' returns; `shuffled` tells
    of other bars than those.
    """
    rng = np.random.default_rng([seed, 17])
    worlds = simulate(paths, bars, seed=seed)
    days = pd.bdate_range("2010-01-04", periods=bars)
    prices, texts = [], []
    for column in range(paths):
        symbol = f"S{seed % 1000:03d}X{column:03d}"
        returns = np.diff(np.log(worlds.close[:, column]), prepend=np.log(worlds.close[0, column]))
        deviation = returns.std()
        chosen = rng.random(bars) < 0.5
        told = chosen if not shuffled else rng.permutation(chosen)
        for bar in range(0, bars - HORIZON_BARS, TEXT_EVERY_BARS):
            if chosen[bar]:
                returns[bar + 1 : bar + 1 + HORIZON_BARS] += (
                    effect * deviation / np.sqrt(HORIZON_BARS)
                )
            words = " ".join(rng.choice(FILLER, 8))
            text = (
                f"{words} {PHRASE}" if told[bar] else f"{words} {' '.join(rng.choice(FILLER, 4))}"
            )
            texts.append((days[bar].tz_localize("UTC") + pd.Timedelta(hours=18), symbol, text))
        close = 50.0 * np.exp(np.cumsum(returns))
        prices.append(pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "symbol": symbol,
                      "open": close, "high": close, "low": close, "close": close,
                      "volume": worlds.volume[:, column].round()}))  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(prices).to_parquet(folder / "prices.parquet", index=False)
    table = pd.DataFrame(texts, columns=["time", "symbol", "text"])
    table["licence"] = "made up"
    table.to_parquet(folder / "texts.parquet", index=False)
    return [folder / "texts.parquet", folder / "prices.parquet"]


def samples_of(
    files: list[Path], first: datetime | None = None
) -> tuple[list[Sample], list[Series]]:
    news = NewsBook(clean_corpus(read_texts(files[0]).documents).documents)
    panel = load_panel(files[1])
    series = [cut(symbol_series(panel, each), first, None, HORIZON_BARS) for each in panel.symbols]
    return build_samples(series, news), series


def figures(chances: dict[str, Any], answers: Any, dates: Any) -> dict[str, Any]:
    """Log score and Brier of each, and the differences to climatology with 95 % intervals."""
    logs = {name: log_scores(each, answers) for name, each in chances.items()}
    briers = {name: brier_scores(each, answers) for name, each in chances.items()}
    found: dict[str, Any] = {"n": len(answers)}
    for name in chances:
        gap = logs[name] - logs["climatology"]
        rough = briers[name] - briers["climatology"]
        found[name] = {
            "log_score": float(logs[name].mean()), "brier": float(briers[name].mean()),
            "over_climatology": float(gap.mean()), "interval": mean_interval(gap, dates),
            "brier_over_climatology": float(rough.mean()), "brier_interval": mean_interval(rough, dates),
        }  # fmt: skip
    return found


def planted(out: Path, config: AthenaConfig, *, effect: float, shuffled: str) -> dict[str, Any]:
    told_wrong = shuffled == "phrase"
    files = planted_world(
        out / "train", paths=60, bars=500, seed=771_001, effect=effect, shuffled=told_wrong
    )
    result = stage1_finetune(config, data=files, advance=tell)
    fresh = planted_world(
        out / "test", paths=15, bars=400, seed=771_902, effect=effect, shuffled=False
    )
    known, tested = (
        told(cases(series), found) for found, series in map(samples_of, (files, fresh))
    )
    tested = chosen(tested, np.array([bool(state.news) for state in tested.states]))
    chances = {"climatology": np.tile(climatology(known.answers), (len(tested.answers), 1))}
    for name, (past, present) in {
        "logistic_regression": (known, tested),
        "logistic_regression_with_texts": with_words(known, tested),
    }.items():
        fitted = LogisticRegression.fit(past.numbers, past.answers, best_ridge(past))
        chances[name] = fitted.chances(present.numbers)
    model = OLMoEModel(config.olmoe).load()
    chances["before"] = OLMoEForecaster(model).forecast(tested.states)
    model.load_lora(result.checkpoint)
    forecaster = OLMoEForecaster(model, follow_training=True)
    chances["after"] = forecaster.forecast(tested.states)
    chances["after_without_texts"] = forecaster.forecast(
        [replace(state, news=()) for state in tested.states]
    )
    return {
        "effect": effect, "shuffled": shuffled, "run": result.to_dict(),
        "test": figures(chances, tested.answers, tested.dates),
        "of_the_texts": {
            "model": gain(chances, "after", "after_without_texts", tested),
            "logistic_regression": gain(
                chances, "logistic_regression_with_texts", "logistic_regression", tested
            ),
        },
    }  # fmt: skip


def gain(chances: dict[str, Any], name: str, other: str, tested: Cases) -> dict[str, Any]:
    """By how much the log score of one is above that of another."""
    gap = log_scores(chances[name], tested.answers) - log_scores(chances[other], tested.answers)
    return {"log_score": float(gap.mean()), "interval": mean_interval(gap, tested.dates)}


def told(found: Cases, samples: Sequence[Sample]) -> Cases:
    """The same cases, their states with the texts of the samples of the same symbol and time."""
    by_key = {(each.state.symbol, each.state.as_of): each.state for each in samples}
    states = tuple(by_key.get((each.symbol, each.as_of), each) for each in found.states)
    return replace(found, states=states)


def chosen(found: Cases, use: Any) -> Cases:
    """The cases where `use` [S] holds."""
    return Cases(
        tuple(state for state, used in zip(found.states, use, strict=True) if used),
        found.numbers[use], found.ewma_ratio[use], found.answers[use], found.dates[use],
    )  # fmt: skip


def with_words(known: Cases, tested: Cases) -> tuple[Cases, Cases]:
    """Both with the commonest words of the known texts beside their numbers, for the regression."""
    words = common_words(known.states)
    first, second = (
        replace(each, numbers=np.hstack([each.numbers, word_table(each.states, words)]))
        for each in (known, tested)
    )
    return first, second


def stocknet(out: Path, config: AthenaConfig, folder: Path) -> dict[str, Any]:
    prices = pd.read_parquet(folder / "prices.parquet")
    tweets = pd.read_parquet(folder / "tweets.parquet")
    symbols = sorted(prices["symbol"].unique())
    held = set(symbols[1::3])
    until = pd.Timestamp("2015-08-31", tz="UTC")
    train, test = out / "train", out / "test"
    for place, mine in ((train, False), (test, True)):
        place.mkdir(parents=True, exist_ok=True)
        bars = prices[prices["symbol"].isin(held) == mine]
        posts = tweets[tweets["symbol"].isin(held) == mine]
        if not mine:
            bars = bars[pd.to_datetime(bars["date"], utc=True) <= until]
            posts = posts[posts["created_at"] <= until]
        bars.to_parquet(place / "prices.parquet", index=False)
        posts.to_parquet(place / "tweets.parquet", index=False)
    files = [train / "tweets.parquet", train / "prices.parquet"]
    result = stage1_finetune(config, data=files, advance=tell)
    first = STOCKNET_STARTS[0]
    last_text = tweets["created_at"].max().to_pydatetime()
    found, series = samples_of([test / "tweets.parquet", test / "prices.parquet"], first)
    known_samples, known_series = samples_of(files)
    known = told(
        cases([cut(each, None, STOCKNET_TRAIN_END, HORIZON_BARS) for each in known_series]),
        known_samples,
    )
    ends = last_text + timedelta(days=11)
    tested = told(
        cases([cut(each, None, ends, HORIZON_BARS) for each in series]),
        [each for each in found if each.state.as_of <= last_text],
    )
    chances = baseline_chances(known, tested)
    past, present = with_words(known, tested)
    ridge = best_ridge(past)
    # The test part is shorter than a year: walking forward, this is fitted once too.
    fitted = LogisticRegression.fit(past.numbers, past.answers, ridge)
    chances["logistic_regression_with_posts"] = fitted.chances(present.numbers)
    model = OLMoEModel(config.olmoe).load()
    chances["before"] = OLMoEForecaster(model).forecast(tested.states)
    # A post that nearly repeats an earlier one, of training too, is no test.
    every = [
        each for name in (train, test) for each in read_texts(name / "tweets.parquet").documents
    ]
    texts = [
        each
        for each in deduplicate(clean_corpus(every)).documents
        if each.time >= first and each.symbol in held
    ]
    before = post_losses(model, [each.text for each in texts])
    model.load_lora(result.checkpoint)
    chances["after"] = OLMoEForecaster(model, follow_training=True).forecast(tested.states)
    after = post_losses(model, [each.text for each in texts])
    dates = np.array([each.time.date() for each in texts], "datetime64[D]")
    plot(out / "reliability.png", chances["after"], tested.answers)
    parts = {}
    for start in STOCKNET_STARTS:
        day = np.datetime64(start.date())
        asked, read = tested.dates >= day, dates >= day
        parts[str(day)] = {
            "posts": post_figures(before[0][read], after[0][read], before[1][read], dates[read]),
            "states_with_posts": int(
                sum(
                    bool(state.news) for state, use in zip(tested.states, asked, strict=True) if use
                )
            ),
            "forecast": figures(
                {name: each[asked] for name, each in chances.items()},
                tested.answers[asked],
                tested.dates[asked],
            ),
        }
    return {"run": result.to_dict(), "ridge_with_posts": ridge, "test_from": parts}


def post_figures(before: Any, after: Any, tokens: Any, dates: Any) -> dict[str, Any]:
    """Perplexity of posts from their losses before and after, [P]; the interval is of the mean difference a
    token over dates."""
    change = (after - before) * len(tokens) / tokens.sum()
    return {
        "n": len(tokens), "tokens": int(tokens.sum()),
        "perplexity_before": float(np.exp(before.sum() / tokens.sum())),
        "perplexity_after": float(np.exp(after.sum() / tokens.sum())),
        "token_loss_difference": float(change.mean()),
        "interval": mean_interval(change, dates),
    }  # fmt: skip


def best_ridge(known: Cases) -> float:
    """The ridge that forecasts the last sixth of the known dates best from those before."""
    days = np.unique(known.dates)
    edge = days[len(days) * 5 // 6]
    early, late = known.dates < edge - np.timedelta64(10, "D"), known.dates >= edge

    def score(ridge: float) -> float:
        fitted = LogisticRegression.fit(known.numbers[early], known.answers[early], ridge)
        given = fitted.chances(known.numbers[late])
        return float(log_scores(given, known.answers[late]).mean())

    return max(RIDGES, key=score)


def common_words(states: Sequence[MarketState]) -> list[str]:
    """The words that stand in most states' posts, in alphabetical order."""
    counts = Counter(word for state in states for word in words_of(state))
    return sorted(sorted(counts, key=lambda word: (-counts[word], word))[:REGRESSION_WORDS])


def word_table(states: Sequence[MarketState], words: Sequence[str]) -> Any:
    """Which of the words stand in each state's posts, and whether it has any: [S, W + 1]."""
    place = {word: at for at, word in enumerate(words)}
    table = np.zeros((len(states), len(words) + 1))
    for row, state in enumerate(states):
        table[row, -1] = bool(state.news)
        table[row, [place[word] for word in words_of(state) if word in place]] = 1.0
    return table


def words_of(state: MarketState) -> set[str]:
    return set(re.findall(r"[a-z]{2,}", " ".join(line.text for line in state.news).casefold()))


def post_losses(model: OLMoEModel, texts: list[str]) -> tuple[Any, Any]:
    """Sum of the losses of each post's tokens after an end of text, and their number: [P], [P]."""
    import torch

    from training.stage1_finetune.prepare import Row

    end = int(model.backbone.config.eos_token_id)
    rows = OrderedRows([Row((end, *ids), 1) for ids in model.tokenizer.encode_batch(texts)], 1.0)
    order = sorted(range(len(texts)), key=lambda at: len(rows[at]["tokens"]))
    sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
    with torch.no_grad():
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            batch = collate([rows[at] for at in part])
            weights = batch["weights"][:, 1:]
            sums[part] = (token_losses(model.backbone, batch) * weights).sum(1).numpy()
            counts[part] = weights.sum(1).numpy()
    return sums, counts


def plot(path: Path, chances: Any, answers: Any) -> None:
    """Reliability: how often what was given a chance came, over ten equally filled bins."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    came = np.zeros_like(chances)
    came[np.arange(len(answers)), answers] = 1.0
    given, order = chances.ravel(), np.argsort(chances.ravel())
    bins = np.array_split(order, 10)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 0.6], [0, 0.6], color="grey", linewidth=1)
    axes.plot(
        [given[each].mean() for each in bins], [came.ravel()[each].mean() for each in bins], "o-"
    )
    axes.set_xlabel("chance given")
    axes.set_ylabel("share that came")
    figure.savefig(path, dpi=110)


def tell(done: int, whole: int | None, note: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"step {done} of {whole}: {note}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["planted", "stocknet"])
    parser.add_argument("--shuffled", choices=["no", "answers", "phrase"], default="no")
    parser.add_argument("--effect", type=float, default=EFFECT)
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/stocknet"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    stage1: dict[str, Any] = {"steps": options.steps, "eval_steps": 80, "batch_rows": 16}
    if options.name == "planted":
        stage1["shuffled_answers"] = options.shuffled == "answers"
        stage1 |= {"language_frac": 0.0, "context_tokens": 256, "learning_rate": 3e-3}
    else:
        stage1 |= {
            "train_end": f"{STOCKNET_TRAIN_END:%Y-%m-%d}",
            "language_frac": 0.25,
            "context_tokens": 256,
        }
    config = AthenaConfig._from_dict(
        {
            "checkpoint_dir": str(options.out / "checkpoints"),
            "olmoe": {"model_path": str(options.model)} if options.model else {},
            "training": {"stage1": stage1},
        }
    )
    if options.name == "planted":
        found = planted(options.out, config, effect=options.effect, shuffled=options.shuffled)
    else:
        found = stocknet(options.out, config, options.folder)
    sys.stdout.write(json.dumps(found, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
