"""Relation extraction by the share of labels: ours beside what was published.

Run by `python -m paper_figures.label_efficiency`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from matplotlib.figure import Figure

from experiments.tables import COLUMNS, grouped
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import lines_of, summary_of
from relgnn.loop.figures import LIGHT, OKABE_ITO, short_ticks

TABLE = "re_semeval2010"
SERIES = {"tuned": ("blue", "o"), "frozen": ("vermillion", "^")}
"""Rows are `tuned`, with all labels, and `tuned_10`: with a share of them in percent."""
BESIDE = 1.07
"""Factor by which published ranges stand right of ours."""
METRICS = ("macro_f1", "micro_f1")
PUBLISHED = {
    "macro_f1": re.compile(r"BERT-base \(110M\) (\.\d+) to (\.\d+) macro-F1"),
    "micro_f1": re.compile(r"(\.\d+) to (\.\d+) \((\d+) %\)"),
}
"""How `source` of the lines' `expected` names a published range; no share means all labels."""


def numbers(root: Path) -> Numbers:
    """Metric -> series -> share of labels -> ours; published ranges by share; their sources."""
    lines = lines_of(TABLE, root)
    shown: Numbers = {metric: {name: {} for name in SERIES} for metric in METRICS}
    for row, part in sorted(grouped(lines).items(), key=lambda item: item[1][0].fraction):
        name = re.sub(r"_\d+$", "", row)
        if name in SERIES:
            for metric in METRICS:
                shown[metric][name][f"{part[0].fraction:g}"] = summary_of(part, metric)
    sources = {str(x.expected["source"]) for x in lines if "source" in x.expected}
    for metric, pattern in PUBLISHED.items():
        found = sorted({match for text in sources for match in pattern.findall(text)})
        shown[metric]["published"] = {
            f"{int(share[0]) / 100 if share else 1:g}": [float(low), float(high)]
            for low, high, *share in found
        }
    return {"metrics": shown, "sources": sorted(sources)}


def draw(shown: Numbers) -> Figure:
    """A panel for each metric; a published range is a grey bar."""
    metrics = shown["metrics"]
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 2.5))
    panels = figure.subplots(1, len(metrics), sharey=True)
    shares = sorted({float(f) for by in metrics.values() for one in by.values() for f in one})
    for axes, (metric, by_series) in zip(panels, metrics.items(), strict=True):
        for share, ends in by_series["published"].items():
            axes.vlines(BESIDE * float(share), *ends, color=LIGHT.faint, lw=6, alpha=0.6)
        for name in SERIES:
            by_share, (colour, marker) = by_series[name], SERIES[name]
            own = [float(share) for share in by_share]
            drawing.curve(axes, own, list(by_share.values()), OKABE_ITO[colour], marker)
        drawing.percent_axis(axes, shares)
        short_ticks(axes.yaxis)
        axes.set_title(f"test {COLUMNS[metric]}")
        axes.set_xlabel("labels given (hollow: one seed)")
    looks = {f"ours, {name}": (OKABE_ITO[c], m) for name, (c, m) in SERIES.items()}
    drawing.legend(figure, looks | {"published range, BERT-base": (LIGHT.faint, "s")})
    return figure


FIGURE = PaperFigure("label_efficiency", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
