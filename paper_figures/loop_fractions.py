"""MRR before and after the loop, beside its best control and the oracle, by share of triples given.

Run by `python -m paper_figures.loop_fractions`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from experiments.claims import rivals
from experiments.tables import family_title
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import families, lines_of, summary_of
from relgnn.loop.figures import LIGHT, OKABE_ITO, end_labels, short_ticks
from relgnn.loop.report import row_title

TABLE = "loop_codex_s"
LOOKS = {
    "oracle": ("black", "D"),
    "loop": ("blue", "o"),
    "best control": ("vermillion", "^"),
    "round0": ("purple", "s"),
}
"""Colour and marker of each series."""
APART = 1.02
"""Factor between the places of two series, so that their spreads lie side by side."""
GAP = 0.11
"""Smallest distance of two labels, as a share of the axis."""


def numbers(root: Path) -> Numbers:
    """Graph network -> series -> share given -> MRR, and which row the best control is."""
    lines = lines_of(TABLE, root)
    found: Numbers = {}
    for fraction in sorted({line.fraction for line in lines}):
        for family, rows in families([x for x in lines if x.fraction == fraction]).items():
            mrr: Numbers = {row: summary_of(part, "mrr") for row, part in rows.items()}
            controls = [row for row in rivals(list(mrr)) if row != "round0"]
            if controls:
                best = max(controls, key=lambda row: mrr[row]["mean"])
                mrr["best control"] = {**mrr[best], "row": best}
            series = found.setdefault(family_title(family), {name: {} for name in LOOKS})
            for name in LOOKS.keys() & mrr.keys():
                series[name][f"{fraction:g}"] = mrr[name]
    curves = {name: one for name, one in found.items() if len(one["loop"]) > 1}
    return curves or found


def draw(shown: Numbers) -> Figure:
    """A panel for each graph network that has more than one share."""
    figure = Figure(figsize=(drawing.ONE_COLUMN if len(shown) == 1 else drawing.TWO_COLUMNS, 2.6))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (family, series) in zip(panels, shown.items(), strict=True):
        ends, shares = {}, sorted({float(f) for one in series.values() for f in one})
        for place, (name, by_share) in enumerate(series.items()):
            (colour, marker), own = LOOKS[name], list(by_share.values())
            xs = [float(f) * APART ** (place - 1.5) for f in by_share]
            drawing.curve(axes, xs, own, OKABE_ITO[colour], marker)
            if own:
                which = {row_title(one["row"]): 0 for one in own if "row" in one}
                ends[f"{name}\n({', '.join(which)})" if which else name] = own[-1]["mean"]
        drawing.percent_axis(axes, shares)
        end_labels(axes, shares[-1], ends, LIGHT, GAP)
        short_ticks(axes.yaxis)
        axes.set_title(family)
        axes.set_xlabel("triples given (hollow: one seed)")
    panels[0].set_ylabel("test MRR")
    return figure


FIGURE = PaperFigure("loop_fractions", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
