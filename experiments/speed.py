"""The table of speeds: ours beside the peer's and the machine's limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.results import Line

SPEED = "speed"

COMPARED = {
    "ours_s": "ours, s",
    "peer_s": "peer, s",
    "ratio": "ratio",
    "limit_s": "limit, s",
    "ours_mb": "ours, MB",
    "peer_mb": "peer, MB",
}
SCALED = {
    "build_s": "build, s",
    "ours_s": "full forward, s",
    "step_s": "sampled step, s",
    "ours_mb": "peak, MB",
}
EXPONENT = "exponent_"


def render_speed(lines: Sequence[Line]) -> str:
    """Markdown of the clean lines of the table `speed`: comparisons, then growth with size."""
    compared = [line for line in lines if line.peer]
    scaled = sorted((line for line in lines if not line.peer), key=_size)
    parts = []
    if compared:
        titles = ["row", "peer", *COMPARED.values()]
        rows = [[f"`{x.row}`", str(x.peer), *_cells(x.metrics, COMPARED)] for x in compared]
        parts.append(_markdown(titles, 2, rows))
    if scaled:
        rows = [[f"{_size(x):,}", *_cells(x.metrics, SCALED)] for x in scaled]
        parts.append(_markdown(["triples", *SCALED.values()], 0, rows))
        found = {k: v for x in scaled for k, v in x.metrics.items() if k.startswith(EXPONENT)}
        names = {EXPONENT + k.replace("ours_s", "forward_s"): v for k, v in SCALED.items()}
        names[EXPONENT + "memory_mb"] = names.pop(EXPONENT + "ours_mb")
        said = ", ".join(f"{names[k]} {v:.2f}" for k, v in found.items() if k in names)
        parts.append(f"Exponents fitted from 1,000,000 triples up: {said}.")
    commands = sorted({f"`{line.command}`" for line in lines})
    commits = sorted({line.git_commit[:10] for line in lines})
    machines = sorted({line.hardware for line in lines})
    parts.append(f"Made by {', '.join(commands)} at {', '.join(commits)} on {'; '.join(machines)}.")
    return "\n\n".join(parts) + "\n"


def _size(line: Line) -> int:
    return int(line.row.rpartition("_")[2])


def _cells(metrics: Mapping[str, float], columns: Mapping[str, str]) -> list[str]:
    return [_cell(name, metrics.get(name)) for name in columns]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("_mb"):
        return f"{value:,.0f}"
    if name == "ratio":
        return f"{value:,.1f}×"
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"


def _markdown(titles: Sequence[str], words: int, rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, [*["---"] * words, *["---:"] * (len(titles) - words)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
