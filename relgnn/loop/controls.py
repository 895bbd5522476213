"""Controls of the loop: what the accepted triples are worth without their meaning."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from relgnn.config import LoopConfig
from relgnn.data import STRATA, KnowledgeGraph, is_in
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.views import UNSEEN
from relgnn.posterior.fusion import logit
from relgnn.posterior.selectors import surest_of_pairs

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
        pseudo: what text taught, and how sure it is: accepted triples and connected pairs carry
            messages and are targets; a memory is told of the accepted and of all that fell short.
        loop: switches context, targets and memory, context_weight, target_weight, target_weighting
            and target_floor.
        evidence: [G + A, d_t], encoding of each triple's sentences, or None.
    """
    told = pseudo.of(Role.ACCEPTED, Role.TOLD) if loop.memory is not None else Pseudo.none()
    if evidence is not None:
        shown = np.concatenate([np.full(len(given), True), pseudo.role != Role.TOLD])
        evidence = evidence[torch.from_numpy(shown)]
    pseudo = pseudo.of(Role.ACCEPTED, Role.CONNECTED)
    of_memory = {
        "told": torch.from_numpy(np.array(told.triples)),
        "told_p": torch.from_numpy(np.array(told.p)),
    }
    gold = torch.from_numpy(np.array(given))
    extra = torch.from_numpy(np.array(pseudo.triples))
    weight = torch.from_numpy(pseudo.weight).float()
    ones = torch.ones(len(gold))
    if loop.context:
        context = torch.cat([gold, extra])
        context_weight = torch.cat([ones, loop.context_weight * weight])
    else:
        context, context_weight = gold, ones
        evidence = None if evidence is None else evidence[: len(gold)]
    if not loop.targets:
        return Supervision(gold, ones, context, context_weight, evidence, **of_memory)
    kept = pseudo.p >= loop.target_floor
    targets = pseudo.subset(kept)
    taught = torch.from_numpy(target_weights(targets, loop.target_weighting)).float()
    text = None if targets.p_text is None else torch.from_numpy(targets.p_text).float()
    return Supervision(
        torch.cat([gold, extra[torch.from_numpy(kept)]]),
        torch.cat([ones, loop.target_weight * taught]),
        context,
        context_weight,
        evidence,
        torch.cat([torch.zeros(len(gold)), torch.ones(len(taught))]).bool(),
        None if text is None else torch.cat([torch.full((len(gold),), torch.nan), text]),
        torch.cat([ones, torch.from_numpy(targets.p).float()]),
        **of_memory,
    )


def target_weights(pseudo: Pseudo, weighting: str) -> np.ndarray:
    """What accepted targets weigh, [A] in [0, 1], by their posteriors p.

        posterior: p      logit: max(0, logit p) / logit .999, at most 1      uniform: 1

    Where the selector weighs its triples otherwise than by p, as soft does, `posterior` is its
    weight. Log odds are what an independent vote weighs in the best weighted majority (Nitzan and
    Paroush, Optimal Decision Rules in Uncertain Dichotomous Choice Situations, 1982); one that is
    right no oftener than not has none.
    """
    if weighting == "uniform":
        return np.ones(len(pseudo))
    if weighting == "logit":
        certain = 1 - UNSEEN
        return np.asarray(np.clip(logit(pseudo.p) / logit(np.array(certain)), 0, 1))
    return pseudo.weight


def shuffled(pseudo: Pseudo, graph: KnowledgeGraph, rng: np.random.Generator) -> Pseudo:
    """Relations permuted among accepted triples whose ends are of the same kinds.

    What is left is which pairs the text connects and how often each relation is used. Kinds are
    coarse (`entity_kinds`): the finest types fix the relation (on CoDEx-S permuting within them
    changes 5 % of the triples), and a control that changes nothing would be the loop again. Roles
    stay: pairs that were connected without a type have none, and accepted triples change relations
    among themselves.
    """
    kinds = entity_kinds(graph)
    rows = zip(pseudo.triples.tolist(), pseudo.role.tolist(), strict=True)
    signature = [f"{kinds[h]}|{kinds[t]}|{role}" for (h, _, t), role in rows]
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
    """Tails permuted among triples of the same relation and role: every degree stays."""
    rows = zip(pseudo.triples[:, 1].tolist(), pseudo.role.tolist(), strict=True)
    groups = [f"{relation}|{role}" for relation, role in rows]
    return pseudo.with_column(2, _permuted_within(pseudo.triples[:, 2], groups, rng))


def one_of_pairs(pseudo: Pseudo) -> np.ndarray:
    """Positions [P] of the surest triple of each pair, for `comention`.

    First of what is accepted or connected, so that no pair loses its edge; then of what is told of
    pairs that have no accepted triple.
    """
    sure = np.flatnonzero(pseudo.role != Role.TOLD)
    sure = sure[surest_of_pairs(pseudo.triples[sure], pseudo.p[sure])]
    accepted = pseudo.triples[pseudo.role == Role.ACCEPTED][:, [0, 2]]
    rest = np.flatnonzero((pseudo.role == Role.TOLD) & ~is_in(pseudo.triples[:, [0, 2]], accepted))
    rest = rest[surest_of_pairs(pseudo.triples[rest], pseudo.p[rest])]
    return np.concatenate([sure, rest])


def comention(pseudo: Pseudo, num_relations: int) -> Pseudo:
    """All pairs under one relation without a type, numbered `num_relations`.

    The text was not asked whether it holds.
    """
    untyped = pseudo.with_column(1, np.full(len(pseudo), num_relations))
    return replace(untyped, p_text=None)


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
