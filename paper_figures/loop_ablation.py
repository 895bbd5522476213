"""What each part of the loop, and each choice in it, is worth: against the loop, seed by seed.

Run by `python -m paper_figures.loop_ablation`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from experiments.loop_ablation import TABLE
from paper_figures.ablation import bars, paired
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.loop_rounds import BASELINE, COMMAND, is_in_series
from paper_figures.reading import lines_of


def numbers(root: Path) -> Numbers:
    """Row -> its difference to the loop of the same seed, the largest first; rows of other rounds
    and of noise are those of `loop_rounds`."""
    lines = [line for line in lines_of(TABLE, root, made_by=COMMAND) if not is_in_series(line.row)]
    return paired(lines, BASELINE, "mrr", f"{COMMAND} --rows {BASELINE}")


def draw(shown: Numbers) -> Figure:
    """A bar for each row."""
    return bars(shown, "test MRR minus the loop's of the same seed")


FIGURE = PaperFigure("loop_ablation", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
