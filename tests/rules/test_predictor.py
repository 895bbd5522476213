"""Prediction by rules: fast scores are those of firing every rule by hand, and proofs hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.config import MiningConfig
from relgnn.rules.adjacency import Adjacency
from relgnn.rules.constants import ANYTHING, ConstantRule, ConstantRules
from relgnn.rules.mining import mine
from relgnn.rules.predictor import MOST, PRIOR, RulePredictor
from relgnn.rules.rule import Rule
from tests.rules.graphs import BORN, LIVES, SPOUSE, families, random_triples

E, R = 15, 3
SETTINGS = MiningConfig(
    min_confidence=0, min_support=2, unseen=2, bodies=10_000, constant_confidence=0.1
)


@pytest.fixture(scope="module")
def graph() -> Adjacency:
    return Adjacency(random_triples(E, R, 70, 0), E, R)


@pytest.fixture(scope="module")
def predictor(graph: Adjacency) -> RulePredictor:
    generator = np.random.default_rng(0)
    rules = mine(graph, SETTINGS, generator)
    return RulePredictor(graph, rules, ConstantRules(graph, SETTINGS, generator), 0.5)


def features(graph: Adjacency, node: int) -> set[tuple[int, int]]:
    found = set()
    for relation in range(2 * graph.num_relations):
        others = graph[relation].toarray()[node].nonzero()[0].tolist()
        found |= {(relation, other) for other in others}
        found |= {(relation, ANYTHING)} if others else set()
    return found


def counted(graph: Adjacency) -> dict[tuple[tuple[int, int], tuple[int, int]], float]:
    """Confidence of every rule with a constant, by counting entities."""
    having: dict[tuple[int, int], set[int]] = {}
    for node in range(graph.num_entities):
        for one in features(graph, node):
            having.setdefault(one, set()).add(node)
    found = {}
    for feature, entities in having.items():
        for answer, others in having.items():
            both = len(entities & others)
            confidence = both / (len(entities) + SETTINGS.unseen)
            named = answer[1] != ANYTHING and feature != answer
            if named and both >= SETTINGS.min_support and confidence >= 0.1:
                found[feature, answer] = confidence
    return found


def test_rules_with_constants_are_counted(graph: Adjacency, predictor: RulePredictor) -> None:
    expected = counted(graph)
    assert predictor.constants is not None and len(predictor.constants) == len(expected) > 50
    for (feature, (relation, answer)), confidence in expected.items():
        node = next(n for n in range(E) if feature in features(graph, n))
        found = predictor.constants.explain(relation, node, answer, 1000)
        assert ConstantRule(relation, answer, *feature, pytest.approx(confidence)) in found


def by_hand(graph: Adjacency, predictor: RulePredictor, relation: int, node: int) -> np.ndarray:
    fired: list[list[float]] = [[] for _ in range(E)]
    for rule in predictor.rules[relation % R]:
        body = rule.body if relation < R else graph.reverse(rule.body)
        for answer in graph.pairs(body, np.array([node])).toarray()[0].nonzero()[0].tolist():
            fired[answer].append(rule.confidence)
    own = features(graph, node)
    for (feature, (directed, answer)), confidence in counted(graph).items():
        if directed == relation and feature in own:
            fired[answer].append(confidence)
    scores = [
        sum(0.5**k * c for k, c in enumerate(sorted(values, reverse=True)[:MOST]))
        for values in fired
    ]
    often = graph[relation].toarray().sum(0)
    found: np.ndarray = np.array(scores) + PRIOR * often / max(1, often.sum())
    return found


def test_scores_are_those_of_firing_every_rule(graph: Adjacency, predictor: RulePredictor) -> None:
    heads = torch.tensor([3, 0, 3, 7, 3, 14])
    relations = torch.tensor([0, 4, 5, 0, 0, 2])
    queries = zip(heads.tolist(), relations.tolist(), strict=True)
    expected = np.stack([by_hand(graph, predictor, r, h) for h, r in queries])
    np.testing.assert_allclose(predictor.scores(heads, relations).numpy(), expected, rtol=1e-6)


def test_the_confidence_of_a_triple_is_its_score_as_a_tail(
    graph: Adjacency, predictor: RulePredictor
) -> None:
    triples = random_triples(E, R, 40, 1)
    scores = predictor.scores(*(torch.from_numpy(triples[:, i].copy()) for i in (0, 1)))
    expected = scores.numpy()[np.arange(40), triples[:, 2]]
    np.testing.assert_allclose(predictor.confidence(triples), expected, atol=2 * PRIOR)


def test_ranks_keep_the_order_of_the_triples(predictor: RulePredictor) -> None:
    triples, known = random_triples(E, R, 8, 2), random_triples(E, R, 20, 3)
    known = np.concatenate([triples, known])
    together = predictor.ranks(triples, known)
    for i in range(len(triples)):
        alone = predictor.ranks(triples[i : i + 1], known)
        for side in ("head", "tail"):
            assert alone[side].realistic[0] == together[side].realistic[i]


def test_without_rules_the_frequent_come_first() -> None:
    graph = Adjacency(np.array([[0, 0, 3], [1, 0, 3], [2, 0, 4]]), 5, 1)
    [scores] = RulePredictor(graph, []).scores(torch.tensor([4]), torch.tensor([0]))
    assert scores.argsort(descending=True)[:2].tolist() == [3, 4]
    assert scores.max() < 1e-5


def test_proofs_are_paths_of_given_triples() -> None:
    graph = families()
    predictor = RulePredictor(graph, mine(graph, SETTINGS, np.random.default_rng(0)))
    [first, *_] = predictor.prove(0, LIVES, 40)
    assert (first.rule.body, first.nodes, first.groundings) == ((SPOUSE, BORN), (0, 1, 40), 1)  # type: ignore[union-attr]
    checked = 0
    for head, relation, tail in graph.triples.tolist():
        for proof in predictor.prove(head, relation, tail, 10):
            rule = proof.rule
            assert isinstance(rule, Rule)
            assert (proof.nodes[0], proof.nodes[-1]) == (head, tail)
            assert len(set(proof.nodes)) == len(proof.nodes)
            steps = zip(rule.body, proof.nodes[:-1], proof.nodes[1:], strict=True)
            assert all(graph[r][[u], [v]][0] for r, u, v in steps)
            checked += 1
    assert checked > 20


def test_a_rule_with_a_constant_is_a_proof(graph: Adjacency, predictor: RulePredictor) -> None:
    predictor = RulePredictor(graph, [], predictor.constants)
    shown = 0
    for head, relation, tail in graph.triples.tolist():
        for proof in predictor.prove(head, relation, tail):
            rule = proof.rule
            assert isinstance(rule, ConstantRule)
            start, end = (head, tail) if rule.relation < R else (tail, head)
            assert (rule.relation % R, rule.answer) == (relation, end)
            assert (rule.over, rule.entity) in features(graph, start)
            shown += 1
    assert shown > 10


def test_features_of_hubs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relgnn.rules.constants.HUB", 4)
    graph = Adjacency(random_triples(30, 3, 400, 0), 30, 3)
    some = ConstantRules(graph, SETTINGS, np.random.default_rng(0))
    again = ConstantRules(graph, SETTINGS, np.random.default_rng(0))
    monkeypatch.setattr("relgnn.rules.constants.HUB", 10_000)
    whole = ConstantRules(graph, SETTINGS, np.random.default_rng(0))
    assert 0 < len(some) < len(whole)
    assert (some.rules != again.rules).nnz == 0
    assert some.features.nnz == whole.features.nnz  # what fires is not cut


def test_blocks_of_features_do_not_change_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Adjacency(random_triples(30, 3, 400, 0), 30, 3)
    whole = ConstantRules(graph, SETTINGS, np.random.default_rng(0))
    monkeypatch.setattr("relgnn.rules.constants.BLOCK", 100)
    parts = ConstantRules(graph, SETTINGS, np.random.default_rng(0))
    assert (whole.rules != parts.rules).nnz == 0 and len(whole) > 100
