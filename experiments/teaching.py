"""What the graph taught the text: the text's own judgement before and after rounds of the loop.

    python -m experiments.teaching [--seeds S ...]

Read from the runs of the table loop_codex_s (configuration rgcn), which are made where they are
missing. The text view of a round is cross-fitted and trained on the given triples and on what the
round before accepted; round 1's knows the given ones alone. Row `round_N` tells micro-F1 (p >= .5)
and average precision of that view on the candidates that rounds 1 and N both judged and that are
not given. All are held out: whatever was accepted between two entities was kept from the model that
judges them. None may be left out for having been accepted: who chose them, chose by the very
judgement that is compared. Truth is what the whole data set holds. `gain` is the difference in
micro-F1 to round 1, and `precision_gain` that in average precision, with 95 % intervals over pairs
of entities.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.command import add_seeds, make_parser, tells_errors
from experiments.commit import at_end, provenance
from experiments.opened import base_job, base_run
from experiments.results import RESULTS, append_rows
from relgnn.data import KnowledgeGraph, is_in
from relgnn.loop.opened import run_config, run_graph
from relgnn.loop.records import read_round
from relgnn.ranking.classification import average_precision
from relgnn.training import load_json

TABLE = "teaching_codex_s"
THRESHOLD = 0.5
SAMPLES = 500


def compare(folder: Path, graph: KnowledgeGraph, number: int) -> dict[str, float]:
    """The text view of round `number` beside that of round 1, on what neither was taught.

    Args:
        folder: of a run with a loop.
        graph: its graph.
        number: a round, from 1.
    """
    first, last = (read_round(folder / "rounds" / str(n), graph) for n in (1, number))
    place = {tuple(t): i for i, t in enumerate(first.triples.tolist())}
    both = [
        (place[tuple(t)], i)
        for i, t in enumerate(last.triples.tolist())
        if tuple(t) in place
    ]  # fmt: skip
    rows = np.array(both, dtype=np.int64).reshape(-1, 2)
    triples = last.triples[rows[:, 1]]
    truth = is_in(triples, graph.filter_triples("test"))
    before, after = first.p_text[rows[:, 0]], last.p_text[rows[:, 1]]
    pairs = np.unique(triples[:, [0, 2]], axis=0, return_inverse=True)[1]
    counts = [_counts(p >= THRESHOLD, truth, pairs) for p in (before, after)]
    f1 = [float(_f1(one.sum(0))) for one in counts]
    precision = [_average_precision(truth, p) for p in (before, after)]

    def gains(weight: np.ndarray) -> tuple[float, float]:
        rows = np.repeat(np.arange(len(pairs)), weight[pairs])
        some = truth[rows]
        return (
            float(_f1(weight @ counts[1]) - _f1(weight @ counts[0])),
            _average_precision(some, after[rows]) - _average_precision(some, before[rows]),
        )

    rng, size = np.random.default_rng(0), pairs.max(initial=-1) + 1
    drawn = [
        gains(np.bincount(rng.integers(0, size, size), minlength=size)) for _ in range(SAMPLES)
    ]
    (low, precision_low), (high, precision_high) = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {
        "micro_f1": f1[1], "average_precision": precision[1],
        "gain": f1[1] - f1[0], "gain_low": float(low), "gain_high": float(high),
        "precision_gain": precision[1] - precision[0],
        "precision_gain_low": float(precision_low), "precision_gain_high": float(precision_high),
        "candidates": float(len(rows)), "true": float(truth.sum()),
    }  # fmt: skip


def _average_precision(truth: np.ndarray, p: np.ndarray) -> float:
    return average_precision(truth, p) if 0 < truth.sum() < len(truth) else 0.0


def _counts(said: np.ndarray, truth: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """True positives, false positives and false negatives of each pair, [P, 3]."""
    kinds = (said & truth, said & ~truth, ~said & truth)
    return np.column_stack([np.bincount(pairs, kind, pairs.max(initial=-1) + 1) for kind in kinds])


def _f1(counts: np.ndarray) -> np.ndarray:
    """2 tp / (2 tp + fp + fn) of counts [..., 3]."""
    right = 2 * counts[..., 0]
    found: np.ndarray = right / np.maximum(right + counts[..., 1] + counts[..., 2], 1)
    return found


def record(seed: int) -> None:
    """Compare all rounds of a seed's run and append their lines."""
    folder = base_run(seed)
    code, config = provenance(folder), base_job(seed).config
    graph = run_graph(run_config(folder), folder)
    environment, metrics = (
        load_json(folder / "environment.json"),
        load_json(folder / "metrics.json"),
    )
    rounds = sorted(int(path.parent.name) for path in folder.glob("rounds/*/posterior.parquet"))
    found = {f"round_{n}": compare(folder, graph, n) for n in rounds}
    first = f"round_{rounds[0]}"
    # what the others are compared with has gained nothing, and shows none
    found[first] = {k: v for k, v in found[first].items() if "gain" not in k}
    code = at_end(code)
    command = f"python -m experiments.teaching --seeds {seed}"
    append_rows(TABLE, found, seed, config, command, code, metrics, environment, RESULTS)


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("experiments.teaching", __doc__)
    add_seeds(parser)
    for seed in parser.parse_args(arguments).seeds:
        record(seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
