"""Deletion and insertion: areas by hand, and methods whose order is known to be good or bad."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.explain.edges import EdgeImportance, Occlusion
from relgnn.explain.faithfulness import (
    RANDOM,
    Faithfulness,
    areas,
    draw_predictions,
    measure,
)
from relgnn.explain.target import AnswerScore, Query, whole_score
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.model import LinkPredictor
from tests.explain.toy import toy_fitted
from tests.linkpred.toy import toy_graph


def additive(shares: list[float]) -> object:
    """P is what is left of the edges 10, 11, …"""

    def score(gone: Tensor) -> float:
        left = sum(s for edge, s in enumerate(shares, 10) if edge not in gone.tolist())
        return float(np.log(left))

    return score


def test_areas_by_hand() -> None:
    """Shares .5, .2, .1 over a rest of .1 that stays (edge 13 is not explained)."""
    score, edges = additive([0.5, 0.2, 0.1, 0.1]), np.array([10, 11, 12])
    best = areas(score, edges, np.array([0, 1, 2]), steps=3)
    # deletion .9 .4 .2 .1, insertion .1 .6 .8 .9
    assert best.deletion == pytest.approx((0.9 / 2 + 0.4 + 0.2 + 0.1 / 2) / 3)
    assert best.insertion == pytest.approx((0.1 / 2 + 0.6 + 0.8 + 0.9 / 2) / 3)
    worst = areas(score, edges, np.array([2, 1, 0]), steps=3)
    assert worst.deletion > best.deletion and worst.insertion < best.insertion


def test_the_area_of_what_does_not_matter_is_its_height() -> None:
    found = areas(lambda gone: float(np.log(0.3)), np.arange(7), np.arange(7))
    assert found == pytest.approx((0.3, 0.3))


def test_more_steps_than_edges_ask_about_each_edge_once() -> None:
    asked = []

    def score(gone: Tensor) -> float:
        asked.append(tuple(gone.tolist()))
        return -1.0

    areas(score, np.array([4, 5]), np.array([1, 0]), steps=10)
    assert sorted(asked) == [(), (4,), (5,), (5, 4)]


def test_gains_are_differences_that_point_up() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(60)
    found = Faithfulness(
        {"good": chance - 0.1, RANDOM: chance}, {"good": chance + 0.2, RANDOM: chance}
    )
    metrics = found.metrics("good")
    assert metrics["deletion_gain"] == pytest.approx(0.1)
    assert metrics["insertion_gain"] == pytest.approx(0.2)
    for gain in ("deletion_gain", "insertion_gain"):
        assert metrics[f"{gain}_low"] == pytest.approx(metrics[gain])
        assert metrics[f"{gain}_high"] == pytest.approx(metrics[gain])
    assert metrics["deletion_auc"] == pytest.approx(chance.mean() - 0.1)
    assert metrics["predictions"] == 60
    assert found.metrics(RANDOM).keys() == {"deletion_auc", "insertion_auc", "predictions"}


@dataclass(frozen=True)
class Worst:
    """Occlusion upside down."""

    def explain(
        self, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> EdgeImportance:
        found = Occlusion().explain(model, graph, query, answer)
        return replace(found, importance=-found.importance)


def test_an_order_by_what_is_lost_beats_random_and_its_reverse_does_not() -> None:
    fitted, graph = toy_fitted("rgcn"), toy_graph()
    predictions = draw_predictions(fitted, graph, "test", 10, np.random.default_rng(1))
    found = measure(
        fitted, predictions, {"best": Occlusion(), "worst": Worst()}, np.random.default_rng(2)
    )
    assert found.deletion.keys() == found.insertion.keys() == {"best", "worst", RANDOM}
    best, worst = found.metrics("best"), found.metrics("worst")
    for gain in ("deletion_gain", "insertion_gain"):
        assert best[f"{gain}_low"] > 0 > worst[f"{gain}_high"]
    again = measure(fitted, predictions, {}, np.random.default_rng(2))
    np.testing.assert_array_equal(again.deletion[RANDOM], found.deletion[RANDOM])
    for curve in (found.deletion, found.insertion):
        assert all(((x >= 0) & (x <= 1)).all() for x in curve.values())


def test_the_whole_graph_is_asked() -> None:
    fitted, graph = toy_fitted("compgcn"), toy_graph()
    [one] = draw_predictions(fitted, graph, "test", 1, np.random.default_rng(0))
    asked = fitted.model, fitted.graph, *one
    edges = AnswerScore.of(*asked).edges.numpy()
    found = measure(fitted, [one], {"own": Occlusion()}, np.random.default_rng(0))
    order = Occlusion().explain(*asked).order()
    expected = areas(whole_score(*asked), edges, order)
    assert (found.deletion["own"][0], found.insertion["own"][0]) == pytest.approx(expected)


def test_predictions_are_the_best_answers_that_are_not_given() -> None:
    fitted, graph = toy_fitted("rgcn"), toy_graph()
    found = draw_predictions(fitted, graph, "test", 8, np.random.default_rng(0))
    assert found == draw_predictions(fitted, graph, "test", 8, np.random.default_rng(0))
    assert len(found) == 8
    known = {tuple(t) for t in graph.filter_triples("valid").tolist()}
    queries = {(h, r) for h, r, _ in graph.test.tolist()}
    queries |= {(t, r + 3) for _, r, t in graph.test.tolist()}
    with torch.no_grad():
        encoded = fitted.model.encode(fitted.graph)
    for number, (query, answer) in enumerate(found):
        assert tuple(query) in queries
        assert (query.relation >= 3) == (number % 2 == 1)
        relation = query.relation % 3

        def triple(end: int, query: Query = query, relation: int = relation) -> tuple[int, ...]:
            ends = (query.node, end) if query.relation < 3 else (end, query.node)
            return ends[0], relation, ends[1]

        asked = torch.tensor([query.node]), torch.tensor([query.relation])
        scores = fitted.model.score_tails(encoded, *asked)[0]
        open_ = [end for end in range(len(scores)) if triple(end) not in known]
        assert answer == max(open_, key=lambda end: scores[end])
    assert len(draw_predictions(fitted, graph, "test", 500, np.random.default_rng(0))) <= 10


def test_answers_without_edges_are_passed_over() -> None:
    fitted = toy_fitted("rgcn")
    lonely = Fitted(fitted.model, MessageGraph.build(torch.zeros((0, 3), dtype=torch.long), 26, 3))
    assert draw_predictions(lonely, toy_graph(), "test", 5, np.random.default_rng(0)) == []


def test_nothing_to_ask() -> None:
    graph = toy_graph()
    empty = replace(graph, test=graph.test[:0], strata=None)
    with pytest.raises(InputError, match="has no test triples"):
        draw_predictions(toy_fitted("rgcn"), empty, "test", 5, np.random.default_rng(0))
    with pytest.raises(InputError, match="passes no messages"):
        draw_predictions(
            toy_fitted("rgcn", "gnn.kind=none"), graph, "test", 5, np.random.default_rng(0)
        )
