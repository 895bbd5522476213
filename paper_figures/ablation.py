"""What each addition to relation extraction changes, against one baseline, seed by seed.

Run by `python -m paper_figures.ablation`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.results import Line
from experiments.tables import grouped
from paper_figures.drawing import ONE_COLUMN, ROW, Numbers, PaperFigure, command, name_rows
from paper_figures.reading import lines_of, rounded, summary
from relgnn.errors import InputError
from relgnn.loop.figures import LIGHT, short_ticks
from relgnn.loop.report import row_title

TABLE, BASELINE, METRIC = "ablation_re_semeval2010_10", "baseline", "macro_f1"
COMMAND = f"experiments.reproduce {TABLE} --rows {BASELINE}"


def numbers(root: Path) -> Numbers:
    """Row -> its difference to the baseline of the same seed, the largest first."""
    return paired(lines_of(TABLE, root), BASELINE, METRIC, COMMAND)


def draw(shown: Numbers) -> Figure:
    """A bar for each row."""
    return bars(shown, "macro-F1 minus the baseline's of the same seed")


def paired(lines: Sequence[Line], baseline: str, metric: str, made_by: str) -> Numbers:
    """Row -> its difference to a baseline of the same seed, the largest first.

    Args:
        lines: of an ablation.
        baseline: the row that others are held against.
        metric: in which.
        made_by: what measures the baseline.

    Raises:
        InputError: no row has a seed of the baseline.
    """
    groups = grouped(lines)
    base = {line.seed: line.metrics[metric] for line in groups.pop(baseline, [])}
    found: Numbers = {}
    for row, part in groups.items():
        by_seed = {
            str(line.seed): rounded(line.metrics[metric] - base[line.seed])
            for line in sorted(part, key=lambda line: line.seed)
            if line.seed in base
        }
        if by_seed:
            found[row] = summary(by_seed.values()) | {"by_seed": by_seed}
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
            dots = list(one["by_seed"].values())
            axes.scatter(
                dots, [y] * len(dots), s=9, color=LIGHT.background, edgecolor=LIGHT.ink,
                linewidth=0.7, zorder=4,
            )  # fmt: skip
        axes.text(1.05, y, str(one["seeds"]), transform=right, ha="center", va="center_baseline")
    name_rows([axes], [row_title(row) for row in shown])
    axes.text(1.05, -1, "seeds", transform=right, ha="center", va="center_baseline")
    axes.axvline(0, color=LIGHT.ink, lw=0.8)
    short_ticks(axes.xaxis)
    axes.set_xlabel(label)
    axes.set_title("○ a seed   – spread   □ one seed only", fontweight="normal", fontsize=7)
    return figure


FIGURE = PaperFigure("ablation", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
