"""Run a table's configurations, record their results and print ours beside the expected figures.

    python -m experiments.reproduce TABLE [--rows ROW ...] [--seeds S ...] [--fraction F] [--resume]
        [--again]

Only what is missing in experiments/results/<TABLE>.jsonl is run, one configuration and seed at a
time, each in its own process. `--again` runs what is there too, to measure its time anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.command import tells_errors
from experiments.results import (
    RESULTS,
    ROOT,
    Line,
    append,
    latest,
    ranks_path,
    read_lines,
    save_ranks,
)
from relgnn.config import AnyConfig, Config, FewShotConfig, load_run_config
from relgnn.data import STRATA
from relgnn.errors import InputError, MachineError, RelgnnError
from relgnn.loop.runs import run_any
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.ranking.statistics import mean_std
from relgnn.training import load_json, save_json

CONFIGS = ROOT / "configs"
RUNS = ROOT.parent / "runs" / "experiments"
SEEDS = (0, 1, 2)
PLAIN = "rgcn"
"""The configuration of a loop table whose rows carry no prefix."""

CODE = (
    "relgnn",
    "benchmarks",
    "experiments/*.py",
    "experiments/configs",
    "pyproject.toml",
    "requirements.lock",
)
"""What can change a number: uncommitted changes here make a line dirty."""

METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
SHOWN = {
    HITS_10_OF_50: "Hits@10 of 50", "hits@20": "Hits@20", "hits@50": "Hits@50", "mrr": "MRR",
    "hits@1": "Hits@1", "hits@10": "Hits@10",
    "macro_f1": "macro-F1", "micro_f1": "micro-F1", "accuracy": "accuracy",
    "acc": "accuracy of nodes", "perplexity": "perplexity", "perplexity_before": "before",
    "nsp_accuracy": "NSP accuracy",
}  # fmt: skip
"""Metrics of the summary, in order; the first that a row has is compared with the expected."""

Runner = Callable[[Any, Path, bool], Any]


@dataclass(frozen=True)
class Job:
    """One configuration and seed of a table."""

    table: str
    name: str
    seed: int
    config: AnyConfig

    @property
    def rows(self) -> dict[str, str]:
        """Row of the run -> row of the table."""
        if isinstance(self.config, FewShotConfig):
            rows = self.config.few_shot.rows
            return {row: self.name if row == "final" else f"{self.name}/{row}" for row in rows}
        loop = self.config.loop if isinstance(self.config, Config) else None
        if loop is None:
            return {"final": self.name}
        controls = [name for name in loop.controls if name != "read"]
        reading = ["round0+read", "loop+read"] if "read" in loop.controls else []
        prefix = "" if self.name == PLAIN else f"{self.name}/"
        return {row: prefix + row for row in ("round0", "loop", *controls, *reading)}


def table_configs(table: str) -> dict[str, Path]:
    """Configurations of a table by name.

    Raises:
        InputError: there is no such table.
    """
    found = {path.stem: path for path in sorted((CONFIGS / table).glob("*.yaml"))}
    if not found:
        known = ", ".join(sorted(path.name for path in CONFIGS.iterdir() if path.is_dir()))
        raise InputError(f"{table!r} is no table with configurations; known are {known}")
    return found


def jobs(
    table: str,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    overrides: Sequence[str] = (),
) -> list[Job]:
    """What a table needs, seed by seed.

    Args:
        table: its name.
        rows: names of configurations, or rows that they make; all where empty.
        seeds: each is both the run's seed and the draw of the fraction.
        overrides: `key.sub=value` changes of every configuration.

    Raises:
        InputError: a row is unknown.
    """
    found = [
        Job(table, name, seed, load_run_config(
            path, [*overrides, f"runtime.seed={seed}", f"data.split_seed={seed}"]
        ))
        for seed in seeds
        for name, path in table_configs(table).items()
    ]  # fmt: skip
    known = {one for job in found for one in (job.name, *job.rows.values())}
    for row in rows:
        if row not in known:
            raise InputError(f"--rows {row}: not in {table}; known are {', '.join(sorted(known))}")
    return [job for job in found if not rows or {job.name, *job.rows.values()} & set(rows)]


def missing(job: Job, lines: Sequence[Line], dirty: bool) -> bool:
    """Whether the job is not recorded yet; a dirty line counts only in a dirty tree.

    All rows of a run are recorded at once, and a loop that kept round 0 has none that read.
    """
    known = latest(line for line in lines if dirty or not line.dirty)
    fraction, sha = job.config.data.fraction, job.config.sha256()
    return not any((job.table, row, fraction, job.seed, sha) in known for row in job.rows.values())


def run_folder(job: Job, runs: Path = RUNS) -> Path:
    """Where a job runs."""
    name = ranks_path(job.table, job.name, job.config.data.fraction, job.seed).stem
    return runs / job.table / name


def execute(
    job: Job, runs: Path = RUNS, results: Path = RESULTS, resume: bool = False,
    runner: Runner | None = None,
) -> list[Line]:  # fmt: skip
    """Run a job and record its rows.

    Args:
        job: what to run.
        runs: where run folders go; one of another configuration is replaced.
        results: where lines and ranks go.
        resume: go on with an interrupted run, and record one that had ended.
        runner: runs a configuration in a folder; by default in a process of its own.

    Raises:
        InputError: an interrupted run is there and `resume` is not asked for.
    """
    path = ranks_path(job.table, job.name, job.config.data.fraction, job.seed, results)
    folder = run_folder(job, runs)
    begun = is_run_of(folder, job.config)
    ended = begun and (folder / "metrics.json").exists()
    if begun and not ended and not resume:
        raise InputError(f"{folder}: holds an interrupted run; add --resume, or delete the folder")
    if not (begun and resume):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        save_json(folder / "provenance.json", provenance())
    if not (ended and resume):
        (runner or run_apart)(job.config, folder, begun and resume)
    lines = _lines(job, folder)
    if isinstance(job.config, Config) and not any(line.dirty for line in lines):
        rows = load_json(folder / "metrics.json")["rows"]
        save_ranks(folder, rows, path)
    append(job.table, lines, results)
    return lines


def run_apart(config: AnyConfig, folder: Path, resume: bool) -> None:
    """Run in a fresh process, whose peak memory is the run's own.

    Raises:
        SystemExit: the run failed or was interrupted; its message is on standard error.
        MachineError: the process was killed.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_child, args=(type(config), config.model_dump_json(), str(folder), resume)
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


