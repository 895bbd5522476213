"""Figures of the report: one function a panel; colours by Okabe and Ito, labels on the data."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

Draw = Callable[[Axes, "Palette"], None]
Curves = Mapping[str, Sequence[float]]

MIN_GAP = 0.065
"""Smallest distance of two labels, as a share of the report's axes."""
WIDEST = 6
"""Rank changes beyond a factor of 2^6 share the outermost bars."""

_STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 12.5,
    "axes.titlepad": 12,
    "axes.labelsize": 11,
    "svg.hashsalt": "relgnn",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Palette:
    """Colours of one background; `strata` by group name."""

    background: str
    ink: str
    faint: str
    grid: str
    good: str
    bad: str
    strata: Mapping[str, str]


OKABE_ITO = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "vermillion": "#D55E00",
    "sky": "#56B4E9", "purple": "#CC79A7", "black": "#000000", "yellow": "#F0E442",
}  # fmt: skip
"""Colours that readers with any colour vision tell apart (Okabe and Ito 2008)."""

_ORANGE, _SKY, _BLUE, _VERMILLION = (
    OKABE_ITO[name] for name in ("orange", "sky", "blue", "vermillion")
)
LIGHT = Palette(
    "#ffffff", "#1c1c1e", "#66666b", "#e4e4e7", _BLUE, _VERMILLION,
    {"all": "#1c1c1e", "feature": _BLUE, "corpus": _ORANGE, "none": _VERMILLION},
)  # fmt: skip
DARK = Palette(
    "#1b1c1f", "#ececee", "#a2a2a9", "#35363b", _SKY, _VERMILLION,
    {"all": "#ececee", "feature": _SKY, "corpus": _ORANGE, "none": _VERMILLION},
)  # fmt: skip
MARKERS = {"all": "o", "feature": "s", "corpus": "^", "none": "D"}


