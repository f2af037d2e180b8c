"""Where episodes' prices come from: a part of the shipped split, or a user's file.

Refuses to know what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import numpy as np

from training.data.split import TRAIN
from training.stage2_agemem.episodes import Path, paths_of_panel, paths_of_split
from training.stage2_agemem.world import SplitName

if TYPE_CHECKING:
    from core.config import AthenaConfig
    from trading.panel import Panel


@dataclass(frozen=True, slots=True)
class EpisodeSource:
    """Paths of a split; `overlap` says in words where a user's file meets the training split, else empty."""

    paths: Sequence[Path]
    split: SplitName
    overlap: str = ""


def paths_for(
    config: AthenaConfig, split: SplitName, data: FilePath | None = None
) -> EpisodeSource:
    """The shipped sample's part, or every symbol of `data` that is long enough. Raises: DataError."""
    from trading.sources.load import load_panel

    if data is None:
        return EpisodeSource(paths_of_split(load_panel(), split), split)
    panel = load_panel(str(data), config=config.data, seed=config.seed, data_dir=config.data_dir)
    return EpisodeSource(paths_of_panel(panel), "data", _overlap(panel))


def _overlap(panel: Panel) -> str:
    first = dict(zip(panel.symbols, panel.times[panel.listed_at], strict=True))
    end = np.datetime64(TRAIN.end, "D")
    shared = [s for s in TRAIN.symbols if s in first and first[s].astype("datetime64[D]") <= end]
    if not shared:
        return ""
    return (
        f"{', '.join(shared)} up to {TRAIN.end}: the policy was trained on these prices, so this is no "
        "test on new ones."
    )