def _child(kind: type[AnyConfig], config: str, folder: str, resume: bool) -> None:
    found = kind.model_validate_json(config)
    Thread(target=_stop_with_parent, daemon=True).start()
    try:
        run_any(found, Path(folder), resume)
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
    provenance = load_json(folder / "provenance.json")
    # A resumed run is clean only if all of it ran on the code of the commit it began with.
    dirty = provenance["dirty"] or _differs(provenance["git_commit"])
    by_row = metrics["rows"]
    command = (
        f"python -m experiments.reproduce {job.table} --rows {shlex.quote(job.name)} "
        f"--seeds {job.seed} --fraction {job.config.data.fraction:g}"
    )
    code = {**provenance, "dirty": dirty}
    return [
        make_line(
            job.table, row, job.seed, job.config, line_metrics(by_row[name]),
            expected_of(job.config, name), command, code, metrics, environment,
        )
        for name, row in job.rows.items()
        if name in by_row
    ]  # fmt: skip


def make_line(
    table: str,
    row: str,
    seed: int,
    config: AnyConfig,
    metrics: dict[str, float],
    expected: dict[str, float | str],
    command: str,
    code: Mapping[str, Any],
    cost: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Line:
    """A line of results.

    Args:
        table, row, seed: where it stands.
        config: what was run.
        metrics, expected: ours, and what was expected.
        command: that makes it again.
        code: `git_commit` and `dirty`, see `provenance`.
        cost: `seconds` and `peak_memory_mb`, of the run's metrics.json.
        environment: of the run's environment.json.
    """
    return Line(
        table=table, row=row, fraction=config.data.fraction, seed=seed,
        metrics=metrics, expected=expected, command=command, config_sha256=config.sha256(),
        git_commit=code["git_commit"], dirty=code["dirty"], split_seed=config.data.split_seed,
        seconds=round(cost["seconds"], 1), peak_memory_mb=round(cost["peak_memory_mb"]),
        hardware=environment["hardware"], versions=environment["versions"],
    )  # fmt: skip


def line_metrics(test: dict[str, Any]) -> dict[str, float]:
    """A line's metrics: of ranks, both sides and realistic, or what a classifier scored."""
    if "all" not in test:
        return dict(test)
    whole = test["all"]["both"]["realistic"]
    found = {name: whole[name] for name in METRICS}
    against = test["all"]["both"].get("pessimistic", {})
    if HITS_10_OF_50 in against:
        found[HITS_10_OF_50] = against[HITS_10_OF_50]
    for stratum in STRATA:
        if stratum in test:
            found[f"mrr_{stratum}"] = test[stratum]["both"]["realistic"]["mrr"]
    return found


def expected_of(config: AnyConfig, row: str) -> dict[str, float | str]:
    """Expected figures of a run's row: keys `row/metric`, or `metric` for the result itself."""
    found: dict[str, float | str] = {}
    for key, value in config.expected.items():
        owner, _, metric = key.rpartition("/")
        if owner == row or (not owner and row in ("final", "loop")):
            found[metric] = value
    if found and config.source:
        found["source"] = config.source
    return found


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


def is_run_of(folder: Path, config: AnyConfig) -> bool:
    """Whether a folder holds a run of this configuration, finished or not."""
    path = folder / "config.yaml"
    return path.exists() and load_run_config(path).sha256() == config.sha256()


def provenance() -> dict[str, Any]:
    """The commit that a run begins with, and whether the code differs from it."""
    commit = _git("rev-parse", "HEAD")
    return {"git_commit": commit or "unknown", "dirty": tree_is_dirty()}


def tree_is_dirty() -> bool:
    """Whether code or configurations differ from the commit, or there is no commit."""
    status = _git("status", "--porcelain", "--", *CODE)
    return status is None or bool(status)


def _differs(commit: str) -> bool:
    return tree_is_dirty() or _git("diff", "--quiet", commit, "--", *CODE) is None


def _git(*arguments: str) -> str | None:
    """What a git command prints; None where it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", help="folder of experiments/configs")
    parser.add_argument("--rows", nargs="+", default=[], help="configurations or rows; all")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="0 1 2")
    parser.add_argument("--fraction", type=float, help="in place of the configurations' own")
    parser.add_argument("--resume", action="store_true", help="go on with interrupted runs")
    parser.add_argument(
        "--again", action="store_true", help="run what is recorded too; the last line wins"
    )
    given = parser.parse_args(arguments)
    overrides = [] if given.fraction is None else [f"data.fraction={given.fraction}"]
    todo = jobs(given.table, given.rows, given.seeds, overrides)
    dirty = tree_is_dirty()
    if dirty:
        print("uncommitted code: these lines will be dirty, and never shown", file=sys.stderr)
    for job in todo:
        if given.again or missing(job, read_lines(job.table), dirty):
            print(f"{job.table}: {job.name}, seed {job.seed}", file=sys.stderr)
            execute(job, resume=given.resume)
    rows = [row for job in todo for row in job.rows.values()]
    shas = {job.config.sha256() for job in todo}
    lines = [line for line in read_lines(given.table) if line.config_sha256 in shas]
    Console().print(summary(given.table, lines, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
