"""What each addition to relation extraction changes, against one baseline, seed by seed.

Run by `python -m paper_figures.ablation`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from experiments.current import kept
from experiments.results import Line, read_lines
from experiments.tables import grouped
from paper_figures.drawing import ONE_COLUMN, ROW, Numbers, PaperFigure, command, name_rows
from paper_figures.reading import lines_if_any, lines_of, rounded, summary
from relgnn.errors import InputError
from relgnn.loop.figures import LIGHT, short_ticks
from relgnn.loop.report import row_title

TABLE, BASELINE, METRIC = "ablation_re_semeval2010_10", "baseline", "macro_f1"
COMMAND = f"experiments.reproduce {TABLE} --rows {BASELINE}"
SAME = ("efficient_re_semeval2010", "full")
"""The table and row of the same training, which may have run on further machines."""


def numbers(root: Path) -> Numbers:
    """Row -> its difference to the baseline of the same seed, the largest first."""
    same = [replace(x, row=BASELINE) for x in lines_if_any(SAME[0], root) if x.row == SAME[1]]
    every = [*same, *kept(read_lines(TABLE, root))]
    return paired(lines_of(TABLE, root), BASELINE, METRIC, COMMAND, every)


def draw(shown: Numbers) -> Figure:
    """A bar for each row."""
    return bars(shown, "macro-F1 minus the baseline's of the same seed")


def paired(
    lines: Sequence[Line],
    baseline: str,
    metric: str,
    made_by: str,
    every: Sequence[Line] = (),
) -> Numbers:
    """Row -> its difference to a baseline of the same seed, the largest first.

    The same training gives other figures on another processor, which may be more than a row
    changes. So a row is held against a baseline of its own kind of machine where one is among the
    lines; `elsewhere` has the seeds whose baseline ran on another.

    Args:
        lines: of an ablation.
        baseline: the row that others are held against.
        metric: in which.
        made_by: what measures the baseline.
        every: further lines of the baseline are among these.

    Raises:
        InputError: no row has a seed of the baseline.
    """
    groups = grouped(lines)
    shown = groups.pop(baseline, [])
    base = {line.seed: line.metrics[metric] for line in shown}
    there = {
        (line.seed, line.hardware): line.metrics[metric]
        for line in (*(one for one in every if one.row == baseline), *shown)
    }
    found: Numbers = {}
    for row, part in groups.items():
        own = sorted((line for line in part if line.seed in base), key=lambda line: line.seed)
        by_seed = {
            str(x.seed): rounded(x.metrics[metric] - there.get((x.seed, x.hardware), base[x.seed]))
            for x in own
        }
        elsewhere = [str(x.seed) for x in own if (x.seed, x.hardware) not in there]
        if by_seed:
            found[row] = summary(by_seed.values()) | {"by_seed": by_seed, "elsewhere": elsewhere}
    if not found:
        raise InputError(
            f"{lines[0].table}: no row has a seed of {baseline}; run python -m {made_by}"
        )
    return dict(sorted(found.items(), key=lambda item: -item[1]["mean"]))


def bars(shown: Numbers, label: str) -> Figure:
    """A bar for each row, hollow for one seed, a dot for each seed, and how many there are."""
    figure = Figure(figsize=(ONE_COLUMN, 0.75 + ROW * len(shown)))
    axes = figure.subplots()
    right = axes.get_yaxis_transform()
    for y, one in enumerate(shown.values()):
        colour = LIGHT.good if one["mean"] > 0 else LIGHT.bad
        several = one["seeds"] > 1
        axes.barh(
            y, one["mean"], height=0.62, lw=0.9, edgecolor=colour,
            color=colour if several else LIGHT.background,
        )  # fmt: skip
        if several:
            axes.errorbar(one["mean"], y, xerr=one["std"], color=LIGHT.ink, elinewidth=0.9)
            for seed, dot in one["by_seed"].items():
                filled = LIGHT.ink if seed in one["elsewhere"] else LIGHT.background
                axes.scatter(
                    dot, y, s=9, color=filled, edgecolor=LIGHT.ink, linewidth=0.7, zorder=4
                )
        axes.text(1.05, y, str(one["seeds"]), transform=right, ha="center", va="center_baseline")
    name_rows([axes], [row_title(row) for row in shown])
    axes.text(1.05, -1, "seeds", transform=right, ha="center", va="center_baseline")
    axes.axvline(0, color=LIGHT.ink, lw=0.8)
    short_ticks(axes.xaxis)
    axes.set_xlabel(label)
    told = "○ a seed   – spread   □ one seed only"
    if any(one["elsewhere"] for one in shown.values()):
        told = f"● its baseline ran on another machine\n{told}"
    axes.set_title(told, fontweight="normal", fontsize=7)
    return figure


FIGURE = PaperFigure("ablation", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
