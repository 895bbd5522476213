"""The command line of the benchmark."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments.loop_benchmark as package
from experiments.command import make_parser, tells_errors
from experiments.loop_benchmark.scoring import score_ranks, score_triples
from experiments.loop_benchmark.task import make, open_task
from relgnn.commands.ask import read_triples, resolve


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Make a task or score answers; returns the exit status."""
    parser = make_parser("experiments.loop_benchmark", package.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make", help="write what a system is given")
    one.add_argument("--data", default="codex_s", help="a named data set with texts")
    one.add_argument("--fraction", type=float, default=0.1, help="share of the triples given")
    one.add_argument("--seed", type=int, default=0, help="which draw of the fraction")
    one.add_argument("--out", type=Path, required=True, help="an empty folder")
    two = commands.add_parser("score", help="score ranks or triples")
    two.add_argument("folder", type=Path, help="a task")
    answers = two.add_mutually_exclusive_group(required=True)
    answers.add_argument("--ranks", type=Path, help="TSV of ranks of all test triples")
    answers.add_argument("--triples", type=Path, help="TSV of triples that were read")
    given = parser.parse_args(arguments)
    if given.command == "make":
        graph = make(given.data, given.fraction, given.seed, given.out)
        print(f"{given.out}: {len(graph.train)} given, {len(graph.test)} test triples")
        return 0
    graph = open_task(given.folder)
    if given.ranks is not None:
        print(json.dumps(score_ranks(graph, given.ranks), indent=2))
    else:
        rows = resolve(graph, given.triples, read_triples(given.triples))
        print(json.dumps(score_triples(graph, rows), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
