"""Addresses lose what is secret in them and nothing else."""

from __future__ import annotations

import pytest

from core.redact import bare_url, secret_name, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://x.org/a?b=c#d", "https://x.org/a?b=c#d"),
        ("https://me:pw@x.org:8443/a", "https://x.org:8443/a"),
        ("https://me:p@w@x.org/a", "https://x.org/a"),
        ("bolt://neo4j:pw@host:7687", "bolt://host:7687"),
        ("https://x.org/a?api_key=s&q=1", "https://x.org/a?api_key=***&q=1"),
        ("https://x.org/{symbol}?token=s", "https://x.org/{symbol}?token=***"),
        ("https://x.org/?X-Amz-Signature=s", "https://x.org/?X-Amz-Signature=***"),
        ("http://me:pw@[::1", "http://[::1"),
        ("mine.csv", "mine.csv"),
        ("me:pw@host:7687", "host:7687"),
    ],
)
def test_an_address_without_its_secrets(url: str, shown: str) -> None:
    assert bare_url(url) == shown


def test_a_text_keeps_everything_else() -> None:
    text = "cannot connect to bolt://neo4j:pw@host:7687 (a@b.org): see http://x/?key=s&n=1."
    assert (
        without_secrets(text)
        == "cannot connect to bolt://host:7687 (a@b.org): see http://x/?key=***&n=1."
    )


def test_names_of_secrets() -> None:
    for name in ("api_key", "FRED_API_KEY", "NEO4J_PASSWORD", "HF_TOKEN", "apikey", "Signature"):
        assert secret_name(name), name
    for name in ("symbol", "keyword", "monkey", "series_id", "author", "passage", "tokenizer"):
        assert not secret_name(name), name
