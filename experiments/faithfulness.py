"""Whether edge explanations are faithful: deletion and insertion beside random orders.

    python -m experiments.faithfulness [--run RUN] [--predictions N] [--methods METHOD ...]
        [--seeds S ...]

Explained are the best new answers of a loop's final model to queries drawn from test, in the run of
the table loop_codex_s (configuration rgcn), which is made where it is missing; or in another run
of CoDEx-S. Edges near query and answer are taken away, and put back, the most important first, and
P(answer) is that of the whole graph encoded anew. Row `random` is the mean over random orders;
`deletion_gain` and `insertion_gain` are how much better than that a method is, with 95 % intervals
over predictions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command import add_seeds, make_parser, require_known, tells_errors
from experiments.opened import Rows, record_asked
from experiments.results import RESULTS
from relgnn.errors import InputError
from relgnn.explain.edges import EXPLAINERS
from relgnn.explain.faithfulness import RANDOM, draw_predictions, measure
from relgnn.loop.opened import OpenRun
from relgnn.runtime import rng

TABLE = "explanations_codex_s"
DATA = "codex_s"
PREDICTIONS = 200


def explain(run: OpenRun, count: int, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """Metrics of each method, and of random orders, on predictions of a run.

    Args:
        run: an opened run.
        count: predictions at most.
        methods: of `EXPLAINERS`.

    Raises:
        InputError: its model passes no messages, or nothing is asked.
    """
    seed = run.world.runtime.seed
    draws = rng("predictions to explain", seed)
    predictions = draw_predictions(run.fitted, run.graph, "test", count, draws)
    explainers = {name: EXPLAINERS[name]() for name in methods}
    found = measure(run.fitted, predictions, explainers, rng("random orders of edges", seed))
    return {name: found.metrics(name) for name in (*methods, RANDOM)}


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.faithfulness", __doc__)
    parser.add_argument("--run", type=Path, help="a run folder, in place of those of the seeds")
    parser.add_argument("--predictions", type=int, default=PREDICTIONS, help=str(PREDICTIONS))
    parser.add_argument("--methods", nargs="+", default=list(EXPLAINERS), help="all of them")
    add_seeds(parser, [0])
    given = parser.parse_args(arguments)
    require_known("--methods", "method", given.methods, EXPLAINERS)
    if given.predictions < 2:
        raise InputError(f"--predictions {given.predictions}: give at least 2, for an interval")
    options = f"--predictions {given.predictions} --methods {' '.join(given.methods)}"

    def measured(run: OpenRun) -> Rows:
        return explain(run, given.predictions, given.methods)

    record_asked(TABLE, DATA, "experiments.faithfulness", given, options, measured, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
