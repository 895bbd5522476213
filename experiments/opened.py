"""Lines that a program measures on opened runs of the loop table, or on a run that is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from experiments.commit import begin
from experiments.results import append_rows
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun, open_run
from relgnn.runtime import environment

Rows = Mapping[str, dict[str, float]]
"""Row -> metrics."""


def asked_runs(
    program: str, run: Path | None, seeds: Sequence[int], options: str, base: Callable[[int], Path]
) -> Iterator[tuple[Path, str]]:
    """The folders to measure, each with the command that measures it again.

    Args:
        program: its module.
        run: a folder in place of those of the seeds.
        seeds: of the loop table's runs.
        options: the command's others.
        base: the folder of a seed.
    """
    if run is not None:
        # the folder's name alone: where it is says nothing elsewhere
        yield run, f"python -m {program} --run {run.name} {options}"
        return
    for seed in seeds:
        yield base(seed), f"python -m {program} --seeds {seed} {options}"


def record_rows(
    table: str,
    data: str | None,
    folder: Path,
    measure: Callable[[OpenRun], Rows],
    command: str,
    results: Path,
) -> None:
    """Measure an opened run, append a line for each row, and print them.

    Args:
        table: its name.
        data: the data set that it is of.
        folder: of the run.
        measure: gives the rows.
        command: that makes them again.
        results: folder of results.

    Raises:
        InputError: the run is of another data set.
    """
    run = open_run(folder)
    config, begun = run.world.config, begin(folder)
    if config.data.name != data:
        raise InputError(
            f"{folder}: is a run of {run.graph.name}; the table {table} is of {data}, so give a "
            "run of that"
        )
    rows = measure(run)
    code, cost = begun.ended()
    seed = run.world.runtime.seed
    append_rows(table, rows, seed, config, command, code, cost, environment(), results)
    for row, metrics in rows.items():
        print(row, *(f"{name} {value:.4f}" for name, value in metrics.items()), sep="  ")
