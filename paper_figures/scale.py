"""Time and memory against size: graphs by their triples, corpora by their sentences.

Run by `python -m paper_figures.scale`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from experiments.speed import SPEED
from paper_figures import drawing
from paper_figures.drawing import Numbers, PaperFigure, command
from paper_figures.reading import lines_if_any, lines_of, rounded
from relgnn.errors import InputError
from relgnn.loop.figures import OKABE_ITO

SIZED = re.compile(r"(?P<what>scale|linking)_(?P<size>\d+)")
"""Rows of the table of speeds that tell a size: triples of a graph, sentences that are linked."""
OGB = "ogb_scale"
TIMES = {
    ("scale", "ours_s"): "full forward",
    ("scale", "step_s"): "sampled step",
    ("scale", "build_s"): "sorting a graph",
    ("linking", "ours_s"): "linking sentences",
    (OGB, "step_s"): "step at OGB's sizes",
}
MEMORY = {
    ("scale", "ours_mb"): "whole process",
    ("linking", "ours_mb"): "added by linking",
    (OGB, "peak_memory_mb"): "whole process, OGB's sizes",
}
EXPONENTS = {"ours_s": "forward_s", "ours_mb": "memory_mb"}
"""Metric -> its name in the fitted exponents, where that is another."""
LOOKS = {
    "scale": {"ours_s": ("blue", "o"), "step_s": ("vermillion", "s"), "build_s": ("green", "^"),
              "ours_mb": ("blue", "o")},
    "linking": {"ours_s": ("purple", "D"), "ours_mb": ("purple", "D")},
    OGB: {"step_s": ("orange", "*"), "peak_memory_mb": ("orange", "*")},
}  # fmt: skip

ROOM = 0.09
"""Share of an axis that each name takes above the curves."""


def numbers(root: Path) -> Numbers:
    """What was done -> size, or OGB's row -> its metrics; exponents of large graphs; machines."""
    lines = lines_of(SPEED, root)
    found: dict[str, dict[str, Any]] = {what: {} for what in LOOKS}
    sized = [(match, x) for x in lines if (match := SIZED.fullmatch(x.row))]
    if not sized:
        raise InputError(f"{root}: no sizes; run python -m benchmarks.speed scale --record")
    for match, line in sized:
        kept = {m: rounded(v) for m, v in line.metrics.items() if m in LOOKS[match["what"]]}
        found[match["what"]][match["size"]] = kept
    exponents = {
        name.removeprefix("exponent_"): rounded(value)
        for _, line in sized
        for name, value in line.metrics.items()
        if name.startswith("exponent_")
    }
    ogb = lines_if_any(OGB, root)
    for line in ogb:
        kept = {m: rounded(line.metrics[m]) for m in LOOKS[OGB]}
        # several rows may be of one size
        found[OGB][line.row] = kept | {"edges": round(line.metrics["edges"])}
    machines = sorted({line.hardware for line in (*(x for _, x in sized), *ogb)})
    return {"sizes": found, "exponents": exponents, "machines": machines}


def draw(shown: Numbers) -> Figure:
    """Two panels with logarithmic axes."""
    figure = Figure(figsize=(drawing.TWO_COLUMNS, 2.7))
    time, memory = figure.subplots(1, 2)
    plain = FuncFormatter(lambda value, _: f"{value:,.12g}")
    for axes, series, title in (
        (time, TIMES, "Time, seconds"),
        (memory, MEMORY, "Peak memory, MB"),
    ):
        for (what, metric), name in series.items():
            sizes = shown["sizes"][what].items()
            curve = sorted(
                (one.get("edges") or int(size), one[metric]) for size, one in sizes if metric in one
            )
            if not curve:
                continue
            slope = shown["exponents"].get(EXPONENTS.get(metric, metric))
            if what == "scale" and slope is not None:
                name += f" (∝ n$^{{{slope:.2f}}}$)"
            colour, marker = LOOKS[what][metric]
            line = "none" if what == OGB else "-"
            axes.plot(*zip(*curve, strict=True), color=OKABE_ITO[colour], marker=marker, ls=line,
                      label=name)  # fmt: skip
        axes.set(xscale="log", yscale="log", title=title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(plain)
        axes.set_xlabel("triples of a graph" + ", sentences" * bool(shown["sizes"]["linking"]))
        low, high = axes.get_ylim()
        names = ROOM * len(axes.lines)
        axes.set_ylim(top=high * (high / low) ** (names / (1 - names)))
        axes.legend(loc="upper left")
    return figure


FIGURE = PaperFigure("scale", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
