"""Metrics of a fitted predictor by stratum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.evaluate import evaluate, metrics_by_category
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import Fitted, new_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.strata import degree_masks, stratum_masks
from tests.linkpred.toy import RUNTIME, toy_config, toy_graph


def untrained(graph: KnowledgeGraph, features: TextFeatures) -> Fitted:
    model = new_predictor(toy_config(), RUNTIME, graph, features)
    context = Supervision.gold(graph.train)
    return Fitted(model, context.message_graph(graph.num_entities, graph.num_relations))


def test_strata_divide_a_split(graph: KnowledgeGraph) -> None:
    masks = stratum_masks(graph, "test")
    assert list(masks) == ["feature", "corpus", "none", "unseen"]
    total = np.sum([masks[name] for name in ("feature", "corpus", "none")], axis=0)
    assert (total == 1).all()
    assert graph.strata is not None
    assert (masks["corpus"] == (graph.strata["test"] == 1)).all()


def test_unseen_triples_have_an_end_that_nothing_given_has(graph: KnowledgeGraph) -> None:
    few = replace(graph, train=graph.train[:3], strata=None)
    masks = stratum_masks(few, "test")
    assert list(masks) == ["unseen"]
    seen = set(few.train[:, [0, 2]].ravel().tolist())
    assert masks["unseen"].tolist() == [
        h not in seen or t not in seen for h, _, t in graph.test.tolist()
    ]
    assert 0 < masks["unseen"].sum() < len(graph.test) or masks["unseen"].all()


def test_metrics_have_the_strata_that_occur(graph: KnowledgeGraph, features: TextFeatures) -> None:
    ranks, metrics = evaluate(untrained(graph, features), graph, "test")
    masks = stratum_masks(graph, "test")
    assert set(metrics) == {"all"} | {name for name, mask in masks.items() if mask.any()}
    assert metrics["all"]["both"]["realistic"]["queries"] == 2 * len(graph.test)
    for name, mask in masks.items():
        if mask.any():
            mrr = np.mean(1 / ranks["tail"].realistic[mask])
            assert np.isclose(metrics[name]["tail"]["realistic"]["mrr"], mrr)


def test_each_split_has_its_filter(graph: KnowledgeGraph, features: TextFeatures) -> None:
    """Hidden triples filter at test, and never at valid."""
    fitted = untrained(graph, features)
    candidates = {}
    for split in ("valid", "test"):
        ranks, _ = evaluate(fitted, graph, split)
        bare, _ = evaluate(fitted, replace(graph, hidden=graph.hidden[:0], strata=None), split)
        candidates[split] = (ranks["head"].candidates.sum(), bare["head"].candidates.sum())
    assert candidates["valid"][0] == candidates["valid"][1]
    assert candidates["test"][0] < candidates["test"][1]


def test_reading_joins_the_score(graph: KnowledgeGraph, features: TextFeatures) -> None:
    def flat(heads: Tensor, relations: Tensor) -> Tensor:
        return torch.zeros(len(heads), graph.num_entities)

    fitted = untrained(graph, features)
    plain, _ = evaluate(fitted, graph, "test")
    read, _ = evaluate(fitted, graph, "test", flat)
    assert (plain["head"].realistic == read["head"].realistic).all()


def test_metrics_by_category_divide_the_queries(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    ranks, metrics = evaluate(untrained(graph, features), graph, "test")
    found = metrics_by_category(ranks, graph, "test")
    # people share towns, and each has one place of birth and few friends
    assert set(found) <= {"1-1", "1-N", "N-1", "N-N"} and "N-1" in found
    for side in ("both", "head", "tail"):
        parts = [sides[side]["realistic"] for sides in found.values()]
        whole = metrics["all"][side]["realistic"]
        assert sum(part["queries"] for part in parts) == whole["queries"]
        total = sum(part["mrr"] * part["queries"] for part in parts)
        assert np.isclose(total, whole["mrr"] * whole["queries"])


def test_candidates_can_be_restricted(graph: KnowledgeGraph, features: TextFeatures) -> None:
    fitted = untrained(graph, features)
    seen = Admissible.build(graph.train, graph.num_entities, graph.num_relations)
    every, _ = evaluate(fitted, graph, "test")
    some, _ = evaluate(fitted, graph, "test", admissible=seen)
    assert all((some[side].candidates < every[side].candidates).all() for side in every)


def test_degrees_divide_a_split() -> None:
    graph = toy_graph()
    masks = degree_masks(graph, "test")
    assert (np.sum(list(masks.values()), axis=0) == 1).all()
    np.testing.assert_array_equal(masks["degree_0"], stratum_masks(graph, "test")["unseen"])
    given = graph.train[:, [0, 2]].tolist()
    for triple, *own in zip(graph.test.tolist(), *masks.values(), strict=True):
        times = [sum(end in pair for pair in given) for end in (triple[0], triple[2])]
        bounds = [(0, 0), (1, 3), (4, 10), (11, 10**9)]
        assert [low <= min(times) <= high for low, high in bounds] == own
