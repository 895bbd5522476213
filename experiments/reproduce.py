"""Run a table's configurations, record their results and print ours beside the expected figures.

    python -m experiments.reproduce TABLE [--rows ROW ...] [--seeds S ...] [--fraction F] [--resume]
        [--again] [--jobs N]

Only what is missing in experiments/results/<TABLE>.jsonl is run, one configuration and seed at a
time, each in its own process. `--again` runs what is there too, to measure its time anew. `--jobs`
runs several at once, as on a GPU that one alone does not fill; their times then are not their own.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.command import add_seeds, make_parser, tells_errors
from experiments.commit import FILE, differs, stamp, tree_is_dirty, warn_if_dirty
from experiments.jobs import (
    RUNS,
    Job,
    has_ended,
    is_finished,
    is_kept,
    jobs,
    members,
    missing,
    run_folder,
)
from experiments.results import (
    RESULTS,
    Line,
    append,
    counted,
    expected_of,
    latest,
    line_metrics,
    make_line,
    ranks_path,
    read_lines,
    save_ranks,
)
from experiments.side_by_side import run_all, share_processors
from relgnn.config import AnyConfig, AnyScoreConfig, Config
from relgnn.errors import InputError, MachineError, RelgnnError
from relgnn.loop.runs import run_any
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.ranking.statistics import mean_std
from relgnn.training import load_json, named_lines

SHOWN = {
    HITS_10_OF_50: "Hits@10 of 50", "hits@20": "Hits@20", "hits@50": "Hits@50", "mrr": "MRR",
    "hits@1": "Hits@1", "hits@10": "Hits@10",
    "macro_f1": "macro-F1", "micro_f1": "micro-F1", "accuracy": "accuracy",
    "acc": "accuracy of nodes", "perplexity": "perplexity", "perplexity_before": "before",
    "nsp_accuracy": "NSP accuracy",
}  # fmt: skip
"""Metrics of the summary, in order; the first that a row has is compared with the expected."""

Runner = Callable[[Any, Path, bool], Any]


def execute(
    job: Job, runs: Path = RUNS, results: Path = RESULTS, resume: bool = False,
    runner: Runner | None = None,
) -> list[Line]:  # fmt: skip
    """Run a job and record its rows.

    Args:
        job: what to run.
        runs: where run folders go; one of another configuration is replaced, and in a clean tree
            one of uncommitted code.
        results: where lines and ranks go.
        resume: go on with an interrupted run, and record one that had ended.
        runner: runs a configuration in a folder; by default in a process of its own.

    Raises:
        InputError: an interrupted run is there and `resume` is not asked for.
    """
    path = ranks_path(job.table, job.name, job.config.data.fraction, job.seed, results)
    folder = run_folder(job, runs)
    ended = has_ended(folder, job.config)
    if is_kept(folder, job.config) and not ended and not resume:
        raise InputError(f"{folder}: holds an interrupted run; add --resume, or delete the folder")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    lines = _lines(job, run_in(folder, job.config, runner))
    ranked = Config | AnyScoreConfig
    if isinstance(job.config, ranked) and not any(line.dirty for line in lines):
        rows = load_json(folder / "metrics.json")["rows"]
        save_ranks(folder, rows, path)
    append(job.table, lines, results)
    return lines


def run_in(folder: Path, config: AnyConfig, runner: Runner | None = None) -> Path:
    """A folder with a finished run of a configuration, made or gone on with where there is none.

    Args:
        folder: what else it holds is replaced.
        config: what to run.
        runner: runs a configuration in a folder; by default in a process of its own.
    """
    if has_ended(folder, config):
        return folder
    begun = is_kept(folder, config)
    if not begun:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    stamp(folder)
    (runner or run_apart)(config, folder, begun)
    stamp(folder)
    return folder


def made(
    job: Job, runs: Path = RUNS, results: Path = RESULTS, runner: Runner | None = None
) -> Path:
    """The folder of a job's finished run, which is run and recorded where it is missing.

    Raises:
        InputError: the folder holds another run than the one that is recorded, so that what is
            measured of it would not be of the table's.
    """
    folder = run_folder(job, runs)
    if not is_finished(job, runs):
        execute(job, runs, results, resume=True, runner=runner)
        return folder
    seconds = round(load_json(folder / "metrics.json").get("seconds", 0.0), 1)
    key = job.table, next(iter(job.rows.values())), job.config.data.fraction, job.seed
    recorded = latest(counted(read_lines(job.table, results), tree_is_dirty()))
    line = recorded.get((*key, job.config.sha256()))
    if line is not None and line.seconds != seconds:
        raise InputError(
            f"{folder}: took {seconds} s, and the run that {job.table}.jsonl records {line.seconds}"
            " s; delete the folder, so that it is made and recorded anew"
        )
    return folder


def planned(todo: Sequence[Job], lines: Sequence[Line], again: bool, dirty: bool) -> list[Job]:
    """What is to be run, once each: jobs that are not recorded, and before them what they read.

    Args:
        todo: jobs of a table.
        lines: what is recorded of it.
        again: those that are recorded, too.
        dirty: whether lines of uncommitted code count.
    """
    found: dict[tuple[str, str, int], Job] = {}
    asked = {job.key for job in todo if again or missing(job, lines, dirty)}
    for job in todo:
        if job.key in asked:
            for one in (*members(job), job):
                if one.key in asked or not is_finished(one):
                    found.setdefault(one.key, one)
    return list(found.values())


def run_apart(config: AnyConfig, folder: Path, resume: bool, named: bool = False) -> None:
    """Run in a fresh process, whose peak memory is the run's own.

    Args:
        config: what to run.
        folder: where.
        resume: go on with what the folder holds.
        named: progress is told in lines that begin with the folder's name.

    Raises:
        SystemExit: the run failed or was interrupted; its message is on standard error.
        MachineError: the process was killed.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_child, args=(type(config), config.model_dump_json(), str(folder), resume, named)
    )
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        # The child got the signal too; it writes what it needs to go on.
        process.join()
    code = process.exitcode or 0
    if code < 0:
        raise MachineError(f"{folder}: killed by signal {-code}; free memory and add --resume")
    if code:
        raise SystemExit(code)


