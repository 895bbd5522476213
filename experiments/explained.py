"""One prediction of a loop explained: what the figure `explanation` shows.

    python -m experiments.explained [--run RUN]

Nobody picks it: it is the first test triple, in the data set's order, whose tail stood fifth or
lower before anything was read and stands first after the loop, and which the loop accepted from two
sentences or more with a probability of at least .9. The run is that of the table loop_codex_s
(configuration rgcn), made where it is missing, or another one with a loop.
experiments/results/explained.json holds what `relgnn explain --json` says of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.command import make_parser, tells_errors
from experiments.commit import at_end, provenance, warn_if_dirty
from experiments.opened import base_run
from experiments.results import RESULTS
from relgnn.errors import InputError
from relgnn.explain.edges import IntegratedGradients
from relgnn.explain.report import Explaining
from relgnn.loop.opened import open_run
from relgnn.loop.records import RoundTable, read_round
from relgnn.ranking.metrics import read_ranks
from relgnn.training import save_json

FILE = "explained.json"
BEFORE, AFTER = "round0", "loop"
LOW, SENTENCES, SURE = 5, 2, 0.9
"""At least: rank before anything was read, sentences that speak of the triple, its probability."""


def choose(
    test: np.ndarray, before: np.ndarray, after: np.ndarray, table: RoundTable
) -> int | None:
    """The place of the test triple that is explained; None where there is none as asked for.

    Args:
        test: int64 [T, 3].
        before, after: ranks of the tails [T], as the table of results has them.
        table: what the last round judged.
    """
    judged = zip(
        table.triples.tolist(), table.accepted, table.p, map(len, table.evidence), strict=True
    )
    read = {
        tuple(triple)
        for triple, taken, p, sentences in judged
        if taken > 0 and p >= SURE and sentences >= SENTENCES
    }
    risen = np.flatnonzero((before >= LOW) & (after == 1)).tolist()
    return next((place for place in risen if tuple(test[place].tolist()) in read), None)


def record(folder: Path, command: str, root: Path) -> Path:
    """Explain a run's prediction and keep it in the folder of results; returns the file.

    Raises:
        InputError: the run has no loop, or nothing to explain.
    """
    code, run = provenance(folder), open_run(folder)
    if run.round_folder is None:
        raise InputError(f"{folder}: nothing was read in this run; give one with 'loop:'")
    before, after = (
        read_ranks(folder / "ranks" / f"{row}.tsv")["tail"][1].realistic for row in (BEFORE, AFTER)
    )
    table = read_round(run.round_folder, run.graph)
    place = choose(run.graph.test, before, after, table)
    if place is None:
        raise InputError(
            f"{folder}: no test triple rose from rank {LOW} or lower to the first by {SENTENCES} "
            "sentences; give another run"
        )
    head, relation, tail = run.graph.test[place].tolist()
    explanation = Explaining(run, IntegratedGradients()).explain((head, relation, tail))
    config = run.world.config
    content = {
        "command": command, "config_sha256": config.sha256(), "seed": config.runtime.seed,
        "data": run.graph.name, "fraction": config.data.fraction, **at_end(code),
        "ranks": {"before": before[place], "after": after[place]},
        "explanation": asdict(explanation),
    }  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    save_json(root / FILE, content)
    return root / FILE


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.explained", __doc__)
    parser.add_argument("--run", type=Path, help="a run folder, in place of the table's")
    given = parser.parse_args(arguments)
    warn_if_dirty()
    folder = given.run or base_run(0)
    # the folder's name alone: where it is says nothing elsewhere
    command = f"--run {folder.name}" if given.run else ""
    print(record(folder, f"python -m experiments.explained {command}".strip(), RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
