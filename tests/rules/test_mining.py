"""Mining: planted rules are found, and their numbers are those of counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from relgnn.config import MiningConfig
from relgnn.rules.adjacency import Adjacency
from relgnn.rules.mining import find_bodies, mine
from tests.rules.graphs import BORN, LIVES, SPOUSE, families, random_triples

EVERYTHING = MiningConfig(min_confidence=0, min_support=1, unseen=0, branch=100, bodies=10_000)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_planted_rule_is_found_with_its_confidence() -> None:
    found = {(one.head, one.body): one for one in mine(families(), EVERYTHING, rng())}
    rule = found[LIVES, (SPOUSE, BORN)]
    assert (rule.support, rule.pairs) == (16, 20)
    assert rule.confidence == pytest.approx(16 / 20)
    # four whose home is not known are no counter-examples
    assert rule.pca_confidence == pytest.approx(1.0)


def test_unseen_pairs_make_a_rule_less_sure() -> None:
    settings = EVERYTHING.model_copy(update={"unseen": 5.0})
    [rule] = [x for x in mine(families(), settings, rng()) if x[:2] == (LIVES, (SPOUSE, BORN))]
    assert rule.confidence == pytest.approx(16 / 25)


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_that_of_counting(seed: int) -> None:
    graph = Adjacency(random_triples(12, 3, 60, seed), 12, 3)
    everyone = np.arange(12)
    rules = mine(graph, EVERYTHING, rng())
    assert {len(one.body) for one in rules} == {1, 2, 3}
    for rule in rules:
        body = graph.pairs(rule.body, everyone).toarray() > 0
        head = graph[rule.head].toarray() > 0
        assert rule.pairs == body.sum()
        assert rule.support == (body & head).sum()
        forward = graph.functionality[rule.head] >= graph.functionality[rule.head + 3]
        known = body & (head.any(1)[:, None] if forward else head.any(0)[None])
        assert rule.confidence == pytest.approx(rule.support / body.sum())
        assert rule.pca_confidence == pytest.approx(rule.support / known.sum())
        assert rule.pca_confidence >= rule.confidence


@pytest.mark.parametrize("seed", range(3))
def test_no_body_that_connects_two_triples_is_missed(seed: int) -> None:
    graph = Adjacency(random_triples(8, 2, 30, seed), 8, 2)
    found = find_bodies(graph, EVERYTHING, rng())
    everyone = np.arange(8)
    for head in range(2):
        triples = graph[head].toarray() > 0
        for a in range(4):
            for b in range(4):
                for c in range(4):
                    for body in {(a,), (a, b), (a, b, c)} - {(head,)}:
                        both = (graph.pairs(body, everyone).toarray() > 0) & triples
                        assert (body in found[head]) == (both.sum() >= 2), (head, body)


def test_settings_bound_what_is_mined() -> None:
    graph = families()
    short = mine(graph, EVERYTHING.model_copy(update={"length": 1}), rng())
    assert {len(one.body) for one in short} <= {1}
    sure = mine(graph, EVERYTHING.model_copy(update={"min_confidence": 0.7}), rng())
    assert sure and all(one.confidence >= 0.7 for one in sure)
    some = mine(graph, EVERYTHING.model_copy(update={"min_support": 10}), rng())
    assert some and all(one.support >= 10 for one in some)


def test_samples_are_those_of_the_seed() -> None:
    graph = Adjacency(random_triples(60, 4, 900, 0), 60, 4)
    settings = MiningConfig(triples=20, branch=5, starts=20, min_support=1, min_confidence=0)
    assert mine(graph, settings, rng()) == mine(graph, settings, rng())
    assert mine(graph, settings, rng()) != mine(graph, settings, rng(1))


def test_a_sampled_confidence_is_near_the_counted_one() -> None:
    graph = Adjacency(random_triples(200, 3, 4000, 0), 200, 3)
    settings = EVERYTHING.model_copy(update={"length": 2, "min_support": 3})
    whole = {x[:2]: x for x in mine(graph, settings, rng())}
    part = mine(graph, settings.model_copy(update={"starts": 100}), rng())
    shared = [(whole[x[:2]].confidence, x.confidence) for x in part if x.support > 30]
    assert len(shared) > 10
    np.testing.assert_allclose(*np.array(shared).T, atol=0.05)


def test_an_empty_graph_has_no_rules() -> None:
    assert mine(Adjacency(np.zeros((0, 3), int), 3, 2), EVERYTHING, rng()) == []
