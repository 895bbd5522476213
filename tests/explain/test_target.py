"""The log-probability of an answer by the edges near it, against the whole graph encoded anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.errors import InputError
from relgnn.explain.target import AnswerScore, Query, triples_of, whole_score, without
from relgnn.linkpred.fit import Fitted
from tests.explain.toy import KINDS, toy_fitted
from tests.linkpred.toy import BORN, RELATIONS, toy_graph

QUERY, ANSWER = Query(0, BORN), 21
NONE = torch.zeros(0, dtype=torch.long)


def target(fitted: Fitted, query: Query = QUERY, answer: int = ANSWER) -> AnswerScore:
    return AnswerScore.of(fitted.model, fitted.graph, query, answer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("query", "answer"), [(QUERY, ANSWER), (Query(21, BORN + len(RELATIONS)), 4), (Query(3, 2), 3)]
)
def test_with_every_edge_it_is_what_the_model_says(kind: str, query: Query, answer: int) -> None:
    fitted = toy_fitted(kind)
    one = target(fitted, query, answer)
    whole = whole_score(fitted.model, fitted.graph, query, answer)(NONE)
    assert float(one.of_weights(one.weight).detach()) == pytest.approx(whole, rel=1e-5)
    assert one.without(NONE) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_without_edges_both_ends_are_encoded_anew_and_the_others_are_not(kind: str) -> None:
    fitted = toy_fitted(kind)
    model, one = fitted.model, target(fitted)
    for gone in (one.edges[:1], one.edges[::2], one.edges):
        with torch.no_grad():
            x, z = model.encode(fitted.graph)
            anew = model.encode(without(fitted.graph, gone))[0]
            relation = z[QUERY.relation][None]
            scores = model.decoder.score_all(anew[[QUERY.node]], relation, x)[0]
            own = model.decoder.score(anew[[QUERY.node]], relation, anew[[ANSWER]])
            scores[ANSWER] = own[0]
            expected = float(scores.log_softmax(0)[ANSWER])
        assert one.without(gone) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["rgcn", "rgcn of two layers", "blocks", "attention"])
def test_edges_beyond_the_neighbourhood_have_no_say(kind: str) -> None:
    fitted = toy_fitted(kind)
    one = target(fitted)
    every = torch.arange(fitted.graph.num_edges)
    far = every[~torch.isin(every, one.edges)]
    assert len(far)
    assert one.without(far) == pytest.approx(one.without(NONE), abs=1e-6)


def test_near_are_all_edges_of_both_ends() -> None:
    fitted = toy_fitted("rgcn")
    triples = triples_of(fitted.graph)
    touching = (triples[:, ::2].unsqueeze(-1) == torch.tensor([QUERY.node, ANSWER])).any(-1).any(-1)
    assert target(fitted).edges.tolist() == touching.nonzero().squeeze(1).tolist()


def test_the_triples_of_a_context_in_their_order() -> None:
    graph, fitted = toy_graph(), toy_fitted("rgcn")
    known = np.concatenate([graph.train, graph.hidden, graph.test])
    np.testing.assert_array_equal(triples_of(fitted.graph).numpy(), known)


def test_a_model_without_messages_is_refused() -> None:
    with pytest.raises(InputError, match="passes no messages"):
        target(toy_fitted("rgcn", "gnn.kind=none"))
