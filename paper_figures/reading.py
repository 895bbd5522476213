"""What figures read: lines of experiments/results that tables show, as mean and spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

from experiments.current import rendered
from experiments.results import RESULTS, Line, read_lines
from experiments.tables import by_family, grouped
from relgnn.errors import InputError
from relgnn.ranking.statistics import mean_std
from relgnn.training import load_json

Summary = dict[str, Any]
"""`mean`; `std` over seeds, None for one; `seeds`, how many."""

DIGITS = 9
"""Significant digits that are kept: the last bits differ between machines."""


def lines_if_any(table: str, root: Path = RESULTS, fraction: float | None = None) -> list[Line]:
    """What a table shows, see `experiments.current.rendered`; nothing where it has no such lines.

    Args:
        table: its name.
        root: folder of results.
        fraction: the only share of the data to keep; all where None.
    """
    lines = rendered(read_lines(table, root))
    return [line for line in lines if fraction is None or line.fraction == fraction]


def lines_of(
    table: str,
    root: Path = RESULTS,
    fraction: float | None = None,
    made_by: str | None = None,
) -> list[Line]:
    """`lines_if_any`, of a table that a figure cannot do without.

    Args:
        table, root, fraction: as there.
        made_by: what measures it; `experiments.reproduce` where None.

    Raises:
        InputError: there is none.
    """
    lines = lines_if_any(table, root, fraction)
    if not lines:
        share = "" if fraction is None else f" at {percent(fraction)}"
        raise InputError(
            f"{root}: no clean results of {table}{share}; run python -m "
            f"{made_by or f'experiments.reproduce {table}'} from a clean tree"
        )
    return lines


def kept(name: str, command: str, root: Path = RESULTS) -> dict[str, Any]:
    """A JSON file that a program keeps beside the tables.

    Args:
        name: of the file.
        command: that makes it.
        root: folder of results.

    Raises:
        InputError: it is not there, or uncommitted code made it.
    """
    path = root / name
    if not path.exists():
        raise InputError(f"{path}: is not there; run {command}")
    content: dict[str, Any] = load_json(path)
    if content["dirty"]:
        raise InputError(f"{path}: made by uncommitted code; run {command} from a clean tree")
    return content


def families(lines: Sequence[Line]) -> dict[str, dict[str, list[Line]]]:
    """Graph network ("" for R-GCN) -> row -> lines of a loop table, in the order of readers."""
    return by_family(grouped(lines))


def summary(values: Iterable[SupportsFloat]) -> Summary:
    """Mean and sample standard deviation of one value a seed."""
    kept = [float(value) for value in values]
    mean, deviation = mean_std(kept)
    std = None if deviation != deviation else rounded(deviation)
    return {"mean": rounded(mean), "std": std, "seeds": len(kept)}


def summary_of(lines: Iterable[Line], metric: str) -> Summary | None:
    """A metric's summary over lines; None where none has it."""
    values = [line.metrics[metric] for line in lines if metric in line.metrics]
    return summary(values) if values else None


def rounded(value: float) -> float:
    """A number as it is kept."""
    return float(f"{value:.{DIGITS}g}")


def percent(fraction: float) -> str:
    """A share as text: 0.1 is "10 %"."""
    return f"{100 * fraction:g} %"
