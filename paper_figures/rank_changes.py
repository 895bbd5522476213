"""What the loop does to each test query: which ranks it improves and worsens, and by how much.

Run by `python -m paper_figures.rank_changes`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.jobs import PLAIN
from experiments.results import load_ranks, load_strata, ranks_path, strata_path
from experiments.tables import family_title
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import families, lines_of, summary
from relgnn.loop.figures import LIGHT, short_ticks

TABLE, FRACTION = "loop_codex_s", 0.1
BEFORE, AFTER = "round0", "loop"


def numbers(root: Path) -> Numbers:
    """Graph network -> stratum -> shares of queries and parts of the change in MRR, over seeds."""
    masks = load_strata(strata_path(TABLE, root))
    shown: Numbers = {}
    for family, rows in families(lines_of(TABLE, root, FRACTION)).items():
        changes = []
        for seed in sorted({line.seed for line in rows.get(AFTER, [])}):
            ranks = load_ranks(ranks_path(TABLE, family or PLAIN, FRACTION, seed, root))
            changes.append(1 / ranks[AFTER] - 1 / ranks[BEFORE])
        if not changes:
            continue
        shown[family_title(family)] = {
            stratum: {
                "better": summary(np.mean(c[:, mask] > 0) for c in changes),
                "worse": summary(np.mean(c[:, mask] < 0) for c in changes),
                "gained": summary(np.mean(c[:, mask].clip(min=0)) for c in changes),
                "lost": summary(np.mean(c[:, mask].clip(max=0)) for c in changes),
                "change": summary(np.mean(c[:, mask]) for c in changes),
            }
            for stratum, mask in masks.items()
            if mask.any()
        }
    return shown


def draw(shown: Numbers) -> Figure:
    """Left, shares of queries; right, what they add to and take from the MRR."""
    rows = [(f, s, one) for f, by in shown.items() for s, one in by.items()]
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 0.9 + 1.2 * drawing.ROW * len(rows)))
    shares, parts = figure.subplots(1, 2, sharey=True)
    for y, (_, _, one) in enumerate(rows):
        better, worse = one["better"]["mean"], one["worse"]["mean"]
        same = 1 - better - worse
        for left, width, colour, ink in (
            (0, better, LIGHT.good, LIGHT.background),
            (better, same, LIGHT.grid, LIGHT.ink),
            (better + same, worse, LIGHT.bad, LIGHT.background),
        ):
            shares.barh(y, width, left=left, height=0.7, color=colour)
            if width > 0.1:
                said = f"{width:.0%}".replace("%", " %")
                shares.text(left + width / 2, y, said, color=ink, ha="center", va="center_baseline")
        parts.barh(y, one["gained"]["mean"], height=0.7, color=LIGHT.good, alpha=0.45)
        parts.barh(y, one["lost"]["mean"], height=0.7, color=LIGHT.bad, alpha=0.45)
        drawing.point(parts, y, one["change"], LIGHT.ink, "D")
    drawing.name_rows((shares, parts), [f"{family}, {stratum}" for family, stratum, _ in rows])
    shares.set_xlim(0, 1)
    shares.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    shares.set_title("Test queries: rank better, same, worse")
    short_ticks(parts.xaxis)
    parts.axvline(0, color=LIGHT.ink, lw=0.8)
    parts.set_title("Change in MRR: gained, lost, ◆ in all")
    return figure


FIGURE = PaperFigure("rank_changes", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
