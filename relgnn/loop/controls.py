"""Controls of the loop: what the accepted triples are worth without their meaning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from relgnn.config import LoopConfig
from relgnn.data import STRATA, KnowledgeGraph
from relgnn.linkpred.task import Supervision
from relgnn.loop.pseudo import Pseudo, is_in

COMMON = 0.05
"""Share of the entities that a type must have to be a kind."""


def supervise(
    given: np.ndarray,
    pseudo: Pseudo,
    loop: LoopConfig,
    evidence: Tensor | None = None,
) -> Supervision:
    """Given triples with full weight and pseudo triples as the configuration uses them.

    Args:
        given: int64 [G, 3].
        pseudo: accepted triples and their weights.
        loop: switches context and targets, target_weight.
        evidence: [G + A, d_t], encoding of each triple's sentences, or None.
    """
    gold = torch.from_numpy(np.array(given))
    extra = torch.from_numpy(np.array(pseudo.triples))
    weight = torch.from_numpy(pseudo.weight).float()
    both, ones = torch.cat([gold, extra]), torch.ones(len(gold))
    targets = (both, torch.cat([ones, loop.target_weight * weight]))
    context = (both, torch.cat([ones, weight]))
    if not loop.context and evidence is not None:
        evidence = evidence[: len(gold)]
    return Supervision(
        *(targets if loop.targets else (gold, ones)),
        *(context if loop.context else (gold, ones)),
        evidence,
    )


def shuffled(pseudo: Pseudo, graph: KnowledgeGraph, rng: np.random.Generator) -> Pseudo:
    """Relations permuted among accepted triples whose ends are of the same kinds.

    What is left is which pairs the text connects and how often each relation is used. Kinds are
    coarse (`entity_kinds`): the finest types fix the relation (on CoDEx-S permuting within them
    changes 5 % of the triples), and a control that changes nothing would be the loop again. Pairs
    that were connected without a type stay so.
    """
    kinds = entity_kinds(graph)
    untyped = graph.num_relations
    signature = [f"{kinds[h]}|{kinds[t]}|{r == untyped}" for h, r, t in pseudo.triples.tolist()]
    return pseudo.with_column(1, _permuted_within(pseudo.triples[:, 1], signature, rng))


def entity_kinds(graph: KnowledgeGraph) -> list[str]:
    """Each entity's most common type that at least `COMMON` of the entities have; "" without."""
    count = Counter(kind for types in graph.types for kind in set(types))
    common = {kind for kind, n in count.items() if n >= COMMON * graph.num_entities}
    return [
        max((k for k in types if k in common), key=lambda k: (count[k], k), default="")
        for types in graph.types
    ]


def random_pairs(pseudo: Pseudo, rng: np.random.Generator) -> Pseudo:
    """Tails permuted among accepted triples of the same relation: every degree stays."""
    relations = [str(r) for r in pseudo.triples[:, 1].tolist()]
    return pseudo.with_column(2, _permuted_within(pseudo.triples[:, 2], relations, rng))


def comention(pseudo: Pseudo, num_relations: int) -> Pseudo:
    """All pairs under one relation without a type, numbered `num_relations`."""
    return pseudo.with_column(1, np.full(len(pseudo), num_relations))


def oracle(graph: KnowledgeGraph, given: np.ndarray) -> Pseudo:
    """Every triple of the whole data set whose evidence is in some text (strata feature, corpus).

    An upper bound: it reads hidden and test triples, as a perfect reader of the texts would.
    """
    if graph.strata is None:
        raise ValueError("the oracle needs a data set with strata")
    parts = [
        getattr(graph, split)[codes < STRATA.index("none")]
        for split, codes in graph.strata.items()
        if len(codes)
    ]
    triples = np.unique(np.concatenate(parts), axis=0)
    new = ~is_in(triples, given)
    return Pseudo(triples[new], np.ones(int(new.sum())))


def _permuted_within(values: np.ndarray, groups: list[str], rng: np.random.Generator) -> np.ndarray:
    out = values.copy()
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    for rows in members.values():
        out[rows] = values[rng.permutation(rows)]
    return out
