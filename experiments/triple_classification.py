"""Triple classification on a data set's checked false triples, with the link predictors we have.

    python -m experiments.triple_classification [--data NAME] [--rows ROW ...] [--seeds S ...]
        [--again]

Every row is a run of the configuration of that name in the table lp_<NAME>; what
`python -m experiments.reproduce` left is taken where it is, else the run is made here. Thresholds
and calibration are fitted on the checked triples of valid; what is recorded is of test
(`relgnn.posterior.decisions`). Only rows that are missing in experiments/results are run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.command import add_seeds, make_parser, tells_errors
from experiments.commit import at_end, provenance, recorded
from experiments.jobs import RUNS, Job, has_ended, jobs, run_folder
from experiments.reproduce import Runner, run_apart, run_in
from experiments.results import RESULTS, append, make_line
from relgnn.config import AnyConfig, RulesConfig
from relgnn.data import KnowledgeGraph
from relgnn.loop.calibrate import raw_scores
from relgnn.loop.opened import open_run
from relgnn.posterior.decisions import Checked, classify
from relgnn.rules.judge import LEAST
from relgnn.rules.run import open_rules
from relgnn.runtime import rng
from relgnn.training import load_json

TABLE = "triple_classification_"
EXPECTED: dict[tuple[str, str], dict[str, float | str]] = {
    (data, "complex"): {
        "accuracy": accuracy, "f1": f1,
        "source": f"Safavi & Koutra 2020, CoDEx, triple classification: ComplEx on {title}, "
        f"accuracy {accuracy}, F1 {f1}; a threshold for each relation, searched settings",
    }
    for data, title, accuracy, f1 in (
        ("codex_s", "CoDEx-S", 0.836, 0.846), ("codex_m", "CoDEx-M", 0.824, 0.818),
    )
}  # fmt: skip
"""Published figures by data set and row, those of the table in the authors' repository."""


def trained(job: Job, runner: Runner = run_apart) -> Path:
    """The folder of a finished run of a job, made where there is none."""
    own = RUNS / (TABLE + str(job.config.data.name)) / f"{job.name}-{job.seed}"
    for folder in (run_folder(job, RUNS), own):
        if has_ended(folder, job.config):
            return folder
    return run_in(own, job.config, runner)


def measure(config: AnyConfig, folder: Path) -> dict[str, float]:
    """What `classify` says of a finished run's scores.

    Scores are log P(t | h, r) + log P(h | r, t), or the logarithm of what rules give.

    Raises:
        InputError: its data set has no checked false triples.
    """
    graph: KnowledgeGraph
    score: Callable[[np.ndarray], np.ndarray]
    if isinstance(config, RulesConfig):
        graph, predictor = open_rules(folder)

        def score(triples: np.ndarray) -> np.ndarray:
            return np.log(np.maximum(predictor.confidence(triples), LEAST))

    else:
        run = open_run(folder)
        graph = run.graph

        def score(triples: np.ndarray) -> np.ndarray:
            return raw_scores(run.fitted, triples)

    def checked(split: str) -> Checked:
        triples, labels = graph.labelled(split)
        return Checked(score(triples), triples[:, 1], labels)

    draws = rng("triple classification", 0)
    return classify(checked("valid"), checked("test"), graph.num_relations, draws)


def record(job: Job) -> None:
    """Classify with a job's run and append its row."""
    folder = trained(job)
    data = str(job.config.data.name)
    code, started = provenance(folder), time.perf_counter()
    metrics = measure(job.config, folder)
    code = at_end(code)
    ran = load_json(folder / "metrics.json")
    cost = ran | {"seconds": ran["seconds"] + time.perf_counter() - started}
    command = (
        f"python -m experiments.triple_classification --data {data} --rows {job.name} "
        f"--seeds {job.seed}"
    )
    line = make_line(
        TABLE + data, job.name, job.seed, job.config, metrics,
        EXPECTED.get((data, job.name), {}), command, code, cost,
        load_json(folder / "environment.json"),
    )  # fmt: skip
    append(TABLE + data, [line], RESULTS)


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.triple_classification", __doc__)
    parser.add_argument("--data", default="codex_s", help="a data set with a table lp_<NAME>")
    parser.add_argument("--rows", nargs="+", default=[], help="configurations of that table; all")
    add_seeds(parser)
    parser.add_argument("--again", action="store_true", help="measure what is recorded too")
    given = parser.parse_args(arguments)
    todo = jobs(f"lp_{given.data}", given.rows, given.seeds)
    table = TABLE + given.data
    lines = recorded(table, RESULTS, given.again)
    known = {(line.row, line.seed, line.config_sha256) for line in lines}
    for job in todo:
        if (job.name, job.seed, job.config.sha256()) not in known:
            print(f"{table}: {job.name}, seed {job.seed}", file=sys.stderr)
            record(job)
    return 0


if __name__ == "__main__":
    sys.exit(main())
