"""Test and valid metrics of a fitted predictor, by stratum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.fit import Fitted
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.categories import category_masks, relation_categories
from relgnn.ranking.metrics import metrics_by_stratum, write_ranks
from relgnn.ranking.ranks import FilterIndex, Ranks, ScoreTails, evaluate_ranks
from relgnn.ranking.strata import stratum_masks

DenseScores = Callable[[Tensor, Tensor], Tensor]
"""heads [B] and relations [B] in [0, 2R), int64 on the CPU -> scores float [B, N] on the CPU."""


def evaluate(
    fitted: Fitted,
    graph: KnowledgeGraph,
    split: str,
    read: Callable[[Tensor, Tensor], Tensor] | None = None,
    admissible: Admissible | None = None,
) -> tuple[dict[str, Ranks], dict[str, Any]]:
    """Ranks by side and metrics [stratum][side][kind] of a split, filtered as the split demands.

    Args:
        fitted: the predictor.
        graph: with its hidden triples, which filter at test.
        split: "valid" or "test".
        read: adds the text's say to the scores.
        admissible: the candidates of each query, see `Admissible.build`; all entities where None.
    """
    ranks = fitted.ranks(getattr(graph, split), graph.filter_triples(split), read, admissible)
    return ranks, metrics_by_stratum(ranks, stratum_masks(graph, split))


def evaluate_scores(
    score_tails: ScoreTails, graph: KnowledgeGraph, split: str
) -> tuple[dict[str, Ranks], dict[str, Any]]:
    """The same for what scores all entities, whatever it is.

    Args:
        score_tails: see `evaluate_ranks`.
        graph: with its hidden triples, which filter at test.
        split: "valid" or "test".
    """
    index = FilterIndex.build(graph.filter_triples(split), graph.num_relations)
    triples = getattr(graph, split)
    ranks = evaluate_ranks(score_tails, triples, index, graph.num_relations)
    return ranks, metrics_by_stratum(ranks, stratum_masks(graph, split))


def report_scores(
    score_tails: ScoreTails, graph: KnowledgeGraph, folder: Path, kept: np.ndarray | None = None
) -> dict[str, Any]:
    """What metrics.json says of a run with one row; test is read here, once.

    Args:
        score_tails: see `evaluate_ranks`.
        graph: what was trained on; a split without triples is left out.
        folder: of the run; the ranks at test are written to it.
        kept: bool [V], the valid triples that are told of; all where None.
    """
    metrics: dict[str, Any] = {"rows": {}}
    if len(graph.valid):
        own, metrics["valid"] = evaluate_scores(score_tails, graph, "valid")
        if kept is not None:
            masks = {name: mask[kept] for name, mask in stratum_masks(graph, "valid").items()}
            own = {side: one.subset(kept) for side, one in own.items()}
            metrics["valid"] = metrics_by_stratum(own, masks)
    if len(graph.test):
        ranks, metrics["test"] = evaluate_scores(score_tails, graph, "test")
        metrics["rows"] = {"final": metrics["test"]}
        path = folder / "ranks" / "final.tsv"
        write_ranks(path, ranks, graph.test, graph.entities, graph.relations)
    return metrics


def metrics_by_category(
    ranks: Mapping[str, Ranks], graph: KnowledgeGraph, split: str
) -> dict[str, Any]:
    """Metrics [1-1|1-N|N-1|N-N][side][kind] of a split's ranks, by its relations' categories.

    Categories are those of the given triples, see `relation_categories`; one that no triple of the
    split has is left out.

    Args:
        ranks: of the split's triples, by side.
        graph: what was evaluated on.
        split: "valid" or "test".
    """
    categories = relation_categories(graph.train, graph.num_relations)
    masks = category_masks(categories, getattr(graph, split)[:, 1])
    metrics = metrics_by_stratum(ranks, masks)
    return {name: metrics[name] for name in masks if name in metrics}
