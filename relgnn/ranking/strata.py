"""Which triples of a split are in which stratum."""

from __future__ import annotations

import numpy as np

from relgnn.data import STRATA, KnowledgeGraph


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
