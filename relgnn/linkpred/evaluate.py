"""Test and valid metrics of a fitted predictor, by stratum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.fit import Fitted
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.categories import category_masks, relation_categories
from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.strata import stratum_masks

SPLITS = ("valid", "test")


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
