"""Where bars come from: files, DataFrames, mock walks and vendors, all ending in `load_panel`."""

from __future__ import annotations

from trading.sources.faults import DataFaults, Fault
from trading.sources.load import load_panel

__all__ = ["DataFaults", "Fault", "load_panel"]
