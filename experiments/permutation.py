"""What is learnt from labels that mean nothing: it must rank as chance does.

    python -m experiments.permutation [--rows ROW ...] [--seeds S ...] [--again]

The same R-GCN is trained on triples as given; on triples whose tails are permuted within their
relation, which leaves how often each entity has a relation; and on triples whose heads and tails
are renamed, for each relation by a permutation of all entities of its own, which leaves nothing
that a test triple could be known by. If the last ranks above chance, something else leaks. Only
rows that are missing in experiments/results are run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from experiments.command import add_seeds, make_parser, require_known, tells_errors
from experiments.commit import begin, recorded
from experiments.results import METRICS, RESULTS, append_rows
from relgnn.config import Config, make_config
from relgnn.data import KnowledgeGraph, load
from relgnn.linkpred.evaluate import evaluate
from relgnn.linkpred.fit import fit_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.controls import random_pairs
from relgnn.loop.pseudo import Pseudo
from relgnn.ranking.metrics import chance_mrr
from relgnn.ranking.ranks import concatenate
from relgnn.runtime import Runtime, environment

TABLE = "ablation_permuted_labels"
DATA = ("nations", "umls")


def as_given(graph: KnowledgeGraph, generator: np.random.Generator) -> np.ndarray:
    """The triples of train [N, 3]."""
    return graph.train


def tails_permuted(graph: KnowledgeGraph, generator: np.random.Generator) -> np.ndarray:
    """The triples of train with tails permuted within each relation, [N, 3]."""
    return random_pairs(Pseudo(graph.train, np.ones(len(graph.train))), generator).triples


def renamed(graph: KnowledgeGraph, generator: np.random.Generator) -> np.ndarray:
    """The triples of train with heads and tails renamed, relation by relation, [N, 3].

        (h, r, t) becomes (π_r(h), r, σ_r(t)),  π_r and σ_r even draws of all permutations

    A relation keeps its structure (how many tails a head has), and no entity its place in it. All
    names are equally likely, so a test triple's rank is an even draw.
    """
    names = np.tile(np.arange(graph.num_entities), (graph.num_relations, 2, 1))
    names = generator.permuted(names, axis=2)
    head, relation, tail = graph.train.T
    return np.stack([names[relation, 0, head], relation, names[relation, 1, tail]], axis=1)


LABELS: dict[str, Callable[[KnowledgeGraph, np.random.Generator], np.ndarray]] = {
    "given": as_given, "tails_permuted": tails_permuted, "renamed": renamed,
}  # fmt: skip
ROWS = tuple(f"{data}/{labels}" for data in DATA for labels in LABELS)


def configuration(data: str, seed: int, overrides: Sequence[str] = ()) -> Config:
    """What is trained on a data set."""
    content = {
        "data": {"name": data}, "text": {"node_features": "none"}, "gnn": {"dropout": 0.0},
        "decoder": {"dim": 64, "dropout": 0.0},
        "train": {"epochs": 20, "batch_size": 512, "lr": 0.01, "patience": None},
        "runtime": {"seed": seed},
    }  # fmt: skip
    return make_config(content, overrides)


def measure(config: Config, labels: str) -> dict[str, float]:
    """Test metrics of what is trained on `labels`, and the MRR of even draws of ranks.

    Test triples and filters are as they are. Valid selects nothing, and is not looked at.
    """
    runtime = Runtime.from_config(config.runtime)
    graph = load(str(config.data.name))
    train = LABELS[labels](graph, runtime.rng("permutation"))
    taught = replace(graph, train=train)
    fitted = fit_predictor(
        config, runtime, taught, None, Supervision.gold(taught.train), name=labels
    )
    ranks, metrics = evaluate(fitted, graph, "test")
    whole = metrics["all"]["both"]["realistic"]
    chance = chance_mrr(concatenate(list(ranks.values())))
    return {"chance_mrr": chance, **{name: whole[name] for name in METRICS}}


def record(row: str, seed: int) -> None:
    """Train for a row and append it."""
    data, labels = row.split("/")
    config, begun = configuration(data, seed), begin()
    metrics = measure(config, labels)
    code, cost = begun.ended()
    command = f"python -m experiments.permutation --rows {row} --seeds {seed}"
    append_rows(TABLE, {row: metrics}, seed, config, command, code, cost, environment(), RESULTS)


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.permutation", __doc__)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="all of them")
    add_seeds(parser)
    parser.add_argument("--again", action="store_true", help="measure what is recorded too")
    given = parser.parse_args(arguments)
    require_known("--rows", "row", given.rows, ROWS)
    known = {(x.row, x.seed, x.config_sha256) for x in recorded(TABLE, RESULTS, given.again)}
    for seed in given.seeds:
        for row in given.rows:
            if (row, seed, configuration(row.split("/")[0], seed).sha256()) not in known:
                print(f"{TABLE}: {row}, seed {seed}", file=sys.stderr)
                record(row, seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
