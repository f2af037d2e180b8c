"""The real prices that Athena ships; `README.md` beside this file states their source and licence."""

from __future__ import annotations

from pathlib import Path

SAMPLE_FILE = Path(__file__).with_name("wiki_us5_daily_2000_2013.csv.gz")
"""Five US stocks, daily, 2000-03-01 to 2013-03-01: raw prices with an adjusted close."""
