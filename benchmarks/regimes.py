"""What three speeds of learning are worth where the regime changes and changes back.

`python benchmarks/regimes.py`: mean log losses over 20 worlds of `tests/agents/test_learning.py`, by phase.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.learning import SPEEDS
from tests.agents.test_learning import PHASES, losses, regime_world

SEEDS = range(20)


def main() -> None:
    runs = [losses(*regime_world(seed)) for seed in SEEDS]
    ends = np.cumsum(PHASES)
    phases = {
        "A": slice(0, ends[0]),
        "B": slice(ends[0], ends[1]),
        "A again": slice(ends[1], ends[2]),
        "the whole": slice(0, ends[2]),
    }
    names = ["all three", *(speed.name for speed in SPEEDS)]
    lines = ["| phase | " + " | ".join(names) + " |"]
    for name, rows in phases.items():
        figures = [np.mean([run[0][rows].mean() for run in runs])]
        figures += [np.mean([run[1][rows, s].mean() for run in runs]) for s in range(len(SPEEDS))]
        lines.append(f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
