"""Reasons for and against triples: kinds, functional relations, relations that exclude others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.config import MiningConfig
from relgnn.data import KnowledgeGraph
from relgnn.rules import signatures
from relgnn.rules.adjacency import Adjacency
from relgnn.rules.judge import FEATURES, RuleJudge, correction
from relgnn.rules.rule import Rule, write_rules
from relgnn.rules.signatures import Signatures, kinds_of
from tests.rules.graphs import BORN, LIVES, NAMES, SPOUSE, WITHIN, families, random_triples

TYPES = [("person",)] * 40 + [("place",)] * 10


def judged(
    types: list[tuple[str, ...]] | None = None, graph: Adjacency | None = None
) -> Signatures:
    graph = graph or families()
    none: list[tuple[str, ...]] = [()] * graph.num_entities
    return Signatures(graph, kinds_of(types or none, graph))


@pytest.mark.parametrize("types", [TYPES, None], ids=["given types", "induced types"])
def test_entities_fit_where_their_kind_stands(types: list[tuple[str, ...]] | None) -> None:
    found = judged(types)
    people, places = np.array([0, 1, 2, 3]), np.array([41, 42, 43, 44])
    for relation in (LIVES, BORN):
        tail = np.full(4, relation + len(NAMES))
        assert (found.fit(places, tail) > 0).all()
        assert (found.fit(people, tail) < 0).all()


def test_fit_is_the_formula() -> None:
    graph = Adjacency(random_triples(12, 2, 40, 0), 12, 2)
    types = [("a",), ("a", "b"), ("b",), ("c",), (), ("a", "c")] * 2
    found = Signatures(graph, kinds_of(types, graph))
    smooth = signatures.SMOOTH
    for entity in range(12):
        for place in range(4):
            there = [n for n in range(12) if graph.starts[place][n]]
            lift = [
                np.log((sum(k in types[n] for n in there) + smooth) / (len(there) + 2 * smooth))
                - np.log((sum(k in own for own in types) + smooth) / (12 + 2 * smooth))
                for k in types[entity]
            ]
            [fit] = found.fit(np.array([entity]), np.array([place]))
            assert fit == pytest.approx(max(lift, default=0.0))


def test_being_in_a_place_is_no_reason_to_fit_it() -> None:
    """Induced kinds: a stranger whose one triple is of the relation fits no better for it."""
    triples = families().triples
    alone = Adjacency(np.concatenate([triples, [[50, WITHIN, 51]]]), 52, len(NAMES))
    assert judged(graph=alone).fit(np.array([50]), np.array([WITHIN])) == 0


def test_a_functional_relation_has_one_answer() -> None:
    found = judged()
    home = 40
    triples = np.array([
        [1, BORN, home], [1, BORN, home + 1], [0, BORN, home], [0, SPOUSE, 1], [2, SPOUSE, 1],
    ])  # fmt: skip
    # the known one contradicts nothing; who has a birthplace has no other; a wife one husband
    assert found.conflicts(triples).tolist() == [
        [False, False], [True, False], [False, False], [False, False], [True, True],
    ]  # fmt: skip


def test_relations_exclude_each_other_where_they_never_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signatures, "ENOUGH", 10)
    found = judged()
    spouse_back = SPOUSE + len(NAMES)
    assert found.disjoint[SPOUSE, BORN] and found.disjoint[spouse_back, SPOUSE]
    assert not found.disjoint.diagonal().any()
    assert found.excluded(np.array([[0, BORN, 1], [1, SPOUSE, 0], [0, SPOUSE, 1], [5, BORN, 9]])
                          ).tolist() == [True, True, False, False]  # fmt: skip
    graph = Adjacency(random_triples(15, 3, 300, 0), 15, 3)
    for directed in range(6):
        for relation in range(3):
            meet = graph[directed].multiply(graph[relation]).nnz > 0
            enough = min(graph.sizes[directed], graph.sizes[relation]) >= 10
            assert judged(graph=graph).disjoint[directed, relation] == (enough and not meet)


SETTINGS = MiningConfig(min_support=2, min_confidence=0.1, unseen=1)


def as_graph(**parts: Any) -> KnowledgeGraph:
    number = families().num_entities
    none = np.zeros((0, 3), int)
    return KnowledgeGraph(
        "families", tuple(f"e{i}" for i in range(number)), NAMES, ("",) * number, ("",) * number,
        NAMES, ("",) * len(NAMES), **({"train": families().triples, "valid": none, "test": none}
                                      | parts),
    )  # fmt: skip


def test_features_tell_derived_from_strange_triples() -> None:
    judge = RuleJudge.learn(families().triples, as_graph(), SETTINGS, 0)
    true, false = np.array([0, LIVES, 40]), np.array([0, LIVES, 3])
    found = judge.features(np.stack([true, false]))
    assert found.shape == (2, len(FEATURES)) and np.isfinite(found).all()
    columns = dict(zip(FEATURES, found.T.tolist(), strict=True))
    assert columns["derived"] == [1.0, 0.0]
    assert columns["score"][0] > columns["score"][1]
    assert columns["tail_fit"][0] > 0 > columns["tail_fit"][1]
    assert judge.features(np.zeros((0, 3))).shape == (0, len(FEATURES))


def test_a_persons_word_on_a_rule_stands_in_place_of_what_is_mined(tmp_path: Path) -> None:
    def rules(settings: MiningConfig) -> list[Rule]:
        judge = RuleJudge.learn(families().triples, as_graph(), settings, 0)
        return [rule for own in judge.predictor.rules.values() for rule in own]

    mined = rules(SETTINGS)
    one = max(mined, key=lambda rule: rule.confidence)
    path = tmp_path / "own.tsv"
    write_rules(path, [one._replace(confidence=0.25, pca_confidence=0.25)], NAMES)
    told = rules(SETTINGS.model_copy(update={"file": path}))
    alike = [rule for rule in told if (rule.head, rule.body) == (one.head, one.body)]
    assert [rule.confidence for rule in alike] == [0.25]
    assert len(told) == len(mined)


def test_a_correction_counts_what_it_rejects() -> None:
    """Where the husband lives when he is not asked: true ones are his wife's town."""
    couples = np.arange(20)
    true = np.column_stack([2 * couples, np.full(20, LIVES), 40 + couples % 10])
    false = np.column_stack([2 * couples, np.full(20, LIVES), 40 + (couples + 3) % 10])
    triples = families().triples
    unknown = triples[triples[:, 1] != LIVES]
    some = np.concatenate([unknown, true[:10]])
    judge = RuleJudge.learn(some, as_graph(), SETTINGS, 0)
    labelled = (np.concatenate([true[10:], false[10:]]), np.arange(20) < 10)
    found = correction(judge, {"valid": labelled, "test": labelled})
    assert found["test"] == {
        "triples": 20, "accuracy": 1.0, "corrected_rightly": 10, "corrected_wrongly": 0,
        "missed": 0,
    }  # fmt: skip
    mixed = (labelled[0], ~labelled[1])
    turned = correction(judge, {"valid": labelled, "test": mixed})["test"]
    assert (turned["corrected_rightly"], turned["corrected_wrongly"]) == (0, 10)
    assert (turned["missed"], turned["accuracy"]) == (10, 0.0)