def _child(kind: type[AnyConfig], config: str, folder: str, resume: bool, named: bool) -> None:
    found, path = kind.model_validate_json(config), Path(folder)
    Thread(target=_stop_with_parent, daemon=True).start()
    try:
        with named_lines(path.name) if named else nullcontext():
            run_any(found, path, resume)
    except RelgnnError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _stop_with_parent() -> None:
    """Stop this process, as Ctrl-C would, when the one that started it is gone.

    Else it would go on unseen, and write into the folder of the run that is started next.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _lines(job: Job, folder: Path) -> list[Line]:
    metrics = load_json(folder / "metrics.json")
    environment = load_json(folder / "environment.json")
    began = load_json(folder / FILE)
    # another commit may have come since, whose code is none of this run's
    code = {**began, "dirty": began["dirty"] or differs(began["git_commit"])}
    by_row = metrics["rows"]
    command = (
        f"python -m experiments.reproduce {job.table} --rows {shlex.quote(job.name)} "
        f"--seeds {job.seed} --fraction {job.config.data.fraction:g}"
    )
    return [
        make_line(
            job.table, row, job.seed, job.config, line_metrics(by_row[name]),
            expected_of(job.config, name), command, code, metrics, environment,
        )
        for name, row in job.rows.items()
        if name in by_row
    ]  # fmt: skip


def summary(table: str, lines: Sequence[Line], rows: Sequence[str]) -> Table:
    """Ours beside the expected figure, mean and spread over seeds."""
    groups: dict[tuple[str, float], list[Line]] = {}
    for line in latest(lines).values():
        if line.row in rows:
            groups.setdefault((line.row, line.fraction), []).append(line)
    present = {name for part in groups.values() for line in part for name in line.metrics}
    metrics = [name for name in SHOWN if name in present] or ["mrr"]
    own = {key: [m for m in metrics if m in part[0].metrics] for key, part in groups.items()}
    first = {found[0] for found in own.values() if found} or set(metrics[:1])
    judged = f"expected {SHOWN[first.pop()]}" if len(first) == 1 else "expected"
    shown = Table(title=table, title_justify="left")
    for name in ("row", "given", "seeds", *(SHOWN[m] for m in metrics), judged, "verdict"):
        shown.add_column(name, justify="left" if name in ("row", "verdict") else "right")
    for (row, fraction), part in groups.items():
        ours = {m: mean_std(line.metrics[m] for line in part) for m in own[row, fraction]}
        metric = next(iter(ours))
        expected = part[-1].expected.get(metric)
        shown.add_row(
            row, f"{100 * fraction:g} %", str(len(part)),
            *(spread(*ours[m]) if m in ours else "–" for m in metrics),
            "–" if expected is None else f"{expected:.3f}", verdict(*ours[metric], expected),
        )  # fmt: skip
    return shown


def spread(mean: float, deviation: float) -> str:
    """Mean ± sample standard deviation; the mean alone for one seed."""
    return f"{mean:.3f}" if deviation != deviation else f"{mean:.3f} ± {deviation:.3f}"


def verdict(mean: float, deviation: float, expected: Any) -> str:
    """How ours compares with what was expected."""
    if expected is None:
        return ""
    if mean >= expected:
        return "reached"
    return "within spread" if mean + deviation >= expected else "below"


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.reproduce", __doc__)
    parser.add_argument("table", help="folder of experiments/configs")
    parser.add_argument("--rows", nargs="+", default=[], help="configurations or rows; all")
    add_seeds(parser)
    parser.add_argument("--fraction", type=float, help="in place of the configurations' own")
    parser.add_argument("--resume", action="store_true", help="go on with interrupted runs")
    parser.add_argument(
        "--again", action="store_true", help="run what is recorded too; the last line wins"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at once, each with its share of the processors"
    )
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        raise InputError(f"--jobs {given.jobs}: give 1 or more")
    overrides = [] if given.fraction is None else [f"data.fraction={given.fraction}"]
    todo = jobs(given.table, given.rows, given.seeds, overrides)

    def work(job: Job) -> None:
        print(f"{job.table}: {job.name}, seed {job.seed}", file=sys.stderr)
        execute(job, resume=given.resume, runner=partial(run_apart, named=given.jobs > 1))

    if given.jobs > 1:
        share_processors(given.jobs)
    dirty = warn_if_dirty()
    run_all(planned(todo, read_lines(given.table), given.again, dirty), work, given.jobs)
    rows = [row for job in todo for row in job.rows.values()]
    shas = {job.config.sha256() for job in todo}
    lines = counted(read_lines(given.table), dirty)
    lines = [line for line in lines if line.config_sha256 in shas]
    Console().print(summary(given.table, lines, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
