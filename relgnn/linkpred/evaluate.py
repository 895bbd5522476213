"""Test and valid metrics of a fitted predictor, by stratum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from relgnn.data import STRATA, KnowledgeGraph
from relgnn.linkpred.fit import Fitted
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
) -> tuple[dict[str, Ranks], dict[str, Any]]:
    """Ranks by side and metrics [stratum][side][kind] of a split, filtered as the split demands.

    Args:
        fitted: the predictor.
        graph: with its hidden triples, which filter at test.
        split: "valid" or "test".
        read: adds the text's say to the scores.
    """
    ranks = fitted.ranks(getattr(graph, split), graph.filter_triples(split), read)
    return ranks, metrics_by_stratum(ranks, stratum_masks(graph, split))
