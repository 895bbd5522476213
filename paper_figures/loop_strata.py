"""MRR of every row of the loop's table by stratum, R-GCN beside CompGCN.

Run by `python -m paper_figures.loop_strata`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from experiments.claims import METRIC
from experiments.tables import family_title
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import families, lines_of, summary_of
from relgnn.loop.figures import LIGHT, OKABE_ITO, short_ticks
from relgnn.loop.report import ordered_rows, row_title

TABLE, FRACTION = "loop_codex_s", 0.1
LOOKS = (("blue", "o"), ("vermillion", "s"), ("green", "^"), ("purple", "D"))
"""Colour and marker of each graph network."""


def numbers(root: Path) -> Numbers:
    """Stratum -> graph network -> row -> MRR."""
    found = families(lines_of(TABLE, root, FRACTION))
    shown: Numbers = {}
    for stratum, metric in METRIC.items():
        for family, rows in found.items():
            values = {row: summary_of(part, metric) for row, part in rows.items()}
            values = {row: one for row, one in values.items() if one is not None}
            if values:
                shown.setdefault(stratum, {})[family_title(family)] = values
    return shown


def draw(shown: Numbers) -> Figure:
    """A panel for each stratum, a line for each row, a marker for each graph network."""
    names = list(dict.fromkeys(f for by_family in shown.values() for f in by_family))
    rows = ordered_rows({r for by in shown.values() for one in by.values() for r in one})
    apart = 0.5 / len(names)
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 0.8 + 1.3 * drawing.ROW * len(rows)))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (stratum, by_family) in zip(panels, shown.items(), strict=True):
        for place, family in enumerate(names):
            colour, marker = LOOKS[place % len(LOOKS)]
            for row, one in by_family.get(family, {}).items():
                y = rows.index(row) + apart * (place - (len(names) - 1) / 2)
                drawing.point(axes, y, one, OKABE_ITO[colour], marker)
        loop = rows.index("loop") if "loop" in rows else -2
        axes.axhspan(loop - 0.5, loop + 0.5, color=LIGHT.grid, alpha=0.6, lw=0, zorder=0)
        short_ticks(axes.xaxis)
        axes.set_title(stratum)
    drawing.name_rows(panels, [row_title(row) for row in rows])
    figure.supxlabel("test MRR (each panel has its own scale; hollow: one seed)", fontsize="medium")
    looks = (LOOKS[place % len(LOOKS)] for place in range(len(names)))
    drawing.legend(figure, {n: (OKABE_ITO[c], m) for n, (c, m) in zip(names, looks, strict=True)})
    return figure


FIGURE = PaperFigure("loop_strata", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
