"""Candidates: folds of pairs, the surest triples once each, the graph's own say."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred import scorer
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.supervision import Supervision
from relgnn.loop import candidates
from relgnn.loop.candidates import (
    candidates_from_pairs,
    graph_log_probabilities,
    open_queries,
    pair_folds,
    propose_pairs,
)
from relgnn.text.evidence import PairFeatures
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph
from tests.text.toy import own_means

Judge = tuple[LinkPredictor, MessageGraph]


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


@pytest.fixture(scope="module")
def judge(graph: KnowledgeGraph) -> Judge:
    model = new_predictor(toy_config(), RUNTIME, graph, encode_features(graph, HashEncoder()))
    context = Supervision.gold(graph.train)
    return model, context.message_graph(graph.num_entities, graph.num_relations)


def features(pairs: list[tuple[int, int]], entities: int = 10) -> PairFeatures:
    head, tail = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    blank, nodes = torch.zeros(len(pairs), 4), torch.zeros(entities, 4)
    none = own_means(blank)
    return PairFeatures(none, none, none, blank, head, tail, nodes, nodes)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(2, 10))
def test_both_orders_of_a_pair_share_a_fold(a: int, b: int, folds: int) -> None:
    one, other = np.array([a]), np.array([b])
    fold = pair_folds(one, other, folds)
    assert fold == pair_folds(other, one, folds)
    assert fold.dtype == np.int64 and 0 <= fold[0] < folds


@pytest.mark.parametrize("folds", [2, 4, 7])
def test_folds_are_balanced_also_among_the_pairs_of_one_entity(folds: int) -> None:
    head, tail = np.meshgrid(np.arange(120), np.arange(120))
    upper = head.ravel() < tail.ravel()
    fold = pair_folds(head.ravel()[upper], tail.ravel()[upper], folds)
    share = np.bincount(fold, minlength=folds) / upper.sum()
    assert np.abs(share * folds - 1).max() < 0.12
    own = np.bincount(pair_folds(np.full(2000, 7), np.arange(2000) + 8, folds), minlength=folds)
    assert np.abs(own / 2000 * folds - 1).max() < 0.2


def test_a_triple_of_two_pairs_takes_the_surer() -> None:
    pairs = features([(3, 5), (5, 3)])
    logits = np.array([[1.0, -9, -9, -9], [-9, -8, 2.0, -9]])  # 2.0: inverse of relation 0
    found = candidates_from_pairs(pairs, logits, np.array([False, True]), np.array([1, 1]), limit=8)
    assert found.triples[0].tolist() == [3, 0, 5]
    assert (found.text[0], found.pair[0], found.implied[0]) == (2.0, 1, True)
    assert len({tuple(t) for t in found.triples.tolist()}) == len(found) == 4
    assert (np.diff(found.text) <= 0).all()


@given(st.integers(1, 30), st.integers(0, 10))
def test_the_likeliest_are_kept_as_by_the_naive_search(limit: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pairs = [(0, 1), (1, 0), (1, 2), (4, 2), (2, 4), (3, 0)]
    logits = generator.normal(size=(6, 6))
    fold = np.arange(6) % 2
    best: dict[tuple[int, int, int], float] = {}
    for row, (a, b) in enumerate(pairs):
        for output in range(6):
            triple = (a, output, b) if output < 3 else (b, output - 3, a)
            best[triple] = max(best.get(triple, -np.inf), float(logits[row, output]))
    expected = sorted(best, key=lambda t: -best[t])[:limit]
    found = candidates_from_pairs(features(pairs), logits, np.zeros(6, dtype=bool), fold, limit)
    assert [tuple(t) for t in found.triples.tolist()] == expected
    np.testing.assert_allclose(found.text, [best[t] for t in expected])
    assert (found.fold == fold[found.pair]).all()


@given(st.lists(st.floats(-9, 9, width=32), max_size=40), st.integers(1, 12), st.integers(1, 12))
def test_the_largest_of_blocks_are_those_of_all(
    values: list[float], count: int, at_once: int
) -> None:
    every = np.array(values, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LOGITS_AT_ONCE", at_once)
        found = candidates._largest(every, count)
    assert len(set(found.tolist())) == len(found) == min(count, len(every))
    assert sorted(every[found]) == sorted(every)[max(0, len(every) - count) :]


def test_no_pair_no_candidate() -> None:
    empty = np.zeros(0, dtype=np.int64)
    found = candidates_from_pairs(
        features([]), np.zeros((0, 4)), empty.astype(bool), empty, limit=5
    )
    assert len(found) == 0 and found.triples.shape == (0, 3)


def test_a_subset_keeps_rows_together() -> None:
    pairs = features([(0, 1), (2, 3)])
    found = candidates_from_pairs(
        pairs, np.array([[1.0, 0.0], [3.0, 2.0]]), np.zeros(2, dtype=bool), np.array([0, 1]), 4
    )
    part = found.subset(found.fold == 0)
    assert part.triples.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert part.text.tolist() == [1.0, 0.0]


def naive_log_probabilities(judge: Judge, triples: np.ndarray) -> np.ndarray:
    model, messages = judge
    out = []
    with torch.no_grad():
        encoded = model.eval().encode(messages)
        for h, r, t in triples.tolist():
            tails = model.score_tails(encoded, torch.tensor([h]), torch.tensor([r]))[0]
            inverse = torch.tensor([r + model.num_relations])
            heads = model.score_tails(encoded, torch.tensor([t]), inverse)[0]
            out.append([tails.log_softmax(0)[t].item(), heads.log_softmax(0)[h].item()])
    return np.array(out)


@pytest.mark.parametrize("batch", [1, 3, 4, 512])
def test_log_probabilities_are_the_naive_ones(
    judge: Judge, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "QUERY_BATCH", batch)
    triples = np.array([[0, 0, 20], [3, 1, 22], [0, 0, 21], [5, 2, 6], [0, 0, 20], [1, 0, 25]])
    found = graph_log_probabilities(*judge, triples)
    np.testing.assert_allclose(found, naive_log_probabilities(judge, triples), atol=1e-5)


def test_no_triple_no_log_probability(judge: Judge) -> None:
    none = np.zeros((0, 3), dtype=np.int64)
    assert graph_log_probabilities(*judge, none).shape == (0, 2)


def test_open_queries_are_those_of_entities_used_alike() -> None:
    given_ = np.array([[0, 0, 5], [1, 0, 5], [1, 1, 6], [5, 2, 7]])
    asked = {tuple(q) for q in open_queries(given_, 9, 4).tolist()}
    # 0 heads relation 0, as 1 does, who also heads 1; 5 is a tail of 0 and heads 2.
    assert {r for e, r in asked if e == 0} == {0, 1}
    assert {r for e, r in asked if e == 5} == {2}
    # 6 is only ever a tail of 1, and no tail of 1 heads anything.
    assert not [q for q in asked if q[0] == 6]
    # 8 has no role: asked for everything that is used; relation 3 is not.
    assert {r for e, r in asked if e == 8} == {0, 1, 2}


def test_proposals_are_the_likeliest_answers_each_pair_once(
    graph: KnowledgeGraph, judge: Judge
) -> None:
    heads, tails = propose_pairs(*judge, graph.train, answers=3, limit=10**6)
    pairs = list(zip(heads.tolist(), tails.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    queries = open_queries(graph.train, graph.num_entities, graph.num_relations)
    expected: dict[tuple[int, int], float] = {}
    model, messages = judge
    with torch.no_grad():
        encoded = model.eval().encode(messages)
        for h, r in queries.tolist():
            scores = model.score_tails(encoded, torch.tensor([h]), torch.tensor([r]))[0]
            top = scores.topk(3).indices.numpy()
            rows = np.column_stack([np.full(3, h), np.full(3, r), top])
            for t, sure in zip(top, naive_log_probabilities(judge, rows).sum(1), strict=True):
                expected[h, int(t)] = max(expected.get((h, int(t)), -np.inf), sure)
    assert set(pairs) == set(expected)
    sure = [expected[pair] for pair in pairs]
    assert (np.diff(sure) < 1e-4).all()
    few_heads, few_tails = propose_pairs(*judge, graph.train, answers=3, limit=7)
    assert list(zip(few_heads.tolist(), few_tails.tolist(), strict=True)) == pairs[:7]


def test_answers_that_cannot_be_among_the_likeliest_are_not_asked_back(
    graph: KnowledgeGraph, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = copy.deepcopy(judge[0]), judge[1]
    with torch.no_grad():  # one that is sure of some answers
        judge[0].relation *= 60
    whole = propose_pairs(*judge, graph.train, answers=3, limit=10**6)
    asked: list[int] = []
    log_answers = scorer.Scorer.log_answers

    def noted(self: scorer.Scorer, *triples: torch.Tensor) -> torch.Tensor:
        asked.append(len(triples[0]))
        return log_answers(self, *triples)

    monkeypatch.setattr(scorer.Scorer, "log_answers", noted)
    monkeypatch.setattr(candidates, "PAIRS_AT_ONCE", 5)
    for limit in (1, 4, 10**6):
        asked.clear()
        found = propose_pairs(*judge, graph.train, answers=3, limit=limit)
        for one, every in zip(found, whole, strict=True):
            assert one.tolist() == every[:limit].tolist()
        if limit == 1:
            few = sum(asked)
    queries = open_queries(graph.train, graph.num_entities, graph.num_relations)
    assert few < sum(asked) == 3 * len(queries)


def test_of_many_queries_those_are_asked_that_are_likeliest_to_have_an_answer() -> None:
    # of five entities that head relation 0 four head 1, one heads 2
    given_ = np.array([[h, 0, 9] for h in range(5)] + [[h, 1, 9] for h in range(4)] + [[4, 2, 9]])
    every = {tuple(q) for q in open_queries(given_, 11, 3).tolist()}
    assert every == {(h, r) for h in range(11) if h != 9 for r in range(3)}
    for most in (len(every), len(every) + 1):
        assert {tuple(q) for q in open_queries(given_, 11, 3, most).tolist()} == every
    surest = {(h, 0) for h in range(5)} | {(h, 1) for h in range(4)} | {(4, 2)}
    assert {tuple(q) for q in open_queries(given_, 11, 3, 10).tolist()} == surest
    # next comes what most of those have that share a role: that 4, too, heads 1
    assert {tuple(q) for q in open_queries(given_, 11, 3, 11).tolist()} == surest | {(4, 1)}


def test_nothing_given_proposes_nothing(judge: Judge) -> None:
    heads, tails = propose_pairs(*judge, np.zeros((0, 3), dtype=np.int64), answers=3, limit=5)
    assert len(heads) == len(tails) == 0
