"""How answers are scored: ranks of the test triples, and triples that were read in the texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data import STRATA, KnowledgeGraph
from relgnn.errors import InputError
from relgnn.ranking.metrics import metrics_by_stratum, read_ranks
from relgnn.ranking.ranks import SIDES, Ranks
from relgnn.ranking.strata import stratum_masks

SHOWN = 3


def score_ranks(graph: KnowledgeGraph, path: Path) -> dict[str, dict[str, float]]:
    """MRR and hits of a file of ranks, over all test triples and by stratum.

    Args:
        graph: of the task.
        path: see `relgnn.ranking.metrics.read_ranks`; lines in any order.

    Raises:
        InputError: a test triple has no rank, or one that is impossible.
    """
    found = read_ranks(path)
    ids = [graph.ids(triple) for triple in graph.test.tolist()]
    ranks = {}
    for side in SIDES:
        triples, one = found[side]
        place = {triple: i for i, triple in enumerate(triples)}
        missing = [triple for triple in ids if triple not in place]
        if missing:
            shown = "; ".join(" ".join(triple) for triple in missing[:SHOWN])
            raise InputError(
                f"{path}: {len(missing)} of {len(ids)} test triples have no rank of their {side}: "
                f"{shown} …; rank every test triple"
            )
        rows = np.array([place[triple] for triple in ids])
        ranks[side] = one.subset(rows)
        _require_possible(path, side, ranks[side], graph.num_entities)
    metrics = metrics_by_stratum(ranks, stratum_masks(graph, "test"))
    return {stratum: part["both"]["realistic"] for stratum, part in metrics.items()}


def _require_possible(path: Path, side: str, ranks: Ranks, entities: int) -> None:
    wrong = (ranks.optimistic < 1) | (ranks.optimistic > ranks.pessimistic)
    wrong |= (ranks.pessimistic > ranks.candidates) | (ranks.candidates > entities)
    if wrong.any():
        raise InputError(
            f"{path}: {int(wrong.sum())} ranks of the {side} are impossible; expected 1 <= "
            f"optimistic <= pessimistic <= candidates <= {entities}"
        )


def score_triples(graph: KnowledgeGraph, triples: np.ndarray) -> dict[str, Any]:
    """What triples that were read are worth.

    Precision counts what the whole data set holds as true, which is a lower bound: a true triple
    that the data set lacks counts as wrong. Recall is over hidden and test triples of a stratum.

    Args:
        graph: of the task.
        triples: int64 [N, 3]; those that are given or valid are left out.
    """
    known = {tuple(t) for t in np.concatenate([graph.train, graph.valid]).tolist()}
    read = {tuple(t) for t in triples.tolist()} - known
    truth = {tuple(t) for t in graph.filter_triples("test").tolist()} - known
    right = read & truth
    result: dict[str, Any] = {
        "triples": len(read),
        "precision": len(right) / len(read) if read else None,
        "recall": {"all": len(right) / max(1, len(truth))},
    }
    test = [tuple(t) for t in graph.test.tolist()]
    result["recall"]["test"] = sum(t in right for t in test) / max(1, len(test))
    if graph.strata is not None:
        for code, name in enumerate(STRATA):
            own = [t for t, s in zip(test, graph.strata["test"].tolist(), strict=True) if s == code]
            result["recall"][f"test_{name}"] = sum(t in right for t in own) / max(1, len(own))
    return result
