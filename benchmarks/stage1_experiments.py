"""Two questions to `athena train stage1`, answered on data that no training saw (docs/log-stage1.md).

    python3 benchmarks/stage1_experiments.py planted [--shuffled]     a phrase that precedes five better days
    python3 benchmarks/stage1_experiments.py stocknet --folder DIR    StockNet's posts and prices

StockNet (Xu and Cohen, ACL 2018) is no part of Athena: DIR holds `prices.parquet` and `tweets.parquet`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import AthenaConfig
from models.forecaster import OLMoEForecaster
from models.olmoe import OLMoEModel
from models.scores import brier_scores, log_scores, mean_interval
from models.state import HORIZON_BARS
from trading.sources.load import load_panel
from training.data.corpus import clean_corpus, deduplicate
from training.data.importers import read_texts
from training.data.samples import NewsBook, Sample, build_samples, cut
from training.data.split import Series, symbol_series
from training.nano.evaluate import baseline_chances, cases
from training.nano.simulate import simulate
from training.stage1_finetune.finetune import stage1_finetune
from training.stage1_finetune.trainer import OrderedRows, collate, token_losses

PHRASE = "insiders report unusual demand"
FILLER = (
    *("the", "board", "met", "and", "spoke", "of", "plans", "for", "staff", "offices", "shipping"),
    *("prices", "in", "several", "regions", "without", "news", "on", "orders", "from", "clients"),
    *("abroad", "who", "asked", "about", "paper", "steel", "water", "glass", "bread"),
)
EFFECT = 1.0
"""Drift of the five days after the phrase, in deviations of five days' returns."""
TEXT_EVERY_BARS = 5


def planted_world(folder: Path, *, paths: int, bars: int, seed: int, shuffled: bool) -> list[Path]:
    """Simulated prices and one text a week and symbol, half of them with the phrase."""
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
                    EFFECT * deviation / np.sqrt(HORIZON_BARS)
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


def planted(out: Path, config: AthenaConfig, shuffled: bool) -> dict[str, Any]:
    files = planted_world(out / "train", paths=60, bars=500, seed=771_001, shuffled=shuffled)
    result = stage1_finetune(config, data=files)
    fresh = planted_world(out / "test", paths=15, bars=400, seed=771_902, shuffled=False)
    samples = [each for each in samples_of(fresh)[0] if each.state.news]
    answers = np.array([each.answer for each in samples])
    dates = np.array([each.state.as_of.date() for each in samples], "datetime64[D]")
    trained, _ = samples_of(files)
    counts = np.bincount([each.answer for each in trained], minlength=5) + 1.0
    chances = {"climatology": np.tile(counts / counts.sum(), (len(answers), 1))}
    model = OLMoEModel(config.olmoe).load()
    states = [each.state for each in samples]
    chances["before"] = OLMoEForecaster(model).forecast(states)
    model.load_lora(result.checkpoint)
    chances["after"] = OLMoEForecaster(model, follow_training=True).forecast(states)
    without = [replace(state, news=()) for state in states]
    chances["after_without_texts"] = OLMoEForecaster(model, follow_training=True).forecast(without)
    return {"run": result.to_dict(), "test": figures(chances, answers, dates)}


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
    result = stage1_finetune(config, data=files)
    first = datetime(2015, 9, 1, tzinfo=UTC)
    last_text = tweets["created_at"].max().to_pydatetime()
    found, series = samples_of([test / "tweets.parquet", test / "prices.parquet"], first)
    posted = {
        (each.state.symbol, each.bar): each.state for each in found if each.state.as_of <= last_text
    }
    _, known_series = samples_of(files)
    known = cases(
        [cut(each, None, datetime(2015, 6, 30, tzinfo=UTC), HORIZON_BARS) for each in known_series]
    )
    ends = last_text + timedelta(days=1)
    tested_series = [cut(each, None, ends + timedelta(days=10), HORIZON_BARS) for each in series]
    tested = cases(tested_series)
    chances = baseline_chances(known, tested)
    by_key = {(state.symbol, state.as_of): state for state in posted.values()}
    states = [by_key.get((state.symbol, state.as_of), state) for state in tested.states]
    model = OLMoEModel(config.olmoe).load()
    chances["before"] = OLMoEForecaster(model).forecast(states)
    texts = deduplicate(clean_corpus(read_texts(test / "tweets.parquet").documents)).documents
    texts = tuple(each for each in texts if each.time >= first)
    before = post_losses(model, [each.text for each in texts])
    model.load_lora(result.checkpoint)
    chances["after"] = OLMoEForecaster(model, follow_training=True).forecast(states)
    after = post_losses(model, [each.text for each in texts])
    dates = np.array([each.time.date() for each in texts], "datetime64[D]")
    tokens = before[1]
    change = (after[0] - before[0]) * len(tokens) / tokens.sum()
    plot(out / "reliability.png", chances["after"], tested.answers)
    return {
        "run": result.to_dict(),
        "posts": {
            "n": len(texts), "tokens": int(tokens.sum()),
            "perplexity_before": float(np.exp(before[0].sum() / tokens.sum())),
            "perplexity_after": float(np.exp(after[0].sum() / tokens.sum())),
            "token_loss_difference": float(change.mean()),
            "interval": mean_interval(change, dates),
        },
        "with_posts": sum(bool(state.news) for state in states),
        "test": figures(chances, tested.answers, tested.dates),
    }  # fmt: skip


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["planted", "stocknet"])
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/stocknet"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    stage1: dict[str, Any] = {"steps": options.steps, "eval_steps": 80, "batch_rows": 16}
    if options.name == "planted":
        stage1 |= {"language_frac": 0.0, "context_tokens": 256, "learning_rate": 3e-3}
    else:
        stage1 |= {"train_end": "2015-06-30", "language_frac": 0.25, "context_tokens": 256}
    config = AthenaConfig._from_dict(
        {
            "checkpoint_dir": str(options.out / "checkpoints"),
            "olmoe": {"model_path": str(options.model)} if options.model else {},
            "training": {"stage1": stage1},
        }
    )
    if options.name == "planted":
        found = planted(options.out, config, options.shuffled)
    else:
        found = stocknet(options.out, config, options.folder)
    sys.stdout.write(json.dumps(found, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
