"""Whether probabilities hold: calibration errors beside chance, and the audit by reading.

Run by `python -m paper_figures.calibration`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.results import tables
from experiments.tables import grouped
from paper_figures.drawing import ONE_COLUMN, ROW, Numbers, PaperFigure, command, name_rows, point
from paper_figures.reading import lines_if_any, lines_of, percent, rounded, summary_of
from relgnn.errors import InputError
from relgnn.loop.figures import LIGHT, short_ticks
from relgnn.loop.report import row_title

PREFIX, AUDIT = "re_", "audit_loop_codex_s"


def numbers(root: Path) -> Numbers:
    """ECE of every row that has one, with the most that chance explains; precision by reading."""
    errors: Numbers = {}
    for table in (name for name in tables(root) if name.startswith(PREFIX)):
        for row, part in grouped(lines_if_any(table, root)).items():
            ece, chance = (summary_of(part, metric) for metric in ("ece", "ece_chance"))
            if ece and chance:
                name = f"{table.removeprefix(PREFIX)}: {row_title(row)}"
                errors[name] = ece | {"chance": chance["mean"]}
    if not errors:
        raise InputError(
            f"{root}: no table {PREFIX}… tells a calibration error; run python -m "
            f"experiments.reproduce {PREFIX}semeval2010"
        )
    read = {
        f"{row_title(line.row)}, {percent(line.fraction)} given": {
            name: rounded(line.metrics[name])
            for name in ("promised", "precision", "precision_low", "precision_high", "judged")
            if name in line.metrics
        }
        for line in lines_of(AUDIT, root)
    }
    return {"errors": errors, "read": read}


def draw(shown: Numbers) -> Figure:
    """Above, errors; below, what readers found of what was promised."""
    errors, read = shown["errors"], shown["read"]
    heights = [ROW * len(errors), 1.4 * ROW * len(read)]
    figure = Figure(figsize=(ONE_COLUMN, 1.7 + sum(heights)))
    above, below = figure.subplots(2, 1, height_ratios=[h + 0.1 for h in heights])
    for y, one in enumerate(errors.values()):
        above.barh(y, one["chance"], height=0.75, color=LIGHT.grid)
        within = one["mean"] <= one["chance"]
        look = (LIGHT.good, "o") if within else (LIGHT.bad, "^")
        point(above, y, one, *look)
    name_rows([above], list(errors))
    above.set_xlim(left=0)
    short_ticks(above.xaxis)
    above.set_title("ECE, and what chance\nallows:  ● within  ▲ beyond")
    _draw_read(below, read)
    return figure


def _draw_read(axes: Axes, read: Numbers) -> None:
    for y, one in enumerate(read.values()):
        ends = [one["precision_low"], one["precision_high"]]
        axes.plot(ends, [y, y], color=LIGHT.good, lw=2.2, solid_capstyle="butt")
        axes.plot(one["precision"], y, color=LIGHT.good, marker="o")
        if "promised" in one:
            axes.plot(one["promised"], y, color=LIGHT.ink, marker="|", ms=13, mew=1.6)
    name_rows([axes], [f"{name}\n({one['judged']:.0f} read)" for name, one in read.items()])
    axes.set_xlim(0, 1)
    short_ticks(axes.xaxis)
    axes.set_title("Precision:\n● read, 95 %  | promised")


FIGURE = PaperFigure("calibration", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
