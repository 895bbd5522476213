"""Which triples of a split are in which stratum."""

from __future__ import annotations

import numpy as np

from relgnn.data import STRATA, KnowledgeGraph

UNSEEN_RELATION = "unseen_relation"
"""The stratum of triples whose relation was not trained on."""


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


def degree_masks(graph: KnowledgeGraph, split: str) -> dict[str, np.ndarray]:
    """Triples of a split by how often their rarer end is given, bool [M] by name.

    `degree_0` is `unseen` of `stratum_masks`; the others are `degree_1-3`, `degree_4-10` and
    `degree_11+`.
    """
    triples = getattr(graph, split)
    degree = np.bincount(graph.train[:, [0, 2]].ravel(), minlength=graph.num_entities)
    rarer = np.minimum(degree[triples[:, 0]], degree[triples[:, 2]])
    edges = {"degree_0": (0, 0), "degree_1-3": (1, 3), "degree_4-10": (4, 10)}
    masks = {name: (low <= rarer) & (rarer <= high) for name, (low, high) in edges.items()}
    return masks | {"degree_11+": rarer > 10}
