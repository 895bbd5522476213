"""Tuning few parameters: what is trained and how long, against macro-F1.

Run by `python -m paper_figures.efficient`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.tables import grouped
from paper_figures.drawing import TWO_COLUMNS, Numbers, PaperFigure, command, legend, point
from paper_figures.reading import lines_if_any, lines_of, summary_of
from relgnn.loop.figures import OKABE_ITO, short_ticks
from relgnn.loop.report import row_title

TABLE, FULL = "efficient_re_semeval2010", "full"
SAME = ("re_semeval2010", "tuned_10")
"""Table and row of the configuration of `full`, which stands for it until it has a line here."""
MARKERS = ("o", "s", "^", "D", "v", "p", "<", "h", ">", "*")


def numbers(root: Path) -> Numbers:
    """Row -> macro-F1, parameters, seconds; the fewest parameters first, and where it ran."""
    groups = grouped(lines_of(TABLE, root))
    machines = Counter(line.hardware for part in groups.values() for line in part)
    machine = max(sorted(machines), key=lambda name: machines[name])
    if FULL not in groups:
        seeds = {line.seed for part in groups.values() for line in part}
        same = grouped(lines_if_any(SAME[0], root)).get(SAME[1], [])
        groups[FULL] = [line for line in same if line.seed in seeds]
    found: Numbers = {
        row: {
            "macro_f1": summary_of(part, "macro_f1"),
            "trained_parameters": summary_of(part, "trained_parameters"),
            "seconds": [line.seconds for line in part if line.hardware == machine],
        }
        for row, part in groups.items()
        if part
    }
    rows = sorted(found.items(), key=lambda item: item[1]["trained_parameters"]["mean"])
    return {"machine": machine, "rows": dict(rows)}


def draw(shown: Numbers) -> Figure:
    """Two panels with one y axis: parameters, and seconds where that machine measured them."""
    figure = Figure(figsize=(TWO_COLUMNS, 2.5))
    by_size, by_time = figure.subplots(1, 2, sharey=True)
    colours = [colour for name, colour in OKABE_ITO.items() if name not in ("yellow", "black")]
    looks = {}
    for place, (row, one) in enumerate(shown["rows"].items()):
        colour = OKABE_ITO["black"] if row == FULL else colours[place % len(colours)]
        look = looks[row_title(row)] = colour, MARKERS[place % len(MARKERS)]
        f1 = one["macro_f1"]
        point(by_size, one["trained_parameters"]["mean"], f1, *look, along="y")
        if one["seconds"]:
            point(by_time, fmean(one["seconds"]), f1, *look, along="y")
    by_size.set_xscale("log")
    by_size.xaxis.set_major_formatter(EngFormatter(sep=" "))
    by_size.set_xlabel("parameters trained (log scale)")
    by_size.set_ylabel("test macro-F1 (hollow: one seed)")
    by_time.set_xlim(0, 1.08 * max(s for one in shown["rows"].values() for s in one["seconds"]))
    by_time.tick_params(axis="y", length=0)
    by_time.set_xlabel(f"seconds of the whole run\non {shown['machine']}")
    short_ticks(by_size.yaxis)
    legend(figure, looks)
    return figure


FIGURE = PaperFigure("efficient", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
