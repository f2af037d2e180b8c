"""The corpus: cleaning, repetitions, time, packing, mixing; and every broken file by its message."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError, LookAhead
from tests.conftest import ROOT
from training.data.clean import clean_text
from training.data.corpus import (
    Corpus,
    Document,
    clean_corpus,
    deduplicate,
    describe,
    mix,
    pack,
    require_no_future,
    split_by_time,
)
from training.data.dates import future_date
from training.data.importers import MAX_LINE_BYTES, is_text_file, read_texts

DAY = datetime(2015, 6, 15, 14, tzinfo=UTC)


def document(text: str, days: int = 0, symbol: str = "A") -> Document:
    return Document(DAY + timedelta(days=days), symbol, text, "s", "l")


def test_cleaning_takes_markup_and_odd_forms_out() -> None:
    dirty = "<p>\uff21\uff21\uff30\uff2c&nbsp;rose</p><script>x()</script><br>P&amp;L &lt; 5\x00\u200b  up"
    assert clean_text(dirty) == "AAPL rose\n\nP&L < 5 up"
    assert clean_text("price < 5 & volume > 3") == "price < 5 & volume > 3"


@pytest.mark.parametrize(
    "text",
    [
        "as of 2015-06-16", "on 6/16/2015", "June 16, 2015", "16th of nothing, 16 Jun 2015",
        "by July 2015", "Sept. 1st, 2015",
    ],
)  # fmt: skip
def test_a_later_date_is_found_in_every_spelling(text: str) -> None:
    assert future_date(text, DAY) is not None


@pytest.mark.parametrize(
    "text",
    ["2015-06-15", "June 2015", "in 2016 perhaps", "12/31/2014", "1-800-2016-16", "45/99/2016"],
)
def test_other_numbers_are_no_later_dates(text: str) -> None:
    assert future_date(text, DAY) is None


def test_a_planted_sentence_from_the_future_is_caught() -> None:
    planted = document("Acme closed at 31.20 on 2015-06-22 after the recall", days=0)
    found = clean_corpus([document("Acme rises on good results"), planted])
    assert [each.text for each in found.documents] == ["Acme rises on good results"]
    assert found.dropped == {"names a later date than its own": 1}
    with pytest.raises(LookAhead, match="2015-06-22"):
        require_no_future([(planted.text, planted.time)])


def test_of_near_repetitions_the_earliest_stays() -> None:
    words = "the company raised its guidance for the whole year after a very strong second quarter in asia"
    corpus = Corpus(
        (
            document(words),
            document(words.upper(), days=1),
            document(f"{words} today", days=2),
            document("something else entirely was said about the bond market", days=3),
        ),
        {},
    )
    found = deduplicate(corpus)
    assert [each.time for each in found.documents] == [DAY, DAY + timedelta(days=3)]
    assert found.dropped == {"nearly repeated": 1, "repeated": 1}


def test_the_corpus_is_the_same_in_every_process() -> None:
    probe = (
        "from tests.training.data.test_corpus import *\n"
        "texts = [document(f'{at % 7} notes of {at % 5} markets today, {at}', at) for at in range(60)]\n"
        "print(describe(deduplicate(clean_corpus(texts)).documents)['sha256'])"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "31")
    }  # fmt: skip
    assert len(hashes) == 1


def test_an_embargo_lies_between_training_and_validation() -> None:
    documents = [document(f"text {at}", days=at) for at in range(30)]
    split = split_by_time(documents, train_end=DAY + timedelta(days=19), embargo=timedelta(days=5))
    assert split.train[-1].time == DAY + timedelta(days=19)
    assert split.validation[0].time == DAY + timedelta(days=25)
    # 30 documents: 20 to train, 5 embargoed (days 20 to 24), 5 to validate.
    assert (len(split.train), split.embargoed, len(split.validation)) == (20, 5, 5)
    with pytest.raises(DataError, match="after the embargo"):
        split_by_time(documents, train_end=DAY + timedelta(days=29))


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=8), st.integers(2, 9)
)
def test_packing_loses_no_token(documents: list[list[int]], context: int) -> None:
    rows = pack(documents, end_of_text=0, context_tokens=context)
    stream = [token for each in documents for token in (0, *each)]
    together = [token for row in rows for token in row]
    # A last row of one token has nothing to predict and is left out.
    assert together in (stream, stream[:-1])
    assert all(len(row) == context for row in rows[:-1])


def test_mixing_keeps_the_ratio_everywhere_and_every_sample() -> None:
    order = mix(10, 4, first_frac=0.25, length=40, seed=0)
    for end in range(1, 41):
        assert abs(sum(kind == 0 for kind, _ in order[:end]) - 0.25 * end) <= 1.0
    assert sorted(at for kind, at in order if kind == 0) == list(range(10))
    assert order == mix(10, 4, first_frac=0.25, length=40, seed=0)
    assert {kind for kind, _ in mix(0, 4, first_frac=0.25, length=8, seed=0)} == {1}


def test_the_manifest_counts_licences() -> None:
    about = describe([document("a text"), Document(DAY, "B", "another")])
    assert about["licences"] == {"l": 1, "not stated": 1}
    assert (about["documents"], about["symbols"]) == (2, 2)


# --- files

GOOD = [
    {"created_at": "2015-06-01T14:30:00Z", "ticker": "aapl", "text": "Apple rises"},
    {"created_at": "2015-06-02T10:30:00-04:00", "ticker": "F", "text": "Ford falls"},
]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_the_formats_people_have_give_the_same_documents(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(GOOD)
    if name.endswith("parquet"):
        frame["created_at"] = pd.to_datetime(frame["created_at"], utc=True)
        frame.to_parquet(tmp_path / name)
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in GOOD))
    else:
        frame.to_csv(tmp_path / name, index=False)
    found = read_texts(tmp_path / name).documents
    assert [(each.time, each.symbol, each.text) for each in found] == [
        (datetime(2015, 6, 1, 14, 30, tzinfo=UTC), "AAPL", "Apple rises"),
        (datetime(2015, 6, 2, 14, 30, tzinfo=UTC), "F", "Ford falls"),
    ]


HEAD = b"time,text\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", HEAD, "is empty"),
        ("a.jsonl", b"\n", "is empty"),
        ("a.csv", HEAD + "2015-06-01T14:30:00Z,caf\xe9\n".encode("latin-1"), "line 2 .* is not UTF-8"),
        ("a.csv", "time,text\n".encode("utf-16"), "zero byte|not UTF-8"),
        ("a.csv", HEAD + b"2015-06-01T14:30:00Z," + b"x" * (MAX_LINE_BYTES + 1), "line 2 .* longer than"),
        ("a.csv", HEAD + b",a text\n", "no time in 1 of 1 rows .*row 2"),
        ("a.csv", HEAD + b"soon,a text\n", "what is no time .*soon"),
        ("a.csv", HEAD + b"2015-06-01 14:30,a text\n", "without a zone"),
        ("a.csv", HEAD + b"2015-06-01,a text\n", "without a zone"),
        ("a.csv", b"time,words\n1,2\n", "has no column text"),
        ("a.csv", b"text\nhello\n", "has no column time"),
        ("a.csv", HEAD + b"2015-06-01T14:30:00Z,\n", "has no text"),
        ("a.csv", HEAD + b"2015-06-01T14:30:00Z,oil fell, then rose\n", "row 2: 3 cells .*1 of 1 rows"),
        ("a.csv", b"text,time\noil fell, then rose,2015-06-01T14:30:00Z\n", "row 2: 3 cells"),
        ("a.csv", b"time,text,text\n2015-06-01T14:30:00Z,a,b\n", "two columns text"),
        ("a.jsonl", b'{"time":"2015-06-01T14:30:00Z","text":"x","symbol":700}', "symbol in row 1 is 700"),
        ("a.csv.gz", b"not gzip", "no gzip"),
        ("a.jsonl", b'{"time": 1', "line 1 .* no JSON"),
        ("a.jsonl", b"[1]\n", "no JSON object"),
        ("a.parquet", b"PAR1 nonsense", "no Parquet file"),
        ("a.doc", b"x", "no file of texts"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_before_training(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_texts(tmp_path / name)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_texts(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.csv", b"time,symbol,text\n", True),
        ("a.csv", b'"Time","Headline"\n', True),
        ("a.csv", b"date,title\n", True),
        ("a.csv", b"date,close,title\n", False),
        ("a.csv", b"date,symbol,close\n", False),
        ("a.csv", b"", False),
        ("a.csv", "time,text\n".encode("utf-16"), False),
        ("a.jsonl.gz", b"", True),
    ],
)
def test_texts_are_told_from_prices_by_their_columns(
    tmp_path: Path, name: str, content: bytes, texts: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_text_file(tmp_path / name) is texts


def test_a_first_line_without_an_end_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * (MAX_LINE_BYTES + 1))
    with pytest.raises(DataError, match=r"line 1 of a\.csv is longer"):
        is_text_file(tmp_path / "a.csv")


def test_a_damaged_gzip_file_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(b"time,text\n" + b"2015-06-01T14:30:00Z,a text of today\n" * 2000)
    (tmp_path / "a.csv.gz").write_bytes(packed[:60] + b"\xff\x00\xff" * 20 + packed[120:])
    with pytest.raises(DataError, match="cut short or no gzip"):
        read_texts(tmp_path / "a.csv.gz")
