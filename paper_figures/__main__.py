"""All figures: `python -m paper_figures [--check]`."""

from __future__ import annotations

import sys

from paper_figures import (
    ablation,
    calibration,
    cost,
    efficient,
    explanation,
    inductive,
    label_efficiency,
    loop_ablation,
    loop_fractions,
    loop_rounds,
    loop_strata,
    rank_changes,
    scale,
    speed,
    text_map,
)
from paper_figures.drawing import command

FIGURES = (
    loop_fractions.FIGURE,
    loop_strata.FIGURE,
    loop_rounds.FIGURE,
    loop_ablation.FIGURE,
    rank_changes.FIGURE,
    ablation.FIGURE,
    calibration.FIGURE,
    efficient.FIGURE,
    label_efficiency.FIGURE,
    inductive.FIGURE,
    cost.FIGURE,
    text_map.FIGURE,
    explanation.FIGURE,
    speed.FIGURE,
    scale.FIGURE,
)

if __name__ == "__main__":
    sys.exit(command(FIGURES))
