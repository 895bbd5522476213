"""What tables and figures show of the results: clean lines of the configurations on file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from experiments import jobs
from experiments.results import Line
from relgnn.config import load_run_config
from relgnn.errors import InputError


def rendered(lines: Iterable[Line]) -> list[Line]:
    """What a table shows: of each row, fraction and seed the last line that is clean and current.

    Args:
        lines: of a table, in the order they were written.
    """
    kept = (line for line in lines if not line.dirty and is_current(line))
    return list({(line.row, line.fraction, line.seed): line for line in kept}.values())


def is_current(line: Line) -> bool:
    """Whether a line is of a configuration that its table has, or its table has none."""
    names = _names(jobs.CONFIGS / line.table)
    if not names:
        return True
    # a run's rows are named after its configuration, all but those of a loop table's plain one
    name = line.row.partition("/")[0]
    name = name if name in names else jobs.PLAIN
    path = jobs.CONFIGS / line.table / f"{name}.yaml"
    return name in names and line.config_sha256 == _sha256(path, line.fraction, line.seed)


@cache
def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.stem for path in folder.glob("*.yaml"))


@cache
def _sha256(path: Path, fraction: float, seed: int) -> str | None:
    """A configuration's hash as `experiments.jobs` makes it; None where it refuses the fraction."""
    changes = [f"data.fraction={fraction}", f"runtime.seed={seed}", f"data.split_seed={seed}"]
    try:
        return load_run_config(path, changes).sha256()
    except InputError:
        return None
