"""What a test set gives away, on a graph where every leak is planted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from relgnn.data import KnowledgeGraph, Text
from relgnn.data.leakage import RelationOverlap, cross_set, find_leakage, named_in_text

PLAIN, SAME, TURNED, MUTUAL = range(4)


def planted(test: list[list[int]], relations: tuple[str, ...] = tuple("pstm")) -> KnowledgeGraph:
    """Entities 0 to 39; `s` repeats `p`, `t` turns it round, `m` is symmetric."""
    chain = np.array([[number, number + 1] for number in range(20)])
    rows: list[Any] = []
    for head, tail in chain:
        rows += [[head, PLAIN, tail], [head, SAME, tail], [tail, TURNED, head]]
    for number in range(20, 30):
        rows += [[number, MUTUAL, number + 5], [number + 5, MUTUAL, number]]
    blank = ("",) * 40
    return KnowledgeGraph(
        "planted",
        tuple(map(str, range(40))),
        relations,
        blank,
        blank,
        ("",) * 4,
        ("",) * 4,
        train=np.array(rows),
        valid=np.empty((0, 3)),
        test=np.array(test),
    )


def test_every_kind_of_leak_is_counted() -> None:
    leakage = find_leakage(
        planted(
            [
                [0, PLAIN, 1],  # in train, and stated by s and t there
                [25, MUTUAL, 20],  # its inverse is in train
                [3, MUTUAL, 4],  # its pair is linked otherwise
                [4, MUTUAL, 3],  # likewise, turned round
                [38, PLAIN, 38],  # a self loop of an entity without a train triple
                [0, PLAIN, 10],  # nothing
                [0, PLAIN, 10],  # repeated
            ]
        )
    )
    assert leakage.test == 7
    assert leakage.test_in_train == 2
    assert leakage.inverse_in_train == 1
    assert leakage.pair_in_train == 3
    assert leakage.reversed_pair_in_train == 4
    assert leakage.overlap_in_train == 2
    assert leakage.unseen_entity == 1
    assert leakage.self_loops == 1
    assert leakage.duplicates_in_test == 1


def test_duplicate_inverse_and_symmetric_relations_are_named() -> None:
    found = set(find_leakage(planted([[0, 0, 2]])).overlapping_relations)
    assert found == {
        RelationOverlap("p", "s", False, 1.0),
        RelationOverlap("p", "t", True, 1.0),
        RelationOverlap("s", "t", True, 1.0),
        RelationOverlap("m", "m", True, 1.0),
    }


def test_small_relations_are_not_compared() -> None:
    found = find_leakage(planted([[0, 0, 2]]), least_pairs=21).overlapping_relations
    assert found == ()


def test_counts_go_to_json() -> None:
    leakage = find_leakage(planted([[0, 0, 2]]))
    value = json.loads(json.dumps(leakage.to_dict()))
    assert value["test"] == 1 and len(value["overlapping_relations"]) == 4


def test_across_sets_ids_are_compared_by_name() -> None:
    tested = planted([[0, PLAIN, 1], [0, PLAIN, 1], [0, SAME, 5]])
    assert cross_set(tested, planted([])) == 2
    assert cross_set(tested, planted([], relations=tuple("wxyz"))) == 0


def test_a_text_that_names_the_other_end_is_counted() -> None:
    graph = replace(
        planted([[0, PLAIN, 1], [1, SAME, 0], [2, PLAIN, 3], [4, PLAIN, 5], [6, PLAIN, 6]]),
        entity_names=("Ada", "New York", "Ann", "An", "", "Bo", "Bo") + ("",) * 33,
        entity_descriptions=("of NEW York, born", "", "Ann: a man", "", "", "nothing", "Bo")
        + ("",) * 33,
        texts=(Text("page", "Bo it is. Later there was Ann.", 3),),
    )
    # an end is named in either direction, whole words alone, and not by its own text
    assert named_in_text(graph) == 2
    named_on_its_page = replace(graph, texts=(Text("page", "So says Ann. Bo.", 3),))
    assert named_in_text(named_on_its_page) == 3
