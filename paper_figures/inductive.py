"""Answers about entities never seen: ours beside what was published, on GraIL's eight graphs.

Run by `python -m paper_figures.inductive`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.jobs import table_configs
from experiments.tables import grouped
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import lines_of, summary_of
from relgnn.config import load_run_config
from relgnn.loop.figures import LIGHT, OKABE_ITO, short_ticks
from relgnn.ranking.sampled import HITS_10_OF_50

TABLE = "inductive_grail"
GRAPHS, VERSIONS = ("fb237", "WN18RR"), ("v1", "v2", "v3", "v4")
METHODS = {
    "": "query-conditioned",
    "_text": "query-conditioned, with texts",
    "_pagerank": "PageRank",
}
"""Ending of a row's name -> what ran."""
LOOKS = {
    "query-conditioned": (OKABE_ITO["blue"], "o"),
    "query-conditioned, with texts": (OKABE_ITO["vermillion"], "D"),
    "PageRank": (OKABE_ITO["green"], "^"),
}
METRICS = (HITS_10_OF_50, "mrr")
PANELS = {HITS_10_OF_50: "Hits@10 of 50 negatives", "mrr": "MRR among all entities"}
APART = 0.24
"""Between the places of two methods."""


def numbers(root: Path) -> Numbers:
    """Graph -> version -> method -> metric -> ours, {} where nothing ran; and what is published."""
    rows, configs = grouped(lines_of(TABLE, root)), table_configs(TABLE)
    found: Numbers = {}
    for graph in GRAPHS:
        for version in VERSIONS:
            name = f"{graph}_{version}"
            ours = {
                method: {
                    metric: summary_of(rows[name + ending], metric)
                    for metric in METRICS
                    if name + ending in rows
                }
                for ending, method in METHODS.items()
            }
            published = load_run_config(configs[name]).expected.get(HITS_10_OF_50)
            found.setdefault(graph, {})[version] = {"ours": ours, "published": published}
    return {"graphs": found, "source": load_run_config(configs[name]).source}


def draw(shown: Numbers) -> Figure:
    """A column for each family of graphs, a row for each metric; a dash where nothing ran."""
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 3.9))
    graphs = shown["graphs"]
    panels = figure.subplots(len(METRICS), len(graphs), sharex=True, sharey="row")
    for metric, row in zip(METRICS, panels, strict=True):
        for axes, (graph, versions) in zip(row, graphs.items(), strict=True):
            _draw_panel(axes, metric, versions)
            if metric == METRICS[0]:
                axes.set_title(graph)
        row[0].set_ylabel(PANELS[metric])
        short_ticks(row[0].yaxis)
    for axes in panels[-1]:
        axes.set_xlabel("version (hollow: one seed)")
    published = Line2D([], [], color=LIGHT.ink, lw=1.6, label="published (NBFNet)")
    absent = Line2D([], [], color=LIGHT.faint, marker="_", ls="none", label="not run")
    drawing.legend(figure, LOOKS, published, absent)
    return figure


def _draw_panel(axes: Axes, metric: str, versions: Numbers) -> None:
    places = {name: APART * (k - 1) for k, name in enumerate(LOOKS)}
    for x, one in enumerate(versions.values()):
        if metric == HITS_10_OF_50 and one["published"] is not None:
            axes.hlines(one["published"], x - 0.4, x + 0.4, color=LIGHT.ink, lw=1.6, zorder=2)
        for method, by_metric in one["ours"].items():
            at = x + places[method]
            if metric in by_metric:
                drawing.point(axes, at, by_metric[metric], *LOOKS[method], along="y")
            else:
                axes.plot(
                    at, 0.04, transform=axes.get_xaxis_transform(), marker="_",
                    color=LOOKS[method][0], alpha=0.7,
                )  # fmt: skip
    axes.set_xticks(range(len(versions)), list(versions))
    axes.set_xlim(-0.6, len(versions) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.15)


FIGURE = PaperFigure("inductive", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
