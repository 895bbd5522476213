"""What figures share: sizes, points with spread, the files written, and whether they are stale."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from experiments.command import tells_errors
from experiments.results import RESULTS
from paper_figures.reading import Summary, percent
from relgnn.loop.figures import LIGHT, OKABE_ITO
from relgnn.training import atomic_file

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "out"
STYLE = ROOT / "style.mplstyle"

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
"""Widths in inches of a figure in one column, and across both."""
ROW = 0.17
"""Height in inches of a row that has a name at its left."""

Numbers = dict[str, Any]


@dataclass(frozen=True)
class PaperFigure:
    """A figure.

    Attributes:
        name: of its files and its script.
        numbers: folder of results -> what is shown, as JSON holds it.
        draw: makes the picture of the numbers.
    """

    name: str
    numbers: Callable[[Path], Numbers]
    draw: Callable[[Numbers], Figure]


@contextmanager
def style() -> Iterator[None]:
    """The paper's style alone, whatever the user's own is."""
    with matplotlib.style.context(
        ["default", STYLE, {"axes.prop_cycle": cycler(color=list(OKABE_ITO.values()))}]
    ):
        yield


def sidecar(figure: PaperFigure, root: Path = RESULTS) -> str:
    """The numbers of a figure as the text of its JSON file.

    Raises:
        InputError: results that it needs are not there.
    """
    content = {"command": f"python -m paper_figures.{figure.name}", "shown": figure.numbers(root)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write(figure: PaperFigure, root: Path = RESULTS, out: Path = OUT) -> list[Path]:
    """Write a figure as PDF and PNG with its numbers as JSON, the same bytes for the same numbers.

    Raises:
        InputError: results that it needs are not there.
        MachineError: a file cannot be written.
    """
    text = sidecar(figure, root)
    said, now = {"Software": "relgnn", "Description": _digest(text)}, io.BytesIO()
    with style():
        picture = figure.draw(json.loads(text)["shown"])
        picture.savefig(now, format="png", metadata=said)
        files = {"json": text.encode(), "png": now.getvalue()}
        now = io.BytesIO()
        undated = {"CreationDate": None, "Producer": None, "Creator": "relgnn"}
        picture.savefig(now, format="pdf", metadata={**undated, "Keywords": _digest(text)})
        files["pdf"] = now.getvalue()
    paths = []
    for ending, content in files.items():
        paths.append(out / f"{figure.name}.{ending}")
        with atomic_file(paths[-1]) as partial:
            partial.write_bytes(content)
    return paths


def differences(figures: Sequence[PaperFigure], root: Path = RESULTS, out: Path = OUT) -> list[str]:
    """Files that do not show what the results say, one sentence each.

    Raises:
        InputError: results that a figure needs are not there.
    """
    found = []
    for figure in figures:
        text = sidecar(figure, root)
        marks = {"json": text, "png": _digest(text), "pdf": _digest(text)}
        for ending, mark in marks.items():
            path = out / f"{figure.name}.{ending}"
            if not path.exists() or mark.encode() not in path.read_bytes():
                found.append(
                    f"{path.name} does not show what the results say; run python -m paper_figures."
                    f"{figure.name}"
                )
    return found


def point(
    axes: Axes, place: float, shown: Summary, colour: str, marker: str, along: str = "x"
) -> None:
    """A mean with its spread over seeds; hollow, and without spread, for one seed.

    Args:
        axes: where.
        place: on the other axis.
        shown: what the mean and spread are.
        colour, marker: of the point.
        along: the axis of mean and spread.
    """
    x, y = (shown["mean"], place) if along == "x" else (place, shown["mean"])
    spread = {f"{along}err": shown["std"]} if shown["std"] is not None else {}
    axes.errorbar(
        x, y, **spread, color=colour, marker=marker, elinewidth=1, linestyle="none", zorder=3,
        markerfacecolor=colour if shown["seeds"] > 1 else LIGHT.background,
    )  # fmt: skip


def curve(
    axes: Axes, places: Sequence[float], shown: Sequence[Summary], colour: str, marker: str
) -> None:
    """A line through means, each a `point` of y at its place of x."""
    axes.plot(places, [one["mean"] for one in shown], color=colour)
    for place, one in zip(places, shown, strict=True):
        point(axes, place, one, colour, marker, along="y")


def name_rows(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Names left of the first panel, the first on top, and no lines but the vertical ones."""
    panels[0].set_yticks(range(len(names)), list(names))
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)


def percent_axis(axes: Axes, shares: Sequence[float]) -> None:
    """A logarithmic x axis of shares, each with its tick, and room beside the outermost."""
    axes.set_xscale("log")
    axes.set_xticks(list(shares), [percent(share) for share in shares])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(shares[0] / 1.15, shares[-1] * 1.15)


def legend(
    figure: Figure, looks: Mapping[str, tuple[str, str]], *more: Line2D, columns: int = 8
) -> None:
    """One legend above all panels.

    Args:
        figure: which.
        looks: name -> colour and marker.
        more: what stands after them.
        columns: at most.
    """
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=name)
        for name, (colour, marker) in looks.items()
    ]
    handles += more
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@tells_errors
def command(
    figures: Sequence[PaperFigure],
    arguments: Sequence[str] | None = None,
    root: Path = RESULTS,
    out: Path = OUT,
) -> int:
    """The command line of one figure or of all."""
    parser = argparse.ArgumentParser(prog="python -m paper_figures", description="Draws figures.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if parser.parse_args(arguments).check:
        found = differences(figures, root, out)
        print("\n".join(found) or "the figures show what the results say")
        return int(bool(found))
    for figure in figures:
        print(*write(figure, root, out), sep="\n", file=sys.stderr)
    return 0
