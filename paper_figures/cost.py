"""What accuracy costs: test MRR of link predictors against the hours that they took.

Run by `python -m paper_figures.cost`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.jobs import jobs, members, table_configs
from experiments.results import Line, tables
from experiments.tables import AFTER_MEMORY, grouped
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import lines_if_any, rounded, summary_of
from relgnn.errors import InputError
from relgnn.loop.figures import OKABE_ITO, short_ticks
from relgnn.loop.report import row_title
from relgnn.ranking.statistics import mean_std

PREFIX = "lp_"
NAMES = {
    "biencoder": "bi-encoder, 22M (as SimKGC)",
    "compgcn_text": "CompGCN, texts",
    "complex": "ComplEx-N3",
    "complex_text": "ComplEx-N3, texts",
    "rgcn_text": "R-GCN, texts",
    "rules": "mined rules (as AnyBURL)",
}
"""Rows by the names that their kind has elsewhere."""
MARKERS = ("o", "s", "^", "D", "v", "p", "<", "X", ">")
TICKS = {1 / 60: "1 min", 4 / 60: "4 min", 0.25: "15 min", 1: "1 h", 4: "4 h", 16: "16 h"}
MOST = 3
"""Panels side by side."""


def numbers(root: Path) -> Numbers:
    """Data set -> row -> MRR, and hours with those of the runs that it reads; the machines.

    A row is shown where all of it ran on processors alone.
    """
    found: Numbers = {}
    machines: set[str] = set()
    for table in (name for name in tables(root) if name.startswith(PREFIX)):
        groups = grouped([x for x in lines_if_any(table, root, 1.0) if _on_processors(x)])
        if not groups:
            continue
        seconds = {row: mean_std(x.seconds for x in part)[0] for row, part in groups.items()}
        for row in groups.keys() & table_configs(table).keys():
            read = [one.name for job in jobs(table, [row], [0]) for one in members(job)]
            if seconds.keys() >= set(read):
                hours = rounded(sum(seconds[one] for one in (row, *read)) / 3600)
                shown = {"mrr": summary_of(groups[row], "mrr"), "hours": hours, "reads": read}
                found.setdefault(table.removeprefix(PREFIX), {})[row] = shown
                machines |= {x.hardware for x in groups[row]}
    if not found:
        raise InputError(
            f"{root}: no table {PREFIX}… has a row; run python -m experiments.reproduce "
            f"{PREFIX}codex_s"
        )
    by_hours = {
        data: dict(sorted(rows.items(), key=lambda item: item[1]["hours"]))
        for data, rows in found.items()
    }
    return {"machines": sorted(machines), "data": by_hours}


def _on_processors(line: Line) -> bool:
    return len(line.hardware.split(", ")) <= AFTER_MEMORY


def draw(shown: Numbers) -> Figure:
    """A panel for each data set, with one axis of hours."""
    data = shown["data"]
    lines = -(-len(data) // MOST)
    columns = -(-len(data) // lines)
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 0.9 + 1.8 * lines))
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False)
    colours = [colour for name, colour in OKABE_ITO.items() if name != "yellow"]
    names = sorted({row for rows in data.values() for row in rows})
    looks = {
        row: (colours[k % len(colours)], MARKERS[k % len(MARKERS)]) for k, row in enumerate(names)
    }
    for axes, (name, rows) in zip(panels.flat, data.items(), strict=False):
        for row, one in rows.items():
            drawing.point(axes, one["hours"], one["mrr"]["mean"], one["mrr"], *looks[row], "y")
        axes.set_title(name)
        axes.margins(y=0.25)
        short_ticks(axes.yaxis)
    for place in range(len(data), panels.size):
        panels.flat[place].set_visible(False)
        panels.flat[place - columns].tick_params(labelbottom=True)
    hours = [one["hours"] for rows in data.values() for one in rows.values()]
    _hour_axis(panels[0, 0], min(hours), max(hours))
    cores = sorted({part for x in shown["machines"] for part in x.split(", ") if "core" in part})
    where = f"time of the whole run on {' or '.join(cores)}, with the runs that it reads"
    figure.supxlabel(where, fontsize=7.5)
    figure.supylabel("test MRR (hollow: one seed)", fontsize=7.5)
    named = {NAMES.get(row, row_title(row)): look for row, look in looks.items()}
    drawing.legend(figure, named, columns=4)
    return figure


def _hour_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xticks(list(TICKS), list(TICKS.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(0.8 * low, 0.8 / 60), max(1.25 * high, 0.3))


FIGURE = PaperFigure("cost", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
