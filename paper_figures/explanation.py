"""One prediction explained: paths between both ends, and what it rests on.

Run by `python -m paper_figures.explanation`.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.explained import FILE
from paper_figures.drawing import TWO_COLUMNS, Numbers, PaperFigure, command, name_rows
from paper_figures.reading import kept, rounded
from relgnn.loop.figures import LIGHT, short, short_ticks

STEP = re.compile(r" (–.+?→|←.+?–) ")
"""A step of a path in words, with its direction."""
MOST = 4
"""Paths, sentences and edges that are shown."""
WIDE, LONG, NAME = 62, 180, 32
"""Characters: of a line beside a bar, of a sentence, of an entity's name in its box."""
BOX, HIGH, LINE = 1.06, 0.56, 0.2
"""Inches: width of an entity, height of a path, height of a line beside a bar."""


def numbers(root: Path) -> Numbers:
    """The triple, its ranks, paths, and bars with the sums that they begin and end at."""
    content = kept(FILE, "python -m experiments.explained", root)
    told = content["explanation"]
    believed = told["believed"]
    without = {one["what"]: one["posterior"] for one in believed["without"]}
    sentences = [
        (f"“{_cut(text, LONG)}”", one["share"], without.pop(one["player"], None))
        for one, text in zip(believed["sentences"], believed["texts"], strict=True)
    ][:MOST]
    # of whole texts, what is worst to lose
    sentences += [
        (f"all sentences of {name}", None, p)
        for p, name in sorted((p, name) for name, p in without.items())[:1]
    ]
    views = [(one["player"], one["share"], None) for one in believed["views"]]
    edges = [(f"{x['edge']} ({x['source']})", x["importance"], None) for x in told["edges"]][:MOST]
    bars = {
        "Log odds by view": (believed["view_odds"], views),
        "Log odds by sentence": (believed["odds"], sentences),
        "Log-probability by edge": (told["log_probability"], edges),
    }
    return {
        "command": content["command"], "triple": told["triple"], "ranks": content["ranks"],
        "posterior": rounded(believed["posterior"]), "paths": told["paths"][:MOST],
        "bars": {title: {"ends": ends, "rows": rows} for title, (ends, rows) in bars.items()},
    }  # fmt: skip


def draw(shown: Numbers) -> Figure:
    """Paths as a graph; below, bars: what each view, sentence and edge adds."""
    rows = [
        [(textwrap.fill(name, WIDE), *rest) for name, *rest in part["rows"]]
        for part in shown["bars"].values()
    ]
    heights = [0.45 + LINE * sum(1 + name.count("\n") for name, *_ in part) for part in rows]
    above = 0.3 + HIGH * len(shown["paths"])
    figure = Figure(figsize=(TWO_COLUMNS, above + sum(heights)))
    parts: Any = figure.subfigures(2, 1, height_ratios=[above, sum(heights)])
    upper, lower = parts
    axes, ranks = upper.subplots(), shown["ranks"]
    said = (
        f"{shown['triple']}: rank {ranks['before']:g} before reading, {ranks['after']:g} after; "
        f"posterior {short(shown['posterior'])}"
    )
    axes.set_title(textwrap.fill(said, 8 * WIDE // 5))
    _draw_paths(axes, STEP.split(shown["triple"]), shown["paths"])
    panels = lower.subplots(len(rows), 1, height_ratios=heights)
    for axes, part, (title, one) in zip(panels, rows, shown["bars"].items(), strict=True):
        none, every = (f"{value:.1f}".replace("-", "−") for value in one["ends"])
        axes.set_title(f"{title}, from {none} (none) to {every} (all)")
        _draw_bars(axes, part)
    return figure


def _cut(text: str, most: int) -> str:
    return textwrap.shorten(text, most, placeholder=" …")


def _draw_bars(axes: Axes, rows: Sequence[Sequence[Any]]) -> None:
    for y, (_, value, without) in enumerate(rows):
        if value is not None:
            axes.barh(y, value, height=0.5, color=LIGHT.good if value > 0 else LIGHT.bad)
        if without is not None:
            text = f" posterior without {short(without)}"
            axes.text(max(value or 0, 0), y, text, va="center_baseline", fontsize=6.5)
    name_rows([axes], [name for name, *_ in rows])
    axes.axvline(0, color=LIGHT.ink, lw=0.8)
    axes.margins(x=0.5)
    short_ticks(axes.xaxis)


def _draw_paths(axes: Axes, triple: Sequence[str], paths: Sequence[Numbers]) -> None:
    """Both ends as tall boxes, and between them a row for each path, lengths in inches."""
    wide, high = TWO_COLUMNS - 0.2, HIGH * len(paths)
    axes.set(xlim=(0, wide), ylim=(high, 0))
    axes.axis("off")
    for x, name in ((BOX / 2, triple[0]), (wide - BOX / 2, triple[-1])):
        _box(axes, x, high / 2, name, high - 0.1, LIGHT.grid)
    for row, one in enumerate(paths):
        steps = STEP.split(one["path"])
        middle, y = steps[2:-1:2], HIGH * (row + 0.62)
        gap = (wide - (2 + len(middle)) * BOX) / (1 + len(middle))
        for k, relation in enumerate(steps[1::2]):
            x = BOX + k * (BOX + gap)
            ends = [(x, y), (x + gap, y)]
            to, start = ends[::-1] if relation.endswith("→") else ends
            arrow = {"arrowstyle": "->", "color": LIGHT.faint, "shrinkA": 2, "shrinkB": 2}
            axes.annotate("", to, start, arrowprops=arrow)
            said = textwrap.fill(relation.strip("–→←"), max(12, round(gap * 19)))
            axes.text(x + gap / 2, y - 0.03, said, ha="center", va="bottom", fontsize=6)
            if k < len(middle):
                _box(axes, x + gap + BOX / 2, y, middle[k], 0.3, LIGHT.background)
        rule = f"\nrule right {short(one['confidence'])}" if one["rule"] else ""
        said = f"{one['count']} such{rule}"
        axes.text(BOX + 0.08, y + 0.03, said, va="top", fontsize=5.6, color=LIGHT.faint)


def _box(axes: Axes, x: float, y: float, name: str, high: float, colour: str) -> None:
    corner = x - BOX / 2, y - high / 2
    axes.add_patch(Rectangle(corner, BOX, high, fc=colour, ec=LIGHT.faint, lw=0.6))
    axes.text(x, y, textwrap.fill(_cut(name, NAME), 17), ha="center", va="center", fontsize=6.5)


FIGURE = PaperFigure("explanation", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
