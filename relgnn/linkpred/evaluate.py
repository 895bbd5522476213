"""Test and valid metrics of a fitted predictor, by stratum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from relgnn.data import STRATA, KnowledgeGraph
from relgnn.linkpred.fit import Fitted
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.categories import category_masks, relation_categories
from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.ranks import Ranks

SPLITS = ("valid", "test")


def stratum_masks(graph: KnowledgeGraph, split: str) -> dict[str, np.ndarray]:
    """Which triples of a split are in each stratum, bool [M] by name.

    `feature`, `corpus` and `none` where the data set has strata; `unseen` are triples with an end
    that no given triple has.
    """
    triples = getattr(graph, split)
    masks = {}
    if graph.strata is not None and split in graph.strata:
        masks = {name: graph.strata[split] == code for code, name in enumerate(STRATA)}
    seen = np.zeros(graph.num_entities, dtype=bool)
    seen[graph.train[:, [0, 2]]] = True
    masks["unseen"] = ~(seen[triples[:, 0]] & seen[triples[:, 2]])
    return masks


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
