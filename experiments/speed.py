"""The table of speeds: ours beside the peer's and the machine's limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.markdown import markdown_table
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
LINKED = {
    "sentences_s": "sentences a second",
    "candidates_s": "candidates a second",
    "ours_mb": "peak, MB",
}
SERVED = {
    "asked_s": "asked a second",
    "answered_s": "answered a second",
    "p50_s": "p50, s",
    "p95_s": "p95, s",
    "p99_s": "p99, s",
    "cpu_s": "processor, s each",
    "busy": "told to come again",
    "failed": "failed",
    "ours_mb": "MB",
    "grown_mb": "MB grown",
}
ROUNDS = {
    "ours_s": "seconds",
    "graph_judges_s": "graph judges",
    "proposals_s": "proposals",
    "pair_models_s": "pair models",
    "extractors_s": "extractors",
    "text_model_s": "text model",
    "graph_model_s": "graph model",
    "ours_mb": "peak, MB",
}
EXPLORED = {
    "ours_s": "first answer, s",
    "least_s": "least",
    "most_s": "most",
    "repeats": "repeats",
}
EXPONENTS = {
    "exponent_build_s": "build",
    "exponent_forward_s": "full forward",
    "exponent_step_s": "sampled step",
    "exponent_memory_mb": "peak memory",
}


def render_speed(lines: Sequence[Line]) -> str:
    """Markdown of the table `speed`: comparisons, size, linking, rounds, serving, explorer."""
    compared = [line for line in lines if line.peer]
    linked = [line for line in lines if line.row.startswith("linking_")]
    served = [line for line in lines if line.row.startswith("serving_")]
    rounds = [line for line in lines if line.row.startswith("round_")]
    explored = [line for line in lines if line.row.startswith("explorer_")]
    own = (*linked, *served, *rounds, *explored)
    others = [line for line in lines if not line.peer and line not in own]
    scaled = sorted(others, key=_size)
    parts = []
    if compared:
        titles = ["row", "peer", *COMPARED.values()]
        rows = [[f"`{x.row}`", str(x.peer), *_cells(x.metrics, COMPARED)] for x in compared]
        parts.append(markdown_table(titles, rows, words=2))
    if scaled:
        rows = [[f"{_size(x):,}", *_cells(x.metrics, SCALED)] for x in scaled]
        parts.append(markdown_table(["triples", *SCALED.values()], rows, words=0))
        found = {name: value for x in scaled for name, value in x.metrics.items()}
        said = ", ".join(f"{what} {found[n]:.2f}" for n, what in EXPONENTS.items() if n in found)
        parts.append(f"Exponents fitted from 1,000,000 triples up: {said}.")
    if linked:
        sizes = [line for line in linked if "recall" not in line.metrics]
        rows = [[f"`{x.row}`", *_cells(x.metrics, LINKED)] for x in sizes]
        parts.append(markdown_table(["row", *LINKED.values()], rows, words=1))
        for one in (x.metrics for x in linked if x not in sizes):
            parts.append(
                f"Of {one['named']:,.0f} given triples whose both ends a sentence names, "
                f"{one['recall']:.1%} are candidate pairs; of all {one['given']:,.0f}, "
                f"{one['reached']:.1%}."
            )
    if rounds:
        rows = [[f"`{x.row}`", *_cells(x.metrics, ROUNDS)] for x in rounds]
        parts.append(markdown_table(["row", *ROUNDS.values()], rows, words=1))
    if served:
        rows = [[f"`{x.row}`", *_cells(x.metrics, SERVED)] for x in served]
        parts.append(markdown_table(["row", *SERVED.values()], rows, words=1))
    if explored:
        rows = [[f"`{x.row}`", *_cells(x.metrics, EXPLORED)] for x in explored]
        parts.append(markdown_table(["row", *EXPLORED.values()], rows, words=1))
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
    if name.endswith("_mb") or name in ("busy", "failed", "repeats"):
        return f"{value:,.0f}"
    if name == "ratio":
        return f"{value:,.1f}×"
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}"
