"""A symbol that would act on a terminal is a fault of the file, shown written out."""

from __future__ import annotations

from pathlib import Path

import pytest

from trading.sources.faults import DataFaults
from trading.sources.load import load_panel


@pytest.mark.parametrize("symbol", ["A\x1b[2J", "A\x07", "A\x9b31m", "A\u202eB", "A\x7f"])
def test_it_is_refused(tmp_path: Path, symbol: str) -> None:
    rows = "".join(f"2020-01-{day:02},{symbol},{day}\n" for day in (6, 7, 8, 9, 10))
    (tmp_path / "a.csv").write_text(f"date,symbol,close\n{rows}", encoding="utf-8")
    with pytest.raises(DataFaults, match="control character in the symbol") as caught:
        load_panel(tmp_path / "a.csv")
    fault = caught.value.faults[0]
    assert fault.row == 2
    assert fault.symbol is not None
    assert fault.symbol.isprintable()
    assert fault.symbol.startswith("A\\")
