"""The re-ranker: what it is told of candidates, and what it learns of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from relgnn.config.biencoder import RerankSettings
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.candidates import Queries, list_queries
from relgnn.linkpred.rerank import Reranker, RerankTask, list_ranks
from relgnn.linkpred.rerank_features import CandidateFeatures
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from tests.linkpred.test_ensemble import noise


@pytest.fixture
def features(graph: KnowledgeGraph) -> CandidateFeatures:
    texts = torch.randn(graph.num_entities, 4, generator=torch.Generator().manual_seed(0))
    read = {"text": noise(3), "all": noise(4)}
    return CandidateFeatures(graph, noise(1), {"other": noise(2)}, texts, 8, read)


def queries_of(graph: KnowledgeGraph, features: CandidateFeatures) -> Queries:
    known = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)
    return list_queries(features, graph, graph.valid, known)


def test_candidates_are_the_best_that_are_not_given(
    graph: KnowledgeGraph, features: CandidateFeatures
) -> None:
    heads, relations = torch.tensor([0, 3, 21]), torch.tensor([0, 1, 3])
    listed = features(heads, relations)
    given = {(h, r, t) for h, r, t in graph.train.tolist()}
    given |= {(t, r + 3, h) for h, r, t in graph.train.tolist()}
    for row, (h, r) in enumerate(zip(heads.tolist(), relations.tolist(), strict=True)):
        scores = noise(1)(heads[row, None], relations[row, None])[0]
        order = [e for e in scores.argsort(descending=True).tolist() if (h, r, e) not in given]
        assert listed.nodes[row].tolist() == order[:8]
    assert listed.features.shape == (3, 8, len(features.names))


def test_features_are_what_their_names_say(
    graph: KnowledgeGraph, features: CandidateFeatures
) -> None:
    heads, relations = torch.tensor([0, 3, 21]), torch.tensor([0, 1, 5])
    listed = features(heads, relations)
    column = {name: place for place, name in enumerate(features.names)}
    train = graph.train.tolist()
    edges = [(h, t) for h, _, t in train] + [(t, h) for h, _, t in train]
    count = np.zeros((graph.num_entities, graph.num_entities))
    for a, b in edges:
        count[a, b] += 1
    walks = [np.linalg.matrix_power(count, power) for power in (1, 2, 3)]
    for row, (h, r) in enumerate(zip(heads.tolist(), relations.tolist(), strict=True)):
        own = noise(1)(heads[row, None], relations[row, None])[0]
        other = noise(2)(heads[row, None], relations[row, None])[0]
        nodes = listed.nodes[row].tolist()
        best = max(float(other[e]) for e in nodes)
        behind = sorted(nodes, key=lambda e, other=other: -float(other[e]))
        for place, e in enumerate(nodes):
            found = listed.features[row, place]
            answers = [t if r < 3 else h2 for h2, r2, t in train if r2 == r % 3]
            back = (e, r, h) if r < 3 else (h, r - 3, e)
            read = {n: noise(k)(heads[row, None], relations[row, None])[0, e].item()
                    for n, k in (("read: text", 3), ("read: all", 4))}  # fmt: skip
            expected = {
                "base": float(own[e] - own[nodes[0]]), "rank": math.log(place + 1),
                "other": float(other[e]) - best, "other rank": math.log(behind.index(e) + 1),
                "reverse": float(list(back) in train), "same": float(e == h),
                "often": math.log1p(answers.count(e)), "degree": math.log1p(count[:, e].sum()),
                **{f"walks of {n + 1}": math.log1p(walks[n][h, e]) for n in range(3)}, **read,
            }  # fmt: skip
            for name, value in expected.items():
                assert float(found[column[name]]) == pytest.approx(value, abs=1e-5), name
    assert listed.features[..., column["text"]].abs().max() <= 1.0001


def test_it_begins_with_the_bases_order(graph: KnowledgeGraph, features: CandidateFeatures) -> None:
    queries = queries_of(graph, features)
    model = Reranker(len(features.names), 4, 0.0).eval()
    model.standardise(queries.features)
    np.testing.assert_array_equal(
        list_ranks(model, queries).realistic, list_ranks(None, queries).realistic
    )


def test_ranks_among_candidates_are_those_of_all_entities(
    graph: KnowledgeGraph, features: CandidateFeatures
) -> None:
    queries = queries_of(graph, features)
    known = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)
    whole = evaluate_ranks(noise(1), graph.valid, known, graph.num_relations)
    ranks = np.concatenate([whole["tail"].realistic, whole["head"].realistic])
    found = list_ranks(None, queries).realistic
    listed = (queries.place >= 0).numpy()
    assert 0 < listed.sum() < len(listed)
    np.testing.assert_array_equal(found[listed], ranks[listed])
    assert (found[~listed] <= 9).all() and (found[~listed] >= 9 - queries.other.sum(1).max().item()
                                            ).all()  # fmt: skip


def test_it_learns_which_candidates_answer(
    graph: KnowledgeGraph, features: CandidateFeatures
) -> None:
    queries = queries_of(graph, features)
    told = queries.features.clone()
    told[..., 1] = (queries.nodes != queries.answers[:, None]).float() + 0.1 * told[..., 1]
    queries = Queries(**{**vars(queries), "features": told})
    settings = RerankSettings.model_validate({"of": "x", "dropout": 0.0})
    model = Reranker(told.shape[2], 4, 0.0)
    model.standardise(told)
    task = RerankTask(model, queries, queries, settings, "re-ranker")
    assert task.count == int((queries.place >= 0).sum()) < len(queries.heads)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    before = task.evaluate()["mrr"]
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(torch.arange(task.count), torch.Generator()).backward()
        optimizer.step()
    own = list_ranks(model.eval(), queries).realistic[(queries.place >= 0).numpy()]
    assert (own == 1).all()
    assert task.evaluate()["mrr"] > before


def test_other_known_answers_are_no_wrong_ones(
    graph: KnowledgeGraph, features: CandidateFeatures
) -> None:
    queries = queries_of(graph, features)
    valid = {tuple(t) for t in graph.valid.tolist()}
    for row in range(len(queries.heads)):
        h, r, t = (int(x[row]) for x in (queries.heads, queries.relations, queries.answers))
        for place, e in enumerate(queries.nodes[row].tolist()):
            true = ((h, r, e) if r < 3 else (e, r - 3, h)) in valid
            assert bool(queries.other[row, place]) == (true and e != t)
