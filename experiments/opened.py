"""Lines that a program measures on opened runs of the loop table, or on a run that is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from experiments.commit import at_end, provenance
from experiments.results import append, make_line
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun, open_run
from relgnn.runtime import environment, peak_memory_mb

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
    config, code, started = run.world.config, provenance(folder), time.perf_counter()
    if config.data.name != data:
        raise InputError(
            f"{folder}: is a run of {run.graph.name}; the table {table} is of {data}, so give a "
            "run of that"
        )
    rows = measure(run)
    code = at_end(code)
    cost = {"seconds": time.perf_counter() - started, "peak_memory_mb": peak_memory_mb()}
    seed, where = run.world.runtime.seed, environment()
    append(table, [
        make_line(table, row, seed, config, metrics, {}, command, code, cost, where)
        for row, metrics in rows.items()
    ], results)  # fmt: skip
    for row, metrics in rows.items():
        print(row, *(f"{name} {value:.4f}" for name, value in metrics.items()), sep="  ")
