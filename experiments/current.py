"""What tables and figures show of the results: clean lines of the configurations on file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from experiments import jobs
from experiments.results import Line
from relgnn.config import load_run_config
from relgnn.errors import InputError

NAMED_ROWS = ("re_", "ablation_", "efficient_", "pretraining_", "continue_", "inductive_", "ogb")
"""Tables whose rows say by name what was given."""


def rendered(lines: Iterable[Line]) -> list[Line]:
    """What a table shows: of each row, fraction and seed the last line that is clean and current.

    Args:
        lines: of a table, in the order they were written.
    """
    return list({(line.row, line.fraction, line.seed): line for line in kept(lines)}.values())


def kept(lines: Iterable[Line]) -> list[Line]:
    """All that are clean and current: of a row and seed those of several machines, too."""
    return [line for line in lines if not line.dirty and is_current(line)]


def is_current(line: Line) -> bool:
    """Whether a line is of a configuration that its table has, or its table has none.

    Where rows say by name what was given, none is shown of another share.
    """
    names = names_of(line.table)
    if not names:
        return True
    name = configuration_of(line)
    path = jobs.CONFIGS / line.table / f"{name}.yaml"
    if name not in names or line.config_sha256 != _sha256(path, line.fraction, line.seed):
        return False
    return not line.table.startswith(NAMED_ROWS) or line.fraction == own_fraction(line)


def configuration_of(line: Line) -> str:
    """The name of the configuration that made a line.

    A run's rows are named after it, all but those of a loop table's plain one.
    """
    name = line.row.partition("/")[0]
    return name if name in names_of(line.table) else jobs.PLAIN


def own_fraction(line: Line) -> float:
    """The share of the data that a line's configuration, where there is one, gives by itself."""
    path = jobs.CONFIGS / line.table / f"{configuration_of(line)}.yaml"
    return _fraction(path) if path.is_file() else line.fraction


@cache
def _fraction(path: Path) -> float:
    return load_run_config(path).data.fraction


def names_of(table: str) -> frozenset[str]:
    """Names of a table's configurations, if it has any."""
    return _names(jobs.CONFIGS / table)


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
