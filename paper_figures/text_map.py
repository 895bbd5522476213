"""Marked sentences by what a language model says of their entities, before and after tuning.

Run by `python -m paper_figures.text_map`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.text_map import FILE
from paper_figures.drawing import TWO_COLUMNS, Numbers, PaperFigure, command, legend
from paper_figures.reading import kept
from relgnn.loop.figures import OKABE_ITO, short

MAPS = {"before": "Before tuning", "after": "After tuning"}
OTHER, PALE = "Other", "#cbcbd0"
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">")
"""One a relation, beside its colour: there are more relations than colours that all can tell."""


def numbers(root: Path) -> Numbers:
    """Places of the sentences in both maps, their relations, and what made them."""
    content = kept(FILE, "python -m experiments.text_map", root)
    return {name: content[name] for name in ("command", "relations", *MAPS)}


def draw(shown: Numbers) -> Figure:
    """Two maps, whose axes mean nothing; sentences without a relation in grey, below the others."""
    figure = Figure(figsize=(TWO_COLUMNS, 3.2))
    relations = np.array(shown["relations"])
    names = sorted(set(relations) - {OTHER})
    colours = [colour for name, colour in OKABE_ITO.items() if name not in ("black", "yellow")]
    looks = {
        name: (colours[k % len(colours)], MARKERS[k % len(MARKERS)]) for k, name in enumerate(names)
    }
    if OTHER in relations:
        looks = {OTHER: (PALE, "o"), **looks}
    for axes, (name, title) in zip(figure.subplots(1, len(MAPS)), MAPS.items(), strict=True):
        places = np.array(shown[name]["places"])
        for order, (relation, (colour, marker)) in enumerate(looks.items()):
            x, y = places[relations == relation].T
            axes.scatter(x, y, s=9, color=colour, marker=marker, linewidths=0, zorder=2 + order)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(title)
        axes.set_xlabel(
            f"of the 10 nearest, {short(shown[name]['neighbours'])} state the same relation"
        )
        axes.spines[:].set_visible(False)
    legend(figure, looks, columns=5)
    return figure


FIGURE = PaperFigure("text_map", numbers, draw)

if __name__ == "__main__":
    sys.exit(command([FIGURE]))