def svg(draw: Draw, palette: Palette) -> bytes:
    """One panel as SVG, the same bytes for the same data."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.9, 4.1), facecolor=palette.background)
        draw(_axes(figure, 111, palette), palette)
        figure.tight_layout(pad=0.6)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "relgnn"})
    return out.getvalue()


def overview(draws: Sequence[Draw], title: str) -> bytes:
    """Up to four panels on one page, as PNG."""
    with matplotlib.rc_context(_STYLE):
        columns = min(2, len(draws))
        rows = -(-len(draws) // columns)
        size = (13 if columns > 1 else 7.5, 4.7 * rows + 0.6)
        figure = Figure(figsize=size, facecolor=LIGHT.background)
        figure.suptitle(title, x=0.012, ha="left", fontsize=17, fontweight="bold", color=LIGHT.ink)
        for place, draw in enumerate(draws, start=1):
            draw(_axes(figure, (rows, columns, place), LIGHT), LIGHT)
        figure.tight_layout(pad=1.2, w_pad=3, h_pad=2.5)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=130, metadata={"Software": "relgnn"})
    return out.getvalue()


def draw_rounds(numbers: Sequence[int], curves: Curves) -> Draw:
    """MRR after each round, one line a stratum.

    Args:
        numbers: rounds, ascending.
        curves: stratum -> MRR of each round.
    """

    def draw(axes: Axes, palette: Palette) -> None:
        for name, values in curves.items():
            thick = 2.8 if name == "all" else 1.9
            axes.plot(
                numbers, values, color=palette.strata[name], lw=thick, marker=MARKERS[name],
                ms=6.5, clip_on=False, zorder=4 if name == "all" else 3,
            )  # fmt: skip
        _headroom(axes, [v for values in curves.values() for v in values])
        ends = {f"{name} {short(values[-1])}": values[-1] for name, values in curves.items()}
        end_labels(axes, max(numbers), ends, palette)
        axes.set_xticks(list(numbers), ["before\nreading", *(f"round {n}" for n in numbers[1:])])
        axes.set_title("Test MRR by round", color=palette.ink)
        short_ticks(axes.yaxis)

    return draw


def draw_changes(before: np.ndarray, after: np.ndarray) -> Draw:
    """How many answers moved up or down, by the factor between their ranks.

    Args:
        before, after: realistic ranks of the same queries, [Q].
    """
    change = np.clip(np.log2(before / after), -WIDEST, WIDEST)
    edges = np.arange(-WIDEST - 0.25, WIDEST + 0.5, 0.5)
    counts, _ = np.histogram(change, edges)
    share, middle = 100 * counts / len(change), (edges[:-1] + edges[1:]) / 2
    better, worse = float(np.mean(after < before)), float(np.mean(after > before))

    def draw(axes: Axes, palette: Palette) -> None:
        colour = np.where(middle > 0.2, palette.good, palette.bad)
        colour[np.abs(middle) < 0.2] = palette.faint
        axes.bar(middle, share, width=0.44, color=colour.tolist())
        top = 1.22 * share.max()
        axes.set_ylim(0, top)
        for x, text, side in (
            (-WIDEST, f"worse {worse:.0%}", "left"),
            (WIDEST, f"better {better:.0%}", "right"),
        ):
            axes.text(x, top, text, ha=side, va="top", color=palette.ink, fontweight="bold")
        same = f"same {1 - better - worse:.0%}"
        axes.text(0, top, same, ha="center", va="top", color=palette.ink, fontweight="bold")
        ticks = range(-WIDEST, WIDEST + 1, 2)
        axes.set_xticks(list(ticks), ["1" if t == 0 else f"{2 ** abs(t)}×" for t in ticks])
        axes.set_xlabel("← rank is worse by … · rank is better by … →", color=palette.faint)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_title("Ranks of the right answers, before and after", color=palette.ink)

    return draw


def draw_rows(
    rows: Mapping[str, Mapping[str, float]],
    bold: str,
    spread: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "Test MRR of every row",
) -> Draw:
    """MRR of every row and stratum on one line each.

    Args:
        rows: title of the row, top first -> stratum -> MRR.
        bold: the title to stress.
        spread: like `rows`, standard deviation over seeds; None or nan for one seed.
        title: of the panel.
    """

    def draw(axes: Axes, palette: Palette) -> None:
        for place, (row, values) in enumerate(rows.items()):
            axes.plot(
                [min(values.values()), max(values.values())], [place, place],
                color=palette.grid, lw=3, zorder=1, solid_capstyle="round",
            )  # fmt: skip
            for name, value in values.items():
                size = 75 if name == "all" else 42
                axes.scatter(
                    value, place, s=size, color=palette.strata[name], marker=MARKERS[name],
                    zorder=3 if name == "all" else 2, linewidths=0,
                )  # fmt: skip
                if spread is not None:
                    axes.errorbar(
                        value, place, xerr=spread[row][name], color=palette.strata[name], lw=1.4,
                        capsize=3,
                    )  # fmt: skip
            axes.text(
                1.02, place, short(values["all"]), transform=axes.get_yaxis_transform(),
                color=palette.ink, va="center", fontweight="bold" if row == bold else "normal",
            )  # fmt: skip
            if row == bold:
                axes.axhspan(place - 0.42, place + 0.42, color=palette.grid, alpha=0.55, lw=0)
        axes.text(1.02, 1.045, "all", transform=axes.transAxes, color=palette.faint)
        axes.set_yticks(range(len(rows)), list(rows))
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == bold else "normal")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=palette.grid, lw=0.8)
        _legend(axes, [n for n in MARKERS if any(n in v for v in rows.values())], palette)
        axes.set_title(title, color=palette.ink, pad=30)
        short_ticks(axes.xaxis)

    return draw


def draw_calibration(bins: Sequence[Mapping[str, float]]) -> Draw:
    """Promised against real precision of all candidates, in bins of equal count.

    Args:
        bins: `p`, `true` and `count` of each, from `calibration_report`.
    """
    promised = np.array([b["p"] for b in bins])
    real = np.array([b["true"] for b in bins])
    counts = np.array([b["count"] for b in bins])
    # Wald's interval would be empty at 0 and 1; Wilson's is not.
    z = 1.96
    centre = (real + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(real * (1 - real) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)

    def draw(axes: Axes, palette: Palette) -> None:
        top = min(1.0, 1.12 * max(promised.max(), (centre + half).max(), 0.05))
        axes.plot([0, top], [0, top], color=palette.faint, lw=1, ls=(0, (4, 3)))
        above = float(np.mean(real)) < float(np.mean(promised))
        axes.text(
            0.73 * top, 0.75 * top if above else 0.71 * top, "as promised", color=palette.faint,
            ha="right" if above else "left", va="bottom" if above else "top",
        )  # fmt: skip
        axes.vlines(promised, centre - half, centre + half, color=palette.good, lw=2, alpha=0.55)
        axes.plot(promised, real, color=palette.good, marker="o", ms=7, lw=1.6)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_xlabel(
            "promised: mean posterior of a tenth of the candidates", color=palette.faint
        )
        axes.set_title("Share that the data set holds as true", color=palette.ink)
        for axis in (axes.xaxis, axes.yaxis):
            short_ticks(axis)

    return draw


def end_labels(
    axes: Axes, x: float, labels: Mapping[str, float], palette: Palette, gap: float = MIN_GAP
) -> None:
    """Write each label beside the end of its line, joined to it, and apart from the others.

    Args:
        axes: whose limits stay as they are from now on.
        x: where the lines end.
        labels: text -> where its line ends; one that begins with "all " is stressed.
        palette: colours of the background.
        gap: smallest distance of two labels, as a share of the axis.
    """
    low, high = axes.get_ylim()
    gap *= high - low
    order = sorted(labels, key=lambda text: labels[text])
    places = [labels[text] for text in order]
    for _ in range(100):
        for below in range(len(places) - 1):
            push = max(0.0, gap - (places[below + 1] - places[below])) / 2
            places[below] -= push
            places[below + 1] += push
    for text, place in zip(order, places, strict=True):
        weight = "bold" if text.startswith("all ") else "normal"
        label = axes.annotate(
            text, (x, place), xytext=(14, 0), textcoords="offset points", va="center",
            color=palette.ink, fontweight=weight, annotation_clip=False,
        )  # fmt: skip
        axes.annotate(
            "", (x, labels[text]), xytext=(0, 0.5), textcoords=label, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": palette.faint, "linewidth": 0.6, "shrinkA": 2,
                        "shrinkB": 5},
        )  # fmt: skip


def short_ticks(axis: matplotlib.axis.Axis) -> None:
    """At most six ticks, no leading zero, two digits or the three that close ticks need."""

    def tell(value: float, _: int | None) -> str:
        ticks = axis.get_majorticklocs()
        digits = 2 if len(ticks) < 2 or ticks[1] - ticks[0] > 0.0099 else 3
        text = f"{abs(value):.{digits}f}"
        sign = "−" if value < 0 and float(text) else ""
        return sign + (text.removeprefix("0") if float(text) else "0")

    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(tell))


def _axes(figure: Figure, place: int | tuple[int, int, int], palette: Palette) -> Axes:
    axes = figure.add_subplot(*(place if isinstance(place, tuple) else (place,)))
    axes.set_facecolor(palette.background)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=palette.grid, lw=0.8)
    axes.tick_params(colors=palette.faint, labelcolor=palette.ink)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(palette.grid)
    return axes


def _headroom(axes: Axes, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    room = max(0.12 * (high - low), 0.01)
    axes.set_ylim(max(0.0, low - room), high + room)


def _legend(axes: Axes, names: Sequence[str], palette: Palette) -> None:
    handles = [
        axes.scatter([], [], color=palette.strata[n], marker=MARKERS[n], s=50, label=n)
        for n in names
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, frameon=False,
        labelcolor=palette.ink, handletextpad=0.1, columnspacing=1.1, borderaxespad=0.1,
    )  # fmt: skip


def short(value: float | None) -> str:
    """Three digits without the leading zero, minus as typographers write it; a dash for None."""
    if value is None:
        return "–"
    digits = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(digits) else ""
    return sign + digits.removeprefix("0")
