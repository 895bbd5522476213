"""The loop by round, and with accepted triples made false: MRR of all and of each stratum.

Run by `python -m paper_figures.loop_rounds`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims import METRIC
from experiments.loop_ablation import TABLE
from experiments.opened import base_job
from experiments.results import Line
from experiments.tables import grouped
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import lines_of, summary_of
from relgnn.config import Config
from relgnn.errors import InputError
from relgnn.loop.figures import LIGHT, OKABE_ITO, end_labels, short_ticks

BASELINE, COMMAND = "loop", "experiments.loop_ablation"
SERIES = {"rounds_": "rounds", "noise_": "noise"}
"""Beginning of a row's name -> what its number counts: rounds, or percent of accepted triples."""
LABELS = {"rounds": "rounds", "noise": "accepted triples with another tail, %"}
LOOKS = {
    "all": ("black", "o"),
    "feature": ("blue", "s"),
    "corpus": ("green", "^"),
    "none": ("vermillion", "D"),
}
"""Colour and marker of all test triples, and of each stratum."""
GAP = 0.07
"""Smallest distance of two labels, as a share of the axis."""


def is_in_series(row: str) -> bool:
    """Whether a row is one of several that differ in a number."""
    return row.startswith(tuple(SERIES))


def numbers(root: Path) -> Numbers:
    """Series -> its number -> "all" or stratum -> test MRR; the loop itself is in each.

    Raises:
        InputError: the loop itself is not measured.
    """
    groups = grouped(lines_of(TABLE, root, made_by=COMMAND))
    if BASELINE not in groups:
        raise InputError(f"{TABLE}: has no row {BASELINE}; run python -m {COMMAND}")
    usual = base_job(0).config
    assert isinstance(usual, Config) and usual.loop is not None
    found = {"rounds": {usual.loop.rounds: BASELINE}, "noise": {0: BASELINE}}
    for row in groups:
        for beginning, series in SERIES.items():
            if row.startswith(beginning):
                found[series][int(row.removeprefix(beginning))] = row
    return {series: _of_common_seeds(rows, groups) for series, rows in found.items()}


def _of_common_seeds(rows: Mapping[int, str], groups: Mapping[str, list[Line]]) -> Numbers:
    """Number -> "all" or stratum -> MRR over the seeds that every row has: a row of more seeds
    would stand higher or lower for them alone."""
    common = set.intersection(*({line.seed for line in groups[row]} for row in rows.values()))
    kept = {n: [x for x in groups[row] if x.seed in common] for n, row in sorted(rows.items())}
    return {
        str(number): {name: summary_of(lines, key) for name, key in METRIC.items()}
        for number, lines in kept.items()
    }


def draw(shown: Numbers) -> Figure:
    """A panel for each series."""
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 2.6))
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, (series, by_number) in zip(panels, shown.items(), strict=True):
        _draw_panel(axes, by_number)
        axes.set_xlabel(f"{LABELS[series]} (hollow: one seed)")
    panels[0].set_ylabel("test MRR")
    return figure


def _draw_panel(axes: Axes, by_number: Numbers) -> None:
    ends, places = {}, [float(number) for number in by_number]
    for name, (colour, marker) in LOOKS.items():
        parts = [by_name[name] for by_name in by_number.values()]
        if not all(parts):
            continue
        drawing.curve(axes, places, parts, OKABE_ITO[colour], marker)
        ends["all triples" if name == "all" else name] = parts[-1]["mean"]
    axes.set_xticks(places, list(by_number))
    short_ticks(axes.yaxis)
    end_labels(axes, places[-1], ends, LIGHT, GAP)


FIGURE = PaperFigure("loop_rounds", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
