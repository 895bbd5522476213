"""Runs of the loop table that programs open, and lines measured on them or on one that is given."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from experiments.commit import begin, warn_if_dirty
from experiments.jobs import PLAIN, Job, jobs
from experiments.reproduce import made
from experiments.results import append_rows
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun, open_run
from relgnn.runtime import environment

LOOP = "loop_codex_s"

Rows = Mapping[str, dict[str, float]]
"""Row -> metrics."""


def base_job(seed: int) -> Job:
    """The run of the loop table that programs read, replay and measure."""
    return next(job for job in jobs(LOOP, [PLAIN], [seed]) if job.name == PLAIN)


def base_run(seed: int) -> Path:
    """The folder of a seed's base run, made where it is missing."""
    return made(base_job(seed))


def record_asked(
    table: str,
    data: str | None,
    program: str,
    given: argparse.Namespace,
    options: str,
    measure: Callable[[OpenRun], Rows],
    results: Path,
) -> None:
    """Measure the runs that were asked for, append a line for each row, and print them.

    Args:
        table: its name.
        data: the data set that it is of.
        program: its module.
        given: the command line: `run`, a folder, or else `seeds` of the loop table's runs.
        options: the command's others.
        measure: gives the rows of a run.
        results: folder of results.

    Raises:
        InputError: a run is of another data set.
    """
    warn_if_dirty()
    for folder, command in _asked(program, given, options):
        _record(table, data, folder, measure, command, results)


def _asked(program: str, given: argparse.Namespace, options: str) -> Iterator[tuple[Path, str]]:
    """The folders to measure, each with the command that measures it again."""
    if given.run is not None:
        # the folder's name alone: where it is says nothing elsewhere
        yield given.run, f"python -m {program} --run {given.run.name} {options}"
        return
    for seed in given.seeds:
        yield base_run(seed), f"python -m {program} --seeds {seed} {options}"


def _record(
    table: str,
    data: str | None,
    folder: Path,
    measure: Callable[[OpenRun], Rows],
    command: str,
    results: Path,
) -> None:
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
