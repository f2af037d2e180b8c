from __future__ import annotations

import numpy as np
import pytest

from models.render import BUCKETS, QUESTION
from trading.sources.load import load_panel
from training.data.split import TEST, TRAIN, TRAINING_CUTOFF, VALIDATION, Series, part_series
from training.nano.corpus import prose, real_narratives, simulated_narratives
from training.nano.simulate import SIMULATED, simulate
from training.nano.tokenizer import MARKET_WORDS, train_tokenizer


@pytest.fixture(scope="module")
def series() -> dict[str, list[Series]]:
    panel = load_panel()
    return {
        name: part_series(panel, part)
        for name, part in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
    }


def test_no_symbol_and_no_year_is_in_two_parts(series: dict[str, list[Series]]) -> None:
    symbols = [each.symbol for part in series.values() for each in part]
    assert len(symbols) == len(set(symbols)) == 5
    assert TRAIN.end < VALIDATION.start <= VALIDATION.end < TEST.start
    assert TRAIN.end == TRAINING_CUTOFF


def test_every_answer_lies_inside_its_part(series: dict[str, list[Series]]) -> None:
    for name, part in (("train", TRAIN), ("validation", VALIDATION)):
        for each in series[name]:
            assert each.times[each.last + 5].astype("datetime64[D]") <= np.datetime64(part.end)
            assert each.times[each.last + 6].astype("datetime64[D]") > np.datetime64(part.end)
            assert each.times[each.first].astype("datetime64[D]") >= np.datetime64(part.start)


def test_the_training_narratives_know_nothing_after_the_cutoff(
    series: dict[str, list[Series]],
) -> None:
    texts = list(real_narratives(series["train"], seed=0))
    years = {text[5:9] for text in texts if text[:4] in {"AAPL"} and text[4] == " "}
    assert max(years) == "2007"
    # Altering every price after 2007 changes no narrative.
    panel = load_panel(symbols=("AAPL", "IBM"))
    late = panel.times.astype("datetime64[D]") > np.datetime64(TRAINING_CUTOFF)
    panel.stack[:, late] *= 1.7
    assert list(real_narratives(part_series(panel, TRAIN), seed=0)) == texts


def test_simulated_narratives_are_labelled_and_answered() -> None:
    texts = list(simulated_narratives(3, seed=5))
    assert texts == list(simulated_narratives(3, seed=5))
    assert texts != list(simulated_narratives(3, seed=6))
    named = [text for text in texts if not text.startswith("A share")]
    assert all(SIMULATED in text for text in named)
    asked = [text for text in texts if QUESTION in text]
    assert len(asked) > len(texts) / 2
    assert {text.rpartition(" ")[2] for text in asked} == set(BUCKETS)


def test_masked_narratives_do_not_name_the_symbol() -> None:
    texts = [text for text in simulated_narratives(5, seed=5) if text.startswith("A share")]
    assert texts
    assert not any(SIMULATED in text for text in texts)


def test_simulated_paths_have_the_shape_of_returns() -> None:
    paths = simulate(40, 500, seed=1)
    returns = paths.close[1:] / paths.close[:-1] - 1.0
    yearly = returns.std(axis=0) * np.sqrt(252)
    assert 0.05 < np.median(yearly) < 1.0
    squares = (returns - returns.mean(axis=0)) ** 2
    lagged = [np.corrcoef(column[:-1], column[1:])[0, 1] for column in squares.T]
    assert np.mean(lagged) > 0.03
    assert (paths.volume > 0).all()


def test_prose_is_held_out_by_document() -> None:
    documents = prose()
    assert len(documents.train) > 4000
    assert len(documents.train) // len(documents.validation) == 19
    assert not set(documents.train) & set(documents.validation)
    assert all(document.isascii() for document in documents.train)


def test_prose_holds_no_market_year_after_the_cutoff() -> None:
    import re

    text = "\n".join([*prose().train, *prose().validation])
    assert not re.findall(r"\b(?:200[89]|201\d|202\d)\b", text)


def test_the_tokenizer_splits_numbers_and_keeps_market_words_whole() -> None:
    tokenizer = train_tokenizer(list(prose().train[:300]))
    for word in MARKET_WORDS:
        assert len(tokenizer.encode(f" {word}").ids) == 1, word
    tokens = tokenizer.encode("price 123.45").tokens
    assert tokens[-6:] == ["Ġ1", "2", "3", ".", "4", "5"]
    odd = "naïve 価格 \x07 <|endoftext|>"
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(odd).ids, skip_special_tokens=False) == odd
