"""How a name finds its symbol."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from core.symbols import AmbiguousSymbol, SymbolNames, match_symbol, symbol_texts


def test_the_exact_spelling_comes_first() -> None:
    known = SymbolNames(["aapl", "AAPL", "$AAPL", "IBM"])
    assert [known.match(name) for name in ("aapl", "AAPL", "$AAPL")] == ["aapl", "AAPL", "$AAPL"]


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("ibm", "IBM"), ("$IBM", "IBM"), ("$ibm", "IBM"), ("TSLA", "$TSLA"), ("$$IBM", None),
     ("IB", None), ("0050", "0050"), ("50", None), ("", None), ("true", "TRUE"), ("1e5", "1E5")],
)  # fmt: skip
def test_case_and_a_leading_dollar_alone_may_differ(name: str, symbol: str | None) -> None:
    assert match_symbol(name, ["IBM", "$TSLA", "0050", "TRUE", "1E5"]) == symbol


def test_a_name_that_two_symbols_fit_is_refused() -> None:
    with pytest.raises(AmbiguousSymbol, match=r"Brk fits BRK and brk"):
        match_symbol("Brk", ["BRK", "brk", "IBM"])


def test_a_number_is_no_symbol() -> None:
    assert symbol_texts([" 0050 ", None, float("nan"), "NA"], "the table") == ["0050", "", "", "NA"]
    for cell in (50, np.int64(50), True, 1e5):
        with pytest.raises(DataError, match=r"row 2 is .* no text"):
            symbol_texts(["A", cell], "the table")
