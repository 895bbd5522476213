"""What accuracy costs: test MRR of link predictors against the hours that they took.

Run by `python -m paper_figures.cost`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.current import configuration_of
from experiments.jobs import jobs, members, table_configs
from experiments.origin import gpus_of
from experiments.results import Line, tables
from experiments.tables import grouped
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
PLACES = ("processors", "GPU")
"""Where a run was: a row of panels each."""


def numbers(root: Path) -> Numbers:
    """Where it ran -> the machines; data set -> row -> MRR, and hours with those of what it reads.

    What a row reads counts with its time in the same place, where it has not run there in the
    other. A row is shown where all that it reads has run.
    """
    places: Numbers = {place: {"machines": set(), "data": {}} for place in PLACES}

    @cache
    def lines_at(table: str) -> list[Line]:
        return lines_if_any(table, root, 1.0)

    for table in (name for name in tables(root) if name.startswith(PREFIX)):
        if not (lines := lines_at(table)):
            continue
        groups = {place: grouped([x for x in lines if _place(x) == place]) for place in PLACES}
        for place, own in groups.items():
            for row in own.keys() & table_configs(table).keys():
                [job] = jobs(table, [row], [0])
                read = members(job)
                took = [_seconds(lines_at(one.table), one.name, place) for one in (job, *read)]
                if None in took:
                    continue
                hours = rounded(sum(filter(None, took)) / 3600)
                names = [x.name if x.table == table else f"{x.table}/{x.name}" for x in read]
                shown = {"mrr": summary_of(own[row], "mrr"), "hours": hours, "reads": names}
                data = table.removeprefix(PREFIX)
                places[place]["data"].setdefault(data, {})[row] = shown
                places[place]["machines"] |= {x.hardware for x in own[row]}
    if not any(own["data"] for own in places.values()):
        raise InputError(
            f"{root}: no table {PREFIX}… has a row; run python -m experiments.reproduce "
            f"{PREFIX}codex_s"
        )
    return {
        place: {
            "machines": sorted(own["machines"]),
            "data": {
                data: dict(sorted(rows.items(), key=lambda item: item[1]["hours"]))
                for data, rows in own["data"].items()
            },
        }
        for place, own in places.items()
        if own["data"]
    }


def _seconds(lines: Sequence[Line], name: str, place: str) -> float | None:
    """What the runs of a configuration took on average; None where none has run anywhere."""
    runs: dict[str, dict[int, float]] = {}
    for line in lines:
        if configuration_of(line) == name:
            # a run may have made several rows
            runs.setdefault(_place(line), {})[line.seed] = line.seconds
    found = runs.get(place) or runs.get(PLACES[0]) or runs.get(PLACES[1])
    return None if found is None else mean_std(found.values())[0]


def _place(line: Line) -> str:
    return PLACES[bool(gpus_of(line.hardware))]


def draw(shown: Numbers) -> Figure:
    """A row of panels for each place, a column for each data set, with one axis of hours."""
    columns = sorted({data for own in shown.values() for data in own["data"]})
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 1.1 + 1.6 * len(shown)))
    panels = figure.subplots(len(shown), len(columns), sharex=True, sharey="col", squeeze=False)
    colours = [colour for name, colour in OKABE_ITO.items() if name != "yellow"]
    points = {
        (place, data, row): one
        for place, own in shown.items()
        for data, rows in own["data"].items()
        for row, one in rows.items()
    }
    names = sorted({row for _, _, row in points})
    looks = {
        row: (colours[k % len(colours)], MARKERS[k % len(MARKERS)]) for k, row in enumerate(names)
    }
    places = list(shown)
    for (place, data, row), one in points.items():
        axes = panels[places.index(place), columns.index(data)]
        drawing.point(axes, one["hours"], one["mrr"], *looks[row], along="y")
    for place, line in zip(places, panels, strict=True):
        line[0].set_ylabel(_where(place, shown[place]["machines"]))
        for axes in line:
            axes.margins(y=0.25)
            short_ticks(axes.yaxis)
    for data, axes in zip(columns, panels[0], strict=True):
        axes.set_title(data)
    hours = [one["hours"] for one in points.values()]
    _hour_axis(panels[0, 0], min(hours), max(hours), 1 if len(columns) < 4 else 2)
    figure.supxlabel("time of the whole run, with the runs that it reads", fontsize=7.5)
    figure.supylabel("test MRR (hollow: one seed)", fontsize=7.5)
    named = {NAMES.get(row, row_title(row)): look for row, look in looks.items()}
    drawing.legend(figure, named, columns=4)
    return figure


def _where(place: str, machines: list[str]) -> str:
    """Cores, or the names of GPUs, on which runs go side by side."""
    if place == PLACES[0]:
        cores = {part for x in machines for part in x.split(", ") if "core" in part}
        return f"on {' or '.join(sorted(cores))}"
    return f"sharing an {' or an '.join(sorted({', '.join(gpus_of(x)) for x in machines}))}"


def _hour_axis(axes: Axes, low: float, high: float, every: int) -> None:
    """Where panels are narrow there is room for `every` other tick alone."""
    axes.set_xscale("log")
    axes.set_xticks(list(TICKS)[::every], list(TICKS.values())[::every])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(0.8 * low, 0.8 / 60), max(1.25 * high, 0.3))


FIGURE = PaperFigure("cost", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
