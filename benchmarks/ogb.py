"""Open Graph Benchmark: full runs as a submission tells them, and time and memory at true size.

    python -m benchmarks.ogb ROW [--seeds S ...] [--resume]
    python -m benchmarks.ogb --synthetic [ROW ...] [--steps N] [--threads N] [--record]

ROW is a configuration of experiments/configs/ogb, such as ogbl_ddi. Runs are those of
`python -m experiments.reproduce ogb`: what is recorded already is not run again. `--synthetic`
draws graphs of the true sizes, with power-law degrees, and measures training steps of the same
configurations; `--record` adds the figures to experiments/results/ogb_scale.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measure import apart
from benchmarks.scale import power_law_triples
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import at_end, provenance, warn_if_dirty
from experiments.jobs import jobs, missing
from experiments.reproduce import execute
from experiments.results import Line, append, latest, measured_line, read_lines
from relgnn.config import AnyOgbConfig, AutoencoderConfig
from relgnn.data.ogb import OgbLinks, OgbNodes, OgbTriples
from relgnn.errors import InputError
from relgnn.linkpred.ogb_run import OgbData, new_task
from relgnn.ranking.statistics import mean_std
from relgnn.runtime import Runtime, peak_memory_mb

TABLE, SCALE = "ogb", "ogb_scale"
SEEDS = tuple(range(10))
ASKED = 500
"""Held-out rows whose measuring is timed; memory has all of them."""


@dataclass(frozen=True)
class Size:
    """How large a data set is: training edges, held-out ones of each split, negatives of each.

    Attributes:
        nodes, edges: of the graph.
        held_out: of valid and test.
        negatives: of each held-out edge, for each side; of all together where `shared`.
        relations: R.
        features: width, or 0.
        classes: of nodes, or 0.
        shared: whether all held-out edges are ranked among the same negatives.
    """

    nodes: int
    edges: int
    held_out: tuple[int, int]
    negatives: int = 0
    relations: int = 1
    features: int = 0
    classes: int = 0
    shared: bool = False


SIZES = {
    "ogbl-ddi": Size(4_267, 1_067_911, (133_489, 133_489), 100_000, shared=True),
    "ogbl-collab": Size(235_868, 1_179_052, (60_084, 46_329), 100_000, features=128, shared=True),
    "ogbl-citation2": Size(2_927_963, 30_387_995, (86_596, 86_596), 1_000, features=128),
    "ogbl-biokg": Size(93_773, 4_762_678, (162_886, 162_870), 500, 51),
    "ogbl-wikikg2": Size(2_500_604, 16_109_182, (429_456, 598_543), 500, 535),
    "ogbn-arxiv": Size(169_343, 1_166_243, (29_799, 48_603), features=128, classes=40),
}


@dataclass(frozen=True)
class Scale:
    """What was measured of one configuration at its data set's size.

    Attributes:
        nodes, edges: of the graph.
        parameters: of the model.
        build_s: the task from arrays: graph sorted, model drawn.
        step_s: mean of the training steps after the first, forward to optimiser.
        steps: of an epoch.
        measure_s: encoding everything and measuring ASKED held-out rows.
        peak_memory_mb: peak resident set of the whole process, data included.
    """

    nodes: int
    edges: int
    parameters: int
    build_s: float
    step_s: float
    steps: int
    measure_s: float
    peak_memory_mb: float


def synthetic(size: Size, seed: int = 0) -> OgbData:
    """Data of a size, with power-law degrees and random negatives."""
    rng = np.random.default_rng(seed)
    triples = power_law_triples(size.edges, seed, size.nodes, size.relations)[0].numpy()
    features = None
    if size.features:
        features = rng.standard_normal((size.nodes, size.features), dtype=np.float32)
    if size.classes:
        assert features is not None
        labels = rng.integers(size.classes, size=size.nodes)
        labels[: size.classes] = np.arange(size.classes)
        order = rng.permutation(size.nodes)
        valid, test = size.held_out
        parts = np.split(order, [size.nodes - valid - test, size.nodes - test])
        nodes = dict(zip(("train", "valid", "test"), parts, strict=True))
        return OgbNodes(triples[:, ::2].copy(), features, labels, nodes)

    def others(rows: int, columns: int) -> np.ndarray:
        return rng.integers(size.nodes, size=(rows, columns), dtype=np.int32)

    held_out = dict(zip(("valid", "test"), size.held_out, strict=True))
    drawn = {split: rng.integers(size.edges, size=count) for split, count in held_out.items()}
    if size.relations > 1:
        known = {"train": triples} | {split: triples[rows] for split, rows in drawn.items()}
        heads, tails = (
            {split: others(count, size.negatives) for split, count in held_out.items()}
            for _ in range(2)
        )
        return OgbTriples(size.nodes, size.relations, known, heads, tails)
    pairs = triples[:, ::2].copy()
    false = {
        split: others(size.negatives, 2) if size.shared else others(count, size.negatives)
        for split, count in held_out.items()
    }
    linked = {"train": pairs} | {split: pairs[rows] for split, rows in drawn.items()}
    return OgbLinks(size.nodes, linked, false, features)


def measure_config(config: AnyOgbConfig, size: Size, steps: int) -> Scale:
    """Build, step and measure in this process.

    Args:
        config: of a run.
        size: of its data.
        steps: after a first one that warms up.
    """
    runtime = Runtime.from_config(config.runtime)
    data = synthetic(size)
    started = time.perf_counter()
    task = new_task(config, data, runtime)
    build = time.perf_counter() - started
    groups = task.parameter_groups(1e-3, 0.0)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    batches = iter(task.batches(0, torch.Generator().manual_seed(0)))
    generator = torch.Generator(runtime.device).manual_seed(1)
    first = next(batches)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        with runtime.autocast(training=True):
            loss = task.loss(first, generator)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    del optimizer, groups
    task.model.eval()
    started = time.perf_counter()
    if isinstance(data, OgbNodes) or size.shared:
        task.measure("valid")
    else:
        task.measure("valid", ASKED)  # type: ignore[call-arg]
    return Scale(
        size.nodes, size.edges, sum(value.numel() for value in task.model.parameters()), build,
        float(np.mean(seconds[1:])), task.num_batches(0), time.perf_counter() - started,
        peak_memory_mb(),
    )  # fmt: skip


def submission(name: str, lines: Sequence[Line], command: str) -> str:
    """What OGB's leaderboard asks for, of the runs of one configuration.

    Args:
        name: OGB's, of the data set.
        lines: one a seed.
        command: that made them.
    """
    first = lines[0]
    metric = next(key for key in first.metrics if f"valid_{key}" in first.metrics)

    def told(key: str) -> str:
        mean, deviation = mean_std(line.metrics[key] for line in lines)
        return f"{mean:.4f}" + ("" if deviation != deviation else f" ± {deviation:.4f}")

    seconds = mean_std(line.seconds for line in lines)[0]
    rows = {
        "Data set": name,
        f"Test {metric}": told(metric),
        f"Valid {metric}": told(f"valid_{metric}"),
        "Seeds": " ".join(str(line.seed) for line in sorted(lines, key=lambda one: one.seed)),
        "Parameters": f"{int(first.metrics['parameters']):,}",
        "Hardware": "; ".join(sorted({line.hardware for line in lines})),
        "Time of a run": f"{seconds / 60:.0f} minutes",
        "Code": ", ".join(sorted({line.git_commit[:10] for line in lines})),
        "Command": command,
    }
    width = max(map(len, rows)) + 2
    return "\n".join(f"{key + ':':<{width}}{value}" for key, value in rows.items())


def run_seeds(row: str, seeds: Sequence[int], resume: bool) -> str:
    """Run what is not recorded of a row, and its submission.

    Raises:
        InputError: the row is unknown, or its data are nowhere.
    """
    todo, dirty = jobs(TABLE, [row], seeds), warn_if_dirty()
    for job in todo:
        if missing(job, read_lines(TABLE), dirty):
            print(f"{row}, seed {job.seed}", file=sys.stderr, flush=True)
            execute(job, resume=resume)
    keys = {(row, job.seed, job.config.sha256()) for job in todo}
    found = [
        line for line in latest(read_lines(TABLE)).values()
        if (line.row, line.seed, line.config_sha256) in keys and (dirty or not line.dirty)
    ]  # fmt: skip
    command = f"python -m benchmarks.ogb {row} --seeds {' '.join(map(str, seeds))}"
    config = todo[0].config
    assert isinstance(config, AnyOgbConfig)
    return submission(config.benchmark, found, command)


def record(
    row: str, config: AnyOgbConfig, found: Scale, settings: dict[str, int],
    began: Mapping[str, Any], command: str,
) -> None:  # fmt: skip
    """Append what was measured to the table of sizes.

    Args:
        row: its name.
        config: what was measured.
        found: the figures.
        settings: what they depend on besides.
        began: `provenance` before it.
        command: that measures it again.
    """
    line = measured_line(
        SCALE, row, asdict(found), [config.sha256(), settings], command, at_end(began),
        found.step_s, round(found.peak_memory_mb),
    )  # fmt: skip
    append(SCALE, [line])


def table(found: dict[str, Scale]) -> Table:
    """What a person reads."""
    shown = Table(title=SCALE, title_justify="left")
    titles = ("row", "nodes", "edges", "parameters", "build s", "step s", "steps", "measure s",
              "peak MB")  # fmt: skip
    for title in titles:
        shown.add_column(title, justify="left" if title == "row" else "right")
    for row, one in found.items():
        values = asdict(one).items()
        cells = (f"{v:.3f}" if key.endswith("_s") else f"{v:,.0f}" for key, v in values)
        shown.add_row(row, *cells)
    return shown


def _sizes(given: argparse.Namespace, told: str) -> None:
    configs = {job.name: job.config for job in jobs(TABLE, given.rows, seeds=[0])}
    solved = [row for row, config in configs.items() if isinstance(config, AutoencoderConfig)]
    if given.rows and solved:
        raise InputError(f"{solved[0]}: is solved at once, and has no training step to measure")
    chosen = given.rows or [
        row for row in configs if row not in solved and not row.endswith("_gpu")
    ]
    torch.set_num_threads(given.threads)
    found = {}
    for row in chosen:
        config, began = configs[row], provenance()
        assert isinstance(config, AnyOgbConfig)
        found[row] = apart(measure_config, config, SIZES[config.benchmark], given.steps)
        print(f"{row}: {found[row]}", file=sys.stderr, flush=True)
        if given.record:
            settings = {"steps": given.steps, "threads": given.threads}
            command = f"python -m benchmarks.ogb --synthetic {row}{told}"
            record(row, config, found[row], settings, began, command)
    Console().print(table(found))


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.ogb", __doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="one; of --synthetic any number")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="0 to 9")
    parser.add_argument("--resume", action="store_true", help="go on with interrupted runs")
    parser.add_argument("--synthetic", action="store_true", help="graphs of the true sizes")
    parser.add_argument("--steps", type=int, default=3, help="training steps that are timed")
    parser.add_argument("--threads", type=int, default=2, help="of --synthetic")
    parser.add_argument("--record", action="store_true", help="append sizes to the results")
    given = parser.parse_args(arguments)
    if given.synthetic:
        _sizes(given, told_options(parser, given, "steps", "threads"))
    elif len(given.rows) == 1:
        print(run_seeds(given.rows[0], given.seeds, given.resume))
    else:
        raise InputError(f"{len(given.rows)} rows: give one, or --synthetic")
    return 0


if __name__ == "__main__":
    sys.exit(main())
