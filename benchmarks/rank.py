"""Filtered ranks of both ends of all FB15k-237 test triples, DistMult at width 200."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Bench, Call, Pair
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load
from relgnn.ranking.ranks import SIDES, FilterIndex, Ranks, evaluate_ranks
from relgnn.ranking.scores import Candidates, Products
from relgnn.runtime import Precision

WIDTH, QUERIES = 200, 1024


def vectors() -> tuple[Tensor, Tensor]:
    """Entities [N, d] and relations [2R, d]; of an inverse, the relation's own, as in DistMult.

    Whole numbers, small enough that every sum is exact in float32: so a rank does not depend on
    the order in which a library adds, and all ranks must be equal.
    """
    data = load("fb15k237")
    generator = torch.Generator().manual_seed(0)
    entity = torch.randint(-100, 101, (data.num_entities, WIDTH), generator=generator).float()
    relation = torch.randint(-4, 5, (data.num_relations, WIDTH), generator=generator).float()
    return entity, torch.cat([relation, relation])


def ours(first_pass: Precision = "fp32") -> Call:
    """Our ranks, the index of known triples included."""
    data, (entity, relation) = load("fb15k237"), vectors()
    known = np.concatenate([data.train, data.valid, data.test])

    def call() -> dict[str, Ranks]:
        candidates = Candidates(entity, first_pass)
        return evaluate_ranks(
            lambda h, r: Products(entity[h] * relation[r], candidates),
            data.test,
            FilterIndex.build(known, data.num_relations),
            data.num_relations,
        )

    return call


def queries(data: KnowledgeGraph) -> Tensor:
    """Entity and relation (its inverse where heads are asked for) of test's queries, [Q, 2]."""
    head, kind, tail = torch.from_numpy(data.test.copy()).unbind(1)
    asked = torch.stack([torch.cat([head, tail]), torch.cat([kind, kind + data.num_relations])], 1)
    return torch.unique(asked, dim=0)


def bare_products() -> Call:
    """Every distinct query's matrix product with all entities and nothing else: the limit."""
    data, (entity, relation) = load("fb15k237"), vectors()
    ends, kinds = queries(data).unbind(1)
    out = torch.empty(QUERIES, len(entity))

    def call() -> None:
        for part in torch.arange(len(ends)).split(QUERIES):
            query = entity[ends[part]] * relation[kinds[part]]
            torch.mm(query, entity.t(), out=out[: len(part)])

    return call


def pykeen() -> Call:
    """PyKEEN's RankBasedEvaluator."""
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import DistMult
    from pykeen.triples import CoreTriplesFactory

    data, (entity, relation) = load("fb15k237"), vectors()
    train, valid, test = (
        torch.from_numpy(part.copy()) for part in (data.train, data.valid, data.test)
    )
    model: Any = DistMult(
        triples_factory=CoreTriplesFactory(train, data.num_entities, data.num_relations),
        embedding_dim=WIDTH,
    )
    with torch.no_grad():
        model.entity_representations[0]._embeddings.weight.copy_(entity)
        model.relation_representations[0]._embeddings.weight.copy_(relation[: data.num_relations])

    def call() -> dict[str, Ranks]:
        evaluator: Any = RankBasedEvaluator(clear_on_finalize=False)
        evaluator.evaluate(
            model, test, batch_size=256, additional_filter_triples=[train, valid], use_tqdm=False
        )
        found = {}
        for side in SIDES:
            best, worst = (
                np.concatenate(evaluator.ranks[side, kind])
                for kind in ("optimistic", "pessimistic")
            )
            candidates = np.concatenate(evaluator.num_candidates[side])
            found[side] = Ranks(best, worst, candidates)
        return found

    return call


def same_ranks(last: dict[str, Any]) -> list[str]:
    """How many ranks are equal to the peer's and to those of a float32 first pass."""
    said = []
    for name in ("PyKEEN RankBasedEvaluator", "ours, bfloat16 first pass"):
        if name in last:
            pairs = [(last["ours"][side].realistic, last[name][side].realistic) for side in SIDES]
            equal = sum(int((mine == theirs).sum()) for mine, theirs in pairs)
            total = sum(len(mine) for mine, _ in pairs)
            said.append(f"ranks of ours equal to {name}'s: {equal:,} of {total:,}")
    return said


BENCH = Bench(
    module=__name__,
    sides={
        "ours": ours,
        "ours, bfloat16 first pass": functools.partial(ours, "bf16"),
        "bare matrix products": bare_products,
        "PyKEEN RankBasedEvaluator": pykeen,
    },
    pairs=[
        Pair("rank_pykeen", "ours", "PyKEEN RankBasedEvaluator", "bare matrix products"),
        Pair("rank_bf16", "ours, bfloat16 first pass", "ours", "bare matrix products"),
    ],
    versions={"PyKEEN": f"pykeen {version('pykeen')}", "ours": "relgnn, float32"},
    check=same_ranks,
)
