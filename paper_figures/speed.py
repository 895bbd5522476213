"""Time and memory beside other libraries, one row a comparison.

Run by `python -m paper_figures.speed`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.speed import SPEED
from paper_figures.drawing import ROW, TWO_COLUMNS, Numbers, PaperFigure, command, name_rows
from paper_figures.reading import lines_of, rounded
from relgnn.errors import InputError
from relgnn.loop.figures import LIGHT
from relgnn.loop.report import row_title

PEER = re.compile(r"(?P<name>.*?) \((?P<version>[^)]*)\)(?:: (?P<note>.*))?")
"""A line's peer: what was called, the library and its version, why it has no time."""
METRICS = ("ratio", "ours_mb", "peer_mb")
OURSELVES = "ours"
"""A line whose peer begins so compares two forms of ours: no other library."""


def numbers(root: Path) -> Numbers:
    """Comparison -> ratio, memory, peer; by kind of work, the largest ratio first."""
    lines = [x for x in lines_of(SPEED, root) if x.peer and not x.peer.startswith(OURSELVES)]
    if not lines:
        raise InputError(f"{root}: no comparison with a peer; run python -m benchmarks.speed")
    lines.sort(key=lambda x: (x.row.partition("_")[0], -x.metrics.get("ratio", float("inf"))))
    found: Numbers = {}
    for line in lines:
        work, _, which = line.row.partition("_")
        match = PEER.fullmatch(str(line.peer))
        name = f"{work}: {match['name'] if match else line.peer}"
        if name in found:
            name += f" ({row_title(which)})"
        found[name] = {"peer": line.peer, "note": match["note"] if match else None}
        found[name] |= {m: rounded(line.metrics[m]) for m in METRICS if m in line.metrics}
    return found


def draw(shown: Numbers) -> Figure:
    """Left, how many times faster; right, memory of both. Both axes are logarithmic."""
    figure = Figure(figsize=(TWO_COLUMNS, 0.8 + 1.15 * ROW * len(shown)))
    ratios, memory = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    for y, one in enumerate(shown.values()):
        _draw_ratio(ratios, y, one)
        ours, peer = one.get("ours_mb"), one.get("peer_mb")
        if ours and peer:
            memory.plot([ours, peer], [y, y], color=LIGHT.grid, lw=2.5, zorder=1)
        if peer:
            memory.plot(peer, y, color=LIGHT.bad, marker="s", ls="none", zorder=2)
        if ours:
            memory.plot(ours, y, color=LIGHT.good, marker="o", ls="none", zorder=3)
    name_rows((ratios, memory), list(shown))
    for axes in (ratios, memory):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    low, high = ratios.get_xlim()
    ratios.set_xlim(min(low, 0.5), 3 * high)
    ratios.axvline(1, color=LIGHT.ink, lw=0.8)
    ratios.set_title("Time:\npeer ÷ ours")
    memory.set_title("Memory, MB:\n● ours  ■ peer")
    return figure


def _draw_ratio(axes: Axes, y: int, one: Numbers) -> None:
    ratio = one.get("ratio")
    if ratio is None:
        axes.text(1.15, y, one["note"] or "not measured", va="center_baseline", fontstyle="italic")
        return
    axes.barh(y, ratio - 1, left=1, height=0.62, color=LIGHT.good if ratio > 1 else LIGHT.bad)
    axes.text(
        1.1 * max(ratio, 1), y, f"{ratio:,.{0 if ratio >= 10 else 2}f}×", va="center_baseline"
    )


FIGURE = PaperFigure("speed", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
